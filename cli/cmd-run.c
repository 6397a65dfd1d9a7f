// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* gmem run: boot Linux, or go on with a saved machine, on a guest_memfd. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "vmm/boot.h"
#include "vmm/console.h"
#include "vmm/control.h"
#include "vmm/cpu.h"
#include "vmm/demand.h"
#include "vmm/image.h"
#include "vmm/machine.h"
#include "vmm/memory.h"
#include "vmm/outcome.h"
#include "vmm/record.h"
#include "vmm/state.h"

#define DEFAULT_MEM	(256ull << 20)
#define DEFAULT_APPEND	"console=ttyS0 panic=-1"
#define DEFAULT_SMP	1
#define MAX_CPUS	255		/* an APIC's number is a byte, and 255 means all */
#define NOT_GIVEN	UINT64_MAX

static struct {
	const char *kernel, *initrd, *append;
	uint64_t mem;
	unsigned int smp;
	const char *restore, *order, *record_order, *control;
	enum gmem_method method;
	bool demand, secret;
} args = {
	.mem = NOT_GIVEN,
	.smp = (unsigned int)NOT_GIVEN,
};

static void set_method(const struct option_spec *option, const char *value)
{
	args.method = option_method(option, value);
}

static const struct option_spec options[] = {
	{ OPTION_STRING, 'k', "kernel", "BZIMAGE", "boot this Linux", &args.kernel, NULL, NULL },
	{ OPTION_STRING, 'i', "initrd", "FILE", "with this initramfs", &args.initrd, NULL, NULL },
	{ OPTION_STRING, 'a', "append", "WORDS", "kernel parameters, after " DEFAULT_APPEND, &args.append, NULL, NULL },
	{ OPTION_SIZE, 'm', "mem", "SIZE", "of the guest's memory (256M)", &args.mem, NULL, NULL },
	{ OPTION_NUMBER, 0, "smp", "N", "processors (1)", &args.smp, NULL, NULL },
	{ OPTION_FLAG, 0, "secret", NULL, "in memory that the kernel cannot see", &args.secret, NULL, NULL },
	{ OPTION_STRING, 'r', "restore", "IMAGE", "go on with the machine that gmem snapshot saved", &args.restore, NULL, NULL },
	{ OPTION_FLAG, 0, "demand", NULL, "at once: populate what it touches, and meanwhile the rest", &args.demand, NULL, NULL },
	{ OPTION_STRING, 0, "order", "FILE", "populate these pages first", &args.order, NULL, NULL },
	{ OPTION_STRING, 0, "record-order", "OUT", "write the order in which the guest touches its pages", &args.record_order, NULL, NULL },
	{ OPTION_CALL, 0, "method", "NAME", "how to populate memory (auto)", NULL, set_method, "auto write mmap" },
	{ OPTION_STRING, 0, "control", "PATH", "the socket for gmem snapshot ($XDG_RUNTIME_DIR/gmem-PID.sock)", &args.control, NULL, NULL },
	OPTIONS_COMMON
};

static const struct command_spec spec = {
	.synopsis = "--kernel BZIMAGE [OPTION]... | --restore IMAGE [OPTION]...",
	.about = "Run Linux on a small virtual machine, with its console on the terminal. Its memory\n"
		 "is a guest_memfd. It ends when the guest turns itself off or resets, or when you\n"
		 "type Ctrl-A x. With --json the result is on stdout, and the console on stderr.",
	.options = options,
};

static bool mem_given(void)
{
	return args.mem != NOT_GIVEN;
}

static bool smp_given(void)
{
	return args.smp != (unsigned int)NOT_GIVEN;
}

static void check_args(void)
{
	if (!args.kernel && !args.restore)
		die_usage("what is to run? Give --kernel BZIMAGE or --restore IMAGE");
	if (args.kernel && args.restore)
		die_usage("--kernel and --restore exclude each other: a saved machine has its kernel");
	if (!args.kernel && (args.initrd || args.append))
		die_usage("--initrd and --append go with --kernel");
	if (args.restore && !*args.restore)
		die_usage("--restore: the name is empty");
	if (!args.restore && (args.demand || args.order))
		die_usage("--demand and --order go with --restore");
	if (args.secret && args.record_order)
		die_usage("--secret and --record-order exclude each other: KVM would have to look through the mapping");
	if (mem_given() && (!args.mem || args.mem % PAGE_SIZE))
		die_usage("--mem %llu: not a multiple of the page size, 4096", (unsigned long long)args.mem);
	if (smp_given() && (!args.smp || args.smp > MAX_CPUS))
		die_usage("--smp %u: from 1 to %d", args.smp, MAX_CPUS);
}

