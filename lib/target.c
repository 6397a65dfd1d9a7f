// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * The target: write pages to a guest_memfd, the way that it allows; know where
 * zeros need not be written; compare.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

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
	case EPERM:
		return "; the page is private: convert it to shared first";
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

int gmem_target_fail(struct gmem *g, int err, uint64_t offset)
{
	return gmem_fail(g, err, "writing guest memory at %#" PRIx64 ": %s%s",
			 offset, strerror(-err), advice(err));
}

/* Zeros can be skipped where nothing has been populated: find out where that is. */
static int find_populated(struct gmem *g, struct target *t)
{
	uint64_t end = t->offset + t->length, offset = t->offset;
	struct gmem_range range;
	int err;

	/* Verification does not take the caller's word that all is fresh. */
	t->skip = g->zero != GMEM_ZERO_WRITE;
	if (!t->skip || (g->zero == GMEM_ZERO_FRESH && !g->verify))
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

static int choose(struct gmem *g, struct target *t)
{
	if (g->method == GMEM_METHOD_MMAP) {
		if (!(t->can & GMEM_CAN_MMAP))
			return gmem_fail(g, -EOPNOTSUPP, "method mmap: this guest_memfd cannot be mapped: it was made without GUEST_MEMFD_FLAG_MMAP");
		t->by_copy = true;
		return 0;
	}
	if (t->can & GMEM_CAN_WRITE)
		return 0;
	if (g->method == GMEM_METHOD_WRITE || g->method == GMEM_METHOD_SENDFILE)
		return gmem_fail(g, -EOPNOTSUPP, "method %s: this guest_memfd cannot be written: it was made without GUEST_MEMFD_FLAG_WRITE, or this kernel lacks that",
				 gmem_method_name(g->method));
	if (!(t->can & GMEM_CAN_MMAP))
		return gmem_fail(g, -EOPNOTSUPP, "this guest_memfd can be neither written nor mapped: make it with GUEST_MEMFD_FLAG_WRITE or GUEST_MEMFD_FLAG_MMAP");
	t->by_copy = true;
	return 0;
}

int gmem_target_open(struct gmem *g, struct target *t, int fd, uint64_t offset, uint64_t length)
{
	int err;

	*t = (struct target) { .fd = fd, .offset = offset, .length = length };
	t->can = gmem_examine(g, fd, &t->size);
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

	err = choose(g, t);
	if (err)
		return err;
	if (g->verify && !(t->can & GMEM_CAN_MMAP))
		return gmem_fail(g, -EOPNOTSUPP, "verifying takes a guest_memfd that can be mapped, made with GUEST_MEMFD_FLAG_MMAP");
	if (!t->length)
		return 0;

	if (t->by_copy || g->verify) {
		t->map = mmap(NULL, t->length, PROT_READ | (t->by_copy ? PROT_WRITE : 0),
			      MAP_SHARED, fd, offset);
		if (t->map == MAP_FAILED) {
			t->map = NULL;
			return gmem_fail(g, -errno, "cannot map the guest memory: %s", strerror(errno));
		}
	}
	return find_populated(g, t);
}

void gmem_target_close(struct target *t)
{
	if (t->map)
		munmap(t->map, t->length);
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

/* memcmp() is as fast as memory, and stops at the first byte that differs. */
bool gmem_is_zero(const void *bytes, size_t length)
{
	static const char zeros[4096];
	const char *p = bytes;
	size_t n;

	for (; length; p += n, length -= n) {
		n = length < sizeof(zeros) ? length : sizeof(zeros);
		if (memcmp(p, zeros, n))
			return false;
	}
	return true;
}

/* Populating first turns what would be a SIGBUS into an error. */
static int write_by_copy(const struct target *t, uint64_t offset,
			 const char *bytes, size_t length)
{
	char *to = t->map + (offset - t->offset);

	while (madvise(to, length, MADV_POPULATE_WRITE))
		if (errno != EINTR && errno != EAGAIN)
			return -errno;

	memcpy(to, bytes, length);
	return 0;
}

int gmem_target_write(struct gmem *g, const struct target *t, uint64_t offset,
		 const char *bytes, size_t length, size_t *done)
{
	ssize_t n;
	int err;

	*done = 0;
	if (t->by_copy) {
		err = write_by_copy(t, offset, bytes, length);
		if (err)
			return gmem_target_fail(g, err, offset);
		*done = length;
		return 0;
	}

	while (*done < length) {
		n = pwrite(t->fd, bytes + *done, length - *done, offset + *done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return gmem_target_fail(g, n ? -errno : -EIO, offset + *done);
		*done += n;
	}
	return 0;
}

int gmem_target_compare(struct gmem *g, const struct target *t, uint64_t offset,
		   const char *bytes, size_t length)
{
	const unsigned char *is = (const unsigned char *)t->map + (offset - t->offset);
	const unsigned char *should = (const unsigned char *)bytes;
	size_t i = 0;

	if (!memcmp(is, should, length))
		return 0;

	while (i < length - 1 && is[i] == should[i])
		i++;
	return gmem_fail(g, -EILSEQ, "verification failed: the byte at %#" PRIx64 " of guest memory is %#04x, in the source it is %#04x",
			 offset + i, is[i], should[i]);
}
