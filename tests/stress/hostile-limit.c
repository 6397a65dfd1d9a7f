// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits: of memory cgroups, of resources, of what fits into the arguments of
 * a system call.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include <linux/sizes.h>

#include "cgroup_util.h"
#include "common/fixture.h"

/* Linux's MAX_RW_COUNT: what one call transfers at most. */
#define MAX_COUNT	(INT_MAX & -PAGE_BYTES)

/* For requests that are to get far without much memory: a page, then none. */
static u8 *map_page_before_nothing(void)
{
	u8 *mem = kvm_mmap(SZ_4G, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	TEST_ASSERT(!mprotect(mem, PG(1), PROT_READ | PROT_WRITE), "mprotect() failed");
	fill_pages(mem, 1, 0, 2, 1);
	return mem;
}

TEST_F(file, lengths)
{
	u8 *mem = map_page_before_nothing();
	/* What a file of some pages says, and one that is larger than any count. */
	const struct { size_t len; long small, large, vector; } requests[] = {
		{ INT_MAX - 4095ul, -EINVAL, PG(1), PG(1) },
		{ INT_MAX - 4096ul, -EINVAL, -EINVAL, -EINVAL },
		{ INT_MAX - 4094ul, -EINVAL, PG(1), PG(1) },
		{ INT_MAX, -EINVAL, PG(1), PG(1) },
		{ INT_MAX + 1ul, -EINVAL, PG(1), PG(1) },
		{ INT_MAX + PG(1) + 1, -EINVAL, PG(1), PG(1) },
		{ UINT_MAX, -EINVAL, PG(1), PG(1) },
		{ UINT_MAX + 1ul, -EINVAL, PG(1), PG(1) },
		/* No buffer is so long, but one of an iovec is cut before it's looked at. */
		{ SSIZE_MAX - 4095ul, -EFAULT, -EFAULT, PG(1) },
		{ SSIZE_MAX, -EFAULT, -EFAULT, PG(1) },
		{ SSIZE_MAX + 1ul, -EFAULT, -EFAULT, -EINVAL },
		{ SIZE_MAX - 4095ul, -EFAULT, -EFAULT, -EINVAL },
		{ SIZE_MAX, -EFAULT, -EFAULT, -EINVAL },
	};
	int large = vm_create_guest_memfd(self->vm, 3ul * SZ_1G, WRITE_FLAGS);
	struct iovec iov;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		iov = (struct iovec) { mem, requests[i].len };
		EXPECT_EQ(requests[i].small, RET(pwrite(self->fd, mem, requests[i].len, 0)))
			TH_LOG("0x%lx bytes", requests[i].len);
		EXPECT_EQ(requests[i].large, RET(pwrite(large, mem, requests[i].len, 0)))
			TH_LOG("0x%lx bytes", requests[i].len);
		EXPECT_EQ(requests[i].vector, RET(pwritev(large, &iov, 1, 0)))
			TH_LOG("0x%lx bytes", requests[i].len);
		EXPECT_EQ(0, punch(large, 0, PG(1)));
	}
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));
	close(large);
	EXPECT_USABLE(self->fd, self->mem);
}

