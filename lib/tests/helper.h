/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* What the unit tests share. */
#ifndef HELPER_H
#define HELPER_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "gmem.h"

#define KIB	((uint64_t)1 << 10)
#define MIB	((uint64_t)1 << 20)
#define CHUNK	(64 * KIB)

/*
 * What is populated. A memfd takes write() on every kernel, so that all ways are
 * tested under every sanitizer; a guest_memfd takes what this kernel has.
 */
enum kind { MEMFD, GUEST_MEMFD, GUEST_MEMFD_MMAP, NR_KINDS };

/* Does it take write()? */
bool kind_writes(enum kind kind);

/* Of so many bytes, fresh. */
int make_target(enum kind kind, uint64_t size);

/* A guest_memfd that does not overwrite; first skip the test where there is none. */
void skip_unless_no_overwrite(void);
int make_no_overwrite(uint64_t size);

/* Was the library built with that: "io_uring", "zstd"? */
bool built_with(const char *what);

/* A VM, or -1. */
int make_vm(void);

/*
 * A context with small chunks, for many of them. Its end frees and closes what has been
 * made by the functions here since its begin, and checks that no other file descriptor
 * and no mapping is left over. A test may close such a descriptor before.
 */
struct gmem_context *begin(void);
void end(struct gmem_context *g);

/* Fails with the library's message if @err is an error. */
#define assert_ok(g, err) \
	do { \
		if ((err) < 0) \
			fail_msg("unexpected error: %s", gmem_error(g)); \
	} while (0)

/* The error is that, and the message has that in it. */
#define assert_fails(g, is, should, text) \
	do { \
		int is_ = (is); \
		if (is_ != (should)) \
			fail_msg("%d, not %d (%s): %s", is_, (should), #should, gmem_error(g)); \
		if (!strstr(gmem_error(g), (text)) || strchr(gmem_error(g), '\n')) \
			fail_msg("message \"%s\" lacks \"%s\"", gmem_error(g), (text)); \
	} while (0)

/*
 * What the kernel does to the library, through the system calls that are defined
 * here in the C library's place. None is set when a test begins.
 */
struct quirks {
	ino_t liar;		/* lseek() says that this file is one hole, whatever it has */
	int watched;		/* how often lseek() moved this descriptor's position */
	atomic_int moves;
	off_t bad_from;		/* pread() fails from there on (EIO), if not 0 */
	int shrinks;		/* pwrite() of this descriptor cuts it off at 0 afterwards */
};

extern struct quirks quirks;

/* Bytes that differ from page to page and with @seed; none of the pages is zero. */
char *make_bytes(size_t size, unsigned int seed);

char *make_zeros(size_t size);

/* A temporary file of those bytes, deleted already. */
int make_file(const char *bytes, size_t size);

/* Is that what the target has at @offset? */
void assert_target(int fd, uint64_t offset, const char *bytes, size_t size);

/* How many pages of it are populated. */
uint64_t populated_pages(struct gmem_context *g, int fd);

/* A pipe that another process writes @size bytes to, in pieces of @piece; end() waits for it. */
int make_pipe(const char *bytes, size_t size, size_t piece);
void reap(pid_t pid);

/* The parameter of a test: which kind, which method; and the test itself. */
struct param {
	enum kind kind;
	enum gmem_method method;
	CMUnitTestFunction test;
};

/* As begin(), with p's method. */
struct gmem_context *begin_by(const struct param *p);

/* The target cannot do the method: some tests see that refused, the others are not added. */
bool refuses(enum kind kind, enum gmem_method method);

/*
 * One more test, whose state is a struct param, and which is skipped if the machine lacks
 * the kind; then run all of them.
 */
void add_test(const char *name, CMUnitTestFunction test, enum kind kind, enum gmem_method method);
int run_all(const char *program);

#endif /* HELPER_H */
