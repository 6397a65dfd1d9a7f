// SPDX-License-Identifier: GPL-2.0-only
/*
 * splice() and sendfile() move whole pages, out of whatever pieces there are, and leave
 * the rest where it was.
 */
#include <sys/ioctl.h>

#include "kselftest.h"
#include "common/fixture.h"
#include "common/writers.h"

static int pipe_queued(int fd)
{
	int queued;

	TEST_ASSERT(!ioctl(fd, FIONREAD, &queued), "FIONREAD failed, errno = %d", errno);
	return queued;
}

TEST_F(file, sendfile)
{
	int memfd = create_memfd(self->src, FILE_SIZE);
	off_t in_off = 0;

	EXPECT_EQ(FILE_SIZE, RET(sendfile(self->fd, memfd, &in_off, FILE_SIZE)));
	EXPECT_EQ(FILE_SIZE, (size_t)in_off);
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_BYTES(self->mem, 0, self->src, FILE_SIZE);

	/* Without an offset the position of the source is used, and moved. */
	ASSERT_EQ(PG(4), RET(lseek(memfd, PG(4), SEEK_SET)));
	ASSERT_EQ(PG(1), RET(lseek(self->fd, PG(1), SEEK_SET)));
	EXPECT_EQ(PG(3), RET(sendfile(self->fd, memfd, NULL, PG(3))));
	EXPECT_EQ(PG(7), RET(lseek(memfd, 0, SEEK_CUR)));
	EXPECT_EQ(PG(4), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_BYTES(self->mem, PG(1), self->src + PG(4), PG(3));

	/* Neither out of bounds nor to the middle of a page. */
	in_off = 0;
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_END)));
	EXPECT_EQ(-EINVAL, RET(sendfile(self->fd, memfd, &in_off, PG(1))));
	EXPECT_EQ(100, RET(lseek(self->fd, 100, SEEK_SET)));
	EXPECT_EQ(-EINVAL, RET(sendfile(self->fd, memfd, &in_off, PG(1))));
	EXPECT_EQ(100, RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(0, in_off);
	EXPECT_BYTES(self->mem, 0, self->src, PG(1));
	EXPECT_BYTES(self->mem, PG(4), self->src + PG(4), FILE_SIZE - PG(4));
}

