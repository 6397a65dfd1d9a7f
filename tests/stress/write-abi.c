// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who may write what, by every way there is, and what comes of it: results, errors,
 * file positions, times.
 */
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "kselftest.h"
#include "common/fixture.h"
#include "common/writers.h"

#define SHARED	GUEST_MEMFD_FLAG_INIT_SHARED
#define MAPPED	GUEST_MEMFD_FLAG_MMAP
#define WRITE	GUEST_MEMFD_FLAG_WRITE

/* What a pipe and an array of io_uring take at once is limited. */
static size_t largest(const struct way *w)
{
	return w->is_splice ? PG(64) : FILE_SIZE;
}

/*
 * Files of every kind.
 */
FIXTURE(kind) {
	FIXTURE_DATA(file) f;
	int fd;
	u8 *src;
};

FIXTURE_VARIANT(kind) {
	u64 flags;
	long err;
};

FIXTURE_VARIANT_ADD(kind, none) { 0, -ENODEV };
FIXTURE_VARIANT_ADD(kind, mmap) { MAPPED, -ENODEV };
FIXTURE_VARIANT_ADD(kind, init_shared) { SHARED, -ENODEV };
FIXTURE_VARIANT_ADD(kind, mmap_init_shared) { MAPPED | SHARED, -ENODEV };
FIXTURE_VARIANT_ADD(kind, write) { WRITE, -EACCES };
FIXTURE_VARIANT_ADD(kind, write_mmap) { WRITE | MAPPED, -EACCES };
FIXTURE_VARIANT_ADD(kind, write_init_shared) { WRITE | SHARED, 0 };
FIXTURE_VARIANT_ADD(kind, write_mmap_init_shared) { WRITE | MAPPED | SHARED, 0 };

FIXTURE_SETUP(kind)
{
	file_setup(_metadata, &self->f, NULL);
	self->fd = vm_create_guest_memfd(self->f.vm, FILE_SIZE, variant->flags);
	self->src = self->f.src;
}

FIXTURE_TEARDOWN_PARENT(kind)
{
	file_teardown(_metadata, &self->f, NULL);
}

TEST_F(kind, may_be_written)
{
	const long want = variant->err ?: (long)PG(3);
	const struct way *w;

	for_each_way(w) {
		EXPECT_EQ(want, w->write(self->fd, self->src, PG(3), PG(2)))
			TH_LOG("via %s", w->name);

		if (variant->err) {
			EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)))
				TH_LOG("via %s", w->name);
			continue;
		}

		EXPECT_EQ(PG(2), RET(lseek(self->fd, 0, SEEK_DATA)))
			TH_LOG("via %s", w->name);
		EXPECT_EQ(PG(5), RET(lseek(self->fd, PG(2), SEEK_HOLE)))
			TH_LOG("via %s", w->name);
		EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	}
}

/* Whether the source can be read does not matter where nothing may be written. */
TEST_F(kind, refused_before_the_source_is_read)
{
	const struct way *w;

	for_each_way(w) {
		if (w->is_splice || w->write == via_uring_write_fixed)
			continue;
		EXPECT_EQ(variant->err ?: -EFAULT, w->write(self->fd, NULL, PG(1), 0))
			TH_LOG("via %s", w->name);
		/* What is no valid request is so whoever makes it. */
		EXPECT_EQ(variant->err == -ENODEV ? -ENODEV : -EINVAL,
			  w->write(self->fd, NULL, PG(1), FILE_SIZE))
			TH_LOG("via %s", w->name);
	}
}

TEST_F(kind, refused_write_moves_nothing)
{
	const long want = variant->err ?: (long)PG(1);
	struct stat before, after;

	ASSERT_EQ(PG(1), RET(lseek(self->fd, PG(1), SEEK_SET)));
	ASSERT_EQ(0, fstat(self->fd, &before));
	EXPECT_EQ(want, RET(write(self->fd, self->src, PG(1))));
	ASSERT_EQ(0, fstat(self->fd, &after));

	EXPECT_EQ(PG(1) + (variant->err ? 0 : PG(1)), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(before.st_size, after.st_size);
	EXPECT_EQ(before.st_blocks, after.st_blocks);
	if (variant->err == -ENODEV) {
		EXPECT_EQ(timespec_to_ns(before.st_mtim), timespec_to_ns(after.st_mtim));
		EXPECT_EQ(timespec_to_ns(before.st_ctim), timespec_to_ns(after.st_ctim));
	}
}

TEST_F(kind, zero_length)
{
	const long want = variant->flags & WRITE ? 0 : -ENODEV;

	EXPECT_EQ(want, RET(write(self->fd, self->src, 0)));
	EXPECT_EQ(want, RET(write(self->fd, NULL, 0)));
	EXPECT_EQ(want, RET(pwrite(self->fd, self->src, 0, 1)));
	EXPECT_EQ(want, RET(pwrite(self->fd, self->src, 0, FILE_SIZE)));
	EXPECT_EQ(want, RET(pwrite(self->fd, self->src, 0, FILE_SIZE + 1)));
	EXPECT_EQ(0, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));
}