/* -- the control socket's default ---------------------------------------------------------- */

static char *default_control(void)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");
	char *path;

	if (!dir || !*dir)
		dir = getuid() == 0 ? "/run" : NULL;
	if (!dir) {
		warn("no control socket: XDG_RUNTIME_DIR is not set; for gmem snapshot give --control PATH");
		return NULL;
	}
	return asprintf(&path, "%s/gmem-%d.sock", dir, getpid()) < 0 ? NULL : path;
}

static int listen_for_snapshots(struct vmm *vmm)
{
	char *path = args.control ? strdup(args.control) : default_control();
	int ret = path ? control_listen(vmm, path) : 0;

	/* Who has not asked for one may do without. */
	if (ret && !args.control) {
		warn("no control socket: %s; for gmem snapshot give --control PATH", vmm->error);
		vmm->error[0] = '\0';
		ret = 0;
	}
	free(path);
	return ret;
}

/* -- starting it --------------------------------------------------------------------------------- */

static int set_up_cpus(struct vmm *vmm)
{
	if (vmm_create_cpus(vmm))
		return -1;
	for (unsigned int i = 0; i < vmm->nr_cpus; i++)
		if (cpu_set_cpuid(vmm, &vmm->cpus[i]))
			return -1;
	return boot_set_registers(vmm, vmm->cpus[0].fd);
}

static int set_up_boot(struct vmm *vmm)
{
	char cmdline[8192];
	struct boot boot = { .kernel = args.kernel, .initrd = args.initrd, .cmdline = cmdline };

	snprintf(cmdline, sizeof(cmdline), "%s%s%s", DEFAULT_APPEND, args.append ? " " : "", args.append ?: "");
	if (vmm_create(vmm, mem_given() ? args.mem : DEFAULT_MEM, smp_given() ? args.smp : DEFAULT_SMP))
		return -1;
	gmem_set_method(vmm->gmem, args.method);
	if (boot_load(vmm, &boot))
		return -1;
	if ((args.record_order && memory_watch(vmm)) || memory_add(vmm))
		return -1;
	return set_up_cpus(vmm);
}

static int populate(struct vmm *vmm, const struct snapshot *snapshot)
{
	gmem_set_method(vmm->gmem, args.method);
	set_order(vmm->gmem, args.order);
	if (args.demand)
		return demand_begin(vmm, args.restore, snapshot);
	if (isatty(STDERR_FILENO))
		gmem_set_progress(vmm->gmem, show_progress, "restoring");
	if (image_restore(vmm, args.restore, snapshot))
		return -1;
	end_progress();
	return memory_add(vmm);
}

static int check_measure(struct vmm *vmm, const struct state *state)
{
	if (mem_given() && args.mem != state->mem_size)
		return vmm_fail(vmm, "--mem: the saved machine has %zu MiB", state->mem_size >> 20);
	if (smp_given() && args.smp != state->nr_cpus)
		return vmm_fail(vmm, "--smp %u: the saved machine has %u", args.smp, state->nr_cpus);
	return 0;
}

static int restore_machine(struct vmm *vmm, const struct state *state)
{
	if (check_measure(vmm, state) || vmm_create(vmm, state->mem_size, state->nr_cpus))
		return -1;
	if (args.record_order && memory_watch(vmm))
		return -1;
	if (populate(vmm, &state->snapshot) || vmm_create_cpus(vmm) || state_restore(vmm, state))
		return -1;
	return args.demand ? demand_start_background(vmm) : 0;
}

/* IMAGE.state, also of an IMAGE.zst that IMAGE was compressed to. */
static char *state_path(void)
{
	size_t len = strlen(args.restore);
	char *path;

	if (len > 4 && !strcmp(args.restore + len - 4, ".zst"))
		len -= 4;
	return asprintf(&path, "%.*s.state", (int)len, args.restore) < 0 ? NULL : path;
}

static int set_up_restore(struct vmm *vmm)
{
	struct state state = { 0 };
	char *path = state_path();
	int ret;

	if (!path)
		return vmm_fail(vmm, "out of memory");
	ret = state_read(vmm, path, &state);
	if (!ret)
		ret = restore_machine(vmm, &state);
	state_free(&state);
	free(path);
	return ret;
}

/* -- telling how it went -------------------------------------------------------------------------- */

static const char *method_in_words(const struct vmm *vmm)
{
	const char *name = gmem_method_name(vmm->method);

	return vmm->method == GMEM_METHOD_MMAP ? "mmap + memcpy" : name;
}

