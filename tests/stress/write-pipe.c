// SPDX-License-Identifier: GPL-2.0-only
/*
 * splice() and sendfile() to a file that is not overwritten.  Of the pieces that a pipe
 * may hold guest_memfd_write_test and fsx know.
 */
#include <sys/sendfile.h>

#include "kselftest.h"
#include "common/fixture.h"

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
