// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where pages come from and who pays for them: as for a page that is faulted in. Wants
 * two NUMA nodes of some hundred MiB each, for it fills the first.
 */
#include "kselftest.h"
#include "cgroup_util.h"
#include "numaif.h"
#include "common/fixture.h"

static const unsigned long node_mask[] = { BIT(0), BIT(1) };

#define MAXNODE		BITS_PER_TYPE(node_mask[0])

static size_t nr_on_node(u64 *mem, size_t nr, int node)
{
	size_t i, found = 0;

	for (i = 0; i < nr; i++)
		found += node_of(mem + i * PAGE_WORDS) == node;
	return found;
}

TEST_F(file, policy_interleave)
{
	const unsigned long both = node_mask[0] | node_mask[1];
	const int fd = create_file_of_pages(self->vm, FILE_SIZE);
	u64 *mem = map_file(fd, FILE_SIZE);

	kvm_mbind(mem, FILE_SIZE, MPOL_INTERLEAVE, &both, MAXNODE, 0);
	ASSERT_EQ(FILE_SIZE, RET(pwrite(fd, self->src, FILE_SIZE, 0)));
	EXPECT_BYTES(mem, 0, self->src, FILE_SIZE);
	EXPECT_EQ(NR_PAGES / 2, nr_on_node(mem, NR_PAGES, 1));
	close(fd);
}

/*
 * A first node that is full, or that has free pages but no two side by side: whether
 * pages are written or faulted in, they are on the same nodes.
 */

