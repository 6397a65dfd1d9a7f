// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * The target: write pages to a guest_memfd, the way that it allows; know where
 * zeros need not be written; compare.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"
#include "shared.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif

/* What the errors of writing come from, and what to do about them. */
static const char *advice(int err)
{
	switch (-err) {
	case ENOMEM:
		return "; the machine or the memory cgroup (memory.max) is out of memory";
	case EFBIG:
		return "; it is beyond the limit on file sizes (ulimit -f, RLIMIT_FSIZE)";
	case EACCES:
		return "; the page is private: convert it to shared first";
	case EEXIST:
		return "; the page is populated already, and this guest_memfd keeps what it has (GUEST_MEMFD_FLAG_NO_OVERWRITE)";
	case EFAULT:
		return "; the page is private, or the source cannot be read";
	case EHWPOISON:
		return "; the page's memory is broken";
	case ENODEV:
	case ESPIPE:
	case EBADF:
		return "; it takes GUEST_MEMFD_FLAG_WRITE, and a kernel that has it";
	default:
		return "";
	}
}

int gmem_target_fail(struct gmem_context *g, int err, uint64_t offset)
{
	return gmem_fail(g, err, "writing guest memory at %#" PRIx64 ": %s%s",
			 offset, strerror(-err), advice(err));
}

/* Zeros can be skipped where nothing has been populated, what has been can be kept: find out where that is. */
int gmem_target_find_populated(struct gmem_context *g, struct target *t)
{
	uint64_t end = t->offset + t->length, offset = t->offset;
	struct gmem_range range;
	int err;

	t->populated.nr = 0;
	t->keep = t->exists_ok = !g->overwrite;
	t->skip = g->zero != GMEM_ZERO_WRITE;
	if (!t->skip && !t->keep)
		return 0;
	/* Verification does not take the caller's word that all is fresh. */
	if (g->zero == GMEM_ZERO_FRESH && !g->verify)
		return 0;
	if (!(t->can & (GMEM_CAN_SEEK | GMEM_CAN_MMAP))) {
		t->skip = false;
		return 0;
	}

	while (offset < end) {
		/* What is behind the end does not matter, and it may be far to go. */
		err = gmem_next(g, t->fd, t->can, end, offset, &range);
		if (err == -ENXIO)
			break;
		if (!err && range.offset < end)
			err = gmem_ranges_add(&t->populated, range.offset, range.length);
		if (err)
			return err == -ENOMEM ? gmem_fail(g, err, "out of memory") : err;
		offset = range.offset + range.length;
	}
	return 0;
}

int gmem_target_open(struct gmem_context *g, struct target *t, enum source source,
		     int fd, uint64_t offset, uint64_t length)
{
	int err;

	*t = (struct target) { .fd = fd, .offset = offset, .length = length };
	t->can = gmem_look_at(g, fd, &t->size);
	if (t->can < 0)
		return t->can;
	if (offset % g->page)
		return gmem_fail(g, -EINVAL, "the offset %#" PRIx64 " in guest memory is no multiple of the page size, %zu",
				 offset, g->page);
	if (offset > t->size || (length != GMEM_ALL && length > t->size - offset))
		return gmem_fail(g, -ENOSPC, "%" PRIu64 " bytes at %#" PRIx64 " do not fit in %" PRIu64 " bytes of guest memory",
				 length == GMEM_ALL ? 0 : length, offset, t->size);
	if (length == GMEM_ALL)
		t->length = t->size - offset;

	err = gmem_choose_method(g, t, source);
	if (err)
		return err;
	if (g->verify && !(t->can & GMEM_CAN_MMAP))
		return gmem_fail(g, -EOPNOTSUPP, "verifying takes a guest_memfd that can be mapped, made with GUEST_MEMFD_FLAG_MMAP");
	if (!t->length)
		return 0;

	if (t->by_copy || g->verify) {
		err = gmem_map(&t->map, fd, offset, t->length, PROT_READ | (t->by_copy ? PROT_WRITE : 0));
		if (err)
			return gmem_fail(g, err, "cannot map the guest memory: %s", strerror(-err));
	}
	return gmem_target_find_populated(g, t);
}

void gmem_target_close(struct target *t)
{
	gmem_unmap(&t->map);
	free(t->populated.range);
	memset(t, 0, sizeof(*t));
}

bool gmem_target_is_fresh(const struct target *t, uint64_t offset, uint64_t length)
{
	const struct gmem_range *next;

	if (!t->skip)
		return false;
	next = gmem_ranges_find(&t->populated, offset);
	return !next || next->offset >= offset + length;
}

