// SPDX-License-Identifier: GPL-2.0-only
/*
 * The eyes and hands of a vCPU: memslots of the file, and a guest that copies
 * words between them and a window that it shares with us.
 */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "play.h"

/* Two pages of plain guest memory: the code, at its end a command; the window. */
#define CODE_GPA	0x1000
#define WINDOW_GPA	0x2000
#define CODE_SLOT	31

struct command {
	unsigned int from, to, words;
};

static struct {
	unsigned char code[PAGE - sizeof(struct command)];
	struct command command;
	unsigned char window[PAGE];
} *plain;

_Static_assert(sizeof(struct command) == 12, "the guest looks for it at 0x1ff4");

/* In flat 32-bit protected mode, without paging. Each round ends with an exit. */
extern const unsigned char guest_code[], guest_code_end[];
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

		switch (world.run->exit_reason) {
		case KVM_EXIT_IO:
			return ret;
		case KVM_EXIT_MMIO:
			ret = -ENXIO;
			continue;
		default:
			fprintf(stderr, "KVM_RUN returns %ld, exit reason %u\n", err,
				world.run->exit_reason);
			exit(2);
		}
	}
}

static void make_vcpu(void)
{
	struct kvm_userspace_memory_region region = {
		.slot = CODE_SLOT, .guest_phys_addr = CODE_GPA, .memory_size = 2 * PAGE,
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
	int i = 0;

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

/* One that the guest sees. */
long play_guest_byte(long place, long off)
{
	long ret = play_guest_read(place, off / 4 * 4, 1);

	return ret ?: plain->window[off % 4];
}

/* What a guest has read. */
const unsigned char *play_window(void)
{
	return plain->window;
}
