// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Populating on demand, by faults that come as a guest likes, in an order that a
 * file told, from a source with holes. Each granule is populated once, and holds
 * the source before anybody is told so; what was not asked for may not be there;
 * arguments that make no sense are refused.
 */
#include "fuzz.h"
#include "gmem.h"

#define MAX_PAGES	32
#define MAX_RANGES	8

struct source {
	uint8_t bytes[MAX_PAGES * PAGE];
	uint64_t size;		/* of the file */
	int fd;
};

struct watch {
	const struct source *source;
	const uint8_t *target;
	uint64_t length, granule;
	bool told[MAX_PAGES];	/* by page */
	int refuse;		/* the callback's that many'th call; 0: none */
};

static int on_populated(const struct gmem_range *range, void *arg)
{
	struct watch *w = arg;

	MUST(range->offset % w->granule == 0 && range->length && range->offset < w->length);
	MUST(range->length <= w->granule && range->length <= w->length - range->offset);
	MUST(range->length == w->granule || range->offset + range->length == w->length);
	MUST(!memcmp(w->target + range->offset, w->source->bytes + range->offset, range->length));
	if (w->refuse && !--w->refuse)
		return -EBUSY;
	for (uint64_t at = range->offset; at < range->offset + range->length; at += PAGE) {
		MUST(!w->told[at / PAGE]);
		w->told[at / PAGE] = true;
	}
	return 0;
}

static void set_order(struct gmem_context *g, struct input *in)
{
	struct gmem_range ranges[MAX_RANGES];
	size_t n = choose(in, MAX_RANGES + 1);
	bool whole = true;

	for (size_t i = 0; i < n; i++) {
		uint8_t form = take(in, 1);

		ranges[i].offset = form & 1 ? take(in, 8) : take(in, 1) * PAGE;
		ranges[i].length = form & 2 ? take(in, 8) : take(in, 1) * PAGE;
		whole = whole && ranges[i].offset % PAGE == 0 && ranges[i].length % PAGE == 0 &&
			ranges[i].offset + ranges[i].length >= ranges[i].offset;
	}
	MUST(gmem_set_order(g, ranges, n) == (whole ? 0 : -EINVAL));
}

static void fault(struct gmem_demand *d, const struct watch *w, struct input *in, bool failed)
{
	uint8_t form = take(in, 1);
	uint64_t offset = form & 1 ? take(in, 8) : take(in, 2) * 64;
	uint64_t length = form & 2 ? take(in, 8) : take(in, 2);
	int err = gmem_demand_fault(d, offset, length);

	MUST((err == -EINVAL) == (!length || offset >= w->length) || failed);
	if (err)
		return;
	if (length > w->length - offset)
		length = w->length - offset;
	for (uint64_t page = offset / PAGE; page <= (offset + length - 1) / PAGE; page++)
		MUST(w->told[page]);
}

static void play(struct gmem_demand *d, struct watch *w, struct input *in)
{
	const struct gmem_stats *stats;
	bool failing = w->refuse;
	int err;

	while (in->left && !(take(in, 1) & 0x80))
		fault(d, w, in, failing);
	err = gmem_demand_run(d);
	MUST(err == 0 || (err == -EBUSY && failing));
	for (uint64_t page = 0; page < w->length / PAGE && !err; page++)
		MUST(w->told[page]);
	MUST(!err || *gmem_demand_error(d));
	stats = gmem_demand_stats(d);
	MUST(err || (stats->bytes == w->length && stats->up_to == w->length));
	gmem_demand_free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct source source;
	struct input in = { bytes, size };
	struct watch w = { .source = &source };
	uint8_t form = take(&in, 1);
	int before = next_descriptor(), target = make_memory(MAX_PAGES * PAGE), err;
	struct gmem_demand *d;
	struct gmem_context *g;

	source.size = (choose(&in, MAX_PAGES) + 1) * PAGE;
	source.size -= take(&in, 1) & 1;
	source.fd = make_pages(source.bytes, source.size, &in);
	w.target = look_at(target, MAX_PAGES * PAGE);
	w.length = form & 1 ? take(&in, 8) : choose(&in, MAX_PAGES + 2) * PAGE;
	w.granule = form & 2 ? take(&in, 8) : choose(&in, 2 * MAX_PAGES) * PAGE;
	if (form & 0x10)
		w.granule -= w.granule % PAGE;
	w.refuse = form & 4 ? take(&in, 1) : 0;
	MUST(!gmem_context_new(&g));
	gmem_set_method(g, form & 8 ? GMEM_METHOD_MMAP : GMEM_METHOD_AUTO);
	set_order(g, &in);

	err = gmem_demand_new(g, target, source.fd, w.length, w.granule, on_populated, &w, &d);
	if (!w.length || w.length % PAGE || !w.granule || w.granule % PAGE)
		MUST(err == -EINVAL);
	else
		MUST(err == (w.length > source.size ? -ENODATA : 0));
	MUST(!err == !*gmem_error(g));
	if (!err)
		play(d, &w, &in);

	gmem_context_free(g);
	munmap((void *)w.target, MAX_PAGES * PAGE);
	close(target);
	close(source.fd);
	MUST(next_descriptor() == before);
	return 0;
}
