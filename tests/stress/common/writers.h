/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every way to write to a file there is.  Each returns what the kernel does, -errno on
 * failure.
 */
#ifndef STRESS_WRITERS_H
#define STRESS_WRITERS_H

#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include <liburing.h>
#include <linux/fs.h>

#include "common.h"
#include "test_util.h"

static inline long via_write(int fd, void *buf, size_t len, off_t off)
{
	return RET(lseek(fd, off, SEEK_SET) < 0 ? -1 : write(fd, buf, len));
}

static inline long via_pwrite(int fd, void *buf, size_t len, off_t off)
{
	return RET(pwrite(fd, buf, len, off));
}

#define NR_ODD_SEGS	3

/* Segments of one byte, none and the rest: nothing is aligned to anything. */
static inline void odd_iovec(struct iovec iov[NR_ODD_SEGS], void *buf, size_t len)
{
	const size_t first = len ? 1 : 0;

	iov[0] = (struct iovec) { buf, first };
	iov[1] = (struct iovec) {};
	iov[2] = (struct iovec) { buf + first, len - first };
}

static inline long via_writev(int fd, void *buf, size_t len, off_t off)
{
	struct iovec iov[NR_ODD_SEGS];

	odd_iovec(iov, buf, len);
	return RET(lseek(fd, off, SEEK_SET) < 0 ? -1 : writev(fd, iov, NR_ODD_SEGS));
}

static inline long via_pwritev(int fd, void *buf, size_t len, off_t off)
{
	struct iovec iov[NR_ODD_SEGS];

	odd_iovec(iov, buf, len);
	return RET(pwritev(fd, iov, NR_ODD_SEGS, off));
}

static inline long via_pwritev2(int fd, void *buf, size_t len, off_t off)
{
	struct iovec iov[NR_ODD_SEGS];

	odd_iovec(iov, buf, len);
	return RET(pwritev2(fd, iov, NR_ODD_SEGS, off, RWF_DSYNC));
}

static inline long uring_rw(int fd, u8 opcode, void *buf, size_t len, off_t off)
{
	struct iovec reg = { buf, len };
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	long ret;

	TEST_ASSERT(!io_uring_queue_init(1, &ring, 0), "io_uring_queue_init() failed");
	if (opcode == IORING_OP_WRITE_FIXED)
		TEST_ASSERT(!io_uring_register_buffers(&ring, &reg, 1), "%zu bytes", len);

	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_rw(opcode, sqe, fd, buf, len, off);
	TEST_ASSERT_EQ(io_uring_submit(&ring), 1);
	TEST_ASSERT_EQ(io_uring_wait_cqe(&ring, &cqe), 0);
	ret = cqe->res;
	io_uring_queue_exit(&ring);
	return ret;
}

static inline long via_uring_write(int fd, void *buf, size_t len, off_t off)
{
	return uring_rw(fd, IORING_OP_WRITE, buf, len, off);
}

static inline long via_uring_writev(int fd, void *buf, size_t len, off_t off)
{
	struct iovec iov[NR_ODD_SEGS];

	odd_iovec(iov, buf, len);
	return uring_rw(fd, IORING_OP_WRITEV, iov, NR_ODD_SEGS, off);
}

static inline long via_uring_write_fixed(int fd, void *buf, size_t len, off_t off)
{
	return uring_rw(fd, IORING_OP_WRITE_FIXED, buf, len, off);
}

static inline long via_sendfile(int fd, void *buf, size_t len, off_t off)
{
	int in = create_memfd(buf, len);
	off_t in_off = 0;
	long ret = RET(lseek(fd, off, SEEK_SET) < 0 ? -1 : sendfile(fd, in, &in_off, len));

	close(in);
	return ret;
}

static inline long via_splice(int fd, void *buf, size_t len, off_t off)
{
	int pipefd[2];
	long ret;

	TEST_ASSERT(!pipe(pipefd) && fcntl(pipefd[1], F_SETPIPE_SZ, len) >= (long)len,
		    "Cannot have a pipe of %zu bytes, errno = %d", len, errno);
	TEST_ASSERT_EQ(write(pipefd[1], buf, len), (ssize_t)len);
	close(pipefd[1]);

	ret = RET(splice(pipefd[0], NULL, fd, &off, len, 0));
	close(pipefd[0]);
	return ret;
}

struct way {
	const char *name;
	long (*write)(int fd, void *buf, size_t len, off_t off);
	/* Moves data page by page, out of the page cache or out of a pipe. */
	bool is_splice;
	bool is_uring;
};

static const struct way ways[] = {
	{ "write",		via_write },
	{ "pwrite",		via_pwrite },
	{ "writev",		via_writev },
	{ "pwritev",		via_pwritev },
	{ "pwritev2",		via_pwritev2 },
	{ "sendfile",		via_sendfile,		.is_splice = true },
	{ "splice",		via_splice,		.is_splice = true },
	{ "io_uring write",	via_uring_write,	.is_uring = true },
	{ "io_uring writev",	via_uring_writev,	.is_uring = true },
	{ "io_uring fixed",	via_uring_write_fixed,	.is_uring = true },
};

#define for_each_way(w)	for ((w) = ways; (w) < ways + ARRAY_SIZE(ways); (w)++)

#endif
