// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * zstd images, from a file and from a pipe, with any options. Guest memory has what
 * libzstd makes of the image at once, or populating fails as documented, and as far
 * as it says it came all is right. Nothing beyond is touched.
 */
#define ZSTD_STATIC_LINKING_ONLY	/* for ZSTD_WINDOWLOG_MIN */
#include <zstd.h>

#include "fuzz.h"
#include "gmem.h"

#define MEMORY	(32 * PAGE)
#define MARK	0xd7	/* of what is there before */

/* What the image decompresses to, up to MEMORY and one byte more. */
struct truth {
	uint8_t bytes[MEMORY + 1];
	size_t size;
	bool whole;		/* to the end of a frame that is that of the image */
	bool in_doubt;		/* damaged, or not: that depends on how it is asked */
};

static void decompress(struct truth *t, const uint8_t *image, size_t size, size_t in_step, size_t out_step)
{
	ZSTD_DStream *zstd = ZSTD_createDStream();
	ZSTD_inBuffer in = { image, 0, 0 };
	ZSTD_outBuffer out = { t->bytes, 0, 0 };
	size_t hint = 1, before;

	MUST(zstd);
	ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, 31);
	do {
		before = in.pos + out.pos;
		if (in.pos == in.size)
			in.size = size - in.pos < in_step ? size : in.pos + in_step;
		out.size = out.pos + out_step < sizeof(t->bytes) ? out.pos + out_step : sizeof(t->bytes);
		hint = ZSTD_decompressStream(zstd, &out, &in);
	} while (!ZSTD_isError(hint) && in.pos + out.pos > before && out.pos < sizeof(t->bytes) &&
		 (hint || in.pos < size));
	t->size = out.pos;
	t->whole = !hint && in.pos == size && size;
	ZSTD_freeDStream(zstd);
}

/*
 * In small steps of output: what libzstd finds damaged it gives nothing of in that
 * step. In small steps of input, too, it looks at less of what a frame says of itself;
 * and of a frame that there is all of, and room for all of, not at the window.
 */
static void find_truth(struct truth *t, const uint8_t *image, size_t size)
{
	static const size_t steps[][2] = { { MEMORY, PAGE / 4 }, { MEMORY, MEMORY } };
	static struct truth other;
	bool in_doubt = false;

	decompress(t, image, size, 1, PAGE / 4);
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		decompress(&other, image, size, steps[i][0], steps[i][1]);
		in_doubt |= other.whole != t->whole;
		if (other.whole)
			*t = other;
	}
	t->in_doubt = in_doubt;
}

struct options {
	uint64_t offset, length;
	bool pad, stream, parallel;
};

/* More than a pipe holds takes a thread. */
static int make_source(const struct options *o, const uint8_t *image, size_t size)
{
	int ends[2];

	if (!o->stream)
		return make_file(image, size);
	MUST(!pipe(ends) && write(ends[1], image, size) == (ssize_t)size);
	close(ends[1]);
	return ends[0];
}

static bool documented(int err)
{
	static const int errors[] = { -EINVAL, -ENODATA, -ENOSPC, -EBADMSG, -ENOMEM, -EILSEQ };

	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		if (err == errors[i])
			return true;
	return false;
}

static void check(struct gmem_context *g, const struct options *o, const struct truth *t, const uint8_t *view, int err)
{
	uint64_t up_to = gmem_stats(g)->up_to, room = MEMORY - o->offset, want = o->length;
	bool fits = o->length == GMEM_ALL ? t->whole && t->size <= room : o->length <= room && t->size >= o->length;

	if (want == GMEM_ALL)
		want = t->size;
	MUST(err ? documented(err) && *gmem_error(g) && !strchr(gmem_error(g), '\n') : !*gmem_error(g));
	MUST(err != -EILSEQ);
	/* If it is cut off behind that length it may be noticed, or not. */
	if (fits && (o->pad || want % PAGE == 0))
		MUST(!err || !t->whole || t->in_doubt);
	else
		MUST(err);
	if (!err)
		MUST(up_to == o->offset + (want + PAGE - 1) / PAGE * PAGE);

	MUST(up_to >= o->offset || (err && !up_to));
	if (want > t->size)
		want = t->size;
	if (up_to > o->offset && up_to - o->offset > want) {
		/* How much libzstd makes of what is damaged depends on the size of the steps. */
		MUST(err || (o->pad && up_to - o->offset - want < PAGE));
		for (uint64_t at = o->offset + want; at < up_to && !err; at++)
			MUST(!view[at]);
		up_to = o->offset + want;
	}
	if (up_to > o->offset)
		MUST(!memcmp(view + o->offset, t->bytes, up_to - o->offset));
	for (uint64_t at = 0; at < o->offset; at++)
		MUST(view[at] == MARK);
	/* Frames are of any order; but beyond the last byte there is nothing. */
	if (!err)
		for (uint64_t at = up_to + (-up_to & (PAGE - 1)); at < MEMORY; at++)
			MUST(view[at] == MARK);
}

