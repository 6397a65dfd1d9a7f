// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* The figures, as a table to read and as JSON for programs. */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"

struct figures {
	double median, min, max;
};

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static struct figures figures(const struct method *m)
{
	double sorted[RUNS];

	memcpy(sorted, m->runs_ms, sizeof(sorted));
	qsort(sorted, RUNS, sizeof(*sorted), by_size);

	return (struct figures){ sorted[RUNS / 2], sorted[0], sorted[RUNS - 1] };
}

static double mib_per_s(const struct result *r, double ms)
{
	return r->size / MIB / ms * 1000;
}

static double ratio(const struct result *r, const struct method *m)
{
	return figures(m).median / figures(&r->methods[BY_MEMCPY]).median;
}

static double published_ratio(const struct result *r, const struct method *m)
{
	return (double)m->published_ms / r->methods[BY_MEMCPY].published_ms;
}

static void table_row(const struct result *r, const struct method *m)
{
	struct figures f = figures(m);

	printf("%-13s %11.1f %8.1f %8.1f %7.0f %6.2f |",
	       m->label, f.median, f.min, f.max, mib_per_s(r, f.median), ratio(r, m));
	if (m->published_ms)
		printf(" %6d %6.2f\n", m->published_ms, published_ratio(r, m));
	else
		printf(" %6s %6s\n", "-", "-");
}

static void print_table(const struct result *r)
{
	int m;

	printf("Populating %g MiB of fresh guest_memfd, %d runs each after a warm-up;\n"
	       "the ratio is to mmap + memcpy:\n\n", r->size / MIB, RUNS);
	printf("%-58s | published for 512 MiB\n", "");
	printf("%-58s | on an x86 server, not\n", "measured here");
	printf("%-58s | measured here\n", "");
	printf("%-13s %11s %8s %8s %7s %6s | %6s %6s\n",
	       "method", "median ms", "min ms", "max ms", "MiB/s", "ratio", "ms", "ratio");
	for (m = 0; m < METHODS; m++)
		table_row(r, &r->methods[m]);
	printf("\nAfter madvise: mmap, MADV_POPULATE_WRITE, then memcpy.\n");
}

static void print_machine(const struct machine *m)
{
	printf("Kernel       %s\n", m->kernel);
	printf("CPU          %s%s%s\n", m->cpu, m->host_cpu ? " on " : "", m->host_cpu ? m->host_cpu : "");
	printf("Accelerator  %s\n", m->accel);
	if (strcmp(m->accel, "tcg"))
		return;

	printf("  The processor is emulated: only the ratio means something, not the times.\n");
	if (m->fast_rep_movsb)
		printf("  Not even that here: it claims a fast rep movsb, which it emulates a byte at a\n"
		       "  time. Start QEMU with -cpu max,erms=off,fsrm=off.\n");
	else
		printf("  QEMU has -cpu max,erms=off,fsrm=off: it emulates rep movsb a byte at a time,\n"
		       "  which no processor does; without it the kernel copies with its unrolled loop.\n");
}

/* Another load costs the method with more faults, and so exits, more. */
static bool unsteady(const struct method *m)
{
	struct figures f = figures(m);

	return f.max > 2 * f.min;
}

static void print_verdict(const struct result *r)
{
	double rate = ratio(r, &r->methods[BY_WRITE]);
	bool busy = false;
	int m;

	if (rate < 1)
		printf("write() was faster: it took %.0f %% less time than mmap + memcpy.\n", (1 - rate) * 100);
	else
		printf("write() was NOT faster: it took %.0f %% more time than mmap + memcpy.\n", (rate - 1) * 100);
	for (m = 0; m < METHODS; m++)
		busy |= unsteady(&r->methods[m]);
	if (busy)
		printf("The times vary a lot, so the machine may be busy: better try again when it is idle.\n");
	printf("Every byte was verified through a mapping after each run: %s.\n",
	       r->verified ? "all are right" : "NOT all are right");
	printf("A guest on memory populated by write() summed it up in %.0f ms: %#018" PRIx64 ",\n"
	       "which is %s.\n",
	       r->guest.ms, r->guest.sum, r->guest.ok ? "the host's sum, too" : "NOT the host's sum");
}

