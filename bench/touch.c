// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* A guest that stores to each page of its memory once: in protected mode, without paging. */
#include "bench.h"

#ifdef __x86_64__
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../vmm/kvm-api.h"

#define MEMORY_AT	(1ul << 30)	/* in guest physical memory; the code is at 0 */
#define FAULTS		"/sys/kernel/debug/kvm/pf_taken"

static unsigned long faults;

static void slot_set(unsigned int slot, uint64_t at, void *mapping, size_t size, int fd)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.flags = fd < 0 ? 0 : KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = at,
		.memory_size = size,
		.userspace_addr = (uintptr_t)mapping,
		.guest_memfd = fd < 0 ? 0 : fd,
	};

	if (ioctl(guest_vm(), KVM_SET_USER_MEMORY_REGION2, &region))
		err(EXIT_FAILURE, "cannot set slot %u", slot);
}

static int vcpu_create(void)
{
	static const unsigned char code[] = {
		0xc6, 0x00, 0x01,		/* 1: movb $1, (%eax) */
		0x05, 0x00, 0x10, 0x00, 0x00,	/*    add $4096, %eax */
		0x39, 0xd8,			/*    cmp %ebx, %eax  */
		0x72, 0xf4,			/*    jb 1b           */
		0xf4,				/*    hlt             */
	};
	struct kvm_segment flat = { .limit = 0xffffffff, .present = 1, .db = 1, .s = 1, .g = 1 };
	struct kvm_sregs sregs;
	void *page;
	int vcpu;

	page = mmap(NULL, 4 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		err(EXIT_FAILURE, "cannot have a page for the guest's code");
	memcpy(page, code, sizeof(code));
	slot_set(0, 0, page, 4 * KIB, -1);

	vcpu = ioctl(guest_vm(), KVM_CREATE_VCPU, 0);
	if (vcpu < 0 || ioctl(vcpu, KVM_GET_SREGS, &sregs))
		err(EXIT_FAILURE, "cannot create a vCPU");
	flat.type = 3;
	flat.selector = 16;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
	flat.type = 11;
	flat.selector = 8;
	sregs.cs = flat;
	sregs.cr0 |= 1;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs))
		err(EXIT_FAILURE, "cannot put the vCPU into protected mode");

	return vcpu;
}

void guest_attach(const struct part *whole)
{
	static bool attached;

	if (attached)
		slot_set(1, MEMORY_AT, NULL, 0, -1);
	slot_set(1, MEMORY_AT, whole->mapping, whole->whole, whole->fd);
	attached = true;
}

unsigned long guest_faults(void)
{
	return faults;
}

static unsigned long faults_taken(void)
{
	FILE *f = fopen(FAULTS, "r");
	unsigned long count;

	if (!f || fscanf(f, "%lu", &count) != 1)
		err(EXIT_FAILURE, "cannot read " FAULTS);
	fclose(f);
	return count;
}

void guest_touch(struct part *whole)
{
	struct kvm_regs regs = { .rflags = 2, .rax = MEMORY_AT, .rbx = MEMORY_AT + whole->whole };
	static struct kvm_run *run;
	static int vcpu = -1;
	unsigned long before;

	if (vcpu < 0) {
		vcpu = vcpu_create();
		run = mmap(NULL, 4 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
		if (run == MAP_FAILED)
			err(EXIT_FAILURE, "cannot map a vCPU");
	}
	before = faults_taken();
	if (ioctl(vcpu, KVM_SET_REGS, &regs) || ioctl(vcpu, KVM_RUN, 0))
		err(EXIT_FAILURE, "cannot run the guest");
	if (run->exit_reason != KVM_EXIT_HLT)
		errx(EXIT_FAILURE, "the guest stopped: exit reason %u", run->exit_reason);
	faults = faults_taken() - before;
}
#else
void guest_attach(const struct part *whole)
{
	(void)whole;
}

unsigned long guest_faults(void)
{
	return 0;
}

void guest_touch(struct part *whole)
{
	(void)whole;
}
#endif
