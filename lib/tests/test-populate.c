// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Populate from buffers and files: every method, and every way to fail. */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static long page;

static void assert_done(struct gmem_context *g, uint64_t offset, uint64_t size)
{
	const struct gmem_stats *s = gmem_stats(g);
	uint64_t whole = (size + page - 1) / page * page, sum = 0;
	unsigned int i;

	assert_int_equal(s->bytes, whole);
	assert_int_equal(s->up_to, offset + whole);
	assert_int_equal((s->pages_written + s->pages_skipped) * page, whole);
	for (i = 0; i < s->threads; i++)
		sum += s->thread[i].bytes;
	assert_int_equal(sum, whole);
	assert_true(strlen(s->why) && s->ms >= 0);
}

/* How many pages there are in the target's neighbourhood, which nobody asked to populate. */
static void assert_only(struct gmem_context *g, int fd, uint64_t size)
{
	assert_int_equal(populated_pages(g, fd), (size + page - 1) / page);
}

static const size_t sizes[] = { 0, 4096, 3 * 4096, CHUNK - 4096, CHUNK, CHUNK + 4096, 9 * CHUNK + 3 * 4096 };
#define NR_SIZES	(sizeof(sizes) / sizeof(sizes[0]))

static void test_buffer(void **state)
{
	const struct param *p = *state;
	const bool refused = refuses(p->kind, p->method);
	struct gmem_context *g = begin_by(p);
	unsigned int threads;
	char *bytes;
	size_t i;
	int fd;

	assert_ok(g, gmem_set_zero(g, GMEM_ZERO_WRITE));
	for (threads = 1; threads <= 4; threads += 3) {
		gmem_set_threads(g, threads);
		for (i = 0; i < NR_SIZES; i++) {
			fd = make_target(p->kind, MIB);
			bytes = make_bytes(sizes[i] + 1, i);	/* at an odd address */
			if (refused || p->method == GMEM_METHOD_SENDFILE || p->method == GMEM_METHOD_IO_URING) {
				assert_fails(g, gmem_populate_buffer(g, fd, 0, bytes, sizes[i]), -EOPNOTSUPP, "method");
			} else {
				assert_ok(g, gmem_populate_buffer(g, fd, 2 * page, bytes + 1, sizes[i]));
				assert_done(g, 2 * page, sizes[i]);
				assert_only(g, fd, sizes[i]);
				assert_target(fd, 2 * page, bytes + 1, sizes[i]);
				assert_true(p->method == GMEM_METHOD_AUTO || gmem_stats(g)->method == p->method);
				assert_true(gmem_stats(g)->threads <= threads);
			}
		}
	}
	end(g);
}

static void test_file(void **state)
{
	const struct param *p = *state;
	const bool refused = refuses(p->kind, p->method);
	struct gmem_context *g = begin_by(p);
	unsigned int threads;
	char *bytes;
	size_t i;
	int fd, source;

	assert_ok(g, gmem_set_zero(g, GMEM_ZERO_WRITE));
	for (threads = 1; threads <= 4; threads += 3) {
		gmem_set_threads(g, threads);
		for (i = 0; i < 2 * NR_SIZES; i++) {
			size_t size = sizes[i / 2], at = i % 2 ? 777 : 0;

			fd = make_target(p->kind, MIB);
			bytes = make_bytes(at + size, i);
			source = make_file(bytes, at + size);
			lseek(source, 5, SEEK_SET);
			gmem_set_direct(g, threads == 4);
			if (refused) {
				assert_fails(g, gmem_populate_file(g, fd, 0, source, at, size), -EOPNOTSUPP, "method");
			} else {
				assert_ok(g, gmem_populate_file(g, fd, page, source, at, i < NR_SIZES ? size : GMEM_ALL));
				assert_done(g, page, size);
				assert_only(g, fd, size);
				assert_target(fd, page, bytes + at, size);
				assert_int_equal(lseek(source, 0, SEEK_CUR), 5);
				if (p->method == GMEM_METHOD_AUTO && threads == 1)
					assert_int_equal(gmem_stats(g)->method, kind_writes(p->kind) ?
							 GMEM_METHOD_SENDFILE : GMEM_METHOD_MMAP);
			}
		}
	}
	end(g);
}

