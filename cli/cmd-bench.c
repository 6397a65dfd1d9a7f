// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* gmem bench: mmap + memcpy against write(), and what this machine can do at best. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli.h"
#include "lib/shared.h"

#ifndef MADV_POPULATE_WRITE	/* musl 1.2.3 */
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

#define MAX_RUNS	1000
#define BAR		40

#define NOT_GIVEN	UINT64_MAX

static uint64_t size = NOT_GIVEN;
static unsigned int runs = 5, threads = 1;
static const char *image;

static const struct option_spec options[] = {
	{ OPTION_SIZE, 's', "size", "SIZE", "how much guest memory (512M, or all of the image)", &size, NULL, NULL },
	{ OPTION_STRING, 0, "image", "FILE", "a raw image, read beforehand (a pattern)", &image, NULL, NULL },
	{ OPTION_NUMBER, 'n', "runs", "N", "how often, after a warm-up (5)", &runs, NULL, NULL },
	{ OPTION_NUMBER, 't', "threads", "N", "threads that populate (1)", &threads, NULL, NULL },
	OPTIONS_COMMON
};

static const struct command_spec spec = {
	.synopsis = "[OPTION]...",
	.about = "Measure how long it takes to populate fresh guest memory from a buffer, by\n"
		 "mmap + memcpy and by write(), against memcpy to memory that is there already.\n"
		 "After each run every byte is compared, which is not measured.",
	.options = options,
};

/* One way to do it. */
struct way {
	const char *key, *name;
	double (*run)(struct way *way, const char *from);	/* -1: see why_not, or gmem_error() */
	enum gmem_method method;
	double ms[MAX_RUNS];
	char why_not[256];
};

static struct gmem_context *g;

/* The bytes that a run was to leave are there; dies if one is not. */
static void verify(const struct way *way, const char *there, const char *from)
{
	uint64_t at = 0;

	if (!memcmp(there, from, size))
		return;
	while (there[at] == from[at])
		at++;
	die("%s: verification failed: the byte at %#" PRIx64 " is %#x, not %#x", way->name, at,
	    (unsigned char)there[at], (unsigned char)from[at]);
}

static bool verified = true;

/*
 * On a kernel whose guest_memfd cannot be mapped there is nothing to look through. A
 * memory error is an errno first, not a SIGBUS, but for old kernels (EINVAL).
 */
static void verify_memory(const struct way *way, int memory, const char *from)
{
	char *there = mmap(NULL, size, PROT_READ, MAP_SHARED, memory, 0);

	if (there == MAP_FAILED) {
		verified = false;
		return;
	}
	if (madvise(there, size, MADV_POPULATE_READ) && errno != EINVAL)
		die("%s: cannot read guest memory: %s", way->name, strerror(errno));
	verify(way, there, from);
	munmap(there, size);
}

static double run_populate(struct way *way, const char *from)
{
	int memory = make_guest_memory(g, size, 0), err;
	double ms;

	gmem_set_method(g, way->method);
	err = gmem_populate_buffer(g, memory, 0, from, size);
	ms = gmem_stats(g)->ms;
	if (!err)
		verify_memory(way, memory, from);
	close(memory);
	return err ? -1 : ms;
}

/* What a VMM without write() could do at best: all the page faults in one call. */
static double run_madvise(struct way *way, const char *from)
{
	int memory = make_guest_memory(g, size, 0);
	double start = now_ms(), ms = -1;
	char *there = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);

	if (there == MAP_FAILED || madvise(there, size, MADV_POPULATE_WRITE)) {
		snprintf(way->why_not, sizeof(way->why_not), "%s", strerror(errno));
	} else {
		memcpy(there, from, size);
		ms = now_ms() - start;
		verify(way, there, from);
	}
	if (there != MAP_FAILED)
		munmap(there, size);
	close(memory);
	return ms;
}

static char *to;

static double run_limit(struct way *way, const char *from)
{
	double start = now_ms(), ms;

	memcpy(to, from, size);
	ms = now_ms() - start;
	verify(way, to, from);
	return ms;
}

enum {
	MMAP,
	MADVISE,
	WRITE,
	LIMIT,
};

