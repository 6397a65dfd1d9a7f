// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* A processor: a thread that runs the guest and serves what it asks for. */
#include <cpuid.h>
#include <errno.h>
#include <linux/kvm.h>
#include <asm/kvm_para.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu.h"
#include "demand.h"
#include "kvm-api.h"
#include "lib/shared.h"
#include "memory.h"
#include "outcome.h"
#include "ports.h"

#define MSR_MISC_ENABLE		0x1a0
#define MISC_FAST_STRINGS	1
#define MSR_MTRR_DEFAULT	0x2ff
#define MTRR_WRITE_BACK		(1 << 11 | 6)

/*
 * Every processor is a package of its own: no threads, no shared caches, and
 * nothing to get wrong.
 */
static void set_topology(struct kvm_cpuid2 *cpuid, unsigned int index, bool deadline_timer)
{
	for (unsigned int i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		switch (e->function) {
		case 1:
			e->ebx = (e->ebx & 0xffff) | 1 << 16 | index << 24;
			e->edx &= ~(1u << 28);			/* threads */
			e->ecx |= 1u << 31;			/* hypervisor */
			if (deadline_timer)
				e->ecx |= 1u << 24;
			break;
		case 4:
			e->eax &= 0x3ff;
			break;
		case 0xb:
		case 0x1f:
			e->eax = 0;
			e->ebx = e->index < 2;
			e->ecx = e->index | (e->index < 2 ? e->index + 1 : 0) << 8;
			e->edx = index;
			break;
		case 0x80000008:
			e->ecx = 0;
			break;
		case 0x8000001e:
			e->eax = index;
			e->ebx = 0;
			e->ecx = 0;
			break;
		}
	}
}

static bool on_tcg(void)
{
	unsigned int eax, ebx, ecx, edx;

	__cpuid(0x40000000, eax, ebx, ecx, edx);
	return ebx == 0x54474354 && ecx == 0x43544743 && edx == 0x47435447;	/* "TCGTCGTCGTCG" */
}

/*
 * QEMU's emulation of SVM does not tell KVM that the guest sets XCR0. So on that
 * there must be nothing that needs it: XSAVE, AVX and what builds on them.
 */
static void hide_xsave(struct kvm_cpuid2 *cpuid)
{
	static const struct {
		uint32_t function, index, ebx, ecx;
	} needs_xsave[] = {
		{ 1, 0, 0, 1u << 12 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 29 },
		{ 7, 0, 0xdc230020, 0x00005e5a },
		{ 0x80000001, 0, 0, 1u << 11 | 1u << 15 | 1u << 16 },
	};

	for (unsigned int i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		for (size_t n = 0; n < sizeof(needs_xsave) / sizeof(*needs_xsave); n++) {
			if (e->function == needs_xsave[n].function && e->index == needs_xsave[n].index) {
				e->ebx &= ~needs_xsave[n].ebx;
				e->ecx &= ~needs_xsave[n].ecx;
			}
		}
		if (e->function == 0xd)
			e->eax = e->ebx = e->ecx = e->edx = 0;
		if (e->function == 7 && e->index == 1)
			e->eax &= ~(1u << 4 | 1u << 5 | 1u << 23);
	}
}

/* What KVM maps the guest's memory for: kvmclock, and guests of the guest. */
#define KVMCLOCK	(1u << KVM_FEATURE_CLOCKSOURCE | 1u << KVM_FEATURE_CLOCKSOURCE2 | 1u << KVM_FEATURE_CLOCKSOURCE_STABLE_BIT)

static const struct direct_map_user {
	uint32_t function, eax, ecx;
} direct_map_users[] = {
	{ KVM_CPUID_FEATURES, KVMCLOCK, 0 },
	{ 1, 0, 1u << 5 },			/* VMX */
	{ 0x80000001, 0, 1u << 2 },		/* SVM */
};

