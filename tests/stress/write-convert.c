// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that become private, and shared again, in place: write() goes by the state of
 * each page at the moment that it is published, and no conversion fails for a reference
 * of write()'s. Linux 7.3 can't do that: the debug kernel has an ioctl for it, see
 * kernel/lab-only/debug.
 */
#include <sys/ioctl.h>

#include "kselftest.h"
#include "common/fixture.h"
#include "common/uffd.h"
#include "common/writers.h"

struct kvm_gmem_lab_convert {
	__u64 offset;
	__u64 size;
	__u64 is_private;
};

#define KVM_GMEM_LAB_CONVERT	_IOW(KVMIO, 0xfe, struct kvm_gmem_lab_convert)

static int convert(int fd, u64 index, u64 nr, bool is_private)
{
	struct kvm_gmem_lab_convert args = { PG(index), PG(nr), is_private };

	return RET(ioctl(fd, KVM_GMEM_LAB_CONVERT, &args));
}

#define make_private(fd, index, nr)	convert(fd, index, nr, true)
#define make_shared(fd, index, nr)	convert(fd, index, nr, false)

/* Shared, private, shared: up to the first that is private, and what is there stays. */
TEST_F(file, stops_at_what_is_private)
{
	const struct way *w;
	int populated;

	for_each_way(w) {
		for (populated = 0; populated < 2; populated++) {
			EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
			if (populated)
				fill_pages(self->mem, 9, 0, 2, 1);
			ASSERT_EQ(0, make_private(self->fd, 3, 3));

			EXPECT_EQ(PG(3), w->write(self->fd, self->src, PG(9), 0))
				TH_LOG("via %s", w->name);
			EXPECT_EQ(-EACCES, w->write(self->fd, self->src + PG(3), PG(6), PG(3)))
				TH_LOG("via %s", w->name);
			EXPECT_EQ(-EACCES, w->write(self->fd, self->src + PG(5), PG(1), PG(5)))
				TH_LOG("via %s", w->name);
			EXPECT_EQ(PG(3), w->write(self->fd, self->src + PG(6), PG(3), PG(6)))
				TH_LOG("via %s", w->name);

			ASSERT_EQ(0, make_shared(self->fd, 3, 3));
			EXPECT_PAGES(self->mem, 0, 3, 1, 1);
			if (populated)
				EXPECT_PAGES(self->mem, 3, 3, 2, 1);
			else
				EXPECT_EQ(PG(3), RET(lseek(self->fd, 0, SEEK_HOLE)));
			EXPECT_PAGES(self->mem, 6, 3, 1, 1);
			EXPECT_EQ(PG(9), w->write(self->fd, self->src, PG(9), 0));
			EXPECT_PAGES(self->mem, 0, 9, 1, 1);
		}
	}
	EXPECT_USABLE(self->fd, self->mem);
}

/* Files that begin as private ones, too. */
TEST_F(file, becomes_shared)
{
	const int fd = vm_create_guest_memfd(self->vm, FILE_SIZE,
					     GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_WRITE);
	u64 *mem = map_file(fd, FILE_SIZE);

	EXPECT_EQ(-EACCES, RET(pwrite(fd, self->src, PG(4), 0)));
	ASSERT_EQ(0, make_shared(fd, 0, 2));
	EXPECT_EQ(PG(2), RET(pwrite(fd, self->src, PG(4), 0)));
	EXPECT_PAGES(mem, 0, 2, 1, 1);
	close(fd);
}

/*
 * While a write waits for the source of a page nothing keeps that page, or those that it
 * has written, from being converted; and then it is not written.
 */
