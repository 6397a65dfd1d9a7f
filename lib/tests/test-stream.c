// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Populate from streams: pipes and sockets, whatever their chunks and their fate. */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static long page;

/* All of a pipe that has those bytes. */
static int populate_from_pipe(struct gmem_context *g, int fd, const char *bytes, size_t size, size_t piece)
{
	pid_t writer;
	int source = make_pipe(bytes, size, piece, &writer);
	int err = gmem_populate_stream(g, fd, 0, source, GMEM_ALL);

	close(source);
	reap(writer);
	return err;
}

static void test_chunks(void **state)
{
	static const size_t pieces[] = { 1000, 4096, 65536, 100001 };
	const size_t sizes[] = { 0, page, 3 * CHUNK, 5 * CHUNK + 3 * page };
	const struct param *p = *state;
	bool refused = must_refuse(p);
	struct gmem_context *g = begin();
	size_t i, j;
	char *bytes;
	pid_t writer;
	int fd, source;

	assert_ok(g, gmem_set_method(g, p->method));
	for (i = 0; i < 4; i++) {
		for (j = 0; j < 4; j++) {
			fd = make_target(p->kind, MIB);
			bytes = make_bytes(sizes[i], j);
			source = make_pipe(bytes, sizes[i], pieces[j], &writer);
			gmem_set_verify(g, j == 3);
			if (refused || p->method == GMEM_METHOD_SENDFILE) {
				assert_fails(g, gmem_populate_stream(g, fd, 0, source, GMEM_ALL), -EOPNOTSUPP, "method");
			} else {
				assert_ok(g, gmem_populate_stream(g, fd, page, source, j == 2 ? sizes[i] : GMEM_ALL));
				assert_int_equal(gmem_stats(g)->bytes, sizes[i]);
				assert_int_equal(gmem_stats(g)->up_to, page + sizes[i]);
				assert_int_equal(populated_pages(g, fd), sizes[i] / page);
				assert_target(fd, page, bytes, sizes[i]);
			}
			close(source);
			reap(writer);
		}
	}
	end(g);
}

static void test_pad(void **state)
{
	const struct param *p = *state;
	size_t size = 2 * CHUNK + page + 99;
	struct gmem_context *g = begin_by(p);
	char *bytes;
	pid_t writer;
	int fd, source;

	if (!g)
		return;
	bytes = make_bytes(size, 1);
	fd = make_target(p->kind, MIB);

	/* All whole pages are done before the end shows that there is a part. */
	assert_fails(g, populate_from_pipe(g, fd, bytes, size, 5000), -EINVAL, "99 into a page");
	assert_int_equal(gmem_stats(g)->up_to, size - 99);
	assert_target(fd, 0, bytes, size - 99);

	gmem_set_pad(g, true);
	assert_ok(g, populate_from_pipe(g, fd, bytes, size, 5000));
	assert_target(fd, 0, bytes, size);

	/* With a length the rest stays in the stream. */
	source = make_pipe(bytes, size, 5000, &writer);
	assert_ok(g, gmem_populate_stream(g, fd, 0, source, CHUNK + 10));
	assert_target(fd, 0, bytes, CHUNK + 10);
	assert_ok(g, gmem_populate_stream(g, fd, MIB / 2, source, GMEM_ALL));
	assert_target(fd, MIB / 2, bytes + CHUNK + 10, size - CHUNK - 10);
	close(source);
	reap(writer);
	end(g);
}

static void test_too_large(void **state)
{
	const struct param *p = *state;
	struct gmem_context *g = begin_by(p);
	char *bytes;
	int fd;

	if (!g)
		return;
	bytes = make_bytes(3 * CHUNK, 1);
	fd = make_target(p->kind, 2 * CHUNK);
	signal(SIGPIPE, SIG_IGN);
	assert_fails(g, populate_from_pipe(g, fd, bytes, 2 * CHUNK + 1, 4096), -ENOSPC, "larger");
	assert_int_equal(gmem_stats(g)->up_to, 2 * CHUNK);
	assert_target(fd, 0, bytes, 2 * CHUNK);
	end(g);
}

/* A peer that is killed half-way, and does not close its end by itself. */
static void test_killed_peer(void **state)
{
	const struct param *p = *state;
	size_t size = 2 * CHUNK + 100;
	struct gmem_context *g = begin_by(p);
	int fd, sockets[2], i;
	char *bytes;
	pid_t peer;

	if (!g)
		return;
	bytes = make_bytes(size, 1);
	for (i = 0; i < 2; i++) {
		fd = make_target(p->kind, MIB);
		if (i)
			assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
		else
			assert_int_equal(pipe2(sockets, O_CLOEXEC), 0);
		peer = fork();
		if (!peer) {
			close(sockets[0]);
			_exit(write(sockets[1], bytes, size) == (ssize_t)size ? raise(SIGKILL) : 1);
		}
		close(sockets[1]);
		assert_fails(g, gmem_populate_stream(g, fd, 0, sockets[0], MIB), -ENODATA, "killed");
		assert_int_equal(gmem_stats(g)->up_to, 2 * CHUNK);
		assert_target(fd, 0, bytes, 2 * CHUNK);
		close(sockets[0]);
		reap(peer);
	}
	end(g);
}

