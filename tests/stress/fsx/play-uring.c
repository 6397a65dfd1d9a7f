// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes by io_uring, one at a time, on a ring that has the source registered.
 */
#include <linux/stddef.h>
#ifndef __DECLARE_FLEX_ARRAY		/* the kernel's own tools/ have another stddef.h */
#define __DECLARE_FLEX_ARRAY(type, name)	struct { struct {} no_##name; type name[]; }
#endif
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "play.h"

#define RING_OFF(ring, off)	((unsigned int *)((char *)(ring) + (off)))

static struct {
	int fd;
	struct io_uring_params params;
	void *sq, *cq;
	struct io_uring_sqe *sqe;
} uring;

static void *map_ring(size_t size, off_t off)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			 uring.fd, off);

	MUST(mem == MAP_FAILED ? -1 : 0);
	return mem;
}

static void make_ring(void)
{
	struct iovec source = { .iov_base = world.source, .iov_len = SOURCE_SIZE };
	struct io_uring_params *p = &uring.params;

	uring.fd = MUST(syscall(__NR_io_uring_setup, 1, p));
	uring.sq = map_ring(p->sq_off.array + p->sq_entries * 4, IORING_OFF_SQ_RING);
	uring.cq = map_ring(p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe),
			    IORING_OFF_CQ_RING);
	uring.sqe = map_ring(sizeof(*uring.sqe), IORING_OFF_SQES);
	MUST(syscall(__NR_io_uring_register, uring.fd, IORING_REGISTER_BUFFERS, &source, 1));
}

static long run_sqe(void)
{
	unsigned int *sq_tail = RING_OFF(uring.sq, uring.params.sq_off.tail);
	unsigned int *cq_head = RING_OFF(uring.cq, uring.params.cq_off.head);
	unsigned int *cq_tail = RING_OFF(uring.cq, uring.params.cq_off.tail);
	unsigned int cq_mask = *RING_OFF(uring.cq, uring.params.cq_off.ring_mask);
	struct io_uring_cqe *cqe = (void *)RING_OFF(uring.cq, uring.params.cq_off.cqes);
	unsigned int nr = 1, head = *cq_head;

	*RING_OFF(uring.sq, uring.params.sq_off.array) = 0;
	__atomic_store_n(sq_tail, *sq_tail + 1, __ATOMIC_RELEASE);
	do {
		if (MUST(syscall(__NR_io_uring_enter, uring.fd, nr, 1, IORING_ENTER_GETEVENTS,
				 NULL, 0)))
			nr = 0;
	} while (__atomic_load_n(cq_tail, __ATOMIC_ACQUIRE) == head);

	cqe += head & cq_mask;
	__atomic_store_n(cq_head, head + 1, __ATOMIC_RELEASE);
	return cqe->res;
}

/* @op is 0 for write, 1 for writev, 2 for a write from the registered buffer. */
long play_uring(long fd, long op, long at, long len, long off, long segs, long cuts)
{
	const unsigned char ops[] = {
		IORING_OP_WRITE, IORING_OP_WRITEV, IORING_OP_WRITE_FIXED,
	};
	struct iovec iov[MAX_SEGS];

	if (!uring.sqe)
		make_ring();

	*uring.sqe = (struct io_uring_sqe) {
		.opcode = ops[op],
		.fd = world.fds[fd],
		.off = off,
		.addr = (unsigned long)world.source + at,
		.len = len,
	};
	if (op == 1) {
		uring.sqe->addr = (unsigned long)iov;
		uring.sqe->len = cut(iov, at, len, segs, cuts);
	}
	return run_sqe();
}
