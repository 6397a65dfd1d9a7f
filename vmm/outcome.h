/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* How the machine ends, what went wrong, and what the main thread is to look at. */
#ifndef VMM_OUTCOME_H
#define VMM_OUTCOME_H

#include <signal.h>

#include "vmm.h"

/* Leave a message for who called, unless there is one: -1. */
int vmm_fail(struct vmm *vmm, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Run fn(vmm) as a thread, which no signal ends us by; 0, or -1 after a message. */
int vmm_start_thread(struct vmm *vmm, pthread_t *thread, void *(*fn)(void *));

/* What ends us, but for what we were started to ignore: that stays so, as for nohup. */
void vmm_end_signals(sigset_t *ends);

/* The first outcome counts. */
void vmm_end(struct vmm *vmm, enum vmm_outcome outcome);
bool vmm_is_over(struct vmm *vmm);

/* The main thread has something to look at. */
void vmm_wake(struct vmm *vmm);

#endif
