/* SPDX-License-Identifier: GPL-2.0-only */
/* What the stress programs share, of the host's side. */
#ifndef STRESS_COMMON_H
#define STRESS_COMMON_H

#include <errno.h>
#include <limits.h>
#include <sys/types.h>

#include "kvm_util.h"
#include "pages.h"

#define WRITE_FLAGS	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED |	\
			 GUEST_MEMFD_FLAG_WRITE)

/* Only the headers of the third series have it. */
#ifndef GUEST_MEMFD_FLAG_NO_DIRECT_MAP
#define GUEST_MEMFD_FLAG_NO_DIRECT_MAP	(1ULL << 2)
#endif

/* The result of a system call as the kernel returns it: -errno on failure. */
#define RET(call)						\
({								\
	long __r = (call);					\
								\
	__r < 0 ? -errno : __r;					\
})

/* Room for what describe_page() says. */
#define DESCRIPTION_LEN	128

void *map_anon(size_t size);
u64 *map_file(int fd, size_t size);
int create_memfd(const void *buf, size_t len);

/* Fill @nr pages that are meant for the file's, from @index on. */
void fill_pages(void *buf, size_t nr, u64 index, u64 who, u64 seq);
void describe_page(char *buf, u64 index, struct page_view view);

/* Both go on after EINTR, which task work of io_uring can cause. */
int punch(int fd, off_t off, size_t len);
int preallocate(int fd, off_t off, size_t len);

void send_fd(int sock, int fd);
/* Returns -1 if the other end closes instead of sending one. */
int recv_fd(int sock);

/*
 * Files created from then on have folios of up to that order, where the kernel has large
 * ones.
 */
void set_folio_order(int order);
/* A file of single pages, for tests that tell them from larger folios. */
int create_file_of_pages(struct kvm_vm *vm, size_t size);

u64 now_ms(void);

/* One write() to a file that is there, a knob of the kernel's.  Returns what it does, or -errno. */
long write_knob(const char *path, const char *text);

/* What /proc/meminfo says, or that of a node, in bytes. */
long meminfo(const char *what);
long node_meminfo(int node, const char *what);
/* The node of the page that is mapped there. */
int node_of(void *page);
/* On that processor alone.  Returns 0, or an error. */
int run_on(int cpu);

/* How many bytes the pipe has. */
size_t pipe_queued(int fd);

static inline u64 *page_of(u64 *mem, size_t index)
{
	return mem + index * PAGE_WORDS;
}

/* The number of the page frame that is mapped there, 0 if none is. */
u64 page_frame(const void *page);
/* What /proc/kpageflags says of that page frame. */
u64 page_flags(const void *page);
u64 frame_flags(u64 pfn);
/* How many pages the folio has that it is of. */
size_t folio_pages(const void *page);

/*
 * A memory cgroup for a test, within that of the whole program.  It's the one
 * way to see that every page came back, down to a single one.
 */
struct memcg {
	char path[256];
};

/* All return 0, or an error.  @parent is NULL for the one of the program. */
int memcg_create(struct memcg *cg, struct memcg *parent, const char *name);
int memcg_enter(struct memcg *cg);
/*
 * With nobody in the cgroup any more: wait for what it was charged to go away,
 * and return how many bytes don't.  What the kernel keeps for itself, e.g. slabs,
 * doesn't count, but it takes seconds to know how much that is: @slack bytes may
 * remain.
 */
long memcg_settle(struct memcg *cg, long slack);
int memcg_destroy(struct memcg *cg);

/* How often a group met its limit, and for how many of these the OOM killer was called. */
struct memcg_events {
	long max, oom;
};

/* @fd is of its memory.events: only the first read takes memory of the kernel's. */
struct memcg_events memcg_events(int fd);
/* This process gets ENOMEM when its group is at its limit.  Returns 0, or an error. */
int refuse_oom_killer(void);

/*
 * How many pages allocated for guest_memfd are there in the whole system, after
 * having waited for them to be no more than @few?  Returns -1 if the kernel
 * doesn't keep track (page_owner).
 */
long gmem_pages_left(long few);

/*
 * Say so, have the kernel say where its tasks are, and fail, unless patted for
 * @seconds.  It's a process of its own: a task that hangs can't tell.
 */
void watchdog_start(unsigned int seconds);
void watchdog_pat(const char *what);
void watchdog_stop(void);

#endif
