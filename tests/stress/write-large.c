// SPDX-License-Identifier: GPL-2.0-only
/*
 * Folios of more than one page: where they are had, that nothing but their effects tells
 * them from single pages, and what becomes of one that somebody holds while pages are
 * punched out of it.
 */
#include <linux/kernel-page-flags.h>
#include <liburing.h>
#include <sched.h>
#include <setjmp.h>

#include "kselftest.h"
#include "cgroup_util.h"
#include "numaif.h"
/* Blocks of what x86 and arm64 map at once, with pages of 4 KiB. */
#define BLOCK		512ul
#define NR_BLOCKS	3
#define NR_PAGES	(NR_BLOCKS * BLOCK)

#include "common/fixture.h"
#include "common/offline.h"
#include "common/uffd.h"

/* How many of the pages the file has.  Those that were only allocated don't count. */
static size_t nr_present(u64 *mem, size_t index, size_t nr)
{
	u8 vec[NR_PAGES];
	size_t i, found = 0;

	TEST_ASSERT(!mincore(page_of(mem, index), PG(nr), vec), "mincore() failed, errno = %d", errno);
	for (i = 0; i < nr; i++)
		found += vec[i] & 1;
	return found;
}

#define EXPECT_HOLES(fd, nr, is_hole)						\
	expect_holes(_metadata, __LINE__, fd, nr, is_hole)

/* SEEK_DATA and SEEK_HOLE say so of every page. */
static void expect_holes(struct __test_metadata *_metadata, int line, int fd, size_t nr,
			 const bool *is_hole)
{
	size_t i;
	long ret;

	for (i = 0; i < nr; i++) {
		ret = RET(lseek(fd, PG(i), is_hole[i] ? SEEK_HOLE : SEEK_DATA));
		if (ret == (long)PG(i))
			continue;
		EXPECT_EQ(PG(i), ret)
			TH_LOG("line %d: page %zu is %s", line, i, is_hole[i] ? "a hole" : "data");
		return;
	}
}

/* As aligned as the file and as long as the request allow. */
TEST_F(file, as_large_as_can_be)
{
	size_t i, order;

	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	for (i = 0; i < NR_PAGES; i += BLOCK)
		EXPECT_EQ(BLOCK, folio_pages(page_of(self->mem, i + i % 7)));
	EXPECT_PAGES(self->mem, 0, NR_PAGES, 1, 1);

	/* From 1 on: 1, 2, 4, ... 256, and at its end 64, 16, 8 and 1. */
	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	EXPECT_EQ(PG(600), write_pages(self, 1, 600));
	for (order = 0; order < 9; order++)
		EXPECT_EQ(1 << order, folio_pages(page_of(self->mem, 1 << order)));
	EXPECT_EQ(64, folio_pages(page_of(self->mem, BLOCK)));
	EXPECT_EQ(16, folio_pages(page_of(self->mem, BLOCK + 64)));
	EXPECT_EQ(8, folio_pages(page_of(self->mem, BLOCK + 80)));
	EXPECT_EQ(1, folio_pages(page_of(self->mem, BLOCK + 88)));
	EXPECT_PAGES(self->mem, 1, 600, 1, 1);
	EXPECT_EQ(600, nr_present(self->mem, 0, NR_PAGES));
}

