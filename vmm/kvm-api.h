/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* What Linux 6.1's <linux/kvm.h> lacks, and two helpers. */
#ifndef VMM_KVM_API_H
#define VMM_KVM_API_H

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT	39
#endif
#ifndef KVM_CAP_MEMORY_FAULT_INFO
#define KVM_CAP_MEMORY_FAULT_INFO 232
#endif

/* KVM_X86_REG_KVM(KVM_REG_GUEST_SSP) */
#define REG_GUEST_SSP		(KVM_REG_X86 | KVM_REG_SIZE_U64 | 3ull << 32)

#ifndef KVM_MEM_GUEST_MEMFD
#define KVM_MEM_GUEST_MEMFD	(1UL << 2)

struct kvm_userspace_memory_region2 {
	__u32 slot;
	__u32 flags;
	__u64 guest_phys_addr;
	__u64 memory_size;
	__u64 userspace_addr;
	__u64 guest_memfd_offset;
	__u32 guest_memfd;
	__u32 pad1;
	__u64 pad2[14];
};

#define KVM_SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2)
#endif

/* run->memory_fault, which older headers have no name for. */
struct kvm_memory_fault {
	__u64 flags;
	__u64 gpa;
	__u64 size;
};

static inline struct kvm_memory_fault *kvm_memory_fault(struct kvm_run *run)
{
	return (struct kvm_memory_fault *)&run->hw;
}

static inline bool kvm_is_memory_fault(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_MEMORY_FAULT;
}

/* To be freed. NULL and errno. */
static inline struct kvm_cpuid2 *kvm_supported_cpuid(int kvm)
{
	struct kvm_cpuid2 *cpuid = NULL;
	unsigned int nent = 64;

	do {
		nent *= 2;
		free(cpuid);
		cpuid = calloc(1, sizeof(*cpuid) + nent * sizeof(cpuid->entries[0]));
		if (!cpuid)
			return NULL;
		cpuid->nent = nent;
		if (!ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid))
			return cpuid;
	} while (errno == E2BIG && nent < 4096);
	free(cpuid);
	return NULL;
}

#endif