static const struct direct_map_user *find_direct_map_user(const struct kvm_cpuid_entry2 *e)
{
	static const struct direct_map_user none;

	for (size_t n = 0; n < sizeof(direct_map_users) / sizeof(*direct_map_users); n++)
		if (e->function == direct_map_users[n].function)
			return &direct_map_users[n];
	return &none;
}

static void hide_direct_map_users(struct kvm_cpuid2 *cpuid)
{
	for (unsigned int i = 0; i < cpuid->nent; i++) {
		const struct direct_map_user *user = find_direct_map_user(&cpuid->entries[i]);

		cpuid->entries[i].eax &= ~user->eax;
		cpuid->entries[i].ecx &= ~user->ecx;
	}
}

bool cpu_needs_direct_map(const struct kvm_cpuid2 *cpuid)
{
	for (unsigned int i = 0; i < cpuid->nent; i++) {
		const struct direct_map_user *user = find_direct_map_user(&cpuid->entries[i]);

		if (cpuid->entries[i].eax & user->eax || cpuid->entries[i].ecx & user->ecx)
			return true;
	}
	return false;
}

int cpu_set_cpuid(struct vmm *vmm, struct cpu *cpu)
{
	struct kvm_cpuid2 *cpuid = kvm_supported_cpuid(vmm->kvm);
	bool deadline_timer = ioctl(vmm->vm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	int ret;

	if (!cpuid)
		return vmm_fail(vmm, "KVM_GET_SUPPORTED_CPUID: %m");
	set_topology(cpuid, cpu->index, deadline_timer);
	if (on_tcg())
		hide_xsave(cpuid);
	if (vmm->mem.secret)
		hide_direct_map_users(cpuid);
	ret = ioctl(cpu->fd, KVM_SET_CPUID2, cpuid);
	if (ret)
		vmm_fail(vmm, "KVM_SET_CPUID2: %m");
	free(cpuid);
	return ret;
}

/* KVM_GET_MSRS or KVM_SET_MSRS of one. */
int cpu_access_msr(int cpu_fd, unsigned long request, struct kvm_msr_entry *entry)
{
	union {
		struct kvm_msrs msrs;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(*entry)];
	} one = { .msrs.nmsrs = 1 };
	int n;

	one.msrs.entries[0] = *entry;
	n = ioctl(cpu_fd, request, &one);
	*entry = one.msrs.entries[0];
	return n == 1 ? 0 : -1;
}

/* What a firmware would have set. A processor without one of them needs it not. */
static void set_firmware_msrs(int fd)
{
	struct kvm_msr_entry entries[] = {
		{ .index = MSR_MISC_ENABLE, .data = MISC_FAST_STRINGS },
		{ .index = MSR_MTRR_DEFAULT, .data = MTRR_WRITE_BACK },
	};

	for (size_t i = 0; i < sizeof(entries) / sizeof(*entries); i++)
		cpu_access_msr(fd, KVM_SET_MSRS, &entries[i]);
}

