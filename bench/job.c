// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Run one method on one file, and measure it. */
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#ifdef __x86_64__
#include <x86intrin.h>
#define MARK	"xchgw %%bx, %%bx"
#else
#define MARK	"nop"
#endif

/* Only the kernels of the bench profile have it. */
#define ENGINE_PARAMETER	"/sys/module/kvm/parameters/gmem_engine"
#define ORDER_PARAMETER		"/sys/module/kvm/parameters/gmem_folio_order"

struct worker {
	const struct method *method;
	struct part part;
	unsigned int cpu;
	pthread_t thread;
	pthread_barrier_t *start;
};

bool method_available(const struct method *method, int order)
{
#ifndef __x86_64__
	if (method->before == ATTACHED)
		return false;
#endif
	return (method->engine == FILL || !access(ENGINE_PARAMETER, W_OK)) &&
	       (order < 0 || !access(ORDER_PARAMETER, W_OK)) &&
	       (method->before != ATTACHED || !gmem_stand_in);
}

void set_parameter(const char *path, int value)
{
	FILE *f = fopen(path, "w");

	if (!f || fprintf(f, "%d\n", value) < 0 || fclose(f))
		err(EXIT_FAILURE, "cannot write %d to %s", value, path);
}

static void engine_select(int engine)
{
	if (engine != FILL || !access(ENGINE_PARAMETER, W_OK))
		set_parameter(ENGINE_PARAMETER, engine);
}

/* Of the largest folios of the next file; a file's are what was said when it was made. */
static void order_select(int order)
{
	static int usual = -1;
	FILE *f;

	if (usual < 0) {
		f = fopen(ORDER_PARAMETER, "r");
		if (!f || fscanf(f, "%d", &usual) != 1)
			usual = -1;
		if (f)
			fclose(f);
	}
	if (usual >= 0)
		set_parameter(ORDER_PARAMETER, order < 0 ? usual : order);
}

/* Under QEMU's -icount the time stamp counter goes up by one an instruction, as time does. */
static uint64_t instructions(void)
{
#ifdef __x86_64__
	return __rdtsc();
#else
	uint64_t ticks, hertz;

	__asm__ volatile("isb; mrs %0, cntvct_el0; mrs %1, cntfrq_el0" : "=r"(ticks), "=r"(hertz));
	return ticks * (1000000000 / hertz);
#endif
}

/* Nanoseconds of wall time, or the processor's own count. */
static uint64_t clock_read(enum clock clock)
{
	struct timespec ts;

	if (clock == INSTRUCTIONS)
		return instructions();

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static int file_open(const struct method *method, size_t size)
{
	int fd;

	if (method->file == GMEM)
		return guest_memfd_create(size);

	fd = memfd_create("bench", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, size))
		err(EXIT_FAILURE, "cannot create a tmpfs file");
	return fd;
}

/* Everything that happens to the file before the clock starts. */
static void file_prepare(const struct method *method, struct part *whole)
{
	engine_select(FILL);
	if (method->before != FRESH)
		method_find("write")->populate(whole);
	if (method->before == MAPPED)
		method_find("madvise")->prepare(whole);
	if (method->before == ATTACHED) {
		method_find("memcpy")->prepare(whole);
		guest_attach(whole);
	}
	if (method == method_find("sendfile"))
		source_file();
	engine_select(method->engine);
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	cpu_set_t cpu;

	/* Or they might wait, and then run, on the same one. */
	CPU_ZERO(&cpu);
	CPU_SET(worker->cpu, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		warn("no processor %u for a thread of its own", worker->cpu);

	pthread_barrier_wait(worker->start);
	worker->method->populate(&worker->part);
	return NULL;
}

static void split(const struct part *whole, unsigned int threads, unsigned int i, struct part *part)
{
	size_t share = whole->size / threads;

	*part = *whole;
	part->start = i * share;
	part->size = share;
}

static uint64_t run_threads(const struct method *method, const struct part *whole,
			    unsigned int threads, enum clock clock)
{
	struct worker workers[MAX_THREADS];
	pthread_barrier_t barrier;
	unsigned int i;
	uint64_t start;

	pthread_barrier_init(&barrier, NULL, threads + 1);
	for (i = 0; i < threads; i++) {
		workers[i] = (struct worker){ .method = method, .cpu = i, .start = &barrier };
		split(whole, threads, i, &workers[i].part);
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			err(EXIT_FAILURE, "cannot start a thread");
	}

	start = clock_read(clock);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
	start = clock_read(clock) - start;

	pthread_barrier_destroy(&barrier);
	return start;
}

/* An instruction that does nothing, by which bench/profile.c knows the place. */
static void mark(enum clock clock)
{
	if (clock == INSTRUCTIONS)
		__asm__ volatile(MARK ::: "memory");
}

/* Returns what populating a new file took. */
uint64_t job_run(const struct method *method, const struct job *job, enum clock clock)
{
	struct part whole = { .whole = job->size, .size = job->size, .chunk = job->chunk };
	uint64_t start, taken;

	order_select(job->order);
	whole.fd = file_open(method, job->size);
	file_prepare(method, &whole);

	mark(clock);
	start = clock_read(clock);
	if (method->prepare)
		method->prepare(&whole);
	if (job->threads == 1)
		method->populate(&whole);
	taken = clock_read(clock) - start;
	if (job->threads > 1)
		taken += run_threads(method, &whole, job->threads, clock);
	mark(clock);

	if (whole.mapping)
		munmap(whole.mapping, whole.whole);
	close(whole.fd);
	return taken;
}
