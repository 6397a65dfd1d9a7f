// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* guest_memfd descriptors: make one, examine one, ask what is populated. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "internal.h"
#include "kvm.h"

#ifndef SYS_cachestat
#define SYS_cachestat	451	/* everywhere but on alpha */
#endif

static int create(struct gmem_context *g, int vm, uint64_t size, uint64_t flags, uint64_t wanted)
{
	uint64_t supported = gmem_check_extension(vm, KVM_CAP_GUEST_MEMFD_FLAGS);
	struct kvm_create_guest_memfd args = { .size = size, .flags = flags | (wanted & supported) };
	int fd, err;

	if (!size || size % g->page)
		return gmem_fail(g, -EINVAL, "cannot create a guest_memfd of %" PRIu64 " bytes: its size is a number of whole pages of %zu bytes",
				 size, g->page);

	fd = ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
	if (fd >= 0) {
		/* KVM does it by itself, but has not promised to. */
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		return fd;
	}

	err = -errno;
	if (err == -ENOTTY || !gmem_check_extension(vm, KVM_CAP_GUEST_MEMFD))
		return gmem_fail(g, err, "cannot create a guest_memfd: KVM has none for this VM, or this is no VM");

	if (flags & ~supported)
		return gmem_fail(g, err, "cannot create a guest_memfd with the flags %#" PRIx64 ": this kernel has %#" PRIx64 " for this VM",
				 flags, supported);
	return gmem_fail(g, err, "cannot create a guest_memfd of %" PRIu64 " bytes: %s",
			 size, strerror(-err));
}

EXPORT int gmem_create(struct gmem_context *g, int vm, uint64_t size, uint64_t flags, uint64_t wanted)
{
	int err = gmem_begin(g);

	return err ?: gmem_end(g, create(g, vm, size, flags, wanted));
}

/*
 * A write of nothing tells: 0 if the file can be written, and else the error:
 * ENODEV from a guest_memfd without the flag, ESPIPE where there is no change
 * that adds it.
 */
static bool can_write(int fd)
{
	return pwrite(fd, "", 0, 0) == 0;
}

int gmem_map(struct mapping *m, int fd, uint64_t offset, uint64_t length, int prot)
{
	uint64_t page = sysconf(_SC_PAGESIZE), before;
	struct stat st;

	/* That of hugetlbfs is the size of its pages; munmap() takes only whole ones. */
	if (!fstat(fd, &st) && st.st_blksize > 0 && st.st_blksize % page == 0)
		page = st.st_blksize;
	before = offset % page;
	m->length = (before + length + page - 1) / page * page;
	m->start = mmap(NULL, m->length, prot, MAP_SHARED, fd, offset - before);
	if (m->start == MAP_FAILED) {
		*m = (struct mapping) { 0 };
		return -errno;
	}
	m->at = (char *)m->start + before;
	return 0;
}

void gmem_unmap(struct mapping *m)
{
	if (m->start)
		munmap(m->start, m->length);
	*m = (struct mapping) { 0 };
}

/* KVM refuses mmap() without the flag. */
static bool can_mmap(struct gmem_context *g, int fd)
{
	struct mapping map;

	if (gmem_map(&map, fd, 0, g->page, PROT_READ | PROT_WRITE))
		return false;
	gmem_unmap(&map);
	return true;
}

