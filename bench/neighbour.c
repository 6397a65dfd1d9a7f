// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * How long does a write() hold off another task on its processor? A thread of
 * real-time priority wants to run every 200 us, and notes how late it is.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

#define PERIOD_NS	200000

static atomic_bool stop;

static int64_t to_ns(const struct timespec *ts)
{
	return ts->tv_sec * 1000000000ll + ts->tv_nsec;
}

/* Stores how late the worst wake-up was. */
static void *wake_up(void *arg)
{
	int64_t *worst = arg, late;
	struct timespec next, now;

	clock_gettime(CLOCK_MONOTONIC, &next);
	while (!stop) {
		next.tv_nsec += PERIOD_NS;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
		late = to_ns(&now) - to_ns(&next);
		if (late > *worst)
			*worst = late;
		if (late > PERIOD_NS)
			next = now;
	}
	return NULL;
}

static int64_t worst_during(const char *method, const struct job *job)
{
	struct sched_param param = { .sched_priority = 50 };
	int64_t worst = 0;
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
	pthread_attr_setschedparam(&attr, &param);
	stop = false;
	errno = pthread_create(&thread, &attr, wake_up, &worst);
	if (errno)
		err(EXIT_FAILURE, "cannot start a thread of real-time priority");

	job_run(method_find(method), job, NANOSECONDS);
	stop = true;
	pthread_join(thread, NULL);
	return worst;
}

void neighbour(size_t size)
{
	static const char * const during[] = { "copy", "generic", "write", "overwrite" };
	struct job job = { .size = size, .chunk = size, .threads = 1, .order = -1 };
	cpu_set_t one;
	size_t i;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		err(EXIT_FAILURE, "cannot stay on one processor");

	for (i = 0; i < sizeof(during) / sizeof(*during); i++)
		printf("neighbour %s %zu %" PRId64 "\n", during[i], size,
		       worst_during(during[i], &job));
}
