// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Populating on demand and in the background at once. */
#include "helper.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE		(4 * MIB)
#define GRANULE		(16 * KIB)
#define GRANULES	(SIZE / GRANULE)
#define PAGE		4096
#define PAGES		(SIZE / PAGE)
#define GUESTS		4

/* What gmem_demand_new() is to call. */
struct told {
	pthread_mutex_t lock;
	unsigned int times[GRANULES];
	size_t first[GRANULES];		/* granules in that order */
	size_t n;
	int err;
	size_t err_at;
};

static int on_populated(const struct gmem_range *range, void *arg)
{
	struct told *told = arg;
	size_t i = range->offset / GRANULE;

	assert_int_equal(range->offset % GRANULE, 0);
	assert_int_equal(range->length, GRANULE);
	pthread_mutex_lock(&told->lock);
	told->times[i]++;
	told->first[told->n++] = i;
	pthread_mutex_unlock(&told->lock);
	return told->err && i == told->err_at ? told->err : 0;
}

struct fixture {
	struct gmem_context *g;
	struct gmem_demand *demand;
	struct told told;
	char *bytes;
	int source, target;
};

static void set_up(struct fixture *f, const struct param *p)
{
	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->told.lock, NULL);
	f->g = begin_by(p);
	f->bytes = make_bytes(SIZE, 7);
	f->source = make_file(f->bytes, SIZE);
	f->target = make_target(p->kind, SIZE);
}

static void start(struct fixture *f)
{
	assert_ok(f->g, gmem_demand_new(f->g, f->target, f->source, SIZE, GRANULE, on_populated,
					&f->told, &f->demand));
}

static void run(struct fixture *f)
{
	int err = gmem_demand_run(f->demand);

	if (err)
		fail_msg("%d: %s", err, gmem_demand_error(f->demand));
}

static void demand_fails(struct fixture *f, int is, int should, const char *text)
{
	assert_int_equal(is, should);
	if (!strstr(gmem_demand_error(f->demand), text))
		fail_msg("message \"%s\" lacks \"%s\"", gmem_demand_error(f->demand), text);
}

static void tear_down(struct fixture *f)
{
	gmem_demand_free(f->demand);
	end(f->g);
}

static void assert_each_once(const struct fixture *f)
{
	for (size_t i = 0; i < GRANULES; i++)
		assert_int_equal(f->told.times[i], 1);
}

static void test_background(void **state)
{
	const struct gmem_stats *stats;
	struct fixture f;

	set_up(&f, *state);
	/* The options are heeded. */
	assert_ok(f.g, gmem_set_threads(f.g, 3));
	assert_ok(f.g, gmem_set_chunk(f.g, PAGE));
	assert_ok(f.g, gmem_set_direct(f.g, true));
	start(&f);
	run(&f);
	assert_target(f.target, 0, f.bytes, SIZE);
	assert_each_once(&f);
	assert_int_equal(gmem_demand_stats(f.demand)->threads, 3);
	stats = gmem_demand_stats(f.demand);
	assert_int_equal(stats->bytes, SIZE);
	assert_int_equal(stats->up_to, SIZE);
	assert_int_equal(stats->pages_written, PAGES);
	assert_int_equal(stats->pages_present, 0);
	assert_int_equal(stats->method, kind_writes(((struct param *)*state)->kind) ?
			 GMEM_METHOD_WRITE : GMEM_METHOD_MMAP);
	assert_true(strlen(stats->why) > 0);
	tear_down(&f);
}

static void test_faults_first(void **state)
{
	struct fixture f;

	set_up(&f, *state);
	start(&f);
	assert_int_equal(gmem_demand_fault(f.demand, 5 * GRANULE + 1, 1), 0);
	assert_int_equal(gmem_demand_fault(f.demand, 9 * GRANULE - 1, 2), 0);
	assert_int_equal(gmem_demand_fault(f.demand, 5 * GRANULE, GRANULE), 0);
	assert_int_equal(f.told.n, 3);
	assert_target(f.target, 8 * GRANULE, f.bytes + 8 * GRANULE, 2 * GRANULE);
	demand_fails(&f, gmem_demand_fault(f.demand, SIZE, 1), -EINVAL, "1 bytes at 0x400000");
	assert_int_equal(gmem_demand_fault(f.demand, 0, 0), -EINVAL);

	run(&f);
	assert_string_equal(gmem_demand_error(f.demand), "");
	assert_each_once(&f);
	assert_int_equal(gmem_demand_stats(f.demand)->pages_written, PAGES);
	assert_target(f.target, 0, f.bytes, SIZE);
	tear_down(&f);
}

