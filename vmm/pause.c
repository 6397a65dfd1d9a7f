// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Stop all processors, and let them go on. */
#include <linux/kvm.h>
#include <signal.h>

#include "pause.h"

/*
 * immediate_exit is for a processor that is about to enter the guest, the broadcast
 * for one that waits until somebody reads what the guest says.
 */
void vmm_kick_cpus(struct vmm *vmm)
{
	pthread_cond_broadcast(&vmm->changed);
	for (unsigned int i = 0; i < vmm->nr_cpus; i++) {
		if (!vmm->cpus[i].started)
			continue;
		vmm->cpus[i].run->immediate_exit = 1;
		pthread_kill(vmm->cpus[i].thread, VMM_KICK);
	}
}

static bool all_parked(const struct vmm *vmm)
{
	for (unsigned int i = 0; i < vmm->nr_cpus; i++)
		if (!vmm->cpus[i].parked)
			return false;
	return true;
}

int vmm_pause(struct vmm *vmm)
{
	bool over;

	pthread_mutex_lock(&vmm->lock);
	vmm->pauses++;
	vmm_kick_cpus(vmm);
	while (vmm->outcome == VMM_RUNNING && !all_parked(vmm))
		pthread_cond_wait(&vmm->changed, &vmm->lock);
	over = vmm->outcome != VMM_RUNNING;
	pthread_mutex_unlock(&vmm->lock);
	return over ? -1 : 0;
}

void vmm_resume(struct vmm *vmm)
{
	pthread_mutex_lock(&vmm->lock);
	vmm->pauses--;
	pthread_cond_broadcast(&vmm->changed);
	pthread_mutex_unlock(&vmm->lock);
}