/* Allocating is the same, and what is there stays as it is. */
TEST_F(file, allocated)
{
	const u64 one = 1;

	EXPECT_EQ(PG(1), write_pages(self, BLOCK + 100, 1));
	EXPECT_EQ(0, preallocate(self->fd, 0, FILE_SIZE));
	EXPECT_EQ(PG(BLOCK + 100), RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(PG(BLOCK + 101), RET(lseek(self->fd, PG(BLOCK + 100), SEEK_HOLE)));
	EXPECT_PAGE(self->mem, BLOCK + 100, 1, 1);
	EXPECT_EQ(1, folio_pages(page_of(self->mem, BLOCK + 100)));
	EXPECT_EQ(64, folio_pages(page_of(self->mem, BLOCK)));

	/* Pages that are written populate no others. */
	EXPECT_EQ(PG(2), write_pages(self, 10, 2));
	EXPECT_EQ(BLOCK, folio_pages(page_of(self->mem, 10)));
	EXPECT_EQ(PG(10), RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(PG(12), RET(lseek(self->fd, PG(10), SEEK_HOLE)));
	EXPECT_EQ(PG(BLOCK), RET(lseek(self->fd, PG(12), SEEK_DATA)));

	/* They stay allocated when one beside them goes. */
	EXPECT_EQ(0, punch(self->fd, PG(20), PG(1)));
	EXPECT_EQ(BLOCK - 1, nr_present(self->mem, 0, BLOCK));
	EXPECT_PAGES(self->mem, 10, 2, 1, 1);
	EXPECT_ZERO(self->mem, 0, 10);
	EXPECT_ZERO(self->mem, 12, BLOCK - 12);

	/* A page that is looked at populates the folio with zeros. */
	page_of(self->mem, 2 * BLOCK + 5)[0] = one;
	EXPECT_EQ(BLOCK, folio_pages(page_of(self->mem, 2 * BLOCK)));
	EXPECT_EQ(one, page_of(self->mem, 2 * BLOCK + 5)[0]);
	page_of(self->mem, 2 * BLOCK + 5)[0] = 0;
	EXPECT_ZERO(self->mem, 2 * BLOCK, BLOCK);
}

/* Where nothing is overwritten a look at one page must not populate those beside it. */
TEST_F(file, allocated_for_once)
{
	const int fd = vm_create_guest_memfd(self->vm, FILE_SIZE,
					     WRITE_FLAGS | GUEST_MEMFD_FLAG_NO_OVERWRITE);
	u64 *mem = map_file(fd, FILE_SIZE);

	EXPECT_EQ(0, preallocate(fd, 0, FILE_SIZE));
	EXPECT_EQ(0, page_of(mem, 5)[0]);
	EXPECT_EQ(PG(5), RET(pwrite(fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(PG(NR_PAGES - 6), RET(pwrite(fd, self->src + PG(6), PG(NR_PAGES - 6), PG(6))));
	EXPECT_PAGES(mem, 6, NR_PAGES - 6, 1, 1);
	kvm_munmap(mem, FILE_SIZE);
	close(fd);
}

/* Whole over whole, parts, and across folios. */
TEST_F(file, overwritten)
{
	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	fill_pages(self->src, NR_PAGES, 0, 2, 1);
	EXPECT_EQ(PG(BLOCK), write_pages(self, 0, BLOCK));
	EXPECT_EQ(PG(BLOCK), write_pages(self, BLOCK + 3, BLOCK));
	EXPECT_PAGES(self->mem, 0, BLOCK, 2, 1);
	EXPECT_PAGES(self->mem, BLOCK, 3, 1, 1);
	EXPECT_PAGES(self->mem, BLOCK + 3, BLOCK, 2, 1);
	EXPECT_PAGES(self->mem, 2 * BLOCK + 3, BLOCK - 3, 1, 1);
	EXPECT_EQ(BLOCK, folio_pages(page_of(self->mem, BLOCK)));

	/* The source is the pages themselves, and pages beside them. */
	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->mem, FILE_SIZE, 0)));
	EXPECT_PAGES(self->mem, 0, BLOCK, 2, 1);
	EXPECT_PAGES(self->mem, 2 * BLOCK + 3, BLOCK - 3, 1, 1);
}

/* Whatever page can't be read, the count is exact. */
TEST_F(file, unreadable_source)
{
	const size_t bad[] = { 0, 1, 2, 63, 255, 256, 511, 512, 513, 1000, 1535 };
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		n = bad[i];
		ASSERT_EQ(0, mprotect(self->src + PG(n), PG(1), PROT_NONE));
		EXPECT_EQ(n ? (long)PG(n) : -EFAULT, write_pages(self, 0, NR_PAGES));
		ASSERT_EQ(0, mprotect(self->src + PG(n), PG(1), PROT_READ | PROT_WRITE));
		EXPECT_EQ(n, nr_present(self->mem, 0, NR_PAGES));
		EXPECT_PAGES(self->mem, 0, n, 1, 1);
		EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	}
}

/* It comes page by page, which nobody sees before all of a folio is there. */
TEST_F(file, slow_source)
{
	struct writing w = { .fd = self->fd, .src = self->src, .len = PG(BLOCK) };
	u8 *src = map_anon(PG(BLOCK));
	const int uffd = block_pages(self->src, BLOCK);
	size_t i;
	u8 *page;

	/* It takes mappings away, also of what was waited for, and then pages will do. */
	write_knob("/proc/sys/kernel/numa_balancing", "0");
	fill_pages(src, BLOCK, 0, 3, 1);
	start_writing(&w);
	for (i = 0; i < BLOCK; i++) {
		page = next_blocked(uffd);
		ASSERT_EQ(self->src + PG(i), page);
		EXPECT_EQ(0, nr_present(self->mem, 0, BLOCK));
		EXPECT_EQ(0, resolve_page(uffd, page, src + PG(i)));
	}
	pthread_join(w.thread, NULL);
	EXPECT_EQ(PG(BLOCK), w.ret);
	EXPECT_EQ(BLOCK, folio_pages(page_of(self->mem, 0)));
	EXPECT_PAGES(self->mem, 0, BLOCK, 3, 1);
	close(uffd);
}

/* Where some pages are there already, whoever put them. */
TEST_F(file, among_others)
{
	size_t i;

	for (i = 0; i < NR_PAGES; i += 1 + i % 61)
		ASSERT_EQ(PG(1), write_pages(self, i, 1));
	READ_ONCE(page_of(self->mem, 700)[0]);
	EXPECT_EQ(0, preallocate(self->fd, PG(1000), PG(24)));
	fill_pages(self->src, NR_PAGES, 0, 2, 1);
	EXPECT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	EXPECT_PAGES(self->mem, 0, NR_PAGES, 2, 1);
	EXPECT_EQ(NR_PAGES, nr_present(self->mem, 0, NR_PAGES));
}

/* -- holes ---------------------------------------------------------------- */

/* Have the pages pinned for as long as the pipe has them.  Returns its ends. */
static void hold_page(u64 *page, int pipefd[2])
{
	struct iovec iov = { page, PAGE_BYTES };

	TEST_ASSERT(!pipe(pipefd), "pipe() failed, errno = %d", errno);
	TEST_ASSERT_EQ(vmsplice(pipefd[1], &iov, 1, 0), (ssize_t)PAGE_BYTES);
}

static void let_go(int pipefd[2])
{
	close(pipefd[0]);
	close(pipefd[1]);
}

/* What a folio may be like before pages are punched out of it. */
enum before { WRITTEN, ONLY_READ, ALLOCATED, NR_BEFORE };

static void make_folios(struct __test_metadata *_metadata, FIXTURE_DATA(file) *self,
			enum before before)
{
	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	if (before == WRITTEN) {
		ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	} else {
		ASSERT_EQ(0, preallocate(self->fd, 0, FILE_SIZE));
		if (before == ONLY_READ)
			EXPECT_ZERO(self->mem, 0, NR_PAGES);
	}
}

static const struct range {
	size_t start, end;
} ranges[] = {
	{ 0, 1 }, { 511, 512 }, { 100, 101 }, { 1, 511 }, { 0, 256 }, { 256, 512 },
	{ 300, 700 }, { 0, 513 }, { 511, 1025 }, { 5, 1531 }, { 1024, 1536 },
};

/*
 * Outside everything is as it was, inside are holes, and the memory is free unless
 * somebody holds it.
 */
static void check_holes(struct __test_metadata *_metadata, FIXTURE_DATA(file) *self,
			enum before before, bool held, struct range r)
{
	bool is_hole[NR_PAGES];
	size_t i;

	for (i = 0; i < NR_PAGES; i++)
		is_hole[i] = before == ALLOCATED || (i >= r.start && i < r.end);
	EXPECT_HOLES(self->fd, NR_PAGES, is_hole);

	if (!held)
		EXPECT_EQ(0, nr_present(self->mem, r.start, r.end - r.start));
	if (before != ALLOCATED) {
		EXPECT_EQ(r.start, nr_present(self->mem, 0, r.start));
		EXPECT_EQ(NR_PAGES - r.end, nr_present(self->mem, r.end, NR_PAGES - r.end));
	}

	if (before == WRITTEN) {
		EXPECT_PAGES(self->mem, 0, r.start, 1, 1);
		EXPECT_PAGES(self->mem, r.end, NR_PAGES - r.end, 1, 1);
	}
	EXPECT_ZERO(self->mem, r.start, r.end - r.start);
	for (i = r.start; i < r.end; i++)
		is_hole[i] = false;
	if (before != ALLOCATED)
		EXPECT_HOLES(self->fd, NR_PAGES, is_hole);
}

TEST_F(file, holes)
{
	enum before before;
	size_t i;

	for (before = 0; before < NR_BEFORE; before++) {
		for (i = 0; i < ARRAY_SIZE(ranges); i++) {
			make_folios(_metadata, self, before);
			EXPECT_EQ(0, punch(self->fd, PG(ranges[i].start),
					   PG(ranges[i].end - ranges[i].start)));
			check_holes(_metadata, self, before, false, ranges[i]);
		}
	}
}

/* A page of each folio is held, in the hole or beside it. */
TEST_F(file, holes_in_held_folios)
{
	int pipes[NR_BLOCKS][2];
	enum before before;
	size_t i, b;

	for (before = 0; before < ALLOCATED; before++) {
		for (i = 0; i < ARRAY_SIZE(ranges); i++) {
			make_folios(_metadata, self, before);
			for (b = 0; b < NR_BLOCKS; b++)
				hold_page(page_of(self->mem, b * BLOCK + (i & 1 ? 0 : 300)), pipes[b]);
			EXPECT_EQ(0, punch(self->fd, PG(ranges[i].start),
					   PG(ranges[i].end - ranges[i].start)));
			check_holes(_metadata, self, before, true, ranges[i]);
			for (b = 0; b < NR_BLOCKS; b++)
				let_go(pipes[b]);
		}
	}
}

/* The memory is free as soon as the folio can be split, or has nothing left in it. */
TEST_F(file, holes_are_freed_later)
{
	int pipefd[2];
	size_t i;

	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	hold_page(page_of(self->mem, 7), pipefd);
	EXPECT_EQ(0, punch(self->fd, PG(100), PG(50)));
	EXPECT_EQ(0, punch(self->fd, PG(200), PG(1)));
	EXPECT_EQ(NR_PAGES, nr_present(self->mem, 0, NR_PAGES));
	let_go(pipefd);
	EXPECT_EQ(0, punch(self->fd, PG(300), PG(1)));
	EXPECT_EQ(NR_PAGES - 52, nr_present(self->mem, 0, NR_PAGES));
	EXPECT_PAGES(self->mem, 0, 100, 1, 1);
	EXPECT_PAGES(self->mem, 301, NR_PAGES - 301, 1, 1);

	hold_page(page_of(self->mem, BLOCK + 7), pipefd);
	for (i = 0; i < BLOCK; i++) {
		EXPECT_EQ(BLOCK, nr_present(self->mem, BLOCK, BLOCK));
		EXPECT_EQ(0, punch(self->fd, PG(BLOCK + (i * 5) % BLOCK), PG(1)));
	}
	EXPECT_EQ(0, nr_present(self->mem, BLOCK, BLOCK));
	EXPECT_ZERO(self->mem, BLOCK, BLOCK);
	EXPECT_PAGES(self->mem, 2 * BLOCK, BLOCK, 1, 1);
	let_go(pipefd);
}

/* What fallocate() got stays, though all of the folio is holes. */
TEST_F(file, allocated_beside_a_hole)
{
	int pipefd[2];

	ASSERT_EQ(0, preallocate(self->fd, 0, PG(BLOCK)));
	ASSERT_EQ(PG(1), write_pages(self, 5, 1));
	hold_page(page_of(self->mem, 5), pipefd);
	EXPECT_EQ(0, punch(self->fd, PG(5), PG(1)));
	EXPECT_LE(BLOCK - 1, nr_present(self->mem, 0, BLOCK));
	let_go(pipefd);
}

/* A pin is for long, as a device has it: nobody waits for it to go. */
TEST_F(file, holes_in_a_pinned_folio)
{
	const struct iovec iov = { page_of(self->mem, 7), PG(1) };
	struct io_uring ring;

	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	ASSERT_EQ(0, io_uring_queue_init(1, &ring, 0));
	ASSERT_EQ(0, io_uring_register_buffers(&ring, &iov, 1));
	EXPECT_EQ(0, punch(self->fd, PG(100), PG(50)));
	EXPECT_EQ(NR_PAGES, nr_present(self->mem, 0, NR_PAGES));
	EXPECT_ZERO(self->mem, 100, 50);
	EXPECT_PAGES(self->mem, 0, 100, 1, 1);
	EXPECT_PAGES(self->mem, 150, NR_PAGES - 150, 1, 1);
	io_uring_unregister_buffers(&ring);
	io_uring_queue_exit(&ring);
	EXPECT_EQ(0, punch(self->fd, PG(100), PG(50)));
	EXPECT_EQ(NR_PAGES - 50, nr_present(self->mem, 0, NR_PAGES));
}

/* A hole in a folio is as good as one in the file. */
TEST_F(file, holes_are_filled)
{
	const int fd = vm_create_guest_memfd(self->vm, FILE_SIZE,
					     WRITE_FLAGS | GUEST_MEMFD_FLAG_NO_OVERWRITE);
	u64 *mem = map_file(fd, FILE_SIZE);
	bool is_hole[NR_PAGES] = {};
	int pipefd[2];

	ASSERT_EQ(FILE_SIZE, RET(pwrite(fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(BLOCK, folio_pages(mem));
	hold_page(mem, pipefd);
	EXPECT_EQ(0, punch(fd, PG(10), PG(10)));
	memset(is_hole + 10, true, 10);
	EXPECT_HOLES(fd, NR_PAGES, is_hole);

	/* By the three who can, one page each. */
	fill_pages(self->src, NR_PAGES, 0, 2, 1);
	EXPECT_EQ(PG(1), RET(pwrite(fd, self->src + PG(12), PG(1), PG(12))));
	EXPECT_EQ(0, page_of(mem, 14)[5]);
	page_of(mem, 16)[GUEST_WORD] = store_tag(16, 1, 1);
	is_hole[12] = is_hole[14] = is_hole[16] = false;
	EXPECT_HOLES(fd, NR_PAGES, is_hole);
	EXPECT_PAGE(mem, 12, 2, 1);
	EXPECT_ZERO(mem, 14, 1);
	EXPECT_EQ(store_tag(16, 1, 1), page_of(mem, 16)[GUEST_WORD]);

	/* Populated once, and no more than that. */
	EXPECT_EQ(-EEXIST, RET(pwrite(fd, self->src, PG(1), 0)));
	EXPECT_EQ(-EEXIST, RET(pwrite(fd, self->src + PG(14), PG(1), PG(14))));
	EXPECT_EQ(-EEXIST, RET(pwrite(fd, self->src + PG(16), PG(1), PG(16))));
	EXPECT_EQ(PG(2), RET(pwrite(fd, self->src + PG(10), PG(4), PG(10))));
	EXPECT_EQ(PG(3), RET(pwrite(fd, self->src + PG(17), PG(100), PG(17))));
	EXPECT_PAGES(mem, 10, 3, 2, 1);
	EXPECT_PAGES(mem, 17, 3, 2, 1);
	EXPECT_PAGES(mem, 20, NR_PAGES - 20, 1, 1);

	/* A hole, and beside it a page that ends the write: what was written is told. */
	EXPECT_EQ(0, punch(fd, PG(30), PG(1)));
	EXPECT_EQ(PG(1), RET(pwrite(fd, self->src + PG(30), PG(2), PG(30))));
	EXPECT_PAGE(mem, 30, 2, 1);

	/* Punched again, a page with a hole in its past has none in its future. */
	EXPECT_EQ(0, punch(fd, PG(10), PG(4)));
	let_go(pipefd);
	EXPECT_EQ(0, punch(fd, 0, FILE_SIZE));
	EXPECT_EQ(0, nr_present(mem, 0, NR_PAGES));
	ASSERT_EQ(FILE_SIZE, RET(pwrite(fd, self->src, FILE_SIZE, 0)));
	EXPECT_PAGES(mem, 0, NR_PAGES, 2, 1);
	kvm_munmap(mem, FILE_SIZE);
	close(fd);
}

/* What a hold on a page sees of it is none of the file's any more, once it is whole again. */
TEST_F(file, overwriting_held_holes)
{
	int pipefd[2];

	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	hold_page(page_of(self->mem, 9), pipefd);
	EXPECT_EQ(0, punch(self->fd, PG(8), PG(300)));
	fill_pages(self->src, NR_PAGES, 0, 2, 1);
	EXPECT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	EXPECT_PAGES(self->mem, 0, NR_PAGES, 2, 1);
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, FILE_SIZE, SEEK_DATA)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_HOLE)));
	let_go(pipefd);
}

