// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* gmem bench: mmap + memcpy against write(), and what this machine can do at best. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define MAX_RUNS	1000
#define BAR		40

static uint64_t size = 512 << 20;
static unsigned int runs = 5, threads = 1;

static const struct option_spec options[] = {
	{ OPTION_SIZE, 's', "size", "SIZE", "how much guest memory (512M)", &size, NULL, NULL },
	{ OPTION_NUMBER, 'n', "runs", "N", "how often, after a warm-up (5)", &runs, NULL, NULL },
	{ OPTION_NUMBER, 't', "threads", "N", "threads that populate (1)", &threads, NULL, NULL },
	OPTIONS_COMMON
};

static const struct command_spec spec = {
	.synopsis = "[OPTION]...",
	.about = "Measure how long it takes to populate fresh guest memory from a buffer, by\n"
		 "mmap + memcpy and by write(), against memcpy to memory that is there already.",
	.options = options,
};

/* One way to do it. */
struct way {
	const char *key, *name;
	double (*run)(struct gmem *g, const struct way *way, const char *from);
	enum gmem_method method;
	double ms[MAX_RUNS];
	char why_not[256];
};

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static double run_populate(struct gmem *g, const struct way *way, const char *from)
{
	int memory = make_guest_memory(g, size, 0), err;

	gmem_set_method(g, way->method);
	err = gmem_populate_buffer(g, memory, 0, from, size);
	close(memory);
	return err ? -1 : gmem_stats(g)->ms;
}

static char *to;

static double run_limit(struct gmem *g, const struct way *way, const char *from)
{
	double start = now_ms();

	(void)g;
	(void)way;
	memcpy(to, from, size);
	return now_ms() - start;
}

static struct way ways[] = {
	{ .key = "mmap", .name = "mmap + memcpy", .run = run_populate, .method = GMEM_METHOD_MMAP },
	{ .key = "write", .name = "write()", .run = run_populate, .method = GMEM_METHOD_WRITE },
	{ .key = "limit", .name = "memcpy, memory there", .run = run_limit },
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const struct way *w)
{
	return runs % 2 ? w->ms[runs / 2] : (w->ms[runs / 2 - 1] + w->ms[runs / 2]) / 2;
}

/* In huge pages, if there are some: it is the other end that is measured. */
static char *buffer(int fill)
{
	char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (bytes == MAP_FAILED)
		die("--size: no memory for a buffer of %" PRIu64 " bytes: %s", size, strerror(errno));
	madvise(bytes, size, MADV_HUGEPAGE);
	memset(bytes, fill, size);
	return bytes;
}

/* In turns, so that what disturbs the machine disturbs all of them. */
static void measure(struct gmem *g)
{
	char *from = buffer('g');
	unsigned int run;
	struct way *w;
	double ms;

	to = buffer(0);
	for (run = 0; run <= runs; run++) {
		if (!output.quiet && isatty(STDERR_FILENO))
			fprintf(stderr, "\r\033[Krun %u of %u", run, runs);
		for (w = ways; w < ways + ARRAY_SIZE(ways); w++) {
			if (w->why_not[0])
				continue;
			ms = w->run(g, w, from);
			if (ms < 0)
				snprintf(w->why_not, sizeof(w->why_not), "%s", gmem_error(g));
			else if (run)	/* the first warms up */
				w->ms[run - 1] = ms;
		}
	}
	if (!output.quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	for (w = ways; w < ways + ARRAY_SIZE(ways); w++)
		qsort(w->ms, runs, sizeof(w->ms[0]), compare);
	munmap(from, size);
	munmap(to, size);
}

static void print_chart(void)
{
	static const char full[] = "########################################";
	struct utsname uts;
	const struct way *w;
	double longest = 0;
	char text[32];

	for (w = ways; w < ways + ARRAY_SIZE(ways); w++)
		if (!w->why_not[0] && median(w) > longest)
			longest = median(w);

	uname(&uts);
	printf("Populating %s of fresh guest_memfd on Linux %s, %u thread%s, the median of %u run%s:\n\n",
	       format_size(text, size), uts.release, threads, threads == 1 ? "" : "s", runs, runs == 1 ? "" : "s");
	for (w = ways; w < ways + ARRAY_SIZE(ways); w++) {
		if (w->why_not[0])
			printf("%-21s %s\n", w->name, w->why_not);
		else
			printf("%-21s %-*.*s %8.1f ms %6.0f MiB/s\n", w->name, BAR,
			       (int)(median(w) / longest * BAR), full, median(w),
			       size / 1048576.0 / (median(w) / 1000));
	}
	if (!ways[0].why_not[0] && !ways[1].why_not[0])
		printf("\nwrite() takes %.0f %% of the time of mmap + memcpy.\n",
		       median(&ways[1]) / median(&ways[0]) * 100);
}

static void print_json(void)
{
	struct utsname uts;
	const struct way *w;
	unsigned int i;

	uname(&uts);
	json_result(NULL);
	json_string("kernel", uts.release);
	json_uint("size", size);
	json_uint("threads", threads);
	json_object("ways");
	for (w = ways; w < ways + ARRAY_SIZE(ways); w++) {
		json_object(w->key);
		json_string("name", w->name);
		if (w->why_not[0]) {
			json_string("why_not", w->why_not);
		} else {
			json_double("median_ms", median(w));
			json_array("ms");
			for (i = 0; i < runs; i++)
				json_double(NULL, w->ms[i]);
			json_end();
		}
		json_end();
	}
	json_end();
	json_end();
}

int cmd_bench(int argc, char **argv)
{
	int operand = parse_options(argc, argv, &spec);
	uint64_t page = sysconf(_SC_PAGESIZE);
	struct gmem *g;

	if (argv[operand])
		die_usage("unexpected argument: %s", argv[operand]);
	if (!size || size % page)
		die_usage("--size: a number of whole pages of %" PRIu64 " bytes", page);
	if (!runs || runs > MAX_RUNS)
		die_usage("--runs %u: from 1 to %d", runs, MAX_RUNS);

	if (gmem_new(&g))
		die("out of memory");
	if (gmem_set_threads(g, threads))
		die_usage("--threads %u: %s", threads, gmem_error(g));
	gmem_set_zero(g, GMEM_ZERO_WRITE);
	measure(g);

	if (output.json)
		print_json();
	else if (!output.quiet)
		print_chart();
	gmem_free(g);
	return EXIT_OK;
}
