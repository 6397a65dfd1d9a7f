/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef STRESS_RACE_H
#define STRESS_RACE_H

#include <pthread.h>
#include <stdbool.h>

#include "common/common.h"
#include "kvm_util.h"
#include "test_util.h"

/*
 * The file, in pages: small, so that everybody meets everybody, but in each memslot
 * the largest folio fits (with pages of 4 KiB).
 */
#define BLOCK		512
#define NR_PAGES	(2 * BLOCK)
/* What all writers can write at once: what a pipe holds by default. */
#define DUEL_PAGES	16
/* The longest write. */
#define MAX_WRITE	BLOCK

/* Phases of each kind a round, and how long one takes. */
#define NR_PHASES	3
#define PHASE_MS	80

#define NR_VCPUS	2
#define NR_FAULTERS	2

/* What must be true: main.c has it in words. */
enum rule { AT_REST, WORDS, FRESH, ONCE, KEPT, CALLS, AFTERWARDS, GIVEN_BACK, NR_RULES };

/* Counts of what happened, for a test in which nothing does proves nothing. */
enum event {
	ROUNDS, KILLS, PHASES, DUELS, WRITES, URING_WRITES, SPLICES, PAGES_WRITTEN, PUNCHES,
	ALLOCATIONS, LOOKS, FRESH_LOOKS, STORES, REMAPS, GUEST_LOOKS, GUEST_FRESH_LOOKS,
	GUEST_STORES, SLOT_CHANGES, GUEST_DISTURBED, PREFETCHED, REFUSED, STORES_KEPT,
	GUEST_STORES_KEPT, PAGES_EXAMINED, NR_EVENTS,
};

/* Shared by all processes. */
struct report {
	u64 events[NR_EVENTS];
	u64 broken[NR_RULES];
	char what[NR_RULES][256];	/* the first time */
	u64 vcpus_astray;	/* see guest.c */
};

extern struct report *report;

#define count(event, n) __atomic_fetch_add(&report->events[event], (n), __ATOMIC_RELAXED)

__printf(2, 3) void broken(enum rule rule, const char *fmt, ...);
unsigned int nr_writers(void);
void broken_page(enum rule rule, const char *where, u64 index, struct page_view view);

/*
 * A phase, between two moments of rest.
 */
enum phase {
	CHAOS,	/* anything goes */
	INSERT,	/* into an empty file, each page once */
	DUEL,	/* all writers write the same pages, once, and at the same moment */
	PREFETCH, /* into an empty file in which no page is overwritten */
	QUIT,
};

/* How the users of the file end. */
enum ending {
	END_ORDERLY,
	END_PULLED,	/* the descriptors are closed under the feet of all */
	END_EXIT,	/* while all are at it */
	END_KILLED,	/* just so */
	NR_ENDINGS,
};

/* Has this round a file with GUEST_MEMFD_FLAG_NO_OVERWRITE? */
static inline bool round_is_once(u32 seed)
{
	return seed % 3 == 0;
}

/*
 * Are its memslots bound without a mapping of the file?  Where there is one, what zaps that
 * tells KVM, too, and hides what does not.
 */
static inline bool round_is_apart(u32 seed)
{
	return seed % 2 == 0;
}

/* What a vCPU is asked to do before its next exit. */
#define BOX_ITEMS	16

struct box_item {
	u64 gva;
	u64 index;
	u64 store;	/* the value to store, or 0 to look */
};

struct mailbox {
	u64 nr;
	u64 strict;
	struct box_item item[BOX_ITEMS];
	struct page_view view[BOX_ITEMS];
};

struct guest {
	struct kvm_vcpu *vcpu;
	struct mailbox *box;	/* where the host sees it */
	bool disturbed;		/* by the memslot going away */
	bool astray;		/* it is of no use any more */
};

struct arena {
	struct kvm_vm *vm;
	struct guest guest[NR_VCPUS];
	int fd;
	u64 *mem;

	enum phase phase;
	volatile bool stop;
	volatile bool pulled;	/* no call need work any more */
	volatile bool late;	/* somebody doesn't come to rest */
	pthread_barrier_t start, end;

	u32 seq;		/* of the last write */
	u32 duel_index;		/* where to meet */
	pthread_barrier_t duel;	/* and when */
	u32 inserted;		/* pages handed out to the writers of an INSERT */
	u32 writers_done;
	u64 expected[NR_PAGES];	/* tags, after an INSERT or a PREFETCH */
	/* Of a PREFETCH: who has populated it, and the last stores of each kind. */
	u32 populated[NR_PAGES];
	u64 stored[NR_PAGES], guest_stored[NR_PAGES];
	bool once;
	bool secret;	/* if once: not in the direct map */
	bool apart;	/* what the memslots' userspace_addr has is not the file */
	volatile u64 slot_gpa;	/* of the slot that comes and goes, 0 if it's gone */
};

extern struct arena arena;

struct actor {
	const char *name;
	void (*setup)(struct actor *actor);
	/* Do one thing.  False if there is nothing left to do in this phase. */
	bool (*act)(struct actor *actor);
	bool is_writer;

	unsigned int id;
	struct kvm_random_state rng;
	pthread_t thread;
	volatile bool resting;
	void *state;
};

/* Less than @n. */
static inline u32 pick(struct actor *actor, u32 n)
{
	return kvm_random_u32(&actor->rng) % n;
}

/*
 * In a PREFETCH a page is stored to by one thread, and by one vCPU, which so knows what
 * is the last.
 */
static inline bool may_store(struct actor *actor, u64 index)
{
	return arena.phase != PREFETCH || index % 2 == actor->id % 2;
}

/* A page that is populated, a fresh one if possible, or -1. */
long find_data(struct actor *actor);

/* guest.c */
void guests_create(void);
/* Returns false if what the guest saw doesn't count. */
bool guest_run(struct guest *guest);
bool guest_add_item(struct guest *guest, u64 index, u64 store);
void slot_toggle(void);
void vcpu_setup(struct actor *actor);
bool vcpu_act(struct actor *actor);
void guest_examine(u64 seed);

/* actors.c */
extern struct actor actors[];
extern const unsigned int nr_actors;

/* arena.c: what the child does, never returns. */
__noreturn void arena_run(enum ending ending, u32 seed, int sock);

#endif
