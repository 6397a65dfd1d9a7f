// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test populating guest_memfd with write(), i.e. GUEST_MEMFD_FLAG_WRITE.
 *
 * The write family takes whole pages only, of memory that is shared with the
 * host, and each page of the file ends up with either all of the bytes of the
 * caller or all of the bytes that it had.  The tests look at the file through a
 * mapping, through lseek(SEEK_DATA), and through the eyes of a vCPU.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include <io_uring/mini_liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/sizes.h>
#include <linux/userfaultfd.h>

#include "cgroup_util.h"
#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "numaif.h"
#include "test_util.h"
#include "ucall_common.h"

/*
 * Large enough for KVM to need several batches, however it sizes them: a few
 * of the tests put something on either side of a multiple of 64 pages.
 */
#define NR_PAGES	150

#define SHARED_FLAGS	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)
#define WRITE_FLAGS	(SHARED_FLAGS | GUEST_MEMFD_FLAG_WRITE)

static size_t page_size;

/* The size of, or the offset to, page @n. */
#define PG(n)		((n) * page_size)
#define FILE_SIZE	PG(NR_PAGES)

/* The result of a system call as the kernel returns it: -errno on failure. */
#define RET(call)						\
({								\
	long __r = (call);					\
								\
	__r < 0 ? -errno : __r;					\
})

#define EXPECT_BYTES(got, want, len)				\
	expect_bytes(_metadata, __LINE__, got, want, len)
#define EXPECT_FILL(got, byte, len)				\
	expect_fill(_metadata, __LINE__, got, byte, len)

static void expect_bytes(struct __test_metadata *_metadata, int line,
			 const u8 *got, const u8 *want, size_t len)
{
	size_t i;

	for (i = 0; i < len && got[i] == want[i]; i++)
		;

	EXPECT_EQ(len, i)
		TH_LOG("line %d: page %zu, byte %zu is 0x%02x, not 0x%02x",
		       line, i / page_size, i % page_size, got[i], want[i]);
}

static void expect_fill(struct __test_metadata *_metadata, int line,
			const u8 *got, u8 byte, size_t len)
{
	size_t i;

	for (i = 0; i < len && got[i] == byte; i++)
		;

	EXPECT_EQ(len, i)
		TH_LOG("line %d: page %zu, byte %zu is 0x%02x, not 0x%02x",
		       line, i / page_size, i % page_size, got[i], byte);
}

/* No two words of what this generates are the same, for any seed. */
static void fill_pattern(void *buf, size_t len, u32 seed)
{
	u64 *word = buf;
	size_t i;

	for (i = 0; i < len / sizeof(*word); i++)
		word[i] = (((u64)seed << 32) + i + 1) * 0x9e3779b97f4a7c15ull;
}

static void *map_anon(size_t size)
{
	return kvm_mmap(size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static int create_memfd(const void *buf, size_t len)
{
	int fd = memfd_create("source", MFD_CLOEXEC);

	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("memfd_create()", fd));
	TEST_ASSERT_EQ(pwrite(fd, buf, len, 0), (ssize_t)len);
	return fd;
}

static void punch(int fd, off_t off, size_t len)
{
	kvm_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

/*
 * Every way to write to a file there is.  Each returns what the system call
 * does: -1 with errno set on failure.
 */
static long via_write(int fd, void *buf, size_t len, off_t off)
{
	if (lseek(fd, off, SEEK_SET) < 0)
		return -1;

	return write(fd, buf, len);
}

static long via_pwrite(int fd, void *buf, size_t len, off_t off)
{
	return pwrite(fd, buf, len, off);
}

#define NR_ODD_SEGS	3

/* Segments of one byte, none and the rest: nothing is aligned to anything. */
static void odd_iovec(struct iovec iov[NR_ODD_SEGS], void *buf, size_t len)
{
	const size_t first = min(len, 1ul);

	iov[0] = (struct iovec) { .iov_base = buf, .iov_len = first };
	iov[1] = (struct iovec) {};
	iov[2] = (struct iovec) { .iov_base = buf + first, .iov_len = len - first };
}

static long via_writev(int fd, void *buf, size_t len, off_t off)
{
	struct iovec iov[NR_ODD_SEGS];

	odd_iovec(iov, buf, len);
	if (lseek(fd, off, SEEK_SET) < 0)
		return -1;

	return writev(fd, iov, NR_ODD_SEGS);
}

static long via_pwritev(int fd, void *buf, size_t len, off_t off)
{
	struct iovec iov[NR_ODD_SEGS];

	odd_iovec(iov, buf, len);
	return pwritev(fd, iov, NR_ODD_SEGS, off);
}

static long via_pwritev2(int fd, void *buf, size_t len, off_t off)
{
	struct iovec iov[NR_ODD_SEGS];

	odd_iovec(iov, buf, len);
	return pwritev2(fd, iov, NR_ODD_SEGS, off, RWF_DSYNC);
}

static long uring_rw(int fd, u8 opcode, void *buf, size_t len, off_t off)
{
	struct iovec reg = { .iov_base = buf, .iov_len = len };
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	long ret;

	ret = io_uring_queue_init(1, &ring, 0);
	if (ret)
		return -1;

	if (opcode == IORING_OP_WRITE_FIXED) {
		ret = io_uring_register_buffers(&ring, &reg, 1);
		TEST_ASSERT(!ret, "Registering %zu bytes failed: %ld", len, ret);
	}

	sqe = io_uring_get_sqe(&ring);
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
	sqe->fd = fd;
	sqe->addr = (unsigned long)buf;
	sqe->len = len;
	sqe->off = off;

	ret = io_uring_submit(&ring);
	TEST_ASSERT(ret == 1, "io_uring_enter() failed: %ld", ret);

	ret = io_uring_wait_cqe(&ring, &cqe);
	TEST_ASSERT(!ret, "Waiting for the completion failed: %ld", ret);

	ret = cqe->res;
	io_uring_queue_exit(&ring);
	if (ret >= 0)
		return ret;

	errno = -ret;
	return -1;
}

static long via_uring_write(int fd, void *buf, size_t len, off_t off)
{
	return uring_rw(fd, IORING_OP_WRITE, buf, len, off);
}

static long via_uring_writev(int fd, void *buf, size_t len, off_t off)
{
	struct iovec iov[NR_ODD_SEGS];

	odd_iovec(iov, buf, len);
	return uring_rw(fd, IORING_OP_WRITEV, iov, NR_ODD_SEGS, off);
}

static long via_uring_write_fixed(int fd, void *buf, size_t len, off_t off)
{
	return uring_rw(fd, IORING_OP_WRITE_FIXED, buf, len, off);
}

static long via_sendfile(int fd, void *buf, size_t len, off_t off)
{
	int in = create_memfd(buf, len);
	off_t in_off = 0;
	long ret = -1;

	if (lseek(fd, off, SEEK_SET) >= 0)
		ret = sendfile(fd, in, &in_off, len);

	close(in);
	return ret;
}

static size_t pipe_queued(int fd)
{
	int queued;

	TEST_ASSERT(!ioctl(fd, FIONREAD, &queued), "FIONREAD failed, errno = %d", errno);
	return queued;
}

static long via_splice(int fd, void *buf, size_t len, off_t off)
{
	int pipefd[2];
	long ret;

	TEST_ASSERT(!pipe(pipefd), "pipe() failed, errno = %d", errno);
	ret = fcntl(pipefd[1], F_SETPIPE_SZ, len);
	TEST_ASSERT(ret >= (long)len, "F_SETPIPE_SZ of %zu bytes returned %ld", len, ret);
	TEST_ASSERT_EQ(write(pipefd[1], buf, len), (ssize_t)len);
	close(pipefd[1]);

	ret = splice(pipefd[0], NULL, fd, &off, len, 0);
	close(pipefd[0]);
	return ret;
}

struct writer {
	const char *name;
	long (*write)(int fd, void *buf, size_t len, off_t off);
	/* Moves data page by page, out of the page cache or out of a pipe. */
	bool is_splice;
	bool is_uring;
};

static const struct writer writers[] = {
	{ "write",		via_write },
	{ "pwrite",		via_pwrite },
	{ "writev",		via_writev },
	{ "pwritev",		via_pwritev },
	{ "pwritev2",		via_pwritev2 },
	{ "sendfile",		via_sendfile,		.is_splice = true },
	{ "splice",		via_splice,		.is_splice = true },
	{ "io_uring write",	via_uring_write,	.is_uring = true },
	{ "io_uring writev",	via_uring_writev,	.is_uring = true },
	{ "io_uring fixed",	via_uring_write_fixed,	.is_uring = true },
};

static bool uring_is_usable(void)
{
	struct io_uring ring;

	if (io_uring_queue_init(1, &ring, 0))
		return false;

	io_uring_queue_exit(&ring);
	return true;
}

/* One past the last writer that this kernel has. */
static const struct writer *writers_end(void)
{
	const struct writer *w = writers;

	while (w < writers + ARRAY_SIZE(writers) && !w->is_uring)
		w++;

	return uring_is_usable() ? writers + ARRAY_SIZE(writers) : w;
}

/*
 * Files of every kind: who may be written at all, and what no kind allows.
 */
FIXTURE(file) {
	struct kvm_vm *vm;
	int fd;
	u8 *src;
};

FIXTURE_VARIANT(file) {
	u64 flags;
	long err;
};

FIXTURE_VARIANT_ADD(file, none) {
	.flags = 0,
	.err = -ENODEV,
};

FIXTURE_VARIANT_ADD(file, mmap) {
	.flags = GUEST_MEMFD_FLAG_MMAP,
	.err = -ENODEV,
};

FIXTURE_VARIANT_ADD(file, init_shared) {
	.flags = GUEST_MEMFD_FLAG_INIT_SHARED,
	.err = -ENODEV,
};

FIXTURE_VARIANT_ADD(file, mmap_init_shared) {
	.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
	.err = -ENODEV,
};

FIXTURE_VARIANT_ADD(file, write) {
	.flags = GUEST_MEMFD_FLAG_WRITE,
	.err = -EPERM,
};

FIXTURE_VARIANT_ADD(file, write_mmap) {
	.flags = GUEST_MEMFD_FLAG_WRITE | GUEST_MEMFD_FLAG_MMAP,
	.err = -EPERM,
};

FIXTURE_VARIANT_ADD(file, write_init_shared) {
	.flags = GUEST_MEMFD_FLAG_WRITE | GUEST_MEMFD_FLAG_INIT_SHARED,
	.err = 0,
};

FIXTURE_VARIANT_ADD(file, write_mmap_init_shared) {
	.flags = GUEST_MEMFD_FLAG_WRITE | GUEST_MEMFD_FLAG_MMAP |
		 GUEST_MEMFD_FLAG_INIT_SHARED,
	.err = 0,
};

FIXTURE_SETUP(file)
{
	self->vm = vm_create_barebones();
	self->fd = vm_create_guest_memfd(self->vm, FILE_SIZE, variant->flags);
	self->src = map_anon(FILE_SIZE);
	fill_pattern(self->src, FILE_SIZE, 1);
}

FIXTURE_TEARDOWN(file)
{
	close(self->fd);
	kvm_vm_free(self->vm);
}

TEST_F(file, may_be_written)
{
	const long want = variant->err ?: (long)PG(3);
	const struct writer *w, *end = writers_end();

	for (w = writers; w < end; w++) {
		EXPECT_EQ(want, RET(w->write(self->fd, self->src, PG(3), PG(2))))
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
		punch(self->fd, 0, FILE_SIZE);
	}
}

TEST_F(file, refused_write_moves_nothing)
{
	const long want = variant->err ?: (long)PG(1);
	struct stat before, after;

	ASSERT_EQ(PG(1), RET(lseek(self->fd, PG(1), SEEK_SET)));
	ASSERT_EQ(0, fstat(self->fd, &before));
	EXPECT_EQ(want, RET(write(self->fd, self->src, PG(1))));
	ASSERT_EQ(0, fstat(self->fd, &after));

	EXPECT_EQ(PG(1) + (variant->err ? 0 : PG(1)),
		  RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(before.st_size, after.st_size);
	if (variant->err) {
		EXPECT_EQ(timespec_to_ns(before.st_mtim), timespec_to_ns(after.st_mtim));
		EXPECT_EQ(timespec_to_ns(before.st_ctim), timespec_to_ns(after.st_ctim));
	}
}

TEST_F(file, zero_length)
{
	const long want = variant->flags & GUEST_MEMFD_FLAG_WRITE ? 0 : -ENODEV;

	EXPECT_EQ(want, RET(write(self->fd, self->src, 0)));
	EXPECT_EQ(want, RET(write(self->fd, NULL, 0)));
	EXPECT_EQ(want, RET(pwrite(self->fd, self->src, 0, 1)));
	EXPECT_EQ(want, RET(pwrite(self->fd, self->src, 0, FILE_SIZE)));
	EXPECT_EQ(want, RET(pwrite(self->fd, self->src, 0, FILE_SIZE + 1)));
	EXPECT_EQ(0, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));
}

TEST_F(file, splice_takes_what_it_moves)
{
	const size_t moved = variant->err ? 0 : PG(2);
	loff_t off = PG(1);
	int pipefd[2];

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

TEST_F(file, reads_are_refused)
{
	struct iovec iov = { .iov_base = self->src, .iov_len = PG(1) };
	loff_t off = 0, out_off = 0;
	int pipefd[2];
	int memfd, fd;

	ASSERT_EQ(0, pipe(pipefd));
	memfd = create_memfd(self->src, PG(1));
	fd = vm_create_guest_memfd(self->vm, FILE_SIZE, variant->flags);

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
	if (uring_is_usable()) {
		EXPECT_EQ(-EINVAL, RET(uring_rw(self->fd, IORING_OP_READ,
						self->src, PG(1), 0)));
	}

	/* The VFS copies between file systems only if both know how to. */
	EXPECT_EQ(-EXDEV, RET(copy_file_range(self->fd, &off, memfd, &out_off, PG(1), 0)));
	EXPECT_EQ(-EXDEV, RET(copy_file_range(memfd, &out_off, self->fd, &off, PG(1), 0)));
	EXPECT_EQ(-EINVAL, RET(copy_file_range(self->fd, &off, fd, &out_off, PG(1), 0)));

	EXPECT_EQ(0, off);
	EXPECT_EQ(0, out_off);
	EXPECT_EQ(0, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(-ENXIO, RET(lseek(fd, 0, SEEK_DATA)));
	close(fd);
	close(memfd);
}

TEST_F(file, lseek)
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

/* KVM offers the flag for the VM types whose memory can be shared. */
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
		EXPECT_EQ(!!(flags & GUEST_MEMFD_FLAG_INIT_SHARED),
			  !!(flags & GUEST_MEMFD_FLAG_WRITE))
			TH_LOG("VM type %lu, supported flags 0x%lx", type, (long)flags);

		fd = vm_create_guest_memfd(vm, PG(1), 0);
		EXPECT_EQ(-ENODEV, RET(pwrite(fd, src, PG(1), 0)))
			TH_LOG("VM type %lu", type);
		close(fd);

		fd = __vm_create_guest_memfd(vm, PG(1), GUEST_MEMFD_FLAG_WRITE);
		if (flags & GUEST_MEMFD_FLAG_WRITE) {
			EXPECT_EQ(-EPERM, RET(pwrite(fd, src, PG(1), 0)))
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
FIXTURE(write) {
	struct kvm_vm *vm;
	int fd;
	/* The file.  Looking at a page populates it. */
	u8 *mem;
	/* A page more than the file, to read from at any alignment. */
	u8 *src;
};

FIXTURE_SETUP(write)
{
	self->vm = vm_create_barebones();
	self->fd = vm_create_guest_memfd(self->vm, FILE_SIZE, WRITE_FLAGS);
	self->mem = kvm_mmap(FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd);
	self->src = map_anon(FILE_SIZE + PG(1));
	fill_pattern(self->src, FILE_SIZE + PG(1), 2);
}

FIXTURE_TEARDOWN(write)
{
	close(self->fd);
	if (self->vm)
		kvm_vm_free(self->vm);
}

TEST_F(write, whole_file)
{
	const struct writer *w, *end = writers_end();

	for (w = writers; w < end; w++) {
		/* What a pipe and an array of io_uring take is limited. */
		size_t len = w->is_splice ? PG(64) : FILE_SIZE;

		ASSERT_EQ(len, RET(w->write(self->fd, self->src, len, 0)))
			TH_LOG("via %s", w->name);
		EXPECT_EQ(len, RET(lseek(self->fd, 0, SEEK_HOLE)))
			TH_LOG("via %s", w->name);
		EXPECT_BYTES(self->mem, self->src, len);
		punch(self->fd, 0, FILE_SIZE);
	}
}

/* Only whole pages are written, whatever the alignment of the source. */
TEST_F(write, alignment)
{
	const size_t sizes[] = {
		0, 1, 511, 512, page_size / 2, page_size - 1, page_size,
		page_size + 1, PG(2) - 512, PG(2), PG(64) + 512,
	};
	const struct writer *w, *end = writers_end();
	size_t i, j, off, len;

	for (w = writers; w < end; w++) {
		if (w->is_splice)
			continue;

		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			for (j = 1; j < ARRAY_SIZE(sizes); j++) {
				off = sizes[i];
				len = sizes[j];
				if (!((off | len) % page_size))
					continue;

				ASSERT_EQ(-EINVAL, RET(w->write(self->fd, self->src, len, off)))
					TH_LOG("%zu bytes at %zu via %s", len, off, w->name);
			}
		}
		ASSERT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)))
			TH_LOG("via %s", w->name);
	}

	memset(self->mem, 0x5a, PG(70));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (j = 1; j < ARRAY_SIZE(sizes); j++) {
			off = sizes[i];
			len = sizes[j];
			if ((off | len) % page_size) {
				ASSERT_EQ(-EINVAL, RET(pwrite(self->fd, self->src, len, off)));
				continue;
			}

			ASSERT_EQ(len, RET(pwrite(self->fd, self->src, len, off)));
			EXPECT_BYTES(self->mem + off, self->src, len);
			memset(self->mem + off, 0x5a, len);
		}
		EXPECT_FILL(self->mem, 0x5a, PG(70));
	}
}