TEST_F(kind, splice_takes_what_it_moves)
{
	const size_t moved = variant->err ? 0 : PG(2);
	int pipefd[2], queued;
	loff_t off = PG(1);

	/* Who may not write at all need not wait to learn that. */
	ASSERT_EQ(0, pipe(pipefd));
	EXPECT_EQ(variant->err == -ENODEV ? -ENODEV : -EAGAIN,
		  RET(splice(pipefd[0], NULL, self->fd, &off, PG(2), SPLICE_F_NONBLOCK)));

	ASSERT_EQ(PG(3), RET(write(pipefd[1], self->src, PG(3))));
	EXPECT_EQ(variant->err ?: (long)moved,
		  RET(splice(pipefd[0], NULL, self->fd, &off, PG(2), 0)));
	EXPECT_EQ(PG(1) + moved, (size_t)off);
	ASSERT_EQ(0, ioctl(pipefd[0], FIONREAD, &queued));
	EXPECT_EQ(PG(3) - moved, (size_t)queued);
}

TEST_F(kind, reads_are_refused)
{
	struct iovec iov = { self->src, PG(1) };
	int pipefd[2], memfd;
	loff_t off = 0;

	ASSERT_EQ(0, pipe(pipefd));
	memfd = create_memfd(self->src, PG(1));
	EXPECT_EQ(variant->err ?: (long)FILE_SIZE,
		  RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));

	EXPECT_EQ(-EINVAL, RET(read(self->fd, self->src, PG(1))));
	EXPECT_EQ(-EINVAL, RET(pread(self->fd, self->src, PG(1), 0)));
	EXPECT_EQ(-EINVAL, RET(readv(self->fd, &iov, 1)));
	EXPECT_EQ(-EINVAL, RET(preadv(self->fd, &iov, 1, 0)));
	EXPECT_EQ(-EINVAL, RET(preadv2(self->fd, &iov, 1, 0, RWF_HIPRI)));
	EXPECT_EQ(-EINVAL, RET(sendfile(memfd, self->fd, &off, PG(1))));
	EXPECT_EQ(-EINVAL, RET(sendfile(pipefd[1], self->fd, &off, PG(1))));
	EXPECT_EQ(-EINVAL, RET(splice(self->fd, &off, pipefd[1], NULL, PG(1), 0)));
	EXPECT_EQ(-EINVAL, uring_rw(self->fd, IORING_OP_READ, self->src, PG(1), 0));

	EXPECT_EQ(0, off);
	EXPECT_EQ(0, RET(lseek(self->fd, 0, SEEK_CUR)));
}

/* There is nothing to write back, and who asks for that must not fail. */
TEST_F(kind, fsync)
{
	EXPECT_EQ(0, RET(fsync(self->fd)));
	EXPECT_EQ(0, RET(fdatasync(self->fd)));
	EXPECT_EQ(0, RET(syncfs(self->fd)));
}

TEST_F(kind, lseek)
{
	EXPECT_EQ(0, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(1, RET(lseek(self->fd, 1, SEEK_SET)));
	EXPECT_EQ(PG(1) + 1, RET(lseek(self->fd, PG(1), SEEK_CUR)));
	EXPECT_EQ(PG(1), RET(lseek(self->fd, -1, SEEK_CUR)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_END)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(FILE_SIZE - PG(1), RET(lseek(self->fd, -PG(1), SEEK_END)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, FILE_SIZE, SEEK_SET)));
	EXPECT_EQ(PG(7), RET(lseek(self->fd, PG(7), SEEK_SET)));

	/* None of these moves the position. */
	EXPECT_EQ(-EINVAL, RET(lseek(self->fd, -1, SEEK_SET)));
	EXPECT_EQ(-EINVAL, RET(lseek(self->fd, LLONG_MIN, SEEK_SET)));
	EXPECT_EQ(-EINVAL, RET(lseek(self->fd, FILE_SIZE + 1, SEEK_SET)));
	EXPECT_EQ(-EINVAL, RET(lseek(self->fd, LLONG_MAX, SEEK_SET)));
	EXPECT_EQ(-EINVAL, RET(lseek(self->fd, -PG(7) - 1, SEEK_CUR)));
	EXPECT_EQ(-EINVAL, RET(lseek(self->fd, FILE_SIZE, SEEK_CUR)));
	EXPECT_EQ(-EINVAL, RET(lseek(self->fd, 1, SEEK_END)));
	EXPECT_EQ(-EINVAL, RET(lseek(self->fd, -FILE_SIZE - 1, SEEK_END)));
	EXPECT_EQ(-EINVAL, RET(lseek(self->fd, 0, 99)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, -1, SEEK_DATA)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, -1, SEEK_HOLE)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, FILE_SIZE, SEEK_DATA)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, FILE_SIZE, SEEK_HOLE)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, LLONG_MAX, SEEK_HOLE)));
	EXPECT_EQ(PG(7), RET(lseek(self->fd, 0, SEEK_CUR)));

	EXPECT_EQ(11, RET(lseek(self->fd, 11, SEEK_HOLE)));
	EXPECT_EQ(11, RET(lseek(self->fd, 0, SEEK_CUR)));
}

