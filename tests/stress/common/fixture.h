/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For the programs of hostile callers: each test has a VM and a file of its own,
 * in a memory cgroup of its own, and when it's over and all of its processes
 * are gone, every page it was charged must have come back.
 */
#ifndef STRESS_FIXTURE_H
#define STRESS_FIXTURE_H

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "kvm_test_harness.h"
#include "test_util.h"

#include "common/common.h"

/* Emulated, with all debugging there is, on a busy machine: the default is short. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	600

/* More than a pipe holds, than a node of the page cache, and than the largest folio. */
#ifndef NR_PAGES
#define NR_PAGES	600
#endif
#define FILE_SIZE	PG(NR_PAGES)

#ifndef FILE_FLAGS
#define FILE_FLAGS	WRITE_FLAGS
#endif

/* What the kernel may keep for itself for a while, per test. */
#define SLACK		PG(32)

static struct memcg program_cg;

/* Pages of guest_memfd that programs before this one have lost to hardware errors. */
static long pages_before;

FIXTURE(file) {
	struct memcg cg;
	struct kvm_vm *vm;
	int fd;
	u64 *mem;
	/* A page more than the file; writer 1's. */
	u8 *src;
};

FIXTURE_SETUP(file)
{
	ASSERT_EQ(0, memcg_create(&self->cg, &program_cg, "test"));
	ASSERT_EQ(0, memcg_enter(&self->cg));
	self->vm = vm_create_barebones();
	self->fd = vm_create_guest_memfd(self->vm, FILE_SIZE, FILE_FLAGS);
	self->mem = map_file(self->fd, FILE_SIZE);
	self->src = map_anon(FILE_SIZE + PG(1));
	fill_pages(self->src, NR_PAGES + 1, 0, 1, 1);
}

/* In the parent: nobody is left who has anything open. */
FIXTURE_TEARDOWN_PARENT(file)
{
	EXPECT_EQ(0, memcg_settle(&self->cg, SLACK))
		TH_LOG("bytes that didn't come back");
	EXPECT_EQ(0, memcg_destroy(&self->cg));
}

static inline long write_pages(FIXTURE_DATA(file) *self, size_t index, size_t nr)
{
	return RET(pwrite(self->fd, self->src + PG(index), PG(nr), PG(index)));
}

/* Page @index of the file has what writer @who meant for it. */
#define EXPECT_PAGE(mem, index, who, seq)					\
	expect_pages(_metadata, __LINE__, mem, index, 1, write_tag(0, who, seq))
#define EXPECT_PAGES(mem, index, nr, who, seq)					\
	expect_pages(_metadata, __LINE__, mem, index, nr, write_tag(0, who, seq))
#define EXPECT_ZERO(mem, index, nr)						\
	expect_pages(_metadata, __LINE__, mem, index, nr, 0)

static inline void expect_pages(struct __test_metadata *_metadata, int line, const u64 *mem,
				u64 index, u64 nr, u64 tag)
{
	char text[DESCRIPTION_LEN];
	struct page_view view;
	u64 i;

	for (i = index; i < index + nr; i++) {
		view = examine_page(mem + i * PAGE_WORDS, i);
		if (page_is_sound(view) && view.tag == (tag ? tag | i << 32 : 0))
			continue;

		describe_page(text, i, view);
		EXPECT_TRUE(false)
			TH_LOG("line %d: %s", line, text);
		return;
	}
}

/* Each page is somebody's or zero. */
#define EXPECT_SOUND(mem, nr)		expect_sound(_metadata, __LINE__, mem, nr, examine_page)
/* The same, where the source changes even while it is copied. */
#define EXPECT_KNOWN_WORDS(mem, nr)	expect_sound(_metadata, __LINE__, mem, nr, glance_at_page)

static inline void expect_sound(struct __test_metadata *_metadata, int line, const u64 *mem, u64 nr,
				struct page_view (*look)(const u64 *, u64))
{
	char text[DESCRIPTION_LEN];
	struct page_view view;
	u64 i;

	for (i = 0; i < nr; i++) {
		view = look(mem + i * PAGE_WORDS, i);
		if (page_is_sound(view))
			continue;

		describe_page(text, i, view);
		EXPECT_TRUE(false)
			TH_LOG("line %d: %s", line, text);
		return;
	}
}