/* Reading where the kernel has nothing for it: EIO, after a start. */
static void test_io_error(void **state)
{
	const struct param *p = *state;
	struct gmem_context *g = begin_by(p);
	int fd, source;

	if (!g)
		return;
	fd = make_target(p->kind, MIB);
	source = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	assert_true(source >= 0);
	assert_fails(g, gmem_populate_stream(g, fd, 0, source, GMEM_ALL), -EIO, "reading the source at 0");
	assert_int_equal(gmem_stats(g)->up_to, 0);
	close(source);
	end(g);
}

static void *cancel_soon(void *arg)
{
	usleep(20000);
	gmem_cancel(arg);
	return NULL;
}

/* A peer that neither writes nor closes: cancelling gets us out of it. */
static void test_cancel(void **state)
{
	const struct param *p = *state;
	struct gmem_context *g = begin_by(p);
	char *bytes;
	pthread_t thread;
	int fd, ends[2];

	if (!g)
		return;
	if (p->method == GMEM_METHOD_IO_URING && strstr(getenv("LD_PRELOAD") ?: "", "vgpreload")) {
		end(g);
		print_message("valgrind does not know that io_uring_enter() waits: no other thread would run\n");
		skip();
	}
	bytes = make_bytes(CHUNK, 1);
	fd = make_target(p->kind, MIB);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], bytes, page + 1), page + 1);
	pthread_create(&thread, NULL, cancel_soon, g);
	assert_fails(g, gmem_populate_stream(g, fd, 0, ends[0], GMEM_ALL), -ECANCELED, "cancelled");
	pthread_join(thread, NULL);

	/* The next is not affected. */
	assert_int_equal(write(ends[1], bytes, page), page);
	assert_ok(g, gmem_populate_stream(g, fd, 0, ends[0], page));
	close(ends[0]);
	close(ends[1]);
	end(g);
}

/* A descriptor that does not wait by itself. */
static void test_nonblocking(void **state)
{
	const struct param *p = *state;
	size_t size = 3 * CHUNK;
	struct gmem_context *g = begin_by(p);
	char *bytes;
	pid_t writer;
	int fd, source;

	if (!g)
		return;
	bytes = make_bytes(size, 1);
	fd = make_target(p->kind, MIB);
	source = make_pipe(bytes, size, 333, &writer);
	fcntl(source, F_SETFL, O_NONBLOCK);
	assert_ok(g, gmem_populate_stream(g, fd, 0, source, GMEM_ALL));
	assert_target(fd, 0, bytes, size);
	close(source);
	reap(writer);
	end(g);
}

static void test_zeros(void **state)
{
	const struct param *p = *state;
	size_t size = 3 * CHUNK;
	struct gmem_context *g = begin_by(p);
	char *bytes;
	int fd;

	if (!g)
		return;
	bytes = make_bytes(size, 1);
	memset(bytes + page, 0, CHUNK);
	fd = make_target(p->kind, MIB);
	assert_ok(g, populate_from_pipe(g, fd, bytes, size, 10000));
	assert_int_equal(gmem_stats(g)->pages_skipped, CHUNK / page);
	assert_int_equal(populated_pages(g, fd), (size - CHUNK) / page);
	assert_target(fd, 0, bytes, size);
	end(g);
}

#define TEST(name, fn, k) \
	{ name ": memfd: " #k, fn, NULL, NULL, &(static_params[0][GMEM_METHOD_##k]) }, \
	{ name ": guest_memfd: " #k, fn, NULL, NULL, &(static_params[1][GMEM_METHOD_##k]) }, \
	{ name ": guest_memfd without WRITE: " #k, fn, NULL, NULL, &(static_params[2][GMEM_METHOD_##k]) }

static struct param static_params[NR_KINDS][5];

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("chunks", test_chunks, AUTO),
		TEST("chunks", test_chunks, WRITE),
		TEST("chunks", test_chunks, MMAP),
		TEST("chunks", test_chunks, SENDFILE),
		TEST("chunks", test_chunks, IO_URING),
		TEST("padding", test_pad, AUTO),
		TEST("padding", test_pad, MMAP),
		TEST("padding", test_pad, IO_URING),
		TEST("too large", test_too_large, AUTO),
		TEST("too large", test_too_large, IO_URING),
		TEST("killed peer", test_killed_peer, AUTO),
		TEST("killed peer", test_killed_peer, IO_URING),
		TEST("EIO", test_io_error, AUTO),
		TEST("EIO", test_io_error, IO_URING),
		TEST("cancel", test_cancel, AUTO),
		TEST("cancel", test_cancel, IO_URING),
		TEST("non-blocking", test_nonblocking, AUTO),
		TEST("non-blocking", test_nonblocking, IO_URING),
		TEST("zeros", test_zeros, AUTO),
		TEST("zeros", test_zeros, IO_URING),
	};
	enum kind kind;
	int method;

	page = sysconf(_SC_PAGESIZE);
	for (kind = 0; kind < NR_KINDS; kind++)
		for (method = 0; method < 5; method++)
			static_params[kind][method] = (struct param) { kind, method };
	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