/* KVM offers the flags for the VM types whose memory can be shared, each with what it needs. */
TEST(vm_types)
{
	unsigned long types = kvm_check_cap(KVM_CAP_VM_TYPES) ?: BIT(VM_TYPE_DEFAULT);
	unsigned long type;
	u8 *src = map_anon(PG(1));
	int fd;

	for (type = 0; type < BITS_PER_TYPE(types); type++) {
		struct kvm_vm *vm;
		u64 flags;

		if (!(types & BIT(type)))
			continue;

		vm = vm_create_barebones_type(type);
		flags = vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_FLAGS);
		EXPECT_EQ(!!(flags & SHARED), !!(flags & WRITE))
			TH_LOG("VM type %lu, supported flags 0x%lx", type, (long)flags);
		EXPECT_EQ(!!(flags & WRITE), !!(flags & GUEST_MEMFD_FLAG_NO_OVERWRITE))
			TH_LOG("VM type %lu, supported flags 0x%lx", type, (long)flags);

		fd = vm_create_guest_memfd(vm, PG(1), 0);
		EXPECT_EQ(-ENODEV, RET(pwrite(fd, src, PG(1), 0)))
			TH_LOG("VM type %lu", type);
		close(fd);

		EXPECT_EQ(-EINVAL, RET(__vm_create_guest_memfd(vm, PG(1), GUEST_MEMFD_FLAG_NO_OVERWRITE)));
		EXPECT_EQ(-EINVAL, RET(__vm_create_guest_memfd(vm, PG(1), MAPPED | SHARED |
							       GUEST_MEMFD_FLAG_NO_OVERWRITE)));
		fd = __vm_create_guest_memfd(vm, PG(1), WRITE);
		if (flags & WRITE) {
			EXPECT_EQ(-EACCES, RET(pwrite(fd, src, PG(1), 0)))
				TH_LOG("VM type %lu, fd %d", type, fd);
			close(fd);
			fd = vm_create_guest_memfd(vm, PG(1), WRITE | GUEST_MEMFD_FLAG_NO_OVERWRITE);
			EXPECT_EQ(-EACCES, RET(pwrite(fd, src, PG(1), 0)))
				TH_LOG("VM type %lu, fd %d", type, fd);
			close(fd);
		} else {
			EXPECT_EQ(-EINVAL, RET(fd))
				TH_LOG("VM type %lu", type);
		}
		kvm_vm_free(vm);
	}
}

/*
 * A file that may be written and mapped.
 */
TEST_F(file, whole_file)
{
	const struct way *w;

	for_each_way(w) {
		const size_t len = largest(w);

		ASSERT_EQ(len, w->write(self->fd, self->src, len, 0))
			TH_LOG("via %s", w->name);
		EXPECT_EQ(len, RET(lseek(self->fd, 0, SEEK_HOLE)))
			TH_LOG("via %s", w->name);
		EXPECT_BYTES(self->mem, 0, self->src, len);
		EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	}
}

/* Only whole pages are written, whatever the alignment of the source. */
TEST_F(file, alignment)
{
	const size_t sizes[] = {
		0, 1, 511, 512, PAGE_BYTES / 2, PAGE_BYTES - 1, PAGE_BYTES,
		PAGE_BYTES + 1, PG(2) - 512, PG(2), PG(64) + 512,
	};
	const struct way *w;
	size_t i, j, off, len;

	memset(self->mem, 0x5a, PG(70));
	for_each_way(w) {
		if (w->is_splice)
			continue;

		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			for (j = 1; j < ARRAY_SIZE(sizes); j++) {
				off = sizes[i];
				len = sizes[j];
				ASSERT_EQ((off | len) % PAGE_BYTES ? -EINVAL : (long)len,
					  w->write(self->fd, self->src, len, off))
					TH_LOG("%zu bytes at %zu via %s", len, off, w->name);
				if ((off | len) % PAGE_BYTES)
					continue;
				EXPECT_BYTES(self->mem, off, self->src, len);
				memset((u8 *)self->mem + off, 0x5a, len);
			}
		}
		for (i = 0; i < PG(70) / 8; i++)
			ASSERT_EQ(0x5a5a5a5a5a5a5a5aul, self->mem[i]);
	}
	EXPECT_EQ(PG(70), RET(lseek(self->fd, 0, SEEK_HOLE)));
}

