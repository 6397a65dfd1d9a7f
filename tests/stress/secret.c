// SPDX-License-Identifier: GPL-2.0-only
/*
 * guest_memfd that is not in the direct map, on kernels of the lab, which can look there:
 * what is populated is hidden and what is free is not, whatever fails and whoever holds a
 * folio; and who else might read guest memory can't.
 */
#include <liburing.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <linux/fs.h>
#include <linux/perf_event.h>

#include "processor.h"
#include "ucall_common.h"

/* Blocks of what the direct map is made of, with pages of 4 KiB. */
#define BLOCK		512ul
#define NR_BLOCKS	3
#define NR_PAGES	(NR_BLOCKS * BLOCK)
#define FILE_FLAGS	(WRITE_FLAGS | GUEST_MEMFD_FLAG_NO_DIRECT_MAP)

#include "common/fixture.h"
#include "common/offline.h"

#define DEBUGFS		"/sys/kernel/debug/"
#define DIRECT_MAP	DEBUGFS "guest_memfd/"

/* What the kernel says of all its memory, see kernel/lab-only/no-direct-map. */
struct hunt {
	long hidden, leaked, lost, kept, found;
};

static struct hunt hunt(void)
{
	FILE *f = fopen(DIRECT_MAP "hunt", "r");
	struct hunt h;

	TEST_ASSERT(f && fscanf(f, "hidden %ld leaked %ld lost %ld kept %ld found %ld",
				&h.hidden, &h.leaked, &h.lost, &h.kept, &h.found) == 5,
		    "Can't hunt, errno = %d", errno);
	fclose(f);
	return h;
}

/* So many pages are populated and hidden, and not more than @kept are otherwise. */
#define EXPECT_HIDDEN(hidden, kept)						\
	expect_hidden(_metadata, __LINE__, hidden, kept)

static void expect_hidden(struct __test_metadata *_metadata, int line, long hidden, long kept)
{
	struct hunt h = hunt();

	EXPECT_EQ(hidden, h.hidden)
		TH_LOG("line %d", line);
	EXPECT_EQ(0, h.leaked)
		TH_LOG("line %d: pages of the file that can be read", line);
	EXPECT_EQ(0, h.lost)
		TH_LOG("line %d: free pages that can't be read", line);
	EXPECT_EQ(kept, h.kept)
		TH_LOG("line %d: other pages that can't be read", line);
}

/* Have somebody hold the folio for as long as that is open. */
static int hold_folio(int fd, size_t index)
{
	int hold = open(DIRECT_MAP "hold", O_WRONLY);

	TEST_ASSERT(hold >= 0, "Can't open hold, errno = %d", errno);
	TEST_ASSERT(dprintf(hold, "%d %zu", fd, index) > 0, "Can't hold, errno = %d", errno);
	return hold;
}

/* A page that nobody has mapped is marked; what comes of that is left to whoever accesses it. */
static long spoil(u64 *page)
{
	u64 pfn;

	READ_ONCE(*page);
	pfn = page_frame(page);
	kvm_madvise(page, PG(1), MADV_DONTNEED);
	return corrupt_pfn(pfn);
}

/* -- failures: first of all, while the direct map is not cut into pages yet ------------ */

/*
 * The debug kernel lets other things fail, too: slabs of any cache are of no interest, and
 * what is said of each failure takes the place of what lab/leaks must know.
 */