/* The last page is cut off: refused before anything is done, unless it may be padded. */
static void test_pad(void **state)
{
	const struct param *p = *state;
	size_t size = 2 * CHUNK + page + 123;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(size, 1);
	int source = make_file(bytes, size), fd = make_target(p->kind, MIB);

	assert_fails(g, gmem_populate_file(g, fd, 0, source, 0, GMEM_ALL), -EINVAL, "padding");
	assert_int_equal(populated_pages(g, fd), 0);
	gmem_set_pad(g, true);
	gmem_set_verify(g, true);
	assert_ok(g, gmem_populate_file(g, fd, 0, source, 0, GMEM_ALL));
	assert_done(g, 0, size);
	assert_target(fd, 0, bytes, size);

	/* It overwrites what was there with zeros, too. */
	assert_ok(g, gmem_populate_file(g, fd, 0, source, 0, page + 10));
	assert_target(fd, page, bytes + page, 10);
	if (p->method <= GMEM_METHOD_MMAP) {
		gmem_set_pad(g, false);
		assert_fails(g, gmem_populate_buffer(g, fd, 0, bytes, size), -EINVAL, "padding");
		gmem_set_pad(g, true);
		assert_ok(g, gmem_populate_buffer(g, fd, MIB / 2, bytes, size));
		assert_target(fd, MIB / 2, bytes, size);
	}
	end(g);
}

static void test_sparse(void **state)
{
	const struct param *p = *state;
	size_t size = 40 * CHUNK, hole;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_zeros(size), *data = make_bytes(3 * CHUNK, 1);
	int fd, source = make_file(NULL, size);
	uint64_t dense = 0;

	/* Data: one chunk, one page, the rest of it at an odd place. */
	memcpy(bytes + CHUNK, data, CHUNK);
	memcpy(bytes + 10 * CHUNK, data, page);
	memcpy(bytes + 20 * CHUNK + 100, data, CHUNK);
	for (hole = 0; hole < size; hole += 100)
		if (hole + 100 <= size && memcmp(bytes + hole, bytes, 100))
			assert_int_equal(pwrite(source, bytes + hole, 100, hole), 100);
	for (hole = 0; hole < size; hole += page)
		dense += !!memcmp(bytes + hole, bytes, page);

	fd = make_target(p->kind, size + CHUNK);
	gmem_set_threads(g, 2);
	gmem_set_verify(g, true);
	assert_ok(g, gmem_populate_file(g, fd, CHUNK, source, 0, GMEM_ALL));
	assert_done(g, CHUNK, size);
	assert_int_equal(populated_pages(g, fd), gmem_stats(g)->pages_written);
	/* sendfile does not look: some file systems have larger holes than pages. */
	if (p->method == GMEM_METHOD_SENDFILE)
		assert_in_range(gmem_stats(g)->pages_written, dense, size / page / 2);
	else
		assert_int_equal(gmem_stats(g)->pages_written, dense);
	assert_target(fd, CHUNK, bytes, size);

	/* What was there is overwritten by the holes' zeros. */
	fd = make_target(p->kind, size);
	gmem_set_method(g, GMEM_METHOD_AUTO);
	assert_ok(g, gmem_populate_buffer(g, fd, 0, data, 3 * CHUNK));
	gmem_set_method(g, p->method);
	assert_ok(g, gmem_populate_file(g, fd, 0, source, 0, GMEM_ALL));
	assert_target(fd, 0, bytes, size);
	assert_done(g, 0, size);

	/* At an odd offset in the source pages straddle the holes. */
	fd = make_target(p->kind, size);
	assert_ok(g, gmem_populate_file(g, fd, 0, source, 50, size - page));
	assert_target(fd, 0, bytes + 50, size - page);

	/* As asked: every page. */
	fd = make_target(p->kind, size);
	gmem_set_zero(g, GMEM_ZERO_WRITE);
	assert_ok(g, gmem_populate_file(g, fd, 0, source, 0, GMEM_ALL));
	assert_int_equal(gmem_stats(g)->pages_written, size / page);
	assert_target(fd, 0, bytes, size);
	end(g);
}

static void test_zeros(void **state)
{
	const struct param *p = *state;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(64 * page, 1), *old = make_bytes(64 * page, 2);
	int fd = make_target(p->kind, 64 * page);

	memset(bytes + page, 0, page);
	memset(bytes + 7 * page, 0, 20 * page);
	bytes[9 * page - 1] = 1;	/* a page with one byte, the last */
	memset(bytes + 63 * page, 0, page);

	assert_ok(g, gmem_populate_buffer(g, fd, 0, bytes, 64 * page));
	assert_int_equal(gmem_stats(g)->pages_skipped, 21);
	assert_int_equal(populated_pages(g, fd), 43);
	assert_target(fd, 0, bytes, 64 * page);

	/* Only half of it is fresh. */
	fd = make_target(p->kind, 64 * page);
	assert_ok(g, gmem_populate_buffer(g, fd, 0, old, 10 * page));
	assert_ok(g, gmem_populate_buffer(g, fd, 0, bytes, 64 * page));
	assert_int_equal(gmem_stats(g)->pages_skipped, 18);
	assert_target(fd, 0, bytes, 64 * page);

	/* The caller's word is taken, unless it is to be verified. */
	assert_ok(g, gmem_populate_buffer(g, fd, 0, old, 64 * page));
	assert_ok(g, gmem_set_zero(g, GMEM_ZERO_FRESH));
	assert_ok(g, gmem_populate_buffer(g, fd, 0, bytes, 64 * page));
	assert_int_equal(gmem_stats(g)->pages_skipped, 21);
	assert_target(fd, page, old + page, page);
	gmem_set_verify(g, true);
	assert_ok(g, gmem_populate_buffer(g, fd, 0, bytes, 64 * page));
	assert_int_equal(gmem_stats(g)->pages_skipped, 0);
	assert_target(fd, 0, bytes, 64 * page);
	end(g);
}

