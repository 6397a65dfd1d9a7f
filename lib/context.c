// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* The context of operations: options, error message, cancellation. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "internal.h"

#define DEFAULT_CHUNK	((size_t)1 << 20)
#define MAX_CHUNK	((size_t)1 << 30)	/* a write() takes no more than 2 GiB */
#define MAX_THREADS	1024

EXPORT const char *gmem_version(void)
{
	return GMEM_VERSION;
}

EXPORT int gmem_context_new(struct gmem_context **result)
{
	struct gmem_context *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return -ENOMEM;

	g->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (g->cancel_fd < 0) {
		err = -errno;
		free(g);
		return err;
	}
	pthread_mutex_init(&g->error_lock, NULL);
	g->page = sysconf(_SC_PAGESIZE);
	g->chunk = DEFAULT_CHUNK;
	g->overwrite = true;
	g->stats.why = g->why;

	*result = g;
	return 0;
}

EXPORT void gmem_context_free(struct gmem_context *g)
{
	if (!g)
		return;

	close(g->cancel_fd);
	pthread_mutex_destroy(&g->error_lock);
	free(g->order);
	free(g->thread);
	free(g);
}

EXPORT const char *gmem_error(const struct gmem_context *g)
{
	return g->error;
}

EXPORT const struct gmem_stats *gmem_stats(const struct gmem_context *g)
{
	return &g->stats;
}

int gmem_fail(struct gmem_context *g, int err, const char *format, ...)
{
	va_list args;

	pthread_mutex_lock(&g->error_lock);
	if (!g->failed) {
		g->failed = true;
		va_start(args, format);
		vsnprintf(g->error, sizeof(g->error), format, args);
		va_end(args);
	}
	pthread_mutex_unlock(&g->error_lock);

	return err;
}

void gmem_fail_anew(struct gmem_context *g)
{
	pthread_mutex_lock(&g->error_lock);
	g->failed = false;
	pthread_mutex_unlock(&g->error_lock);
}

void gmem_forget_error(struct gmem_context *g)
{
	pthread_mutex_lock(&g->error_lock);
	if (!g->failed)
		g->error[0] = '\0';
	pthread_mutex_unlock(&g->error_lock);
}

int gmem_begin(struct gmem_context *g)
{
	if (atomic_exchange(&g->busy, true))
		return -EBUSY;

	g->failed = false;
	g->error[0] = '\0';
	return 0;
}

/*
 * Whatever path it came by: no failure without a message, and none that was got over
 * leaves one.
 */
static void settle_message(struct gmem_context *g, int err)
{
	if (err >= 0)
		g->error[0] = '\0';
	else
		gmem_fail(g, err, "%s", strerror(-err));
}

int gmem_end(struct gmem_context *g, int err)
{
	settle_message(g, err);
	atomic_store(&g->busy, false);
	return err;
}

void gmem_forget_cancel(struct gmem_context *g)
{
	uint64_t count;

	atomic_store(&g->cancelled, false);
	if (read(g->cancel_fd, &count, sizeof(count)) < 0)
		count = 0;
}

EXPORT void gmem_cancel(struct gmem_context *g)
{
	const uint64_t one = 1;
	int err = errno;

	/* It fails only if it would overflow: then it is readable already. */
	atomic_store(&g->cancelled, true);
	if (write(g->cancel_fd, &one, sizeof(one)) < 0)
		errno = err;
}

bool gmem_woken_to_cancel(struct gmem_context *g)
{
	uint64_t count;

	/* Who cancelled the last operation may have come late with that. */
	if (!g->cancelled && read(g->cancel_fd, &count, sizeof(count)) < 0)
		count = 0;
	return g->cancelled;
}

static const char *const method_names[] = {
	[GMEM_METHOD_AUTO] = "auto",
	[GMEM_METHOD_WRITE] = "write",
	[GMEM_METHOD_MMAP] = "mmap",
	[GMEM_METHOD_SENDFILE] = "sendfile",
	[GMEM_METHOD_IO_URING] = "io_uring",
};

EXPORT const char *gmem_method_name(enum gmem_method method)
{
	return (size_t)method < sizeof(method_names) / sizeof(method_names[0]) ? method_names[method] : NULL;
}

