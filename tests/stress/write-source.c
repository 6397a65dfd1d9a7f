// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where the bytes come from: memory that cannot be read, that is the file's own, or
 * that takes its time.
 */
#include "kselftest.h"
#include "common/fixture.h"
#include "common/uffd.h"
#include "common/writers.h"

enum bad_source {
	SOURCE_UNMAPPED,
	SOURCE_PROT_NONE,
	SOURCE_BEYOND_EOF,
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

static void unmap_pages(u8 *mem, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		munmap(mem + PG(i), PG(1));
}

FIXTURE(bad_page) {
	FIXTURE_DATA(file) f;
};

FIXTURE_VARIANT(bad_page) {
	enum bad_source kind;
	bool populated;
};

FIXTURE_VARIANT_ADD(bad_page, unmapped_to_fresh) { SOURCE_UNMAPPED, false };
FIXTURE_VARIANT_ADD(bad_page, unmapped_to_populated) { SOURCE_UNMAPPED, true };
FIXTURE_VARIANT_ADD(bad_page, prot_none_to_fresh) { SOURCE_PROT_NONE, false };
FIXTURE_VARIANT_ADD(bad_page, prot_none_to_populated) { SOURCE_PROT_NONE, true };
FIXTURE_VARIANT_ADD(bad_page, beyond_eof_to_fresh) { SOURCE_BEYOND_EOF, false };
FIXTURE_VARIANT_ADD(bad_page, beyond_eof_to_populated) { SOURCE_BEYOND_EOF, true };

FIXTURE_SETUP(bad_page)
{
	file_setup(_metadata, &self->f, NULL);
}

FIXTURE_TEARDOWN_PARENT(bad_page)
{
	file_teardown(_metadata, &self->f, NULL);
}

/*
 * The pages before the one whose source cannot be read are written, that one
 * and those after it are left alone.
 */
TEST_F(bad_page, is_atomic)
{
	const size_t bad_pages[] = { 0, 1, 9, 63, 64, 65, 127, 128, 129 };
	const size_t shifts[] = { 0, 100, PAGE_BYTES - 1 };
	u8 *old = map_anon(FILE_SIZE);
	size_t i;

	fill_pages(old, NR_PAGES, 0, 2, 1);
	for (i = 0; i < ARRAY_SIZE(bad_pages) * ARRAY_SIZE(shifts); i++) {
		const size_t bad = bad_pages[i / ARRAY_SIZE(shifts)];
		const size_t shift = shifts[i % ARRAY_SIZE(shifts)];
		/* If shifted, the page before needs a part of the bad one. */
		const size_t done = bad && shift ? bad - 1 : bad;
		const size_t nr = bad + 3;
		u8 *src = map_bad_source(variant->kind, self->f.src, nr + 1, bad);

		EXPECT_EQ(0, punch(self->f.fd, 0, FILE_SIZE));
		if (variant->populated)
			memcpy(self->f.mem, old, PG(nr));

		EXPECT_EQ(done ? (long)PG(done) : -EFAULT,
			  RET(pwrite(self->f.fd, src + shift, PG(nr), 0)));
		if (!variant->populated) {
			EXPECT_EQ(PG(done), RET(lseek(self->f.fd, 0, SEEK_HOLE)));
			EXPECT_EQ(-ENXIO, RET(lseek(self->f.fd, PG(done), SEEK_DATA)));
		}
		EXPECT_BYTES(self->f.mem, 0, self->f.src + shift, PG(done));
		if (variant->populated)
			EXPECT_PAGES(self->f.mem, done, nr - done, 2, 1);
		else
			EXPECT_ZERO(self->f.mem, done, nr - done);

		ASSERT_EQ(KSFT_PASS, _metadata->exit_code)
			TH_LOG("page %zu of the source, shifted by %zu", bad, shift);
		unmap_pages(src, nr + 1);
	}
}

TEST_F(file, bad_pointers)
{
	void *nowhere = kvm_mmap(PG(1), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	void *volatile null = NULL;
	struct iovec iov[] = {
		{ self->src, PG(2) + 1 },
		{ nowhere, PG(1) - 1 },
	};

	EXPECT_EQ(-EFAULT, RET(pwrite(self->fd, null, PG(1), 0)));
	EXPECT_EQ(-EFAULT, RET(pwrite(self->fd, nowhere, PG(1), 0)));
	EXPECT_EQ(-EFAULT, RET(pwrite(self->fd, (void *)-PG(1), PG(1), 0)));
	EXPECT_EQ(-EFAULT, RET(pwritev(self->fd, nowhere, 1, 0)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));

	/* The bytes of the third page that can be read go nowhere. */
	EXPECT_EQ(PG(2), RET(pwritev(self->fd, iov, 2, 0)));
	EXPECT_EQ(PG(2), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_BYTES(self->mem, 0, self->src, PG(2));
	EXPECT_ZERO(self->mem, 2, 1);
}

/* What fallocate() has allocated is still a hole when nothing was written there. */
TEST_F(file, failed_after_fallocate)
{
	u8 *bad = map_bad_source(SOURCE_PROT_NONE, self->src, 3, 1);

	EXPECT_EQ(0, preallocate(self->fd, 0, FILE_SIZE));
	EXPECT_EQ(PG(1), RET(pwrite(self->fd, bad, PG(3), 0)));
	EXPECT_EQ(-EFAULT, RET(pwrite(self->fd, bad + 1, PG(1), PG(5))));
	EXPECT_EQ(PG(1), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, PG(1), SEEK_DATA)));
	EXPECT_ZERO(self->mem, 1, NR_PAGES - 1);
}

/* Nothing deadlocks on the very page that is being written. */
TEST_F(file, source_is_same_page)
{
	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(PG(1), RET(pwrite(self->fd, self->mem + 3 * PAGE_WORDS, PG(1), PG(3))));
	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->mem, FILE_SIZE, 0)));
	EXPECT_BYTES(self->mem, 0, self->src, FILE_SIZE);

	/* Nor if it is the read of the source that populates it, with zeroes. */
	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	EXPECT_EQ(PG(1), RET(pwrite(self->fd, self->mem + 3 * PAGE_WORDS, PG(1), PG(3))));
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(PG(4), RET(lseek(self->fd, PG(3), SEEK_HOLE)));
	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->mem, FILE_SIZE, 0)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_ZERO(self->mem, 0, NR_PAGES);
}