TEST_F(write, source_alignment)
{
	const size_t shifts[] = { 1, 7, 64, 511, page_size / 2, page_size - 1 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(shifts); i++) {
		ASSERT_EQ(PG(3), RET(pwrite(self->fd, self->src + shifts[i], PG(3), PG(i))));
		EXPECT_BYTES(self->mem + PG(i), self->src + shifts[i], PG(3));
	}
}

TEST_F(write, bounds)
{
	const struct {
		off_t off;
		size_t len;
		long ret;
	} requests[] = {
		{ FILE_SIZE - PG(1), PG(1), PG(1) },
		{ 0, FILE_SIZE + PG(1), -EINVAL },
		{ PG(1), FILE_SIZE, -EINVAL },
		{ FILE_SIZE - PG(1), PG(2), -EINVAL },
		{ FILE_SIZE, PG(1), -EINVAL },
		{ FILE_SIZE + PG(1), PG(1), -EINVAL },
		{ FILE_SIZE * 2, FILE_SIZE, -EINVAL },
		{ 0, SZ_1G, -EINVAL },
		{ 0, SZ_1G * 16ull, -EINVAL },
		{ SZ_1G * 8192ull, PG(1), -EINVAL },
		{ PG(LLONG_MAX / page_size - 1), PG(1), -EINVAL },
		{ PG(LLONG_MAX / page_size), PG(1), -EINVAL },
		{ LLONG_MAX, 1, -EINVAL },
		{ -PG(1), PG(1), -EINVAL },
		{ -PG(2), PG(1), -EINVAL },
	};
	const struct writer *w, *end = writers_end();
	size_t i;

	for (w = writers; w < end; w++) {
		/* What splice can move at once, and -1 to io_uring, is special. */
		if (w->is_splice || w->is_uring)
			continue;

		for (i = 0; i < ARRAY_SIZE(requests); i++) {
			EXPECT_EQ(requests[i].ret, RET(w->write(self->fd, self->src,
								requests[i].len,
								requests[i].off)))
				TH_LOG("0x%zx bytes at 0x%lx via %s",
				       requests[i].len, requests[i].off, w->name);
		}

		/* Only the one that lies within the file did anything. */
		EXPECT_EQ(FILE_SIZE - PG(1), RET(lseek(self->fd, 0, SEEK_DATA)))
			TH_LOG("via %s", w->name);
		EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_END)));
		EXPECT_BYTES(self->mem + FILE_SIZE - PG(1), self->src, PG(1));
		punch(self->fd, 0, FILE_SIZE);
	}
}

/* Neither the index of a page nor its offset is cut to 32 bits. */
TEST_F(write, huge_file)
{
	const off_t size = 1ull << 50;
	const off_t offsets[] = {
		0, SZ_2G, SZ_4G, 5ull * SZ_1G, 1ull << 44, (1ull << 44) + PG(3),
		size - PG(1),
	};
	size_t i;
	int fd;

	fd = vm_create_guest_memfd(self->vm, size, WRITE_FLAGS);
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		u8 *mem = __kvm_mmap(PG(1), PROT_READ, MAP_SHARED, fd, offsets[i]);

		ASSERT_EQ(PG(1), RET(pwrite(fd, self->src + PG(i), PG(1), offsets[i])));
		EXPECT_EQ(offsets[i], RET(lseek(fd, 0, SEEK_DATA)));
		EXPECT_BYTES(mem, self->src + PG(i), PG(1));
		kvm_munmap(mem, PG(1));
		punch(fd, offsets[i], PG(1));
	}
	EXPECT_EQ(-EINVAL, RET(pwrite(fd, self->src, PG(2), size - PG(1))));
	EXPECT_EQ(-ENXIO, RET(lseek(fd, 0, SEEK_DATA)));
	close(fd);
}