static struct way ways[] = {
	[MMAP] = { .key = "mmap", .name = "mmap + memcpy", .run = run_populate, .method = GMEM_METHOD_MMAP },
	[MADVISE] = { .key = "madvise", .name = "  after madvise()", .run = run_madvise },
	[WRITE] = { .key = "write", .name = "write()", .run = run_populate, .method = GMEM_METHOD_WRITE },
	[LIMIT] = { .key = "limit", .name = "memcpy, memory there", .run = run_limit },
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

/*
 * In huge pages, if there are some: it is the other end that is measured. Folios and
 * mappings begin at multiples of 2 MiB, so the source must not: the TLB of an emulated
 * processor has one place for all addresses that agree in their lower bits.
 */
#define SKEW	(13 * 4096)

static char *buffer(size_t skew)
{
	char *bytes = mmap(NULL, size + skew, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (bytes == MAP_FAILED)
		die("--size: no memory for a buffer of %" PRIu64 " bytes: %s", size, strerror(errno));
	madvise(bytes, size + skew, MADV_HUGEPAGE);
	memset(bytes, 0, size + skew);
	return bytes + skew;
}

static void read_image(int fd, char *bytes)
{
	uint64_t done;
	ssize_t n;

	for (done = 0; done < size; done += n) {
		n = pread(fd, bytes + done, size - done, done);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			die("%s: %s", image, n ? strerror(errno) : "it ends too soon");
	}
}

/* Opens the image, if there is one, and sees how large it all is. */
static int open_source(void)
{
	uint64_t page = sysconf(_SC_PAGESIZE);
	off_t end;
	int fd;

	if (!image) {
		if (size == NOT_GIVEN)
			size = 512 << 20;
		fd = -1;
	} else {
		fd = open(image, O_RDONLY | O_CLOEXEC);
		end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
		if (end < 0)
			die("%s: %s", image, strerror(errno));
		if (find_format(fd, image) != FORMAT_RAW)
			die("%s: no raw image", image);
		if (!end)
			die("%s: it is empty", image);
		if (end % page)
			die("%s: its %jd bytes are not whole pages of %" PRIu64 " bytes", image, (intmax_t)end, page);
		if (size == NOT_GIVEN)
			size = end;
		if (size > (uint64_t)end)
			die_usage("--size: %s has %jd bytes", image, (intmax_t)end);
	}
	if (!size || size % page)
		die_usage("--size: a number of whole pages of %" PRIu64 " bytes", page);
	return fd;
}

/* In turns, so that what disturbs the machine disturbs all of them. */
static void measure(int source)
{
	char *from = buffer(SKEW);
	unsigned int run;
	struct way *w;
	double ms;

	if (image)
		read_image(source, from);
	else
		memset(from, 'g', size);
	to = buffer(0);
	if (threads > 1)
		snprintf(ways[MADVISE].why_not, sizeof(ways[MADVISE].why_not), "by one thread only");
	for (run = 0; run <= runs; run++) {
		if (!output.quiet && isatty(STDERR_FILENO))
			fprintf(stderr, "\r\033[Krun %u of %u", run, runs);
		for (w = ways; w < ways + ARRAY_SIZE(ways); w++) {
			if (w->why_not[0])
				continue;
			ms = w->run(w, from);
			if (ms >= 0) {
				if (run)	/* the first warms up */
					w->ms[run - 1] = ms;
			} else if (!w->why_not[0]) {
				snprintf(w->why_not, sizeof(w->why_not), "%s", gmem_error(g));
			}
		}
	}
	if (!output.quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	for (w = ways; w < ways + ARRAY_SIZE(ways); w++)
		qsort(w->ms, runs, sizeof(w->ms[0]), compare);
	munmap(from - SKEW, size + SKEW);
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
	if (!ways[MMAP].why_not[0] && !ways[WRITE].why_not[0])
		printf("\nwrite() takes %.0f %% of the time of mmap + memcpy.\n",
		       median(&ways[WRITE]) / median(&ways[MMAP]) * 100);
	if (verified)
		printf("Every byte was compared after each run: all are right.\n");
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
	if (image)
		json_string("image", image);
	json_bool("verified", verified);
	json_object("ways");
	for (w = ways; w < ways + ARRAY_SIZE(ways); w++) {
		json_object(w->key);
		json_string("name", w->name + strspn(w->name, " "));
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
	int source;

	parse_options(argc, argv, &spec);
	source = open_source();
	if (!runs || runs > MAX_RUNS)
		die_usage("--runs %u: from 1 to %d", runs, MAX_RUNS);

	if (gmem_context_new(&g))
		die("out of memory");
	if (gmem_set_threads(g, threads))
		die_usage("--threads %u: %s", threads, gmem_error(g));
	gmem_set_zero(g, GMEM_ZERO_WRITE);
	measure(source);

	if (output.json)
		print_json();
	else if (!output.quiet)
		print_chart();
	gmem_context_free(g);
	return EXIT_OK;
}
