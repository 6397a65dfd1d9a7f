// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * The io_uring pipeline: the kernel reads the next chunks of the source while
 * this thread populates with the last.
 */
#include "internal.h"

#if HAVE_IO_URING

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <string.h>

#define DEPTH		8	/* chunks that are read ahead of a file */
#define NO_READ		UINT64_MAX	/* user_data of what else there is */

/* A chunk: being read, or ready. */
struct slot {
	char *buffer;
	struct piece *piece;
	uint64_t offset;	/* in the target */
	size_t length;		/* whole pages */
	size_t got;
	bool reading;
};

struct pipeline {
	struct worker *w;
	struct io_uring ring;
	unsigned int depth, reading;
	struct slot slot[DEPTH];
};

static int begin(struct pipeline *p, struct worker *w, unsigned int depth)
{
	struct gmem_context *g = w->job->g;
	void *buffer;
	unsigned int i;
	int err;

	memset(p, 0, sizeof(*p));
	p->w = w;
	p->depth = depth;
	err = io_uring_queue_init(2 * DEPTH, &p->ring, 0);
	if (err)
		return gmem_fail(g, err == -ENOSYS || err == -EPERM ? -EOPNOTSUPP : err,
				 "method io_uring: this kernel or its settings (kernel.io_uring_disabled) do not allow it: %s",
				 strerror(-err));
	for (i = 0; i < depth; i++) {
		if (posix_memalign(&buffer, g->page, g->chunk))
			return gmem_fail(g, -ENOMEM, "out of memory: no buffer of %zu bytes", g->chunk);
		p->slot[i].buffer = buffer;
	}
	return 0;
}

/* The ring is as long as ever can be in it: there is always an entry. */
static void submit_read(struct pipeline *p, struct slot *s, int fd, size_t size, uint64_t at, int flags)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&p->ring);

	io_uring_prep_read(sqe, fd, s->buffer + s->got, size, at);
	io_uring_sqe_set_flags(sqe, flags);
	io_uring_sqe_set_data64(sqe, s - p->slot);
	if (!s->reading)
		p->reading++;
	s->reading = true;
}

static void watch_cancel(struct pipeline *p)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&p->ring);

	io_uring_prep_poll_add(sqe, p->w->job->g->cancel_fd, POLLIN);
	io_uring_sqe_set_data64(sqe, NO_READ);
}

/* Wait for a read; *n is its result. NULL: the wait failed, or was cancelled. */
static struct slot *wait_read(struct pipeline *p, int *n)
{
	struct io_uring_cqe *cqe;
	struct slot *s;
	int err;

	for (;;) {
		err = io_uring_submit_and_wait(&p->ring, 1);
		if (err == -EINTR)
			continue;
		if (err < 0 && err != -EAGAIN && err != -EBUSY) {
			gmem_fail(p->w->job->g, err, "waiting for io_uring: %s", strerror(-err));
			*n = err;
			return NULL;
		}
		if (io_uring_peek_cqe(&p->ring, &cqe))
			continue;
		if (cqe->user_data == NO_READ) {
			io_uring_cqe_seen(&p->ring, cqe);
			if (gmem_woken_to_cancel(p->w->job->g)) {
				*n = gmem_fail(p->w->job->g, -ECANCELED, "cancelled");
				return NULL;
			}
			watch_cancel(p);
			continue;
		}
		s = &p->slot[cqe->user_data];
		*n = cqe->res;
		io_uring_cqe_seen(&p->ring, cqe);
		p->reading--;
		s->reading = false;
		return s;
	}
}

/* No read may be under way into a buffer that is freed. */
static void end(struct pipeline *p)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	unsigned int i;

	if (!p->ring.sq.ring_ptr)
		return;
	for (i = 0; i < p->depth; i++) {
		if (!p->slot[i].reading)
			continue;
		sqe = io_uring_get_sqe(&p->ring);
		io_uring_prep_cancel64(sqe, i, 0);
		io_uring_sqe_set_data64(sqe, NO_READ);
	}
	while (p->reading) {
		io_uring_submit_and_wait(&p->ring, 1);
		while (!io_uring_peek_cqe(&p->ring, &cqe)) {
			p->reading -= cqe->user_data != NO_READ;
			io_uring_cqe_seen(&p->ring, cqe);
		}
	}
	io_uring_queue_exit(&p->ring);
	for (i = 0; i < p->depth; i++)
		free(p->slot[i].buffer);
}

/*
 * Files
 */

static void read_file(struct pipeline *p, struct slot *s)
{
	const struct file *source = p->w->job->source;

	submit_read(p, s, source->fd, s->length - s->got, gmem_file_at(p->w->job, source, s->offset) + s->got, 0);
}