TEST_F(file, source_alignment)
{
	const size_t shifts[] = { 1, 7, 64, 511, PAGE_BYTES / 2, PAGE_BYTES - 1 };
	const struct way *w;
	size_t i;

	for_each_way(w) {
		for (i = 0; i < ARRAY_SIZE(shifts); i++) {
			ASSERT_EQ(PG(3), w->write(self->fd, self->src + shifts[i], PG(3), PG(i)));
			EXPECT_BYTES(self->mem, PG(i), self->src + shifts[i], PG(3));
		}
	}
}

TEST_F(file, bounds)
{
	/* Mapped, so that it is not the source that is out of bounds. */
	const size_t size = 16ul << 30;
	u8 *src = kvm_mmap(size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	const struct {
		off_t off;
		size_t len;
	} requests[] = {
		{ 0, FILE_SIZE + PG(1) },
		{ PG(1), FILE_SIZE },
		{ FILE_SIZE - PG(1), PG(2) },
		{ FILE_SIZE, PG(1) },
		{ FILE_SIZE + PG(1), PG(1) },
		{ FILE_SIZE * 2, FILE_SIZE },
		{ 0, 1ul << 30 },
		{ 0, size },
		{ 1l << 43, PG(1) },
		{ PG(LLONG_MAX / PAGE_BYTES - 1), PG(1) },
		{ PG(LLONG_MAX / PAGE_BYTES), PG(1) },
		{ LLONG_MAX, 1 },
		{ -PG(1), PG(1) },
		{ -PG(2), PG(1) },
	};
	const struct way *w;
	size_t i;

	for_each_way(w) {
		/* What splice can move at once, and -1 to io_uring, is special. */
		if (w->is_splice || w->is_uring)
			continue;

		for (i = 0; i < ARRAY_SIZE(requests); i++) {
			EXPECT_EQ(-EINVAL, w->write(self->fd, src, requests[i].len, requests[i].off))
				TH_LOG("0x%zx bytes at 0x%lx via %s",
				       requests[i].len, requests[i].off, w->name);
		}
		EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)))
			TH_LOG("via %s", w->name);
		EXPECT_EQ(PG(1), w->write(self->fd, self->src, PG(1), FILE_SIZE - PG(1)));
		EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_END)));
		EXPECT_BYTES(self->mem, FILE_SIZE - PG(1), self->src, PG(1));
		EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	}
}

/* Neither the index of a page nor its offset is cut to 32 bits. */
TEST_F(file, huge_file)
{
	const off_t size = 1ull << 50;
	const off_t offsets[] = {
		0, 1l << 31, 1l << 32, 5l << 30, 1l << 44, (1l << 44) + PG(3), size - PG(1),
	};
	size_t i;
	int fd;

	fd = vm_create_guest_memfd(self->vm, size, WRITE_FLAGS);
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		u64 *mem = __kvm_mmap(PG(1), PROT_READ, MAP_SHARED, fd, offsets[i]);

		ASSERT_EQ(PG(1), RET(pwrite(fd, self->src + PG(i), PG(1), offsets[i])));
		EXPECT_EQ(offsets[i], RET(lseek(fd, 0, SEEK_DATA)));
		EXPECT_BYTES(mem, 0, self->src + PG(i), PG(1));
		kvm_munmap(mem, PG(1));
		EXPECT_EQ(0, punch(fd, offsets[i], PG(1)));
	}
	EXPECT_EQ(-EINVAL, RET(pwrite(fd, self->src, PG(2), size - PG(1))));
	EXPECT_EQ(-ENXIO, RET(lseek(fd, 0, SEEK_DATA)));
	close(fd);
}

TEST_F(file, odd_iovecs)
{
	struct kvm_random_state rng = new_kvm_random_state(1);
	struct iovec iov[IOV_MAX + 1] = {};
	size_t i, len, done;
	int round;

	for (round = 0; round < 8; round++) {
		/* Many segments to a page, or many pages to a segment. */
		const u32 most = round % 2 ? PG(5) : PAGE_BYTES / 4;

		for (i = 0, done = 0; i < IOV_MAX; i++, done += len) {
			len = kvm_random_u32_in_range(&rng, 0, most);
			if (round > 3)
				len &= -512u;
			len = min(len, FILE_SIZE - done);
			iov[i].iov_base = len ? self->src + done : NULL;
			iov[i].iov_len = len;
		}
		iov[IOV_MAX - 1].iov_base = self->src + done - len;
		iov[IOV_MAX - 1].iov_len = len + PG(1) - (done % PAGE_BYTES ?: PAGE_BYTES);
		done = align_up(done, PAGE_BYTES);

		ASSERT_EQ(done, RET(pwritev(self->fd, iov, IOV_MAX, 0)))
			TH_LOG("round %d", round);
		EXPECT_EQ(done, RET(lseek(self->fd, 0, SEEK_HOLE)));
		EXPECT_BYTES(self->mem, 0, self->src, done);
		EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));

		/* Not a byte more or less. */
		iov[IOV_MAX / 2].iov_len++;
		EXPECT_EQ(-EINVAL, RET(pwritev(self->fd, iov, IOV_MAX, 0)))
			TH_LOG("round %d", round);
	}
	EXPECT_EQ(-EINVAL, RET(pwritev(self->fd, iov, IOV_MAX + 1, 0)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));
}