static void let_pages_fail(void)
{
	write_knob(DEBUGFS "failslab/cache-filter", "Y");
	write_knob(DEBUGFS "failslab/verbose", "0");
	write_knob(DEBUGFS "fail_usercopy/verbose", "0");
	write_knob(DEBUGFS "fail_function/verbose", "0");
	TEST_ASSERT(write_knob(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N") > 0 &&
		    write_knob(DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N") > 0 &&
		    write_knob(DEBUGFS "fail_page_alloc/min-order", "0") > 0 &&
		    write_knob(DEBUGFS "fail_page_alloc/verbose", "0") > 0,
		    "No fault injection, errno = %d", errno);
}

static __thread int fail_nth = -1;

/* The n-th thing from now on that can fail. */
static void task_fails_at(long n)
{
	char text[32];

	if (fail_nth < 0)
		fail_nth = open("/proc/thread-self/fail-nth", O_RDWR);
	snprintf(text, sizeof(text), "%ld", n);
	TEST_ASSERT(pwrite(fail_nth, text, strlen(text), 0) > 0, "Can't set fail-nth, errno = %d",
		    errno);
}

/* Has that happened?  It may be here that it does, which counts for nothing. */
static bool task_has_failed(void)
{
	char text[32] = "";
	ssize_t len;

	if (fail_nth < 0)
		return false;
	len = pread(fail_nth, text, sizeof(text) - 1, 0);
	TEST_ASSERT(len > 0 || errno == EFAULT, "Can't read fail-nth, errno = %d", errno);
	if (len > 0 && !atol(text))
		return true;
	/* So may this. */
	while (pwrite(fail_nth, "0", 1, 0) < 0)
		TEST_ASSERT(errno == EFAULT, "Can't set fail-nth, errno = %d", errno);
	return false;
}

/* What a call may say of which something has failed. */
static bool is_failure(long ret)
{
	return ret == -ENOMEM || ret == -EFAULT;
}

/* What memory failure handling has split, and can't be shown, is not freed either. */
TEST_F(file, lost_with_a_bad_page)
{
	struct hunt before = hunt(), after;
	struct memcg cg;

	let_pages_fail();
	/* Pages that are lost remain charged. */
	ASSERT_EQ(0, memcg_create(&cg, &program_cg, "lost"));
	ASSERT_EQ(0, memcg_enter(&cg));
	ASSERT_EQ(PG(BLOCK), write_pages(self, 0, BLOCK));
	EXPECT_EQ(-EBUSY, spoil(page_of(self->mem, 5)));
	task_fails_at(1);
	EXPECT_EQ(0, punch(self->fd, 0, PG(BLOCK)));
	EXPECT_TRUE(task_has_failed());
	after = hunt();
	EXPECT_EQ(before.hidden, after.hidden);
	EXPECT_EQ(0, after.lost);
	EXPECT_LE(before.kept + 1, after.kept);
	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	EXPECT_PAGES(self->mem, 0, NR_PAGES, 1, 1);
}

/* Nor is a folio that somebody held when a page of it went bad, or any page of it shown. */
TEST_F(file, lost_while_held)
{
	struct hunt before = hunt(), after;
	struct memcg cg;
	int hold;

	ASSERT_EQ(0, memcg_create(&cg, &program_cg, "held"));
	ASSERT_EQ(0, memcg_enter(&cg));
	ASSERT_EQ(PG(BLOCK), write_pages(self, 0, BLOCK));
	hold = hold_folio(self->fd, 20);
	EXPECT_EQ(-EHWPOISON, spoil(page_of(self->mem, 5)));
	EXPECT_HIDDEN(before.hidden + BLOCK - 1, before.kept + 1);
	/* Of what is punched out with it all else is shown. */
	EXPECT_EQ(0, punch(self->fd, PG(5), PG(5)));
	EXPECT_HIDDEN(before.hidden + BLOCK - 5, before.kept + 1);
	EXPECT_EQ(0, punch(self->fd, 0, PG(BLOCK)));
	close(hold);
	after = hunt();
	EXPECT_EQ(before.hidden, after.hidden);
	EXPECT_EQ(0, after.lost);
	EXPECT_EQ(before.kept + BLOCK, after.kept);
}

enum call { PUNCH, PUNCH_HELD, WRITE, WRITE_PAGE, WRITE_ALLOCATED, TOUCH, NR_CALLS };

static long make_call(FIXTURE_DATA(file) *self, enum call call, size_t block)
{
	switch (call) {
	case PUNCH:
	case PUNCH_HELD:
		return punch(self->fd, PG(block + 100), PG(3));
	case TOUCH:
		/* What a fault can't get it tries again. */
		return READ_ONCE(*page_of(self->mem, block));
	default:
		return write_pages(self, block, call == WRITE ? BLOCK : 1);
	}
}

/* How many pages more are hidden after a call that returned @ret. */
static long newly_hidden(enum call call, long ret)
{
	switch (call) {
	case PUNCH:
	case PUNCH_HELD:
		return ret ? 0 : -3;
	case TOUCH:
		return 1;
	default:
		return max(ret, 0l) / (long)PAGE_BYTES;
	}
}

/* What free pages there are of where the direct map is cut are taken, for good. */
static void take_what_is_cut(FIXTURE_DATA(file) *self)
{
	const int fd = create_file_of_pages(self->vm, PG(2 * BLOCK));

	TEST_ASSERT_EQ(preallocate(fd, 0, PG(2 * BLOCK)), 0);
}

/* A call that fails has done nothing, or what it says; its failure leaves nothing open. */
static bool fails_at(struct __test_metadata *_metadata, FIXTURE_DATA(file) *self,
		     enum call call, long n)
{
	const bool punches = call == PUNCH || call == PUNCH_HELD;
	/* Its own: where the direct map has been cut there is no more to fail. */
	const size_t block = punches ? call * BLOCK : 2 * BLOCK;
	struct hunt before, after;
	int hold = -1;
	bool failed;
	long ret;

	if (!punches)
		take_what_is_cut(self);
	if (punches)
		EXPECT_EQ(PG(BLOCK), write_pages(self, block, BLOCK));
	if (call == PUNCH_HELD)
		hold = hold_folio(self->fd, block);
	if (call == WRITE_ALLOCATED)
		EXPECT_EQ(0, preallocate(self->fd, PG(block), PG(1)));

	before = hunt();
	task_fails_at(n);
	ret = make_call(self, call, block);
	failed = task_has_failed();
	after = hunt();

	EXPECT_EQ(before.hidden + newly_hidden(call, ret), after.hidden)
		TH_LOG("call %d, failure %ld, returned %ld", call, n, ret);
	EXPECT_EQ(0, after.leaked);
	EXPECT_EQ(0, after.lost);
	EXPECT_EQ(before.kept, after.kept)
		TH_LOG("call %d, failure %ld: pages that are lost", call, n);
	if (ret)
		EXPECT_TRUE(ret > 0 || (failed && is_failure(ret)));

	if (hold >= 0)
		close(hold);
	if (failed || !punches)
		EXPECT_EQ(0, punch(self->fd, PG(block), PG(BLOCK)));
	return failed;
}

TEST_F_TIMEOUT(file, failures, 600)
{
	enum call call;
	long n;

	let_pages_fail();
	for (call = 0; call < NR_CALLS; call++) {
		for (n = 1; fails_at(_metadata, self, call, n); n++)
			;
		/* Each of them allocates something. */
		EXPECT_LT(1, n)
			TH_LOG("call %d", call);
	}
}

/* -- what is hidden ------------------------------------------------------------------ */

TEST_F(file, populated_is_hidden)
{
	const long kept = hunt().kept;
	size_t i;

	/* Every order, and every way. */
	ASSERT_EQ(PG(BLOCK + 88), write_pages(self, 1, BLOCK + 88));
	EXPECT_HIDDEN(BLOCK + 88, kept);
	EXPECT_EQ(0, preallocate(self->fd, PG(800), PG(200)));
	EXPECT_HIDDEN(BLOCK + 88, kept);
	for (i = 800; i < 900; i++)
		EXPECT_EQ(0, READ_ONCE(*page_of(self->mem, i)));
	ASSERT_EQ(PG(50), write_pages(self, 900, 50));
	EXPECT_HIDDEN(BLOCK + 88 + 150, kept);
	for (i = 1000; i < 1024; i++)
		WRITE_ONCE(*page_of(self->mem, i), i);
	EXPECT_HIDDEN(BLOCK + 88 + 150 + 24, kept);
	EXPECT_PAGES(self->mem, 1, BLOCK + 88, 1, 1);
	EXPECT_PAGES(self->mem, 900, 50, 1, 1);

	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	EXPECT_HIDDEN(0, kept);
}

/* Private memory of its own is KVM's to reach: such a VM has no files of this kind. */
TEST_F(file, private_memory)
{
	struct kvm_vm *vm;

	ASSERT_TRUE(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM));
	vm = vm_create_barebones_type(KVM_X86_SW_PROTECTED_VM);
	EXPECT_EQ(0, vm_check_cap(vm, KVM_CAP_GUEST_MEMFD_FLAGS) & GUEST_MEMFD_FLAG_NO_DIRECT_MAP);
	EXPECT_EQ(-EINVAL, RET(__vm_create_guest_memfd(vm, FILE_SIZE, GUEST_MEMFD_FLAG_NO_DIRECT_MAP)));
	kvm_vm_free(vm);
}

/* Nothing of the guest is in memory that can be read. */
TEST_F(file, nothing_is_left_behind)
{
	const int plain = vm_create_guest_memfd(self->vm, FILE_SIZE, WRITE_FLAGS);
	const u64 wanted = 0x6ee75ec4e7ull << 16;
	volatile u64 *words = (u64 *)self->src;
	char text[32];
	size_t i;
	int hold;

	snprintf(text, sizeof(text), "%llu", (unsigned long long)wanted);
	ASSERT_LT(0, write_knob(DIRECT_MAP "hunt", text));

	for (i = 0; i < PG(BLOCK) / sizeof(*words); i++)
		words[i] = ~wanted;
	ASSERT_EQ(PG(BLOCK), RET(pwrite(plain, self->src, PG(BLOCK), 0)));
	for (i = 0; i < NR_BLOCKS; i++)
		ASSERT_EQ(PG(BLOCK), RET(pwrite(self->fd, self->src, PG(BLOCK), PG(i * BLOCK))));
	/* A page that can't be read ends the write: what was copied is thrown away. */
	EXPECT_EQ(0, mprotect(self->src + PG(9), PG(1), PROT_NONE));
	EXPECT_EQ(0, punch(self->fd, 0, PG(BLOCK)));
	EXPECT_EQ(PG(9), RET(pwrite(self->fd, self->src, PG(BLOCK), 0)));
	EXPECT_EQ(0, mprotect(self->src + PG(9), PG(1), PROT_READ | PROT_WRITE));
	memset(self->src, 0, FILE_SIZE);

	/* All of them are those of the file that is in the direct map. */
	EXPECT_LE(BLOCK * PAGE_WORDS, hunt().found);
	memset(map_file(plain, FILE_SIZE), 0, PG(BLOCK));
	EXPECT_GT(PAGE_WORDS, hunt().found);
	EXPECT_EQ(0, punch(self->fd, 0, PG(700)));
	EXPECT_GT(PAGE_WORDS, hunt().found);
	/* Nor in a hole of a folio that somebody holds. */
	hold = hold_folio(self->fd, 2 * BLOCK + 7);
	EXPECT_EQ(0, punch(self->fd, PG(2 * BLOCK + 100), PG(100)));
	EXPECT_GT(PAGE_WORDS, hunt().found);
	close(hold);
	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	EXPECT_GT(PAGE_WORDS, hunt().found);

	ASSERT_LT(0, write_knob(DIRECT_MAP "hunt", "0"));
	close(plain);
}

/* Holes in a folio that can't be split are no longer hidden, until they are filled. */
TEST_F(file, holes_in_held_folios)
{
	const long kept = hunt().kept;
	int hold;

	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	hold = hold_folio(self->fd, 7);
	EXPECT_EQ(0, punch(self->fd, PG(100), PG(BLOCK)));
	EXPECT_HIDDEN(NR_PAGES - BLOCK, kept);
	EXPECT_EQ(PG(100), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_PAGES(self->mem, 0, 100, 1, 1);

	EXPECT_ZERO(self->mem, 100, 50);
	EXPECT_HIDDEN(NR_PAGES - BLOCK + 50, kept);
	fill_pages(self->src, NR_PAGES, 0, 2, 1);
	EXPECT_EQ(-EEXIST, write_pages(self, 149, 2));
	EXPECT_EQ(PG(BLOCK - 50), write_pages(self, 150, BLOCK - 50));
	EXPECT_PAGES(self->mem, 150, BLOCK - 50, 2, 1);
	EXPECT_HIDDEN(NR_PAGES, kept);

	/* Punched again, by another range, and by all of it. */
	EXPECT_EQ(0, punch(self->fd, PG(90), PG(100)));
	EXPECT_EQ(0, punch(self->fd, PG(100), PG(300)));
	EXPECT_HIDDEN(NR_PAGES - 310, kept);
	close(hold);
	EXPECT_EQ(0, punch(self->fd, PG(1), PG(1)));
	EXPECT_HIDDEN(NR_PAGES - 311, kept);
	EXPECT_PAGES(self->mem, 2, 88, 1, 1);
	EXPECT_PAGES(self->mem, 400, 100, 2, 1);

	hold = hold_folio(self->fd, 2 * BLOCK + 7);
	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	EXPECT_HIDDEN(0, kept);
	close(hold);
	EXPECT_HIDDEN(0, kept);
}

TEST_F(file, one_bad_page)
{
	const long kept = hunt().kept;

	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	EXPECT_EQ(-EBUSY, spoil(page_of(self->mem, 5)));
	EXPECT_HIDDEN(NR_PAGES - 1, kept + 1);
	EXPECT_EQ(-EHWPOISON, write_pages(self, 5, 1));
	EXPECT_PAGES(self->mem, 0, 5, 1, 1);
	EXPECT_PAGES(self->mem, 6, NR_PAGES - 6, 1, 1);

	/* All of it is freed, and that page does not come back. */
	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	EXPECT_HIDDEN(0, kept + 1);
	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	EXPECT_PAGES(self->mem, 0, NR_PAGES, 1, 1);
}

/* -- the hunt, beside all that changes what is hidden ----------------------------------- */

/* Who does one thing after the other, at random, on blocks that others do, too. */
struct doer {
	FIXTURE_DATA(file) *file;
	void (*act)(struct doer *doer);
	u64 nr_done, nr_failed;
	struct kvm_random_state rng;
	pthread_t thread;
	long wrong;	/* what a call returned that it must not */
};

static volatile bool enough;

static u32 below(struct doer *doer, u32 n)
{
	return kvm_random_u32(&doer->rng) % n;
}

static void *do_it(void *arg)
{
	struct doer *doer = arg;

	while (!enough)
		doer->act(doer);
	return NULL;
}

/* What it does in between, half of the time, fails for want of memory. */
static void lets_fail(struct doer *doer)
{
	task_fails_at(below(doer, 2) * (1 + below(doer, 40)));
}

static void has_done(struct doer *doer, long ret)
{
	doer->nr_failed += task_has_failed();
	doer->nr_done += ret >= 0;
	if (ret < 0 && !is_failure(ret) && ret != -EEXIST)
		doer->wrong = ret;
}

static void write_somewhere(struct doer *doer)
{
	const size_t nr = below(doer, 4) ? 1 + below(doer, 40) : BLOCK;
	const size_t index = nr == BLOCK ? below(doer, 2) * BLOCK : below(doer, 2 * BLOCK - nr);

	lets_fail(doer);
	has_done(doer, write_pages(doer->file, index, nr));
}

static void punch_somewhere(struct doer *doer)
{
	const size_t nr = below(doer, 4) ? 1 + below(doer, 100) : BLOCK;
	const size_t index = below(doer, 2 * BLOCK - nr + 1);

	lets_fail(doer);
	has_done(doer, punch(doer->file->fd, PG(index), PG(nr)));
}

static void touch_somewhere(struct doer *doer)
{
	const size_t index = below(doer, 2 * BLOCK);

	if (!below(doer, 4))
		has_done(doer, preallocate(doer->file->fd, PG(index), PG(1)));
	READ_ONCE(*page_of(doer->file->mem, index));
	doer->nr_done++;
}

/* In a block of its own: another's page must not be marked once it is no more the file's. */
static void spoil_one(struct doer *doer)
{
	const size_t index = 2 * BLOCK + below(doer, BLOCK);

	/* Each costs the machine a page, and what is left of a block. */
	if (doer->nr_done == 8) {
		usleep(1000);
		return;
	}
	has_done(doer, punch(doer->file->fd, PG(2 * BLOCK), PG(BLOCK)));
	doer->nr_done--;
	if (write_pages(doer->file, 2 * BLOCK, BLOCK) != PG(BLOCK))
		doer->wrong = -EIO;
	spoil(page_of(doer->file->mem, index));
	has_done(doer, punch(doer->file->fd, PG(index - index % 8), PG(8)));
}

TEST_F(file, hunted_beside_everything)
{
	struct doer doers[] = {
		{ .act = write_somewhere }, { .act = punch_somewhere },
		{ .act = touch_somewhere }, { .act = spoil_one },
	};
	long populated = 0, failed = 0;
	struct memcg cg;
	struct hunt h;
	int i, n;

	let_pages_fail();
	ASSERT_EQ(0, memcg_create(&cg, &program_cg, "spoilt"));
	ASSERT_EQ(0, memcg_enter(&cg));
	for (i = 0; i < ARRAY_SIZE(doers); i++) {
		doers[i].file = self;
		doers[i].rng = new_kvm_random_state(i + 1);
		kvm_pthread_create(&doers[i].thread, NULL, do_it, &doers[i]);
	}
	for (n = 0; n < 40; n++) {
		h = hunt();
		populated += h.hidden > 0;
		ASSERT_EQ(0, h.leaked)
			TH_LOG("hunt %d: pages of the file that can be read", n);
		ASSERT_EQ(0, h.lost)
			TH_LOG("hunt %d: free pages that can't be read", n);
	}
	enough = true;
	for (i = 0; i < ARRAY_SIZE(doers); i++) {
		kvm_pthread_join(doers[i].thread, NULL);
		EXPECT_EQ(0, doers[i].wrong)
			TH_LOG("doer %d", i);
		EXPECT_LT(0, doers[i].nr_done)
			TH_LOG("doer %d", i);
		failed += doers[i].nr_failed;
	}
	EXPECT_LT(0, populated);
	EXPECT_LT(0, failed);
	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	h = hunt();
	EXPECT_EQ(0, h.hidden);
	EXPECT_EQ(0, h.leaked);
	EXPECT_EQ(0, h.lost);
}

/* -- who else might read it ----------------------------------------------------- */

static long by_vmsplice(void *mem)
{
	struct iovec iov = { mem, 64 };
	int pipefd[2];
	long ret;

	TEST_ASSERT(!pipe(pipefd), "pipe() failed, errno = %d", errno);
	ret = RET(vmsplice(pipefd[1], &iov, 1, 0));
	close(pipefd[0]);
	close(pipefd[1]);
	return ret;
}

static long by_process_vm_readv(void *mem)
{
	u8 buf[64];
	struct iovec local = { buf, sizeof(buf) }, remote = { mem, sizeof(buf) };

	return RET(process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
}

static long by_proc_mem(void *mem)
{
	int fd = open("/proc/self/mem", O_RDONLY);
	u8 buf[64];
	long ret = RET(pread(fd, buf, sizeof(buf), (uintptr_t)mem));

	close(fd);
	return ret;
}

static long by_ptrace(void *mem)
{
	pid_t pid = fork_child();
	long ret;

	if (!pid) {
		ptrace(PTRACE_TRACEME);
		raise(SIGSTOP);
		_exit(0);
	}
	wait_for(pid);
	errno = 0;
	ret = RET(ptrace(PTRACE_PEEKDATA, pid, mem, NULL));
	kill(pid, SIGKILL);
	wait_for(pid);
	return ret;
}

static long by_mlock(void *mem)
{
	return RET(mlock(mem, PG(1)));
}

static long by_populate(void *mem)
{
	return RET(madvise(mem, PG(1), MADV_POPULATE_WRITE));
}

static long by_direct_io(void *mem)
{
	int fd = open("/dev/vda", O_RDWR | O_DIRECT);
	long ret;

	TEST_ASSERT(fd >= 0, "Can't open the disk, errno = %d", errno);
	ret = RET(pwrite(fd, mem, PG(1), 0));
	close(fd);
	return ret;
}

static long by_direct_read(void *mem)
{
	int fd = open("/dev/vda", O_RDWR | O_DIRECT);
	long ret = RET(pread(fd, mem, PG(1), 0));

	close(fd);
	return ret;
}

static long by_fixed_buffer(void *mem)
{
	struct iovec iov = { mem, PG(1) };
	struct io_uring ring;
	long ret;

	TEST_ASSERT(!io_uring_queue_init(1, &ring, 0), "No io_uring");
	ret = io_uring_register_buffers(&ring, &iov, 1);
	io_uring_queue_exit(&ring);
	return ret;
}

static long by_build_id(void *mem)
{
	u8 id[64];
	struct procmap_query query = {
		.size = sizeof(query),
		.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
		.query_addr = (uintptr_t)mem,
		.build_id_size = sizeof(id),
		.build_id_addr = (uintptr_t)id,
	};
	int fd = open("/proc/self/maps", O_RDONLY);
	long ret = RET(ioctl(fd, PROCMAP_QUERY, &query));

	close(fd);
	return ret ?: query.build_id_size;
}

static long by_bad_memory(void *mem)
{
	return RET(madvise(mem, PG(1), MADV_SOFT_OFFLINE));
}

static const struct {
	const char *name;
	long (*call)(void *mem);
} readers[] = {
	{ "vmsplice", by_vmsplice }, { "process_vm_readv", by_process_vm_readv },
	{ "/proc/PID/mem", by_proc_mem }, { "ptrace", by_ptrace }, { "mlock", by_mlock },
	{ "madvise", by_populate }, { "O_DIRECT", by_direct_io }, { "O_DIRECT read", by_direct_read },
	{ "io_uring", by_fixed_buffer }, { "build ID", by_build_id }, { "soft offline", by_bad_memory },
};

/* Whoever wants the pages is told what memfd_secret() tells them. */
TEST_F(file, as_memfd_secret)
{
	int secret = syscall(__NR_memfd_secret, 0);
	u64 *secret_mem;
	size_t i;

	ASSERT_LE(0, secret);
	ASSERT_EQ(0, ftruncate(secret, PG(1)));
	secret_mem = kvm_mmap(PG(1), PROT_READ | PROT_WRITE, MAP_SHARED, secret);
	WRITE_ONCE(*secret_mem, 1);
	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));

	for (i = 0; i < ARRAY_SIZE(readers); i++) {
		/* Through page tables that are there, and that are not. */
		READ_ONCE(*page_of(self->mem, 0));
		EXPECT_EQ(readers[i].call(secret_mem), readers[i].call(self->mem))
			TH_LOG("%s", readers[i].name);
		EXPECT_GE(0, readers[i].call(self->mem))
			TH_LOG("%s", readers[i].name);
		EXPECT_GE(0, readers[i].call(page_of(self->mem, BLOCK + 1)))
			TH_LOG("%s", readers[i].name);
	}
	EXPECT_PAGES(self->mem, 0, NR_PAGES, 1, 1);
	kvm_munmap(secret_mem, PG(1));
	close(secret);
}

/* Of what is mapped perf wants the build ID at once, from the pages themselves. */
TEST_F(file, perf)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_DUMMY,
		.size = sizeof(attr),
		.mmap2 = 1,
		.mmap_data = 1,
		.build_id = 1,
	};
	int perf;

	ASSERT_EQ(PG(1), write_pages(self, 0, 1));
	perf = syscall(__NR_perf_event_open, &attr, 0, -1, -1, 0);
	ASSERT_LE(0, perf);
	kvm_munmap(map_file(self->fd, FILE_SIZE), FILE_SIZE);
	EXPECT_PAGES(self->mem, 0, 1, 1, 1);
	close(perf);
}