/* Have the first node's memory, in small pages, until more comes from the second. */
static u8 *fill_first_node(size_t *size)
{
	const size_t chunk = 1ul << 20;
	u8 *mem;

	*size = 2 * node_meminfo(0, "MemTotal");
	mem = kvm_mmap(*size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	kvm_madvise(mem, *size, MADV_NOHUGEPAGE);
	for (*size = chunk; *size < 2 * (size_t)node_meminfo(0, "MemTotal"); *size += chunk) {
		memset(mem + *size - chunk, 1, chunk);
		if (node_of(mem + *size - PG(1)) == 1)
			break;
	}
	return mem;
}

#define PLACED_PAGES	16384

/* Pages of two files, by write() and by faults, in turns. */
static void populate_both_ways(FIXTURE_DATA(file) *self, u64 **written, u64 **faulted)
{
	const int fds[] = {
		vm_create_guest_memfd(self->vm, PG(PLACED_PAGES), WRITE_FLAGS),
		vm_create_guest_memfd(self->vm, PG(PLACED_PAGES), WRITE_FLAGS),
	};
	size_t i;

	*written = map_file(fds[0], PG(PLACED_PAGES));
	*faulted = map_file(fds[1], PG(PLACED_PAGES));
	for (i = 0; i < PLACED_PAGES; i += 128) {
		TEST_ASSERT_EQ(pwrite(fds[0], self->src, PG(128), PG(i)), (ssize_t)PG(128));
		memcpy(*faulted + i * PAGE_WORDS, self->src, PG(128));
	}
}

/* What /proc/vmstat has counted, or -1 if it has no such thing. */
static long vmstat(const char *what)
{
	char name[64];
	long value;
	FILE *f;

	f = fopen("/proc/vmstat", "r");
	TEST_ASSERT(f, "Cannot open /proc/vmstat, errno = %d", errno);
	do {
		if (fscanf(f, "%63s %ld", name, &value) != 2)
			value = -1;
	} while (value >= 0 && strcmp(name, what));
	fclose(f);
	return value;
}

/* How often it was woken, and how much it got: who asked for memory may have been faster. */
static long kswapd_has_run(void)
{
	return vmstat("pageoutrun") + vmstat("pgsteal_kswapd");
}

/*
 * No room where pages must be, but some to be had: kswapd is woken. First of all: of a
 * node where it got nothing it despairs, and is woken no more.
 */
TEST_F(file, kswapd_makes_room)
{
	const int fd = vm_create_guest_memfd(self->vm, PG(2 * PLACED_PAGES), WRITE_FLAGS);
	u64 *mem = map_file(fd, PG(2 * PLACED_PAGES));
	long before, by_write, by_fault;
	size_t size, i;
	u8 *hog;

	if (!is_multi_numa_node_system())
		SKIP(return, "fewer than two NUMA nodes");

	ASSERT_EQ(0, run_on(0));
	kvm_mbind(mem, PG(2 * PLACED_PAGES), MPOL_BIND, &node_mask[0], MAXNODE, 0);
	hog = fill_first_node(&size);
	kvm_madvise(hog, size, MADV_FREE);

	before = kswapd_has_run();
	for (i = 0; i < PLACED_PAGES; i += 128)
		TEST_ASSERT_EQ(pwrite(fd, self->src, PG(128), PG(i)), (ssize_t)PG(128));
	by_write = kswapd_has_run() - before;
	for (; i < 2 * PLACED_PAGES; i += 128)
		memcpy(mem + i * PAGE_WORDS, self->src, PG(128));
	by_fault = kswapd_has_run() - before - by_write;

	TH_LOG("kswapd has done %ld for writes, %ld for faults", by_write, by_fault);
	EXPECT_LT(0, by_write);
	EXPECT_LT(0, by_fault);
	EXPECT_EQ(2 * PLACED_PAGES, nr_on_node(mem, 2 * PLACED_PAGES, 0));
}

/* The first node's memory has no larger pieces than a page, for a while. */
static void take_what_is_large(FIXTURE_DATA(file) *self)
{
	const int fd = create_file_of_pages(self->vm, PG(2 * PLACED_PAGES));
	u64 *mem = map_file(fd, PG(2 * PLACED_PAGES));
	size_t i, nr = 2;

	kvm_mbind(mem, PG(2 * PLACED_PAGES), MPOL_BIND, &node_mask[0], MAXNODE, 0);
	for (i = 0; nr > 1 && i < 2 * PLACED_PAGES; i += 128) {
		TEST_ASSERT_EQ(pwrite(fd, self->src, PG(128), PG(i)), (ssize_t)PG(128));
		nr = folio_pages(page_of(mem, i));
	}
}

/* Room for all, in pieces, but for what else needs some meanwhile. */
TEST_F(file, first_node_in_pieces)
{
	u64 *written, *faulted;
	size_t size, i, nr_written, nr_faulted;
	long compacted;
	u8 *hog;

	if (!is_multi_numa_node_system())
		SKIP(return, "fewer than two NUMA nodes");

	ASSERT_EQ(0, run_on(0));
	hog = fill_first_node(&size);
	for (i = 0; i < size; i += PG(2))
		kvm_madvise(hog + i, PG(1), MADV_DONTNEED);
	/* Pages that are locked stay where they are. */
	write_knob("/proc/sys/vm/compact_unevictable_allowed", "0");
	ASSERT_EQ(0, mlock2(hog, size, MLOCK_ONFAULT));
	take_what_is_large(self);
	TH_LOG("%ld MiB are free on node 0", node_meminfo(0, "MemFree") >> 20);

	compacted = vmstat("compact_stall");
	populate_both_ways(self, &written, &faulted);
	/* Nobody waits for a large folio. */
	EXPECT_EQ(compacted, vmstat("compact_stall"));
	nr_written = nr_on_node(written, PLACED_PAGES, 0);
	nr_faulted = nr_on_node(faulted, PLACED_PAGES, 0);
	TH_LOG("on node 0: %zu written, %zu faulted in", nr_written, nr_faulted);
	EXPECT_LT(PLACED_PAGES * 9 / 10, nr_faulted);
	EXPECT_TRUE(values_close(nr_written, nr_faulted, 10));
}

/*
 * Room for some: as many of those that are written find a place there.  Large folios take
 * a little more, see docs/decisions.md.
 */
TEST_F(file, first_node_full)
{
	u64 *written, *faulted;
	size_t size, nr_written, nr_faulted;
	u8 *hog;

	if (!is_multi_numa_node_system())
		SKIP(return, "fewer than two NUMA nodes");

	ASSERT_EQ(0, run_on(0));
	hog = fill_first_node(&size);
	/* From the middle, which is on the first node. */
	kvm_madvise(hog + size / 2, PG(PLACED_PAGES), MADV_DONTNEED);
	/* The kernel, e.g. KASAN, may have freed more meanwhile. */
	for (; node_meminfo(0, "MemFree") > 3 * PG(PLACED_PAGES) / 2; size += 1ul << 20)
		memset(hog + size, 1, 1ul << 20);
	TH_LOG("%ld MiB are free on node 0", node_meminfo(0, "MemFree") >> 20);

	set_folio_order(0);
	populate_both_ways(self, &written, &faulted);
	set_folio_order(9);
	nr_written = nr_on_node(written, PLACED_PAGES, 0);
	nr_faulted = nr_on_node(faulted, PLACED_PAGES, 0);
	TH_LOG("on node 0: %zu written, %zu faulted in, %ld MiB left", nr_written, nr_faulted,
	       node_meminfo(0, "MemFree") >> 20);
	EXPECT_GT(PLACED_PAGES, nr_faulted);
	EXPECT_TRUE(values_close(nr_written, nr_faulted, 10));
}

/*
 * Who pays.
 */
static long current_charge(struct memcg *cg)
{
	return cg_read_long(cg->path, "memory.current");
}

#define BIG_SIZE	(8ul << 20)

/* Whoever writes, as whoever faults does; and for what is there, nobody again. */
TEST_F(file, charge)
{
	const int fd = vm_create_guest_memfd(self->vm, BIG_SIZE, WRITE_FLAGS);
	u8 *src = map_anon(BIG_SIZE);
	long before, after;

	fill_pages(src, BIG_SIZE / PAGE_BYTES, 0, 1, 1);
	before = current_charge(&self->cg);
	ASSERT_EQ(BIG_SIZE, RET(pwrite(fd, src, BIG_SIZE, 0)));
	after = current_charge(&self->cg);
	EXPECT_TRUE(values_close(after - before, BIG_SIZE, 5))
		TH_LOG("memory.current went from %ld to %ld", before, after);

	before = after;
	ASSERT_EQ(BIG_SIZE, RET(pwrite(fd, src, BIG_SIZE, 0)));
	after = current_charge(&self->cg);
	EXPECT_GE(512l << 10, labs(after - before))
		TH_LOG("memory.current went from %ld to %ld", before, after);

	before = after;
	EXPECT_EQ(0, punch(fd, 0, BIG_SIZE));
	after = current_charge(&self->cg);
	EXPECT_TRUE(values_close(before - after, BIG_SIZE, 5))
		TH_LOG("memory.current went from %ld to %ld", before, after);
	close(fd);
}

static struct memcg_events events_since(int fd, struct memcg_events before)
{
	const struct memcg_events after = memcg_events(fd);

	return (struct memcg_events) { after.max - before.max, after.oom - before.oom };
}

/* What a child found out. */
struct findings {
	long wrote, wrote_private, allocated;
	struct memcg_events by_write, by_private, by_fallocate;
};

static void find_out(struct findings *found, int events, int fd, int private, const u8 *src)
{
	const off_t last = BIG_SIZE - PG(1);
	struct memcg_events before;

	before = memcg_events(events);
	found->allocated = RET(fallocate(fd, FALLOC_FL_KEEP_SIZE, last, PG(1)));
	found->by_fallocate = events_since(events, before);
	before = memcg_events(events);
	found->wrote = RET(pwrite(fd, src, PG(1), last));
	found->by_write = events_since(events, before);
	before = memcg_events(events);
	found->wrote_private = RET(pwrite(private, src, PG(1), 0));
	found->by_private = events_since(events, before);
}

/*
 * A page for which there is no room is asked for once: a group is over its limit, and the
 * OOM killer called, as often as when fallocate() does that.  Private memory is refused
 * before any is asked for.
 */
TEST_F(file, no_room_is_found_out_once)
{
	const int private = vm_create_guest_memfd(self->vm, PG(1), GUEST_MEMFD_FLAG_WRITE);
	struct findings *found = kvm_mmap(sizeof(*found), PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_ANONYMOUS, -1);
	const int fd = vm_create_guest_memfd(self->vm, BIG_SIZE, WRITE_FLAGS);
	struct memcg poor;
	int events, i;
	pid_t pid;

	ASSERT_EQ(0, memcg_create(&poor, &program_cg, "poor"));
	ASSERT_EQ(0, cg_write_numeric(poor.path, "memory.max", BIG_SIZE / 2));
	cg_write(poor.path, "memory.swap.max", "0");
	events = cg_open(poor.path, "memory.events", O_RDONLY);

	pid = fork_child();
	if (!pid) {
		if (refuse_oom_killer() || memcg_enter(&poor))
			_exit(1);
		/* While there's room for what the child itself needs. */
		find_out(found, events, fd, private, self->src);
		if (found->wrote != (long)PG(1) || punch(fd, 0, BIG_SIZE))
			_exit(2);
		for (i = 0; i < 3; i++)
			fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, BIG_SIZE);
		find_out(found, events, fd, private, self->src);
		_exit(0);
	}
	EXPECT_EQ(0, wait_for(pid));
	EXPECT_EQ(-ENOMEM, found->allocated);
	EXPECT_EQ(-ENOMEM, found->wrote);
	EXPECT_EQ(1, found->by_fallocate.oom);
	EXPECT_EQ(1, found->by_write.oom);
	EXPECT_EQ(found->by_fallocate.max, found->by_write.max);
	EXPECT_EQ(-EACCES, found->wrote_private);
	EXPECT_EQ(0, found->by_private.max);

	close(events);
	close(private);
	close(fd);
	EXPECT_EQ(0, memcg_settle(&poor, SLACK));
	EXPECT_EQ(0, memcg_destroy(&poor));
}

TEST_NOTHING_IS_LEFT(0)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "write-place");
}