/* The source's pages are not the target's: chunks, and pipes, of one page. */
static void test_odd_offset(void **state)
{
	const struct param *p = *state;
	const size_t size = 5 * page;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(size + 2, 1);
	int source = make_file(bytes, size + 2), fd = make_target(p->kind, size);

	assert_ok(g, gmem_set_chunk(g, page));
	assert_ok(g, gmem_populate_file(g, fd, 0, source, 2, size));
	assert_target(fd, 0, bytes + 2, size);
	end(g);
}

static void test_bounds(void **state)
{
	const struct param *p = *state;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(4 * page, 1);
	int source = make_file(bytes, 4 * page), fd = make_target(p->kind, 3 * page);

	assert_fails(g, gmem_populate_buffer(g, fd, 0, bytes, 4 * page), -ENOSPC, "do not fit");
	assert_fails(g, gmem_populate_buffer(g, fd, 3 * page, bytes, page), -ENOSPC, "do not fit");
	assert_fails(g, gmem_populate_buffer(g, fd, 4 * page, bytes, 0), -ENOSPC, "do not fit");
	assert_fails(g, gmem_populate_buffer(g, fd, -page, bytes, 2 * page), -ENOSPC, "do not fit");
	assert_fails(g, gmem_populate_buffer(g, fd, 100, bytes, page), -EINVAL, "page size");
	assert_fails(g, gmem_populate_file(g, fd, 0, source, 0, GMEM_ALL), -ENOSPC, "do not fit");
	assert_fails(g, gmem_populate_file(g, fd, 0, source, 2 * page, 3 * page), -ENODATA, "too few");
	assert_fails(g, gmem_populate_file(g, fd, 0, source, 5 * page, GMEM_ALL), -ENODATA, "too few");
	assert_int_equal(populated_pages(g, fd), 0);
	assert_int_equal(gmem_stats(g)->up_to, 0);

	/* Right up to the end. */
	assert_ok(g, gmem_populate_file(g, fd, page, source, 2 * page, GMEM_ALL));
	assert_ok(g, gmem_populate_buffer(g, fd, 3 * page, bytes, 0));
	assert_target(fd, page, bytes + 2 * page, 2 * page);
	end(g);
}

/* A source that shrinks while it is read: everything below up_to is done. */
struct shrinking {
	int source;
	uint64_t to;
};

static int shrink(const struct gmem_progress *progress, void *arg)
{
	const struct shrinking *s = arg;

	(void)progress;
	return ftruncate(s->source, s->to);
}

static void test_shrinking(void **state)
{
	const struct param *p = *state;
	size_t size = 40 * CHUNK;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(size, 1);
	struct shrinking s = { .source = make_file(bytes, size), .to = 7 * CHUNK + 3 * page + 55 };
	int err, fd = make_target(p->kind, size);
	unsigned int threads;

	gmem_set_progress(g, shrink, &s);
	for (threads = 1; threads <= 3; threads += 2) {
		assert_int_equal(ftruncate(s.source, 0), 0);
		assert_int_equal(pwrite(s.source, bytes, size, 0), size);
		gmem_set_threads(g, threads);
		err = gmem_populate_file(g, fd, 0, s.source, 0, GMEM_ALL);
		if (err || threads == 1) {	/* others may be done before the first begins */
			assert_fails(g, err, -ENODATA, "shrank");
			assert_true(gmem_stats(g)->bytes < size);
		}
		assert_target(fd, 0, bytes, gmem_stats(g)->up_to / page * page);
		if (threads == 1) {
			assert_int_equal(gmem_stats(g)->up_to, gmem_stats(g)->bytes);
			assert_true(gmem_stats(g)->up_to <= s.to);
		}
	}
	end(g);
}

