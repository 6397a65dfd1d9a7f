// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Populate from a file or a block device, which can be read in any order. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "shared.h"

uint64_t gmem_file_at(const struct job *job, const struct file *source, uint64_t offset)
{
	return source->offset + (offset - job->target.offset);
}

int gmem_file_fail(struct job *job, ssize_t n, uint64_t at)
{
	if (n < 0)
		return gmem_fail(job->g, n, "reading the source at %#" PRIx64 ": %s", at, strerror(-n));
	return gmem_fail(job->g, -ENODATA, "the source ends at %#" PRIx64 " now: it shrank meanwhile", at);
}

size_t gmem_file_want(const struct job *job, const struct file *source, uint64_t offset, size_t length)
{
	uint64_t before = offset - job->target.offset;
	uint64_t left = before < source->length ? source->length - before : 0;

	return left < length ? left : length;
}

/*
 * O_DIRECT reads whole blocks: ask for the page, expect what there is of it.
 * After a part of a block there is only the end.
 */
static int read_pages(struct worker *w, const struct file *source, char *buffer, uint64_t offset, size_t length)
{
	size_t want = gmem_file_want(w->job, source, offset, length), got = 0;
	uint64_t at = gmem_file_at(w->job, source, offset);
	ssize_t n;

	while (got < want) {
		n = pread(source->fd, buffer + got, length - got, at + got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return gmem_file_fail(w->job, n ? -errno : 0, at + got);
		got += n;
	}
	memset(buffer + want, 0, length - want);
	return 0;
}

/* Verification does not take the file system's word for a hole. */
static bool is_verifying(const struct job *job)
{
	return job->comparing || job->compare_at_once;
}

/* The layers above that which the pages are from say that they have holes there. */
static int check_holes(struct worker *w, char *buffer, uint64_t offset, size_t length)
{
	const struct file *layers = w->job->source;
	int i, err = 0;

	for (i = w->piece->source + 1; i < w->job->nr_layers && !err; i++) {
		err = read_pages(w, &layers[i], buffer, offset, length);
		if (!err && !is_zero(buffer, length))
			err = gmem_fail(w->job->g, -EILSEQ, "verification failed: layer %d has data at %#" PRIx64 ", where the file system tells of a hole",
					i, gmem_file_at(w->job, &layers[i], offset));
	}
	return err;
}

static int put_by_reading(struct worker *w, uint64_t offset, uint64_t length)
{
	const struct file *layers = w->job->source;
	char *buffer = gmem_worker_buffer(w);
	int err = 0;

	if (!buffer)
		return -ENOMEM;
	if (is_verifying(w->job))
		err = check_holes(w, buffer, offset, length);
	err = err ?: read_pages(w, &layers[w->piece->source], buffer, offset, length);
	return err ?: gmem_worker_put(w, offset, buffer, length);
}

static int put_chunks(struct worker *w, uint64_t offset, uint64_t length)
{
	uint64_t n;
	int err = 0;

	for (; !err && length; offset += n, length -= n) {
		n = length < w->job->g->chunk ? length : w->job->g->chunk;
		err = put_by_reading(w, offset, n);
	}
	return err;
}

int gmem_file_put(struct worker *w)
{
	const struct piece *piece = w->piece;

	if (piece->hole && !is_verifying(w->job))
		return gmem_worker_put_zeros(w, piece->offset, piece->length);
	return put_chunks(w, piece->offset, piece->length);
}

int gmem_file_work(struct worker *w)
{
	int err = 0;

	while (!err && (w->piece = gmem_worker_take(w)))
		err = gmem_worker_finish(w, gmem_file_put(w));
	return err;
}

/*
 * What sendfile() does, by splice(), which leaves the file position alone that
 * other threads and the caller's programs share.
 */

/* Move @length bytes, whole pages, through the pipe. */
static int splice_pages(struct worker *w, const int pipe[2], uint64_t offset, uint64_t length)
{
	const struct file *source = w->job->source;
	size_t page = w->job->g->page, in_pipe = 0;
	off_t from = gmem_file_at(w->job, source, offset), to = offset;
	uint64_t end = from + length;
	ssize_t n;
	int err;

	while ((uint64_t)to < offset + length) {
		err = gmem_worker_interrupted(w);
		if (err)
			return err;
		if ((uint64_t)from < end) {
			n = splice(source->fd, &from, pipe[1], NULL, end - from, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
			if (n < 0 && errno != EINTR && (errno != EAGAIN || in_pipe < page))
				return gmem_file_fail(w->job, -errno, from);
			if (!n)
				return gmem_file_fail(w->job, 0, from);
			if (n > 0)
				in_pipe += n;
		}
		if (in_pipe < page)
			continue;
		n = splice(pipe[0], NULL, w->job->target.fd, &to, in_pipe / page * page, SPLICE_F_MOVE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return gmem_target_fail(w->job->g, n ? -errno : -EIO, to);
		in_pipe -= n;
		gmem_worker_account(w, n, WRITTEN);
	}
	return 0;
}

static int splice_work(struct worker *w)
{
	size_t page = w->job->g->page, want, whole;
	struct job *job = w->job;
	int pipe[2], err = 0;

	if (job->comparing)
		return gmem_file_work(w);
	if (pipe2(pipe, O_CLOEXEC))
		return gmem_fail(job->g, -errno, "cannot make a pipe: %s", strerror(errno));
	/*
	 * The larger the fewer calls; as large as the user may. One page is too little
	 * where the source's pages are not those of the target: its only slot can be
	 * taken, with less than a page.
	 */
	fcntl(pipe[1], F_SETPIPE_SZ, (int)(job->g->chunk > page ? job->g->chunk : 2 * page));

	while (!err && (w->piece = gmem_worker_take(w))) {
		if (w->piece->hole) {
			err = gmem_worker_put_zeros(w, w->piece->offset, w->piece->length);
			continue;
		}
		want = gmem_file_want(job, job->source, w->piece->offset, w->piece->length);
		whole = want / page * page;
		err = splice_pages(w, pipe, w->piece->offset, whole);
		if (!err && want > whole)
			err = put_by_reading(w, w->piece->offset + whole, page);
	}
	close(pipe[0]);
	close(pipe[1]);
	return err;
}

/* Where a file has data, in terms of the target. */
static int find_data(struct job *job, const struct file *source, struct ranges *data)
{
	uint64_t end = source->offset + source->length, from, to;
	size_t page = job->g->page;
	off_t at = source->offset, hole;
	int err;

	while ((uint64_t)at < end) {
		at = lseek(source->fd, at, SEEK_DATA);
		if (at < 0 && errno == ENXIO)
			return 0;
		hole = at < 0 ? at : lseek(source->fd, at, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		if ((uint64_t)at >= end)
			return 0;

		/* Whole pages of the target; two of these ranges may share one. */
		from = (at - source->offset) / page * page + job->target.offset;
		to = hole - source->offset + job->target.offset;
		to = (to + page - 1) / page * page;
		if (to > job->target.offset + job->target.length)
			to = job->target.offset + job->target.length;
		err = to > from ? gmem_ranges_add(data, from, to - from) : 0;
		if (err)
			return err;
		at = hole;
	}
	return 0;
}

/* The same of all layers; -ESPIPE: there is no telling. */
static int find_layers(struct job *job, struct ranges *data)
{
	const struct file *layers = job->source;
	const struct gmem_context *g = job->g;
	int i, err = 0;

	/* To verify at once is to read all. */
	if (job->nr_layers == 1 && g->verify && (job->compare_at_once || !g->overwrite))
		return -ESPIPE;
	for (i = 0; i < job->nr_layers && !err; i++)
		err = layers[i].own < 0 ? -ESPIPE : find_data(job, &layers[i], &data[i]);
	return err;
}

int gmem_file_plan(struct job *job)
{
	struct ranges *data = calloc(job->nr_layers, sizeof(*data));
	int err = data ? find_layers(job, data) : -ENOMEM, i;

	if (err == -ENOMEM)
		gmem_fail(job->g, err, "out of memory");
	else if (err && job->nr_layers > 1)
		gmem_fail(job->g, -EOPNOTSUPP, "the layers do not tell where they have holes: %s", strerror(-err));
	else
		err = gmem_job_plan(job, err ? NULL : data);	/* it cannot tell: all of it is data */
	for (i = 0; data && i < job->nr_layers; i++)
		free(data[i].range);
	free(data);
	return err;
}

/* How much there is from @offset on. */
static int file_length(struct gmem_context *g, struct file *source)
{
	uint64_t size;
	int err = gmem_source_size(g, source->fd, &size);

	if (err == -ESPIPE)
		return gmem_fail(g, -EINVAL, "the source is neither a file nor a block device: it can only be read as a stream");
	if (err)
		return err;
	if (source->offset > size || (source->length != GMEM_ALL && source->length > size - source->offset))
		return gmem_fail(g, -ENODATA, "the source has %" PRIu64 " bytes, too few for %" PRIu64 " at %#" PRIx64,
				 size, source->length == GMEM_ALL ? 0 : source->length, source->offset);
	if (source->length == GMEM_ALL)
		source->length = size - source->offset;
	return 0;
}

/* O_DIRECT where it can be had: not every file system has it, or at any offset. */
static void open_own(struct job *job, struct file *source)
{
	int flags = job->g->direct && source->offset % job->g->page == 0 ? O_DIRECT : 0;

	source->own = gmem_reopen(source->fd, flags);
	if (source->own < 0 && flags) {
		flags = 0;
		source->own = gmem_reopen(source->fd, 0);
	}
	if (source->own >= 0)
		source->fd = source->own;
	job->direct = source->own >= 0 && flags;
}

void gmem_file_open(struct job *job, struct file *layers, int n)
{
	int i;

	for (i = 0; i < n; i++)
		open_own(job, &layers[i]);
	job->source = layers;
	job->nr_layers = n;
	job->work = gmem_file_work;
}

void gmem_file_close(struct file *layers, int n)
{
	while (n--)
		if (layers[n].own >= 0)
			close(layers[n].own);
}

static int populate(struct job *job, int fd, uint64_t offset, struct file *layers, int n, uint64_t total)
{
	struct gmem_context *g = job->g;
	uint64_t length;
	int err;

	err = gmem_round_up_to_page(g, total, &length);
	if (!err)
		err = gmem_target_open(g, &job->target, n > 1 ? FROM_LAYERS : FROM_FILE, fd, offset, length);
	if (err)
		return err;

	job->total = length;
	gmem_file_open(job, layers, n);
	if (job->target.method == GMEM_METHOD_SENDFILE)
		job->work = splice_work;
	else if (job->target.method == GMEM_METHOD_IO_URING)
		job->work = gmem_uring_file;
	err = gmem_file_plan(job);
	err = err ?: gmem_job_run(job, UINT_MAX);
	gmem_file_close(layers, n);
	return err;
}

EXPORT int gmem_populate_file(struct gmem_context *g, int fd, uint64_t offset,
			      int source, uint64_t source_offset, uint64_t length)
{
	struct file file = { .fd = source, .own = -1, .offset = source_offset, .length = length };
	struct job job;
	int err = gmem_job_begin(&job, g, offset);

	if (err)
		return err;
	err = file_length(g, &file);
	return gmem_job_end(&job, err ?: populate(&job, fd, offset, &file, 1, file.length));
}

/* A page is all of one layer: none may end within one. The largest is as large as all. */
static int layers_length(struct gmem_context *g, struct file *layers, const int *fds, int n, uint64_t *total)
{
	int i, err = 0;

	*total = 0;
	for (i = 0; i < n && !err; i++) {
		layers[i] = (struct file) { .fd = fds[i], .own = -1, .length = GMEM_ALL };
		err = file_length(g, &layers[i]);
		if (!err && layers[i].length % g->page)
			err = gmem_fail(g, -EINVAL, "layer %d has %" PRIu64 " bytes, which are not whole pages", i, layers[i].length);
		if (!err && layers[i].length > *total)
			*total = layers[i].length;
	}
	return err;
}

EXPORT int gmem_populate_layers(struct gmem_context *g, int fd, uint64_t offset, const int *fds, size_t n)
{
	struct file layers[GMEM_MAX_LAYERS];
	struct job job;
	uint64_t total;
	int err = gmem_job_begin(&job, g, offset);

	if (err)
		return err;
	if (!n || n > GMEM_MAX_LAYERS)
		err = gmem_fail(g, -EINVAL, "%zu layers: there can be 1 to %d", n, GMEM_MAX_LAYERS);
	err = err ?: layers_length(g, layers, fds, n, &total);
	return gmem_job_end(&job, err ?: populate(&job, fd, offset, layers, n, total));
}