/* Threads that do what a guest does: touch, check, change; each page by all of them. */
struct guest {
	struct fixture *f;
	_Atomic uint64_t *memory;
	unsigned int seed;
};

#define WORDS	(PAGE / sizeof(uint64_t))

static void *guest_main(void *arg)
{
	struct guest *guest = arg;
	unsigned int seed = guest->seed;
	size_t first = rand_r(&seed) % PAGES;

	/* 389 has no factor in common with a power of two: all pages, all over. */
	for (size_t i = 0; i < PAGES; i++) {
		size_t page = (first + i * 389) % PAGES;

		if (gmem_demand_fault(guest->f->demand, page * PAGE, PAGE))
			return "a fault failed";
		if (memcmp((char *)guest->memory + page * PAGE + 64, guest->f->bytes + page * PAGE + 64, PAGE - 64))
			return "what the source has is not there";
		atomic_fetch_add(&guest->memory[page * WORDS], 1);
	}
	return NULL;
}

static void *background_main(void *arg)
{
	struct fixture *f = arg;

	return gmem_demand_run(f->demand) ? "the background failed" : NULL;
}

static void test_racing_guests(void **state)
{
	struct guest guests[GUESTS];
	pthread_t thread[GUESTS + 1];
	_Atomic uint64_t *memory;
	struct fixture f;
	uint64_t was;
	void *said;

	set_up(&f, *state);
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, f.target, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	start(&f);
	for (unsigned int i = 0; i < GUESTS; i++) {
		guests[i] = (struct guest){ &f, memory, i };
		assert_int_equal(pthread_create(&thread[i], NULL, guest_main, &guests[i]), 0);
	}
	assert_int_equal(pthread_create(&thread[GUESTS], NULL, background_main, &f), 0);
	for (unsigned int i = 0; i <= GUESTS; i++) {
		assert_int_equal(pthread_join(thread[i], &said), 0);
		if (said)
			fail_msg("%s: %s", (char *)said, gmem_demand_error(f.demand));
	}

	assert_each_once(&f);
	for (size_t page = 0; page < PAGES; page++) {
		memcpy(&was, f.bytes + page * PAGE, sizeof(was));
		assert_int_equal(memory[page * WORDS], was + GUESTS);
	}
	munmap((void *)memory, SIZE);
	tear_down(&f);
}

static void test_order(void **state)
{
	const struct gmem_range order[] = {
		{ 100 * GRANULE, 2 * GRANULE }, { 3 * GRANULE + PAGE, PAGE }, { 101 * GRANULE, GRANULE },
		{ SIZE + PAGE, PAGE },
	};
	struct fixture f;

	set_up(&f, *state);
	assert_ok(f.g, gmem_set_order(f.g, order, 4));
	start(&f);
	run(&f);
	assert_each_once(&f);
	assert_int_equal(f.told.first[0], 100);
	assert_int_equal(f.told.first[1], 101);
	assert_int_equal(f.told.first[2], 3);
	assert_int_equal(f.told.first[3], 0);
	tear_down(&f);
}

/* Pages of zeros cost no memory, unless there was something. */
static void test_zeros(void **state)
{
	struct fixture f;

	set_up(&f, *state);
	memset(f.bytes + GRANULE + PAGE, 0, 2 * GRANULE);
	assert_int_equal(pwrite(f.source, f.bytes, SIZE, 0), SIZE);
	assert_ok(f.g, gmem_populate_buffer(f.g, f.target, 2 * GRANULE, f.bytes, PAGE));
	start(&f);
	run(&f);
	assert_target(f.target, 0, f.bytes, SIZE);
	assert_int_equal(gmem_demand_stats(f.demand)->pages_skipped, 2 * GRANULE / PAGE - 1);
	assert_int_equal(gmem_demand_stats(f.demand)->bytes, SIZE);
	tear_down(&f);
}

