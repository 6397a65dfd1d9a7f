// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fail everything that can fail below a write to guest_memfd, one call at a
 * time: the first slab allocation, the second, ... until the write comes to its
 * end without having met the failure.  The same for page allocations, for copies
 * from userspace, for the insertion into the page cache, and for memory errors.
 *
 * Whatever failed, the result must be an exact count of whole pages or, if there
 * is none, the documented error; the file must hold those pages and be as it was
 * beyond; it must be usable, and its pages freed, afterwards.
 *
 * Speaks TAP.  Wants a kernel with fault injection (lab/boot --profile debug).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "common/common.h"
#include "kselftest.h"
#include "numaif.h"

#define DEBUGFS		"/sys/kernel/debug/"

/* Neither end is where a node of the page cache, or a large folio, has its. */
#define FILE_PAGES	80
#define START		59
#define NR		14

/* Two blocks of what x86 maps as a whole, the first of them with a hole in it. */
#define BLOCK		512
#define BLOCKS_SIZE	PG(2 * BLOCK)
#define HOLE_START	100
#define HOLE_END	150

#define FILE_SIZE	PG(FILE_PAGES)
#define SIZE		PG(NR)

/* What programs before this one left, e.g. pages with a memory error. */
static long pages_before;

static struct kvm_vm *vm;
static int fd;
static u64 *mem;	/* the file */
static u64 *src;	/* what is written */
static u64 *old;	/* what was in the file before */

static bool same(const u64 *a, const u64 *b, size_t size)
{
	size_t i;

	for (i = 0; i < size / sizeof(*a); i++)
		if (a[i] != b[i])
			return false;
	return true;
}

/*
 * The knobs of the kernel
 */
static void set_knob(const char *path, const char *text)
{
	TEST_ASSERT(write_knob(path, text) == (long)strlen(text), "Cannot set %s to %s, errno = %d",
		    path, text, errno);
}

static long read_knob(const char *path)
{
	int knob_fd = open(path, O_RDONLY);
	char text[32] = "";

	TEST_ASSERT(knob_fd >= 0 && read(knob_fd, text, sizeof(text) - 1) > 0,
		    "Cannot read %s, errno = %d", path, errno);
	close(knob_fd);
	return atol(text);
}

/*
 * What can be failed.  Each is an fault_attr of the kernel's in debugfs.
 */
struct fault {
	const char *attr;
	/*
	 * What the attribute's budget, its "space", is spent by: a call, a page,
	 * or the bytes of an object, of which the smallest that count here have 64.
	 */
	unsigned int step;
	/* What a write says that could do nothing at all. */
	int err;
};

static const struct fault slab = { "failslab", 64, ENOMEM };
static const struct fault pages = { "fail_page_alloc", 1, ENOMEM };
static const struct fault usercopy = { "fail_usercopy", 1, EFAULT };
static const struct fault insertion = { "fail_function", 1, ENOMEM };
/* A memory error strikes a page that was filled, before it is published. */
static const struct fault poison = { "fail_gmem_poison", 1, EHWPOISON };

static const struct fault *const faults[] = { &slab, &pages, &usercopy, &insertion, &poison };

static void insertion_fails_with(int err)
{
	char text[32];

	snprintf(text, sizeof(text), "%#lx", (long)-err);
	set_knob(DEBUGFS "fail_function/__filemap_add_folio/retval", text);
}

#define ATTR_PATH	DEBUGFS "%s/%s"

static void attr_set(const struct fault *fault, const char *what, long value)
{
	char path[256], text[32];

	snprintf(path, sizeof(path), ATTR_PATH, fault->attr, what);
	snprintf(text, sizeof(text), "%ld", value);
	set_knob(path, text);
}

static long attr_get(const struct fault *fault, const char *what)
{
	char path[256];

	snprintf(path, sizeof(path), ATTR_PATH, fault->attr, what);
	return read_knob(path);
}

/*
 * Where the kernel should hit, a task of its own: the one that turns the knobs
 * must be able to go on doing so.  Waiting for a semaphore is the one system call
 * that it makes beside those of the scenario, and nothing in it can be failed.
 */
struct scenario;

static struct {
	pthread_t thread;
	pid_t tid;
	sem_t go, done;
	const struct scenario *scenario;
	long ret;
} writer;