void report_table(const struct result *r)
{
	printf("\n");
	print_machine(&r->machine);
	printf("\n");
	print_table(r);
	print_verdict(r);
	fflush(stdout);
}

static void json_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fprintf(f, "\\%c", *s);
		else if ((unsigned char)*s < ' ')
			fprintf(f, "\\u%04x", *s);
		else
			fputc(*s, f);
	}
	fputc('"', f);
}

static void json_member(FILE *f, const char *name, const char *value)
{
	fprintf(f, "  \"%s\": ", name);
	json_string(f, value);
	fprintf(f, ",\n");
}

static void json_method(FILE *f, const struct result *r, const struct method *m)
{
	struct figures g = figures(m);
	int i;

	fprintf(f, "    {\n      \"name\": \"%s\",\n      \"runs_ms\": [", m->name);
	for (i = 0; i < RUNS; i++)
		fprintf(f, "%s%.3f", i ? ", " : "", m->runs_ms[i]);
	fprintf(f, "],\n      \"median_ms\": %.3f,\n      \"min_ms\": %.3f,\n      \"max_ms\": %.3f,\n"
		"      \"mib_per_s\": %.1f,\n      \"ratio_to_memcpy\": %.3f\n    }",
		g.median, g.min, g.max, mib_per_s(r, g.median), ratio(r, m));
}

static void json_published(FILE *f, const struct result *r, const struct method *m)
{
	fprintf(f, "    { \"name\": \"%s\", \"ms\": %d, \"ratio_to_memcpy\": %.3f, \"size_bytes\": 536870912, \"cpu\": \"x86 server\" }",
		m->name, m->published_ms, published_ratio(r, m));
}

static const char *json_bool(bool b)
{
	return b ? "true" : "false";
}

static void json_result(FILE *f, const struct result *r)
{
	int m;

	fprintf(f, "{\n");
	json_member(f, "kernel", r->machine.kernel);
	json_member(f, "accel", r->machine.accel);
	json_member(f, "cpu", r->machine.cpu);
	if (r->machine.host_cpu)
		json_member(f, "host_cpu", r->machine.host_cpu);
	fprintf(f, "  \"size_bytes\": %zu,\n  \"methods\": [\n", r->size);
	for (m = 0; m < METHODS; m++) {
		fprintf(f, "%s", m ? ",\n" : "");
		json_method(f, r, &r->methods[m]);
	}
	fprintf(f, "\n  ],\n  \"published\": [\n");
	json_published(f, r, &r->methods[BY_MEMCPY]);
	fprintf(f, ",\n");
	json_published(f, r, &r->methods[BY_WRITE]);
	fprintf(f, "\n  ],\n  \"verified\": %s,\n  \"guest_sum\": \"%#018" PRIx64 "\",\n"
		"  \"guest_sum_ms\": %.3f,\n  \"guest_sum_ok\": %s\n}\n",
		json_bool(r->verified), r->guest.sum, r->guest.ms, json_bool(r->guest.ok));
}

/* The file gets its name when it is complete. */
void report_json(const struct result *r, const char *path)
{
	char *partial;
	FILE *f;
	bool bad;

	partial = malloc(strlen(path) + sizeof(".partial"));
	if (!partial)
		err(EXIT_FAILURE, "no memory");
	sprintf(partial, "%s.partial", path);

	f = fopen(partial, "w");
	if (!f)
		err(EXIT_FAILURE, "cannot create %s", partial);
	json_result(f, r);
	bad = ferror(f);
	if (fclose(f) || bad || rename(partial, path)) {
		warn("cannot write %s", path);
		unlink(partial);
		exit(EXIT_FAILURE);
	}
	free(partial);
}