TEST_F(write, odd_iovecs)
{
	struct kvm_random_state rng = new_kvm_random_state(1);
	struct iovec iov[IOV_MAX + 1] = {};
	size_t i, len, done;
	int round;

	for (round = 0; round < 8; round++) {
		/* Many segments to a page, or many pages to a segment. */
		const u32 max = round % 2 ? PG(5) : page_size / 4;

		for (i = 0, done = 0; i < IOV_MAX; i++, done += len) {
			len = kvm_random_u32_in_range(&rng, 0, max);
			if (round > 3)
				len &= -512u;
			len = min(len, FILE_SIZE - done);
			iov[i].iov_base = len ? self->src + done : NULL;
			iov[i].iov_len = len;
		}
		iov[IOV_MAX - 1].iov_base = self->src + done - len;
		iov[IOV_MAX - 1].iov_len = len + PG(1) - (done % page_size ?: page_size);
		done = align_up(done, page_size);

		ASSERT_EQ(done, RET(pwritev(self->fd, iov, IOV_MAX, 0)))
			TH_LOG("round %d", round);
		EXPECT_EQ(done, RET(lseek(self->fd, 0, SEEK_HOLE)));
		EXPECT_BYTES(self->mem, self->src, done);
		punch(self->fd, 0, FILE_SIZE);

		/* Not a byte more or less. */
		iov[IOV_MAX / 2].iov_len++;
		EXPECT_EQ(-EINVAL, RET(pwritev(self->fd, iov, IOV_MAX, 0)))
			TH_LOG("round %d", round);
	}

	EXPECT_EQ(-EINVAL, RET(pwritev(self->fd, iov, IOV_MAX + 1, 0)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));
}

TEST_F(write, empty_iovecs)
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
	EXPECT_BYTES(self->mem, self->src, PG(2));
}

TEST_F(write, bad_pointers)
{
	void *nowhere = kvm_mmap(PG(1), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct iovec iov[] = {
		{ self->src, PG(2) + 1 },
		{ nowhere, PG(1) - 1 },
	};

	EXPECT_EQ(-EFAULT, RET(pwrite(self->fd, NULL, PG(1), 0)));
	EXPECT_EQ(-EFAULT, RET(pwrite(self->fd, nowhere, PG(1), 0)));
	EXPECT_EQ(-EFAULT, RET(pwrite(self->fd, (void *)-PG(1), PG(1), 0)));
	EXPECT_EQ(-EFAULT, RET(pwritev(self->fd, nowhere, 1, 0)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));

	/* The bytes of the third page that can be read go nowhere. */
	EXPECT_EQ(PG(2), RET(pwritev(self->fd, iov, 2, 0)));
	EXPECT_EQ(PG(2), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_BYTES(self->mem, self->src, PG(2));
	EXPECT_FILL(self->mem + PG(2), 0, PG(1));
}

enum bad_source {
	SOURCE_UNMAPPED,
	SOURCE_PROT_NONE,
	SOURCE_BEYOND_EOF,
	NR_BAD_SOURCES,
};

static const char * const bad_source_name[NR_BAD_SOURCES] = {
	[SOURCE_UNMAPPED]	= "unmapped",
	[SOURCE_PROT_NONE]	= "PROT_NONE",
	[SOURCE_BEYOND_EOF]	= "beyond end of file",
};

/* Map @nr pages of @src for reading, all except page @bad. */
static u8 *map_bad_source(enum bad_source kind, const u8 *src, size_t nr, size_t bad)
{
	u8 *mem;
	int fd;

	if (kind == SOURCE_BEYOND_EOF) {
		fd = create_memfd(src, PG(bad));
		mem = kvm_mmap(PG(nr), PROT_READ, MAP_SHARED, fd);
		close(fd);
		return mem;
	}

	mem = map_anon(PG(nr));
	memcpy(mem, src, PG(nr));
	if (kind == SOURCE_UNMAPPED)
		kvm_munmap(mem + PG(bad), PG(1));
	else
		TEST_ASSERT(!mprotect(mem + PG(bad), PG(1), PROT_NONE), "mprotect() failed");
	return mem;
}

FIXTURE(bad_page) {
	struct kvm_vm *vm;
	int fd;
	u8 *mem;
	u8 *src;
};

FIXTURE_VARIANT(bad_page) {
	enum bad_source kind;
	bool populated;
};

FIXTURE_VARIANT_ADD(bad_page, unmapped_to_fresh) {
	.kind = SOURCE_UNMAPPED,
};

FIXTURE_VARIANT_ADD(bad_page, unmapped_to_populated) {
	.kind = SOURCE_UNMAPPED,
	.populated = true,
};

FIXTURE_VARIANT_ADD(bad_page, prot_none_to_fresh) {
	.kind = SOURCE_PROT_NONE,
};

FIXTURE_VARIANT_ADD(bad_page, prot_none_to_populated) {
	.kind = SOURCE_PROT_NONE,
	.populated = true,
};

FIXTURE_VARIANT_ADD(bad_page, beyond_eof_to_fresh) {
	.kind = SOURCE_BEYOND_EOF,
};

FIXTURE_VARIANT_ADD(bad_page, beyond_eof_to_populated) {
	.kind = SOURCE_BEYOND_EOF,
	.populated = true,
};

FIXTURE_SETUP(bad_page)
{
	self->vm = vm_create_barebones();
	self->fd = vm_create_guest_memfd(self->vm, FILE_SIZE, WRITE_FLAGS);
	self->mem = kvm_mmap(FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd);
	self->src = map_anon(FILE_SIZE);
	fill_pattern(self->src, FILE_SIZE, 3);
}

FIXTURE_TEARDOWN(bad_page)
{
	close(self->fd);
	kvm_vm_free(self->vm);
}

/*
 * The pages before the one whose source cannot be read are written, that one
 * and those after it are left alone.
 */
TEST_F(bad_page, is_atomic)
{
	const size_t bad_pages[] = { 0, 1, 9, 63, 64, 65, 127, 128, 129 };
	const size_t shifts[] = { 0, 100, page_size - 1 };
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(bad_pages) * ARRAY_SIZE(shifts); i++) {
		const size_t bad = bad_pages[i / ARRAY_SIZE(shifts)];
		const size_t shift = shifts[i % ARRAY_SIZE(shifts)];
		/* If shifted, the page before needs a part of the bad one. */
		const size_t done = bad && shift ? bad - 1 : bad;
		const size_t nr = bad + 3;
		u8 *src = map_bad_source(variant->kind, self->src, nr + 1, bad);
		/* Not 0xaa, which free memory is full of with page poisoning. */
		const u8 old = variant->populated ? 0x5b : 0;

		punch(self->fd, 0, FILE_SIZE);
		if (variant->populated)
			memset(self->mem, old, PG(nr));

		EXPECT_EQ(done ? (long)PG(done) : -EFAULT,
			  RET(pwrite(self->fd, src + shift, PG(nr), 0)));
		if (!variant->populated) {
			EXPECT_EQ(PG(done), RET(lseek(self->fd, 0, SEEK_HOLE)));
			EXPECT_EQ(-ENXIO, RET(lseek(self->fd, PG(done), SEEK_DATA)));
		}
		EXPECT_BYTES(self->mem, self->src + shift, PG(done));
		EXPECT_FILL(self->mem + PG(done), old, PG(nr - done));

		ASSERT_EQ(KSFT_PASS, _metadata->exit_code)
			TH_LOG("page %zu of the source is %s, source shifted by %zu",
			       bad, bad_source_name[variant->kind], shift);
		for (j = 0; j < nr + 1; j++)
			munmap(src + PG(j), PG(1));
	}
}

TEST_F(write, position)
{
	u8 *bad = map_bad_source(SOURCE_PROT_NONE, self->src, 5, 3);
	struct iovec iov[NR_ODD_SEGS];

	odd_iovec(iov, self->src, PG(2));
	EXPECT_EQ(PG(3), RET(write(self->fd, self->src, PG(3))));
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(PG(2), RET(writev(self->fd, iov, ARRAY_SIZE(iov))));
	EXPECT_EQ(PG(5), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(PG(2), RET(pwritev2(self->fd, iov, ARRAY_SIZE(iov), -1, 0)));
	EXPECT_EQ(PG(7), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_BYTES(self->mem, self->src, PG(3));
	EXPECT_BYTES(self->mem + PG(3), self->src, PG(2));
	EXPECT_BYTES(self->mem + PG(5), self->src, PG(2));

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

TEST_F(write, io_uring_position)
{
	if (!uring_is_usable())
		SKIP(return, "no io_uring");

	ASSERT_EQ(PG(3), RET(lseek(self->fd, PG(3), SEEK_SET)));
	EXPECT_EQ(PG(70), RET(via_uring_write(self->fd, self->src, PG(70), -1)));
	EXPECT_EQ(PG(73), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(PG(73), RET(lseek(self->fd, PG(3), SEEK_HOLE)));
	EXPECT_BYTES(self->mem + PG(3), self->src, PG(70));
}

/*
 * After a short write io_uring tries to write the rest, which can't be read
 * then either.  Nothing may be skipped, or written twice, in between.
 */
TEST_F(write, io_uring_short_write)
{
	u8 *bad = map_bad_source(SOURCE_PROT_NONE, self->src, 80, 70);
	const size_t done = PG(69);

	if (!uring_is_usable())
		SKIP(return, "no io_uring");

	EXPECT_EQ(done, RET(via_uring_write(self->fd, bad + 100, PG(79), 0)));
	EXPECT_EQ(done, RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, done, SEEK_DATA)));
	EXPECT_BYTES(self->mem, self->src + 100, done);

	memset(self->mem, 0x5b, FILE_SIZE);
	EXPECT_EQ(done, RET(via_uring_write(self->fd, bad + 100, PG(79), 0)));
	EXPECT_EQ(-EFAULT, RET(via_uring_write(self->fd, bad + PG(70), PG(1), 0)));
	EXPECT_BYTES(self->mem, self->src + 100, done);
	EXPECT_FILL(self->mem + done, 0x5b, FILE_SIZE - done);
}

/* The position belongs to the open file, not to the descriptor. */
TEST_F(write, shared_position)
{
	int fd = kvm_dup(self->fd);
	int status;
	pid_t pid;

	EXPECT_EQ(PG(1), RET(write(self->fd, self->src, PG(1))));
	EXPECT_EQ(PG(2), RET(write(fd, self->src + PG(1), PG(2))));

	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid)
		_exit(write(fd, self->src + PG(3), PG(2)) != (ssize_t)PG(2));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);

	EXPECT_EQ(PG(5), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_BYTES(self->mem, self->src, PG(5));
	close(fd);
}

static void send_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = {};
	struct iovec iov = { .iov_base = "", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	TEST_ASSERT(sendmsg(sock, &msg, 0) == 1, "sendmsg() failed, errno = %d", errno);
}

/* Returns -1 if the other end closes instead of sending one. */
static int recv_fd(int sock)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(sock, &msg, 0) != 1 || !CMSG_FIRSTHDR(&msg))
		return -1;

	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* A helper process needs the descriptor, and nothing else, to populate. */
TEST_F(write, unprivileged_helper)
{
	int sock[2], status, fd;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		close(self->fd);
		close(self->vm->fd);
		kvm_munmap(self->mem, FILE_SIZE);

		/* Those without the privilege to drop privileges have none. */
		if (!geteuid() && (setgroups(0, NULL) || setgid(65534) || setuid(65534)))
			_exit(1);

		fd = recv_fd(sock[1]);
		if (write(fd, self->src, FILE_SIZE) != (ssize_t)FILE_SIZE)
			_exit(2);
		_exit(read(fd, self->src, PG(1)) != -1 ? 3 : 0);
	}

	send_fd(sock[0], self->fd);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_BYTES(self->mem, self->src, FILE_SIZE);
}

