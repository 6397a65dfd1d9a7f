// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Populate from a stream: a pipe, a socket, stdin; whatever its chunks are. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define PIPE_SIZE	(1 << 20)

ssize_t gmem_stream_read(struct gmem_context *g, int fd, void *buffer, size_t size, uint64_t at)
{
	struct pollfd wait[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = g->cancel_fd, .events = POLLIN },
	};
	ssize_t n;

	for (;;) {
		if (poll(wait, 2, -1) < 0 && errno != EINTR)
			return gmem_fail(g, -errno, "waiting for the source: %s", strerror(errno));
		if (wait[1].revents && gmem_woken_to_cancel(g))
			return gmem_fail(g, -ECANCELED, "cancelled");
		if (!wait[0].revents)
			continue;
		n = read(fd, buffer, size);
		if (n >= 0)
			return n;
		if (errno != EINTR && errno != EAGAIN)
			return gmem_fail(g, -errno, "reading the source at %#" PRIx64 ": %s", at, strerror(errno));
	}
}

/*
 * The larger a pipe the fewer times its ends wait for each other. It does not
 * matter if that fails: it is no pipe, or as large as this user may make it.
 */
void gmem_stream_widen(int fd)
{
	int size = fcntl(fd, F_GETPIPE_SZ);

	if (size >= 0 && size < PIPE_SIZE)
		fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE);
}

/* A chunk, or what there is before the end; returns how much. */
static ssize_t fill(struct worker *w, char *buffer, uint64_t at, size_t want)
{
	const struct stream *source = w->job->source;
	size_t got = 0;
	ssize_t n;

	while (got < want) {
		n = gmem_stream_read(w->job->g, source->fd, buffer + got, want - got, at + got);
		if (n < 0)
			return n;
		if (!n)
			break;
		got += n;
	}
	return got;
}

int gmem_stream_end(struct worker *w, const struct stream *source, uint64_t at, char *buffer, size_t rest)
{
	struct gmem_context *g = w->job->g;

	if (source->length != GMEM_ALL && at < source->length)
		return gmem_fail(g, -ENODATA, "the source ended after %" PRIu64 " bytes, %" PRIu64 " short: was it cut off, or its writer killed?",
				 at, source->length - at);
	if (!rest)
		return 0;
	if (!g->pad)
		return gmem_fail(g, -EINVAL, "the source ended after %" PRIu64 " bytes, %zu into a page: ask for padding to fill that with zeros",
				 at, rest);
	memset(buffer + rest, 0, g->page - rest);
	return gmem_worker_put(w, w->job->target.offset + at - rest, buffer, g->page);
}

int gmem_stream_expect_end(struct worker *w, const struct stream *source, uint64_t at)
{
	char byte;
	ssize_t n;

	if (source->length != GMEM_ALL)
		return 0;
	n = gmem_stream_read(w->job->g, source->fd, &byte, 1, at);
	if (n > 0)
		return gmem_fail(w->job->g, -ENOSPC, "the source is larger than the %" PRIu64 " bytes that there is room for", at);
	return n;
}

int gmem_stream_work(struct worker *w)
{
	const struct stream *source = w->job->source;
	struct job *job = w->job;
	uint64_t at = 0, room = job->target.length;
	size_t page = job->g->page, want, whole;
	char *buffer;
	ssize_t n;
	int err;

	if (source->length < room)
		room = source->length;
	buffer = gmem_worker_buffer(w);
	if (!buffer)
		return -ENOMEM;

	while (at < room) {
		err = gmem_worker_interrupted(w);
		if (err)
			return err;
		want = room - at < job->g->chunk ? room - at : job->g->chunk;
		n = fill(w, buffer, at, want);
		if (n < 0)
			return n;

		whole = n / page * page;
		err = gmem_worker_put(w, job->target.offset + at, buffer, whole);
		if (err)
			return err;
		at += n;
		if (n % page || (size_t)n < want)
			return gmem_stream_end(w, source, at, buffer + whole, n % page);
	}
	return gmem_stream_expect_end(w, source, at);
}

static int populate(struct job *job, int fd, uint64_t offset, struct stream *source)
{
	struct gmem_context *g = job->g;
	uint64_t length = GMEM_ALL;
	int err = 0;

	/* poll() ignores a descriptor below 0. */
	if (fcntl(source->fd, F_GETFD) < 0)
		return gmem_fail(g, -errno, "the source: %s", strerror(errno));
	if (source->length != GMEM_ALL)
		err = gmem_round_up_to_page(g, source->length, &length);
	if (!err)
		err = gmem_target_open(g, &job->target, FROM_STREAM, fd, offset, length);
	if (err)
		return err;

	gmem_stream_widen(source->fd);
	job->source = source;
	job->total = source->length == GMEM_ALL ? 0 : length;
	job->compare_at_once = g->verify;
	job->work = job->target.method == GMEM_METHOD_IO_URING ? gmem_uring_stream : gmem_stream_work;
	return gmem_job_run(job, 1);
}

EXPORT int gmem_populate_stream(struct gmem_context *g, int fd, uint64_t offset,
				int source, uint64_t length)
{
	struct stream stream = { .fd = source, .length = length };
	struct job job;
	int err = gmem_job_begin(&job, g, offset);

	return err ?: gmem_job_end(&job, populate(&job, fd, offset, &stream));
}