TEST_F(file, offsets)
{
	const off_t size = LLONG_MAX & -PAGE_BYTES, last = size - PG(1);
	int fd = __vm_create_guest_memfd(self->vm, size, WRITE_FLAGS);
	struct iovec iov = { self->src, PG(1) };
	const struct { off_t off; size_t len; long ret; } requests[] = {
		{ last, PG(1), PG(1) },
		{ last, PG(2), -EINVAL },
		{ last, INT_MAX, -EINVAL },
		{ size, PG(1), -EINVAL },
		{ LLONG_MAX, PG(1), -EINVAL },
		{ LLONG_MAX, 1, -EINVAL },
		{ last - PG(1), PG(2), PG(2) },
		{ last + 1, PG(1) - 1, -EINVAL },
		{ -1, PG(1), -EINVAL },
		{ LLONG_MIN, PG(1), -EINVAL },
		{ -PG(1), PG(2), -EINVAL },
	};
	size_t i;

	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		EXPECT_EQ(requests[i].ret, RET(pwrite(fd, self->src, requests[i].len,
						      requests[i].off)))
			TH_LOG("0x%zx bytes at 0x%lx", requests[i].len, requests[i].off);
	}
	EXPECT_EQ(last - PG(1), RET(lseek(fd, 0, SEEK_DATA)));
	EXPECT_EQ(size, RET(lseek(fd, last, SEEK_HOLE)));

	/* By the file position, too. */
	EXPECT_EQ(last, RET(lseek(fd, last, SEEK_SET)));
	EXPECT_EQ(PG(1), RET(write(fd, self->src, PG(1))));
	EXPECT_EQ(size, RET(lseek(fd, 0, SEEK_CUR)));
	EXPECT_EQ(-EINVAL, RET(write(fd, self->src, PG(1))));
	EXPECT_EQ(-EINVAL, RET(pwritev2(fd, &iov, 1, -1, 0)));
	EXPECT_EQ(-EINVAL, RET(lseek(fd, LLONG_MAX, SEEK_SET)));
	EXPECT_EQ(-EINVAL, RET(lseek(fd, PG(1), SEEK_CUR)));
	EXPECT_EQ(0, punch(fd, 0, size));
	EXPECT_EQ(-ENXIO, RET(lseek(fd, 0, SEEK_DATA)));
	close(fd);
}

/* Linux writes a little less than 2 GiB, with no error, if asked for more. */
TEST_F(file, more_than_a_count)
{
	const size_t chunk = SZ_4M, size = SZ_2G + PG(4);
	struct iovec iov[SZ_2G / SZ_4M + 1];
	size_t i;
	u64 *mem;
	u8 *buf;
	int fd;

	if (meminfo("MemAvailable") < 3l * SZ_1G)
		SKIP(return, "takes 3 GiB of memory");

	buf = map_anon(chunk);
	fill_pages(buf, chunk / PAGE_BYTES, 0, 3, 1);
	for (i = 0; i < ARRAY_SIZE(iov); i++)
		iov[i] = (struct iovec) { buf, chunk };
	fd = vm_create_guest_memfd(self->vm, size, WRITE_FLAGS);
	iov[ARRAY_SIZE(iov) - 1].iov_len = PG(4);

	EXPECT_EQ(MAX_COUNT, RET(writev(fd, iov, ARRAY_SIZE(iov))));
	EXPECT_EQ(MAX_COUNT, RET(lseek(fd, 0, SEEK_CUR)));
	EXPECT_EQ(MAX_COUNT, RET(lseek(fd, 0, SEEK_HOLE)));
	mem = kvm_mmap(size, PROT_READ, MAP_SHARED, fd);
	for (i = 0; i < MAX_COUNT / PAGE_BYTES; i += 509) {
		struct page_view view = examine_page(mem + i * PAGE_WORDS,
						     i % (chunk / PAGE_BYTES));

		EXPECT_EQ(PAGE_WHOLE, view.state)
			TH_LOG("page %zu", i);
	}
	EXPECT_EQ(0, punch(fd, 0, size));
	close(fd);
}

/*
 * Memory cgroups at their limit.
 */

/* So large that it doesn't fit into the group. */
#define BIG_PAGES	4096
#define BIG_SIZE	PG(BIG_PAGES)
#define GROUP_LIMIT	PG(BIG_PAGES / 2)

FIXTURE(limited) {
	FIXTURE_DATA(file) f;
	struct memcg poor;
	int fd;
	u64 *mem;
	u8 *src;
};

FIXTURE_SETUP(limited)
{
	file_setup(_metadata, &self->f, NULL);
	ASSERT_EQ(0, memcg_create(&self->poor, &program_cg, "poor"));
	self->fd = vm_create_guest_memfd(self->f.vm, BIG_SIZE, WRITE_FLAGS);
	self->mem = map_file(self->fd, BIG_SIZE);
	self->src = map_anon(BIG_SIZE);
	fill_pages(self->src, BIG_PAGES, 0, 1, 1);
	ASSERT_EQ(0, cg_write_numeric(self->poor.path, "memory.max", GROUP_LIMIT));
	cg_write(self->poor.path, "memory.swap.max", "0");
}