/* Beyond RLIMIT_FSIZE: EFBIG, and no SIGXFSZ for the caller. */
static void test_file_size_limit(void **state)
{
	const struct param *p = *state;
	const struct gmem_range last = { 30 * CHUNK, CHUNK };
	size_t size = 40 * CHUNK, limit = 20 * CHUNK + page;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(size, 1);
	int err, source = make_file(bytes, size), fd = make_target(p->kind, size);
	struct rlimit old, low;

	getrlimit(RLIMIT_FSIZE, &old);
	low = (struct rlimit) { .rlim_cur = limit, .rlim_max = old.rlim_max };
	gmem_set_threads(g, 1);
	setrlimit(RLIMIT_FSIZE, &low);
	err = gmem_populate_file(g, fd, 0, source, 0, GMEM_ALL);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_fails(g, err, -EFBIG, "ulimit -f");
	assert_int_equal(gmem_stats(g)->up_to, limit);
	assert_target(fd, 0, bytes, limit);
	assert_int_equal(populated_pages(g, fd), limit / page);

	/* The order is heeded: what is beyond the limit comes first. */
	fd = make_target(p->kind, size);
	assert_ok(g, gmem_set_order(g, &last, 1));
	setrlimit(RLIMIT_FSIZE, &low);
	err = gmem_populate_file(g, fd, 0, source, 0, GMEM_ALL);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_fails(g, err, -EFBIG, "0x1e0000");
	assert_int_equal(gmem_stats(g)->up_to, 0);
	assert_int_equal(populated_pages(g, fd), 0);
	end(g);
}

/* Overlaps, ranges outside, single pages: in whatever order, all is done once. */
static void test_order(void **state)
{
	const struct param *p = *state;
	size_t size = 10 * CHUNK + 3 * page, n = 0, i;
	struct gmem_range order[64];
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(size, 1);
	int source = make_file(bytes, size), fd = make_target(p->kind, 2 * MIB);

	order[n++] = (struct gmem_range) { 0, 2 * page };	/* below */
	order[n++] = (struct gmem_range) { 2 * MIB, page };	/* above */
	order[n++] = (struct gmem_range) { 8 * CHUNK, 3 * CHUNK };
	order[n++] = (struct gmem_range) { 7 * CHUNK + page, 2 * CHUNK };
	order[n++] = (struct gmem_range) { 9 * CHUNK, 0 };
	for (i = 0; i < 50; i++)
		order[n++] = (struct gmem_range) { (i * 37 % 160) * page, (i % 3 + 1) * page };

	assert_ok(g, gmem_set_order(g, order, n));
	for (i = 1; i <= 4; i++) {
		gmem_set_threads(g, i);
		assert_ok(g, gmem_populate_file(g, fd, CHUNK, source, 0, GMEM_ALL));
		assert_done(g, CHUNK, size);
		assert_target(fd, CHUNK, bytes, size);
	}
	end(g);
}

/* An order that names the same 64 GiB again and again takes no longer than to read it. */
static void test_order_repeats(void **state)
{
	const struct param *p = *state;
	const uint64_t size = 64 * KIB * MIB;
	const size_t lines = 100000;
	struct gmem_context *g = begin();
	struct gmem_range *order = (void *)make_zeros(lines * sizeof(*order));
	char *bytes = make_bytes(page, 1);
	int source = make_file(NULL, 0), fd = make_target(p->kind, size);
	size_t i;

	assert_int_equal(pwrite(source, bytes, page, size / 2), (ssize_t)page);
	assert_int_equal(ftruncate(source, size), 0);
	for (i = 0; i < lines; i++)
		order[i] = (struct gmem_range) { i % 2 * page, size - 2 * page };

	assert_ok(g, gmem_set_order(g, order, lines));
	assert_ok(g, gmem_populate_file(g, fd, 0, source, 0, GMEM_ALL));
	assert_done(g, 0, size);
	assert_int_equal(populated_pages(g, fd), 1);
	assert_target(fd, size / 2, bytes, page);
	end(g);
}

/*
 * Cancelling
 */

static int refuse(const struct gmem_progress *progress, void *arg)
{
	assert_true(progress->done <= progress->total && progress->ms >= 0);
	*(int *)arg += 1;
	return 1;
}

static void test_cancel(void **state)
{
	const struct param *p = *state;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(20 * CHUNK, 1);
	int fd = make_target(p->kind, 20 * CHUNK), calls = 0;
	struct gmem_probe *probe;
	uint64_t size;

	gmem_set_threads(g, 3);

	/* Before: the next one is it, and only that; others in between don't heed it. */
	gmem_cancel(g);
	assert_int_equal(gmem_set_threads(g, 9999), -EINVAL);
	assert_true(gmem_examine(g, fd, &size) > 0);
	assert_fails(g, gmem_create(g, -1, page + 1, 0, 0), -EINVAL, "whole pages");
	assert_ok(g, gmem_probe(g, -1, &probe));
	gmem_probe_free(probe);
	assert_fails(g, gmem_populate_buffer(g, fd, 0, bytes, 20 * CHUNK), -ECANCELED, "cancelled");
	assert_ok(g, gmem_populate_buffer(g, fd, 0, bytes, 20 * CHUNK));
	assert_string_equal(gmem_error(g), "");

	/* From the progress callback, which is called at least at the beginning. */
	gmem_set_progress(g, refuse, &calls);
	assert_fails(g, gmem_populate_buffer(g, fd, 0, bytes, 20 * CHUNK), -ECANCELED, "cancelled");
	assert_true(calls >= 1);
	assert_true(gmem_stats(g)->bytes < 20 * CHUNK);
	gmem_set_progress(g, NULL, NULL);
	assert_ok(g, gmem_populate_buffer(g, fd, 0, bytes, 20 * CHUNK));
	assert_target(fd, 0, bytes, 20 * CHUNK);
	end(g);
}