struct scenario {
	const char *name;
	void (*prepare)(void);
	long (*write)(void);
	void (*finish)(void);
	/* Every page, or every second, is there before, and overwritten; 0: none is. */
	unsigned int present;
	/* The kernel's usercopies begin and end with pages. */
	bool copies_pages;
	/* The file's pages have a place, and are allocated one by one. */
	bool has_policy;
};

static void *writer_loop(void *arg)
{
	writer.tid = syscall(SYS_gettid);
	sem_post(&writer.done);
	for (;;) {
		sem_wait(&writer.go);
		writer.ret = RET(writer.scenario->write());
		sem_post(&writer.done);
	}
	return NULL;
}

static void write_now(const struct scenario *scenario)
{
	if (scenario->prepare)
		scenario->prepare();

	writer.scenario = scenario;
	sem_post(&writer.go);
	sem_wait(&writer.done);

	if (scenario->finish)
		scenario->finish();
}

#define TASK_PATH	"/proc/self/task/%d/%s"

static void task_set(const char *name, long value)
{
	char path[64], text[32];

	snprintf(path, sizeof(path), TASK_PATH, writer.tid, name);
	snprintf(text, sizeof(text), "%ld", value);
	set_knob(path, text);
}

static long task_get(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), TASK_PATH, writer.tid, name);
	return read_knob(path);
}

/*
 * Ways to write the NR pages of src from page START on
 */
static struct iovec iov[NR + 1];
static int pipefd[2];
static int memfd;

static long write_plain(void)
{
	return pwrite(fd, src, SIZE, PG(START));
}

/* A segment for each page: the kernel copies page by page. */
static void prepare_segments(void)
{
	int i;

	for (i = 0; i < NR; i++)
		iov[i] = (struct iovec) { page_of(src, i), PAGE_BYTES };
}

static long write_segments(void)
{
	return pwritev(fd, iov, NR, PG(START));
}

/* No segment begins or ends with a page. */
static void prepare_odd_segments(void)
{
	char *from = (char *)src;
	int i;

	iov[0] = (struct iovec) { from, PAGE_BYTES / 2 + 1 };
	from += iov[0].iov_len;
	for (i = 1; i < NR; i++, from += PAGE_BYTES)
		iov[i] = (struct iovec) { from, PAGE_BYTES };
	iov[NR] = (struct iovec) { from, PAGE_BYTES / 2 - 1 };
}

static long write_odd_segments(void)
{
	return pwritev(fd, iov, NR + 1, PG(START));
}

static void prepare_pipe(void)
{
	TEST_ASSERT(!pipe(pipefd) && fcntl(pipefd[1], F_SETPIPE_SZ, PG(128)) > 0 &&
		    write(pipefd[1], src, SIZE) == SIZE,
		    "Cannot fill a pipe, errno = %d", errno);
	lseek(fd, PG(START), SEEK_SET);
}

/* Given an offset, splice() would copy the new one back, and could fail in that. */
static long write_pipe(void)
{
	return splice(pipefd[0], NULL, fd, NULL, SIZE, 0);
}

static void finish_pipe(void)
{
	close(pipefd[0]);
	close(pipefd[1]);
}

static void prepare_sendfile(void)
{
	memfd = create_memfd(src, SIZE);
	lseek(fd, PG(START), SEEK_SET);
}

static long write_sendfile(void)
{
	off_t off = 0;

	return sendfile(fd, memfd, &off, SIZE);
}

static void finish_sendfile(void)
{
	close(memfd);
}

static const struct scenario scenarios[] = {
	{ "write() to a hole", NULL, write_plain, .copies_pages = true },
	{ "write() over pages", NULL, write_plain, .present = 1, .copies_pages = true },
	{ "write() over every second page", NULL, write_plain, .present = 2,
	  .copies_pages = true },
	{ "pwritev() of pages to a hole", prepare_segments, write_segments, .copies_pages = true },
	{ "pwritev() of pages over pages", prepare_segments, write_segments,
	  .present = 1, .copies_pages = true },
	{ "pwritev() of odd segments to a hole", prepare_odd_segments, write_odd_segments },
	{ "pwritev() by the file's NUMA policy to a hole", prepare_segments, write_segments,
	  .copies_pages = true, .has_policy = true },
	{ "pwritev() by the file's NUMA policy over pages", prepare_segments, write_segments,
	  .present = 1, .copies_pages = true, .has_policy = true },
	{ "splice() to a hole", prepare_pipe, write_pipe, finish_pipe },
	{ "splice() over pages", prepare_pipe, write_pipe, finish_pipe, .present = 1 },
	{ "sendfile() to a hole", prepare_sendfile, write_sendfile, finish_sendfile },
	{ "sendfile() over pages", prepare_sendfile, write_sendfile, finish_sendfile,
	  .present = 1 },
};

