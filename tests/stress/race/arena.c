// SPDX-License-Identifier: GPL-2.0-only
/* A VM, its file and all who race for it, in a process of their own. */
#include "race.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

#define LATE_MS	60000

struct arena arena;

static void interrupt(int sig)
{
}

static void *actor_main(void *arg)
{
	struct actor *actor = arg;
	bool busy;

	pthread_setname_np(pthread_self(), actor->name);
	for (;;) {
		pthread_barrier_wait(&arena.start);
		if (arena.phase == QUIT)
			return NULL;

		busy = arena.phase != DUEL || actor->is_writer;
		while (busy && !arena.stop)
			busy = actor->act(actor);

		actor->resting = true;
		if (actor->is_writer)
			__atomic_add_fetch(&arena.writers_done, 1, __ATOMIC_RELEASE);
		pthread_barrier_wait(&arena.end);
	}
}

unsigned int nr_writers(void)
{
	unsigned int i, nr = 0;

	for (i = 0; i < nr_actors; i++)
		nr += actors[i].is_writer;
	return nr;
}

static void actors_start(u32 seed)
{
	unsigned int i;

	pthread_barrier_init(&arena.start, NULL, nr_actors + 1);
	pthread_barrier_init(&arena.end, NULL, nr_actors + 1);
	pthread_barrier_init(&arena.duel, NULL, nr_writers());

	for (i = 0; i < nr_actors; i++) {
		actors[i].id = i;
		actors[i].rng = new_kvm_random_state(seed * 100 + i);
		if (actors[i].setup)
			actors[i].setup(&actors[i]);
	}
	for (i = 0; i < nr_actors; i++)
		kvm_pthread_create(&actors[i].thread, NULL, actor_main, &actors[i]);
}

static void actors_join(void)
{
	unsigned int i;

	arena.phase = QUIT;
	pthread_barrier_wait(&arena.start);
	for (i = 0; i < nr_actors; i++)
		kvm_pthread_join(actors[i].thread, NULL);
}

static void phase_start(enum phase phase)
{
	unsigned int i;
	int ret;

	if (phase == PREFETCH) {
		memset(arena.populated, 0, sizeof(arena.populated));
		memset(arena.stored, 0, sizeof(arena.stored));
		memset(arena.guest_stored, 0, sizeof(arena.guest_stored));
	}
	if (phase == INSERT || phase == PREFETCH) {
		ret = punch(arena.fd, 0, PG(NR_PAGES));
		if (ret)
			broken(CALLS, "Punching all of the file returned %d", ret);
	}
	for (i = 0; i < nr_actors; i++)
		actors[i].resting = false;
	arena.phase = phase;
	arena.stop = false;
	arena.inserted = 0;
	arena.writers_done = 0;
	pthread_barrier_wait(&arena.start);
}

/* Who doesn't come to rest is stuck, or lost.  A vCPU can be called back. */
static void wait_for_rest(void)
{
	const u64 deadline = now_ms() + LATE_MS;
	unsigned int i;

	for (i = 0; i < nr_actors; i++) {
		while (!actors[i].resting && now_ms() < deadline)
			usleep(200);
		if (actors[i].resting)
			continue;

		broken(CALLS, "%s is still busy %u s after the end of a phase", actors[i].name,
		       LATE_MS / 1000);
		arena.late = true;
		pthread_kill(actors[i].thread, SIGUSR1);
	}
}

static void phase_end(void)
{
	arena.stop = true;
	wait_for_rest();
	pthread_barrier_wait(&arena.end);
	count(PHASES, 1);
}

/* Everybody is at rest: each page is somebody's, or zero. */
static void examine_some(u64 index, u64 end)
{
	struct page_view view;

	for (; index < end; index++) {
		if (lseek(arena.fd, PG(index), SEEK_DATA) != (off_t)PG(index))
			continue;

		view = examine_page(arena.mem + index * PAGE_WORDS, index);
		if (!page_is_sound(view))
			broken_page(AT_REST, "a mapping", index, view);
		count(PAGES_EXAMINED, 1);
	}
}

/* Nobody has punched, each page has been written once: they are all there. */
static void examine_inserted(void)
{
	struct page_view view;
	u64 index;

	for (index = 0; index < NR_PAGES; index++) {
		if (lseek(arena.fd, PG(index), SEEK_DATA) != (off_t)PG(index))
			broken(ONCE, "page %lu has been written and is a hole", index);

		view = examine_page(arena.mem + index * PAGE_WORDS, index);
		if (view.state != PAGE_WHOLE || view.tag != arena.expected[index])
			broken_page(ONCE, "a mapping, after an insert,", index, view);
		count(PAGES_EXAMINED, 1);
	}
}

/*
 * A page that somebody has populated is just what that was, one that nobody has is zero or
 * a hole; and in both what was stored last is there.
 */