/* An option is to be set, which no operation must be using: -EBUSY. */
static int begin_setting(struct gmem_context *g, bool makes_sense, const char *why_not)
{
	int err = gmem_begin(g);

	if (err || makes_sense)
		return err;
	return gmem_end(g, gmem_fail(g, -EINVAL, "%s", why_not));
}

EXPORT int gmem_set_method(struct gmem_context *g, enum gmem_method method)
{
	int err = begin_setting(g, gmem_method_name(method), "there is no such method");

	if (err)
		return err;
	g->method = method;
	return gmem_end(g, 0);
}

EXPORT int gmem_set_threads(struct gmem_context *g, unsigned int threads)
{
	int err = begin_setting(g, threads <= MAX_THREADS, "more than 1024 threads");

	if (err)
		return err;
	g->threads = threads;
	return gmem_end(g, 0);
}

EXPORT int gmem_set_chunk(struct gmem_context *g, size_t bytes)
{
	int err = begin_setting(g, bytes && bytes % g->page == 0 && bytes <= MAX_CHUNK,
				"a chunk is a number of whole pages, 1 GiB at most");

	if (err)
		return err;
	g->chunk = bytes;
	return gmem_end(g, 0);
}

EXPORT int gmem_set_zero(struct gmem_context *g, enum gmem_zero zero)
{
	int err = begin_setting(g, (unsigned int)zero <= GMEM_ZERO_WRITE,
				"there is no such way to deal with zeros");

	if (err)
		return err;
	g->zero = zero;
	return gmem_end(g, 0);
}

static int set_flag(struct gmem_context *g, bool *flag, bool value)
{
	int err = begin_setting(g, true, NULL);

	if (err)
		return err;
	*flag = value;
	return gmem_end(g, 0);
}

EXPORT int gmem_set_overwrite(struct gmem_context *g, bool overwrite)
{
	return set_flag(g, &g->overwrite, overwrite);
}

EXPORT int gmem_set_pad(struct gmem_context *g, bool pad)
{
	return set_flag(g, &g->pad, pad);
}

EXPORT int gmem_set_direct(struct gmem_context *g, bool direct)
{
	return set_flag(g, &g->direct, direct);
}

EXPORT int gmem_set_verify(struct gmem_context *g, bool verify)
{
	return set_flag(g, &g->verify, verify);
}

EXPORT int gmem_set_progress(struct gmem_context *g, gmem_progress_fn *fn, void *arg)
{
	int err = begin_setting(g, true, NULL);

	if (err)
		return err;
	g->progress = fn;
	g->progress_arg = arg;
	return gmem_end(g, 0);
}

static int replace_order(struct gmem_context *g, const struct gmem_range *ranges, size_t n)
{
	struct gmem_range *order = NULL;

	if (n) {
		order = calloc(n, sizeof(*order));
		if (!order)
			return gmem_fail(g, -ENOMEM, "out of memory");
		memcpy(order, ranges, n * sizeof(*order));
	}
	free(g->order);
	g->order = order;
	g->nr_order = n;
	return 0;
}

EXPORT int gmem_set_order(struct gmem_context *g, const struct gmem_range *ranges, size_t n)
{
	bool whole_pages = true;
	size_t i;
	int err;

	for (i = 0; i < n; i++)
		whole_pages &= ranges[i].offset % g->page == 0 && ranges[i].length % g->page == 0 &&
			       ranges[i].offset + ranges[i].length >= ranges[i].offset;
	err = begin_setting(g, whole_pages, "an order is made of ranges of whole pages");
	return err ?: gmem_end(g, replace_order(g, ranges, n));
}

int gmem_context_clone(const struct gmem_context *g, struct gmem_context **copy)
{
	int err = gmem_context_new(copy);

	if (err)
		return err;
	(*copy)->method = g->method;
	(*copy)->zero = g->zero;
	(*copy)->threads = g->threads;
	(*copy)->chunk = g->chunk;
	(*copy)->overwrite = g->overwrite;
	(*copy)->pad = g->pad;
	(*copy)->direct = g->direct;
	(*copy)->verify = g->verify;
	(*copy)->progress = g->progress;
	(*copy)->progress_arg = g->progress_arg;
	return replace_order(*copy, g->order, g->nr_order);
}
