/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/*
 * libgmem: populate KVM guest memory (guest_memfd), the fastest way the kernel
 * offers.  See gmem(7) for an introduction and an example.
 *
 * Functions that return int return 0 or more on success and a negative errno
 * on failure; gmem_error() then says what failed, where, and what to do.
 *
 * The library prints nothing, never exits, and has no global state.  Contexts
 * are independent of each other; one context serves one call at a time (a second
 * one gets -EBUSY), but gmem_cancel() may be called on it from anywhere.
 *
 * Lengths and offsets are in bytes, times in milliseconds.  Descriptors stay the
 * caller's: none is closed.  File positions neither matter nor move, but for these:
 * a stream is read from where it is, and so is an order file, which is written from
 * there, too.  That of a guest_memfd that cannot be mapped is moved to find out what
 * is populated, and put back.
 *
 * Errors of system calls that are not listed here are passed on.
 *
 * All of it works since Linux 6.18, whose guest_memfd can be mapped.  The methods
 * write, sendfile and io_uring need one with GMEM_FLAG_WRITE.
 */
#ifndef GMEM_H
#define GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Until a released kernel has the flags, which may change: 0.x, where x changes with
 * whatever breaks a program that uses it.
 */
#define GMEM_VERSION		"0.9"
#define GMEM_VERSION_MAJOR	0
#define GMEM_VERSION_MINOR	9

/* As a length: all there is, up to the end of the source. */
#define GMEM_ALL		UINT64_MAX

/* Flags of a guest_memfd, with the values of <linux/kvm.h>. */
#define GMEM_FLAG_MMAP			(UINT64_C(1) << 0)
#define GMEM_FLAG_INIT_SHARED		(UINT64_C(1) << 1)
#define GMEM_FLAG_NO_DIRECT_MAP		(UINT64_C(1) << 2)
#define GMEM_FLAG_WRITE			(UINT64_C(1) << 3)
#define GMEM_FLAG_NO_OVERWRITE		(UINT64_C(1) << 4)	/* with WRITE: only what is absent */

/* The version of the library that runs, such as GMEM_VERSION. */
const char *gmem_version(void);

/*
 * Contexts: gmem_context(3)
 *
 * A context holds the options of the operations that are done with it, and
 * what is to be known about the last one: the statistics, the error message.
 */

struct gmem_context;

/* Make a context, the caller's to free.  -ENOMEM; -EMFILE: too many descriptors. */
int gmem_context_new(struct gmem_context **g);

/* Free it, and what gmem_error() and gmem_stats() returned.  NULL is fine. */
void gmem_context_free(struct gmem_context *g);

/*
 * What the context's last call failed with, one line; "" if it did not.  It is the
 * context's, and stays until its next call.  -EBUSY alone has no message: the context
 * is another call's.
 */
const char *gmem_error(const struct gmem_context *g);

/*
 * Make the populating that is running, or else the next one, fail with -ECANCELED;
 * gmem_next_populated(), too.  What else is called in between does not heed it.  If
 * that is all but done it may succeed.  From any thread, and from signal handlers.
 */
void gmem_cancel(struct gmem_context *g);

/*
 * Options: gmem_options(3)
 */

enum gmem_method {
	GMEM_METHOD_AUTO,	/* write, else mmap; a file by sendfile if no zeros are skipped */
	GMEM_METHOD_WRITE,	/* read into a buffer, write() from there */
	GMEM_METHOD_MMAP,	/* map the guest_memfd and copy into it */
	GMEM_METHOD_SENDFILE,	/* a file's pages, inside the kernel */
	GMEM_METHOD_IO_URING	/* reading overlaps with writing */
};

/* "auto", "write", "mmap", "sendfile", "io_uring"; NULL if there is no such. */
const char *gmem_method_name(enum gmem_method method);

/*
 * They fail with -EINVAL for a value that makes no sense, with -EBUSY while an
 * operation uses the context, and leave the option as it was.  The defaults are in
 * brackets.
 */