/*
 * Failures of a test are counted, not fatal: the file is usable, after all.
 */
static unsigned int errors;

#define EXPECT(cond, format, ...)						\
do {										\
	if (!(cond)) {								\
		if (++errors <= 10)						\
			ksft_print_msg("%s: " format "\n", #cond, __VA_ARGS__);	\
	}									\
} while (0)

/* Where are the file's pages?  SEEK_DATA alone would miss one beyond. */
static bool is_populated(size_t page)
{
	return lseek(fd, PG(page), SEEK_DATA) == (off_t)PG(page);
}

static bool was_present(const struct scenario *scenario, size_t page)
{
	return scenario->present && page % scenario->present == 0;
}

/* As the scenario wants the file to be, and a proof that it is usable. */
static void file_reset(const struct scenario *scenario, long n)
{
	size_t i;

	EXPECT(pwrite(fd, old, FILE_SIZE, 0) == FILE_SIZE, "call %ld: errno %d", n, errno);
	EXPECT(same(mem, old, FILE_SIZE), "call %ld", n);

	for (i = 0; i < FILE_PAGES; i++) {
		if (was_present(scenario, i))
			continue;
		EXPECT(!punch(fd, PG(i), PAGE_BYTES), "call %ld: errno %d", n, errno);
		EXPECT(!is_populated(i), "call %ld, page %zu", n, i);
	}
}

static void file_open(const struct scenario *scenario)
{
	unsigned long node = 1;

	fd = vm_create_guest_memfd(vm, FILE_SIZE, WRITE_FLAGS);
	mem = map_file(fd, FILE_SIZE);
	if (scenario->has_policy)
		kvm_mbind(mem, FILE_SIZE, MPOL_BIND, &node, sizeof(node) * 8, 0);
	file_reset(scenario, 0);
}

static bool has_stale(const u64 *page)
{
	size_t i;

	for (i = 0; i < PAGE_WORDS; i++)
		if (page[i] == STALE_WORD)
			return true;
	return false;
}

/* The file holds @done new pages and is as it was otherwise. */
static void check_file(const struct scenario *scenario, long n, size_t done)
{
	bool populated;
	size_t i;

	for (i = 0; i < FILE_PAGES; i++) {
		const u64 *page = page_of(mem, i);
		bool new = i >= START && i < START + done;

		populated = is_populated(i);
		EXPECT(populated == (new || was_present(scenario, i)), "call %ld, page %zu", n, i);
		if (!populated)
			continue;
		EXPECT(!has_stale(page), "call %ld, page %zu", n, i);
		if (new)
			EXPECT(same(page, page_of(src, i - START), PAGE_BYTES),
			       "call %ld, new page %zu", n, i);
		else
			EXPECT(same(page, page_of(old, i), PAGE_BYTES), "call %ld, old page %zu", n, i);
	}
}

static void file_close(void)
{
	kvm_munmap(mem, FILE_SIZE);
	close(fd);
}

struct tally {
	unsigned long hits;		/* writes that were made to fail somewhere */
	unsigned long failed;		/* of them, those that did nothing */
	unsigned long cut;		/* those that did some of it */
	unsigned long healed;		/* those that did all the same */
	u8 seen[NR + 1];		/* which counts of pages */
};

/* What one write came to. */
static void account(const struct scenario *scenario, struct tally *tally, long n, long ret,
		    bool errno_ok)
{
	size_t done = ret < 0 ? 0 : ret / PAGE_BYTES;

	tally->hits++;
	if (ret < 0) {
		tally->failed++;
		EXPECT(errno_ok, "call %ld: errno %ld", n, -ret);
	} else {
		EXPECT(ret && ret <= SIZE && ret % PAGE_BYTES == 0, "call %ld: %ld bytes", n, ret);
		if (done == NR)
			tally->healed++;
		else
			tally->cut++;
	}
	if (done <= NR)
		tally->seen[done] = 1;
	check_file(scenario, n, done);
	file_reset(scenario, n);
}

/*
 * Fail the @n-th call and no other, whatever it is.  Returns false if the write
 * made less than @n.
 */
static bool fail_nth(const struct scenario *scenario, struct tally *tally, long n)
{
	bool hit;

	task_set("fail-nth", n);
	write_now(scenario);
	hit = !task_get("fail-nth");
	task_set("fail-nth", 0);
	if (hit)
		account(scenario, tally, n, writer.ret, writer.ret == -ENOMEM ||
			writer.ret == -EFAULT || writer.ret == -EHWPOISON);
	else
		EXPECT(writer.ret == SIZE, "without a failure: %ld", writer.ret);
	return hit;
}

/*
 * From its call number @space on, fail a kind of call so many @times.  Returns false
 * if the write made less.
 */
#define FOR_GOOD	1000000

static bool write_failing(const struct scenario *scenario, const struct fault *fault,
			  long space, long times)
{
	attr_set(fault, "space", space);
	attr_set(fault, "times", times);
	attr_set(fault, "probability", 100);
	task_set("make-it-fail", 1);
	write_now(scenario);
	task_set("make-it-fail", 0);
	attr_set(fault, "probability", 0);
	return attr_get(fault, "times") != times;
}

static bool fail_from(const struct scenario *scenario, const struct fault *fault,
		      struct tally *tally, long space, long times)
{
	bool hit = write_failing(scenario, fault, space, times);

	if (hit)
		account(scenario, tally, space, writer.ret, writer.ret == -fault->err);
	else
		EXPECT(writer.ret == SIZE, "without a failure: %ld", writer.ret);
	return hit;
}

static void report(const struct scenario *scenario, const char *how, const struct tally *tally)
{
	long left = gmem_pages_left(pages_before);

	EXPECT(left <= pages_before, "%ld pages of guest_memfd are left, %ld were there before",
	       left, pages_before);
	EXPECT(tally->hits, "%s", "nothing was made to fail");
	ksft_print_msg("%s, %s: %lu made to fail: %lu did nothing, %lu a part, %lu all of it\n",
		       scenario->name, how, tally->hits, tally->failed, tally->cut, tally->healed);
	ksft_test_result(!errors, "%s, %s\n", scenario->name, how);
	errors = 0;
}

static bool has_large_folios(void)
{
	return !access("/sys/module/kvm/parameters/gmem_folio_order", F_OK);
}

/* How many pages are written at once, where so many are done. */
static size_t next_pages(const struct scenario *scenario, size_t done)
{
	size_t nr = 1;

	if (has_large_folios() && scenario->present != 2)
		while (!((START + done) & nr) && 2 * nr <= NR - done)
			nr *= 2;
	return nr;
}

/* Whatever was next, it was what failed. */
static void check_every_count(const struct scenario *scenario, const struct tally *tally)
{
	size_t i;

	for (i = 0; i < NR; i += next_pages(scenario, i))
		EXPECT(tally->seen[i], "%zu pages were never the result", i);
}

static void test_nth(const struct scenario *scenario)
{
	struct tally tally = {};
	long n = 1;

	file_open(scenario);
	while (fail_nth(scenario, &tally, n))
		n++;
	file_close();
	report(scenario, "any one call failing", &tally);
}

static void test_from(const struct scenario *scenario, const struct fault *fault)
{
	struct tally tally = {};
	char how[64];
	long space = 1;

	file_open(scenario);
	while (fail_from(scenario, fault, &tally, space, FOR_GOOD))
		space += fault->step;
	file_close();
	if ((fault == &usercopy && scenario->copies_pages) ||
	    (fault == &insertion && !scenario->present) ||
	    (fault == &poison && !has_large_folios()))
		check_every_count(scenario, &tally);
	snprintf(how, sizeof(how), "%s from any call on", fault->attr);
	report(scenario, how, &tally);
}

/*
 * As if another writer had been faster to insert a page, whichever: it's there when
 * the insertion fails, and gone when the writer looks for it.  It tries again.
 */
static void test_lost_race(const struct scenario *scenario)
{
	struct tally tally = {};
	long n = 1;

	insertion_fails_with(EEXIST);
	file_open(scenario);
	while (fail_from(scenario, &insertion, &tally, n, 1))
		n++;
	file_close();
	insertion_fails_with(ENOMEM);

	EXPECT(tally.healed == tally.hits, "%lu of %lu", tally.healed, tally.hits);
	report(scenario, "a lost race for any page", &tally);
}

/*
 * Blocks of large folios
 */
static u64 *blocks;	/* what is written to them */
static u64 zeros[PAGE_WORDS];

static void block_open(void)
{
	/* Nobody else is to be the reason why there is no block. */
	set_knob("/proc/sys/vm/compact_memory", "1");
	fd = vm_create_guest_memfd(vm, BLOCKS_SIZE, WRITE_FLAGS);
	mem = map_file(fd, BLOCKS_SIZE);
}

static void block_close(void)
{
	kvm_munmap(mem, BLOCKS_SIZE);
	close(fd);
}

static long write_blocks(void)
{
	return pwrite(fd, blocks, BLOCKS_SIZE, 0);
}

static long allocate_blocks(void)
{
	return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, BLOCKS_SIZE);
}

