// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Populate on demand, and the rest in the background: a job whose pieces, granules,
 * are claimed. Who wants one claims it first, by a bit that is set but once; so each
 * is populated once, by one thread, before anybody is told that it is there. Others
 * wait for that. Workers do what is not claimed yet, in the order of the plan.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

struct gmem_demand {
	struct job job;
	struct file source;
	uint64_t length;
	size_t granules;
	size_t *piece_of;		/* a granule -> its place in the plan */
	gmem_demand_fn *populated;
	void *arg;

	_Atomic uint64_t *claimed;	/* bitmaps: somebody populates it, or has */
	_Atomic uint64_t *present;	/* it is populated, and that has been told */

	pthread_mutex_t lock;		/* of what follows */
	pthread_cond_t changed;
	size_t nr_present;
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

static size_t granule_of(const struct gmem_demand *d, const struct piece *piece)
{
	return piece->offset / d->job.granule;
}

static int tell_caller(struct gmem_demand *d, const struct piece *piece)
{
	const struct gmem_range range = { piece->offset, piece->length };
	int err = d->populated ? d->populated(&range, d->arg) : 0;

	if (err)
		gmem_fail(d->job.g, err, "the caller could not take the populated range at %#" PRIx64, range.offset);
	return err;
}

/* The job's end of a piece. */
static int finish(struct worker *w, int err)
{
	struct gmem_demand *d = w->job->owner;

	if (!err)
		err = tell_caller(d, w->piece);
	pthread_mutex_lock(&d->lock);
	if (!err) {
		set_bit(d->present, granule_of(d, w->piece));
		d->nr_present++;
	} else {
		w->piece->done = 0;
		if (!d->err)
			d->err = err;
	}
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	return err;
}

static bool claim(struct worker *w, struct piece *piece)
{
	struct gmem_demand *d = w->job->owner;

	return set_bit(d->claimed, granule_of(d, piece));
}

static const struct job_hooks hooks = { .claim = claim, .finish = finish };

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

/* The next failure has a message of its own, unless this one's is what made populating fail. */
static void forget_message(struct gmem_demand *d)
{
	pthread_mutex_lock(&d->lock);
	if (!d->err)
		gmem_fail_anew(d->job.g);
	pthread_mutex_unlock(&d->lock);
}

static int fault_in(struct worker *w, size_t i)
{
	struct gmem_demand *d = w->job->owner;
	struct piece *piece = &d->job.piece[d->piece_of[i]];

	if (test_bit(d->present, i))
		return 0;
	if (!claim(w, piece))
		return wait_for_granule(d, i);
	w->piece = piece;
	return finish(w, gmem_file_put(w));
}

EXPORT int gmem_demand_fault(struct gmem_demand *d, uint64_t offset, uint64_t length)
{
	struct worker w = { .job = &d->job };
	sigset_t signals;
	int err = 0;

	if (!length || offset >= d->length) {
		err = gmem_fail(d->job.g, -EINVAL, "%" PRIu64 " bytes at %#" PRIx64 " are nothing that is populated on demand",
				length, offset);
		forget_message(d);
		return err;
	}
	if (length > d->length - offset)
		length = d->length - offset;

	gmem_block_sigxfsz(&signals);
	for (size_t i = offset / d->job.granule; !err && i <= (offset + length - 1) / d->job.granule; i++)
		err = fault_in(&w, i);
	gmem_unblock_sigxfsz(&signals);
	free(w.buffer);
	return err;
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

EXPORT int gmem_demand_run(struct gmem_demand *d)
{
	sigset_t signals;
	int err;

	gmem_forget_error(d->job.g);
	gmem_block_sigxfsz(&signals);
	/* Who runs the guest needs the processors, too. */
	err = gmem_job_run(&d->job, d->job.g->threads ?: 1);
	gmem_unblock_sigxfsz(&signals);
	if (!err)
		err = wait_for_all(d);
	if (err == -ECANCELED) {
		/* What is missing can still be faulted in, or run again. */
		d->job.err = 0;
		d->job.next = 0;
		forget_message(d);
	}
	gmem_forget_cancel(d->job.g);
	return err;
}

EXPORT const struct gmem_stats *gmem_demand_stats(struct gmem_demand *d)
{
	gmem_job_stats(&d->job);
	return gmem_stats(d->job.g);
}

EXPORT const char *gmem_demand_error(const struct gmem_demand *d)
{
	return gmem_error(d->job.g);
}

EXPORT void gmem_demand_cancel(struct gmem_demand *d)
{
	gmem_cancel(d->job.g);
}

/* -- making it ------------------------------------------------------------------------- */

static int check(struct gmem_context *g, int source, uint64_t length, uint64_t granule)
{
	uint64_t size;
	int err;

	if (!granule || granule % g->page)
		return gmem_fail(g, -EINVAL, "a granule is a number of whole pages");
	if (!length || length % g->page)
		return gmem_fail(g, -EINVAL, "%" PRIu64 " bytes are no number of whole pages", length);
	err = gmem_source_size(g, source, &size);
	if (err == -ESPIPE)
		return gmem_fail(g, err, "the source is no file: what is read on demand must be");
	if (!err && size < length)
		return gmem_fail(g, -ENODATA, "the source has %" PRIu64 " bytes, %" PRIu64 " are needed", size, length);
	return err;
}

static int make_maps(struct gmem_demand *d)
{
	const struct job *job = &d->job;
	size_t words = (d->granules + 63) / 64, i;

	d->claimed = calloc(words, sizeof(*d->claimed));
	d->present = calloc(words, sizeof(*d->present));
	d->piece_of = calloc(d->granules, sizeof(*d->piece_of));
	if (!d->claimed || !d->present || !d->piece_of)
		return gmem_fail(job->g, -ENOMEM, "out of memory");
	for (i = 0; i < job->nr_pieces; i++)
		d->piece_of[granule_of(d, &job->piece[i])] = i;
	return 0;
}

static int prepare(struct gmem_demand *d, int fd)
{
	struct job *job = &d->job;
	int err = gmem_target_open(job->g, &job->target, ON_DEMAND, fd, 0, d->length);

	if (err)
		return err;
	job->target.exists_ok = true;
	job->compare_at_once = job->g->verify;
	job->total = d->length;
	gmem_file_open(job, &d->source, 1);
	err = gmem_file_plan(job);
	return err ?: make_maps(d);
}

EXPORT void gmem_demand_free(struct gmem_demand *d)
{
	if (!d)
		return;
	gmem_target_close(&d->job.target);
	gmem_file_close(&d->source, 1);
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->lock);
	free(d->job.piece);
	free(d->piece_of);
	free((void *)d->claimed);
	free((void *)d->present);
	gmem_context_free(d->job.g);
	free(d);
}

static int make(struct gmem_context *g, int fd, int source, uint64_t length, uint64_t granule,
		struct gmem_demand **result)
{
	struct gmem_demand *d;
	int err = check(g, source, length, granule);

	if (err)
		return err;
	d = calloc(1, sizeof(*d));
	if (!d)
		return gmem_fail(g, -ENOMEM, "out of memory");
	d->source = (struct file) { .fd = source, .own = -1, .length = length };
	d->length = length;
	d->granules = (length - 1) / granule + 1;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->changed, NULL);
	err = gmem_context_clone(g, &d->job.g);
	if (!err) {
		gmem_job_init(&d->job, d->job.g, 0);
		d->job.granule = granule;
		d->job.hooks = &hooks;
		d->job.owner = d;
		err = prepare(d, fd);
	}
	if (err) {
		gmem_fail(g, err, "%s", d->job.g ? gmem_error(d->job.g) : "out of memory or descriptors");
		gmem_demand_free(d);
		return err;
	}
	*result = d;
	return 0;
}

EXPORT int gmem_demand_new(struct gmem_context *g, int fd, int source, uint64_t length,
			   uint64_t granule, gmem_demand_fn *populated, void *arg,
			   struct gmem_demand **result)
{
	int err = gmem_begin(g);

	if (err)
		return err;
	err = make(g, fd, source, length, granule, result);
	if (!err) {
		(*result)->populated = populated;
		(*result)->arg = arg;
	}
	return gmem_end(g, err);
}