static bool is_guest_memfd(int fd)
{
	static const char name[] = "anon_inode:[kvm-gmem]";
	char path[32], link[64];
	struct statfs fs;
	ssize_t len;

	if (!fstatfs(fd, &fs) && fs.f_type == GUEST_MEMFD_MAGIC)
		return true;

	/* Before it had a file system of its own. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, link, sizeof(link));
	return len == sizeof(name) - 1 && !memcmp(link, name, len);
}

int gmem_look_at(struct gmem_context *g, int fd, uint64_t *size)
{
	struct stat st;
	int can = 0;

	if (fstat(fd, &st))
		return gmem_fail(g, -errno, "the guest memory's descriptor %d: %s", fd, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return gmem_fail(g, -EINVAL, "the guest memory's descriptor %d is no guest_memfd", fd);

	if (is_guest_memfd(fd))
		can |= GMEM_IS_GUEST_MEMFD;
	if (can_write(fd))
		can |= GMEM_CAN_WRITE;
	if (st.st_size && can_mmap(g, fd))
		can |= GMEM_CAN_MMAP;
	if (lseek(fd, 0, SEEK_CUR) >= 0)
		can |= GMEM_CAN_SEEK;

	*size = st.st_size;
	return can;
}

EXPORT int gmem_examine(struct gmem_context *g, int fd, uint64_t *size)
{
	int err = gmem_begin(g);

	return err ?: gmem_end(g, gmem_look_at(g, fd, size));
}

static int next_by_seek(int fd, uint64_t from, struct gmem_range *range)
{
	off_t data = lseek(fd, from, SEEK_DATA), hole;

	hole = data < 0 ? data : lseek(fd, data, SEEK_HOLE);
	if (hole < 0)
		return -errno;

	*range = (struct gmem_range) { data, hole - data };
	return 0;
}

/* Moves the position that the caller's threads and programs share, and puts it back. */
static int next_by_callers_seek(int fd, uint64_t from, struct gmem_range *range)
{
	off_t position = lseek(fd, 0, SEEK_CUR);
	int err = next_by_seek(fd, from, range);

	lseek(fd, position, SEEK_SET);
	return err;
}

/* mincore() looks at each page; a range without any is passed over at once since Linux 6.5. */
static bool is_empty(int fd, uint64_t offset, uint64_t length)
{
	/* As the system call has them: offset, length; cached, dirty, and three more. */
	const uint64_t range[] = { offset, length };
	uint64_t stat[5];

	return !syscall(SYS_cachestat, fd, range, stat, 0) && !stat[0];
}

#define WINDOW	8192	/* pages that mincore() is asked about at a time */

/* For a file that can be mapped and is never swapped out. */
static int next_by_mincore(struct gmem_context *g, int fd, uint64_t from, uint64_t size,
			   struct gmem_range *range)
{
	unsigned char there[WINDOW];
	uint64_t offset, n, i;
	struct mapping map;
	bool found = false;
	int err;

	range->length = 0;
	if (from >= size || is_empty(fd, from, size - from))
		return -ENXIO;
	err = gmem_map(&map, fd, 0, size, PROT_READ);
	if (err)
		return err;

	err = -ENXIO;
	for (offset = from / g->page * g->page; offset < size; offset += n * g->page) {
		if (g->cancelled) {
			err = gmem_fail(g, -ECANCELED, "cancelled");
			break;
		}
		n = (size - offset + g->page - 1) / g->page;
		if (n > WINDOW)
			n = WINDOW;
		if (!found && is_empty(fd, offset, n * g->page))
			continue;
		if (mincore(map.at + offset, n * g->page, there)) {
			err = -errno;
			break;
		}
		for (i = 0; i < n; i++) {
			if (!found && (there[i] & 1)) {
				found = true;
				err = 0;
				range->offset = offset + i * g->page;
			} else if (found && !(there[i] & 1)) {
				break;
			}
			if (found)
				range->length += g->page;
		}
		if (found && i < n)
			break;
	}
	gmem_unmap(&map);
	return err;
}

int gmem_next(struct gmem_context *g, int fd, int can, uint64_t size, uint64_t from, struct gmem_range *range)
{
	int own, err;

	/* Whichever way it is found out: who cancelled has been heard. */
	if (g->cancelled)
		return gmem_fail(g, -ECANCELED, "cancelled");

	own = can & GMEM_IS_GUEST_MEMFD ? -1 : gmem_reopen(fd, 0);
	if (own >= 0) {
		err = next_by_seek(own, from, range);
		close(own);
	} else if ((can & GMEM_CAN_MMAP) && (can & GMEM_IS_GUEST_MEMFD)) {
		err = next_by_mincore(g, fd, from, size, range);
	} else if (can & GMEM_CAN_SEEK) {
		err = next_by_callers_seek(fd, from, range);
	} else {
		return gmem_fail(g, -EOPNOTSUPP, "this guest_memfd does not tell what is populated: it can neither seek nor be mapped");
	}

	if (err && err != -ENXIO)
		return gmem_fail(g, err, "cannot find out what is populated: %s", strerror(-err));
	return err;
}

EXPORT int gmem_next_populated(struct gmem_context *g, int fd, uint64_t from, struct gmem_range *range)
{
	uint64_t size;
	int err = gmem_begin(g), can;

	if (err)
		return err;
	can = gmem_look_at(g, fd, &size);
	err = can < 0 ? can : gmem_next(g, fd, can, size, from, range);
	if (err == -ENXIO)
		gmem_fail(g, err, "nothing is populated at %#" PRIx64 " or above", from);
	gmem_forget_cancel(g);
	return gmem_end(g, err);
}