static long punch_block(void)
{
	return fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, PG(HOLE_START),
			 PG(HOLE_END - HOLE_START));
}

/* Where there is no folio of a size, there is one of half that, down to a page. */
static void test_each_order(const struct scenario *scenario)
{
	struct tally tally = {};
	long n, ret = scenario->write == write_blocks ? BLOCKS_SIZE : 0;

	for (n = 0; BLOCK >> n; n++) {
		block_open();
		write_failing(scenario, &pages, 0, n);
		EXPECT(writer.ret == ret, "%ld allocations: %ld", n, writer.ret);
		EXPECT(folio_pages(mem) == BLOCK >> n, "%ld allocations: %zu pages", n,
		       folio_pages(mem));
		/* There is again: three orders more are tried in the next block. */
		EXPECT(folio_pages(page_of(mem, BLOCK)) == BLOCK >> (n < 3 ? 0 : n - 3),
		       "%ld allocations: %zu pages in the next block", n,
		       folio_pages(page_of(mem, BLOCK)));
		EXPECT(!ret || same(mem, blocks, BLOCKS_SIZE), "%ld allocations", n);
		block_close();
		tally.hits++;
		tally.healed++;
	}
	report(scenario, "no folio of each size", &tally);
}

/* Where there is none of any size, each is asked for once. */
static void test_no_page(const struct scenario *scenario)
{
	struct tally tally = { .hits = 1, .failed = 1 };
	long tries, n = 1;

	while (has_large_folios() && BLOCK >> n)
		n++;
	block_open();
	write_failing(scenario, &pages, 0, FOR_GOOD);
	tries = FOR_GOOD - attr_get(&pages, "times");
	EXPECT(writer.ret == -ENOMEM && tries == n, "%ld, %ld tries", writer.ret, tries);
	block_close();
	report(scenario, "no page", &tally);
}

