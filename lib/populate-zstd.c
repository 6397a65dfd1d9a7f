// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Populate from a zstd image: its frames in parallel, or one after the other. */
#include "internal.h"

#if HAVE_ZSTD

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

struct image {
	struct stream out;	/* what it decompresses to; fd: the image itself */
	bool is_file;		/* it can be read in any order */
	uint64_t size;		/* then */
};

/* Compressed bytes on their way to the decompressor. */
struct input {
	struct gmem_context *g;
	const struct image *image;
	uint64_t at;		/* of the next in the image */
	ZSTD_inBuffer in;
	size_t room;
};

static int input_fill(struct input *input)
{
	char *buffer = (char *)input->in.src;
	ssize_t n;

	if (!input->image->is_file) {
		n = gmem_stream_read(input->g, input->image->out.fd, buffer, input->room, input->at);
	} else {
		do
			n = pread(input->image->out.fd, buffer, input->room, input->at);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			n = gmem_fail(input->g, -errno, "reading the source at %#" PRIx64 ": %s",
				      input->at, strerror(errno));
	}
	if (n < 0)
		return n;

	input->at += n;
	input->in.size = n;
	input->in.pos = 0;
	return 0;
}

/* What is decompressed, on its way to the target. */
struct output {
	struct worker *w;
	uint64_t at;		/* how much went there */
	uint64_t room;		/* how much may */
	bool more_is_error;
	char *buffer;
	size_t fill;
};

/* Put the whole pages; what remains is moved to the buffer's beginning. */
static int output_flush(struct output *o)
{
	size_t page = o->w->job->g->page, whole = o->fill / page * page;
	uint64_t offset = o->w->piece ? o->w->piece->offset : o->w->job->target.offset;
	int err = gmem_worker_put(o->w, offset + o->at, o->buffer, whole);

	if (err)
		return err;
	memmove(o->buffer, o->buffer + whole, o->fill - whole);
	o->at += whole;
	o->fill -= whole;
	return 0;
}

/*
 * One step of decompression: *hint is 0 at the end of a frame, *pending says that
 * there is more output without more input.
 */
static int step(struct output *o, ZSTD_DStream *zstd, ZSTD_inBuffer *in,
		size_t *hint, bool *pending)
{
	struct gmem_context *g = o->w->job->g;
	uint64_t left = o->room - o->at;
	bool full = o->fill == left;
	ZSTD_outBuffer out;
	char spare[1];

	if (full)
		out = (ZSTD_outBuffer) { spare, sizeof(spare), 0 };
	else
		out = (ZSTD_outBuffer) { o->buffer, left < g->chunk ? left : g->chunk, o->fill };

	*hint = ZSTD_decompressStream(zstd, &out, in);
	if (ZSTD_isError(*hint))
		return gmem_fail(g, -EBADMSG, "the source is no zstd image, or damaged, %" PRIu64 " decompressed bytes into it: %s",
				 o->at + o->fill, ZSTD_getErrorName(*hint));
	*pending = *hint && out.pos == out.size;
	if (full && out.pos)
		return gmem_fail(g, -ENOSPC, "the source is larger than the %" PRIu64 " bytes that there is room for", o->room);
	if (full)
		return 0;
	o->fill = out.pos;
	return out.pos == out.size ? output_flush(o) : 0;
}

/*
 * Decompress one frame, or all of them. The end of the input within a frame is
 * an error; more output than there is room for may be one.
 */
static int decompress(struct output *o, struct input *input, ZSTD_DStream *zstd, bool one_frame)
{
	bool pending = false;
	size_t hint = 1;
	int err;

	for (;;) {
		err = gmem_worker_interrupted(o->w);
		if (err)
			return err;
		if (!o->more_is_error && o->at + o->fill == o->room)
			return output_flush(o);
		if (!pending && input->in.pos == input->in.size) {
			err = input_fill(input);
			if (err)
				return err;
			if (!input->in.size)
				break;
		}
		err = step(o, zstd, &input->in, &hint, &pending);
		if (err)
			return err;
		if (one_frame && !hint)
			return output_flush(o);
	}

	err = output_flush(o);
	if (!err && hint)
		err = gmem_fail(o->w->job->g, -ENODATA, "the zstd image ends within a frame, %" PRIu64 " decompressed bytes into it: was it cut off?",
				o->at + o->fill);
	return err;
}

/* With everything that takes memory set up. */
static int with_zstd(struct worker *w, uint64_t at, int (*fn)(struct output *o, struct input *input, ZSTD_DStream *zstd))
{
	struct input input = { .g = w->job->g, .image = w->job->source, .at = at };
	struct output o = { .w = w, .buffer = gmem_worker_buffer(w) };
	ZSTD_DStream *zstd = ZSTD_createDStream();
	int err = -ENOMEM;

	input.room = ZSTD_DStreamInSize();
	input.in.src = malloc(input.room);
	if (zstd && input.in.src && o.buffer) {
		/* Images made with --long=31 included. */
		ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, sizeof(void *) == 8 ? 31 : 30);
		err = fn(&o, &input, zstd);
	} else {
		gmem_fail(w->job->g, err, "out of memory");
	}
	free((void *)input.in.src);
	ZSTD_freeDStream(zstd);
	return err;
}