static void convert_while_source_blocks(struct __test_metadata *_metadata,
					FIXTURE_DATA(file) *self, bool populated)
{
	u8 *src = map_anon(PG(8));
	struct writing w = { .fd = self->fd, .src = src, .len = PG(8) };
	int uffd;

	if (populated)
		fill_pages(self->mem, 8, 0, 2, 1);
	memcpy(src, self->src, PG(8));
	uffd = block_pages(src + PG(5), 1);
	start_writing(&w);
	ASSERT_EQ(src + PG(5), next_blocked(uffd));
	EXPECT_EQ(0, make_private(self->fd, 0, 8));
	ASSERT_EQ(0, resolve_page(uffd, src + PG(5), self->src + PG(5)));
	kvm_pthread_join(w.thread, NULL);
	EXPECT_EQ(PG(5), w.ret);

	EXPECT_EQ(0, make_shared(self->fd, 0, 8));
	EXPECT_PAGES(self->mem, 0, 5, 1, 1);
	if (populated)
		EXPECT_PAGES(self->mem, 5, 3, 2, 1);
	else
		EXPECT_EQ(PG(5), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_USABLE(self->fd, self->mem);
}

TEST_F(file, converted_while_source_blocks)
{
	convert_while_source_blocks(_metadata, self, false);
}

TEST_F(file, converted_while_source_blocks_populated)
{
	convert_while_source_blocks(_metadata, self, true);
}

/*
 * Writers of every kind, and one who looks for data, against conversions.
 */
#define RACE_PAGES	32

struct racer {
	pthread_t thread;
	int fd;
	unsigned int who;
	pthread_barrier_t *rest;
	const struct way *way;	/* NULL: look for data */
	long wrong;		/* a result that is none */
	unsigned long wrote, refused;
};

static volatile bool stop_racing, race_is_over;
static u32 race_seq;

static void race_once(struct racer *r, u8 *buf, struct kvm_random_state *rng)
{
	const u32 index = kvm_random_u32(rng) % RACE_PAGES;
	const u32 nr = 1 + kvm_random_u32(rng) % (RACE_PAGES - index);
	const u32 seq = __atomic_add_fetch(&race_seq, 1, __ATOMIC_SEQ_CST);
	long ret;

	if (!r->way) {
		ret = RET(lseek(r->fd, PG(index), nr % 2 ? SEEK_DATA : SEEK_HOLE));
		if (ret < 0 && ret != -ENXIO)
			r->wrong = ret;
		return;
	}
	fill_pages(buf, nr, index, r->who, seq);
	ret = r->way->write(r->fd, buf, PG(nr), PG(index));
	if (ret == -EACCES || (ret > 0 && ret < (long)PG(nr)))
		r->refused++;
	if (ret > 0)
		r->wrote++;
	if (ret != -EACCES && (ret <= 0 || ret % PAGE_BYTES || ret > (long)PG(nr)))
		r->wrong = ret;
}

static void *race_against_conversions(void *arg)
{
	struct racer *r = arg;
	struct kvm_random_state rng = new_kvm_random_state(r->who);
	u8 *buf = map_anon(PG(RACE_PAGES));

	for (;;) {
		pthread_barrier_wait(r->rest);
		if (race_is_over)
			return NULL;
		while (!stop_racing)
			race_once(r, buf, &rng);
		pthread_barrier_wait(r->rest);
	}
}

/* The position of a file is one for all of its descriptors: no ways that need it. */
TEST_F(file, conversions_race)
{
	static const struct way *const kinds[] = { &ways[1], &ways[3], &ways[7], &ways[9], NULL };
	struct kvm_random_state rng = new_kvm_random_state(99);
	struct racer racers[ARRAY_SIZE(kinds)] = {};
	const u64 end = now_ms() + 20000;
	unsigned long wrote = 0, refused = 0, conversions = 0;
	u32 first, nr, seq, round, i;
	pthread_barrier_t rest;
	struct page_view view;

	pthread_barrier_init(&rest, NULL, ARRAY_SIZE(racers) + 1);
	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		racers[i] = (struct racer) {
			.fd = self->fd, .who = i + 1, .rest = &rest, .way = kinds[i],
		};
		kvm_pthread_create(&racers[i].thread, NULL, race_against_conversions, &racers[i]);
	}

	for (round = 0; round < 20 || (round < 200 && now_ms() < end); round++) {
		if (round % 4 == 0)
			EXPECT_EQ(0, punch(self->fd, 0, PG(RACE_PAGES)));
		stop_racing = false;
		pthread_barrier_wait(&rest);

		for (i = 0; i < 20; i++, conversions++) {
			first = kvm_random_u32(&rng) % RACE_PAGES;
			nr = 1 + kvm_random_u32(&rng) % (RACE_PAGES - first);
			ASSERT_EQ(0, make_private(self->fd, first, nr));
			seq = __atomic_load_n(&race_seq, __ATOMIC_SEQ_CST);
			if (i < 19)
				ASSERT_EQ(0, make_shared(self->fd, first, nr));
		}
		/* What is private now stays as it is: let others try. */
		while (__atomic_load_n(&race_seq, __ATOMIC_SEQ_CST) < seq + 50)
			usleep(1000);
		stop_racing = true;
		pthread_barrier_wait(&rest);

		ASSERT_EQ(0, make_shared(self->fd, first, nr));
		EXPECT_SOUND(self->mem, RACE_PAGES);
		for (i = first; i < first + nr; i++) {
			view = examine_page(self->mem + i * PAGE_WORDS, i);
			EXPECT_TRUE(view.state == PAGE_ZERO || (view.tag & 0xffffff) <= seq)
				TH_LOG("page %u was private, and has been written", i);
		}
		ASSERT_EQ(KSFT_PASS, _metadata->exit_code)
			TH_LOG("round %u", round);
		/* Nothing mapped: a fault has references of its own. */
		kvm_madvise(self->mem, FILE_SIZE, MADV_DONTNEED);
	}
	race_is_over = true;
	pthread_barrier_wait(&rest);
	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		kvm_pthread_join(racers[i].thread, NULL);
		EXPECT_EQ(0, racers[i].wrong)
			TH_LOG("%s", racers[i].way ? racers[i].way->name : "lseek");
		wrote += racers[i].wrote;
		refused += racers[i].refused;
	}
	EXPECT_LT(0, wrote);
	EXPECT_LT(0, refused);
	TH_LOG("%u rounds, %lu conversions, %lu writes, %lu stopped by what was private",
	       round, conversions, wrote, refused);
	EXPECT_USABLE(self->fd, self->mem);
}

TEST_NOTHING_IS_LEFT(0)

static void restore_folio_order(void)
{
	set_folio_order(9);
}

int main(int argc, char *argv[])
{
	/* What can be converted has single pages. */
	set_folio_order(0);
	atexit(restore_folio_order);
	return hostile_main(argc, argv, "write-convert");
}