/* -- memory errors ---------------------------------------------------------- */

/* Three pages, and a folio that can't be split: lab/leaks counts what else is left. */
#define NR_LOST		(3 + BLOCK)

static volatile int nr_sigbus;
static sigjmp_buf not_read;

static void on_sigbus(int sig)
{
	nr_sigbus++;
}

static void on_bad_page(int sig)
{
	siglongjmp(not_read, 1);
}

static bool is_bad(u64 *page)
{
	bool bad = sigsetjmp(not_read, 1);

	signal(SIGBUS, on_bad_page);
	if (!bad)
		READ_ONCE(page[0]);
	signal(SIGBUS, on_sigbus);
	return bad;
}

TEST_F(file, one_bad_page)
{
	int pipefd[2], held;

	/* A folio that cannot be split is an error that is not recovered from. */
	signal(SIGBUS, on_sigbus);
	nr_sigbus = 0;
	for (held = 0; held < 2; held++) {
		ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
		if (held)
			hold_page(page_of(self->mem, 20), pipefd);
		READ_ONCE(page_of(self->mem, 5)[0]);
		madvise(page_of(self->mem, 5), PG(1), MADV_HWPOISON);
		EXPECT_EQ(held, nr_sigbus);
		/* Who has mapped it goes on seeing it in one that was not split. */
		kvm_madvise(self->mem, FILE_SIZE, MADV_DONTNEED);
		EXPECT_PAGES(self->mem, 0, 5, 1, 1);
		EXPECT_PAGES(self->mem, 6, NR_PAGES - 6, 1, 1);
		EXPECT_TRUE(is_bad(page_of(self->mem, 5)));

		fill_pages(self->src, NR_PAGES, 0, 2, 1);
		EXPECT_EQ(PG(5), write_pages(self, 0, NR_PAGES));
		EXPECT_EQ(-EHWPOISON, write_pages(self, 5, 1));
		EXPECT_EQ(PG(NR_PAGES - 6), write_pages(self, 6, NR_PAGES - 6));
		EXPECT_PAGES(self->mem, 0, 5, 2, 1);
		EXPECT_PAGES(self->mem, 6, NR_PAGES - 6, 2, 1);
		fill_pages(self->src, NR_PAGES, 0, 1, 1);

		if (held)
			let_go(pipefd);
		EXPECT_EQ(0, punch(self->fd, PG(5), PG(1)));
		EXPECT_EQ(PG(BLOCK), write_pages(self, 0, BLOCK));
		EXPECT_PAGES(self->mem, 0, BLOCK, 1, 1);
		EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	}
}

