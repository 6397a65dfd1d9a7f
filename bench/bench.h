/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* What the parts of the benchmark share. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB		1024ul
#define MIB		(1024 * KIB)
#define MAX_THREADS	2
/* Sizes above this are written from the same source again and again. */
#define SOURCE_SIZE	(512 * MIB)

/* One population of a file, as a method is asked to do it. */
struct job {
	size_t size;
	size_t chunk;		/* bytes in one write() */
	unsigned int threads;	/* each has a part of the file of its own */
	int order;		/* of the largest folios; -1: the kernel's default */
};

/* The part of a job that one thread does. */
struct part {
	int fd;
	void *mapping;		/* of the whole file, or NULL */
	size_t whole;		/* size of the file */
	size_t start, size;	/* this part of it */
	size_t chunk;
};

struct method {
	const char *name;
	const char *label;	/* in tables and plots */
	/* What the file is, and what happened to it before the clock starts. A guest's
	   memory is populated already: what is done with it is not among "all". */
	enum { GMEM, TMPFS } file;
	enum { FRESH, POPULATED, MAPPED, ATTACHED } before;
	enum { FILL, GENERIC, COPY, COPY_OVER, LOOP, BATCH, BLOCK, COPY_FRESH } engine;
	void (*prepare)(struct part *part);	/* timed, once a job; or NULL */
	void (*populate)(struct part *part);	/* timed, once a thread */
};

/* methods.c */
extern const struct method methods[];
extern const size_t nr_methods;
const struct method *method_find(const char *name);
bool method_available(const struct method *method, int order);

/* gmem.c */
extern const char *gmem_stand_in;
extern bool gmem_secret;	/* guest_memfd that is not in the direct map */
int guest_vm(void);
int guest_memfd_create(size_t size);

/* touch.c: a guest that has the file as its memory, on x86 */
void guest_attach(const struct part *whole);
void guest_touch(struct part *whole);
unsigned long guest_faults(void);

/* source.c: what is written */
void source_init(size_t size);
const char *source_at(size_t offset, size_t *len);
int source_file(void);

/* job.c */
enum clock { NANOSECONDS, INSTRUCTIONS };

void set_parameter(const char *path, int value);	/* the kernel's, which must be there */
uint64_t job_run(const struct method *method, const struct job *job, enum clock clock);

/* fragment.c */
void memory_fragment(void);

/* neighbour.c */
void neighbour(size_t size);

#endif