/* How to copy (auto).  Populating fails with -EOPNOTSUPP where it is not possible. */
int gmem_set_method(struct gmem_context *g, enum gmem_method method);

/* How many threads work, the caller's included (0: as many as pay). */
int gmem_set_threads(struct gmem_context *g, unsigned int threads);

/* What a thread does at a time, in bytes: whole pages (1 MiB). */
int gmem_set_chunk(struct gmem_context *g, size_t bytes);

enum gmem_zero {
	GMEM_ZERO_AUTO,		/* skip zeros where the guest_memfd says it has a hole */
	GMEM_ZERO_FRESH,	/* skip zeros: nothing has populated the range so far */
	GMEM_ZERO_WRITE		/* write zeros like anything else */
};

/* Whether pages of zeros are left out, as holes, which read as zeros (auto). */
int gmem_set_zero(struct gmem_context *g, enum gmem_zero zero);

/*
 * Whether pages that are populated already are written again (yes), or else left
 * alone, and counted as pages_present. With GMEM_FLAG_NO_OVERWRITE the kernel sees to
 * it, page by page, whoever else populates or changes pages meanwhile; without it
 * the pages are left alone that are populated when the operation begins. Methods
 * other than sendfile.
 */
int gmem_set_overwrite(struct gmem_context *g, bool overwrite);

/* Fill the last page with zeros if the source ends within it (no: -EINVAL). */
int gmem_set_pad(struct gmem_context *g, bool pad);

/* Read files past the page cache, with O_DIRECT, if they can be (no). */
int gmem_set_direct(struct gmem_context *g, bool direct);

/* Compare what is there afterwards with all of the source; takes MMAP (no). */
int gmem_set_verify(struct gmem_context *g, bool verify);

/* A range of a guest_memfd. */
struct gmem_range {
	uint64_t offset;
	uint64_t length;
};

/*
 * Populate these ranges of the guest_memfd first, in this order, as far as the
 * source can be read in any order; n == 0: none.  The array is copied.  -EINVAL: a
 * range is not of whole pages; -ENOMEM.
 */
int gmem_set_order(struct gmem_context *g, const struct gmem_range *ranges, size_t n);

struct gmem_progress {
	uint64_t done;		/* bytes of the guest_memfd */
	uint64_t total;		/* of so many; 0 if that is not known */
	double ms;		/* since the operation began */
};

/*
 * Called on the thread that started the operation, at most some times a
 * second.  Anything but 0 cancels the operation.
 */
typedef int gmem_progress_fn(const struct gmem_progress *progress, void *arg);
int gmem_set_progress(struct gmem_context *g, gmem_progress_fn *fn, void *arg);

/*
 * What the kernel can do: gmem_probe(3)
 */

struct gmem_probe;

struct gmem_feature {
	const char *name;	/* "GUEST_MEMFD_FLAG_WRITE" */
	const char *about;	/* what it is good for, half a line */
	const char *why;	/* if not supported: the reason */
	bool supported;
};

/*
 * Examine the VM type of @vm, a VM's descriptor, or make a VM of the default
 * type for it if @vm is -1.  A machine without KVM is no error: all of its
 * features are unsupported.  *probe is the caller's to free.  -ENOMEM.
 */
int gmem_probe(struct gmem_context *g, int vm, struct gmem_probe **probe);
void gmem_probe_free(struct gmem_probe *probe);

/* The @i'th feature, NULL after the last.  It is the probe's. */
const struct gmem_feature *gmem_probe_feature(const struct gmem_probe *probe, size_t i);

/* The feature of that name, NULL if there is no such. */
const struct gmem_feature *gmem_probe_find(const struct gmem_probe *probe, const char *name);

/* The flags that gmem_create() can be given. */
uint64_t gmem_probe_flags(const struct gmem_probe *probe);

/*
 * Descriptors: gmem_create(3)
 */