/* A hole of the source is not even read; it must not hide that the source shrank. */
static void test_sparse_source(void **state)
{
	struct fixture f;

	set_up(&f, *state);
	assert_int_equal(ftruncate(f.source, 0), 0);
	assert_int_equal(ftruncate(f.source, SIZE), 0);
	assert_int_equal(pwrite(f.source, f.bytes, PAGE, 9 * GRANULE), PAGE);
	start(&f);
	run(&f);
	assert_each_once(&f);
	assert_int_equal(gmem_demand_stats(f.demand)->pages_written, 1);
	assert_int_equal(gmem_demand_stats(f.demand)->pages_skipped, PAGES - 1);
	assert_target(f.target, 9 * GRANULE, f.bytes, PAGE);
	tear_down(&f);
}

static void test_source_shrinks(void **state)
{
	struct fixture f;

	set_up(&f, *state);
	start(&f);
	assert_int_equal(gmem_demand_fault(f.demand, 0, 1), 0);
	assert_int_equal(ftruncate(f.source, SIZE / 2), 0);
	demand_fails(&f, gmem_demand_fault(f.demand, SIZE - 1, 1), -ENODATA, "shrank");
	assert_int_equal(gmem_demand_run(f.demand), -ENODATA);
	assert_int_equal(gmem_demand_stats(f.demand)->up_to, SIZE / 2);
	assert_target(f.target, 0, f.bytes, SIZE / 2);
	tear_down(&f);
}

/* The file system fails in the middle: what is below is there, all else fails. */
static void test_source_fails(void **state)
{
	struct fixture f;

	set_up(&f, *state);
	start(&f);
	quirks.bad_from = SIZE / 2 + 1;
	assert_int_equal(gmem_demand_fault(f.demand, GRANULE, 1), 0);
	demand_fails(&f, gmem_demand_run(f.demand), -EIO, "0x200000");
	/* What made it fail stays its message, whatever is asked for in between. */
	assert_int_equal(gmem_demand_fault(f.demand, SIZE, 1), -EINVAL);
	assert_int_equal(gmem_demand_fault(f.demand, SIZE, 1), -EINVAL);
	demand_fails(&f, gmem_demand_fault(f.demand, SIZE - 1, 1), -EIO, "0x200000");
	assert_int_equal(gmem_demand_fault(f.demand, 0, 1), 0);
	assert_int_equal(gmem_demand_stats(f.demand)->up_to, SIZE / 2);
	assert_target(f.target, 0, f.bytes, SIZE / 2);
	tear_down(&f);
}

/* A file system that takes data for a hole is not believed when all is to be verified. */
static void test_verify(void **state)
{
	struct fixture f;
	struct stat st;

	set_up(&f, *state);
	assert_int_equal(fstat(f.source, &st), 0);
	quirks.liar = st.st_ino;
	quirks.watched = f.source;
	gmem_set_verify(f.g, true);
	start(&f);
	run(&f);
	assert_target(f.target, 0, f.bytes, SIZE);
	assert_int_equal(quirks.moves, 0);
	quirks.watched = 0;
	tear_down(&f);
}

/* What somebody else has populated meanwhile is left alone, where the kernel can do that. */
static void test_no_overwrite(void **state)
{
	struct fixture f;
	char *other;

	skip_unless_no_overwrite();
	set_up(&f, *state);
	close(f.target);
	f.target = make_no_overwrite(SIZE);
	other = make_bytes(PAGE, 3);
	start(&f);
	assert_int_equal(pwrite(f.target, other, PAGE, 5 * PAGE), PAGE);
	run(&f);
	assert_int_equal(gmem_demand_stats(f.demand)->pages_present, 1);
	assert_int_equal(gmem_demand_stats(f.demand)->bytes, SIZE);
	memcpy(f.bytes + 5 * PAGE, other, PAGE);
	assert_target(f.target, 0, f.bytes, SIZE);
	tear_down(&f);
}

static void test_caller_fails(void **state)
{
	struct fixture f;

	set_up(&f, *state);
	f.told.err = -EPERM;
	f.told.err_at = 2;
	start(&f);
	demand_fails(&f, gmem_demand_run(f.demand), -EPERM, "0x8000");
	assert_int_equal(gmem_demand_fault(f.demand, 2 * GRANULE, 1), -EPERM);
	assert_int_equal(gmem_demand_fault(f.demand, GRANULE, 1), 0);
	assert_int_equal(gmem_demand_stats(f.demand)->up_to, 2 * GRANULE);
	tear_down(&f);
}