/* Nobody has ever mapped it: a page that was only allocated. */
TEST_F(file, bad_page_without_data)
{
	int pipefd[2];

	if (access(CORRUPT_PFN, W_OK))
		SKIP(return, "the kernel has no hwpoison/corrupt-pfn");

	ASSERT_EQ(0, preallocate(self->fd, 0, PG(BLOCK)));
	ASSERT_EQ(PG(1), write_pages(self, 3, 1));
	hold_page(page_of(self->mem, 3), pipefd);
	corrupt_pfn(page_frame(page_of(self->mem, 3)) + 2);

	EXPECT_TRUE(is_bad(page_of(self->mem, 5)));
	EXPECT_PAGE(self->mem, 3, 1, 1);
	EXPECT_ZERO(self->mem, 6, BLOCK - 6);
	let_go(pipefd);
	EXPECT_EQ(0, punch(self->fd, PG(5), PG(1)));
	EXPECT_EQ(1, folio_pages(page_of(self->mem, 4)));
}

/*
 * A bad page in a folio that is held when it goes is never used again, nor is the folio.
 * It stays charged: to the root, that the test's own group can go.
 */
TEST_F(file, bad_page_is_kept)
{
	int pipefd[2];
	u64 pfn;

	ASSERT_EQ(1, write_knob("/sys/fs/cgroup/cgroup.procs", "0"));
	ASSERT_EQ(PG(BLOCK), write_pages(self, 0, BLOCK));
	hold_page(page_of(self->mem, 20), pipefd);
	pfn = page_frame(page_of(self->mem, 5));
	poison(page_of(self->mem, 5));
	EXPECT_EQ(0, punch(self->fd, 0, PG(BLOCK)));
	let_go(pipefd);
	EXPECT_EQ(BIT_ULL(KPF_COMPOUND_TAIL) | BIT_ULL(KPF_HWPOISON),
		  frame_flags(pfn) & (BIT_ULL(KPF_COMPOUND_TAIL) | BIT_ULL(KPF_HWPOISON) | BIT_ULL(KPF_BUDDY)));
}