/*
 * Make a guest_memfd of @size bytes for @vm, with @flags and those of @wanted that the
 * kernel has for this VM; returns its descriptor (close-on-exec), the caller's to close.
 * -EINVAL: @size is 0 or not of whole pages, or the kernel lacks one of @flags, which
 * the message names; -ENOTTY, -EBADF: @vm is no VM.
 */
int gmem_create(struct gmem_context *g, int vm, uint64_t size, uint64_t flags, uint64_t wanted);

/* What gmem_examine() returns. */
#define GMEM_IS_GUEST_MEMFD	(1 << 0)	/* and not e.g. a memfd, which works, too */
#define GMEM_CAN_WRITE		(1 << 1)
#define GMEM_CAN_MMAP		(1 << 2)
#define GMEM_CAN_SEEK		(1 << 3)	/* tells what is populated */

/*
 * Examine a descriptor that was made elsewhere: what can be done with it, and
 * its size.  Populating does the same by itself, so there is no need to.
 * -EBADF; -EINVAL: it is no file.
 */
int gmem_examine(struct gmem_context *g, int fd, uint64_t *size);

/*
 * The first range at @from or above that is populated.  -ENXIO: there is none;
 * -EOPNOTSUPP: this guest_memfd does not tell (it can neither be mapped nor seek).
 */
int gmem_next_populated(struct gmem_context *g, int fd, uint64_t from, struct gmem_range *range);

/*
 * Populating: gmem_populate(3)
 *
 * @fd is the guest_memfd, @offset where in it to begin, a multiple of the page
 * size.  Threads of the library's own may do the work; none is left when the
 * function returns.  gmem_stats() then says how far it came: no page is half done.
 *
 *   -EINVAL      @offset is not of whole pages, or the source ends within a page
 *                and gmem_set_pad() has not allowed for it
 *   -ENODATA     the source has less than @length: it is short, it shrank, it was
 *                cut off, or who wrote to it has gone
 *   -ENOSPC      no room for @length or, with GMEM_ALL, for all that there is
 *   -EIO         the source could not be read
 *   -EBADMSG     the zstd image is damaged, or none
 *   -EACCES      a page of the guest_memfd is private; -EFAULT by mmap
 *   -EEXIST      a page of a guest_memfd with GMEM_FLAG_NO_OVERWRITE is populated
 *   -ENOMEM      of the machine or the memory cgroup
 *   -EFBIG       RLIMIT_FSIZE
 *   -EOPNOTSUPP  the method is not possible with these files, or none is
 *   -EILSEQ      verification found a difference
 *   -ECANCELED   gmem_cancel(), or the progress function
 */

int gmem_populate_buffer(struct gmem_context *g, int fd, uint64_t offset,
			 const void *buffer, size_t length);

/* A regular file or block device, from @source_offset on.  Holes are not read, but to verify. */
int gmem_populate_file(struct gmem_context *g, int fd, uint64_t offset,
		       int source, uint64_t source_offset, uint64_t length);

#define GMEM_MAX_LAYERS		64

/*
 * RAM images one upon the other, from their beginnings, the base first: each page
 * comes from the last that has data there and not a hole, and is written once.
 * Files on file systems that have holes, each of whole pages. -EOPNOTSUPP: one does
 * not tell of its holes.
 */
int gmem_populate_layers(struct gmem_context *g, int fd, uint64_t offset, const int *layers, size_t n);

/* Anything that can be read, from where it is, in chunks of any size. */
int gmem_populate_stream(struct gmem_context *g, int fd, uint64_t offset,
			 int source, uint64_t length);

/*
 * What a zstd image decompresses to.  If @source is a file or a block device, from its start, and
 * its frames tell their sizes they are decompressed in parallel; else, from
 * where @source is, one after the other.
 */
int gmem_populate_zstd(struct gmem_context *g, int fd, uint64_t offset,
		       int source, uint64_t length);

/* What a zstd image, a file, decompresses to; -ENODATA if it does not tell, or is a stream. */
int gmem_zstd_size(struct gmem_context *g, int source, uint64_t *size);