TEST_F(file, empty_iovecs)
{
	struct iovec iov[] = {
		{ NULL, 0 },
		{ self->src, 0 },
		{ self->src, PG(1) },
		{ NULL, 0 },
		{ self->src + PG(1), PG(1) },
		{ NULL, 0 },
	};

	EXPECT_EQ(0, RET(writev(self->fd, NULL, 0)));
	EXPECT_EQ(0, RET(writev(self->fd, iov, 2)));
	EXPECT_EQ(0, RET(pwritev(self->fd, iov, 2, FILE_SIZE)));
	EXPECT_EQ(0, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));

	EXPECT_EQ(PG(2), RET(writev(self->fd, iov, ARRAY_SIZE(iov))));
	EXPECT_BYTES(self->mem, 0, self->src, PG(2));
}

TEST_F(file, position)
{
	struct iovec iov[NR_ODD_SEGS];
	u8 *bad = map_anon(PG(5));

	memcpy(bad, self->src, PG(5));
	ASSERT_EQ(0, mprotect(bad + PG(3), PG(1), PROT_NONE));
	odd_iovec(iov, self->src, PG(2));
	EXPECT_EQ(PG(3), RET(write(self->fd, self->src, PG(3))));
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(PG(2), RET(writev(self->fd, iov, ARRAY_SIZE(iov))));
	EXPECT_EQ(PG(5), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(PG(2), RET(pwritev2(self->fd, iov, ARRAY_SIZE(iov), -1, 0)));
	EXPECT_EQ(PG(7), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_BYTES(self->mem, 0, self->src, PG(3));
	EXPECT_BYTES(self->mem, PG(3), self->src, PG(2));
	EXPECT_BYTES(self->mem, PG(5), self->src, PG(2));

	/* Writes that say where don't care. */
	EXPECT_EQ(PG(2), RET(pwrite(self->fd, self->src, PG(2), PG(1))));
	EXPECT_EQ(PG(2), RET(pwritev(self->fd, iov, ARRAY_SIZE(iov), PG(1))));
	EXPECT_EQ(PG(2), RET(pwritev2(self->fd, iov, ARRAY_SIZE(iov), PG(1), 0)));
	EXPECT_EQ(PG(7), RET(lseek(self->fd, 0, SEEK_CUR)));

	/* A short write moves by what it wrote, a failed one by nothing. */
	EXPECT_EQ(PG(3), RET(write(self->fd, bad, PG(5))));
	EXPECT_EQ(PG(10), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(-EFAULT, RET(write(self->fd, bad + PG(3), PG(2))));
	EXPECT_EQ(-EINVAL, RET(write(self->fd, self->src, PG(2) + 1)));
	EXPECT_EQ(-EINVAL, RET(write(self->fd, self->src, FILE_SIZE)));
	EXPECT_EQ(PG(10), RET(lseek(self->fd, 0, SEEK_CUR)));

	/* Up to the end, and not further. */
	EXPECT_EQ(FILE_SIZE - PG(10), RET(write(self->fd, self->src, FILE_SIZE - PG(10))));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(-EINVAL, RET(write(self->fd, self->src, PG(1))));
	EXPECT_EQ(0, RET(write(self->fd, self->src, 0)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_CUR)));
}

TEST_F(file, uring_position)
{
	ASSERT_EQ(PG(3), RET(lseek(self->fd, PG(3), SEEK_SET)));
	EXPECT_EQ(PG(70), via_uring_write(self->fd, self->src, PG(70), -1));
	EXPECT_EQ(PG(73), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(PG(73), RET(lseek(self->fd, PG(3), SEEK_HOLE)));
	EXPECT_BYTES(self->mem, PG(3), self->src, PG(70));
}

/*
 * After a short write io_uring tries to write the rest, which can't be read
 * then either.  Nothing may be skipped, or written twice, in between.
 */
TEST_F(file, uring_short_write)
{
	const size_t done = PG(69);
	u8 *bad = map_anon(PG(80));

	memcpy(bad, self->src, PG(80));
	ASSERT_EQ(0, mprotect(bad + PG(70), PG(1), PROT_NONE));
	EXPECT_EQ(done, via_uring_write(self->fd, bad + 100, PG(79), 0));
	EXPECT_EQ(done, RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, done, SEEK_DATA)));
	EXPECT_BYTES(self->mem, 0, self->src + 100, done);

	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(done, via_uring_write(self->fd, bad + 100, PG(79), 0));
	EXPECT_EQ(-EFAULT, via_uring_write(self->fd, bad + PG(70), PG(1), 0));
	EXPECT_BYTES(self->mem, 0, self->src + 100, done);
	EXPECT_BYTES(self->mem, done, self->src + done, FILE_SIZE - done);
}

/* The position belongs to the open file, not to the descriptor. */
TEST_F(file, shared_position)
{
	int fd = dup(self->fd);
	pid_t pid;

	EXPECT_EQ(PG(1), RET(write(self->fd, self->src, PG(1))));
	EXPECT_EQ(PG(2), RET(write(fd, self->src + PG(1), PG(2))));
	pid = fork_child();
	if (!pid)
		_exit(write(fd, self->src + PG(3), PG(2)) != (ssize_t)PG(2));
	EXPECT_EQ(0, wait_for(pid));
	EXPECT_EQ(PG(5), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_BYTES(self->mem, 0, self->src, PG(5));
}

TEST_F(file, append)
{
	struct iovec iov = { self->src, PG(1) };
	off_t in_off = 0;
	int memfd = create_memfd(self->src, PG(1));

	/* Appending goes beyond the end, and the file never grows. */
	EXPECT_EQ(-EINVAL, RET(pwritev2(self->fd, &iov, 1, 0, RWF_APPEND)));
	EXPECT_EQ(-EINVAL, RET(pwritev2(self->fd, &iov, 1, -1, RWF_APPEND)));

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	EXPECT_EQ(-EINVAL, RET(write(self->fd, self->src, PG(1))));
	EXPECT_EQ(-EINVAL, RET(pwrite(self->fd, self->src, PG(1), 0)));
	EXPECT_EQ(-EINVAL, RET(sendfile(self->fd, memfd, &in_off, PG(1))));
	EXPECT_EQ(-EINVAL, via_splice(self->fd, self->src, PG(1), 0));
	EXPECT_EQ(0, RET(write(self->fd, self->src, 0)));
	EXPECT_EQ(0, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_END)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));

	EXPECT_EQ(PG(1), RET(pwritev2(self->fd, &iov, 1, PG(2), RWF_NOAPPEND)));
	EXPECT_EQ(PG(2), RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_BYTES(self->mem, PG(2), self->src, PG(1));
}

TEST_F(file, rwf_flags)
{
	struct iovec iov = { self->src, PG(1) };

	EXPECT_EQ(PG(1), RET(pwritev2(self->fd, &iov, 1, PG(0), RWF_HIPRI)));
	EXPECT_EQ(PG(1), RET(pwritev2(self->fd, &iov, 1, PG(1), RWF_DSYNC)));
	EXPECT_EQ(PG(1), RET(pwritev2(self->fd, &iov, 1, PG(2), RWF_SYNC)));
	EXPECT_EQ(PG(1), RET(pwritev2(self->fd, &iov, 1, PG(3), RWF_NOAPPEND)));
	EXPECT_EQ(PG(4), RET(lseek(self->fd, 0, SEEK_HOLE)));

	EXPECT_EQ(-EOPNOTSUPP, RET(pwritev2(self->fd, &iov, 1, PG(5), RWF_NOWAIT)));
	EXPECT_EQ(-EOPNOTSUPP, RET(pwritev2(self->fd, &iov, 1, PG(5), RWF_ATOMIC)));
	EXPECT_EQ(-EOPNOTSUPP, RET(pwritev2(self->fd, &iov, 1, PG(5), RWF_DONTCACHE)));
	EXPECT_EQ(-EOPNOTSUPP, RET(pwritev2(self->fd, &iov, 1, PG(5), 1 << 30)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, PG(4), SEEK_DATA)));

	/* An open file that does not wait isn't one that may write less. */
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_BYTES(self->mem, 0, self->src, FILE_SIZE);
}