struct canceller {
	struct gmem_context *g;
	atomic_bool stop;
};

static void *keep_cancelling(void *arg)
{
	struct canceller *c = arg;

	while (!c->stop) {
		usleep(500);
		gmem_cancel(c->g);
	}
	return NULL;
}

/* From another thread, at any moment: done or cancelled, and up_to is right. */
static void test_cancel_race(void **state)
{
	const struct param *p = *state;
	size_t size = 30 * CHUNK;
	struct canceller c = { .g = begin_by(p) };
	char *bytes = make_bytes(size, 1);
	int fd, i, err, cancelled = 0;
	pthread_t thread;

	gmem_set_threads(c.g, 2);
	pthread_create(&thread, NULL, keep_cancelling, &c);
	for (i = 0; i < 50 || (!cancelled && i < 5000); i++) {
		fd = make_target(p->kind, size);
		err = gmem_populate_buffer(c.g, fd, 0, bytes, size);
		assert_true(err == 0 || err == -ECANCELED);
		cancelled += err == -ECANCELED;
		assert_target(fd, 0, bytes, gmem_stats(c.g)->up_to);
		if (!err)
			assert_int_equal(gmem_stats(c.g)->up_to, size);
		close(fd);
	}
	c.stop = true;
	pthread_join(thread, NULL);
	assert_true(cancelled > 0);
	end(c.g);
}

/*
 * Verification notices a source that is not what it was. A byte of the file
 * changes all the time, by which it is at times another when it is compared.
 */
struct flipper {
	int source;
	atomic_bool stop;
};

static void *keep_flipping(void *arg)
{
	struct flipper *f = arg;
	unsigned char byte;

	for (byte = 0; !f->stop; byte++)
		if (pwrite(f->source, &byte, 1, 5 * CHUNK + 77) != 1)
			break;
	return NULL;
}

static void test_verify(void **state)
{
	const struct param *p = *state;
	size_t size = 9 * CHUNK;
	struct gmem_context *g = begin_by(p);
	struct flipper f = { .source = make_file(make_bytes(size, 1), size) };
	int i, err = 0, fd = make_target(p->kind, size);
	pthread_t thread;

	gmem_set_verify(g, true);
	gmem_set_threads(g, 2);
	assert_ok(g, gmem_populate_file(g, fd, 0, f.source, 0, GMEM_ALL));
	pthread_create(&thread, NULL, keep_flipping, &f);
	for (i = 0; i < 10000 && !err; i++)
		err = gmem_populate_file(g, fd, 0, f.source, 0, GMEM_ALL);
	f.stop = true;
	pthread_join(thread, NULL);
	assert_fails(g, err, -EILSEQ, "0x5004d");
	end(g);
}

/* A file system that takes data for a hole: verification reads what is really there. */
static void test_lying_source(void **state)
{
	const struct param *p = *state;
	struct gmem_context *g = begin_by(p);
	int source = make_file(make_bytes(3 * CHUNK, 1), 3 * CHUNK), fd = make_target(p->kind, 3 * CHUNK);
	struct stat st;

	assert_int_equal(fstat(source, &st), 0);
	quirks.liar = st.st_ino;
	gmem_set_verify(g, true);
	assert_fails(g, gmem_populate_file(g, fd, 0, source, 0, GMEM_ALL), -EILSEQ, "verification failed");
	end(g);
}

/* Guest memory that cannot be read when it is verified is an error, not a SIGBUS. */
static void test_unreadable_target(void **state)
{
	struct gmem_context *g;
	char *bytes;
	int fd;

	(void)state;
	if (!madvise(NULL, 0, 0x7fff)) {
		print_message("%s\n", "QEMU takes any madvise() for done");
		skip();
	}
	g = begin();
	bytes = make_bytes(CHUNK, 1);
	fd = quirks.shrinks = make_target(MEMFD, CHUNK);
	gmem_set_verify(g, true);
	gmem_set_overwrite(g, false);
	assert_fails(g, gmem_populate_buffer(g, fd, 0, bytes, CHUNK), -EFAULT, "reading guest memory at 0");
	end(g);
}

