/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* What the library's files share. */
#ifndef GMEM_INTERNAL_H
#define GMEM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "gmem.h"

#define EXPORT		__attribute__((visibility("default")))
#define PRINTF(f, a)	__attribute__((format(printf, f, a)))

struct gmem {
	enum gmem_method method;
	enum gmem_zero zero;
	unsigned int threads;
	size_t chunk;
	bool pad;
	bool direct;
	bool verify;
	struct gmem_range *order;
	size_t nr_order;
	gmem_progress_fn *progress;
	void *progress_arg;

	size_t page;			/* its size */
	int cancel_fd;			/* an eventfd: readable once cancelled */
	atomic_bool busy;		/* an operation is running */

	pthread_mutex_t error_lock;	/* threads of one operation may fail together */
	bool failed;
	char error[512];

	struct gmem_stats stats;
	struct gmem_thread_stats *thread;
	char why[160];
};

/* Set the message, unless it has been set since gmem_begin(). Returns @err. */
int gmem_fail(struct gmem *g, int err, const char *format, ...) PRINTF(3, 4);

/* An operation begins: forget the last one's error. -EBUSY if one is running. */
int gmem_begin(struct gmem *g);

/* It ends; returns @err. */
int gmem_end(struct gmem *g, int err);

/* Has gmem_cancel() been called? It stays so until the operation ends. */
bool gmem_cancelled(struct gmem *g);

double gmem_now_ms(void);

/* @kvm_or_vm's answer to KVM_CHECK_EXTENSION, 0 if it has none. */
int gmem_check_extension(int kvm_or_vm, int capability);

#endif /* GMEM_INTERNAL_H */