static int nr_signals;

static void count_signal(int sig)
{
	WRITE_ONCE(nr_signals, nr_signals + 1);
}

/* Not for longer than the one call: the log may be a file that's larger. */
static long limited_pwrite(int fd, void *buf, size_t len, off_t off, rlim_t limit)
{
	struct rlimit old, new;
	long ret;

	TEST_ASSERT(!getrlimit(RLIMIT_FSIZE, &old), "getrlimit() failed");
	new = old;
	new.rlim_cur = limit;
	nr_signals = 0;

	TEST_ASSERT(!setrlimit(RLIMIT_FSIZE, &new), "setrlimit() failed");
	ret = RET(pwrite(fd, buf, len, off));
	TEST_ASSERT(!setrlimit(RLIMIT_FSIZE, &old), "setrlimit() failed");
	return ret;
}

TEST_F(file, rlimit_fsize)
{
	const struct {
		size_t limit, off, len;
		long ret;
	} requests[] = {
		{ PG(4), 0, PG(4), PG(4) },
		{ PG(4), 0, PG(5), PG(4) },
		{ PG(4), PG(2), PG(8), PG(2) },
		{ PG(4), PG(4), PG(1), -EFBIG },
		{ PG(4), PG(5), PG(1), -EFBIG },
		{ PG(4) + 100, 0, PG(4), PG(4) },
		{ PG(4) + 100, 0, PG(8), PG(4) },
		{ PG(4) + 100, PG(3), PG(8), PG(1) },
		{ PG(4) + 100, PG(4), PG(1), -EFBIG },
		{ PG(4) + 100, PG(5), PG(1), -EFBIG },
		{ PG(5) - 1, PG(4), PG(2), -EFBIG },
		{ PG(70), 0, PG(100), PG(70) },
		{ 100, 0, PG(1), -EFBIG },
		{ 0, 0, PG(1), -EFBIG },
		/* The limit makes neither of these a whole number of pages. */
		{ PG(4), 0, PG(4) + 1, -EINVAL },
		{ PG(4), 0, PG(8) - 1, -EINVAL },
		/* Nor does it bring this one within the bounds. */
		{ PG(4), 0, FILE_SIZE + PG(1), -EINVAL },
	};
	struct sigaction sa = { .sa_handler = count_signal };
	size_t i;

	ASSERT_EQ(0, sigaction(SIGXFSZ, &sa, NULL));

	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		const size_t off = requests[i].off;
		const long want = requests[i].ret;
		size_t done = max(want, 0l);
		long ret;

		ret = limited_pwrite(self->fd, self->src, requests[i].len, off,
				     requests[i].limit);
		EXPECT_EQ(want, ret);
		EXPECT_EQ(want == -EFBIG, nr_signals);
		if (done) {
			EXPECT_EQ(off, RET(lseek(self->fd, 0, SEEK_DATA)));
			EXPECT_EQ(off + done, RET(lseek(self->fd, off, SEEK_HOLE)));
			EXPECT_BYTES(self->mem, off, self->src, done);
		} else {
			EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));
		}
		ASSERT_EQ(KSFT_PASS, _metadata->exit_code)
			TH_LOG("%zu bytes at %zu, limit %zu", requests[i].len, off,
			       requests[i].limit);
		EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	}
}

