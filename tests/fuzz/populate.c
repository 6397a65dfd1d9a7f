// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Raw images: a buffer, a file with holes, a pipe; any offsets, lengths and options,
 * in an order that a file told. Guest memory has the image, or populating fails as
 * documented; as far as it says it came all is right, and nothing beyond is touched.
 */
#include <fcntl.h>

#include "fuzz.h"
#include "gmem.h"

#define PAGES		24
#define MEMORY		(PAGES * PAGE)
#define IMAGE		(PAGES * PAGE)
#define MARK		0xd7	/* of what is there before */

enum kind { BUFFER, FILES, STREAM };

struct plan {
	enum kind kind;
	uint64_t size;			/* of the image */
	uint64_t from, offset, length;
	enum gmem_method method;
	bool pad, was_there;
	uint8_t image[IMAGE];
	uint8_t before[MEMORY];
};

/* The last page may be cut off. */
static int make_source(struct plan *p, struct input *in)
{
	uint64_t pages = choose(in, PAGES + 1);
	int fd, ends[2];

	p->size = pages * PAGE;
	if (pages && take(in, 1) & 1)
		p->size -= choose(in, PAGE);
	fd = make_pages(p->image, p->size, in);
	if (p->kind != STREAM)
		return fd;
	close(fd);
	MUST(!pipe(ends) && fcntl(ends[1], F_SETPIPE_SZ, 2 * IMAGE) > 0);
	MUST(write(ends[1], p->image, p->size) == (ssize_t)p->size);
	close(ends[1]);
	return ends[0];
}

static void set_options(struct gmem_context *g, struct plan *p, struct input *in)
{
	struct gmem_range ranges[4];
	size_t n = choose(in, 5);
	uint16_t form = take(in, 2);

	p->method = form % 5;
	p->pad = form & 8;
	MUST(!gmem_set_method(g, p->method));
	gmem_set_pad(g, p->pad);
	gmem_set_direct(g, form & 0x10);
	gmem_set_verify(g, form & 0x20);
	MUST(!gmem_set_zero(g, p->was_there ? (form & 0x40 ? GMEM_ZERO_WRITE : GMEM_ZERO_AUTO) : (form >> 6) % 3));
	MUST(!gmem_set_threads(g, (form >> 8) % 4));
	MUST(!gmem_set_chunk(g, ((form >> 10) % 8 + 1) * PAGE));
	for (size_t i = 0; i < n; i++)
		ranges[i] = (struct gmem_range){ choose(in, 64) * PAGE, choose(in, 64) * PAGE };
	MUST(!gmem_set_order(g, ranges, n));
}

static int populate(struct gmem_context *g, const struct plan *p, int target, int source)
{
	switch (p->kind) {
	case BUFFER:
		return gmem_populate_buffer(g, target, p->offset, p->image, p->length);
	case FILES:
		return gmem_populate_file(g, target, p->offset, source, p->from, p->length);
	default:
		return gmem_populate_stream(g, target, p->offset, source, p->length);
	}
}

static bool possible(const struct plan *p)
{
	if (p->kind == BUFFER)
		return p->method != GMEM_METHOD_SENDFILE && p->method != GMEM_METHOD_IO_URING;
	return p->kind != STREAM || p->method != GMEM_METHOD_SENDFILE;
}

/* The bytes that there should be, -1 if it must fail. */
static int64_t expected(const struct plan *p)
{
	uint64_t there = p->size - (p->kind == FILES ? p->from : 0), want = p->length;

	if (!possible(p) || p->offset % PAGE || p->offset > MEMORY)
		return -1;
	if (p->kind == FILES && p->from > p->size)
		return -1;
	if (want == GMEM_ALL)
		want = there;
	if (want > there || (want % PAGE && !p->pad))
		return -1;
	return want > MEMORY - p->offset || (want + PAGE - 1) / PAGE * PAGE > MEMORY - p->offset ? -1 : (int64_t)want;
}

static void check(struct gmem_context *g, const struct plan *p, const uint8_t *view, int err)
{
	uint64_t from = p->kind != FILES ? 0 : p->from < p->size ? p->from : p->size;
	const struct gmem_stats *s = gmem_stats(g);
	int64_t should = expected(p);
	uint64_t done = s->up_to > p->offset ? s->up_to - p->offset : 0;

	MUST(err == 0 || err == -EINVAL || err == -ENODATA || err == -ENOSPC || err == -EOPNOTSUPP);
	MUST(!err == !*gmem_error(g) && !strchr(gmem_error(g), '\n'));
	MUST(!err == (should >= 0));
	if (!err) {
		MUST(done == ((uint64_t)should + PAGE - 1) / PAGE * PAGE && s->bytes == done);
		MUST((s->pages_written + s->pages_skipped) * PAGE == done);
	}
	for (uint64_t at = 0; at < MEMORY; at++) {
		uint64_t i = at - p->offset;

		if (at >= p->offset && i < done) {
			uint8_t byte = i < p->size - from && (should < 0 || i < (uint64_t)should) ?
				       p->image[from + i] : 0;

			MUST(view[at] == byte);
		} else if (!err || at < p->offset) {
			MUST(view[at] == p->before[at]);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct plan p;
	struct input in = { bytes, size };
	int before = next_descriptor(), target = make_memory(MEMORY), source;
	uint8_t *view = look_at(target, MEMORY);
	uint8_t form = take(&in, 1);
	struct gmem_context *g;

	p.kind = form % 3;
	p.was_there = form & 4;
	p.offset = form & 8 ? take(&in, 8) : choose(&in, PAGES + 1) * PAGE;
	p.from = form & 0x10 ? take(&in, 8) : take(&in, 2);
	source = make_source(&p, &in);
	p.length = form & 0x20 ? take(&in, 8) : form & 0x40 ? take(&in, 3) : GMEM_ALL;
	if (p.kind == BUFFER)
		p.length = p.length < p.size ? p.length : p.size;
	memset(p.before, p.was_there ? MARK : 0, MEMORY);
	if (p.was_there)
		MUST(pwrite(target, p.before, MEMORY, 0) == MEMORY);
	MUST(!gmem_context_new(&g));
	set_options(g, &p, &in);
	check(g, &p, view, populate(g, &p, target, source));

	gmem_context_free(g);
	munmap(view, MEMORY);
	close(source);
	close(target);
	MUST(next_descriptor() == before);
	return 0;
}
