// SPDX-License-Identifier: GPL-2.0-only
/*
 * The eyes and hands of a vCPU: memslots of the file, and a guest that copies
 * words between them and a window that it shares with us.
 */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "play.h"

/* Pages of plain guest memory: the code, at its end a command; the window; a page table. */
#define CODE_GPA	0x1000
#define WINDOW_GPA	0x2000
#define TABLE_GPA	0x3000
#define CODE_SLOT	31

struct command {
	unsigned int from, to, words;
};

static struct {
	unsigned char code[PAGE - sizeof(struct command)];
	struct command command;
	unsigned char window[PAGE];
	unsigned long table[PAGE / sizeof(long)];
} *plain;

_Static_assert(sizeof(struct command) == 12, "the guest looks for it at 0x1ff4");

/* Each round ends with an exit. */
extern const unsigned char guest_code[], guest_code_end[];

#ifdef __x86_64__
/* In flat 32-bit protected mode, without paging. */
__asm__(
	".pushsection .rodata\n"
	".code32\n"
	"guest_code:\n"
	"1:	out	%al, $0x10\n"
	"	mov	0x1ff4, %esi\n"
	"	mov	0x1ff8, %edi\n"
	"	mov	0x1ffc, %ecx\n"
	"	rep movsl\n"
	"	jmp	1b\n"
	"guest_code_end:\n"
	".code64\n"
	".popsection\n"
);

static void set_registers(void)
{
	struct kvm_segment flat = {
		.limit = 0xffffffff, .selector = 0x10, .type = 3,
		.present = 1, .db = 1, .s = 1, .g = 1,
	};
	struct kvm_regs regs = { .rip = CODE_GPA, .rflags = 2 };
	struct kvm_sregs sregs;

	MUST(ioctl(world.vcpu, KVM_GET_SREGS, &sregs));
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
	flat.selector = 8;
	flat.type = 11;
	sregs.cs = flat;
	sregs.cr0 |= 1;
	MUST(ioctl(world.vcpu, KVM_SET_SREGS, &sregs));
	MUST(ioctl(world.vcpu, KVM_SET_REGS, &regs));
}

static bool has_left(void)
{
	return world.run->exit_reason == KVM_EXIT_IO;
}
#else
/* At EL1. An exit is a store to where no memory is. */
#define EXIT_GPA	0x20000000

__asm__(
	".pushsection .rodata\n"
	"guest_code:\n"
	"	mov	x3, #0x1ff4\n"
	"	mov	x4, #0x20000000\n"
	"1:	str	wzr, [x4]\n"
	"	ldp	w0, w1, [x3]\n"
	"	ldr	w2, [x3, #8]\n"
	"2:	cbz	w2, 1b\n"
	"	ldr	w5, [x0]\n"
	"	str	w5, [x1]\n"
	"	add	x0, x0, #4\n"
	"	add	x1, x1, #4\n"
	"	sub	w2, w2, #1\n"
	"	b	2b\n"
	"guest_code_end:\n"
	".popsection\n"
);

static void set_register(unsigned long id, unsigned long value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (unsigned long)&value };

	MUST(ioctl(world.vcpu, KVM_SET_ONE_REG, &reg));
}

/* The first GiB is mapped as it is, cacheable: what it has is what we see. */
static void set_registers(void)
{
	struct kvm_vcpu_init init;

	MUST(ioctl(world.vm, KVM_ARM_PREFERRED_TARGET, &init));
	MUST(ioctl(world.vcpu, KVM_ARM_VCPU_INIT, &init));
	plain->table[0] = 1 << 10 | 3 << 8 | 1;	/* accessed, inner shareable, a block */
	set_register(ARM64_SYS_REG(3, 0, 10, 2, 0), 0xff);	/* MAIR_EL1: write-back */
	set_register(ARM64_SYS_REG(3, 0, 2, 0, 0), TABLE_GPA);	/* TTBR0_EL1 */
	/* TCR_EL1: 39 bits, cacheable, no TTBR1 */
	set_register(ARM64_SYS_REG(3, 0, 2, 0, 2), 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 25);
	set_register(ARM64_SYS_REG(3, 0, 1, 0, 0), 0x30d01805);	/* SCTLR_EL1: all that must be, M, C, I */
	set_register(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE |
		     KVM_REG_ARM_CORE_REG(regs.pc), CODE_GPA);
}

