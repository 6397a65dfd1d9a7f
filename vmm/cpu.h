/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* A processor. */
#ifndef VMM_CPU_H
#define VMM_CPU_H

#include "vmm.h"

struct kvm_cpuid2;

int cpu_create(struct vmm *vmm, struct cpu *cpu, unsigned int index);
int cpu_access_msr(int cpu_fd, unsigned long request, struct kvm_msr_entry *entry);
int cpu_set_cpuid(struct vmm *vmm, struct cpu *cpu);
/* Whether what the guest was told of needs its memory to be in the direct map. */
bool cpu_needs_direct_map(const struct kvm_cpuid2 *cpuid);
int cpu_start(struct vmm *vmm, struct cpu *cpu);
void cpu_destroy(struct cpu *cpu);

#endif