static void populate(const struct options *o, const uint8_t *image, size_t size, struct input *in)
{
	static struct truth truth;
	static uint8_t mark[MEMORY];
	int before = next_descriptor(), target = make_memory(MEMORY), source = make_source(o, image, size), err;
	const struct gmem_range order[] = { { choose(in, 32) * PAGE, choose(in, 32) * PAGE }, { 0, 3 * PAGE } };
	uint8_t *view = look_at(target, MEMORY);
	uint64_t told;
	struct gmem_context *g;

	memset(mark, MARK, sizeof(mark));
	MUST(pwrite(target, mark, sizeof(mark), 0) == sizeof(mark));
	find_truth(&truth, image, size);
	MUST(!gmem_context_new(&g));
	gmem_set_pad(g, o->pad);
	gmem_set_threads(g, o->parallel ? 2 : 1);
	gmem_set_chunk(g, (choose(in, 4) + 1) * PAGE);
	gmem_set_verify(g, take(in, 1) & 1);
	gmem_set_order(g, order, take(in, 1) % 3);

	err = gmem_zstd_size(g, source, &told);
	MUST(!err || err == -ENODATA);
	if (!err && !o->stream && truth.whole && !truth.in_doubt)
		MUST(told == truth.size || truth.size > MEMORY);
	err = gmem_populate_zstd(g, target, o->offset, source, o->length);
	check(g, o, &truth, view, err);

	gmem_context_free(g);
	munmap(view, MEMORY);
	close(source);
	close(target);
	MUST(next_descriptor() == before);
}

/* Frames of the bytes that the input tells, most of which are as they should be. */
static size_t make_image(uint8_t *image, size_t room, struct input *in)
{
	static uint8_t plain[8 * PAGE];
	static ZSTD_CCtx *zstd;
	size_t size = 0, frames = choose(in, 6), n;

	if (!zstd)
		zstd = ZSTD_createCCtx();
	MUST(zstd);
	for (size_t i = 0; i < frames; i++) {
		uint8_t form = take(in, 1);
		size_t length = form & 0x10 ? choose(in, sizeof(plain)) : (form & 7) * PAGE;

		if ((form & 0xf) == 0xf) {	/* to be skipped */
			memcpy(image + size, "\x5a\x2a\x4d\x18\x03\0\0\0abc", 11);
			size += 11;
			continue;
		}
		for (size_t j = 0; j < length; j++)
			plain[j] = j % PAGE < 8 || form & 0x20 ? j / PAGE + form : 0;
		ZSTD_CCtx_reset(zstd, ZSTD_reset_session_and_parameters);
		/* A small window takes little to set up. */
		ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, ZSTD_WINDOWLOG_MIN);
		ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, 1);
		ZSTD_CCtx_setParameter(zstd, ZSTD_c_contentSizeFlag, !(form & 0x40));
		ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, form >> 7);
		n = ZSTD_compress2(zstd, image + size, room - size, plain, length);
		if (ZSTD_isError(n))
			break;
		size += n;
	}
	/* And some damage. */
	for (uint8_t damages = take(in, 1) % 4; damages && size; damages--)
		image[choose(in, size)] = take(in, 1);
	return take(in, 1) & 1 && size ? choose(in, size) : size;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static uint8_t image[48 * PAGE / 4];
	struct input in = { bytes, size };
	uint8_t form = take(&in, 1);
	struct options o = {
		.offset = form & 1 ? choose(&in, 33) * PAGE : 0,
		.length = form & 2 ? take(&in, 3) : GMEM_ALL,
		.pad = form & 4, .stream = form & 8, .parallel = form & 0x10,
	};

	if (form & 0x20) {
		size = make_image(image, sizeof(image), &in);
	} else {
		size = in.left > 4 ? in.left - 4 : 0;
		memcpy(image, in.at + in.left - size, size < sizeof(image) ? size : sizeof(image));
		if (size > sizeof(image))
			size = sizeof(image);
	}
	populate(&o, image, size, &in);
	return 0;
}
