/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* What the library's files share. */
#ifndef GMEM_INTERNAL_H
#define GMEM_INTERNAL_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/types.h>

#include "gmem.h"

#define EXPORT		__attribute__((visibility("default")))
#define PRINTF(f, a)	__attribute__((format(printf, f, a)))

/* What it was built with. */
#ifndef HAVE_ZSTD
#define HAVE_ZSTD	1
#endif
#ifndef HAVE_IO_URING
#define HAVE_IO_URING	1
#endif

struct gmem_context {
	enum gmem_method method;
	enum gmem_zero zero;
	unsigned int threads;
	size_t chunk;
	bool overwrite;
	bool pad;
	bool direct;
	bool verify;
	struct gmem_range *order;
	size_t nr_order;
	gmem_progress_fn *progress;
	void *progress_arg;

	size_t page;			/* its size */
	atomic_bool cancelled;		/* until an operation that heeds it ends */
	int cancel_fd;			/* an eventfd that says so to who waits */
	atomic_bool busy;		/* an operation is running */

	pthread_mutex_t error_lock;	/* threads of one operation may fail together */
	bool failed;
	char error[512];

	struct gmem_stats stats;
	struct gmem_thread_stats *thread;
	char why[160];
};

/* Set the message, unless it has been set since gmem_begin(). Returns @err. */
int gmem_fail(struct gmem_context *g, int err, const char *format, ...) PRINTF(3, 4);

/* The next failure is to have a message of its own; so far this one stays. */
void gmem_fail_anew(struct gmem_context *g);

/* A message of what is over, by gmem_fail_anew(), goes; one that still holds stays. */
void gmem_forget_error(struct gmem_context *g);

/* A context with the same options, for what goes on when the call is over. */
int gmem_context_clone(const struct gmem_context *g, struct gmem_context **copy);

/* An operation begins: forget the last one's error. -EBUSY if one is running. */
int gmem_begin(struct gmem_context *g);

/* It ends; returns @err. */
int gmem_end(struct gmem_context *g, int err);

/*
 * Before the end of what can be cancelled: who is cancelled has heard of it, who is
 * done has no use for it. Who cannot be leaves it to the next.
 */
void gmem_forget_cancel(struct gmem_context *g);

/* cancel_fd is readable: is it for this operation? */
bool gmem_woken_to_cancel(struct gmem_context *g);

/*
 * A growing list of ranges.
 */

struct ranges {
	struct gmem_range *range;
	size_t nr;
	size_t room;
};

/* At the end; -ENOMEM. One that follows the last immediately becomes part of it. */
int gmem_ranges_add(struct ranges *ranges, uint64_t offset, uint64_t length);

/* In a sorted list, the first range that ends after @offset, or NULL. */
const struct gmem_range *gmem_ranges_find(const struct ranges *ranges, uint64_t offset);

/*
 * Part of a file in memory, from @at on. What is mapped begins and ends at the
 * file's own pages, which may be huge.
 */

struct mapping {
	char *at;
	void *start;
	size_t length;
};

/* Of @length bytes, which must not be 0; or a negative errno, without a message. */
int gmem_map(struct mapping *m, int fd, uint64_t offset, uint64_t length, int prot);
void gmem_unmap(struct mapping *m);

/*
 * The target: the part of a guest_memfd that an operation populates.
 */

struct target {
	int fd;
	int can;			/* GMEM_CAN_*, GMEM_IS_* */
	uint64_t size;			/* of the file */
	uint64_t offset, length;	/* the part */
	enum gmem_method method;
	bool by_copy;			/* into the mapping, not by write() */
	struct mapping map;		/* of the part; none if there is no need for one */
	bool skip;			/* zeros, where nothing is populated */
	bool keep;			/* what is populated: leave it alone */
	bool exists_ok;			/* so may the kernel (EEXIST), at any time */
	struct ranges populated;	/* that was, before */
};

/* What the descriptor is and can do: GMEM_*, or a negative errno. */
int gmem_look_at(struct gmem_context *g, int fd, uint64_t *size);

/* As gmem_next_populated(), for a descriptor that has been examined; -ENXIO without a message. */
int gmem_next(struct gmem_context *g, int fd, int can, uint64_t size, uint64_t from, struct gmem_range *range);

