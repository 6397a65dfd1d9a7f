// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Populate on demand, and the rest in the background. Who wants a granule claims
 * it first, by a bit that is set but once; so each is populated once, by one
 * thread, before anybody is told that it is there. Others wait for that.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

#define PROGRESS_MS	100.0

struct gmem_demand {
	struct gmem *g;
	struct target target;
	int source;
	uint64_t length;
	uint64_t granule;
	size_t granules;
	gmem_demand_fn *populated;
	void *arg;
	double start_ms;

	_Atomic uint64_t *claimed;	/* bitmaps: somebody populates it, or has */
	_Atomic uint64_t *present;	/* it is populated, and that has been told */

	pthread_mutex_t lock;		/* of what follows */
	pthread_cond_t changed;
	size_t nr_present;
	uint64_t pages_written, pages_skipped;
	int err;			/* the first that happened */
};

static bool test_bit(_Atomic uint64_t *map, size_t i)
{
	return atomic_load_explicit(&map[i / 64], memory_order_acquire) >> i % 64 & 1;
}

/* True for who set it. */
static bool set_bit(_Atomic uint64_t *map, size_t i)
{
	const uint64_t bit = UINT64_C(1) << i % 64;

	return !(atomic_fetch_or(&map[i / 64], bit) & bit);
}

static struct gmem_range granule_range(const struct gmem_demand *d, size_t i)
{
	uint64_t offset = i * d->granule;
	uint64_t left = d->length - offset;

	return (struct gmem_range){ offset, left < d->granule ? left : d->granule };
}