static void put(int layer, char *expected, const char *bytes, size_t length, uint64_t at)
{
	assert_int_equal(pwrite(layer, bytes, length, at), length);
	memcpy(expected + at, bytes, length);
}

/* An upper layer whose data the file system takes for a hole is not looked through. */
static void assert_lies_show(struct gmem_context *g, enum kind kind, const int *layers, int n, uint64_t size)
{
	struct stat st;
	int i;

	for (i = 2; i < 2 * n; i++) {
		assert_int_equal(fstat(layers[i / 2], &st), 0);
		quirks.liar = st.st_ino;
		gmem_set_overwrite(g, i % 2);
		assert_fails(g, gmem_populate_layers(g, make_target(kind, size), 0, layers, n), -EILSEQ, "verification failed: layer");
	}
	quirks.liar = 0;
}

/* One image upon the other: a page is the last's that has it, or a hole of all. */
static void test_layers(void **state)
{
	const struct param *p = *state;
	const size_t size = 6 * CHUNK;
	const bool refused = refuses(p->kind, p->method) || p->method >= GMEM_METHOD_SENDFILE;
	const struct gmem_range first = { 4 * CHUNK + page, page };
	struct gmem_context *g = begin_by(p);
	char *bytes[3], *expected = make_zeros(size);
	int layers[3], fd;
	unsigned int i, threads;

	for (i = 0; i < 3; i++) {
		bytes[i] = make_bytes(CHUNK, i);
		layers[i] = make_file(NULL, (4 + i) * CHUNK);
	}
	/* The base has two chunks, the next a page of one and one between them, the last its end. */
	put(layers[0], expected, bytes[0], CHUNK, 0);
	put(layers[0], expected, bytes[0], CHUNK, 3 * CHUNK);
	put(layers[1], expected, bytes[1], page, 3 * page);
	put(layers[1], expected, bytes[1], CHUNK, 2 * CHUNK);
	put(layers[1], expected, bytes[1], page, 3 * CHUNK);
	put(layers[2], expected, bytes[2], page, 3 * CHUNK);
	put(layers[2], expected, bytes[2], 2 * page, 5 * CHUNK + page);

	assert_ok(g, gmem_set_verify(g, true));
	for (threads = 1; threads <= 3; threads += 2) {
		fd = make_target(p->kind, size + page);
		assert_ok(g, gmem_set_threads(g, threads));
		assert_ok(g, gmem_set_order(g, &first, threads == 3));
		if (refused) {
			assert_fails(g, gmem_populate_layers(g, fd, page, layers, 3), -EOPNOTSUPP, "method");
		} else {
			assert_ok(g, gmem_populate_layers(g, fd, page, layers, 3));
			assert_done(g, page, size);
			assert_int_equal(gmem_stats(g)->pages_written, 3 * CHUNK / page + 2);
			assert_int_equal(gmem_stats(g)->pages_written, populated_pages(g, fd));
			assert_target(fd, page, expected, size);
		}
	}
	if (!refused)
		assert_lies_show(g, p->kind, layers, 3, size);

	end(g);
}

/* What is there already is left alone, and counted; zeros as well as data. */
static void test_keep(void **state)
{
	const struct param *p = *state;
	const bool refused = refuses(p->kind, p->method) || p->method == GMEM_METHOD_SENDFILE;
	const size_t size = 2 * CHUNK;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(size, 1), *old = make_bytes(page, 2);
	int source, fd = make_target(p->kind, size);

	memset(bytes + 5 * page, 0, 2 * page);
	source = make_file(bytes, size);
	gmem_set_method(g, GMEM_METHOD_AUTO);
	assert_ok(g, gmem_populate_buffer(g, fd, 3 * page, old, page));
	assert_ok(g, gmem_populate_buffer(g, fd, 6 * page, old, page));
	assert_ok(g, gmem_set_method(g, p->method));
	gmem_set_overwrite(g, false);
	gmem_set_verify(g, true);
	if (refused) {
		assert_fails(g, gmem_populate_file(g, fd, 0, source, 0, GMEM_ALL), -EOPNOTSUPP, "method");
	} else {
		assert_ok(g, gmem_populate_file(g, fd, 0, source, 0, GMEM_ALL));
		assert_int_equal(gmem_stats(g)->pages_present, 2);
		assert_int_equal(gmem_stats(g)->pages_skipped, 1);
		assert_int_equal(gmem_stats(g)->pages_written, size / page - 3);
		assert_int_equal(gmem_stats(g)->up_to, size);
		memcpy(bytes + 3 * page, old, page);
		memcpy(bytes + 6 * page, old, page);
		assert_target(fd, 0, bytes, size);
	}
	end(g);
}

