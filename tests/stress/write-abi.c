// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who may write what, by every way there is, and what stops a write.  What comes of one
 * that may be made is guest_memfd_write_test's to see, and fsx's.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "kselftest.h"
#include "common/fixture.h"
#include "common/writers.h"

#define SHARED	GUEST_MEMFD_FLAG_INIT_SHARED
#define MAPPED	GUEST_MEMFD_FLAG_MMAP
#define WRITE	GUEST_MEMFD_FLAG_WRITE

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

TEST_F(kind, splice_takes_what_it_moves)
{
	const size_t moved = variant->err ? 0 : PG(2);
	int pipefd[2];
	loff_t off = PG(1);

	/* Who may not write at all need not wait to learn that. */
	ASSERT_EQ(0, pipe(pipefd));
	EXPECT_EQ(variant->err == -ENODEV ? -ENODEV : -EAGAIN,
		  RET(splice(pipefd[0], NULL, self->fd, &off, PG(2), SPLICE_F_NONBLOCK)));

	ASSERT_EQ(PG(3), RET(write(pipefd[1], self->src, PG(3))));
	EXPECT_EQ(variant->err ?: (long)moved,
		  RET(splice(pipefd[0], NULL, self->fd, &off, PG(2), 0)));
	EXPECT_EQ(PG(1) + moved, (size_t)off);
	EXPECT_EQ(PG(3) - moved, pipe_queued(pipefd[0]));
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

static volatile int nr_signals;

static void count_signal(int sig)
{
	nr_signals++;
}

/* Not for longer than the one call: the log may be a file that's larger. */
static long limited_pwrite(int fd, void *buf, size_t len, off_t off, rlim_t limit)
{
	struct rlimit old, new;
	long ret;

	TEST_ASSERT(!getrlimit(RLIMIT_FSIZE, &old), "getrlimit() failed");
	new = old;
	new.rlim_cur = limit;
	TEST_ASSERT(!setrlimit(RLIMIT_FSIZE, &new), "setrlimit() failed");
	ret = RET(pwrite(fd, buf, len, off));
	TEST_ASSERT(!setrlimit(RLIMIT_FSIZE, &old), "setrlimit() failed");
	return ret;
}

/* Whole pages up to the limit; less than one is the signal's, which nothing else sends. */
TEST_F(file, rlimit_fsize)
{
	signal(SIGXFSZ, count_signal);
	EXPECT_EQ(PG(4), limited_pwrite(self->fd, self->src, PG(8), 0, PG(4) + 100));
	EXPECT_EQ(-EINVAL, limited_pwrite(self->fd, self->src, PG(4) + 1, 0, PG(4)));
	EXPECT_EQ(-EINVAL, limited_pwrite(self->fd, self->src, FILE_SIZE + PG(1), 0, PG(4)));
	EXPECT_EQ(0, nr_signals);
	EXPECT_EQ(-EFBIG, limited_pwrite(self->fd, self->src, PG(2), PG(4), PG(4) + 100));
	EXPECT_EQ(1, nr_signals);
	EXPECT_EQ(PG(4), RET(lseek(self->fd, 0, SEEK_HOLE)));
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

/* Of the file, in nanoseconds, when the clock by which the kernel goes has moved on. */
static u64 modified(int fd)
{
	struct stat st;

	TEST_ASSERT(!fstat(fd, &st), "fstat() failed, errno = %d", errno);
	usleep(50000);
	return st.st_mtim.tv_sec * 1000000000ul + st.st_mtim.tv_nsec;
}

/* A write modifies the file; what is no request, or moves nothing, does not. */
TEST_F(file, modification_time)
{
	u64 before = modified(self->fd), after;

	EXPECT_EQ(-EINVAL, RET(pwrite(self->fd, self->src, 1, 0)));
	EXPECT_EQ(0, RET(pwrite(self->fd, self->src, 0, 0)));
	EXPECT_EQ(before, modified(self->fd));
	/* Before the data: that there was none to be had is found out later. */
	EXPECT_EQ(-EFAULT, RET(pwrite(self->fd, (void *)PG(1), PG(1), 0)));
	after = modified(self->fd);
	EXPECT_LT(before, after);
	before = after;
	EXPECT_EQ(PG(1), RET(pwrite(self->fd, self->src, PG(1), 0)));
	after = modified(self->fd);
	EXPECT_LT(before, after);
	EXPECT_EQ(PG(1), RET(pwrite(self->fd, self->src, PG(1), 0)));
	EXPECT_LT(after, modified(self->fd));
}

TEST_NOTHING_IS_LEFT(0)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "write-abi");
}