/* Begin to read as many pieces as there is room for. */
static int read_ahead(struct pipeline *p, bool *more)
{
	struct worker *w = p->w;
	unsigned int i;
	int err;

	for (i = 0; i < p->depth && *more; i++) {
		struct slot *s = &p->slot[i];

		if (s->reading)
			continue;
		w->piece = s->piece = gmem_worker_take(w);
		if (!s->piece) {
			*more = false;
		} else if (s->piece->hole) {
			err = gmem_worker_put_zeros(w, s->piece->offset, s->piece->length);
			if (err)
				return err;
			i--;	/* the slot is still free */
		} else {
			s->offset = s->piece->offset;
			s->length = s->piece->length;
			s->got = 0;
			read_file(p, s);
		}
	}
	return 0;
}

static int file_loop(struct pipeline *p)
{
	struct worker *w = p->w;
	struct job *job = w->job;
	bool more = true;
	struct slot *s;
	size_t want;
	int n, err;

	for (;;) {
		err = read_ahead(p, &more);
		if (err || !p->reading)
			return err;
		s = wait_read(p, &n);
		if (!s)
			return n;
		if (n == -EINTR || n == -EAGAIN) {
			read_file(p, s);
			continue;
		}
		if (n <= 0)
			return gmem_file_fail(job, n, gmem_file_at(job, job->source, s->offset) + s->got);

		s->got += n;
		want = gmem_file_want(job, job->source, s->offset, s->length);
		if (s->got < want) {
			read_file(p, s);
			continue;
		}
		memset(s->buffer + want, 0, s->length - want);
		w->piece = s->piece;
		err = gmem_worker_put(w, s->offset, s->buffer, s->length);
		if (err)
			return err;
	}
}

int gmem_uring_file(struct worker *w)
{
	struct pipeline p;
	int err;

	if (w->job->comparing)
		return gmem_file_work(w);
	err = begin(&p, w, DEPTH);
	if (!err)
		err = file_loop(&p);
	end(&p);
	return err;
}

/*
 * Streams: one read at a time, by a thread of the kernel's.
 */

/* Read until the slot is full or the stream ends; -1 as offset: where it is. */
static int finish_read(struct pipeline *p, struct slot *s, int fd, uint64_t at)
{
	struct gmem_context *g = p->w->job->g;
	int n;

	while (s->got < s->length) {
		if (!s->reading)
			submit_read(p, s, fd, s->length - s->got, -1, IOSQE_ASYNC);
		if (!wait_read(p, &n))
			return n;
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n < 0)
			return gmem_fail(g, n, "reading the source at %#lx: %s", (long)(at + s->got), strerror(-n));
		if (!n)
			break;
		s->got += n;
	}
	return 0;
}

static int stream_loop(struct pipeline *p)
{
	struct worker *w = p->w;
	const struct stream *source = w->job->source;
	uint64_t at = 0, room = w->job->target.length, ahead;
	size_t page = w->job->g->page, chunk = w->job->g->chunk;
	struct slot *s = &p->slot[0], *next = &p->slot[1], *t;
	size_t whole;
	int err;

	if (source->length < room)
		room = source->length;
	watch_cancel(p);
	s->length = room < chunk ? room : chunk;
	while (at < room) {
		err = finish_read(p, s, source->fd, at);
		if (!err)
			err = gmem_worker_interrupted(w);
		if (err)
			return err;

		/* The next chunk comes while this one goes. */
		ahead = room - at - s->got;
		next->got = 0;
		next->length = ahead < chunk ? ahead : chunk;
		if (s->got == s->length && next->length) {
			submit_read(p, next, source->fd, next->length, -1, IOSQE_ASYNC);
			io_uring_submit(&p->ring);
		}

		whole = s->got / page * page;
		err = gmem_worker_put(w, w->job->target.offset + at, s->buffer, whole);
		if (err)
			return err;
		at += s->got;
		if (s->got % page || s->got < s->length)
			return gmem_stream_end(w, source, at, s->buffer + whole, s->got % page);
		t = s;
		s = next;
		next = t;
	}
	return gmem_stream_expect_end(w, source, at);
}

int gmem_uring_stream(struct worker *w)
{
	struct pipeline p;
	int err = begin(&p, w, 2);

	if (!err)
		err = stream_loop(&p);
	end(&p);
	return err;
}

#else

/* gmem_choose_method() lets nobody come here. */
int gmem_uring_file(struct worker *w)
{
	return gmem_file_work(w);
}

int gmem_uring_stream(struct worker *w)
{
	return gmem_stream_work(w);
}

#endif /* HAVE_IO_URING */