static bool has_left(void)
{
	return world.run->exit_reason == KVM_EXIT_MMIO && world.run->mmio.phys_addr == EXIT_GPA;
}
#endif

/* To the guest's next exit for a command. */
static long run_guest(void)
{
	long err, ret = 0;

	while (1) {
		err = RET(ioctl(world.vcpu, KVM_RUN, 0));
		if (err == -EFAULT) {
			set_registers();
			return -EFAULT;
		}

		if (has_left())
			return ret;
		if (world.run->exit_reason != KVM_EXIT_MMIO) {
			fprintf(stderr, "KVM_RUN returns %ld, exit reason %u\n", err,
				world.run->exit_reason);
			exit(2);
		}
		ret = -ENXIO;
	}
}

static void make_vcpu(void)
{
	struct kvm_userspace_memory_region region = {
		.slot = CODE_SLOT, .guest_phys_addr = CODE_GPA, .memory_size = sizeof(*plain),
	};
	long i;

	if (world.vcpu >= 0)
		return;

	if (!plain) {
		plain = anon_memory(sizeof(*plain), PROT_READ | PROT_WRITE);
		for (i = 0; i < guest_code_end - guest_code; i++)
			plain->code[i] = guest_code[i];
	}
	region.userspace_addr = (unsigned long)plain;
	MUST(ioctl(world.vm, KVM_SET_USER_MEMORY_REGION, &region));

	world.vcpu = MUST(ioctl(world.vm, KVM_CREATE_VCPU, 0));
	world.run = mmap(NULL, MUST(ioctl(world.kvm, KVM_GET_VCPU_MMAP_SIZE, 0)),
			 PROT_READ | PROT_WRITE, MAP_SHARED, world.vcpu, 0);
	MUST(world.run == MAP_FAILED ? -1 : 0);
	set_registers();
	run_guest();
}

/* -ENXIO: there is no memslot; -EFAULT: its file has been closed, or isn't shown. */
static long guest_copy(unsigned int to, unsigned int from, long words)
{
	long ret;

	plain->command = (struct command) { .from = from, .to = to, .words = words };
	ret = run_guest();
	/* Start anew up to where it waits for a command. */
	if (ret == -EFAULT) {
		plain->command.words = 0;
		run_guest();
	}
	return ret;
}

long play_bind(long slot, long place, long first, long pages)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = PLACE_GPA(place),
		.memory_size = pages * PAGE,
		.guest_memfd_offset = first * PAGE,
	};
	static void *nowhere;
	int i = 0;

	/* Where a file can't be mapped KVM looks there: it must not find what is ours. */
	if (!nowhere)
		nowhere = anon_memory(PLACE_SIZE, PROT_NONE);
	region.userspace_addr = (unsigned long)nowhere;
	while (i < NR_FDS - 1 && world.fds[i] < 0)
		i++;
	region.guest_memfd = world.fds[i];
	return RET(ioctl(world.vm, KVM_SET_USER_MEMORY_REGION2, &region));
}

long play_unbind(long slot)
{
	struct kvm_userspace_memory_region2 region = { .slot = slot };

	return RET(ioctl(world.vm, KVM_SET_USER_MEMORY_REGION2, &region));
}

/* @off is from where @place begins. */
long play_guest_write(long place, long off, long at, long words)
{
	make_vcpu();
	copy_words(plain->window, world.source + at, words * 4);
	return guest_copy(PLACE_GPA(place) + off, WINDOW_GPA, words);
}

long play_guest_read(long place, long off, long words)
{
	make_vcpu();
	return guest_copy(WINDOW_GPA, PLACE_GPA(place) + off, words);
}

/* What a guest has read. */
const unsigned char *play_window(void)
{
	return plain->window;
}