int cpu_create(struct vmm *vmm, struct cpu *cpu, unsigned int index)
{
	int size = ioctl(vmm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	cpu->vmm = vmm;
	cpu->index = index;
	cpu->parked = true;
	cpu->fd = ioctl(vmm->vm, KVM_CREATE_VCPU, index);
	if (cpu->fd < 0 || size < 0)
		return vmm_fail(vmm, "KVM cannot create processor %u: %m", index);
	cpu->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
	if (cpu->run == MAP_FAILED) {
		cpu->run = NULL;
		return vmm_fail(vmm, "cannot map processor %u: %m", index);
	}
	cpu->run_size = size;
	set_firmware_msrs(cpu->fd);
	return 0;
}

void cpu_destroy(struct cpu *cpu)
{
	if (cpu->run)
		munmap(cpu->run, cpu->run_size);
	if (cpu->fd >= 0)
		close(cpu->fd);
}

/* -- running ------------------------------------------------------------------------ */

static void serve_exit(struct cpu *cpu)
{
	struct vmm *vmm = cpu->vmm;
	struct kvm_run *run = cpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		ports_serve(vmm, run);
		return;
	case KVM_EXIT_MMIO:			/* there is nothing */
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		return;
	case KVM_EXIT_INTR:
		return;
	case KVM_EXIT_SHUTDOWN:
		vmm_fail(vmm, "the guest died of a triple fault");
		break;
	case KVM_EXIT_FAIL_ENTRY:
		vmm_fail(vmm, "processor %u does not start: hardware reason %#llx", cpu->index,
			 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		vmm_fail(vmm, "the guest died of KVM's internal error %u on processor %u",
			 run->internal.suberror, cpu->index);
		break;
	default:
		vmm_fail(vmm, "the guest died: unexpected KVM exit reason %u on processor %u",
			 run->exit_reason, cpu->index);
	}
	vmm_end(vmm, VMM_DIED);
}

/* -- waiting ------------------------------------------------------------------------ */

static void park(struct cpu *cpu)
{
	pthread_mutex_lock(&cpu->vmm->lock);
	cpu->parked = true;
	pthread_cond_broadcast(&cpu->vmm->changed);
	pthread_mutex_unlock(&cpu->vmm->lock);
}

/* Go on when nobody wants the machine paused; false when it is over. */
static bool unpark(struct cpu *cpu)
{
	struct vmm *vmm = cpu->vmm;
	bool running;

	pthread_mutex_lock(&vmm->lock);
	while (vmm->pauses && vmm->outcome == VMM_RUNNING)
		pthread_cond_wait(&vmm->changed, &vmm->lock);
	cpu->parked = false;
	running = vmm->outcome == VMM_RUNNING;
	if (running)
		cpu->run->immediate_exit = 0;
	pthread_mutex_unlock(&vmm->lock);
	return running;
}

/*
 * The guest touched memory that is not populated yet. Others need not wait for
 * this processor while it waits: it will retry what it did.
 */
static bool serve_memory_fault(struct cpu *cpu)
{
	struct vmm *vmm = cpu->vmm;
	struct kvm_memory_fault *fault = kvm_memory_fault(cpu->run);
	uint64_t offset;

	park(cpu);
	if (!memory_offset(&vmm->mem, fault->gpa, &offset)) {
		vmm_fail(vmm, "the guest died: KVM has no memory for its address %#llx",
			 (unsigned long long)fault->gpa);
		vmm_end(vmm, VMM_DIED);
	} else {
		atomic_fetch_add(&vmm->demand->faults, 1);
		if (demand_touch(vmm, offset, PAGE_SIZE))
			vmm_end(vmm, VMM_DIED);
	}
	return unpark(cpu);
}

/*
 * When KVM_RUN says EINTR what the last exit asked for is complete, so that is
 * where to wait, and the registers can be saved.
 */
static void *cpu_main(void *arg)
{
	struct cpu *cpu = arg;
	struct vmm *vmm = cpu->vmm;
	bool running = unpark(cpu);

	if (cpu->index == 0)
		vmm->first_instruction_ms = now_ms() - vmm->start_ms;
	while (running) {
		if (!ioctl(cpu->fd, KVM_RUN, 0)) {
			serve_exit(cpu);
		} else if (errno == EINTR) {
			park(cpu);
			running = unpark(cpu);
		} else if (errno == EFAULT && vmm->demand && kvm_is_memory_fault(cpu->run)) {
			running = serve_memory_fault(cpu);
		} else if (errno != EAGAIN) {
			vmm_fail(vmm, "KVM cannot run processor %u: %m", cpu->index);
			vmm_end(vmm, VMM_DIED);
		}
	}
	return NULL;
}

int cpu_start(struct vmm *vmm, struct cpu *cpu)
{
	int err;

	/* It does not get past unpark() before we know whom to kick. */
	pthread_mutex_lock(&vmm->lock);
	err = pthread_create(&cpu->thread, NULL, cpu_main, cpu);
	cpu->started = !err;
	pthread_mutex_unlock(&vmm->lock);

	errno = err;
	return err ? vmm_fail(vmm, "cannot start a thread for processor %u: %m", cpu->index) : 0;
}