/*
 * Statistics: gmem_stats(3)
 */

struct gmem_thread_stats {
	uint64_t bytes;		/* that this thread dealt with */
	double ms;		/* that it worked */
};

struct gmem_stats {
	uint64_t bytes;		/* of guest memory that are done */
	uint64_t up_to;		/* the offset in the guest_memfd up to which all is done */
	uint64_t pages_written;
	uint64_t pages_skipped;	/* zeros that were left out */
	uint64_t pages_present;	/* left alone: populated already */
	double ms;
	enum gmem_method method;	/* that was used */
	const char *why;	/* the reason for it, half a line */
	bool direct;		/* the source was read with O_DIRECT */
	unsigned int threads;
	const struct gmem_thread_stats *thread;	/* so many */
};

/*
 * Of the last populating operation, also when it failed.  Valid until the next
 * one begins or the context is freed.
 */
const struct gmem_stats *gmem_stats(const struct gmem_context *g);

/*
 * Populating on demand: gmem_demand(3)
 *
 * While a thread populates a guest_memfd from a file in the background, others
 * have the parts populated that a guest is waiting for. Each granule is populated
 * once, before anybody is told so: what a guest writes is never overwritten.
 */

struct gmem_demand;

/*
 * Called when @range is populated, on the thread that did it, before anybody who
 * waits for it goes on: this is where to give the guest access. A negative errno
 * makes that, and all that is not populated yet, fail.
 */
typedef int gmem_demand_fn(const struct gmem_range *range, void *arg);

/*
 * Populate the first @length bytes of @fd from those of @source, a file, in units
 * of @granule bytes. @populated may be NULL. The options are the context's, which then
 * serves other things: whose error, statistics, progress and cancelling these are
 * comes with the demand. -EINVAL: not whole pages; -ENODATA: the source is shorter;
 * -ESPIPE: it is no file; -EOPNOTSUPP: a method other than auto, write or mmap;
 * -ENOMEM.
 */
int gmem_demand_new(struct gmem_context *g, int fd, int source, uint64_t length, uint64_t granule,
		    gmem_demand_fn *populated, void *arg, struct gmem_demand **demand);

/*
 * Returns when that range is populated. From any number of threads. -EINVAL: it is
 * empty or begins beyond the length; else, what populating failed with, which stays.
 */
int gmem_demand_fault(struct gmem_demand *demand, uint64_t offset, uint64_t length);

/*
 * Populate all the rest, the order that gmem_set_order() set first, on the threads that
 * gmem_set_threads() set, else on the caller's; call it from one thread. It can be
 * called again if it was cancelled.
 */
int gmem_demand_run(struct gmem_demand *demand);

/* Make it, or the next, end with -ECANCELED; gmem_demand_fault() works on. */
void gmem_demand_cancel(struct gmem_demand *demand);

/* As gmem_error(). What made populating fail stays. */
const char *gmem_demand_error(const struct gmem_demand *demand);

/* As gmem_stats(), when no thread is in gmem_demand_fault() or gmem_demand_run(). */
const struct gmem_stats *gmem_demand_stats(struct gmem_demand *demand);

/* When no thread is in any of these. @fd and @source stay open. */
void gmem_demand_free(struct gmem_demand *demand);

/*
 * Order files: gmem_order(3)
 *
 * Text, a range a line: offset and length, decimal or, with 0x, hexadecimal; '#'
 * begins a comment.  @fd is read or written from its position on, which moves.
 */

/*
 * Read an order file.  *ranges is to be freed with free().  -EINVAL: a line, which
 * the message names, is none; -EIO; -ENOMEM.
 */
int gmem_order_read(struct gmem_context *g, int fd, struct gmem_range **ranges, size_t *n);

/* Write one; neighbours that follow each other become one range. */
int gmem_order_write(struct gmem_context *g, int fd, const struct gmem_range *ranges, size_t n);

#ifdef __cplusplus
}
#endif

#endif /* GMEM_H */