/* A hole in a folio is one, and nothing else, however splitting it fails. */
static void check_hole(bool written, long n)
{
	size_t i;

	EXPECT(!writer.ret, "call %ld: %ld", n, writer.ret);
	if (written) {
		EXPECT(lseek(fd, 0, SEEK_HOLE) == PG(HOLE_START), "call %ld", n);
		EXPECT(lseek(fd, PG(HOLE_START), SEEK_DATA) == PG(HOLE_END), "call %ld", n);
		EXPECT(lseek(fd, PG(HOLE_END), SEEK_HOLE) == BLOCKS_SIZE, "call %ld", n);
	} else {
		EXPECT(lseek(fd, 0, SEEK_DATA) < 0 && errno == ENXIO, "call %ld", n);
	}
	for (i = 0; i < 2 * BLOCK; i++)
		EXPECT(same(page_of(mem, i), !written || (i >= HOLE_START && i < HOLE_END) ?
			    zeros : page_of(blocks, i), PAGE_BYTES), "call %ld, page %zu", n, i);
	EXPECT(write_blocks() == BLOCKS_SIZE && same(mem, blocks, BLOCKS_SIZE), "call %ld", n);
}

/* Splitting is failed by one allocation, or by those from one on. */
static bool fail_hole(bool written, bool one, struct tally *tally, long n)
{
	static const struct scenario punching = { .write = punch_block };
	bool hit;

	block_open();
	EXPECT(written ? write_blocks() == BLOCKS_SIZE : !allocate_blocks(), "errno %d", errno);
	if (one) {
		task_set("fail-nth", n);
		write_now(&punching);
		hit = !task_get("fail-nth");
		task_set("fail-nth", 0);
	} else {
		hit = write_failing(&punching, &slab, n * slab.step, FOR_GOOD);
	}
	check_hole(written, n);
	block_close();
	tally->hits += hit;
	tally->healed += hit;
	return hit;
}

