/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* Stop all processors, and let them go on. */
#ifndef VMM_PAUSE_H
#define VMM_PAUSE_H

#include "vmm.h"

/* What interrupts KVM_RUN. */
#define VMM_KICK	SIGUSR1

/*
 * On return no processor runs, and all that they asked for is done; -1: the guest
 * has ended. Several threads may have it paused at once; each resumes it in any case.
 */
int vmm_pause(struct vmm *vmm);
void vmm_resume(struct vmm *vmm);

/* Have the processors look whether they are to go on. With the machine's lock held. */
void vmm_kick_cpus(struct vmm *vmm);

#endif