/* Who has the physical address, and may read any, can't read that. */
TEST_F(file, dev_mem)
{
	const int fd = open("/dev/mem", O_RDONLY);
	u64 word;
	long ret;

	ASSERT_LE(0, fd);
	ret = RET(pread(fd, &word, 8, PG(page_frame(self->src))));
	if (ret == -EPERM)
		SKIP(return, "this kernel lets nobody read RAM there");
	EXPECT_EQ(8, ret);
	EXPECT_EQ(*(u64 *)self->src, word);
	ASSERT_EQ(PG(1), write_pages(self, 0, 1));
	READ_ONCE(*self->mem);
	EXPECT_EQ(-EFAULT, RET(pread(fd, &word, 8, PG(page_frame(self->mem)))));
	close(fd);
}

TEST_F(file, hibernation)
{
	ASSERT_EQ(FILE_SIZE, write_pages(self, 0, NR_PAGES));
	EXPECT_EQ(-EBUSY, write_knob("/sys/power/state", "disk"));
	EXPECT_PAGES(self->mem, 0, NR_PAGES, 1, 1);
}

/* From the moment that it was allowed, and until it is over, there is no such file to be had. */
TEST_F(file, hibernating)
{
	int fd, snapshot;

	kvm_munmap(self->mem, FILE_SIZE);
	close(self->fd);
	snapshot = open("/dev/snapshot", O_RDONLY);
	ASSERT_LE(0, snapshot);
	EXPECT_EQ(-EBUSY, RET(__vm_create_guest_memfd(self->vm, FILE_SIZE, FILE_FLAGS)));
	fd = vm_create_guest_memfd(self->vm, FILE_SIZE, WRITE_FLAGS);
	close(fd);
	close(snapshot);
	fd = vm_create_guest_memfd(self->vm, FILE_SIZE, FILE_FLAGS);
	close(fd);
}