/* Which then is populated, by the read of the source, and is not overwritten. */
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

TEST_F(file, source_is_same_file)
{
	const u8 *mem = (u8 *)self->mem;

	ASSERT_EQ(PG(10), RET(pwrite(self->fd, self->src, PG(10), 0)));
	EXPECT_EQ(PG(3), RET(pwrite(self->fd, mem + PG(1), PG(3), PG(20))));
	EXPECT_EQ(PG(3), RET(pwrite(self->fd, mem + 100, PG(3), PG(30))));
	EXPECT_BYTES(self->mem, 0, self->src, PG(10));
	EXPECT_BYTES(self->mem, PG(20), self->src + PG(1), PG(3));
	EXPECT_BYTES(self->mem, PG(30), self->src + 100, PG(3));

	/* From one hole to another. */
	EXPECT_EQ(PG(2), RET(pwrite(self->fd, mem + PG(50) + 1, PG(2), PG(60))));
	EXPECT_EQ(PG(50), RET(lseek(self->fd, PG(40), SEEK_DATA)));
	EXPECT_EQ(PG(53), RET(lseek(self->fd, PG(50), SEEK_HOLE)));
	EXPECT_EQ(PG(60), RET(lseek(self->fd, PG(53), SEEK_DATA)));
	EXPECT_ZERO(self->mem, 50, 12);
}

TEST_F(file, source_overlaps)
{
	const u8 *mem = (u8 *)self->mem;
	const size_t nr = 100;
	size_t i, j;

	/* Downwards, each source byte is read before it is overwritten. */
	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(PG(nr), RET(pwrite(self->fd, mem + 100, PG(nr), 0)));
	EXPECT_BYTES(self->mem, 0, self->src + 100, PG(nr));

	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(PG(nr), RET(pwrite(self->fd, mem + PG(1), PG(nr), 0)));
	EXPECT_BYTES(self->mem, 0, self->src + PG(1), PG(nr));

	/* Upwards, a page may be copied before or after it was replaced. */
	ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(PG(nr), RET(pwrite(self->fd, mem, PG(nr), PG(1))));
	for (i = 1; i <= nr; i++) {
		for (j = i; j--;)
			if (!memcmp(mem + PG(i), self->src + PG(j), PAGE_BYTES))
				break;
		EXPECT_GT(i, j)
			TH_LOG("page %zu is no copy of a page below it", i);
	}
	EXPECT_BYTES(self->mem, 0, self->src, PG(1));
	EXPECT_BYTES(self->mem, PG(nr + 1), self->src + PG(nr + 1), FILE_SIZE - PG(nr + 1));
}

static void *write_at_position(void *arg)
{
	struct writing *w = arg;

	w->ret = RET(write(w->fd, w->src, w->len));
	return NULL;
}

/* Of two threads that write at the file position one waits for the other. */
TEST_F(file, position_is_exclusive)
{
	u8 *src = map_anon(PG(2));
	struct writing first = { .fd = self->fd, .src = src, .len = PG(2) };
	struct writing second = { .fd = self->fd, .src = self->src + PG(2), .len = PG(1) };
	int uffd = block_pages(src, 2);

	kvm_pthread_create(&first.thread, NULL, write_at_position, &first);
	ASSERT_EQ(src, next_blocked(uffd));

	/* If the second is late it finds the first done, and all is well, too. */
	kvm_pthread_create(&second.thread, NULL, write_at_position, &second);
	usleep(20000);
	ASSERT_EQ(0, resolve_page(uffd, src, self->src));
	ASSERT_EQ(src + PG(1), next_blocked(uffd));
	ASSERT_EQ(0, resolve_page(uffd, src + PG(1), self->src + PG(1)));

	kvm_pthread_join(first.thread, NULL);
	kvm_pthread_join(second.thread, NULL);
	EXPECT_EQ(PG(2), first.ret);
	EXPECT_EQ(PG(1), second.ret);
	EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_BYTES(self->mem, 0, self->src, PG(3));
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