static void examine_prefetched(void)
{
	const u64 *page = arena.mem;
	struct page_view view;
	u64 index;

	for (index = 0; index < NR_PAGES; index++, page += PAGE_WORDS) {
		if (lseek(arena.fd, PG(index), SEEK_DATA) != (off_t)PG(index)) {
			if (arena.populated[index] || arena.stored[index] || arena.guest_stored[index])
				broken(KEPT, "page %lu has been populated and is a hole", index);
			continue;
		}

		view = examine_page(page, index);
		if (!page_is_sound(view) ||
		    view.tag != (arena.populated[index] ? arena.expected[index] : 0))
			broken_page(KEPT, "a mapping, after a prefetch,", index, view);
		if (arena.stored[index] && page[THREAD_WORD] != arena.stored[index])
			broken(KEPT, "page %lu: 0x%lx was stored by a mapping, 0x%lx is there",
			       index, arena.stored[index], page[THREAD_WORD]);
		if (arena.guest_stored[index] && page[GUEST_WORD] != arena.guest_stored[index])
			broken(KEPT, "page %lu: 0x%lx was stored by a vCPU, 0x%lx is there",
			       index, arena.guest_stored[index], page[GUEST_WORD]);
		count(STORES_KEPT, !!arena.stored[index]);
		count(GUEST_STORES_KEPT, !!arena.guest_stored[index]);
		count(PAGES_EXAMINED, 1);
	}
}

static void chaos_phase(void)
{
	phase_start(CHAOS);
	usleep(PHASE_MS * 1000);
	phase_end();
	examine_some(0, NR_PAGES);
	guest_examine(arena.seq);
}

static void wait_for_writers(void)
{
	const unsigned int all = nr_writers();

	while (__atomic_load_n(&arena.writers_done, __ATOMIC_ACQUIRE) < all)
		usleep(100);
}

/* As many as there is time for: each is over as soon as all is written. */
static void populate_phases(enum phase phase, unsigned int ms, void (*examine)(void))
{
	const u64 end = now_ms() + ms;

	do {
		phase_start(phase);
		wait_for_writers();
		phase_end();
		examine();
		guest_examine(arena.seq);
	} while (now_ms() < end);
}

/* Close all there is to close, with all threads in the middle of it. */
static void pull_descriptors(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	unsigned int i;

	arena.pulled = true;
	TEST_ASSERT(null >= 0, "open(/dev/null) failed, errno = %d", errno);
	dup2(null, arena.vm->fd);
	for (i = 0; i < NR_VCPUS; i++)
		dup2(null, arena.guest[i].vcpu->fd);
	dup2(null, arena.fd);
}

/* Short, and many: each shows only what the last to write has left. */
static void duel_phases(void)
{
	const u64 end = now_ms() + PHASE_MS;
	u32 n;

	for (n = 0; n < 10 || now_ms() < end; n++) {
		arena.duel_index = n * 37 % (NR_PAGES - DUEL_PAGES);
		/* To be inserted, or to be overwritten. */
		if (n % 4 == 0)
			punch(arena.fd, PG(arena.duel_index), PG(DUEL_PAGES));
		else
			preallocate(arena.fd, PG(arena.duel_index), PG(DUEL_PAGES));
		phase_start(DUEL);
		wait_for_writers();
		phase_end();
		examine_some(arena.duel_index, arena.duel_index + DUEL_PAGES);
		count(DUELS, 1);
	}
}

__noreturn void arena_run(enum ending ending, u32 seed, int sock)
{
	const struct sigaction sa = { .sa_handler = interrupt };
	unsigned int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGUSR1, &sa, NULL);
	arena.once = round_is_once(seed);
	arena.apart = round_is_apart(seed);
	guests_create();
	send_fd(sock, arena.fd);
	actors_start(seed);

	/* Until somebody kills us, that is. */
	for (i = 0; i < NR_PHASES || ending == END_KILLED; i++) {
		if (arena.once) {
			populate_phases(PREFETCH, 3 * PHASE_MS, examine_prefetched);
			continue;
		}
		chaos_phase();
		populate_phases(INSERT, PHASE_MS, examine_inserted);
		duel_phases();
	}

	switch (ending) {
	case END_ORDERLY:
		actors_join();
		kvm_vm_free(arena.vm);
		examine_some(0, NR_PAGES);
		close(arena.fd);
		break;
	case END_PULLED:
		phase_start(arena.once ? PREFETCH : CHAOS);
		usleep(PHASE_MS * 500);
		pull_descriptors();
		usleep(PHASE_MS * 1000);
		/* Not all threads can get to the barrier any more. */
		break;
	default:
		phase_start(arena.once ? PREFETCH : CHAOS);
		usleep(PHASE_MS * 500);
	}
	_exit(0);
}