/* The kernel copies a byte of each page, and back if it is to be written: to it an error is an error. */
static int touch_pages(char *at, size_t length, size_t page, bool to_write)
{
	int ends[2], err = 0;
	char byte;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	for (; length && !err; at += page, length -= page)
		if (write(ends[1], at, 1) != 1 || read(ends[0], to_write ? at : &byte, 1) != 1)
			err = -errno;
	close(ends[0]);
	close(ends[1]);
	return err;
}

/*
 * What would be a SIGBUS, where the page's memory is broken or the file has shrunk, is an
 * error then. Memory that is not in the direct map madvise() refuses to populate.
 */
static int make_accessible(char *at, size_t length, size_t page, int advice)
{
	while (madvise(at, length, advice)) {
		if (errno == EINVAL)
			return touch_pages(at, length, page, advice == MADV_POPULATE_WRITE);
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

static int write_by_copy(const struct gmem_context *g, const struct target *t, uint64_t offset,
			 const char *bytes, size_t length)
{
	char *to = t->map.at + (offset - t->offset);
	int err = make_accessible(to, length, g->page, MADV_POPULATE_WRITE);

	if (!err)
		memcpy(to, bytes, length);
	return err;
}

static int write_pages(struct gmem_context *g, const struct target *t, uint64_t offset,
		       const char *bytes, size_t length, size_t *done)
{
	ssize_t n;
	int err;

	*done = 0;
	if (t->by_copy) {
		err = write_by_copy(g, t, offset, bytes, length);
		if (err)
			return gmem_target_fail(g, err, offset);
		*done = length;
		return 0;
	}

	while (*done < length) {
		n = pwrite(t->fd, bytes + *done, length - *done, offset + *done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EEXIST && t->exists_ok)
			return -EEXIST;
		if (n <= 0)
			return gmem_target_fail(g, n ? -errno : -EIO, offset + *done);
		*done += n;
	}
	return 0;
}

static bool is_populated(const struct target *t, uint64_t offset)
{
	const struct gmem_range *next = gmem_ranges_find(&t->populated, offset);

	return next && next->offset <= offset;
}

static enum fate find_fate(const struct target *t, uint64_t offset, const char *bytes, size_t page)
{
	if (t->keep && is_populated(t, offset))
		return PRESENT;
	if (t->skip && !is_populated(t, offset) && is_zero(bytes, page))
		return SKIPPED;
	return WRITTEN;
}

/* How many bytes from the beginning share a fate. */
static size_t find_run(struct gmem_context *g, const struct target *t, uint64_t offset,
		       const char *bytes, size_t length, enum fate *fate)
{
	size_t run = g->page;

	*fate = WRITTEN;
	if (!t->skip && !t->keep)
		return length;
	*fate = find_fate(t, offset, bytes, g->page);
	while (run < length && find_fate(t, offset + run, bytes + run, g->page) == *fate)
		run += g->page;
	return run;
}

int gmem_target_put(struct gmem_context *g, const struct target *t, uint64_t offset,
		    const char *bytes, size_t length, size_t *done, enum fate *fate)
{
	int err;

	*done = find_run(g, t, offset, bytes, length, fate);
	if (*fate != WRITTEN)
		return 0;

	err = write_pages(g, t, offset, bytes, *done, done);
	if (err != -EEXIST || !t->exists_ok)
		return err;
	if (!*done) {
		*done = g->page;
		*fate = PRESENT;
	}
	return 0;
}

static int compare_run(struct gmem_context *g, const struct target *t, uint64_t offset,
		       const char *bytes, size_t length)
{
	const unsigned char *should = (const unsigned char *)bytes;
	char *at = t->map.at + (offset - t->offset);
	const unsigned char *is = (const unsigned char *)at;
	int err = make_accessible(at, length, g->page, MADV_POPULATE_READ);
	size_t i = 0;

	if (err)
		return gmem_fail(g, err, "reading guest memory at %#" PRIx64 ": %s", offset, strerror(-err));
	if (!memcmp(is, should, length))
		return 0;

	while (i < length - 1 && is[i] == should[i])
		i++;
	return gmem_fail(g, -EILSEQ, "verification failed: the byte at %#" PRIx64 " of guest memory is %#04x, in the source it is %#04x",
			 offset + i, is[i], should[i]);
}

int gmem_target_compare(struct gmem_context *g, const struct target *t, uint64_t offset,
			const char *bytes, size_t length)
{
	enum fate fate;
	size_t run;
	int err = 0;

	for (; length && !err; offset += run, bytes += run, length -= run) {
		run = find_run(g, t, offset, bytes, length, &fate);
		if (fate == WRITTEN)
			err = compare_run(g, t, offset, bytes, run);
	}
	return err;
}
