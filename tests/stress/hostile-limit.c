// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits: of memory cgroups, of resources, of what fits into the arguments of
 * a system call.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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

TEST_F(file, iovecs)
{
	u8 *mem = map_page_before_nothing();
	int large = vm_create_guest_memfd(self->vm, 3ul * SZ_1G, WRITE_FLAGS);
	struct iovec iov[IOV_MAX + 1];
	int i;

	/* Too many, none, and a number that isn't one. */
	for (i = 0; i <= IOV_MAX; i++)
		iov[i] = (struct iovec) { self->src, 4 };
	EXPECT_EQ(PG(1), RET(pwritev(self->fd, iov, IOV_MAX, 0)));
	EXPECT_EQ(-EINVAL, RET(pwritev(self->fd, iov, IOV_MAX + 1, 0)));
	EXPECT_EQ(-EINVAL, RET(syscall(__NR_pwritev, self->fd, iov, (long)-1, 0, 0)));
	EXPECT_EQ(-EINVAL, RET(syscall(__NR_pwritev, self->fd, iov, (long)INT_MAX, 0, 0)));
	EXPECT_EQ(-EINVAL, RET(syscall(__NR_pwritev, self->fd, iov, (long)INT_MIN, 0, 0)));
	EXPECT_EQ(0, RET(pwritev(self->fd, iov, 0, 0)));

	/* One too long to be a count; a sum that overflows is cut instead. */
	iov[0] = (struct iovec) { mem, PG(1) };
	iov[1] = (struct iovec) { mem, -1 };
	EXPECT_EQ(-EINVAL, RET(pwritev(large, iov, 2, 0)));
	iov[1].iov_len = SSIZE_MAX + 1ul;
	EXPECT_EQ(-EINVAL, RET(pwritev(large, iov, 2, 0)));
	iov[1] = (struct iovec) { mem + PG(1), SZ_2G };
	iov[2] = (struct iovec) { mem + PG(1), SZ_2G };
	iov[3] = (struct iovec) { mem + PG(1), SZ_2G };
	EXPECT_EQ(PG(1), RET(pwritev(large, iov, 4, 0)));
	EXPECT_EQ(PG(1), RET(lseek(large, 0, SEEK_HOLE)));
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
	long kib;
	char line[128];
	FILE *f;
	size_t i;
	u64 *mem;
	u8 *buf;
	int fd;

	f = fopen("/proc/meminfo", "r");
	while (fgets(line, sizeof(line), f) && sscanf(line, "MemAvailable: %ld", &kib) != 1)
		;
	fclose(f);
	if (kib < 3 * (SZ_1G / SZ_1K))
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

/* Only RLIMIT_FSIZE has a say. */
TEST_F(file, other_rlimits)
{
	const int limits[] = {
		RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_CORE,
		RLIMIT_STACK,
	};
	const struct rlimit none = {};
	int status;
	size_t i;
	pid_t pid;

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		pid = fork_child();
		if (!pid) {
			if (setrlimit(limits[i], &none))
				_exit(1);
			_exit(pwrite(self->fd, self->src, FILE_SIZE, 0) == FILE_SIZE ? 0 : 2);
		}
		status = wait_for(pid);
		EXPECT_EQ(0, status)
			TH_LOG("limit %d", limits[i]);
		EXPECT_PAGES(self->mem, 0, NR_PAGES, 1, 1);
		EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	}
	EXPECT_USABLE(self->fd, self->mem);
}