/* What the source has in one go isn't always a whole number of pages. */
TEST_F(file, sendfile_unaligned_source)
{
	int memfd = create_memfd(self->src, FILE_SIZE);
	off_t in_off = 100;
	size_t done = 0;
	long ret;

	while (done < PG(100)) {
		ret = RET(sendfile(self->fd, memfd, &in_off, PG(100) - done));
		ASSERT_LT(0, ret)
			TH_LOG("%zu bytes done", done);
		ASSERT_EQ(0, ret % PAGE_BYTES);
		done += ret;
		ASSERT_EQ(100 + done, (size_t)in_off);
		ASSERT_EQ(done, RET(lseek(self->fd, 0, SEEK_CUR)));
	}
	EXPECT_EQ(PG(100), done);
	EXPECT_EQ(PG(100), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_BYTES(self->mem, 0, self->src + 100, PG(100));
}

TEST_F(file, sendfile_ends_within_page)
{
	int memfd = create_memfd(self->src, PG(3) + 100);
	off_t in_off = 0;

	EXPECT_EQ(PG(3), RET(sendfile(self->fd, memfd, &in_off, PG(8))));
	EXPECT_EQ(PG(3), (size_t)in_off);
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(-EINVAL, RET(sendfile(self->fd, memfd, &in_off, PG(8))));
	EXPECT_EQ(PG(3), (size_t)in_off);
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_BYTES(self->mem, 0, self->src, PG(3));

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
}

TEST_F(file, splice)
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
	EXPECT_EQ(-EAGAIN, RET(splice(pipefd[0], NULL, self->fd, &off, PG(1), SPLICE_F_NONBLOCK)));
	close(pipefd[1]);
	EXPECT_EQ(0, RET(splice(pipefd[0], NULL, self->fd, &off, PG(1), 0)));
	EXPECT_EQ(PG(22), (size_t)off);

	EXPECT_EQ(PG(2), RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(PG(5), RET(lseek(self->fd, PG(2), SEEK_HOLE)));
	EXPECT_EQ(PG(10), RET(lseek(self->fd, PG(5), SEEK_DATA)));
	EXPECT_EQ(PG(13), RET(lseek(self->fd, PG(10), SEEK_HOLE)));
	EXPECT_EQ(PG(20), RET(lseek(self->fd, PG(13), SEEK_DATA)));
	EXPECT_EQ(PG(22), RET(lseek(self->fd, PG(20), SEEK_HOLE)));
	EXPECT_BYTES(self->mem, PG(2), self->src, PG(3));
	EXPECT_BYTES(self->mem, PG(10), self->src + PG(3), PG(3));
	EXPECT_BYTES(self->mem, PG(20), self->src + PG(6), PG(2));
}

/* The pages of the file needn't have been pages of the pipe. */
TEST_F(file, splice_odd_chunks)
{
	const size_t chunk = PAGE_BYTES / 4 - 24, rest = 500;
	const size_t len = PG(3) + rest;
	loff_t off = 0;
	int pipefd[2];
	size_t i;

	/* In packet mode every write has a buffer of its own: not too many of them. */
	ASSERT_EQ(0, pipe2(pipefd, O_DIRECT));
	for (i = 0; i < len; i += chunk) {
		ASSERT_EQ(min(chunk, len - i),
			  RET(write(pipefd[1], self->src + i, min(chunk, len - i))));
	}

	EXPECT_EQ(PG(2), RET(splice(pipefd[0], NULL, self->fd, &off, PG(2), 0)));
	EXPECT_EQ(PG(2), (size_t)off);
	EXPECT_EQ(PG(1) + rest, pipe_queued(pipefd[0]));
	EXPECT_EQ(PG(1), RET(splice(pipefd[0], NULL, self->fd, &off, PG(4), 0)));
	EXPECT_EQ(PG(3), (size_t)off);

	/* What's left is less than a page, and stays for another reader. */
	close(pipefd[1]);
	EXPECT_EQ(-EINVAL, RET(splice(pipefd[0], NULL, self->fd, &off, PG(1), 0)));
	EXPECT_EQ(PG(3), (size_t)off);
	EXPECT_EQ(rest, pipe_queued(pipefd[0]));

	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_BYTES(self->mem, 0, self->src, PG(3));
}

/* The pages of the pipe may be mapped, and may be the file's own. */
TEST_F(file, vmsplice)
{
	struct iovec iov = { self->src, PG(4) };
	int pipefd[2];

	ASSERT_EQ(0, pipe(pipefd));
	ASSERT_EQ(PG(4), RET(vmsplice(pipefd[1], &iov, 1, 0)));
	EXPECT_EQ(PG(4), RET(splice(pipefd[0], NULL, self->fd, NULL, PG(4), 0)));
	EXPECT_BYTES(self->mem, 0, self->src, PG(4));

	iov.iov_base = self->mem;
	ASSERT_EQ(PG(4), RET(vmsplice(pipefd[1], &iov, 1, 0)));
	ASSERT_EQ(PG(2), RET(lseek(self->fd, PG(2), SEEK_SET)));
	EXPECT_EQ(PG(4), RET(splice(pipefd[0], NULL, self->fd, NULL, PG(4), 0)));
	EXPECT_BYTES(self->mem, 0, self->src, PG(2));
	EXPECT_BYTES(self->mem, PG(2), self->src, PG(2));
}

/* A pipe keeps what is not written because the page there is populated. */
TEST_F(file, splice_stops_at_what_is_populated)
{
	const int fd = vm_create_guest_memfd(self->vm, FILE_SIZE,
					     WRITE_FLAGS | GUEST_MEMFD_FLAG_NO_OVERWRITE);
	u64 *mem = map_file(fd, FILE_SIZE);
	int memfd = create_memfd(self->src, FILE_SIZE);
	off_t in_off = 0;
	loff_t off = 0;
	int pipefd[2];

	mem[3 * PAGE_WORDS] = 1;
	ASSERT_EQ(0, pipe(pipefd));
	ASSERT_EQ(PG(8), RET(write(pipefd[1], self->src, PG(8))));
	EXPECT_EQ(PG(3), RET(splice(pipefd[0], NULL, fd, &off, PG(8), 0)));
	EXPECT_EQ(-EEXIST, RET(splice(pipefd[0], NULL, fd, &off, PG(8), 0)));
	EXPECT_EQ(PG(3), (size_t)off);
	EXPECT_EQ(PG(5), pipe_queued(pipefd[0]));
	EXPECT_PAGES(mem, 0, 3, 1, 1);

	EXPECT_EQ(0, punch(fd, 0, PG(3)));
	EXPECT_EQ(PG(3), RET(sendfile(fd, memfd, &in_off, PG(8))));
	EXPECT_EQ(PG(3), (size_t)in_off);
	EXPECT_EQ(-EEXIST, RET(sendfile(fd, memfd, &in_off, PG(8))));
	EXPECT_EQ(PG(3), (size_t)in_off);
	EXPECT_PAGES(mem, 0, 3, 1, 1);
	EXPECT_EQ(1, mem[3 * PAGE_WORDS]);
	close(fd);
}

TEST_NOTHING_IS_LEFT(0)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "write-pipe");
}