/* The @len bytes at @off of the file are those of @want. */
#define EXPECT_BYTES(mem, off, want, len)					\
	expect_bytes(_metadata, __LINE__, mem, off, want, len)

static inline void expect_bytes(struct __test_metadata *_metadata, int line, const u64 *mem,
				size_t off, const void *want, size_t len)
{
	const volatile u8 *got = (const u8 *)mem + off;
	size_t i;

	for (i = 0; i < len && got[i] == ((const u8 *)want)[i]; i++)
		;
	EXPECT_EQ(len, i)
		TH_LOG("line %d: byte %zu of page %llu is 0x%02x, not 0x%02x", line,
		       (off + i) % PAGE_BYTES, (unsigned long long)((off + i) / PAGE_BYTES),
		       got[i], ((const u8 *)want)[i]);
}

/* Nothing is locked, lost, or otherwise out of order: write it all, remove it all. */
#define EXPECT_USABLE(fd, mem)		expect_usable(_metadata, __LINE__, fd, mem)

static inline void expect_usable(struct __test_metadata *_metadata, int line, int fd, const u64 *mem)
{
	u8 *buf = map_anon(FILE_SIZE);

	fill_pages(buf, NR_PAGES, 0, 0xfe, 1);
	EXPECT_EQ(FILE_SIZE, RET(pwrite(fd, buf, FILE_SIZE, 0)))
		TH_LOG("line %d", line);
	expect_pages(_metadata, line, mem, 0, NR_PAGES, write_tag(0, 0xfe, 1));
	EXPECT_EQ(0, punch(fd, 0, FILE_SIZE))
		TH_LOG("line %d", line);
	EXPECT_EQ(-ENXIO, RET(lseek(fd, 0, SEEK_DATA)))
		TH_LOG("line %d", line);
	kvm_munmap(buf, FILE_SIZE);
}

/* @ret is a number of whole pages, at most @nr, or one of the errors. */
#define EXPECT_COUNT_OR(ret, nr, ...)						\
	expect_count_or(_metadata, __LINE__, ret, nr, (const int []) { __VA_ARGS__, 0 })

static inline void expect_count_or(struct __test_metadata *_metadata, int line, long ret, u64 nr,
				   const int *errors)
{
	if (ret > 0 && ret % PAGE_BYTES == 0 && ret <= (long)PG(nr))
		return;
	for (; *errors; errors++)
		if (ret == -*errors)
			return;
	EXPECT_TRUE(false)
		TH_LOG("line %d: returned %ld", line, ret);
}

/* A thread that writes, once. */
struct writing {
	pthread_t thread;
	int fd;
	const void *src;
	size_t len;
	off_t off;
	long ret;
};

static inline void *write_once(void *arg)
{
	struct writing *w = arg;

	w->ret = RET(pwrite(w->fd, w->src, w->len, w->off));
	return NULL;
}

static inline void start_writing(struct writing *w)
{
	kvm_pthread_create(&w->thread, NULL, write_once, w);
}

static inline pid_t fork_child(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed, errno = %d", errno);
	return pid;
}

static inline int wait_for(pid_t pid)
{
	int status;

	TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

/*
 * In the end: no page is left that guest_memfd has allocated, except those lost
 * to hardware errors, and nothing charged.  To be declared last.
 */
#define TEST_NOTHING_IS_LEFT(lost)						\
	FIXTURE(end) {};							\
	FIXTURE_SETUP(end) {}							\
	FIXTURE_TEARDOWN(end) {}						\
	TEST_F(end, nothing_is_left)						\
	{									\
		expect_nothing_left(_metadata, lost);				\
	}

static inline void expect_nothing_left(struct __test_metadata *_metadata, long lost)
{
	const long owned = gmem_pages_left(lost + pages_before);

	EXPECT_EQ(0, memcg_settle(&program_cg, 0))
		TH_LOG("bytes charged");
	EXPECT_GE(lost + pages_before, owned)
		TH_LOG("pages of guest_memfd, says page_owner");
	ksft_print_msg("page_owner: %s\n", owned < 0 ? "not there" : "has been asked");
}

static inline int hostile_main(int argc, char *argv[], const char *name)
{
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GUEST_MEMFD_FLAG_WRITE);
	TEST_ASSERT(!memcg_create(&program_cg, NULL, name), "Cannot create a memory cgroup");
	pages_before = max(gmem_pages_left(0), 0l);
	return test_harness_run(argc, argv);	/* which exits */
}

#endif