TEST_F(write, outlives_vm)
{
	kvm_vm_free(self->vm);
	self->vm = NULL;

	EXPECT_EQ(FILE_SIZE, RET(write(self->fd, self->src, FILE_SIZE)));
	EXPECT_BYTES(self->mem, self->src, FILE_SIZE);
}

TEST_F(write, append)
{
	struct iovec iov = { .iov_base = self->src, .iov_len = PG(1) };
	off_t in_off = 0;
	int memfd = create_memfd(self->src, PG(1));

	/* Appending goes beyond the end, and the file never grows. */
	EXPECT_EQ(-EINVAL, RET(pwritev2(self->fd, &iov, 1, 0, RWF_APPEND)));
	EXPECT_EQ(-EINVAL, RET(pwritev2(self->fd, &iov, 1, -1, RWF_APPEND)));

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	EXPECT_EQ(-EINVAL, RET(write(self->fd, self->src, PG(1))));
	EXPECT_EQ(-EINVAL, RET(pwrite(self->fd, self->src, PG(1), 0)));
	EXPECT_EQ(-EINVAL, RET(sendfile(self->fd, memfd, &in_off, PG(1))));
	EXPECT_EQ(-EINVAL, RET(via_splice(self->fd, self->src, PG(1), 0)));
	EXPECT_EQ(0, RET(write(self->fd, self->src, 0)));
	EXPECT_EQ(0, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_END)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));

	EXPECT_EQ(PG(1), RET(pwritev2(self->fd, &iov, 1, PG(2), RWF_NOAPPEND)));
	EXPECT_EQ(PG(2), RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_BYTES(self->mem + PG(2), self->src, PG(1));
	close(memfd);
}

TEST_F(write, rwf_flags)
{
	struct iovec iov = { .iov_base = self->src, .iov_len = PG(1) };

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
}

TEST_F(write, nonblock)
{
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(FILE_SIZE, RET(write(self->fd, self->src, FILE_SIZE)));
	EXPECT_BYTES(self->mem, self->src, FILE_SIZE);
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

TEST_F(write, rlimit_fsize)
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
			EXPECT_BYTES(self->mem + off, self->src, done);
		} else {
			EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));
		}
		ASSERT_EQ(KSFT_PASS, _metadata->exit_code)
			TH_LOG("%zu bytes at %zu, limit %zu", requests[i].len, off,
			       requests[i].limit);
		punch(self->fd, 0, FILE_SIZE);
	}
}

/* Signals that don't kill don't cut a write short either. */
TEST_F(write, signals)
{
	const struct itimerval often = {
		.it_interval.tv_usec = 2000,
		.it_value.tv_usec = 2000,
	};
	const struct itimerval never = {};
	struct sigaction sa = { .sa_handler = count_signal };
	int i;

	ASSERT_EQ(0, sigaction(SIGALRM, &sa, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));

	for (i = 0; i < 10000 && READ_ONCE(nr_signals) < 20; i++) {
		ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)))
			TH_LOG("write %d, signal %d", i, nr_signals);
	}

	ASSERT_EQ(0, setitimer(ITIMER_REAL, &never, NULL));
	EXPECT_BYTES(self->mem, self->src, FILE_SIZE);
}

TEST_F(write, times)
{
	/* Longer than any tick. */
	const struct timespec tick = { .tv_nsec = 20 * 1000 * 1000 };
	u8 *bad = map_bad_source(SOURCE_PROT_NONE, self->src, 2, 1);
	struct stat st[4];
	int i;

	ASSERT_EQ(0, fstat(self->fd, &st[0]));
	nanosleep(&tick, NULL);
	EXPECT_EQ(PG(2), RET(pwrite(self->fd, self->src, PG(2), 0)));
	ASSERT_EQ(0, fstat(self->fd, &st[1]));

	nanosleep(&tick, NULL);
	EXPECT_EQ(0, RET(pwrite(self->fd, self->src, 0, 0)));
	EXPECT_EQ(-EINVAL, RET(pwrite(self->fd, self->src, 1, 0)));
	EXPECT_EQ(-EINVAL, RET(pwrite(self->fd, self->src, PG(1), FILE_SIZE)));
	EXPECT_EQ(-EFAULT, RET(pwrite(self->fd, NULL, PG(1), 0)));
	ASSERT_EQ(0, fstat(self->fd, &st[2]));

	/* Short writes count. */
	EXPECT_EQ(PG(1), RET(pwrite(self->fd, bad, PG(2), 0)));
	ASSERT_EQ(0, fstat(self->fd, &st[3]));

	EXPECT_LT(timespec_to_ns(st[0].st_mtim), timespec_to_ns(st[1].st_mtim));
	EXPECT_EQ(timespec_to_ns(st[1].st_mtim), timespec_to_ns(st[2].st_mtim));
	EXPECT_EQ(timespec_to_ns(st[1].st_ctim), timespec_to_ns(st[2].st_ctim));
	EXPECT_LT(timespec_to_ns(st[2].st_mtim), timespec_to_ns(st[3].st_mtim));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(timespec_to_ns(st[i].st_mtim), timespec_to_ns(st[i].st_ctim));
		EXPECT_EQ(timespec_to_ns(st[0].st_atim), timespec_to_ns(st[i].st_atim));
		EXPECT_EQ(FILE_SIZE, (size_t)st[i].st_size);
	}
}

TEST_F(write, seek_data_and_hole)
{
	const int whence[] = { SEEK_DATA, SEEK_HOLE };
	size_t i;

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
	kvm_fallocate(self->fd, FALLOC_FL_KEEP_SIZE, PG(20), PG(2));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, PG(11), SEEK_DATA)));
	EXPECT_EQ(PG(20), RET(lseek(self->fd, PG(20), SEEK_HOLE)));
	READ_ONCE(self->mem[PG(21)]);
	EXPECT_EQ(PG(21), RET(lseek(self->fd, PG(11), SEEK_DATA)));
	EXPECT_EQ(PG(22), RET(lseek(self->fd, PG(21), SEEK_HOLE)));

	/* There's always a hole at the end, if none before it. */
	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, FILE_SIZE - 1, SEEK_HOLE)));
	EXPECT_EQ(FILE_SIZE - 1, RET(lseek(self->fd, FILE_SIZE - 1, SEEK_DATA)));
	for (i = 0; i < ARRAY_SIZE(whence); i++) {
		EXPECT_EQ(-ENXIO, RET(lseek(self->fd, FILE_SIZE, whence[i])))
			TH_LOG("whence %d", whence[i]);
	}

	punch(self->fd, PG(64), PG(1));
	EXPECT_EQ(PG(64), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_EQ(PG(65), RET(lseek(self->fd, PG(64), SEEK_DATA)));
}

TEST_F(write, overwrite)
{
	u8 *other = map_anon(FILE_SIZE);

	fill_pattern(other, FILE_SIZE, 4);

	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_BYTES(self->mem, self->src, FILE_SIZE);

	/* The mapping has all of these pages by now. */
	EXPECT_EQ(PG(70), RET(pwrite(self->fd, other + PG(3), PG(70), PG(3))));
	EXPECT_BYTES(self->mem, self->src, PG(3));
	EXPECT_BYTES(self->mem + PG(3), other + PG(3), PG(70));
	EXPECT_BYTES(self->mem + PG(73), self->src + PG(73), FILE_SIZE - PG(73));
}

/* Pages that are there and pages that aren't, side by side. */
TEST_F(write, sparse)
{
	size_t i;

	for (i = 0; i < NR_PAGES; i += 3)
		self->mem[PG(i)] = 0xff;

	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_BYTES(self->mem, self->src, FILE_SIZE);
}

TEST_F(write, after_fallocate)
{
	kvm_fallocate(self->fd, FALLOC_FL_KEEP_SIZE, PG(1), PG(4));
	EXPECT_EQ(PG(2), RET(pwrite(self->fd, self->src, PG(2), PG(2))));
	EXPECT_EQ(PG(2), RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(PG(4), RET(lseek(self->fd, PG(2), SEEK_HOLE)));
	EXPECT_FILL(self->mem, 0, PG(2));
	EXPECT_BYTES(self->mem + PG(2), self->src, PG(2));
	EXPECT_FILL(self->mem + PG(4), 0, PG(2));

	/* Allocating again keeps what's there. */
	kvm_fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 0, FILE_SIZE);
	EXPECT_BYTES(self->mem + PG(2), self->src, PG(2));
}

TEST_F(write, failed_after_fallocate)
{
	u8 *bad = map_bad_source(SOURCE_PROT_NONE, self->src, 3, 1);

	kvm_fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 0, FILE_SIZE);
	EXPECT_EQ(PG(1), RET(pwrite(self->fd, bad, PG(3), 0)));
	EXPECT_EQ(-EFAULT, RET(pwrite(self->fd, bad + 1, PG(1), PG(5))));
	EXPECT_EQ(PG(1), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, PG(1), SEEK_DATA)));
	EXPECT_FILL(self->mem + PG(1), 0, FILE_SIZE - PG(1));
}

TEST_F(write, punch_hole)
{
	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));

	punch(self->fd, PG(2), PG(80));
	EXPECT_EQ(PG(2), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_EQ(PG(82), RET(lseek(self->fd, PG(2), SEEK_DATA)));
	EXPECT_BYTES(self->mem, self->src, PG(2));
	EXPECT_FILL(self->mem + PG(2), 0, PG(80));
	EXPECT_BYTES(self->mem + PG(82), self->src + PG(82), FILE_SIZE - PG(82));

	punch(self->fd, PG(2), PG(80));
	EXPECT_EQ(PG(100), RET(pwrite(self->fd, self->src + PG(7), PG(100), PG(1))));
	EXPECT_BYTES(self->mem + PG(1), self->src + PG(7), PG(100));
	EXPECT_BYTES(self->mem + PG(101), self->src + PG(101), FILE_SIZE - PG(101));
}