#define GUEST_GPA	(4ul << 30)

static void guest_code(u64 gpa)
{
	wrmsr(0x4b564d01 /* MSR_KVM_SYSTEM_TIME_NEW */, gpa | 1);
	GUEST_SYNC(READ_ONCE(*(u64 *)gpa));
	GUEST_DONE();
}

/* KVM maps guest memory for kvmclock.  It can't, and nothing else happens. */
TEST_F(file, kvmclock)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	int fd = vm_create_guest_memfd(vm, PG(1), FILE_FLAGS);
	u64 *mem = map_file(fd, PG(1)), seen;
	struct ucall uc;

	ASSERT_EQ(PG(1), RET(pwrite(fd, self->src, PG(1), 0)));
	seen = READ_ONCE(*mem);
	vm_set_user_memory_region2(vm, 10, KVM_MEM_GUEST_MEMFD, GUEST_GPA, PG(1), mem, fd, 0);
	virt_map(vm, GUEST_GPA, GUEST_GPA, 1);
	vcpu_args_set(vcpu, 1, GUEST_GPA);
	vcpu_run(vcpu);
	ASSERT_EQ(UCALL_SYNC, get_ucall(vcpu, &uc));
	EXPECT_EQ(seen, uc.args[1]);
	EXPECT_PAGES(mem, 0, 1, 1, 1);
	kvm_munmap(mem, PG(1));
	close(fd);
	kvm_vm_free(vm);
}