static int read_source(struct gmem_demand *d, uint8_t *to, struct gmem_range range)
{
	while (range.length) {
		ssize_t n = pread(d->source, to, range.length, range.offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return gmem_fail(d->g, -errno, "cannot read the source at %#llx: %s",
					 (unsigned long long)range.offset, strerror(errno));
		if (!n)
			return gmem_fail(d->g, -ENODATA, "the source ends at %#llx: it has shrunk",
					 (unsigned long long)range.offset);
		to += n;
		range.offset += n;
		range.length -= n;
	}
	return 0;
}

/* Pages of zeros are left out where nothing was: holes are zeros, too. */
static bool can_skip(const struct gmem_demand *d, const uint8_t *page, uint64_t offset)
{
	return gmem_target_is_fresh(&d->target, offset, d->g->page) && gmem_is_zero(page, d->g->page);
}

static int put_data(struct gmem_demand *d, const uint8_t *bytes, struct gmem_range range,
		    uint64_t *written)
{
	const size_t page = d->g->page;
	uint64_t at = 0;

	while (at < range.length) {
		uint64_t start;
		size_t done;
		int err;

		while (at < range.length && can_skip(d, bytes + at, range.offset + at))
			at += page;
		start = at;
		while (at < range.length && !can_skip(d, bytes + at, range.offset + at))
			at += page;
		if (start == at)
			break;
		err = gmem_target_write(d->g, &d->target, range.offset + start,
					(const char *)bytes + start, at - start, &done);
		if (err)
			return err;
		*written += done / page;
	}
	return 0;
}

/* Nothing but a hole, which need not be read. That lseek() moves its position is no harm. */
static bool source_has_hole(const struct gmem_demand *d, struct gmem_range range)
{
	off_t data = lseek(d->source, range.offset, SEEK_DATA);

	return data < 0 ? errno == ENXIO && lseek(d->source, 0, SEEK_END) >= (off_t)d->length :
	       (uint64_t)data >= range.offset + range.length;
}

static int copy(struct gmem_demand *d, struct gmem_range range, uint64_t *written)
{
	uint8_t *bytes = malloc(range.length);
	int err;

	if (!bytes)
		return gmem_fail(d->g, -ENOMEM, "out of memory");
	err = read_source(d, bytes, range);
	if (!err)
		err = put_data(d, bytes, range, written);
	free(bytes);
	return err;
}

static int populate(struct gmem_demand *d, struct gmem_range range, uint64_t *written)
{
	int err = 0;

	if (!gmem_target_is_fresh(&d->target, range.offset, range.length) || !source_has_hole(d, range))
		err = copy(d, range, written);
	if (!err && d->populated) {
		err = d->populated(&range, d->arg);
		if (err)
			gmem_fail(d->g, err, "the caller could not take the populated range at %#llx",
				  (unsigned long long)range.offset);
	}
	return err;
}

/* For who has claimed it. */
static int populate_granule(struct gmem_demand *d, size_t i)
{
	struct gmem_range range = granule_range(d, i);
	uint64_t written = 0;
	int err = populate(d, range, &written);

	pthread_mutex_lock(&d->lock);
	if (!err) {
		set_bit(d->present, i);
		d->nr_present++;
		d->pages_written += written;
		d->pages_skipped += range.length / d->g->page - written;
	} else if (!d->err) {
		d->err = err;
	}
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	return err;
}

static int wait_for_granule(struct gmem_demand *d, size_t i)
{
	int err;

	pthread_mutex_lock(&d->lock);
	while (!test_bit(d->present, i) && !d->err)
		pthread_cond_wait(&d->changed, &d->lock);
	err = test_bit(d->present, i) ? 0 : d->err;
	pthread_mutex_unlock(&d->lock);
	return err;
}

EXPORT int gmem_demand_fault(struct gmem_demand *d, uint64_t offset, uint64_t length)
{
	if (!length || offset >= d->length)
		return -EINVAL;
	if (length > d->length - offset)
		length = d->length - offset;

	for (size_t i = offset / d->granule; i <= (offset + length - 1) / d->granule; i++) {
		int err = 0;

		if (test_bit(d->present, i))
			continue;
		err = set_bit(d->claimed, i) ? populate_granule(d, i) : wait_for_granule(d, i);
		if (err)
			return err;
	}
	return 0;
}

/* -- in the background --------------------------------------------------------------- */

struct background {
	struct gmem_demand *d;
	uint64_t present;	/* pages that were populated on demand before we came */
	double told_ms;
};

static int tell_progress(struct background *b)
{
	struct gmem *g = b->d->g;
	struct gmem_progress p;
	double now = gmem_now_ms();

	if (g->cancelled)
		return -ECANCELED;
	if (!g->progress || now - b->told_ms < PROGRESS_MS)
		return 0;
	b->told_ms = now;
	pthread_mutex_lock(&b->d->lock);
	p.done = b->d->nr_present * b->d->granule;
	pthread_mutex_unlock(&b->d->lock);
	p.done = p.done < b->d->length ? p.done : b->d->length;
	p.total = b->d->length;
	p.ms = now - b->d->start_ms;
	return g->progress(&p, g->progress_arg) ? -ECANCELED : 0;
}

static int run_range(struct background *b, struct gmem_range range, bool again)
{
	struct gmem_demand *d = b->d;

	if (range.offset >= d->length || !range.length)
		return 0;
	if (range.length > d->length - range.offset)
		range.length = d->length - range.offset;
	for (size_t i = range.offset / d->granule;
	     i <= (range.offset + range.length - 1) / d->granule; i++) {
		int err = tell_progress(b);

		if (!err && set_bit(d->claimed, i))
			err = populate_granule(d, i);
		else if (!err && !again)
			b->present += granule_range(d, i).length / d->g->page;
		if (err)
			return err;
	}
	return 0;
}

static int wait_for_all(struct gmem_demand *d)
{
	int err;

	pthread_mutex_lock(&d->lock);
	while (d->nr_present < d->granules && !d->err)
		pthread_cond_wait(&d->changed, &d->lock);
	err = d->err;
	pthread_mutex_unlock(&d->lock);
	return err;
}

static void take_stats(struct gmem_demand *d)
{
	struct gmem_stats *s = &d->g->stats;
	size_t i = 0;

	while (i < d->granules && test_bit(d->present, i))
		i++;
	pthread_mutex_lock(&d->lock);
	s->pages_written = d->pages_written;
	s->pages_skipped = d->pages_skipped;
	pthread_mutex_unlock(&d->lock);
	s->bytes = (s->pages_written + s->pages_skipped) * d->g->page;
	s->up_to = i < d->granules ? i * d->granule : d->length;
	s->ms = gmem_now_ms() - d->start_ms;
}

EXPORT int gmem_demand_run(struct gmem_demand *d)
{
	struct background b = { .d = d };
	int err = 0;

	for (size_t i = 0; i < d->g->nr_order && !err; i++)
		err = run_range(&b, d->g->order[i], true);
	if (!err)
		err = run_range(&b, (struct gmem_range){ 0, d->length }, false);
	if (!err)
		err = wait_for_all(d);
	take_stats(d);
	d->g->stats.pages_present = b.present;
	if (err == -ECANCELED)
		gmem_fail(d->g, err, "cancelled");
	return err;
}

/* -- making it ------------------------------------------------------------------------- */

static int check_source(struct gmem *g, int source, uint64_t length)
{
	struct stat st;
	off_t size;

	if (fstat(source, &st))
		return gmem_fail(g, -errno, "cannot examine the source: %s", strerror(errno));
	size = S_ISBLK(st.st_mode) ? lseek(source, 0, SEEK_END) : st.st_size;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return gmem_fail(g, -ESPIPE, "the source is no file: what is read on demand must be");
	if (size < 0 || (uint64_t)size < length)
		return gmem_fail(g, -ENODATA, "the source has %lld bytes, %llu are needed",
				 (long long)size, (unsigned long long)length);
	return 0;
}

static int check_arguments(struct gmem *g, uint64_t length, uint64_t granule)
{
	if (!granule || granule % g->page)
		return gmem_fail(g, -EINVAL, "a granule is a number of whole pages");
	if (!length || length % g->page)
		return gmem_fail(g, -EINVAL, "%llu bytes are no number of whole pages",
				 (unsigned long long)length);
	return 0;
}

static int open_target(struct gmem_demand *d, int fd)
{
	struct gmem *g = d->g;
	int err;

	if (g->method != GMEM_METHOD_AUTO && g->method != GMEM_METHOD_WRITE &&
	    g->method != GMEM_METHOD_MMAP)
		return gmem_fail(g, -EOPNOTSUPP, "method %s: on demand it is write or mmap",
				 gmem_method_name(g->method));
	err = gmem_target_open(g, &d->target, fd, 0, d->length);
	g->stats = (struct gmem_stats){
		.method = d->target.by_copy ? GMEM_METHOD_MMAP : GMEM_METHOD_WRITE,
		.why = g->why,
	};
	snprintf(g->why, sizeof(g->why), "%s", d->target.by_copy ?
		 "it can be mapped at any time" : "it can be written at any time");
	return err;
}

static struct gmem_demand *alloc_demand(size_t granules)
{
	struct gmem_demand *d = calloc(1, sizeof(*d));
	size_t words = (granules + 63) / 64;

	if (!d)
		return NULL;
	d->granules = granules;
	d->claimed = calloc(words, sizeof(*d->claimed));
	d->present = calloc(words, sizeof(*d->present));
	if (d->claimed && d->present)
		return d;
	free((void *)d->claimed);
	free((void *)d->present);
	free(d);
	return NULL;
}

static void destroy(struct gmem_demand *d)
{
	gmem_target_close(&d->target);
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->lock);
	free((void *)d->claimed);
	free((void *)d->present);
	free(d);
}

EXPORT int gmem_demand_new(struct gmem *g, int fd, int source, uint64_t length,
			   uint64_t granule, gmem_demand_fn *populated, void *arg,
			   struct gmem_demand **result)
{
	struct gmem_demand *d;
	int err = gmem_begin(g);

	if (err)
		return err;
	err = check_arguments(g, length, granule) ?: check_source(g, source, length);
	if (err)
		return gmem_end(g, err);

	d = alloc_demand((length - 1) / granule + 1);
	if (!d)
		return gmem_end(g, gmem_fail(g, -ENOMEM, "out of memory"));
	d->g = g;
	d->source = source;
	d->length = length;
	d->granule = granule;
	d->populated = populated;
	d->arg = arg;
	d->start_ms = gmem_now_ms();
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->changed, NULL);
	err = open_target(d, fd);
	if (err) {
		destroy(d);
		return gmem_end(g, err);
	}
	*result = d;
	return 0;
}

EXPORT void gmem_demand_free(struct gmem_demand *d)
{
	struct gmem *g;

	if (!d)
		return;
	g = d->g;
	take_stats(d);
	destroy(d);
	gmem_end(g, 0);
}
