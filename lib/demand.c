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
#include <unistd.h>

#include "internal.h"

#define PROGRESS_MS	100.0

struct gmem_demand {
	struct gmem *g;
	struct target target;
	int source;
	int own;			/* a description of our own of it, or -1 */
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
	uint64_t pages[NR_FATES];	/* how many met each fate */
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

static int read_source(struct gmem_demand *d, char *to, struct gmem_range range)
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

/* @pages: how many met each fate. */
static int put_data(struct gmem_demand *d, const char *bytes, struct gmem_range range, uint64_t pages[NR_FATES])
{
	enum fate fate;
	size_t done;
	int err = 0;

	for (; range.length && !err; range.offset += done, bytes += done, range.length -= done) {
		err = gmem_target_put(d->g, &d->target, range.offset, bytes, range.length, &done, &fate);
		pages[fate] += done / d->g->page;
		if (!err && d->g->verify && fate == WRITTEN)
			err = gmem_target_compare(d->g, &d->target, range.offset, bytes, done);
	}
	return err;
}

/* Nothing but a hole, which need not be read; unless the file system is not to be believed. */
static bool source_has_hole(const struct gmem_demand *d, struct gmem_range range)
{
	off_t data;

	if (d->own < 0 || d->g->verify)
		return false;
	data = lseek(d->own, range.offset, SEEK_DATA);
	return data < 0 ? errno == ENXIO && lseek(d->own, 0, SEEK_END) >= (off_t)d->length :
	       (uint64_t)data >= range.offset + range.length;
}

static int copy(struct gmem_demand *d, struct gmem_range range, uint64_t pages[NR_FATES])
{
	char *bytes = malloc(range.length);
	int err;

	if (!bytes)
		return gmem_fail(d->g, -ENOMEM, "out of memory");
	err = read_source(d, bytes, range);
	if (!err)
		err = put_data(d, bytes, range, pages);
	free(bytes);
	return err;
}

static int populate(struct gmem_demand *d, struct gmem_range range, uint64_t pages[NR_FATES])
{
	int err = 0;

	if (!gmem_target_is_fresh(&d->target, range.offset, range.length) || !source_has_hole(d, range))
		err = copy(d, range, pages);
	else
		pages[SKIPPED] = range.length / d->g->page;
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
	uint64_t pages[NR_FATES] = { 0 };
	int err = populate(d, range, pages);

	pthread_mutex_lock(&d->lock);
	if (!err) {
		set_bit(d->present, i);
		d->nr_present++;
		for (int fate = 0; fate < NR_FATES; fate++)
			d->pages[fate] += pages[fate];
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
		return gmem_fail(d->g, -EINVAL, "%llu bytes at %#llx are nothing that is populated on demand",
				 (unsigned long long)length, (unsigned long long)offset);
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

static int run_range(struct background *b, struct gmem_range range)
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
	s->pages_written = d->pages[WRITTEN];
	s->pages_skipped = d->pages[SKIPPED];
	s->pages_present = d->pages[PRESENT];
	pthread_mutex_unlock(&d->lock);
	s->bytes = (s->pages_written + s->pages_skipped + s->pages_present) * d->g->page;
	s->up_to = i < d->granules ? i * d->granule : d->length;
	s->ms = gmem_now_ms() - d->start_ms;
}

EXPORT int gmem_demand_run(struct gmem_demand *d)
{
	struct background b = { .d = d };
	int err = 0;

	for (size_t i = 0; i < d->g->nr_order && !err; i++)
		err = run_range(&b, d->g->order[i]);
	if (!err)
		err = run_range(&b, (struct gmem_range){ 0, d->length });
	if (!err)
		err = wait_for_all(d);
	take_stats(d);
	if (err == -ECANCELED)
		gmem_fail(d->g, err, "cancelled");
	gmem_forget_cancel(d->g);
	return err;
}

/* -- making it ------------------------------------------------------------------------- */

static int check_source(struct gmem *g, int source, uint64_t length)
{
	uint64_t size;
	int err = gmem_source_size(g, source, &size);

	if (err == -ESPIPE)
		return gmem_fail(g, err, "the source is no file: what is read on demand must be");
	if (!err && size < length)
		return gmem_fail(g, -ENODATA, "the source has %llu bytes, %llu are needed",
				 (unsigned long long)size, (unsigned long long)length);
	return err;
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

	err = gmem_target_open(g, &d->target, ON_DEMAND, fd, 0, d->length);
	d->target.exists_ok = true;
	g->stats = (struct gmem_stats) { .method = d->target.method, .why = g->why };
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
	if (d->own >= 0)
		close(d->own);
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
	d->own = gmem_reopen(source, 0);
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
