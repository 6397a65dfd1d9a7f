// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* The ways to populate memory that are compared, and what they are called. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "bench.h"

#define URING_DEPTH	8
/* Any free place, aligned to 2 MiB: source.c says why. */
#define MAP_AT		((void *)(1ul << 45))

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static void copy_to_mapping(struct part *part)
{
	size_t done, len;
	const char *from;

	for (done = 0; done < part->size; done += len) {
		len = part->size - done;
		from = source_at(part->start + done, &len);
		memcpy((char *)part->mapping + part->start + done, from, len);
	}
}

static void map(struct part *part)
{
	part->mapping = mmap(MAP_AT, part->whole, PROT_READ | PROT_WRITE, MAP_SHARED, part->fd, 0);
	if (part->mapping == MAP_FAILED)
		err(EXIT_FAILURE, "cannot map the guest_memfd");
}

static void map_and_prefault(struct part *part)
{
	map(part);
	if (madvise(part->mapping, part->whole, MADV_POPULATE_WRITE))
		err(EXIT_FAILURE, "MADV_POPULATE_WRITE failed");
}

static void allocate(struct part *part)
{
	/* What io_uring has left to be done for us counts as a signal. */
	while (fallocate(part->fd, FALLOC_FL_KEEP_SIZE, part->start, part->size))
		if (errno != EINTR)
			err(EXIT_FAILURE, "fallocate() failed");
}

static void by_fallocate(struct part *part)
{
	(void)part;
}

static void by_write(struct part *part)
{
	size_t done, len;
	const char *from;
	ssize_t n;

	for (done = 0; done < part->size; done += n) {
		len = min_size(part->chunk, part->size - done);
		from = source_at(part->start + done, &len);
		n = pwrite(part->fd, from, len, part->start + done);
		if (n <= 0)
			err(EXIT_FAILURE, "pwrite() at %zu failed", part->start + done);
	}
}

/*
 * sendfile() goes by the file position, which threads share. So where there is
 * more than one, each splices through a pipe of its own, which is what sendfile()
 * does inside.
 */
static ssize_t splice_through(int pipe[2], struct part *part, off_t from, off_t to, size_t len)
{
	off_t from_end = from;
	ssize_t n, m;

	n = splice(source_file(), &from_end, pipe[1], NULL, len, 0);
	for (m = 0; n > 0 && m < n; )
		m += splice(pipe[0], NULL, part->fd, &to, n - m, 0);

	return n;
}

static void by_sendfile(struct part *part)
{
	bool shared = part->size != part->whole;
	size_t done, len;
	int pipe_fds[2];
	off_t from;
	ssize_t n;

	if (pipe(pipe_fds) || lseek(part->fd, 0, SEEK_SET))
		err(EXIT_FAILURE, "cannot prepare for sendfile()");

	for (done = 0; done < part->size; done += n) {
		from = (part->start + done) % SOURCE_SIZE;
		len = min_size(part->size - done, SOURCE_SIZE - from);
		if (shared)
			n = splice_through(pipe_fds, part, from, part->start + done, len);
		else
			n = sendfile(part->fd, source_file(), &from, len);
		if (n <= 0)
			err(EXIT_FAILURE, "sendfile() at %zu failed", part->start + done);
	}

	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void uring_submit(struct io_uring *ring, struct part *part, size_t *submitted)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	size_t len = min_size(part->chunk, part->size - *submitted);
	const char *from = source_at(part->start + *submitted, &len);

	io_uring_prep_write(sqe, part->fd, from, len, part->start + *submitted);
	sqe->user_data = len;
	*submitted += len;
}

static void by_io_uring(struct part *part)
{
	size_t submitted = 0, done = 0;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int ret, i;

	ret = io_uring_queue_init(URING_DEPTH, &ring, 0);
	if (ret)
		errx(EXIT_FAILURE, "no io_uring: %s", strerror(-ret));

	for (i = 0; i < URING_DEPTH && submitted < part->size; i++)
		uring_submit(&ring, part, &submitted);

	while (done < part->size) {
		io_uring_submit_and_wait(&ring, 1);
		while (!io_uring_peek_cqe(&ring, &cqe)) {
			if (cqe->res < 0 || (size_t)cqe->res != cqe->user_data)
				errx(EXIT_FAILURE, "io_uring write: %s", strerror(-cqe->res));
			done += cqe->res;
			io_uring_cqe_seen(&ring, cqe);
			if (submitted < part->size)
				uring_submit(&ring, part, &submitted);
		}
	}
	io_uring_queue_exit(&ring);
}

/* A page between any two that stay: nothing is worse for large folios. */
static void by_punch(struct part *part)
{
	size_t i;

	for (i = part->start; i < part->start + part->size; i += 8 * KIB)
		if (fallocate(part->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, i, 4 * KIB))
			err(EXIT_FAILURE, "cannot punch a hole");
}

const struct method methods[] = {
	{ "memcpy", "mmap + memcpy", GMEM, FRESH, FILL, map, copy_to_mapping },
	{ "madvise", "MADV_POPULATE_WRITE + memcpy", GMEM, FRESH, FILL, map_and_prefault, copy_to_mapping },
	{ "write", "write()", GMEM, FRESH, FILL, NULL, by_write },
	{ "generic", "write(), generic path", GMEM, FRESH, GENERIC, NULL, by_write },
	{ "loop", "write(), a loop over folios", GMEM, FRESH, LOOP, NULL, by_write },
	{ "batch", "write(), 64 folios at a time", GMEM, FRESH, BATCH, NULL, by_write },
	{ "block", "write(), a block of 64, split", GMEM, FRESH, BLOCK, NULL, by_write },
	{ "tmpfs_write", "write() to tmpfs", TMPFS, FRESH, FILL, NULL, by_write },
	{ "fallocate", "fallocate() alone", GMEM, FRESH, FILL, allocate, by_fallocate },
	{ "fallocate_write", "fallocate() + write()", GMEM, FRESH, FILL, allocate, by_write },
	{ "overwrite", "write() over populated pages", GMEM, POPULATED, FILL, NULL, by_write },
	{ "sendfile", "sendfile() from tmpfs", GMEM, FRESH, FILL, NULL, by_sendfile },
	{ "io_uring", "io_uring, 8 writes in flight", GMEM, FRESH, FILL, NULL, by_io_uring },
	{ "limit", "limit: memcpy to mapped pages", GMEM, MAPPED, FILL, NULL, copy_to_mapping },
	{ "copy", "limit: the kernel's copy alone", GMEM, FRESH, COPY, NULL, by_write },
	{ "copy_over", "limit: that copy, in memory", GMEM, POPULATED, COPY_OVER, NULL, by_write },
	{ "copy_fresh", "limit: that copy, in fresh memory", GMEM, FRESH, COPY_FRESH, NULL, by_write },
	{ "touch", "a guest's first touch of all of it", GMEM, ATTACHED, FILL, NULL, guest_touch },
	{ "punch", "PUNCH_HOLE of every second page", GMEM, ATTACHED, FILL, NULL, by_punch },
};
const size_t nr_methods = sizeof(methods) / sizeof(*methods);

const struct method *method_find(const char *name)
{
	size_t i;

	for (i = 0; i < nr_methods; i++)
		if (!strcmp(methods[i].name, name))
			return &methods[i];

	return NULL;
}
