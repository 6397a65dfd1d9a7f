// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Populate from a buffer. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "internal.h"

struct buffer {
	const char *bytes;
	uint64_t length;
};

/* The last page, when the buffer ends within it. */
static int put_tail(struct worker *w, uint64_t offset, const char *bytes, size_t length)
{
	char *page = gmem_worker_buffer(w);

	if (!page)
		return -ENOMEM;
	memcpy(page, bytes, length);
	memset(page + length, 0, w->job->g->page - length);
	return gmem_worker_put(w, offset, page, w->job->g->page);
}

static int work(struct worker *w)
{
	const struct buffer *source = w->job->source;
	const struct target *t = &w->job->target;
	size_t page = w->job->g->page;
	uint64_t at, n;
	int err = 0;

	while (!err && (w->piece = gmem_worker_take(w))) {
		at = w->piece->offset - t->offset;
		n = source->length - at;
		if (n > w->piece->length)
			n = w->piece->length;
		err = gmem_worker_put(w, w->piece->offset, source->bytes + at, n / page * page);
		if (!err && n % page)
			err = put_tail(w, w->piece->offset + n / page * page,
				       source->bytes + at + n / page * page, n % page);
	}
	return err;
}

static int populate(struct job *job, int fd, uint64_t offset, struct buffer *source)
{
	struct gmem_context *g = job->g;
	uint64_t length;
	int err;

	err = gmem_round_up_to_page(g, source->length, &length);
	if (!err)
		err = gmem_target_open(g, &job->target, FROM_BUFFER, fd, offset, length);
	if (err)
		return err;

	job->source = source;
	job->work = work;
	job->total = length;
	err = gmem_job_plan(job, NULL);
	return err ?: gmem_job_run(job, UINT_MAX);
}

EXPORT int gmem_populate_buffer(struct gmem_context *g, int fd, uint64_t offset,
				const void *buffer, size_t length)
{
	struct buffer source = { .bytes = buffer, .length = length };
	struct job job;
	int err = gmem_job_begin(&job, g, offset);

	return err ?: gmem_job_end(&job, populate(&job, fd, offset, &source));
}