static u64 mtime(int fd)
{
	struct stat st;

	TEST_ASSERT(!fstat(fd, &st), "fstat() failed, errno = %d", errno);
	TEST_ASSERT_EQ(timespec_to_ns(st.st_mtim), timespec_to_ns(st.st_ctim));
	return timespec_to_ns(st.st_mtim);
}

/* As coarse as a tick: write until it shows. */
#define EXPECT_TIME_MOVES(fd, want, call)					\
do {										\
	const u64 __before = mtime(fd), __end = now_ms() + 5000;		\
										\
	do {									\
		ASSERT_EQ(want, RET(call));					\
	} while (mtime(fd) == __before && now_ms() < __end);			\
	EXPECT_LT(__before, mtime(fd));						\
} while (0)

TEST_F(file, times)
{
	const struct timespec tick = { .tv_nsec = 20 * 1000 * 1000 };
	u8 *bad = map_anon(PG(2));
	struct stat first, last;
	u64 before;

	ASSERT_EQ(0, mprotect(bad + PG(1), PG(1), PROT_NONE));
	ASSERT_EQ(0, fstat(self->fd, &first));
	EXPECT_TIME_MOVES(self->fd, PG(2), pwrite(self->fd, self->src, PG(2), 0));
	/* Short writes count. */
	EXPECT_TIME_MOVES(self->fd, PG(1), pwrite(self->fd, bad, PG(2), 0));

	/* What is no request does not. */
	before = mtime(self->fd);
	nanosleep(&tick, NULL);
	EXPECT_EQ(0, RET(pwrite(self->fd, self->src, 0, 0)));
	EXPECT_EQ(-EINVAL, RET(pwrite(self->fd, self->src, 1, 0)));
	EXPECT_EQ(-EINVAL, RET(pwrite(self->fd, self->src, PG(1), FILE_SIZE)));
	EXPECT_EQ(before, mtime(self->fd));

	ASSERT_EQ(0, fstat(self->fd, &last));
	EXPECT_EQ(timespec_to_ns(first.st_atim), timespec_to_ns(last.st_atim));
	EXPECT_EQ(first.st_size, last.st_size);
}