struct racer {
	struct gmem_context *g;
	int fd;
	const char *bytes;
	size_t size;
	int err;
	uint64_t written;
};

static void *populate_backwards(void *arg)
{
	struct racer *r = arg;
	size_t at = r->size;

	while (at && !r->err) {
		at -= 4 * page;
		r->err = gmem_populate_buffer(r->g, r->fd, at, r->bytes + at, 4 * page);
		r->written += gmem_stats(r->g)->pages_written;
	}
	return NULL;
}

/* Two who populate the same pages at once, which the kernel does not overwrite: each page is one's. */
static void test_race_for_pages(void **state)
{
	const size_t size = 40 * CHUNK;
	char *bytes[2], *map;
	struct gmem_context *g, *other;
	struct racer racer;
	pthread_t thread;
	uint64_t written, i;
	int fd;

	(void)state;
	skip_unless_no_overwrite();
	g = begin();
	bytes[0] = make_bytes(size, 1);
	bytes[1] = make_bytes(size, 2);
	fd = make_no_overwrite(size);
	assert_int_equal(gmem_context_new(&other), 0);
	racer = (struct racer) { .g = other, .fd = fd, .bytes = bytes[1], .size = size };
	gmem_set_overwrite(g, false);
	gmem_set_overwrite(other, false);
	pthread_create(&thread, NULL, populate_backwards, &racer);
	assert_ok(g, gmem_populate_buffer(g, fd, 0, bytes[0], size));
	pthread_join(thread, NULL);
	assert_int_equal(racer.err, 0);
	written = gmem_stats(g)->pages_written + racer.written;
	assert_int_equal(written, size / page);

	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	for (i = 0; i < size; i += page)
		assert_true(!memcmp(map + i, bytes[0] + i, page) || !memcmp(map + i, bytes[1] + i, page));
	munmap(map, size);

	gmem_set_overwrite(g, true);
	assert_fails(g, gmem_populate_buffer(g, fd, 0, bytes[0], size), -EEXIST, "populated already");
	gmem_context_free(other);
	end(g);
}

/* Contexts are independent: populate different ranges of one file from many threads. */
struct neighbour {
	pthread_t thread;
	int fd;
	unsigned int i;
	int err;
};

static void *populate_own(void *arg)
{
	struct neighbour *n = arg;
	char *bytes = make_bytes(3 * CHUNK, n->i);
	struct gmem_context *g;

	n->err = gmem_context_new(&g);
	if (!n->err) {
		gmem_set_threads(g, 2);
		gmem_set_chunk(g, CHUNK);
		n->err = gmem_populate_buffer(g, n->fd, n->i * 3 * CHUNK, bytes, 3 * CHUNK);
		gmem_context_free(g);
	}
	return NULL;
}

static void test_concurrent(void **state)
{
	const struct param *p = *state;
	struct gmem_context *g = begin_by(p);
	struct neighbour n[8];
	char *bytes;
	int i, fd = make_target(p->kind, 24 * CHUNK);

	for (i = 0; i < 8; i++) {
		n[i] = (struct neighbour) { .fd = fd, .i = i };
		pthread_create(&n[i].thread, NULL, populate_own, &n[i]);
	}
	for (i = 0; i < 8; i++) {
		pthread_join(n[i].thread, NULL);
		assert_int_equal(n[i].err, 0);
		bytes = make_bytes(3 * CHUNK, i);
		assert_target(fd, i * 3 * CHUNK, bytes, 3 * CHUNK);
	}
	end(g);
}

/* A second operation on a context that is busy is refused. */
static int use_again(const struct gmem_progress *progress, void *arg)
{
	struct gmem_context *g = arg;
	struct gmem_demand *demand;
	struct gmem_probe *probe;
	uint64_t size;

	(void)progress;
	assert_int_equal(gmem_examine(g, 0, &size), -EBUSY);
	assert_int_equal(gmem_create(g, 0, page, 0, 0), -EBUSY);
	assert_int_equal(gmem_probe(g, -1, &probe), -EBUSY);
	assert_int_equal(gmem_populate_buffer(g, 0, 0, NULL, 0), -EBUSY);
	assert_int_equal(gmem_demand_new(g, 0, 0, page, page, NULL, NULL, &demand), -EBUSY);
	assert_int_equal(gmem_set_method(g, GMEM_METHOD_MMAP), -EBUSY);
	assert_int_equal(gmem_set_threads(g, 1), -EBUSY);
	assert_int_equal(gmem_set_chunk(g, page), -EBUSY);
	assert_int_equal(gmem_set_zero(g, GMEM_ZERO_WRITE), -EBUSY);
	assert_int_equal(gmem_set_overwrite(g, false), -EBUSY);
	assert_int_equal(gmem_set_pad(g, true), -EBUSY);
	assert_int_equal(gmem_set_direct(g, true), -EBUSY);
	assert_int_equal(gmem_set_verify(g, true), -EBUSY);
	assert_int_equal(gmem_set_progress(g, NULL, NULL), -EBUSY);
	assert_int_equal(gmem_set_order(g, NULL, 0), -EBUSY);
	return 0;
}

