// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* The job: plan an operation, share it among threads, keep account. */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"
#include "shared.h"

#define THREAD_MIN	((uint64_t)16 << 20)	/* bytes that are worth a thread */
#define THREADS_MAX	16			/* more of them hardly help: memory is the limit */
#define PROGRESS_MS	100.0

void gmem_block_sigxfsz(sigset_t *before)
{
	sigset_t xfsz;

	sigemptyset(&xfsz);
	sigaddset(&xfsz, SIGXFSZ);
	pthread_sigmask(SIG_BLOCK, &xfsz, before);
}

void gmem_unblock_sigxfsz(const sigset_t *before)
{
	const struct timespec now = { 0 };
	sigset_t xfsz;

	sigemptyset(&xfsz);
	sigaddset(&xfsz, SIGXFSZ);
	if (!sigismember(before, SIGXFSZ))
		while (sigtimedwait(&xfsz, NULL, &now) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

void gmem_job_init(struct job *job, struct gmem_context *g, uint64_t offset)
{
	memset(job, 0, sizeof(*job));
	job->g = g;
	job->target.fd = -1;
	job->target.offset = offset;
	job->target.method = GMEM_METHOD_WRITE;
	job->nr_layers = 1;
	job->start = now_ms();

	free(g->thread);
	g->thread = NULL;
	memset(&g->stats, 0, sizeof(g->stats));
	g->why[0] = '\0';
	g->stats.why = g->why;
}

int gmem_job_begin(struct job *job, struct gmem_context *g, uint64_t offset)
{
	int err = gmem_begin(g);

	if (err)
		return err;
	gmem_job_init(job, g, offset);
	gmem_block_sigxfsz(&job->signals);
	return 0;
}

/* How far all is done: the lowest byte that is not. */
static uint64_t up_to(const struct job *job)
{
	uint64_t low = job->target.offset + job->target.length;
	size_t i;

	if (!job->piece)
		return job->target.offset + job->done;
	for (i = 0; i < job->nr_pieces; i++)
		if (job->piece[i].done < job->piece[i].length &&
		    job->piece[i].offset + job->piece[i].done < low)
			low = job->piece[i].offset + job->piece[i].done;
	return low;
}

void gmem_job_stats(struct job *job)
{
	struct gmem_context *g = job->g;
	struct gmem_stats *s = &g->stats;

	s->bytes = job->done;
	s->up_to = up_to(job);
	s->pages_written = job->bytes[WRITTEN] / g->page;
	s->pages_skipped = job->bytes[SKIPPED] / g->page;
	s->pages_present = job->bytes[PRESENT] / g->page;
	s->ms = job->ms ?: now_ms() - job->start;
	s->method = job->target.method;
	s->direct = job->direct;
	s->thread = g->thread;
}

int gmem_job_end(struct job *job, int err)
{
	struct gmem_context *g = job->g;

	gmem_job_stats(job);
	gmem_target_close(&job->target);
	free(job->piece);
	gmem_unblock_sigxfsz(&job->signals);
	gmem_forget_cancel(g);
	return gmem_end(g, err);
}

int gmem_round_up_to_page(struct gmem_context *g, uint64_t length, uint64_t *rounded)
{
	uint64_t over = length % g->page;

	if (over && !g->pad)
		return gmem_fail(g, -EINVAL, "the source's %" PRIu64 " bytes are not whole pages of %zu bytes: ask for padding to fill the last with zeros",
				 length, g->page);
	if (over && length > UINT64_MAX - g->page)
		return gmem_fail(g, -ENOSPC, "%" PRIu64 " bytes do not fit in guest memory", length);

	*rounded = over ? length - over + g->page : length;
	return 0;
}

/*
 * The plan
 */

int gmem_job_add_piece(struct job *job, const struct piece *piece)
{
	struct piece *grown;
	size_t room;

	if (job->nr_pieces == job->room) {
		room = job->room ? 2 * job->room : 256;
		grown = reallocarray(job->piece, room, sizeof(*grown));
		if (!grown)
			return gmem_fail(job->g, -ENOMEM, "out of memory");
		job->piece = grown;
		job->room = room;
	}
	job->piece[job->nr_pieces++] = *piece;
	return 0;
}

/*
 * Which layer's data is at @offset, the last's that has any, or -1: a hole of all. That
 * is so up to *stop, if not less.
 */
static int find_layer(const struct job *job, const struct ranges *data, uint64_t offset, uint64_t *stop)
{
	const struct gmem_range *next;
	uint64_t until;
	int i;

	for (i = data ? job->nr_layers - 1 : -1; i >= 0; i--) {
		next = gmem_ranges_find(&data[i], offset);
		if (!next)
			continue;
		until = next->offset > offset ? next->offset : next->offset + next->length;
		if (until < *stop)
			*stop = until;
		if (next->offset <= offset)
			return i;
	}
	return data ? -1 : 0;
}

/* In granules, each of them data or a hole as a whole. */
static int plan_granules(struct job *job, uint64_t offset, uint64_t length, const struct ranges *data)
{
	uint64_t end = offset + length, stop, same;
	bool hole;
	int err = 0;

	for (; !err && offset < end; offset = stop) {
		same = stop = end - offset > job->granule ? offset + job->granule : end;
		hole = find_layer(job, data, offset, &same) < 0 && same == stop;
		err = gmem_job_add_piece(job, &(struct piece) { offset, stop - offset, .hole = hole });
	}
	return err;
}

/* A range of the target: data in chunks, and holes. */
static int plan_range(struct job *job, uint64_t offset, uint64_t length, const struct ranges *data)
{
	uint64_t end = offset + length, stop;
	int layer, err = 0;

	if (job->granule)
		return plan_granules(job, offset, length, data);
	for (; !err && offset < end; offset = stop) {
		stop = end;
		layer = find_layer(job, data, offset, &stop);
		if (layer >= 0 && stop - offset > job->g->chunk)
			stop = offset + job->g->chunk;
		err = gmem_job_add_piece(job, &(struct piece) { offset, stop - offset, .hole = layer < 0,
								.source = layer < 0 ? 0 : layer });
	}
	return err;
}

/*
 * Which pages, or granules, are planned already: a bit each, and for each word of those another,
 * set when all of the word is: an order may name the same terabytes many times.
 */
struct planned {
	uint64_t *pages;
	uint64_t *words;
};

static bool test_bit(const uint64_t *bits, uint64_t n)
{
	return bits[n / 64] >> n % 64 & 1;
}

static void set_bit(uint64_t *bits, uint64_t n)
{
	bits[n / 64] |= UINT64_C(1) << n % 64;
}

/* The first from @n on that is not set, or a number of @end or more. */
static uint64_t next_clear(const uint64_t *bits, uint64_t n, uint64_t end)
{
	uint64_t clear;

	for (; n < end; n = (n / 64 + 1) * 64) {
		clear = ~bits[n / 64] >> n % 64;
		if (clear)
			return n + __builtin_ctzll(clear);
	}
	return end;
}

/* The same of the pages: in the word of @page, else in the next that is not full. */
static uint64_t next_unplanned(const struct planned *planned, uint64_t page, uint64_t end)
{
	uint64_t own_end = (page / 64 + 1) * 64, found;

	found = next_clear(planned->pages, page, own_end);
	if (found < own_end)
		return found;
	found = next_clear(planned->words, own_end / 64, (end + 63) / 64);
	return next_clear(planned->pages, found * 64, end);
}

static void set_planned(struct planned *planned, uint64_t page)
{
	set_bit(planned->pages, page);
	if (!~planned->pages[page / 64])
		set_bit(planned->words, page / 64);
}

static uint64_t unit(const struct job *job)
{
	return job->granule ?: job->g->page;
}

/* What of these units is not planned yet. */
static int plan_unplanned(struct job *job, uint64_t first, uint64_t last,
			  struct planned *planned, const struct ranges *data)
{
	const struct target *t = &job->target;
	uint64_t i = first, begin, from, to;
	int err;

	while ((begin = next_unplanned(planned, i, last)) < last) {
		for (i = begin; i < last && !test_bit(planned->pages, i); i++)
			set_planned(planned, i);
		from = begin * unit(job);
		to = i * unit(job) < t->length ? i * unit(job) : t->length;
		err = plan_range(job, t->offset + from, to - from, data);
		if (err)
			return err;
	}
	return 0;
}

static int plan_in_order(struct job *job, struct planned *planned, const struct ranges *data)
{
	const struct target *t = &job->target;
	const struct gmem_context *g = job->g;
	uint64_t from, to;
	size_t i;
	int err;

	for (i = 0; i < g->nr_order; i++) {
		from = g->order[i].offset;
		to = from + g->order[i].length;
		if (from < t->offset)
			from = t->offset;
		if (to > t->offset + t->length)
			to = t->offset + t->length;
		if (from >= to)
			continue;
		err = plan_unplanned(job, (from - t->offset) / unit(job), (to - t->offset - 1) / unit(job) + 1,
				     planned, data);
		if (err)
			return err;
	}
	return plan_unplanned(job, 0, t->length ? (t->length - 1) / unit(job) + 1 : 0, planned, data);
}

int gmem_job_plan(struct job *job, const struct ranges *data)
{
	const struct target *t = &job->target;
	size_t words = t->length / unit(job) / 64 + 2;
	struct planned planned;
	int err;

	if (!job->g->nr_order)
		return plan_range(job, t->offset, t->length, data);

	planned.pages = calloc(words, sizeof(*planned.pages));
	planned.words = calloc(words / 64 + 1, sizeof(*planned.words));
	if (planned.pages && planned.words)
		err = plan_in_order(job, &planned, data);
	else
		err = gmem_fail(job->g, -ENOMEM, "out of memory");
	free(planned.pages);
	free(planned.words);
	return err;
}

/*
 * The work
 */

static void stop(struct job *job, int err)
{
	int none = 0;

	atomic_compare_exchange_strong(&job->err, &none, err);
}

/* On the thread that called only. */
static void tell_progress(struct job *job)
{
	struct gmem_context *g = job->g;
	struct gmem_progress progress;
	double now = now_ms();

	if (!g->progress || now - job->shown < PROGRESS_MS)
		return;
	job->shown = now;
	progress = (struct gmem_progress) {
		.done = job->done,
		.total = job->total,
		.ms = now - job->start,
	};
	if (g->progress(&progress, g->progress_arg))
		gmem_cancel(g);
}

int gmem_worker_interrupted(struct worker *w)
{
	struct job *job = w->job;

	if (job->hooks && w->piece)
		return 0;
	if (!w->index)
		tell_progress(job);
	if (job->g->cancelled)
		stop(job, gmem_fail(job->g, -ECANCELED, "cancelled"));
	return job->err;
}

struct piece *gmem_worker_take(struct worker *w)
{
	struct job *job = w->job;
	size_t i;

	w->piece = NULL;
	if (gmem_worker_interrupted(w))
		return NULL;
	do
		i = atomic_fetch_add(&job->next, 1);
	while (i < job->nr_pieces && job->hooks && !job->hooks->claim(w, &job->piece[i]));
	return i < job->nr_pieces ? &job->piece[i] : NULL;
}

int gmem_worker_finish(struct worker *w, int err)
{
	return w->job->hooks ? w->job->hooks->finish(w, err) : err;
}

char *gmem_worker_buffer(struct worker *w)
{
	struct gmem_context *g = w->job->g;
	void *buffer;

	if (!w->buffer) {
		if (posix_memalign(&buffer, g->page, g->chunk)) {
			gmem_fail(g, -ENOMEM, "out of memory: no buffer of %zu bytes", g->chunk);
			return NULL;
		}
		w->buffer = buffer;
	}
	return w->buffer;
}

void gmem_worker_account(struct worker *w, uint64_t bytes, enum fate fate)
{
	struct job *job = w->job;

	job->done += bytes;
	job->bytes[fate] += bytes;
	w->stats.bytes += bytes;
	if (w->piece)
		w->piece->done += bytes;
}

int gmem_worker_put(struct worker *w, uint64_t offset, const char *bytes, size_t length)
{
	struct job *job = w->job;
	enum fate fate;
	size_t done;
	int err;

	for (; length; offset += done, bytes += done, length -= done) {
		err = gmem_worker_interrupted(w);
		if (err)
			return err;
		if (job->comparing)
			return gmem_target_compare(job->g, &job->target, offset, bytes, length);

		err = gmem_target_put(job->g, &job->target, offset, bytes, length, &done, &fate);
		gmem_worker_account(w, done, fate);
		if (!err && job->compare_at_once && fate == WRITTEN)
			err = gmem_target_compare(job->g, &job->target, offset, bytes, done);
		if (err)
			return err;
	}
	return 0;
}

int gmem_worker_put_zeros(struct worker *w, uint64_t offset, uint64_t length)
{
	size_t chunk = w->job->g->chunk, n;
	char *zeros;
	int err;

	if (gmem_target_is_fresh(&w->job->target, offset, length)) {
		if (!w->job->comparing)
			gmem_worker_account(w, length, SKIPPED);
		return 0;
	}

	zeros = gmem_worker_buffer(w);
	if (!zeros)
		return -ENOMEM;
	memset(zeros, 0, chunk < length ? chunk : length);
	for (; length; offset += n, length -= n) {
		n = chunk < length ? chunk : length;
		err = gmem_worker_put(w, offset, zeros, n);
		if (err)
			return err;
	}
	return 0;
}

static void *run_worker(void *arg)
{
	struct worker *w = arg;
	double start = now_ms();
	int err = w->job->work(w);

	if (err)
		stop(w->job, err);
	w->stats.ms = now_ms() - start;
	free(w->buffer);
	return NULL;
}

static unsigned int cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
}

static unsigned int choose_threads(const struct job *job, unsigned int max)
{
	unsigned int n = job->g->threads;

	if (!n) {
		n = cpus();
		if (n > THREADS_MAX)
			n = THREADS_MAX;
		if (n > job->target.length / THREAD_MIN)
			n = job->target.length / THREAD_MIN;
	}
	if (n > max)
		n = max;
	if (n > job->nr_pieces)
		n = job->nr_pieces;
	return n ?: 1;
}

/* The caller's thread is worker 0. If some cannot be started the others do. */
static int run_workers(struct job *job, struct worker *worker, unsigned int n)
{
	sigset_t all, before;
	unsigned int i;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (i = 1; i < n; i++) {
		worker[i] = (struct worker) { .job = job, .index = i };
		if (pthread_create(&worker[i].thread, NULL, run_worker, &worker[i]))
			break;
	}
	n = i;
	pthread_sigmask(SIG_SETMASK, &before, NULL);

	worker[0] = (struct worker) { .job = job };
	run_worker(&worker[0]);
	for (i = 1; i < n; i++)
		pthread_join(worker[i].thread, NULL);

	return n;
}

static int run(struct job *job, struct worker *worker, unsigned int n)
{
	struct gmem_context *g = job->g;
	unsigned int i;
	int err;

	n = run_workers(job, worker, n);
	job->ms = now_ms() - job->start;
	g->stats.threads = n;
	for (i = 0; i < n; i++)
		g->thread[i] = worker[i].stats;

	if (job->err || !g->verify || job->compare_at_once)
		return job->err;
	/* What is a hole of both needs no look; so let it be one that is there now. */
	err = gmem_target_find_populated(g, &job->target);
	if (err)
		return err;
	job->comparing = true;
	job->next = 0;
	run_workers(job, worker, n);
	return job->err;
}

int gmem_job_run(struct job *job, unsigned int max)
{
	struct gmem_context *g = job->g;
	unsigned int n = choose_threads(job, max);
	struct worker *worker = calloc(n, sizeof(*worker));
	int err = -ENOMEM;

	/* What was left alone is not known any more in a second round. */
	if (g->verify && job->target.keep)
		job->compare_at_once = true;
	tell_progress(job);
	free(g->thread);
	g->thread = calloc(n, sizeof(*g->thread));
	if (worker && g->thread)
		err = run(job, worker, n);
	else
		gmem_fail(g, err, "out of memory");
	free(worker);

	/* The bar's end. */
	job->shown = 0;
	if (!err)
		tell_progress(job);
	return err;
}