TEST_F(file, soft_offline)
{
	if (access(SOFT_OFFLINE, W_OK))
		SKIP(return, "the kernel has no soft_offline_page");

	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	EXPECT_GT(0, soft_offline(page_of(self->mem, 33)));
	EXPECT_EQ(FILE_SIZE, RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_PAGES(self->mem, 0, NR_PAGES, 1, 1);
}

/* Nobody moves them, but everybody tries. */
TEST_F(file, compaction)
{
	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	EXPECT_EQ(0, punch(self->fd, PG(3), PG(200)));
	EXPECT_EQ(1, write_knob("/proc/sys/vm/compact_memory", "1"));
	EXPECT_PAGES(self->mem, 0, 3, 1, 1);
	EXPECT_PAGES(self->mem, 203, NR_PAGES - 203, 1, 1);
}

/* -- guests --------------------------------------------------------------------- */

#define GPA	(1ul << 30)

/* As if the guest had accessed the pages. */
static long prefault(struct kvm_vcpu *vcpu, size_t index, size_t nr)
{
	struct kvm_pre_fault_memory range = { .gpa = GPA + PG(index), .size = PG(nr) };
	long ret;

	do {
		ret = RET(__vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range));
	} while (ret == -EAGAIN || ret == -EINTR || (!ret && range.size));
	return ret;
}