/* Nothing deadlocks on the very page that is being written. */
TEST_F(write, source_is_same_page)
{
	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(PG(1), RET(pwrite(self->fd, self->mem + PG(3), PG(1), PG(3))));
	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->mem, FILE_SIZE, 0)));
	EXPECT_BYTES(self->mem, self->src, FILE_SIZE);

	/* Nor if it is the read of the source that populates it, with zeroes. */
	punch(self->fd, 0, FILE_SIZE);
	EXPECT_EQ(PG(1), RET(pwrite(self->fd, self->mem + PG(3), PG(1), PG(3))));
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(PG(4), RET(lseek(self->fd, PG(3), SEEK_HOLE)));
	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->mem, FILE_SIZE, 0)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_FILL(self->mem, 0, FILE_SIZE);
}

TEST_F(write, source_is_same_file)
{
	ASSERT_EQ(PG(10), RET(pwrite(self->fd, self->src, PG(10), 0)));

	EXPECT_EQ(PG(3), RET(pwrite(self->fd, self->mem + PG(1), PG(3), PG(20))));
	EXPECT_EQ(PG(3), RET(pwrite(self->fd, self->mem + 100, PG(3), PG(30))));
	EXPECT_BYTES(self->mem, self->src, PG(10));
	EXPECT_BYTES(self->mem + PG(20), self->src + PG(1), PG(3));
	EXPECT_BYTES(self->mem + PG(30), self->src + 100, PG(3));

	/* From one hole to another. */
	EXPECT_EQ(PG(2), RET(pwrite(self->fd, self->mem + PG(50) + 1, PG(2), PG(60))));
	EXPECT_EQ(PG(50), RET(lseek(self->fd, PG(40), SEEK_DATA)));
	EXPECT_EQ(PG(53), RET(lseek(self->fd, PG(50), SEEK_HOLE)));
	EXPECT_EQ(PG(60), RET(lseek(self->fd, PG(53), SEEK_DATA)));
	EXPECT_FILL(self->mem + PG(50), 0, PG(12));
}

TEST_F(write, source_overlaps)
{
	const size_t nr = 100;
	size_t i, j;

	/* Downwards, each source byte is read before it is overwritten. */
	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(PG(nr), RET(pwrite(self->fd, self->mem + 100, PG(nr), 0)));
	EXPECT_BYTES(self->mem, self->src + 100, PG(nr));

	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(PG(nr), RET(pwrite(self->fd, self->mem + PG(1), PG(nr), 0)));
	EXPECT_BYTES(self->mem, self->src + PG(1), PG(nr));

	/* Upwards, a page may be copied before or after it was replaced. */
	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(PG(nr), RET(pwrite(self->fd, self->mem, PG(nr), PG(1))));
	for (i = 1; i <= nr; i++) {
		for (j = i; j--;)
			if (!memcmp(self->mem + PG(i), self->src + PG(j), page_size))
				break;
		EXPECT_GT(i, j)
			TH_LOG("page %zu is no copy of a page below it", i);
	}
	EXPECT_BYTES(self->mem, self->src, PG(1));
	EXPECT_BYTES(self->mem + PG(nr + 1), self->src + PG(nr + 1),
		     FILE_SIZE - PG(nr + 1));
}

TEST_F(write, sendfile)
{
	int memfd = create_memfd(self->src, FILE_SIZE);
	off_t in_off = 0;

	EXPECT_EQ(FILE_SIZE, RET(sendfile(self->fd, memfd, &in_off, FILE_SIZE)));
	EXPECT_EQ(FILE_SIZE, (size_t)in_off);
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_BYTES(self->mem, self->src, FILE_SIZE);

	/* Without an offset the position of the source is used, and moved. */
	ASSERT_EQ(PG(4), RET(lseek(memfd, PG(4), SEEK_SET)));
	ASSERT_EQ(PG(1), RET(lseek(self->fd, PG(1), SEEK_SET)));
	EXPECT_EQ(PG(3), RET(sendfile(self->fd, memfd, NULL, PG(3))));
	EXPECT_EQ(PG(7), RET(lseek(memfd, 0, SEEK_CUR)));
	EXPECT_EQ(PG(4), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_BYTES(self->mem + PG(1), self->src + PG(4), PG(3));

	/* Neither out of bounds nor to the middle of a page. */
	in_off = 0;
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_END)));
	EXPECT_EQ(-EINVAL, RET(sendfile(self->fd, memfd, &in_off, PG(1))));
	EXPECT_EQ(100, RET(lseek(self->fd, 100, SEEK_SET)));
	EXPECT_EQ(-EINVAL, RET(sendfile(self->fd, memfd, &in_off, PG(1))));
	EXPECT_EQ(100, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(0, in_off);
	EXPECT_BYTES(self->mem, self->src, PG(1));
	EXPECT_BYTES(self->mem + PG(4), self->src + PG(4), FILE_SIZE - PG(4));
	close(memfd);
}

/*
 * What the source has in one go isn't always a whole number of pages: only
 * whole ones are moved, and both offsets show how many.
 */
TEST_F(write, sendfile_unaligned_source)
{
	int memfd = create_memfd(self->src, FILE_SIZE);
	off_t in_off = 100;
	size_t done = 0;
	long ret;

	while (done < PG(100)) {
		ret = RET(sendfile(self->fd, memfd, &in_off, PG(100) - done));
		ASSERT_LT(0, ret)
			TH_LOG("%zu bytes done", done);
		ASSERT_EQ(0, ret % page_size);
		done += ret;
		ASSERT_EQ(100 + done, (size_t)in_off);
		ASSERT_EQ(done, RET(lseek(self->fd, 0, SEEK_CUR)));
	}
	EXPECT_EQ(PG(100), done);
	EXPECT_EQ(PG(100), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_BYTES(self->mem, self->src + 100, PG(100));
	close(memfd);
}

TEST_F(write, sendfile_ends_within_page)
{
	int memfd = create_memfd(self->src, PG(3) + 100);
	off_t in_off = 0;

	EXPECT_EQ(PG(3), RET(sendfile(self->fd, memfd, &in_off, PG(8))));
	EXPECT_EQ(PG(3), (size_t)in_off);
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(-EINVAL, RET(sendfile(self->fd, memfd, &in_off, PG(8))));
	EXPECT_EQ(PG(3), (size_t)in_off);
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_BYTES(self->mem, self->src, PG(3));

	/* Nothing left to send isn't an error. */
	in_off = PG(3) + 100;
	EXPECT_EQ(0, RET(sendfile(self->fd, memfd, &in_off, PG(8))));

	/* Nor is it to ask for less than there is, down to a page. */
	in_off = 0;
	EXPECT_EQ(PG(1), RET(sendfile(self->fd, memfd, &in_off, PG(2) - 1)));
	EXPECT_EQ(PG(1), (size_t)in_off);
	EXPECT_EQ(-EINVAL, RET(sendfile(self->fd, memfd, &in_off, PG(1) - 1)));
	EXPECT_EQ(PG(1), (size_t)in_off);
	EXPECT_EQ(PG(4), RET(lseek(self->fd, 0, SEEK_CUR)));
	close(memfd);
}

TEST_F(write, splice)
{
	loff_t off = PG(2);
	int pipefd[2];

	ASSERT_EQ(0, pipe(pipefd));
	ASSERT_EQ(PG(8), RET(write(pipefd[1], self->src, PG(8))));

	EXPECT_EQ(PG(3), RET(splice(pipefd[0], NULL, self->fd, &off, PG(3), 0)));
	EXPECT_EQ(PG(5), (size_t)off);
	EXPECT_EQ(0, RET(lseek(self->fd, 0, SEEK_CUR)));

	/* Without an offset the position of the file is used, and moved. */
	ASSERT_EQ(PG(10), RET(lseek(self->fd, PG(10), SEEK_SET)));
	EXPECT_EQ(PG(3), RET(splice(pipefd[0], NULL, self->fd, NULL, PG(3), 0)));
	EXPECT_EQ(PG(13), RET(lseek(self->fd, 0, SEEK_CUR)));

	/* Neither out of bounds nor to the middle of a page. */
	off = FILE_SIZE;
	EXPECT_EQ(-EINVAL, RET(splice(pipefd[0], NULL, self->fd, &off, PG(2), 0)));
	off = FILE_SIZE - PG(1);
	EXPECT_EQ(-EINVAL, RET(splice(pipefd[0], NULL, self->fd, &off, PG(2), 0)));
	off = 100;
	EXPECT_EQ(-EINVAL, RET(splice(pipefd[0], NULL, self->fd, &off, PG(2), 0)));
	EXPECT_EQ(100, off);
	EXPECT_EQ(PG(2), pipe_queued(pipefd[0]));

	/* Whole pages, of what is asked for as of what there is. */
	off = PG(20);
	EXPECT_EQ(-EINVAL, RET(splice(pipefd[0], NULL, self->fd, &off, PG(1) - 1, 0)));
	EXPECT_EQ(PG(2), pipe_queued(pipefd[0]));
	EXPECT_EQ(PG(1), RET(splice(pipefd[0], NULL, self->fd, &off, PG(2) - 1, 0)));
	EXPECT_EQ(PG(1), RET(splice(pipefd[0], NULL, self->fd, &off, PG(2), 0)));
	EXPECT_EQ(PG(22), (size_t)off);

	/* Nothing to take isn't an error. */
	EXPECT_EQ(0, RET(splice(pipefd[0], NULL, self->fd, &off, 0, 0)));
	EXPECT_EQ(-EAGAIN, RET(splice(pipefd[0], NULL, self->fd, &off, PG(1),
				      SPLICE_F_NONBLOCK)));
	close(pipefd[1]);
	EXPECT_EQ(0, RET(splice(pipefd[0], NULL, self->fd, &off, PG(1), 0)));
	EXPECT_EQ(PG(22), (size_t)off);

	EXPECT_EQ(PG(2), RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(PG(5), RET(lseek(self->fd, PG(2), SEEK_HOLE)));
	EXPECT_EQ(PG(10), RET(lseek(self->fd, PG(5), SEEK_DATA)));
	EXPECT_EQ(PG(13), RET(lseek(self->fd, PG(10), SEEK_HOLE)));
	EXPECT_EQ(PG(20), RET(lseek(self->fd, PG(13), SEEK_DATA)));
	EXPECT_EQ(PG(22), RET(lseek(self->fd, PG(20), SEEK_HOLE)));
	EXPECT_BYTES(self->mem + PG(2), self->src, PG(3));
	EXPECT_BYTES(self->mem + PG(10), self->src + PG(3), PG(3));
	EXPECT_BYTES(self->mem + PG(20), self->src + PG(6), PG(2));
}

/* The pages of the file needn't have been pages of the pipe. */
TEST_F(write, splice_odd_chunks)
{
	const size_t chunk = 1000;
	const size_t len = PG(3) + 500;
	loff_t off = 0;
	int pipefd[2];
	size_t i;

	/* In packet mode every write has a buffer of its own. */
	ASSERT_EQ(0, pipe2(pipefd, O_DIRECT));
	ASSERT_LE((long)PG(64), RET(fcntl(pipefd[1], F_SETPIPE_SZ, PG(64))));
	for (i = 0; i < len; i += chunk) {
		ASSERT_EQ(min(chunk, len - i),
			  RET(write(pipefd[1], self->src + i, min(chunk, len - i))));
	}

	EXPECT_EQ(PG(2), RET(splice(pipefd[0], NULL, self->fd, &off, PG(2), 0)));
	EXPECT_EQ(PG(2), (size_t)off);
	EXPECT_EQ(PG(1) + 500, pipe_queued(pipefd[0]));
	EXPECT_EQ(PG(1), RET(splice(pipefd[0], NULL, self->fd, &off, PG(4), 0)));
	EXPECT_EQ(PG(3), (size_t)off);

	/* What's left is less than a page, and stays for another reader. */
	close(pipefd[1]);
	EXPECT_EQ(-EINVAL, RET(splice(pipefd[0], NULL, self->fd, &off, PG(1), 0)));
	EXPECT_EQ(PG(3), (size_t)off);
	EXPECT_EQ(500, pipe_queued(pipefd[0]));

	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_BYTES(self->mem, self->src, PG(3));
}

/* The pages of the pipe may be mapped, and may be the file's own. */
TEST_F(write, vmsplice)
{
	struct iovec iov = { .iov_base = self->src, .iov_len = PG(4) };
	int pipefd[2];

	ASSERT_EQ(0, pipe(pipefd));
	ASSERT_EQ(PG(4), RET(vmsplice(pipefd[1], &iov, 1, 0)));
	EXPECT_EQ(PG(4), RET(splice(pipefd[0], NULL, self->fd, NULL, PG(4), 0)));
	EXPECT_BYTES(self->mem, self->src, PG(4));

	iov.iov_base = self->mem;
	ASSERT_EQ(PG(4), RET(vmsplice(pipefd[1], &iov, 1, 0)));
	ASSERT_EQ(PG(2), RET(lseek(self->fd, PG(2), SEEK_SET)));
	EXPECT_EQ(PG(4), RET(splice(pipefd[0], NULL, self->fd, NULL, PG(4), 0)));
	EXPECT_BYTES(self->mem, self->src, PG(2));
	EXPECT_BYTES(self->mem + PG(2), self->src, PG(2));
}

/*
 * Races.  They can only show that something is wrong, and so are bounded by a
 * number of rounds, small enough for an emulator.
 */

/* Each page is the same page of one of those given, never of several. */
#define EXPECT_WHOLE(got, nr, ...)					\
	expect_whole(_metadata, __LINE__, got, nr,			\
		     (const u8 *[]){ __VA_ARGS__, NULL })

static void expect_whole(struct __test_metadata *_metadata, int line,
			 const u8 *got, size_t nr, const u8 **wanted)
{
	const u8 **want;
	size_t i;

	for (i = 0; i < PG(nr); i += page_size) {
		for (want = wanted; *want; want++)
			if (!memcmp(got + i, *want + i, page_size))
				break;

		EXPECT_NE(NULL, *want) {
			TH_LOG("line %d: page %zu is torn, its first word is 0x%lx",
			       line, i / page_size, *(long *)(got + i));
			return;
		}
	}
}

struct racer {
	pthread_t thread;
	/* Held at both ends of each round. */
	pthread_barrier_t *barrier;
	int rounds;
	int fd;
	u8 *src;
	size_t len;
	off_t off;
	/* The distance to the next piece of @len bytes, if not all at once. */
	size_t stride;
	long ret;
};

static void *race_to_write(void *arg)
{
	struct racer *racer = arg;
	size_t done;
	int i;

	for (i = 0; i < racer->rounds; i++) {
		if (racer->barrier)
			pthread_barrier_wait(racer->barrier);

		for (done = 0; done + racer->off < FILE_SIZE; done += racer->stride) {
			racer->ret = RET(pwrite(racer->fd, racer->src + done,
						racer->len, racer->off + done));
			if (racer->ret < 0 || !racer->stride)
				break;
		}

		if (racer->barrier)
			pthread_barrier_wait(racer->barrier);
		else if (racer->ret < 0)
			break;
	}
	return NULL;
}

TEST_F(write, parallel_writers)
{
	struct racer racers[4];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		racers[i] = (struct racer) {
			.rounds = 10,
			.fd = self->fd,
			.src = self->src + PG(i),
			.len = PG(1),
			.off = PG(i),
			.stride = PG(ARRAY_SIZE(racers)),
		};
		kvm_pthread_create(&racers[i].thread, NULL, race_to_write, &racers[i]);
	}

	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		kvm_pthread_join(racers[i].thread, NULL);
		EXPECT_EQ(PG(1), racers[i].ret)
			TH_LOG("writer %zu", i);
	}
	EXPECT_BYTES(self->mem, self->src, FILE_SIZE);
}

