/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* The machine as a whole: made, run, taken apart. */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include "vmm.h"

/* So that vmm_fail() and vmm_destroy() work. */
void vmm_init(struct vmm *vmm);
int vmm_create(struct vmm *vmm, size_t mem_size, unsigned int nr_cpus);
int vmm_create_cpus(struct vmm *vmm);

/* Run until the outcome is clear. */
int vmm_run(struct vmm *vmm);
void vmm_destroy(struct vmm *vmm);

#endif