static void test_busy(void **state)
{
	struct gmem_context *g = begin();
	char *bytes = make_bytes(CHUNK, 1);
	int fd = make_target(MEMFD, CHUNK);

	(void)state;
	gmem_set_progress(g, use_again, g);
	assert_ok(g, gmem_populate_buffer(g, fd, 0, bytes, CHUNK));
	assert_target(fd, 0, bytes, CHUNK);
	end(g);
}

/* Private memory is the guest's own: an error, not a SIGBUS. */
static void test_private(void **state)
{
	const struct param *p = *state;
	const bool writes = kind_writes(p->kind);
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(2 * CHUNK, 1);
	int vm = make_vm(), fd = gmem_create(g, vm, 2 * CHUNK, GMEM_FLAG_MMAP, writes ? GMEM_FLAG_WRITE : 0);

	assert_ok(g, fd);
	if (writes)
		assert_fails(g, gmem_populate_buffer(g, fd, 0, bytes, 2 * CHUNK), -EACCES, "private");
	assert_ok(g, gmem_set_method(g, GMEM_METHOD_MMAP));
	assert_fails(g, gmem_populate_buffer(g, fd, 0, bytes, 2 * CHUNK), -EFAULT, "private");
	assert_int_equal(gmem_stats(g)->up_to, 0);
	close(fd);
	close(vm);
	end(g);
}

/* The caller's position in the guest_memfd stays where it is. */
static void test_position(void **state)
{
	const struct param *p = *state;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(3 * CHUNK, 1);
	int source = make_file(bytes, 3 * CHUNK), fd = make_target(p->kind, 3 * CHUNK);

	assert_int_equal(lseek(fd, page, SEEK_SET), page);
	quirks.watched = fd;
	assert_ok(g, gmem_populate_file(g, fd, 0, source, 0, GMEM_ALL));
	assert_int_equal(lseek(fd, 0, SEEK_CUR), page);
	assert_int_equal(quirks.moves, 0);
	end(g);
}

int main(void)
{
	enum gmem_method method;
	enum kind kind;

	page = sysconf(_SC_PAGESIZE);
	for (kind = 0; kind < NR_KINDS; kind++) {
		for (method = GMEM_METHOD_AUTO; method <= GMEM_METHOD_IO_URING; method++) {
			add_test("file", test_file, kind, method);
			add_test("no overwriting", test_keep, kind, method);
			add_test("layers", test_layers, kind, method);
			add_test("buffer", test_buffer, kind, method);
			if (refuses(kind, method))
				continue;
			add_test("padding", test_pad, kind, method);
			add_test("sparse file", test_sparse, kind, method);
			add_test("odd offset", test_odd_offset, kind, method);
			add_test("shrinking source", test_shrinking, kind, method);
			add_test("order", test_order, kind, method);
			add_test("verify", test_verify, kind, method);
			add_test("verify a lying source", test_lying_source, kind, method);
			if (method <= GMEM_METHOD_MMAP)
				add_test("zeros", test_zeros, kind, method);
			if (kind_writes(kind))
				add_test("file position", test_position, kind, method);
			/* Only write() knows of it. */
			if (kind_writes(kind) && method != GMEM_METHOD_MMAP)
				add_test("RLIMIT_FSIZE", test_file_size_limit, kind, method);
		}
		add_test("bounds", test_bounds, kind, GMEM_METHOD_AUTO);
		add_test("cancel", test_cancel, kind, GMEM_METHOD_AUTO);
		add_test("cancel from a thread", test_cancel_race, kind, GMEM_METHOD_AUTO);
		add_test("many contexts", test_concurrent, kind, GMEM_METHOD_AUTO);
	}
	add_test("private", test_private, GUEST_MEMFD, GMEM_METHOD_AUTO);
	add_test("private", test_private, GUEST_MEMFD_MMAP, GMEM_METHOD_AUTO);
	add_test("unreadable", test_unreadable_target, MEMFD, GMEM_METHOD_AUTO);
	add_test("race for pages", test_race_for_pages, GUEST_MEMFD, GMEM_METHOD_WRITE);
	add_test("busy", test_busy, MEMFD, GMEM_METHOD_AUTO);
	add_test("order that repeats itself", test_order_repeats, MEMFD, GMEM_METHOD_AUTO);
	return run_all("populate");
}