/* Where what is populated comes from. */
enum source {
	FROM_BUFFER,
	FROM_FILE,
	FROM_LAYERS,
	FROM_STREAM,
	FROM_ZSTD,
	ON_DEMAND,
};

/* Settle how: g's method if that is possible, or what serves it best; and note why. */
int gmem_choose_method(struct gmem_context *g, struct target *t, enum source source);

int gmem_target_open(struct gmem_context *g, struct target *t, enum source source,
		     int fd, uint64_t offset, uint64_t length);
void gmem_target_close(struct target *t);

/* The message for an error of writing at @offset. Returns @err. */
int gmem_target_fail(struct gmem_context *g, int err, uint64_t offset);

/* What is populated now? -> gmem_target_is_fresh(). */
int gmem_target_find_populated(struct gmem_context *g, struct target *t);

/* Are these pages not populated, so that zeros need not be written? */
bool gmem_target_is_fresh(const struct target *t, uint64_t offset, uint64_t length);

/* What becomes of a page that is to be populated. */
enum fate {
	WRITTEN,
	SKIPPED,			/* zeros, where there is a hole */
	PRESENT,			/* left alone: populated already */
	NR_FATES
};

/*
 * Put whole pages: so many as *done says, all of one fate. With an error: as many as
 * were written before it.
 */
int gmem_target_put(struct gmem_context *g, const struct target *t, uint64_t offset,
		    const char *bytes, size_t length, size_t *done, enum fate *fate);

/* Are they there? -EILSEQ if not. Zeros in a hole, which a look would fill, are. */
int gmem_target_compare(struct gmem_context *g, const struct target *t, uint64_t offset,
			const char *bytes, size_t length);

/*
 * The job: one populating operation, done by some workers.
 */

/* Part of the target that a worker does at a time. */
struct piece {
	uint64_t offset;
	uint64_t length;
	uint64_t done;
	uint64_t source;	/* the source's own idea of where it is from: the layer */
	bool hole;		/* the source has a hole there: zeros */
};

struct worker {
	struct job *job;
	pthread_t thread;
	struct piece *piece;	/* that is being done */
	char *buffer;		/* a chunk, page-aligned, made by gmem_worker_buffer() */
	unsigned int index;
	struct gmem_thread_stats stats;
};

/* What else is to happen to a piece. */
struct job_hooks {
	bool (*claim)(struct worker *w, struct piece *piece);	/* is it ours to do? */
	int (*finish)(struct worker *w, int err);		/* it has ended like that */
};

struct job {
	struct gmem_context *g;
	struct target target;
	bool direct;

	/* The source. */
	int (*work)(struct worker *w);
	void *source;
	int nr_layers;			/* of files: what a piece's source is the place in */

	/* On demand. Then a piece is a granule, and is not interrupted half-way. */
	const struct job_hooks *hooks;	/* or NULL */
	void *owner;
	uint64_t granule;		/* else 0 */

	/* A source that can be read in any order has a plan. */
	struct piece *piece;
	size_t nr_pieces, room;
	atomic_size_t next;

	atomic_int err;			/* the first that a worker had */
	bool comparing;			/* the second round, of verification */
	bool compare_at_once;		/* there can be no second round */

	atomic_uint_least64_t done, bytes[NR_FATES];
	uint64_t total;			/* 0: not known */
	double start, shown;
	double ms;			/* that populating took */
	sigset_t signals;		/* that the caller blocks */
};

/*
 * A write beyond RLIMIT_FSIZE raises SIGXFSZ, which would kill the caller: block
 * it, and take back what has come meanwhile. Workers block all signals.
 */
void gmem_block_sigxfsz(sigset_t *before);
void gmem_unblock_sigxfsz(const sigset_t *before);

/* A job of a context that has begun; how far it came, for gmem_stats(). */
void gmem_job_init(struct job *job, struct gmem_context *g, uint64_t offset);
void gmem_job_stats(struct job *job);

int gmem_job_begin(struct job *job, struct gmem_context *g, uint64_t offset);
int gmem_job_end(struct job *job, int err);