TEST_F(file, seek_data_and_hole)
{
	ASSERT_EQ(PG(2), RET(pwrite(self->fd, self->src, PG(2), PG(3))));
	ASSERT_EQ(PG(1), RET(pwrite(self->fd, self->src, PG(1), PG(10))));

	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(PG(3), RET(lseek(self->fd, PG(3) - 1, SEEK_DATA)));
	EXPECT_EQ(PG(3) + 5, RET(lseek(self->fd, PG(3) + 5, SEEK_DATA)));
	EXPECT_EQ(PG(5) - 1, RET(lseek(self->fd, PG(5) - 1, SEEK_DATA)));
	EXPECT_EQ(PG(10), RET(lseek(self->fd, PG(5), SEEK_DATA)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, PG(11), SEEK_DATA)));

	EXPECT_EQ(0, RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_EQ(PG(2) + 1, RET(lseek(self->fd, PG(2) + 1, SEEK_HOLE)));
	EXPECT_EQ(PG(5), RET(lseek(self->fd, PG(3), SEEK_HOLE)));
	EXPECT_EQ(PG(5), RET(lseek(self->fd, PG(4) + 1, SEEK_HOLE)));
	EXPECT_EQ(PG(5) + 7, RET(lseek(self->fd, PG(5) + 7, SEEK_HOLE)));
	EXPECT_EQ(PG(11), RET(lseek(self->fd, PG(10), SEEK_HOLE)));

	/* Allocated isn't populated, looked at is. */
	EXPECT_EQ(0, preallocate(self->fd, PG(21), PG(2)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, PG(11), SEEK_DATA)));
	EXPECT_EQ(PG(20), RET(lseek(self->fd, PG(20), SEEK_HOLE)));
	READ_ONCE(self->mem[21 * PAGE_WORDS]);
	EXPECT_EQ(PG(21), RET(lseek(self->fd, PG(11), SEEK_DATA)));
	EXPECT_EQ(PG(22), RET(lseek(self->fd, PG(21), SEEK_HOLE)));

	/* There's always a hole at the end, if none before it. */
	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, FILE_SIZE - 1, SEEK_HOLE)));
	EXPECT_EQ(FILE_SIZE - 1, RET(lseek(self->fd, FILE_SIZE - 1, SEEK_DATA)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, FILE_SIZE, SEEK_DATA)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, FILE_SIZE, SEEK_HOLE)));

	EXPECT_EQ(0, punch(self->fd, PG(64), PG(1)));
	EXPECT_EQ(PG(64), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_EQ(PG(65), RET(lseek(self->fd, PG(64), SEEK_DATA)));
}

/* What is populated stops a write, by every way and whoever has populated it. */
TEST_F(file, no_overwrite)
{
	const int fd = vm_create_guest_memfd(self->vm, FILE_SIZE,
					     WRITE_FLAGS | GUEST_MEMFD_FLAG_NO_OVERWRITE);
	u64 *mem = map_file(fd, FILE_SIZE);
	const struct way *w;

	for_each_way(w) {
		/* By a store, a look, a write; and one that is merely allocated. */
		mem[10 * PAGE_WORDS] = 0x77;
		READ_ONCE(mem[12 * PAGE_WORDS]);
		EXPECT_EQ(PG(1), RET(pwrite(fd, self->src, PG(1), PG(14))));
		EXPECT_EQ(0, preallocate(fd, PG(8), PG(1)));

		EXPECT_EQ(PG(10), w->write(fd, self->src, PG(20), 0))
			TH_LOG("via %s", w->name);
		EXPECT_EQ(-EEXIST, w->write(fd, self->src, PG(2), PG(9)))
			TH_LOG("via %s", w->name);
		EXPECT_EQ(-EEXIST, w->write(fd, self->src, PG(2), PG(10)))
			TH_LOG("via %s", w->name);
		EXPECT_EQ(PG(1), w->write(fd, self->src + PG(11), PG(2), PG(11)))
			TH_LOG("via %s", w->name);
		EXPECT_EQ(PG(1), w->write(fd, self->src + PG(13), PG(2), PG(13)))
			TH_LOG("via %s", w->name);
		EXPECT_EQ(PG(15), RET(lseek(fd, 0, SEEK_HOLE)));
		EXPECT_PAGES(mem, 0, 10, 1, 1);
		EXPECT_EQ(0x77, mem[10 * PAGE_WORDS]);
		EXPECT_ZERO(mem, 12, 1);
		EXPECT_PAGE(mem, 11, 1, 1);
		EXPECT_PAGE(mem, 13, 1, 1);
		EXPECT_BYTES(mem, PG(14), self->src, PG(1));
		ASSERT_EQ(0, punch(fd, 0, FILE_SIZE));
	}
	close(fd);
}

TEST_NOTHING_IS_LEFT(0)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "write-abi");
}
