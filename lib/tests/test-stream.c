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

static void test_chunks(void **state)
{
	static const size_t pieces[] = { 1000, 4096, 65536, 100001 };
	const size_t sizes[] = { 0, page, 3 * CHUNK, 5 * CHUNK + 3 * page };
	const struct param *p = *state;
	const bool refused = refuses(p->kind, p->method) || p->method == GMEM_METHOD_SENDFILE;
	struct gmem_context *g = begin_by(p);
	size_t i, j;
	char *bytes;
	int fd, source;

	for (i = 0; i < 4; i++) {
		for (j = 0; j < 4; j++) {
			fd = make_target(p->kind, MIB);
			bytes = make_bytes(sizes[i], j);
			source = make_pipe(bytes, sizes[i], pieces[j]);
			gmem_set_verify(g, j == 3);
			if (refused) {
				assert_fails(g, gmem_populate_stream(g, fd, 0, source, GMEM_ALL), -EOPNOTSUPP, "method");
			} else {
				assert_ok(g, gmem_populate_stream(g, fd, page, source, j == 2 ? sizes[i] : GMEM_ALL));
				assert_int_equal(gmem_stats(g)->bytes, sizes[i]);
				assert_int_equal(gmem_stats(g)->up_to, page + sizes[i]);
				assert_int_equal(populated_pages(g, fd), sizes[i] / page);
				assert_target(fd, page, bytes, sizes[i]);
			}
		}
	}
	end(g);
}

static void test_pad(void **state)
{
	const struct param *p = *state;
	size_t size = 2 * CHUNK + page + 99;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(size, 1);
	int source, fd = make_target(p->kind, MIB);

	/* All whole pages are done before the end shows that there is a part. */
	assert_fails(g, gmem_populate_stream(g, fd, 0, make_pipe(bytes, size, 5000), GMEM_ALL), -EINVAL, "99 into a page");
	assert_int_equal(gmem_stats(g)->up_to, size - 99);
	assert_target(fd, 0, bytes, size - 99);

	gmem_set_pad(g, true);
	assert_ok(g, gmem_populate_stream(g, fd, 0, make_pipe(bytes, size, 5000), GMEM_ALL));
	assert_target(fd, 0, bytes, size);

	/* With a length the rest stays in the stream. */
	source = make_pipe(bytes, size, 5000);
	assert_ok(g, gmem_populate_stream(g, fd, 0, source, CHUNK + 10));
	assert_target(fd, 0, bytes, CHUNK + 10);
	assert_ok(g, gmem_populate_stream(g, fd, MIB / 2, source, GMEM_ALL));
	assert_target(fd, MIB / 2, bytes + CHUNK + 10, size - CHUNK - 10);
	end(g);
}

static void test_too_large(void **state)
{
	const struct param *p = *state;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(3 * CHUNK, 1);
	int source = make_pipe(bytes, 2 * CHUNK + 1, 4096), fd = make_target(p->kind, 2 * CHUNK);

	assert_fails(g, gmem_populate_stream(g, fd, 0, source, GMEM_ALL), -ENOSPC, "larger");
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
	char *bytes = make_bytes(size, 1);
	int fd, sockets[2], i;
	pid_t peer;

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
	int fd = make_target(p->kind, MIB), source = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

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
	char *bytes = make_bytes(CHUNK, 1);
	int fd = make_target(p->kind, MIB), ends[2];
	pthread_t thread;

	if (p->method == GMEM_METHOD_IO_URING && strstr(getenv("LD_PRELOAD") ?: "", "vgpreload")) {
		end(g);
		print_message("valgrind does not know that io_uring_enter() waits: no other thread would run\n");
		skip();
	}
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
	char *bytes = make_bytes(size, 1);
	int source = make_pipe(bytes, size, 333), fd = make_target(p->kind, MIB);

	fcntl(source, F_SETFL, O_NONBLOCK);
	assert_ok(g, gmem_populate_stream(g, fd, 0, source, GMEM_ALL));
	assert_target(fd, 0, bytes, size);
	end(g);
}

static void test_zeros(void **state)
{
	const struct param *p = *state;
	size_t size = 3 * CHUNK;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(size, 1);
	int fd = make_target(p->kind, MIB);

	memset(bytes + page, 0, CHUNK);
	assert_ok(g, gmem_populate_stream(g, fd, 0, make_pipe(bytes, size, 10000), GMEM_ALL));
	assert_int_equal(gmem_stats(g)->pages_skipped, CHUNK / page);
	assert_int_equal(populated_pages(g, fd), (size - CHUNK) / page);
	assert_target(fd, 0, bytes, size);
	end(g);
}

int main(void)
{
	enum gmem_method method;
	enum kind kind;

	page = sysconf(_SC_PAGESIZE);
	for (kind = 0; kind < NR_KINDS; kind++) {
		for (method = GMEM_METHOD_AUTO; method <= GMEM_METHOD_IO_URING; method++) {
			add_test("chunks", test_chunks, kind, method);
			if (refuses(kind, method) || method == GMEM_METHOD_SENDFILE)
				continue;
			add_test("padding", test_pad, kind, method);
			add_test("too large", test_too_large, kind, method);
			add_test("killed peer", test_killed_peer, kind, method);
			add_test("EIO", test_io_error, kind, method);
			add_test("cancel", test_cancel, kind, method);
			add_test("non-blocking", test_nonblocking, kind, method);
			add_test("zeros", test_zeros, kind, method);
		}
	}
	return run_all("stream");
}