/* How many bytes of whole pages a source takes; -EINVAL if it may not be padded. */
int gmem_round_up_to_page(struct gmem_context *g, uint64_t length, uint64_t *rounded);

/* Plan to populate the target, g's order first. @data: where each layer has no holes, NULL: everywhere. */
int gmem_job_plan(struct job *job, const struct ranges *data);
int gmem_job_add_piece(struct job *job, const struct piece *piece);

/* Do the work on as many threads as pay, @max at most, and verify it. */
int gmem_job_run(struct job *job, unsigned int max);

/* The next piece to do, NULL if there is none or no sense in going on. */
struct piece *gmem_worker_take(struct worker *w);

/* The piece that was taken has ended with @err; returns that, or what comes of it. */
int gmem_worker_finish(struct worker *w, int err);

/* The worker's buffer; NULL: no memory, which has been told. */
char *gmem_worker_buffer(struct worker *w);

/* Populate the current piece, or what comes next, with whole pages. */
int gmem_worker_put(struct worker *w, uint64_t offset, const char *bytes, size_t length);

/* The same with zeros. */
int gmem_worker_put_zeros(struct worker *w, uint64_t offset, uint64_t length);

/* So many bytes are done, if not by gmem_worker_put(). */
void gmem_worker_account(struct worker *w, uint64_t bytes, enum fate fate);

/* Is there no sense in going on? -ECANCELED, or another worker's error. */
int gmem_worker_interrupted(struct worker *w);

/* @kvm_or_vm's answer to KVM_CHECK_EXTENSION, 0 if it has none. */
int gmem_check_extension(int kvm_or_vm, int capability);

/*
 * Sources
 */

/*
 * A description of our own, whose position nobody else uses, with @flags such as
 * O_DIRECT. Negative if it cannot be had: a guest_memfd has no name, the caller's
 * rights may be gone, /proc not be mounted.
 */
int gmem_reopen(int fd, int flags);

/* Of a file or a block device; -ESPIPE, without a message: it is neither. */
int gmem_source_size(struct gmem_context *g, int source, uint64_t *size);

struct stream {
	int fd;
	uint64_t length;	/* to be read; GMEM_ALL: up to its end */
};

/* Let a pipe hold more. */
void gmem_stream_widen(int fd);

/* read() that is cancelled by gmem_cancel(); @at is for the message. */
ssize_t gmem_stream_read(struct gmem_context *g, int fd, void *buffer, size_t size, uint64_t at);

/* @at bytes into it it has ended, with @rest bytes of a page in the buffer. */
int gmem_stream_end(struct worker *w, const struct stream *source, uint64_t at, char *buffer, size_t rest);

/* The target is full, @at bytes into the source: is that all there is? */
int gmem_stream_expect_end(struct worker *w, const struct stream *source, uint64_t at);

struct file {
	int fd;			/* to be read: our own, or the caller's */
	int own;		/* our own, or -1; its position is ours to move */
	uint64_t offset, length;
};

/* Make them the job's source, read through descriptions of our own if those can be had. */
void gmem_file_open(struct job *job, struct file *layers, int n);
void gmem_file_close(struct file *layers, int n);

/* Plan the job, as far as the file tells where it has holes. */
int gmem_file_plan(struct job *job);

/* Populate the current piece. */
int gmem_file_put(struct worker *w);

/* Where in the source the page at @offset of the target is from. */
uint64_t gmem_file_at(const struct job *job, const struct file *source, uint64_t offset);

/* How many bytes of the source there are for these pages: the last may be cut off. */
size_t gmem_file_want(const struct job *job, const struct file *source, uint64_t offset, size_t length);

/* Reading the source at @at brought @n: an error, or 0, the end. */
int gmem_file_fail(struct job *job, ssize_t n, uint64_t at);

/* job->work for struct file and struct stream: by reading into a buffer. */
int gmem_file_work(struct worker *w);
int gmem_stream_work(struct worker *w);

/* The same by io_uring, which reads ahead. */
int gmem_uring_file(struct worker *w);
int gmem_uring_stream(struct worker *w);

#endif /* GMEM_INTERNAL_H */
