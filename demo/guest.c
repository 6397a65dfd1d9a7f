// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * A virtual machine whose one processor adds up all of its memory, which is a
 * guest_memfd that nothing in this process maps, and reports the sum.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "demo.h"

#define SUM_PORT	0x10
#define TIME_LIMIT_S	120

/*
 * Runs in flat 32-bit protected mode, without paging. %ebx is the size of
 * memory. Adds up 64-bit words into %edx:%eax and reports low half, high half.
 */
extern const char guest_code[], guest_code_end[];
__asm__(
	".pushsection .rodata\n"
	".code32\n"
	"guest_code:\n"
	"	xor	%eax, %eax\n"
	"	xor	%edx, %edx\n"
	"	xor	%esi, %esi\n"
	"1:	add	(%esi), %eax\n"
	"	adc	4(%esi), %edx\n"
	"	add	$8, %esi\n"
	"	cmp	%ebx, %esi\n"
	"	jne	1b\n"
	"	out	%eax, $0x10\n"		/* SUM_PORT */
	"	mov	%edx, %eax\n"
	"	out	%eax, $0x10\n"
	"	hlt\n"
	"guest_code_end:\n"
	".code64\n"
	".popsection\n"
);

static uint64_t host_sum(const struct image *image)
{
	const uint64_t *word = image->bytes, *end = image->bytes + image->size;
	uint64_t sum = 0;

	while (word < end)
		sum += *word++;

	return sum;
}

/* Guest memory is the guest_memfd; the code gets a page of its own above. */
static void add_memory(int vm, int gmem, size_t size)
{
	long page = sysconf(_SC_PAGESIZE);
	struct kvm_userspace_memory_region2 ram = {
		.slot = 0,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = 0,
		.memory_size = size,
		.guest_memfd = gmem,
	};
	struct kvm_userspace_memory_region code = {
		.slot = 1,
		.guest_phys_addr = size,
		.memory_size = page,
	};
	void *mem;

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &ram))
		err(EXIT_FAILURE, "cannot make the guest_memfd the guest's memory");

	mem = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		err(EXIT_FAILURE, "no memory for the guest's code");
	memcpy(mem, guest_code, guest_code_end - guest_code);

	code.userspace_addr = (uintptr_t)mem;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &code))
		err(EXIT_FAILURE, "cannot add the guest's code to its memory");
}

static void set_registers(int vcpu, size_t size)
{
	struct kvm_segment flat = {
		.limit = 0xffffffff,
		.selector = 0x10,
		.type = 3,		/* data, writable, accessed */
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
	struct kvm_regs regs = {
		.rip = size,
		.rbx = size,
		.rflags = 2,		/* always set */
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		err(EXIT_FAILURE, "cannot get the guest's segment registers");

	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
	flat.selector = 0x8;
	flat.type = 11;			/* code, readable, accessed */
	sregs.cs = flat;
	sregs.cr0 |= 1;			/* protected mode */

	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs))
		err(EXIT_FAILURE, "cannot set the guest's registers");
}

static void on_alarm(int sig)
{
	(void)sig;			/* it is there to interrupt KVM_RUN */
}

static void set_time_limit(void)
{
	struct sigaction sa = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &sa, NULL);
	alarm(TIME_LIMIT_S);
}

/* Run the guest until it has something to say; anything unexpected is fatal. */
static void run_vcpu(int vcpu, const struct kvm_run *run)
{
	int ret;

	ret = ioctl(vcpu, KVM_RUN, 0);
	if (ret && errno == EINTR)
		errx(EXIT_FAILURE, "the guest has not come to a sum in %d s", TIME_LIMIT_S);
	if (ret && errno == EFAULT && run->exit_reason == KVM_EXIT_MEMORY_FAULT)
		errx(EXIT_FAILURE, "the guest died: KVM has no memory for its address %#llx",
		     (unsigned long long)run->memory_fault.gpa);
	if (ret)
		err(EXIT_FAILURE, "KVM cannot run the guest");

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
	case KVM_EXIT_HLT:
		return;
	case KVM_EXIT_SHUTDOWN:
		errx(EXIT_FAILURE, "the guest died of a triple fault");
	case KVM_EXIT_MMIO:
		errx(EXIT_FAILURE, "the guest died: it has no memory at its address %#llx",
		     (unsigned long long)run->mmio.phys_addr);
	case KVM_EXIT_FAIL_ENTRY:
		errx(EXIT_FAILURE, "the guest does not start: hardware reason %#llx",
		     (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_INTERNAL_ERROR:
		errx(EXIT_FAILURE, "the guest died of KVM's internal error %u", run->internal.suberror);
	default:
		errx(EXIT_FAILURE, "the guest died: unexpected KVM exit reason %u", run->exit_reason);
	}
}

/* The next half of the sum. */
static uint32_t guest_says(int vcpu, const struct kvm_run *run)
{
	uint32_t half;

	run_vcpu(vcpu, run);
	if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT ||
	    run->io.port != SUM_PORT || run->io.size != sizeof(half) || run->io.count != 1)
		errx(EXIT_FAILURE, "the guest did something other than report its sum");

	memcpy(&half, (const char *)run + run->io.data_offset, sizeof(half));
	return half;
}

struct guest_sum guest_sum(int kvm, int vm, int gmem, const struct image *image)
{
	struct guest_sum result;
	struct kvm_run *run;
	int vcpu, size;
	double start;

	add_memory(vm, gmem, image->size);

	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (vcpu < 0 || size < 0)
		err(EXIT_FAILURE, "cannot create the guest's processor");
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		err(EXIT_FAILURE, "cannot map the guest's processor");
	set_registers(vcpu, image->size);

	set_time_limit();
	start = now_ms();
	result.sum = guest_says(vcpu, run);
	result.sum |= (uint64_t)guest_says(vcpu, run) << 32;
	result.ms = now_ms() - start;

	run_vcpu(vcpu, run);
	alarm(0);
	if (run->exit_reason != KVM_EXIT_HLT)
		errx(EXIT_FAILURE, "the guest did not halt after its sum");

	result.ok = result.sum == host_sum(image);
	if (!result.ok)
		warnx("the guest's sum of its memory is %#018" PRIx64 ", should be %#018" PRIx64,
		      result.sum, host_sum(image));

	munmap(run, size);
	close(vcpu);
	return result;
}