/* The last one wins each page, and wins all of it. */
TEST_F(write, writers_race)
{
	const size_t nr = 70;
	const int rounds = 120;
	pthread_barrier_t barrier;
	struct racer racers[2];
	int round;
	size_t i;

	pthread_barrier_init(&barrier, NULL, ARRAY_SIZE(racers) + 1);
	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		racers[i] = (struct racer) {
			.barrier = &barrier,
			.rounds = rounds,
			.fd = self->fd,
			.src = self->src + PG(i * nr),
			.len = PG(nr),
		};
		kvm_pthread_create(&racers[i].thread, NULL, race_to_write, &racers[i]);
	}

	for (round = 0; round < rounds; round++) {
		/* To insert pages, and then to replace what's in them. */
		if (round % 2)
			punch(self->fd, 0, FILE_SIZE);

		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);

		for (i = 0; i < ARRAY_SIZE(racers); i++) {
			ASSERT_EQ(PG(nr), racers[i].ret)
				TH_LOG("writer %zu in round %d", i, round);
		}
		EXPECT_WHOLE(self->mem, nr, racers[0].src, racers[1].src);
		ASSERT_EQ(KSFT_PASS, _metadata->exit_code)
			TH_LOG("in round %d", round);
	}

	for (i = 0; i < ARRAY_SIZE(racers); i++)
		kvm_pthread_join(racers[i].thread, NULL);
}

/* Between finding that a page is absent and inserting one, others may do so. */
TEST_F(write, race_for_one_page)
{
	u8 *zero = map_anon(PG(1));
	const int rounds = 2000;
	struct racer racers[2];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		racers[i] = (struct racer) {
			.rounds = rounds,
			.fd = self->fd,
			.src = self->src + PG(i),
			.len = PG(1),
		};
		kvm_pthread_create(&racers[i].thread, NULL, race_to_write, &racers[i]);
	}

	for (i = 0; i < rounds; i++)
		punch(self->fd, 0, PG(1));

	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		kvm_pthread_join(racers[i].thread, NULL);
		EXPECT_EQ(PG(1), racers[i].ret)
			TH_LOG("writer %zu", i);
	}
	EXPECT_WHOLE(self->mem, 1, racers[0].src, racers[1].src, zero);
}

TEST_F(write, punch_hole_races)
{
	const size_t nr = 70;
	const int rounds = 40;
	u8 *zero = map_anon(PG(nr));
	pthread_barrier_t barrier;
	struct racer racer = {
		.barrier = &barrier,
		.rounds = rounds,
		.fd = self->fd,
		.src = self->src,
		.len = PG(nr),
	};
	size_t page;
	int round;

	pthread_barrier_init(&barrier, NULL, 2);
	kvm_pthread_create(&racer.thread, NULL, race_to_write, &racer);

	for (round = 0; round < rounds; round++) {
		pthread_barrier_wait(&barrier);
		for (page = 0; page < nr; page += round % 7 + 1)
			punch(self->fd, PG(page), PG(round % 7 + 1));
		pthread_barrier_wait(&barrier);

		ASSERT_EQ(PG(nr), racer.ret);
		EXPECT_WHOLE(self->mem, nr, self->src, zero);
		ASSERT_EQ(KSFT_PASS, _metadata->exit_code)
			TH_LOG("in round %d", round);
	}
	kvm_pthread_join(racer.thread, NULL);

	ASSERT_EQ(PG(nr), RET(pwrite(self->fd, self->src, PG(nr), 0)));
	EXPECT_BYTES(self->mem, self->src, PG(nr));
}

/* Whoever comes first, the page that gets mapped is the page in the file. */
TEST_F(write, faults_race)
{
	const size_t nr = 70;
	const int rounds = 40;
	pthread_barrier_t barrier;
	struct racer racer = {
		.barrier = &barrier,
		.rounds = rounds,
		.fd = self->fd,
		.src = self->src,
		.len = PG(nr),
	};
	size_t page;
	int round;

	pthread_barrier_init(&barrier, NULL, 2);
	kvm_pthread_create(&racer.thread, NULL, race_to_write, &racer);

	for (round = 0; round < rounds; round++) {
		punch(self->fd, 0, FILE_SIZE);

		pthread_barrier_wait(&barrier);
		for (page = 0; page < nr; page++)
			READ_ONCE(self->mem[PG(round % 2 ? nr - page - 1 : page)]);
		pthread_barrier_wait(&barrier);

		ASSERT_EQ(PG(nr), racer.ret);
		EXPECT_BYTES(self->mem, self->src, PG(nr));
		ASSERT_EQ(KSFT_PASS, _metadata->exit_code)
			TH_LOG("in round %d", round);
	}
	kvm_pthread_join(racer.thread, NULL);
}

/*
 * Have whoever reads @page wait until it's resolved.  Returns a userfaultfd, or
 * -1 if the kernel or the administrator doesn't let us.
 */