/*
 * One after the other
 */

static int all_frames(struct output *o, struct input *input, ZSTD_DStream *zstd)
{
	const struct image *image = input->image;
	int err;

	o->room = o->w->job->target.length;
	o->more_is_error = image->out.length == GMEM_ALL;
	if (image->out.length < o->room)
		o->room = image->out.length;

	err = decompress(o, input, zstd, false);
	return err ?: gmem_stream_end(o->w, &image->out, o->at + o->fill, o->buffer, o->fill);
}

static int work_in_sequence(struct worker *w)
{
	return with_zstd(w, 0, all_frames);
}

/*
 * In parallel
 */

static int own_frames(struct output *o, struct input *input, ZSTD_DStream *zstd)
{
	const struct image *image = input->image;
	struct worker *w = o->w;
	uint64_t left;
	int err = 0;

	while (!err && (w->piece = gmem_worker_take(w))) {
		left = image->out.length - (w->piece->offset - w->job->target.offset);
		o->room = left < w->piece->length ? left : w->piece->length;
		o->at = 0;
		o->fill = 0;
		o->more_is_error = true;
		input->at = w->piece->source;
		input->in.size = 0;
		input->in.pos = 0;
		ZSTD_DCtx_reset(zstd, ZSTD_reset_session_only);

		err = decompress(o, input, zstd, true);
		if (!err && o->at + o->fill < o->room)
			err = gmem_fail(w->job->g, -EBADMSG, "the zstd frame at %#" PRIx64 " is shorter than it says: the image is damaged",
					w->piece->source);
		if (!err && o->fill) {
			memset(o->buffer + o->fill, 0, w->job->g->page - o->fill);
			err = gmem_worker_put(w, w->piece->offset + o->at, o->buffer, w->job->g->page);
		}
	}
	return err;
}

static int work_in_parallel(struct worker *w)
{
	return with_zstd(w, 0, own_frames);
}

static uint32_t le(const unsigned char *bytes, int n)
{
	uint32_t value = 0;

	while (n--)
		value = value << 8 | bytes[n];
	return value;
}

/*
 * The frame at *at: move *at behind it. Its content is ZSTD_CONTENTSIZE_UNKNOWN
 * if it does not tell, or if that is no frame; 0 for one that is to be skipped.
 * See RFC 8878; libzstd can tell the same only if the frame is in memory.
 *
 * Blocks without content, which no compressor makes but at a frame's end, are taken
 * for none: a hole in a file is billions of them, three bytes each.
 */