static int cancel(const struct gmem_progress *progress, void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(progress->total, SIZE);
	gmem_demand_cancel(f->demand);
	return 0;
}

static void test_cancel(void **state)
{
	struct fixture f;

	set_up(&f, *state);
	gmem_set_progress(f.g, cancel, &f);
	start(&f);
	demand_fails(&f, gmem_demand_run(f.demand), -ECANCELED, "cancelled");
	assert_true(f.told.n < GRANULES);
	assert_int_equal(gmem_demand_fault(f.demand, SIZE - 1, 1), 0);
	assert_target(f.target, SIZE - GRANULE, f.bytes + SIZE - GRANULE, GRANULE);
	tear_down(&f);
}

static int new_demand(struct fixture *f, uint64_t length, uint64_t granule)
{
	return gmem_demand_new(f->g, f->target, f->source, length, granule, NULL, NULL, &f->demand);
}

/* One granule that is larger than all there is, up to what a number can be. */
static void test_large_granule(void **state)
{
	struct fixture f;

	set_up(&f, *state);
	assert_ok(f.g, new_demand(&f, SIZE, -(uint64_t)PAGE));
	assert_int_equal(gmem_demand_fault(f.demand, SIZE - 1, 1), 0);
	assert_target(f.target, 0, f.bytes, SIZE);
	run(&f);
	assert_int_equal(gmem_demand_stats(f.demand)->bytes, SIZE);
	tear_down(&f);
}

static void test_refused(void **state)
{
	struct fixture f;

	set_up(&f, *state);
	assert_int_equal(ftruncate(f.source, 2 * SIZE), 0);
	assert_fails(f.g, new_demand(&f, 2 * SIZE, PAGE), -ENOSPC, "do not fit");
	assert_int_equal(ftruncate(f.source, SIZE - 1), 0);
	assert_fails(f.g, new_demand(&f, SIZE, PAGE), -ENODATA, "has 4194303 bytes");
	assert_ok(f.g, gmem_set_method(f.g, GMEM_METHOD_SENDFILE));
	assert_fails(f.g, new_demand(&f, PAGE, PAGE), -EOPNOTSUPP, "sendfile");
	assert_ok(f.g, gmem_set_method(f.g, GMEM_METHOD_AUTO));

	/* The context is free for other things. */
	assert_ok(f.g, new_demand(&f, PAGE, PAGE));
	assert_ok(f.g, gmem_populate_buffer(f.g, f.target, 0, f.bytes, PAGE));
	gmem_demand_free(f.demand);
	f.demand = NULL;
	assert_ok(f.g, gmem_populate_buffer(f.g, f.target, 0, f.bytes, PAGE));
	gmem_demand_free(NULL);
	tear_down(&f);
}

int main(void)
{
	enum kind kind;

	for (kind = 0; kind < NR_KINDS; kind++) {
		add_test("background", test_background, kind, GMEM_METHOD_AUTO);
		add_test("faults first", test_faults_first, kind, GMEM_METHOD_AUTO);
		add_test("racing guests", test_racing_guests, kind, GMEM_METHOD_AUTO);
		add_test("order", test_order, kind, GMEM_METHOD_AUTO);
		add_test("zeros", test_zeros, kind, GMEM_METHOD_AUTO);
		add_test("sparse source", test_sparse_source, kind, GMEM_METHOD_AUTO);
		add_test("source shrinks", test_source_shrinks, kind, GMEM_METHOD_AUTO);
		add_test("source fails", test_source_fails, kind, GMEM_METHOD_AUTO);
		add_test("verify", test_verify, kind, GMEM_METHOD_AUTO);
		add_test("caller fails", test_caller_fails, kind, GMEM_METHOD_AUTO);
		add_test("cancel", test_cancel, kind, GMEM_METHOD_AUTO);
		add_test("large granule", test_large_granule, kind, GMEM_METHOD_AUTO);
		add_test("refused", test_refused, kind, GMEM_METHOD_AUTO);
	}
	add_test("no overwriting", test_no_overwrite, GUEST_MEMFD, GMEM_METHOD_AUTO);
	return run_all("demand");
}