static int block_page(void *page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (unsigned long)page, .len = page_size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd;

	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (uffd < 0)
		return -1;

	kvm_madvise(page, page_size, MADV_DONTNEED);
	TEST_ASSERT(!ioctl(uffd, UFFDIO_API, &api), "UFFDIO_API failed");
	TEST_ASSERT(!ioctl(uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER failed");
	return uffd;
}

static void wait_for_blocked_reader(int uffd)
{
	struct uffd_msg msg;

	TEST_ASSERT_EQ(read(uffd, &msg, sizeof(msg)), (ssize_t)sizeof(msg));
	TEST_ASSERT_EQ(msg.event, UFFD_EVENT_PAGEFAULT);
}

static void resolve_page(int uffd, void *page, const void *src)
{
	struct uffdio_copy copy = {
		.dst = (unsigned long)page,
		.src = (unsigned long)src,
		.len = page_size,
	};

	TEST_ASSERT(!ioctl(uffd, UFFDIO_COPY, &copy), "UFFDIO_COPY failed");
}

/* A source that takes forever to read holds nobody else up. */
TEST_F(write, blocked_source)
{
	const size_t nr = 80, bad = 70;
	u8 *src = map_anon(PG(nr)), *other = map_anon(PG(nr));
	struct racer racer = {
		.rounds = 1,
		.fd = self->fd,
		.src = src,
		.len = PG(nr),
	};
	int uffd;

	memcpy(src, self->src, PG(nr));
	fill_pattern(other, PG(nr), 5);
	uffd = block_page(src + PG(bad));
	if (uffd < 0)
		SKIP(return, "no userfaultfd");

	kvm_pthread_create(&racer.thread, NULL, race_to_write, &racer);
	wait_for_blocked_reader(uffd);

	EXPECT_EQ(PG(nr), RET(pwrite(self->fd, other, PG(nr), 0)));
	EXPECT_BYTES(self->mem, other, PG(nr));
	punch(self->fd, PG(5), PG(1));
	punch(self->fd, PG(bad), PG(1));
	kvm_fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 0, PG(nr));
	EXPECT_FILL(self->mem + PG(bad), 0, PG(1));

	resolve_page(uffd, src + PG(bad), self->src + PG(bad));
	kvm_pthread_join(racer.thread, NULL);
	EXPECT_EQ(PG(nr), racer.ret);

	/* It is up to KVM which pages it had written before it was blocked. */
	memset(other + PG(5), 0, page_size);
	EXPECT_WHOLE(self->mem, bad, self->src, other);
	EXPECT_BYTES(self->mem + PG(bad), self->src + PG(bad), PG(nr - bad));
	close(uffd);
}

/*
 * However long a write is, it holds no more memory beyond what it has put into
 * the file than a batch of pages.
 */
TEST_F(write, holds_one_batch)
{
	const size_t nr = 2048, bad = 2000, batch = 64;
	u8 *src = map_anon(PG(nr));
	struct racer racer = {
		.rounds = 1,
		.fd = vm_create_guest_memfd(self->vm, PG(nr), WRITE_FLAGS),
		.src = src,
		.len = PG(nr),
	};
	int uffd;

	uffd = block_page(src + PG(bad));
	if (uffd < 0)
		SKIP(return, "no userfaultfd");

	kvm_pthread_create(&racer.thread, NULL, race_to_write, &racer);
	wait_for_blocked_reader(uffd);
	EXPECT_GE(RET(lseek(racer.fd, 0, SEEK_HOLE)), PG(bad - batch));

	resolve_page(uffd, src + PG(bad), self->src);
	kvm_pthread_join(racer.thread, NULL);
	EXPECT_EQ(PG(nr), racer.ret);
	close(uffd);
	close(racer.fd);
}

static void *write_at_position(void *arg)
{
	struct racer *racer = arg;

	racer->ret = RET(write(racer->fd, racer->src, racer->len));
	return NULL;
}

/* Of two threads that write at the file position one waits for the other. */
TEST_F(write, position_is_exclusive)
{
	u8 *src = map_anon(PG(2));
	struct racer first = { .fd = self->fd, .src = src, .len = PG(2) };
	struct racer second = { .fd = self->fd, .src = self->src + PG(2), .len = PG(1) };
	int uffd;

	memcpy(src, self->src, PG(2));
	uffd = block_page(src + PG(1));
	if (uffd < 0)
		SKIP(return, "no userfaultfd");

	kvm_pthread_create(&first.thread, NULL, write_at_position, &first);
	wait_for_blocked_reader(uffd);

	/* If the second is late it finds the first done, and all is well, too. */
	kvm_pthread_create(&second.thread, NULL, write_at_position, &second);
	usleep(20000);
	resolve_page(uffd, src + PG(1), self->src + PG(1));

	kvm_pthread_join(first.thread, NULL);
	kvm_pthread_join(second.thread, NULL);
	EXPECT_EQ(PG(2), first.ret);
	EXPECT_EQ(PG(1), second.ret);
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_BYTES(self->mem, self->src, PG(3));
	close(uffd);
}

/* Die while KVM copies, and leave whole pages, none of them locked. */
TEST_F(write, killed_while_copying)
{
	const size_t nr = 80, bad = 70;
	u8 *zero = map_anon(PG(nr));
	int sock[2], status, uffd;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		close(sock[0]);
		uffd = block_page(self->src + PG(bad));
		if (uffd < 0)
			_exit(0);

		send_fd(sock[1], uffd);
		_exit(pwrite(self->fd, self->src, PG(nr), 0) < 0);
	}
	close(sock[1]);

	uffd = recv_fd(sock[0]);
	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	wait_for_blocked_reader(uffd);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));

	EXPECT_WHOLE(self->mem, bad, self->src, zero);
	EXPECT_FILL(self->mem + PG(bad), 0, PG(nr - bad));

	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_BYTES(self->mem, self->src, FILE_SIZE);
}

/* Die anywhere. */
TEST_F(write, killed)
{
	u8 *other = map_anon(FILE_SIZE), *zero = map_anon(FILE_SIZE);
	int round, status;
	pid_t pid;

	fill_pattern(other, FILE_SIZE, 6);

	for (round = 0; round < 10; round++) {
		punch(self->fd, 0, FILE_SIZE);

		pid = fork();
		ASSERT_NE(-1, pid);
		while (!pid) {
			pwrite(self->fd, self->src, FILE_SIZE, 0);
			pwrite(self->fd, other, FILE_SIZE, 0);
		}

		usleep(5000 + 777 * round);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));

		EXPECT_WHOLE(self->mem, NR_PAGES, self->src, other, zero);
		ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
		EXPECT_BYTES(self->mem, self->src, FILE_SIZE);
		ASSERT_EQ(KSFT_PASS, _metadata->exit_code)
			TH_LOG("in round %d", round);
	}
}

static long mem_available(void)
{
	char line[128];
	long kib = -1;
	FILE *f;

	f = fopen("/proc/meminfo", "r");
	TEST_ASSERT(f, "Cannot open /proc/meminfo, errno = %d", errno);
	while (kib < 0 && fgets(line, sizeof(line), f))
		sscanf(line, "MemAvailable: %ld", &kib);
	fclose(f);

	TEST_ASSERT(kib >= 0, "No MemAvailable in /proc/meminfo");
	return kib * SZ_1K;
}

/*
 * The pages of a write that fails, or overwrites, are nobody's in the end, and
 * no memory cgroup's either.  Enough of them would be missed in any system.
 * Slow with the checks of a debug kernel.
 */
TEST_F_TIMEOUT(write, leaks_nothing, 120)
{
	u8 *bad = map_bad_source(SOURCE_PROT_NONE, self->src, 64, 0);
	const int rounds = 200;
	long before, after;
	int i;

	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));

	before = mem_available();
	for (i = 0; i < rounds; i++) {
		ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
		ASSERT_EQ(-EFAULT, RET(pwrite(self->fd, bad, PG(64), 0)));
		punch(self->fd, 0, PG(64));
	}
	after = mem_available();

	EXPECT_LT(before - after, (long)PG(64) * rounds / 2)
		TH_LOG("available memory went from %ld to %ld", before, after);
}

#define EXPECT_ON_NODE(mem, nr, node)				\
	expect_on_node(_metadata, __LINE__, mem, nr, node)

static void expect_on_node(struct __test_metadata *_metadata, int line,
			   u8 *mem, size_t nr, int node)
{
	int status;
	size_t i;

	for (i = 0; i < nr; i++) {
		void *page = mem + PG(i);

		READ_ONCE(mem[PG(i)]);
		kvm_move_pages(0, 1, &page, NULL, &status, 0);
		EXPECT_EQ(node, status)
			TH_LOG("line %d: page %zu", line, i);
	}
}

/* One node at least isn't the one that pages come from by default. */
static const unsigned long node_mask[] = { BIT(0), BIT(1) };

#define MAXNODE		BITS_PER_TYPE(node_mask[0])

TEST_F(write, mempolicy_of_file)
{
	if (!is_multi_numa_node_system())
		SKIP(return, "fewer than two NUMA nodes");

	kvm_mbind(self->mem, PG(10), MPOL_BIND, &node_mask[0], MAXNODE, 0);
	kvm_mbind(self->mem + PG(10), PG(70), MPOL_BIND, &node_mask[1], MAXNODE, 0);
	kvm_mbind(self->mem + PG(80), PG(1), MPOL_BIND, &node_mask[0], MAXNODE, 0);
	kvm_mbind(self->mem + PG(81), PG(9), MPOL_BIND, &node_mask[1], MAXNODE, 0);
	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));

	EXPECT_ON_NODE(self->mem, 10, 0);
	EXPECT_ON_NODE(self->mem + PG(10), 70, 1);
	EXPECT_ON_NODE(self->mem + PG(80), 1, 0);
	EXPECT_ON_NODE(self->mem + PG(81), 9, 1);
	EXPECT_BYTES(self->mem, self->src, FILE_SIZE);
}

TEST_F(write, mempolicy_of_task)
{
	int node;

	if (!is_multi_numa_node_system())
		SKIP(return, "fewer than two NUMA nodes");

	for (node = 0; node < 2; node++) {
		kvm_set_mempolicy(MPOL_BIND, &node_mask[node], MAXNODE);
		ASSERT_EQ(PG(70), RET(pwrite(self->fd, self->src, PG(70), PG(node * 70))));
		EXPECT_ON_NODE(self->mem + PG(node * 70), 70, node);
	}

	/* The policy of the file has precedence. */
	kvm_mbind(self->mem + PG(140), PG(1), MPOL_BIND, &node_mask[0], MAXNODE, 0);
	ASSERT_EQ(PG(2), RET(pwrite(self->fd, self->src, PG(2), PG(140))));
	EXPECT_ON_NODE(self->mem + PG(140), 1, 0);
	EXPECT_ON_NODE(self->mem + PG(141), 1, 1);
	kvm_set_mempolicy(MPOL_DEFAULT, NULL, 0);
}

TEST_F(write, mempolicy_interleave)
{
	const unsigned long both = node_mask[0] | node_mask[1];
	void *pages[NR_PAGES];
	int status[NR_PAGES];
	size_t i, on_node1 = 0;

	if (!is_multi_numa_node_system())
		SKIP(return, "fewer than two NUMA nodes");

	kvm_mbind(self->mem, FILE_SIZE, MPOL_INTERLEAVE, &both, MAXNODE, 0);
	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_BYTES(self->mem, self->src, FILE_SIZE);

	for (i = 0; i < NR_PAGES; i++)
		pages[i] = self->mem + PG(i);
	kvm_move_pages(0, NR_PAGES, pages, NULL, status, 0);
	for (i = 0; i < NR_PAGES; i++)
		on_node1 += status[i] == 1;
	EXPECT_EQ(NR_PAGES / 2, on_node1);
}

FIXTURE(memcg) {
	char root[PATH_MAX / 2];
	char cgroup[PATH_MAX];
	struct kvm_vm *vm;
	size_t size;
	int fd;
	u8 *src;
};

