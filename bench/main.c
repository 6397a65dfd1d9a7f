// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Populate memory by several methods in turn, and print what each run took. */
#include <err.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define MAX_METHODS	32

static const char help[] =
	"Usage: populate-bench [OPTION]... METHOD[/ORDER]...\n"
	"       populate-bench --neighbour [--size SIZE]\n"
	"\n"
	"Populate a new file by each METHOD in turn that this kernel has, of all if it is\n"
	"\"all\", with folios of ORDER at most, once to warm up and then for a number of\n"
	"rounds, every second one the other way round. Print a line for each run:\n"
	"\n"
	"  METHOD[/ORDER]  bytes in the file  bytes a write  threads  round  what it took\n"
	"\n"
	"  --size SIZE      bytes in the file, with K, M or G (512M)\n"
	"  --chunk SIZE     bytes in one write (all of a thread's part)\n"
	"  --threads N      1 or 2, each with a half of the file (1)\n"
	"  --rounds N       rounds, after the warm-up (7)\n"
	"  --file PATH      populate a file that is made at PATH, instead of guest_memfd\n"
	"  --secret         guest_memfd that is not in the kernel's direct map\n"
	"  --instructions   what the time stamp counter counts, instead of nanoseconds;\n"
	"                   under QEMU's -icount those are instructions\n"
	"  --fragmented     with hardly two free pages in a row\n"
	"  --neighbour      tell how long a write of SIZE bytes holds off another task on\n"
	"                   the same processor\n"
	"  --list           what the METHODs that this kernel has are called, or all there are\n"
	"  -h, --help       this text\n";

static void bad_usage(const char *what, const char *why)
{
	warnx("%s: %s (see populate-bench --help)", what, why);
	exit(2);
}

static size_t parse_size(const char *option, const char *text)
{
	static const char units[] = "KMG";
	const char *unit;
	size_t size;
	char *end;

	size = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (end == text || (*end && (!unit || end[1])))
		bad_usage(option, "a size such as 4K, 512M or 2G");
	if (unit)
		size <<= 10 * (unit - units + 1);
	if (!size || size % 4096)
		bad_usage(option, "a number of whole pages");

	return size;
}

struct choice {
	const struct method *method;
	const char *name;
	int order;
};

/* What those chosen are called, or all methods if none is, in the order of tables. */
static void list(const struct choice *chosen, const struct choice *end)
{
	const struct method *method;
	const struct choice *c;

	for (method = methods; method < methods + nr_methods; method++) {
		if (chosen == end)
			printf("%s %s\n", method->name, method->label);
		for (c = chosen; c < end; c++) {
			if (c->method != method)
				continue;
			printf("%s %s", c->name, method->label);
			if (c->order >= 0)
				printf(c->order ? ", %d KiB at most" : ", single pages", 4 << c->order);
			putchar('\n');
		}
	}
}

static void run_round(const struct choice *chosen, int nr, struct job job,
		      enum clock clock, int round)
{
	const struct choice *choice;
	uint64_t taken;
	int i;

	for (i = 0; i < nr; i++) {
		choice = &chosen[round % 2 ? nr - 1 - i : i];
		job.order = choice->order;
		taken = job_run(choice->method, &job, clock);
		if (!round)
			continue;
		printf("%s %zu %zu %u %d %" PRIu64 "\n", choice->name, job.size, job.chunk,
		       job.threads, round, taken);
		if (choice->method == method_find("touch"))
			printf("faults%s %zu %zu %u %d %lu\n", strchrnul(choice->name, '/'),
			       job.size, job.chunk, job.threads, round, guest_faults());
	}
	fflush(stdout);
}

/* Add those that are called @name, if this kernel has them; returns how many there are then. */
static int choose(struct choice *chosen, int nr, const char *name)
{
	const char *slash = strchrnul(name, '/');
	int order = *slash ? atoi(slash + 1) : -1;
	bool known = false;
	size_t i;

	for (i = 0; i < nr_methods; i++) {
		const struct method *method = &methods[i];

		if (!strcmp(name, "all") ? method->before == ATTACHED :
		    strncmp(name, method->name, slash - name) || method->name[slash - name])
			continue;
		known = true;
		if (nr < MAX_METHODS && method_available(method, order))
			chosen[nr++] = (struct choice){
				.method = method,
				.name = strcmp(name, "all") ? name : method->name,
				.order = order,
			};
	}
	if (!known)
		bad_usage(name, "no such method: see --list");
	return nr;
}

int main(int argc, char **argv)
{
	enum { SIZE, CHUNK, THREADS, ROUNDS, STAND_IN, SECRET, COUNT, FRAGMENTED, NEIGHBOUR, LIST };
	static const struct option options[] = {
		{ "size", required_argument, NULL, SIZE },
		{ "chunk", required_argument, NULL, CHUNK },
		{ "threads", required_argument, NULL, THREADS },
		{ "rounds", required_argument, NULL, ROUNDS },
		{ "file", required_argument, NULL, STAND_IN },
		{ "secret", no_argument, NULL, SECRET },
		{ "instructions", no_argument, NULL, COUNT },
		{ "fragmented", no_argument, NULL, FRAGMENTED },
		{ "neighbour", no_argument, NULL, NEIGHBOUR },
		{ "list", no_argument, NULL, LIST },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct job job = { .size = 512 * MIB, .threads = 1, .order = -1 };
	struct choice chosen[MAX_METHODS];
	enum clock clock = NANOSECONDS;
	int opt, nr, round, rounds = 7;
	bool disturb = false, fragmented = false, labels = false;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case SIZE:
			job.size = parse_size("--size", optarg);
			break;
		case CHUNK:
			job.chunk = parse_size("--chunk", optarg);
			break;
		case THREADS:
			job.threads = atoi(optarg);
			if (job.threads < 1 || job.threads > MAX_THREADS)
				bad_usage("--threads", "1 or 2");
			break;
		case ROUNDS:
			rounds = atoi(optarg);
			if (rounds < 1)
				bad_usage("--rounds", "a number of rounds");
			break;
		case STAND_IN:
			gmem_stand_in = optarg;
			break;
		case SECRET:
			gmem_secret = true;
			break;
		case COUNT:
			clock = INSTRUCTIONS;
			break;
		case FRAGMENTED:
			fragmented = true;
			break;
		case NEIGHBOUR:
			disturb = true;
			break;
		case LIST:
			labels = true;
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		default:
			return 2;
		}
	}
	if (job.size % (4096 * job.threads))
		bad_usage("--size", "a number of whole pages for each thread");
	if (!job.chunk)
		job.chunk = job.size;

	for (nr = 0; optind < argc; optind++)
		nr = choose(chosen, nr, argv[optind]);
	if (labels) {
		list(chosen, chosen + nr);
		return 0;
	}

	source_init(job.size);
	if (fragmented)
		memory_fragment();
	if (disturb) {
		neighbour(job.size);
		return 0;
	}

	if (!nr)
		bad_usage("METHOD", "at least one that this kernel has");

	for (round = 0; round <= rounds; round++)
		run_round(chosen, nr, job, clock, round);

	return 0;
}
