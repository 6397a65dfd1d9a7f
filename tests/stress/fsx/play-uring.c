// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes by io_uring, one at a time, on a ring that has the source registered.
 */
#include <liburing.h>

#include "play.h"

/* liburing returns the error itself. */
#define MUST_URING(call)	MUST((errno = -(call)) ? -1 : 0)

static struct io_uring *the_ring(void)
{
	static struct io_uring ring;
	static bool made;
	struct iovec source = { .iov_base = world.source, .iov_len = SOURCE_SIZE };

	if (!made) {
		MUST_URING(io_uring_queue_init(1, &ring, 0));
		MUST_URING(io_uring_register_buffers(&ring, &source, 1));
		made = true;
	}
	return &ring;
}

/* @op is 0 for write, 1 for writev, 2 for a write from the registered buffer. */
long play_uring(long fd, long op, long at, long len, long off, long segs, long cuts)
{
	struct io_uring *ring = the_ring();
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	void *source = world.source + at;
	struct iovec iov[MAX_SEGS];
	struct io_uring_cqe *cqe;
	long ret;

	if (op == 0)
		io_uring_prep_write(sqe, world.fds[fd], source, len, off);
	else if (op == 1)
		io_uring_prep_writev(sqe, world.fds[fd], iov, cut(iov, at, len, segs, cuts), off);
	else
		io_uring_prep_write_fixed(sqe, world.fds[fd], source, len, off, 0);

	MUST(io_uring_submit(ring) == 1 ? 0 : -1);
	MUST_URING(io_uring_wait_cqe(ring, &cqe));
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}