FIXTURE_SETUP(memcg)
{
	if (cg_find_unified_root(self->root, sizeof(self->root), NULL) ||
	    cg_read_strstr(self->root, "cgroup.controllers", "memory"))
		SKIP(return, "no memory controller of cgroup v2");

	cg_write(self->root, "cgroup.subtree_control", "+memory");
	snprintf(self->cgroup, sizeof(self->cgroup), "%s/guest_memfd_write_test.%d",
		 self->root, getpid());
	if (cg_create(self->cgroup))
		SKIP(return, "cannot create a cgroup: %s", strerror(errno));

	self->size = SZ_8M;
	self->vm = vm_create_barebones();
	self->fd = vm_create_guest_memfd(self->vm, self->size, WRITE_FLAGS);
	self->src = map_anon(self->size);
	fill_pattern(self->src, self->size, 7);

	ASSERT_EQ(0, cg_enter_current(self->cgroup));
}

FIXTURE_TEARDOWN(memcg)
{
	close(self->fd);
	kvm_vm_free(self->vm);
	EXPECT_EQ(0, cg_enter_current(self->root));
	EXPECT_EQ(0, cg_destroy(self->cgroup));
}

/* Whoever writes pays, as whoever faults does. */
TEST_F(memcg, charge)
{
	long before, after;

	before = cg_read_long(self->cgroup, "memory.current");
	ASSERT_EQ(self->size, RET(pwrite(self->fd, self->src, self->size, 0)));
	after = cg_read_long(self->cgroup, "memory.current");
	EXPECT_TRUE(values_close(after - before, self->size, 5))
		TH_LOG("memory.current went from %ld to %ld", before, after);

	before = after;
	ASSERT_EQ(self->size, RET(pwrite(self->fd, self->src, self->size, 0)));
	after = cg_read_long(self->cgroup, "memory.current");
	EXPECT_GE(SZ_512K, labs(after - before))
		TH_LOG("memory.current went from %ld to %ld", before, after);

	before = after;
	punch(self->fd, 0, self->size);
	after = cg_read_long(self->cgroup, "memory.current");
	EXPECT_TRUE(values_close(before - after, self->size, 5))
		TH_LOG("memory.current went from %ld to %ld", before, after);
}

/* What's there already has been paid for. */
TEST_F(memcg, overwrite_at_limit)
{
	long limit;

	ASSERT_EQ(self->size, RET(pwrite(self->fd, self->src, self->size, 0)));

	/* A few pages for whatever else the kernel wants to charge meanwhile. */
	limit = cg_read_long(self->cgroup, "memory.current") + PG(16);
	ASSERT_EQ(0, cg_write_numeric(self->cgroup, "memory.max", limit));

	EXPECT_EQ(self->size, RET(pwrite(self->fd, self->src, self->size, 0)));
	EXPECT_EQ(0, cg_read_key_long(self->cgroup, "memory.events", "oom "));
	EXPECT_EQ(0, cg_write(self->cgroup, "memory.max", "max"));
}

TEST_F(write, hwpoison)
{
	const size_t bad = 70;
	int status;
	pid_t pid;

	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));

	/*
	 * Whoever has the page mapped can get a SIGBUS.  KVM keeps it in the
	 * file, which counts as a failure (EBUSY) to recover from the error.
	 */
	pid = fork();
	ASSERT_NE(-1, pid);
	if (!pid) {
		READ_ONCE(self->mem[PG(bad)]);
		_exit(madvise(self->mem + PG(bad), PG(1), MADV_HWPOISON) ? errno : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WIFEXITED(status) && (WEXITSTATUS(status) == EINVAL ||
				  WEXITSTATUS(status) == EPERM))
		SKIP(return, "MADV_HWPOISON: %s", strerror(WEXITSTATUS(status)));

	EXPECT_EQ(-EHWPOISON, RET(pwrite(self->fd, self->src, PG(1), PG(bad))));
	EXPECT_EQ(-EHWPOISON, RET(pwrite(self->fd, self->src, PG(5), PG(bad))));
	EXPECT_EQ(PG(bad), RET(pwrite(self->fd, self->src + PG(1), PG(80), 0)));
	EXPECT_BYTES(self->mem, self->src + PG(1), PG(bad));
	EXPECT_BYTES(self->mem + PG(bad + 1), self->src + PG(bad + 1),
		     FILE_SIZE - PG(bad + 1));

	/* A hole takes the poison with it. */
	punch(self->fd, PG(bad), PG(1));
	EXPECT_EQ(PG(1), RET(pwrite(self->fd, self->src, PG(1), PG(bad))));
	EXPECT_BYTES(self->mem + PG(bad), self->src, PG(1));
}

/*
 * What is written is what a vCPU sees.  Memory above 4GiB is free for use by
 * tests, in any slot other than the first.
 */
#define GUEST_GPA	SZ_4G
#define GUEST_SLOT	1

static u64 sum(const u64 *mem, size_t size)
{
	u64 total = 0;
	size_t i;

	/* So that words that change places change the result. */
	for (i = 0; i < size / sizeof(*mem); i++)
		total = total * 3 + READ_ONCE(mem[i]);
	return total;
}

/* Report the sum again and again, and fill memory with @val before the third. */
static void guest_code(u64 *mem, u64 size, u64 val)
{
	u64 i, n;

	for (n = 0; ; n++) {
		if (n == 2)
			for (i = 0; i < size / sizeof(*mem); i++)
				WRITE_ONCE(mem[i], val);
		GUEST_SYNC1(sum(mem, size));
	}
}

FIXTURE(guest) {
	struct kvm_vcpu *vcpu;
	int fd;
	size_t size;
	u8 *mem;
	u8 *src;
};

/* A vCPU whose memory at GUEST_GPA is a new guest_memfd of @size. */
static struct kvm_vcpu *create_guest(size_t *size, int *fd, u64 flags)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = __vm_create_shape_with_one_vcpu(VM_SHAPE_DEFAULT, &vcpu, 1, guest_code);
	*size = align_up(PG(70), vm->page_size);
	*fd = vm_create_guest_memfd(vm, *size, flags);

	vm_set_user_memory_region2(vm, GUEST_SLOT, KVM_MEM_GUEST_MEMFD, GUEST_GPA,
				   *size, NULL, *fd, 0);
	virt_map(vm, GUEST_GPA, GUEST_GPA, *size / vm->page_size);
	vcpu_args_set(vcpu, 3, GUEST_GPA, *size, 0x5a5a5a5a5a5a5a5aull);

	return vcpu;
}

FIXTURE_SETUP(guest)
{
	self->vcpu = create_guest(&self->size, &self->fd, WRITE_FLAGS);
	self->mem = kvm_mmap(self->size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd);
	self->src = map_anon(self->size + PG(1));
	fill_pattern(self->src, self->size + PG(1), 8);
}

FIXTURE_TEARDOWN(guest)
{
	close(self->fd);
	kvm_vm_free(self->vcpu->vm);
}

static u64 guest_sum(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_SYNC:
		return uc.args[0];
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	default:
		TEST_FAIL("Unexpected ucall %lu", uc.cmd);
	}
}

#define host_sum(mem, size) sum((u64 *)(mem), size)

TEST_F(guest, reads_what_was_written)
{
	const size_t size = self->size;
	u64 filled;

	ASSERT_EQ(size, RET(pwrite(self->fd, self->src, size, 0)));
	EXPECT_EQ(host_sum(self->src, size), guest_sum(self->vcpu));

	/* By now the vCPU has mapped every page. */
	ASSERT_EQ(size, RET(pwrite(self->fd, self->src + PG(1), size, 0)));
	EXPECT_EQ(host_sum(self->src + PG(1), size), guest_sum(self->vcpu));
	EXPECT_BYTES(self->mem, self->src + PG(1), size);

	/* The vCPU writes, then so does the host. */
	filled = guest_sum(self->vcpu);
	EXPECT_FILL(self->mem, 0x5a, size);
	EXPECT_EQ(host_sum(self->mem, size), filled);
	ASSERT_EQ(PG(3), RET(pwrite(self->fd, self->src, PG(3), PG(1))));
	EXPECT_FILL(self->mem, 0x5a, PG(1));
	EXPECT_BYTES(self->mem + PG(1), self->src, PG(3));
	EXPECT_FILL(self->mem + PG(4), 0x5a, size - PG(4));
	EXPECT_EQ(host_sum(self->mem, size), guest_sum(self->vcpu));
}

/* Nobody but the guest sees this memory: the file can be written, not mapped. */
TEST(guest_reads_file_without_mmap)
{
	struct kvm_vcpu *vcpu;
	size_t size;
	u8 *src;
	int fd;

	vcpu = create_guest(&size, &fd, GUEST_MEMFD_FLAG_INIT_SHARED |
					GUEST_MEMFD_FLAG_WRITE);
	src = map_anon(size + PG(1));
	fill_pattern(src, size + PG(1), 9);

	ASSERT_EQ(size, RET(pwrite(fd, src, size, 0)));
	EXPECT_EQ(host_sum(src, size), guest_sum(vcpu));
	ASSERT_EQ(size, RET(pwrite(fd, src + PG(1), size, 0)));
	EXPECT_EQ(host_sum(src + PG(1), size), guest_sum(vcpu));

	close(fd);
	kvm_vm_free(vcpu->vm);
}

TEST_F(guest, sees_hole_refilled)
{
	const size_t size = self->size;
	u64 old, new;

	ASSERT_EQ(size, RET(pwrite(self->fd, self->src, size, 0)));
	old = guest_sum(self->vcpu);
	EXPECT_EQ(host_sum(self->src, size), old);

	punch(self->fd, PG(2), PG(66));
	ASSERT_EQ(PG(66), RET(pwrite(self->fd, self->src, PG(66), PG(2))));
	new = guest_sum(self->vcpu);
	EXPECT_NE(old, new);
	EXPECT_EQ(host_sum(self->mem, size), new);
	EXPECT_BYTES(self->mem + PG(2), self->src, PG(66));
}

TEST_F(guest, reads_through_splice)
{
	const size_t size = self->size;
	int memfd = create_memfd(self->src, size);

	ASSERT_EQ(size, RET(sendfile(self->fd, memfd, NULL, size)));
	EXPECT_EQ(host_sum(self->src, size), guest_sum(self->vcpu));
	close(memfd);
}

static void *run_guest(void *arg)
{
	struct kvm_vcpu *vcpu = arg;
	int i;

	for (i = 0; i < 40; i++)
		guest_sum(vcpu);
	return NULL;
}

TEST_F(guest, races)
{
	const size_t size = self->size;
	pthread_t thread;
	int i;

	kvm_pthread_create(&thread, NULL, run_guest, self->vcpu);
	for (i = 0; i < 40; i++) {
		if (i % 2)
			punch(self->fd, 0, size);
		ASSERT_EQ(size, RET(pwrite(self->fd, self->src + i * 8, size, 0)));
	}
	kvm_pthread_join(thread, NULL);

	ASSERT_EQ(size, RET(pwrite(self->fd, self->src, size, 0)));
	EXPECT_EQ(host_sum(self->src, size), guest_sum(self->vcpu));
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GUEST_MEMFD_FLAG_WRITE);

	page_size = getpagesize();

	return test_harness_run(argc, argv);
}