FIXTURE_TEARDOWN_PARENT(limited)
{
	EXPECT_EQ(0, memcg_settle(&self->poor, SLACK));
	EXPECT_EQ(0, memcg_destroy(&self->poor));
	file_teardown(_metadata, &self->f, NULL);
}

/* What is written is whole, the rest is free, and somebody else can go on. */
static void check_big_file(struct __test_metadata *_metadata, FIXTURE_DATA(limited) *self)
{
	const u64 written = lseek(self->fd, 0, SEEK_HOLE) / PAGE_BYTES;

	EXPECT_GT(GROUP_LIMIT / PAGE_BYTES, written);
	EXPECT_LT(0, written);
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, PG(written), SEEK_DATA)));
	EXPECT_PAGES(self->mem, 0, written, 1, 1);
	EXPECT_EQ(BIG_SIZE, RET(pwrite(self->fd, self->src, BIG_SIZE, 0)));
	EXPECT_PAGES(self->mem, 0, BIG_PAGES, 1, 1);
	EXPECT_EQ(0, punch(self->fd, 0, BIG_SIZE));
}

/* The one that writes too much is the one that is killed, in the middle of it. */
TEST_F(limited, oom_kills_writer)
{
	int status;
	pid_t pid;

	pid = fork_child();
	if (!pid) {
		if (memcg_enter(&self->poor))
			_exit(1);
		pwrite(self->fd, self->src, BIG_SIZE, 0);
		_exit(2);
	}
	status = wait_for(pid);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		TH_LOG("status 0x%x", status);
	EXPECT_LT(0, cg_read_key_long(self->poor.path, "memory.events", "oom_kill "));
	check_big_file(_metadata, self);
}

/* Whoever may not be killed gets what there was room for, and then ENOMEM. */
TEST_F(limited, enomem)
{
	int fd, status;
	long ret, met;
	pid_t pid;
	off_t off;

	fd = cg_open(self->poor.path, "memory.events", O_RDONLY);
	pid = fork_child();
	if (!pid) {
		if (refuse_oom_killer() || memcg_events(fd).max || memcg_enter(&self->poor))
			_exit(1);
		ret = RET(pwrite(self->fd, self->src, BIG_SIZE, 0));
		if (ret <= 0 || ret % PAGE_BYTES || ret >= (long)GROUP_LIMIT)
			_exit(2);
		if (ret != RET(lseek(self->fd, 0, SEEK_HOLE)))
			_exit(3);
		if (RET(pwrite(self->fd, self->src + ret, PG(1), ret)) != -ENOMEM)
			_exit(4);
		met = memcg_events(fd).max;
		if (met <= 0)
			_exit(5);
		/* What is there has been paid for: it can be written all the same. */
		if (pwrite(self->fd, self->src, ret, 0) != ret)
			_exit(6);
		if (pwrite(self->fd, self->src + PG(1), PG(100), PG(1)) != (long)PG(100))
			_exit(7);
		/* Nor was room asked for, not even for a moment. */
		if (memcg_events(fd).max != met)
			_exit(8);
		/* And with a hole there's room again, some of which the kernel may take. */
		if (punch(self->fd, ret - PG(64), PG(64)))
			_exit(9);
		off = ret - PG(64);
		_exit(pwrite(self->fd, self->src + off, PG(20), off) == (long)PG(20) ? 0 : 10);
	}
	close(fd);
	status = wait_for(pid);
	EXPECT_EQ(0, status)
		TH_LOG("status 0x%x", status);
	EXPECT_EQ(0, cg_read_key_long(self->poor.path, "memory.events", "oom_kill "));
	check_big_file(_metadata, self);
}

TEST_NOTHING_IS_LEFT(0)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "hostile-limit");
}
