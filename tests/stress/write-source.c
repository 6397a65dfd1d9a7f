// SPDX-License-Identifier: GPL-2.0-only
/*
 * A source that is the file's own, or that takes its time, and what is populated
 * meanwhile.  Of sources that cannot be read, or overlap what is written, fsx knows.
 */
#include "kselftest.h"
#include "common/fixture.h"
#include "common/uffd.h"

/* The page is populated by the read of the source, and then not overwritten. */
TEST_F(file, source_is_same_page_not_overwritten)
{
	const int fd = vm_create_guest_memfd(self->vm, FILE_SIZE,
					     WRITE_FLAGS | GUEST_MEMFD_FLAG_NO_OVERWRITE);
	u64 *mem = map_file(fd, FILE_SIZE);

	EXPECT_EQ(-EEXIST, RET(pwrite(fd, mem + 3 * PAGE_WORDS, PG(1), PG(3))));
	EXPECT_EQ(PG(3), RET(lseek(fd, 0, SEEK_DATA)));
	EXPECT_EQ(PG(4), RET(lseek(fd, PG(3), SEEK_HOLE)));
	EXPECT_ZERO(mem, 0, NR_PAGES);
	close(fd);
}

/* A write that waits for its source has put all before that into the file. */
TEST_F(file, published_up_to_the_source_that_blocks)
{
	const int fd = create_file_of_pages(self->vm, FILE_SIZE);
	u64 *mem = map_file(fd, FILE_SIZE);
	u8 *src = map_anon(FILE_SIZE);
	struct writing w = { .fd = fd, .src = src, .len = FILE_SIZE };
	int uffd;

	memcpy(src, self->src, FILE_SIZE);
	uffd = block_pages(src + PG(150), 1);
	start_writing(&w);
	ASSERT_EQ(src + PG(150), next_blocked(uffd));
	EXPECT_EQ(PG(150), RET(lseek(fd, 0, SEEK_HOLE)));
	EXPECT_EQ(-ENXIO, RET(lseek(fd, PG(150), SEEK_DATA)));
	EXPECT_PAGES(mem, 0, 150, 1, 1);
	ASSERT_EQ(0, resolve_page(uffd, src + PG(150), self->src + PG(150)));
	kvm_pthread_join(w.thread, NULL);
	EXPECT_EQ(FILE_SIZE, w.ret);
	EXPECT_PAGES(mem, 0, NR_PAGES, 1, 1);
	close(uffd);
	close(fd);
}

/* Nobody else is held up, and what was populated meanwhile is not overwritten. */
TEST_F(file, populated_while_source_blocks)
{
	const int fd = vm_create_guest_memfd(self->vm, FILE_SIZE,
					     WRITE_FLAGS | GUEST_MEMFD_FLAG_NO_OVERWRITE);
	u64 *mem = map_file(fd, FILE_SIZE);
	u8 *src = map_anon(PG(2));
	struct writing w = { .fd = fd, .src = src, .len = PG(2), .off = PG(7) };
	int uffd = block_pages(src, 2);

	start_writing(&w);
	ASSERT_EQ(src, next_blocked(uffd));
	EXPECT_EQ(PG(1), RET(pwrite(fd, self->src + PG(7), PG(1), PG(7))));
	ASSERT_EQ(0, resolve_page(uffd, src, self->src));
	kvm_pthread_join(w.thread, NULL);
	EXPECT_EQ(-EEXIST, w.ret);
	EXPECT_PAGE(mem, 7, 1, 1);
	EXPECT_EQ(PG(8), RET(lseek(fd, PG(7), SEEK_HOLE)));
	close(fd);
}

TEST_NOTHING_IS_LEFT(0)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "write-source");
}