/* SIGXFSZ kills, unless ignored: then there's EFBIG.  Whole pages either way. */
TEST_F(file, rlimit_fsize)
{
	const struct rlimit limit = { .rlim_cur = PG(70) + 5, .rlim_max = RLIM_INFINITY };
	int round, status;
	pid_t pid;

	for (round = 0; round < 2; round++) {
		pid = fork_child();
		if (!pid) {
			signal(SIGXFSZ, round ? SIG_IGN : SIG_DFL);
			if (setrlimit(RLIMIT_FSIZE, &limit) ||
			    pwrite(self->fd, self->src, FILE_SIZE, 0) != PG(70))
				_exit(1);
			_exit(RET(pwrite(self->fd, self->src, PG(1), PG(70))) == -EFBIG ? 0 : 2);
		}
		status = wait_for(pid);
		EXPECT_EQ(round ? 0 : SIGXFSZ, WIFSIGNALED(status) ? WTERMSIG(status) : status);
		EXPECT_EQ(PG(70), RET(lseek(self->fd, 0, SEEK_HOLE)));
		EXPECT_PAGES(self->mem, 0, 70, 1, 1);
		EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	}
	EXPECT_USABLE(self->fd, self->mem);
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

/* All of a group go at once. */
TEST_F(limited, oom_kills_group)
{
	pid_t pids[3];
	int i, status;

	ASSERT_EQ(0, cg_write(self->poor.path, "memory.oom.group", "1"));
	for (i = 0; i < 3; i++) {
		pids[i] = fork_child();
		if (pids[i])
			continue;
		if (memcg_enter(&self->poor))
			_exit(1);
		for (; i == 2; )
			pwrite(self->fd, self->src, BIG_SIZE, 0);
		for (;;)
			pwrite(self->f.fd, self->f.src, FILE_SIZE, 0);
	}
	for (i = 0; i < 3; i++) {
		status = wait_for(pids[i]);
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	EXPECT_SOUND(self->f.mem, NR_PAGES);
	check_big_file(_metadata, self);
	EXPECT_USABLE(self->f.fd, self->f.mem);
}

/*
 * How often did a group meet its limit?  @fd is of its memory.events.  Only the first
 * of these reads takes memory of the kernel's; a signal would at times.
 */
static long limit_events(int fd)
{
	char text[256] = "";
	const char *max;

	pread(fd, text, sizeof(text) - 1, 0);
	max = strstr(text, "\nmax ");
	return max ? atol(max + strlen("\nmax ")) : -1;
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
		FILE *f = fopen("/proc/self/oom_score_adj", "w");

		fprintf(f, "-1000");
		if (fclose(f) || limit_events(fd) || memcg_enter(&self->poor))
			_exit(1);
		ret = RET(pwrite(self->fd, self->src, BIG_SIZE, 0));
		if (ret <= 0 || ret % PAGE_BYTES || ret >= (long)GROUP_LIMIT)
			_exit(2);
		if (ret != RET(lseek(self->fd, 0, SEEK_HOLE)))
			_exit(3);
		if (RET(pwrite(self->fd, self->src + ret, PG(1), ret)) != -ENOMEM)
			_exit(4);
		met = limit_events(fd);
		if (met <= 0)
			_exit(5);
		/* What is there has been paid for: it can be written all the same. */
		if (pwrite(self->fd, self->src, ret, 0) != ret)
			_exit(6);
		if (pwrite(self->fd, self->src + PG(1), PG(100), PG(1)) != (long)PG(100))
			_exit(7);
		/* Nor was room asked for, not even for a moment. */
		if (limit_events(fd) != met)
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

/*
 * Somebody else in the group is the better victim: the write goes on.  Unless the
 * kernel kills again before it has accounted for what that one gave back.
 */
TEST_F(limited, oom_kills_neighbour)
{
	int status, sock[2];
	pid_t hog, pid;
	char byte;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	hog = fork_child();
	if (!hog) {
		FILE *f = fopen("/proc/self/oom_score_adj", "w");
		u64 *mem = map_anon(GROUP_LIMIT / 2);

		fprintf(f, "1000");
		if (fclose(f) || memcg_enter(&self->poor))
			_exit(1);
		for (size_t i = 0; i < GROUP_LIMIT / 2 / sizeof(u64); i += PAGE_WORDS)
			mem[i] = 1;
		write(sock[1], "", 1);
		for (;;)
			pause();
	}
	ASSERT_EQ(1, read(sock[0], &byte, 1));
	pid = fork_child();
	if (!pid) {
		if (memcg_enter(&self->poor))
			_exit(1);
		/* More than is left, less than the limit. */
		_exit(pwrite(self->fd, self->src, GROUP_LIMIT / 4 * 3, 0) != GROUP_LIMIT / 4 * 3);
	}
	status = wait_for(pid);
	EXPECT_TRUE(!status || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		TH_LOG("status 0x%x", status);
	status = wait_for(hog);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	check_big_file(_metadata, self);
}

/* Overwriting needs nothing, from many threads and processes at once. */
TEST_F(limited, overwrite_at_limit)
{
	const size_t nr = 512;
	int i, round, status;
	pid_t pids[4];
	long limit;

	status = 0;
	pids[0] = fork_child();
	if (!pids[0])
		_exit(memcg_enter(&self->poor) ||
		      pwrite(self->fd, self->src, PG(nr), 0) != (long)PG(nr));
	status = wait_for(pids[0]);
	ASSERT_EQ(0, status);

	for (i = 0; i < 4; i++) {
		pids[i] = fork_child();
		if (pids[i])
			continue;
		if (memcg_enter(&self->poor))
			_exit(1);
		usleep(100000);
		for (round = 0; round < 6; round++)
			if (pwrite(self->fd, self->src + PG(round), PG(nr - round), PG(round)) !=
			    (long)PG(nr - round))
				_exit(2);
		_exit(0);
	}
	usleep(50000);
	/* For the processes themselves, not for what they write. */
	limit = cg_read_long(self->poor.path, "memory.current") + PG(60);
	EXPECT_EQ(0, cg_write_numeric(self->poor.path, "memory.max", limit));
	for (i = 0; i < 4; i++) {
		status = wait_for(pids[i]);
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(0, cg_read_key_long(self->poor.path, "memory.events", "oom "));
	EXPECT_PAGES(self->mem, 0, nr, 1, 1);
	cg_write_numeric(self->poor.path, "memory.max", GROUP_LIMIT);
	check_big_file(_metadata, self);
}

TEST_NOTHING_IS_LEFT(0)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "hostile-limit");
}