static void test_hole(bool written, bool one)
{
	const struct scenario scenario = {
		written ? "a hole in a block" : "a hole in an allocated block"
	};
	struct tally tally = {};
	long n = 1;

	while (fail_hole(written, one, &tally, n))
		n++;
	report(&scenario, one ? "any one call failing" : "failslab from any call on", &tally);
}

static const struct scenario block_scenarios[] = {
	{ "write() of blocks", .write = write_blocks },
	{ "fallocate() of blocks", .write = allocate_blocks },
};

static bool can_fail(const struct scenario *scenario, const struct fault *fault)
{
	if (fault == &insertion)
		return !scenario->present;
	if (fault == &usercopy)
		return !scenario->finish;	/* what is in a pipe is the kernel's */
	return fault == &pages || fault == &poison || !scenario->present;
}

int main(void)
{
	unsigned int i, j, plan = 0;

	ksft_print_header();
	if (access(DEBUGFS "fail_function", F_OK) || access("/proc/self/fail-nth", F_OK))
		ksft_exit_skip("the kernel has no fault injection\n");

	for (i = 0; i < ARRAY_SIZE(scenarios); i++)
		for (j = 0, plan++; j < ARRAY_SIZE(faults); j++)
			plan += can_fail(&scenarios[i], faults[j]);
	ksft_set_plan(plan + 4 + (has_large_folios() ? 6 : 0));

	pages_before = gmem_pages_left(0);
	vm = vm_create_barebones();
	src = map_anon(SIZE);
	old = map_anon(FILE_SIZE);
	fill_pages(src, NR, START, 1, 0);
	fill_pages(old, FILE_PAGES, 0, 2, 0);
	blocks = map_anon(BLOCKS_SIZE);
	fill_pages(blocks, 2 * BLOCK, 0, 3, 0);

	set_knob(DEBUGFS "fail_function/inject", "__filemap_add_folio");
	insertion_fails_with(ENOMEM);
	for (j = 0; j < ARRAY_SIZE(faults); j++) {
		attr_set(faults[j], "verbose", 0);
		attr_set(faults[j], "interval", 1);
	}
	/* A probe hits outside of what counts as the task's context. */
	set_knob(DEBUGFS "failslab/task-filter", "Y");
	set_knob(DEBUGFS "fail_page_alloc/task-filter", "Y");
	set_knob(DEBUGFS "fail_usercopy/task-filter", "Y");
	set_knob(DEBUGFS "fail_gmem_poison/task-filter", "Y");
	/* Those that may sleep, and single pages, are the ones that matter. */
	set_knob(DEBUGFS "failslab/ignore-gfp-wait", "N");
	set_knob(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N");
	set_knob(DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N");
	set_knob(DEBUGFS "fail_page_alloc/min-order", "0");

	sem_init(&writer.go, 0, 0);
	sem_init(&writer.done, 0, 0);
	pthread_create(&writer.thread, NULL, writer_loop, NULL);
	sem_wait(&writer.done);

	for (i = 0; i < ARRAY_SIZE(scenarios); i++) {
		test_nth(&scenarios[i]);
		for (j = 0; j < ARRAY_SIZE(faults); j++)
			if (can_fail(&scenarios[i], faults[j]))
				test_from(&scenarios[i], faults[j]);
	}
	for (i = 0; i < ARRAY_SIZE(scenarios); i++)
		if (scenarios[i].write == write_plain && scenarios[i].present != 1)
			test_lost_race(&scenarios[i]);
	for (i = 0; i < ARRAY_SIZE(block_scenarios); i++)
		test_no_page(&block_scenarios[i]);
	if (has_large_folios()) {
		for (i = 0; i < ARRAY_SIZE(block_scenarios); i++)
			test_each_order(&block_scenarios[i]);
		for (i = 0; i < 4; i++)
			test_hole(i & 1, i & 2);
	}
	ksft_finished();
}
