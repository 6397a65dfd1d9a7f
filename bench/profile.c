// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * A QEMU plugin that counts the instructions each kernel function executes
 * between two marks, which are instructions xchg %bx,%bx.
 *
 *   -plugin profile.so,map=System.map,out=FILE
 *
 * FILE gets a line "PAIR FUNCTION COUNT" for each function and pair of marks;
 * [user] and [other] are not the kernel's. The kernel must be where System.map
 * says it is: nokaslr.
 *
 * Debian has QEMU's plugins but not their header, hence the declarations.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { ADD_U64 };		/* the one inline operation */
enum { NO_REGISTERS };		/* what a callback wants to see of the processor */

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int op,
						void *counter, uint64_t imm);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*cb)(unsigned int vcpu, void *arg),
					    int flags, void *arg);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

#define EXPORT	__attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);

struct function {
	uint64_t start;
	char *name;
	uint64_t count, at_mark;
};

static struct function *functions;
static size_t nr_functions;
static struct function user = { .name = "[user]" }, other = { .name = "[other]" };
static FILE *out;
static unsigned int marks;

static int by_start(const void *a, const void *b)
{
	const struct function *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

static bool read_map(const char *path)
{
	FILE *f = fopen(path, "r");
	char type, name[512];
	uint64_t start;

	if (!f)
		return false;

	while (fscanf(f, "%" SCNx64 " %c %511s", &start, &type, name) == 3) {
		if (!strchr("tTwW", type))
			continue;
		functions = reallocarray(functions, nr_functions + 1, sizeof(*functions));
		functions[nr_functions++] = (struct function){ .start = start, .name = strdup(name) };
	}
	fclose(f);

	qsort(functions, nr_functions, sizeof(*functions), by_start);
	return nr_functions;
}

static struct function *function_at(uint64_t addr)
{
	size_t low = 0, high = nr_functions, mid;

	if (addr < 1ull << 63)
		return &user;
	if (addr < functions[0].start)
		return &other;

	while (high - low > 1) {
		mid = (low + high) / 2;
		if (functions[mid].start <= addr)
			low = mid;
		else
			high = mid;
	}
	return &functions[low];
}

static void report(struct function *function)
{
	if (marks % 2 && function->count != function->at_mark)
		fprintf(out, "%u %s %" PRIu64 "\n", marks / 2, function->name,
			function->count - function->at_mark);
	function->at_mark = function->count;
}

static void mark(unsigned int vcpu, void *arg)
{
	size_t i;

	(void)vcpu;
	(void)arg;
	for (i = 0; i < nr_functions; i++)
		report(&functions[i]);
	report(&user);
	report(&other);
	fflush(out);
	marks++;
}

static bool is_mark(const struct qemu_plugin_insn *insn)
{
	return qemu_plugin_insn_size(insn) == 3 &&
	       !memcmp(qemu_plugin_insn_data(insn), "\x66\x87\xdb", 3);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	struct qemu_plugin_insn *insn;
	size_t i;

	(void)id;
	for (i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		insn = qemu_plugin_tb_get_insn(tb, i);
		qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64,
			&function_at(qemu_plugin_insn_vaddr(insn))->count, 1);
		if (is_mark(insn))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, mark, NO_REGISTERS, NULL);
	}
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	int i;

	(void)info;
	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "map=", 4) && !read_map(argv[i] + 4))
			fprintf(stderr, "profile: cannot read the symbols of %s\n", argv[i] + 4);
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
	}
	if (!functions || !out) {
		fprintf(stderr, "profile: needs map=System.map and out=FILE\n");
		return -1;
	}

	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