/* With what a guest's own guest is like in such a page. */
static void l1_guest_code(u64 vmcb_gpa)
{
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, vmcb_gpa);
	__asm__ __volatile__("vmrun %0" : : "a"(vmcb_gpa) : "memory");
	GUEST_DONE();
}

/* KVM can't read it: the VMM is told that this guest can't go on.  All else can. */
TEST_F(file, nested)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	u64 *mem;
	int fd;

	if (!kvm_cpu_has(X86_FEATURE_SVM))
		SKIP(return, "no nested SVM");

	vm = vm_create_with_one_vcpu(&vcpu, l1_guest_code);
	fd = vm_create_guest_memfd(vm, PG(1), FILE_FLAGS);
	mem = map_file(fd, PG(1));
	ASSERT_EQ(PG(1), RET(pwrite(fd, self->src, PG(1), 0)));
	vm_set_user_memory_region2(vm, 10, KVM_MEM_GUEST_MEMFD, GUEST_GPA, PG(1), mem, fd, 0);
	vcpu_args_set(vcpu, 1, GUEST_GPA);
	vcpu_run(vcpu);
	EXPECT_EQ(KVM_EXIT_INTERNAL_ERROR, vcpu->run->exit_reason);
	EXPECT_EQ(KVM_INTERNAL_ERROR_EMULATION, vcpu->run->emulation_failure.suberror);
	EXPECT_PAGES(mem, 0, 1, 1, 1);
	kvm_munmap(mem, PG(1));
	close(fd);
	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GUEST_MEMFD_FLAG_NO_DIRECT_MAP);
	return hostile_main(argc, argv, "secret");
}