static uint64_t next_frame(int fd, uint64_t *at, bool *skippable)
{
	static const unsigned char dictionary_id[] = { 0, 1, 2, 4 };
	unsigned char header[18];
	ssize_t n = pread(fd, header, sizeof(header), *at);
	unsigned int descriptor, block;
	unsigned long long content;
	bool single_segment;

	*skippable = n >= 8 && (le(header, 4) & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
	if (*skippable) {
		*at += 8 + (uint64_t)le(header + 4, 4);
		return 0;
	}
	content = n < 6 ? ZSTD_CONTENTSIZE_ERROR : ZSTD_getFrameContentSize(header, n);
	if (content == ZSTD_CONTENTSIZE_ERROR || content == ZSTD_CONTENTSIZE_UNKNOWN)
		return ZSTD_CONTENTSIZE_UNKNOWN;

	descriptor = header[4];
	single_segment = descriptor & 1 << 5;
	*at += 5 + !single_segment + dictionary_id[descriptor & 3];
	*at += descriptor >> 6 ? 1 << (descriptor >> 6) : single_segment;
	do {
		if (pread(fd, header, 3, *at) != 3)
			return ZSTD_CONTENTSIZE_UNKNOWN;
		block = le(header, 3);
		if (!(block & 1) && !(block >> 3))
			return ZSTD_CONTENTSIZE_UNKNOWN;
		/* A run is one byte, however long it is. */
		*at += 3 + ((block >> 1 & 3) == 1 ? 1 : block >> 3);
	} while (!(block & 1));
	if (descriptor & 1 << 2)
		*at += 4;	/* checksum */

	return content;
}

/*
 * A piece for each frame, if they all tell their size and begin at page
 * boundaries; otherwise, and where something is wrong, they are done in
 * sequence. Returns how many bytes they have, 0 if there is no such plan.
 */
static uint64_t plan_frames(struct job *job, const struct image *image)
{
	uint64_t at = 0, total = 0, content;
	size_t page = job->g->page;
	struct piece piece;
	bool skippable;

	while (at < image->size) {
		piece = (struct piece) { .offset = total, .source = at };
		content = next_frame(image->out.fd, &at, &skippable);
		if (content == ZSTD_CONTENTSIZE_UNKNOWN || at > image->size)
			return 0;
		if (skippable)
			continue;
		if (total % page || content > INT64_MAX - total)
			return 0;
		piece.length = (content + page - 1) / page * page;
		total += content;
		if (gmem_job_add_piece(job, &piece)) {
			gmem_fail_anew(job->g);
			return 0;
		}
	}
	return job->nr_pieces > 1 ? total : 0;
}

/* Frames with pages that come first in the order come first. */
static int order_frames(struct job *job)
{
	const struct gmem_context *g = job->g;
	struct piece *sorted = job->piece, *ordered;
	size_t nr = job->nr_pieces, n = 0, i, low, high, middle;
	uint64_t end;

	if (!g->nr_order)
		return 0;
	ordered = calloc(nr, sizeof(*ordered));
	if (!ordered)
		return gmem_fail(job->g, -ENOMEM, "out of memory");

	for (i = 0; i < g->nr_order; i++) {
		end = g->order[i].offset + g->order[i].length;
		for (low = 0, high = nr; low < high;) {
			middle = (low + high) / 2;
			if (sorted[middle].offset + sorted[middle].length > g->order[i].offset)
				high = middle;
			else
				low = middle + 1;
		}
		/* done marks those that have been taken. */
		for (; low < nr && sorted[low].offset < end; low++) {
			if (!sorted[low].done)
				ordered[n++] = sorted[low];
			sorted[low].done = 1;
		}
	}
	for (i = 0; i < nr; i++)
		if (!sorted[i].done)
			ordered[n++] = sorted[i];

	free(sorted);
	job->piece = ordered;
	job->room = nr;
	return 0;
}

static int populate_in_parallel(struct job *job, int fd, uint64_t offset, struct image *image)
{
	size_t i;
	int err;

	for (i = 0; i < job->nr_pieces; i++)
		job->piece[i].offset += offset;
	err = gmem_round_up_to_page(job->g, image->out.length, &job->total);
	if (!err)
		err = gmem_target_open(job->g, &job->target, FROM_ZSTD, fd, offset, job->total);
	if (err)
		return err;

	job->work = work_in_parallel;
	err = order_frames(job);
	return err ?: gmem_job_run(job, UINT_MAX);
}

static int populate_in_sequence(struct job *job, int fd, uint64_t offset, struct image *image)
{
	uint64_t length = GMEM_ALL;
	int err = 0;

	free(job->piece);
	job->piece = NULL;
	job->nr_pieces = job->room = 0;

	if (image->out.length != GMEM_ALL)
		err = gmem_round_up_to_page(job->g, image->out.length, &length);
	if (!err)
		err = gmem_target_open(job->g, &job->target, FROM_ZSTD, fd, offset, length);
	if (err)
		return err;

	if (!image->is_file)
		gmem_stream_widen(image->out.fd);
	job->total = length == GMEM_ALL ? 0 : length;
	job->compare_at_once = job->g->verify;
	job->work = work_in_sequence;
	return gmem_job_run(job, 1);
}

static int populate(struct job *job, int fd, uint64_t offset, struct image *image)
{
	struct gmem_context *g = job->g;
	uint64_t total;
	int err;

	err = gmem_source_size(g, image->out.fd, &image->size);
	if (err && err != -ESPIPE)
		return err;
	image->is_file = !err;
	job->source = image;

	total = plan_frames(job, image);
	if (total && (image->out.length == GMEM_ALL || image->out.length == total)) {
		image->out.length = total;
		return populate_in_parallel(job, fd, offset, image);
	}
	return populate_in_sequence(job, fd, offset, image);
}

EXPORT int gmem_zstd_size(struct gmem_context *g, int source, uint64_t *size)
{
	uint64_t at = 0, total = 0, content, end;
	int err = gmem_begin(g);
	bool skippable;

	if (err)
		return err;
	err = gmem_source_size(g, source, &end);
	if (err == -ESPIPE)
		err = gmem_fail(g, -ENODATA, "the source is neither a file nor a block device: it does not tell its size");
	while (!err && at < end) {
		content = next_frame(source, &at, &skippable);
		if (content == ZSTD_CONTENTSIZE_UNKNOWN || total + content < total)
			err = gmem_fail(g, -ENODATA, "the zstd image does not tell the size of what it decompresses to");
		total += content;
	}
	if (!err)
		*size = total;
	return gmem_end(g, err);
}

EXPORT int gmem_populate_zstd(struct gmem_context *g, int fd, uint64_t offset,
			      int source, uint64_t length)
{
	struct image image = { .out = { .fd = source, .length = length } };
	struct job job;
	int err = gmem_job_begin(&job, g, offset);

	return err ?: gmem_job_end(&job, populate(&job, fd, offset, &image));
}

#else

#include <errno.h>

static int refuse(struct gmem_context *g)
{
	int err = gmem_begin(g);

	return err ?: gmem_end(g, gmem_fail(g, -EOPNOTSUPP, "this libgmem was built without zstd"));
}

EXPORT int gmem_zstd_size(struct gmem_context *g, int source, uint64_t *size)
{
	(void)source;
	(void)size;
	return refuse(g);
}

EXPORT int gmem_populate_zstd(struct gmem_context *g, int fd, uint64_t offset, int source, uint64_t length)
{
	(void)fd;
	(void)offset;
	(void)source;
	(void)length;
	return refuse(g);
}

#endif /* HAVE_ZSTD */