static void tell_start(const struct vmm *vmm)
{
	bool no_write = args.method == GMEM_METHOD_AUTO && vmm->method == GMEM_METHOD_MMAP;
	char size[32];

	if (output.quiet || output.json)
		return;
	if (args.demand)
		fprintf(stderr, "gmem run: %s to populate on demand\n", format_size(size, vmm->mem.size));
	else
		fprintf(stderr, "gmem run: %s populated by %s in %.1f ms%s\n", format_size(size, vmm->populated),
			method_in_words(vmm), vmm->populate_ms, no_write ? ": this kernel's guest_memfd has no write()" : "");
	if (console_is_terminal())
		fprintf(stderr, "gmem run: type Ctrl-A x to end it\n");
}

static const char *outcome_in_words(const struct vmm *vmm)
{
	switch (vmm->outcome) {
	case VMM_OFF:
		return "the guest turned itself off";
	case VMM_RESET:
		return "the guest reset itself";
	case VMM_STOPPED:
		return "saved and stopped";
	case VMM_QUIT:
		return vmm->signal ? strsignal(vmm->signal) : "ended by Ctrl-A x";
	default:
		return vmm->error;
	}
}

static void json_time(const char *key, double ms)
{
	if (ms)
		json_double(key, ms);
	else
		json_null(key);
}

static void tell_json(const struct vmm *vmm)
{
	json_result(NULL);
	json_string("outcome", outcome_in_words(vmm));
	json_string("method", gmem_method_name(vmm->method));
	json_uint("populated_bytes", vmm->populated);
	json_double("populate_ms", vmm->populate_ms);
	json_time("first_instruction_ms", vmm->first_instruction_ms);
	json_time("first_userspace_ms", vmm->first_userspace_ms);
	if (vmm->demand)
		json_uint("demand_faults", vmm->demand->faults);
	if (vmm->record)
		json_uint("touched_pages", vmm->record->pages);
	json_end();
}

static void tell_end(const struct vmm *vmm)
{
	char size[32];

	if (output.quiet)
		return;
	if (vmm->demand)
		fprintf(stderr, "gmem run: %s populated by %s while it ran, it waited for %zu parts of %llu KiB\n",
			format_size(size, vmm->populated), method_in_words(vmm), vmm->demand->faults,
			(unsigned long long)vmm->mem.slot_size >> 10);
	if (vmm->record) {
		fprintf(stderr, "gmem run: it touched %llu pages, see ", (unsigned long long)vmm->record->pages);
		put_printable(stderr, args.record_order);
		fputc('\n', stderr);
	}
	fprintf(stderr, "gmem run: first instruction after %.1f ms", vmm->first_instruction_ms);
	if (vmm->first_userspace_ms)
		fprintf(stderr, ", first line from user space after %.1f ms", vmm->first_userspace_ms);
	fprintf(stderr, "; %s\n", outcome_in_words(vmm));
}

/* Who has stopped reading would keep us from our end. */
static bool is_stuck(const struct vmm *vmm, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return vmm->hurry && !poll(&p, 1, 0);
}

/* What counts once the guest has ended. */
static int finish(struct vmm *vmm)
{
	int ret = 0;

	if (vmm->demand) {
		const struct gmem_stats *stats = demand_stop(vmm);

		vmm->method = stats->method;
		vmm->populated = stats->bytes;
		vmm->populate_ms = stats->ms;
	}
	if (vmm->record)
		ret = record_write(vmm, args.record_order);
	if (vmm->outcome == VMM_DIED)
		ret = -1;
	if (is_stuck(vmm, output.json ? STDOUT_FILENO : STDERR_FILENO))
		return ret;
	if (!output.json)
		tell_end(vmm);
	else if (!ret)
		tell_json(vmm);	/* of a failure die() tells */
	return ret;
}

static int run(struct vmm *vmm)
{
	if (args.record_order && record_check(vmm, args.record_order))
		return -1;
	if (args.restore ? set_up_restore(vmm) : set_up_boot(vmm))
		return -1;
	if (args.record_order && record_start(vmm))
		return -1;
	if (listen_for_snapshots(vmm))
		return -1;
	if (output.json)
		vmm->console.out = STDERR_FILENO;
	tell_start(vmm);
	if (vmm_run(vmm))
		return -1;
	return finish(vmm);
}

int cmd_run(int argc, char **argv)
{
	static struct vmm vmm;		/* who waits for the console's reader is left with it */
	int ret;

	parse_options(argc, argv, &spec);
	check_args();
	vmm_init(&vmm);
	vmm.mem.secret = args.secret;
	ret = run(&vmm);
	vmm_destroy(&vmm);
	if (ret) {
		if (is_stuck(&vmm, STDERR_FILENO))
			return EXIT_FAILED;
		die("%s", vmm.error);
	}
	return vmm.signal ? 128 + vmm.signal : EXIT_OK;
}
