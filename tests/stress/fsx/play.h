/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The operations as they are done to a real guest_memfd, with no model.  Each
 * takes plain numbers, and returns what the kernel does: -errno on failure.
 */
#ifndef FSX_PLAY_H
#define FSX_PLAY_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <linux/kvm.h>

#ifndef GUEST_MEMFD_FLAG_MMAP
#define GUEST_MEMFD_FLAG_MMAP		(1ULL << 0)
#endif
#ifndef GUEST_MEMFD_FLAG_INIT_SHARED
#define GUEST_MEMFD_FLAG_INIT_SHARED	(1ULL << 1)
#endif
#ifndef GUEST_MEMFD_FLAG_WRITE
#define GUEST_MEMFD_FLAG_WRITE		(1ULL << 3)
#endif
#ifndef GUEST_MEMFD_FLAG_NO_OVERWRITE
#define GUEST_MEMFD_FLAG_NO_OVERWRITE	(1ULL << 4)
#endif

#define PAGE		4096l
/* What there is to write, and how much beyond it cannot be read. */
#define SOURCE_SIZE	(1280 * PAGE)
#define SOURCE_GUARD	(1024 * PAGE)
#define MAX_SEGS	16
/* Descriptors of the file; memslots, and places in the guest to put them. */
#define NR_FDS		3
#define NR_SLOTS	4
#define NR_PLACES	6
#define PLACE_SIZE	0x1000000u
#define PLACE_GPA(n)	(0x10000000u + PLACE_SIZE * (unsigned int)(n))
/* The words that a guest copies at once. */
#define WINDOW_WORDS	1024

struct world {
	int kvm, vm, vcpu, in;
	struct kvm_run *run;
	int fds[NR_FDS];
	long flags, size;
	/* The file, if it can be mapped. */
	unsigned char *mem;
	unsigned char *source;
	/* Rather sure than fast. */
	bool patient;
};

extern struct world world;

/* The result of a system call, once nothing interrupts it. */
#define RET(call)						\
({								\
	long __ret;						\
								\
	do {							\
		__ret = (call);					\
	} while (__ret < 0 && errno == EINTR);			\
	__ret < 0 ? -errno : __ret;				\
})

/* What is not to be tested has to work. */
#define MUST(call)						\
({								\
	long __must = RET(call);				\
								\
	if (__must < 0) {					\
		errno = -__must;				\
		perror(#call);					\
		exit(2);					\
	}							\
	__must;							\
})

void *anon_memory(size_t size, int prot);
void copy_words(void *to, const void *from, size_t nr_bytes);
int cut(struct iovec *iov, long at, long len, long segs, long cuts);

long play_new(long flags, long pages);
long play_new_file(long flags, long pages);
long play_close_vm(void);
long play_dup(long from, long to);
long play_close(long fd);
long play_remap(void);
long play_write(long fd, long at, long len);
long play_pwrite(long fd, long at, long len, long off);
long play_writev(long fd, long at, long len, long segs, long cuts);
long play_pwritev(long fd, long at, long len, long off, long segs, long cuts);
long play_pwritev2(long fd, long at, long len, long off, long segs, long cuts,
		   long flags);
long play_append(long fd, long at, long len);
long play_pwrite_map(long fd, long from, long len, long off);
long play_store(long off, long at, long len);
long play_move(long to, long from, long len);
long play_touch(long off);
long play_madvise(long off, long len, long advice);
long play_fallocate(long fd, long off, long len);
long play_punch(long fd, long off, long len);
long play_seek(long fd, long off, long whence);
long play_stat(long fd);
long play_blocks(long fd);
long play_mtime_moved(void);
long play_incore(long first, long nr, unsigned char *vec);
long play_dirty(long page);
long play_refused(long fd, long what);

long play_uring(long fd, long op, long at, long len, long off, long segs, long cuts);

long play_fill(long at, long len, long chunk);
long play_vmsplice(long at, long len);
long play_splice(long fd, long off, long len);
long play_drain(void);
const unsigned char *play_drained_bytes(void);
long play_vmsplice_map(long fd, long from, long len, long off, long punch);
long play_sendfile(long fd, long from, long len);

long play_bind(long slot, long place, long first, long pages);
long play_unbind(long slot);
long play_guest_write(long place, long off, long at, long words);
long play_guest_read(long place, long off, long words);
const unsigned char *play_window(void);

long play_fork(long fd, long at, long len, long store);
long play_limit(long fd, long at, long len, long off, long limit);

#endif /* FSX_PLAY_H */