/* What the VMM has mapped where does not matter, what is where in the file does. */
TEST_F(file, guest_by_offset)
{
	struct kvm_vcpu *vcpu = __vm_vcpu_add(self->vm, 0);
	const size_t len = FILE_SIZE - PG(1);

	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	vm_set_user_memory_region2(self->vm, 1, KVM_MEM_GUEST_MEMFD, GPA, len, page_of(self->mem, 1), self->fd, 0);
	EXPECT_EQ(0, prefault(vcpu, 0, BLOCK));
	EXPECT_EQ(1, vm_get_stat(self->vm, pages_2m));

	vm_set_user_memory_region2(self->vm, 1, KVM_MEM_GUEST_MEMFD, GPA, 0, self->mem, self->fd, 0);
	vm_set_user_memory_region2(self->vm, 1, KVM_MEM_GUEST_MEMFD, GPA, len, self->mem, self->fd, PG(1));
	EXPECT_EQ(0, prefault(vcpu, 0, BLOCK));
	EXPECT_EQ(0, vm_get_stat(self->vm, pages_2m));
}

/* The guest is mapped a folio as a whole, unless a page of it is a hole, or bad. */
TEST_F(file, guest)
{
	struct kvm_vm *vm = vm_create_barebones();
	struct kvm_vcpu *vcpu = __vm_vcpu_add(vm, 0);
	const int fd = vm_create_guest_memfd(vm, FILE_SIZE, WRITE_FLAGS);
	u64 *mem = map_file(fd, FILE_SIZE);
	int pipefd[2];

	vm_set_user_memory_region2(vm, 1, KVM_MEM_GUEST_MEMFD, GPA, FILE_SIZE, mem, fd, 0);
	ASSERT_EQ(FILE_SIZE, RET(pwrite(fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(0, prefault(vcpu, 0, NR_PAGES));
	EXPECT_EQ(NR_BLOCKS, vm_get_stat(vm, pages_2m));

	hold_page(page_of(mem, 7), pipefd);
	EXPECT_EQ(0, punch(fd, PG(10), PG(10)));
	EXPECT_EQ(0, prefault(vcpu, 30, 1));
	EXPECT_EQ(NR_BLOCKS - 1, vm_get_stat(vm, pages_2m));
	EXPECT_EQ(0, prefault(vcpu, 12, 1));
	EXPECT_EQ(PG(12), RET(lseek(fd, PG(10), SEEK_DATA)));
	EXPECT_EQ(PG(13), RET(lseek(fd, PG(12), SEEK_HOLE)));

	poison(page_of(mem, BLOCK + 5));
	EXPECT_EQ(-EHWPOISON, prefault(vcpu, BLOCK + 5, 1));
	EXPECT_EQ(0, prefault(vcpu, BLOCK + 6, 1));
	EXPECT_EQ(NR_BLOCKS - 2, vm_get_stat(vm, pages_2m));

	let_go(pipefd);
	kvm_munmap(mem, FILE_SIZE);
	close(fd);
	kvm_vm_free(vm);
}

struct faulting {
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	int round, done;
};

#define FAULT_ROUNDS	500

static void *fault_on_first_page(void *arg)
{
	struct faulting *f = arg;
	int i;

	run_on(1);
	for (i = 1; i <= FAULT_ROUNDS; i++) {
		while (READ_ONCE(f->round) < i)
			sched_yield();
		prefault(f->vcpu, 0, 1);
		WRITE_ONCE(f->done, i);
	}
	return NULL;
}

/*
 * Who faults on another page of the folio, and is a moment from mapping all of it, maps
 * nothing of a hole.  The file is not mapped where the memslot says: else KVM hears of it a
 * second time, when the folio is split.
 */
TEST_F(file, hole_beside_a_fault)
{
	struct kvm_vm *vm = vm_create_barebones();
	struct faulting f = { .vcpu = __vm_vcpu_add(vm, 0) };
	const int fd = vm_create_guest_memfd(vm, FILE_SIZE, WRITE_FLAGS);
	void *elsewhere = map_anon(FILE_SIZE);
	volatile int wait;
	int i, stale = 0;

	vm_set_user_memory_region2(vm, 1, KVM_MEM_GUEST_MEMFD, GPA, FILE_SIZE, elsewhere, fd, 0);
	run_on(0);
	ASSERT_EQ(0, pthread_create(&f.thread, NULL, fault_on_first_page, &f));
	for (i = 1; i <= FAULT_ROUNDS; i++) {
		ASSERT_EQ(PG(BLOCK), RET(pwrite(fd, self->src, PG(BLOCK), 0)));
		WRITE_ONCE(f.round, i);
		for (wait = i % 128 * 40; wait; wait--)
			;
		EXPECT_EQ(0, punch(fd, PG(5), PG(1)));
		while (READ_ONCE(f.done) < i)
			sched_yield();
		stale += vm_get_stat(vm, pages_2m);
		EXPECT_EQ(0, punch(fd, 0, PG(BLOCK)));
	}
	pthread_join(f.thread, NULL);
	EXPECT_EQ(0, stale);
	kvm_munmap(elsewhere, FILE_SIZE);
	close(fd);
	kvm_vm_free(vm);
}

/* -- who pays, and where ------------------------------------------------------ */

static int write_at_limit(FIXTURE_DATA(file) *self, struct memcg *poor, size_t overwritten)
{
	long ret;

	if (refuse_oom_killer() || memcg_enter(poor))
		return 1;
	if (cg_write_numeric(poor->path, "memory.max",
			     cg_read_long(poor->path, "memory.current") + PG(300)))
		return 2;
	/* A block is too much, single pages are had to the last. */
	if (preallocate(self->fd, 0, PG(BLOCK)) != -ENOMEM ||
	    write_pages(self, BLOCK - 1, 1) != -ENOMEM || punch(self->fd, 0, PG(BLOCK)))
		return 5;
	ret = RET(pwrite(self->fd, self->src, PG(BLOCK), 0));
	ksft_print_msg("%ld pages\n", ret / (long)PAGE_BYTES);
	if (ret < (long)PG(150) || ret >= (long)PG(BLOCK))
		return 3;
	/* What is there can be written whoever has paid for it. */
	return write_pages(self, BLOCK, overwritten) == (long)PG(overwritten) ? 0 : 4;
}

TEST_F(file, group_at_its_limit)
{
	struct memcg poor;
	pid_t pid;

	ASSERT_EQ(PG(2 * BLOCK), write_pages(self, BLOCK, 2 * BLOCK));
	ASSERT_EQ(0, memcg_create(&poor, &program_cg, "poor"));
	cg_write(poor.path, "memory.swap.max", "0");
	pid = fork_child();
	if (!pid)
		_exit(write_at_limit(self, &poor, 2 * BLOCK));
	EXPECT_EQ(0, wait_for(pid));
	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	EXPECT_EQ(0, memcg_settle(&poor, SLACK));
	EXPECT_EQ(0, memcg_destroy(&poor));
}

static const struct {
	size_t start, end, folio;
} bounds[] = {
	{ 2 * BLOCK, 2 * BLOCK + 48, 16 },
	{ BLOCK + 100, BLOCK + 128, 4 },
};

/* A policy holds for the pages that it was set for, neither fewer nor more. */
TEST_F(file, policy_within_a_block)
{
	const unsigned long nodes[] = { BIT(0), BIT(1) };
	size_t i, j, block;

	if (!is_multi_numa_node_system())
		SKIP(return, "fewer than two NUMA nodes");

	kvm_mbind(self->mem, PG(BLOCK), MPOL_BIND, &nodes[1], BITS_PER_LONG, 0);
	ASSERT_EQ(PG(BLOCK), write_pages(self, 0, BLOCK));
	EXPECT_EQ(BLOCK, folio_pages(self->mem));
	EXPECT_EQ(1, node_of(self->mem));

	kvm_set_mempolicy(MPOL_BIND, &nodes[0], BITS_PER_LONG);
	for (i = 0; i < ARRAY_SIZE(bounds); i++) {
		kvm_mbind(page_of(self->mem, bounds[i].start), PG(bounds[i].end - bounds[i].start),
			  MPOL_BIND, &nodes[1], BITS_PER_LONG, 0);
		block = bounds[i].start & ~(BLOCK - 1);
		ASSERT_EQ(PG(BLOCK), write_pages(self, block, BLOCK));
		for (j = block; j < block + BLOCK; j++)
			EXPECT_EQ(j >= bounds[i].start && j < bounds[i].end, node_of(page_of(self->mem, j)))
				TH_LOG("page %zu", j);
		EXPECT_EQ(bounds[i].folio, folio_pages(page_of(self->mem, bounds[i].start)));
	}
	EXPECT_PAGES(self->mem, 0, NR_PAGES, 1, 1);
}

static const struct {
	int mode;
	unsigned long nodes;
	int want;
	bool home;	/* the file's policy has @want for its home node */
} policies[] = {
	{ MPOL_BIND, BIT(0) | BIT(1), 0 },
	{ MPOL_PREFERRED_MANY, BIT(0) | BIT(1), 0 },
	{ MPOL_PREFERRED_MANY, BIT(1), 1 },
	{ MPOL_PREFERRED, BIT(1), 1 },
	{ MPOL_INTERLEAVE, BIT(1), 1 },
	{ MPOL_BIND, BIT(1), 1 },
	{ MPOL_BIND, BIT(0) | BIT(1), 1, true },
	{ MPOL_PREFERRED_MANY, BIT(0) | BIT(1), 1, true },
};

/* By whatever policy, the file's or the task's, a block is where a page would be. */
TEST_F(file, policies)
{
	size_t i;

	if (!is_multi_numa_node_system())
		SKIP(return, "fewer than two NUMA nodes");

	ASSERT_EQ(0, run_on(0));
	for (i = 0; i < ARRAY_SIZE(policies); i++) {
		kvm_set_mempolicy(policies[i].mode, &policies[i].nodes, BITS_PER_LONG);
		ASSERT_EQ(PG(BLOCK), write_pages(self, 0, BLOCK));
		kvm_set_mempolicy(MPOL_DEFAULT, NULL, 0);
		kvm_mbind(page_of(self->mem, BLOCK), PG(2 * BLOCK), policies[i].mode,
			  &policies[i].nodes, BITS_PER_LONG, 0);
		if (policies[i].home)
			kvm_set_mempolicy_home_node((unsigned long)page_of(self->mem, BLOCK),
						    PG(2 * BLOCK), policies[i].want, 0);
		ASSERT_EQ(PG(BLOCK), write_pages(self, BLOCK, BLOCK));
		EXPECT_EQ(BLOCK, folio_pages(self->mem)) TH_LOG("policy %zu", i);
		EXPECT_EQ(policies[i].home ? 0 : policies[i].want, node_of(self->mem))
			TH_LOG("policy %zu", i);
		EXPECT_EQ(BLOCK, folio_pages(page_of(self->mem, BLOCK))) TH_LOG("policy %zu", i);
		EXPECT_EQ(policies[i].want, node_of(page_of(self->mem, BLOCK)))
			TH_LOG("policy %zu", i);
		EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	}
}

/* The switch is for files that are created from then on. */
TEST_F(file, parameter)
{
	const int orders[] = { 0, 4, 9, 30 };
	const size_t want[] = { 1, 16, BLOCK, BLOCK };
	size_t i;
	u64 *mem;
	int fd;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		set_folio_order(orders[i]);
		fd = vm_create_guest_memfd(self->vm, FILE_SIZE, WRITE_FLAGS);
		mem = map_file(fd, FILE_SIZE);
		EXPECT_EQ(FILE_SIZE, RET(pwrite(fd, self->src, FILE_SIZE, 0)));
		EXPECT_EQ(want[i], folio_pages(page_of(mem, BLOCK)));
		EXPECT_PAGES(mem, 0, NR_PAGES, 1, 1);
		kvm_munmap(mem, FILE_SIZE);
		close(fd);
	}
	set_folio_order(9);
}

TEST_NOTHING_IS_LEFT(NR_LOST)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "write-large");
}
