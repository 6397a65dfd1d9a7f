// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * gmem run's kernel and initrd, any file with any header, on a machine of any size.
 * They are loaded or refused, with a message of one line. What was loaded is in the
 * guest's RAM, above the first MiB, whole, and apart from each other; the zero page
 * tells of RAM that there is, and of nothing twice.
 */
#include "machine.h"
#include "vmm/boot.c"		/* for what it puts below 1 MiB */


static int play_kvm(int fd, unsigned long request, void *arg)
{
	(void)fd;
	(void)arg;
	MUST(request == KVM_GET_SREGS || request == KVM_SET_SREGS || request == KVM_SET_REGS);
	if (request == KVM_GET_SREGS)
		memset(arg, 0, sizeof(struct kvm_sregs));
	return 0;
}

static void must_be_at(const struct vmm *vmm, uint64_t gpa, const uint8_t *bytes, size_t size)
{
	MUST(gpa <= low_ram(vmm) && size <= low_ram(vmm) - gpa);
	MUST(!memcmp(vmm->mem.view + gpa, bytes, size));
}

static void check_memory_map(const struct vmm *vmm, const struct boot_params *zp)
{
	uint64_t end = 0, ram = 0;

	MUST(zp->e820_entries && zp->e820_entries <= 4);
	for (int i = 0; i < zp->e820_entries; i++) {
		const struct boot_e820_entry *e = &zp->e820_table[i];
		uint64_t last;

		MUST(e->addr >= end && e->size);
		MUST(memory_offset(&vmm->mem, e->addr, &last) &&
		     memory_offset(&vmm->mem, e->addr + e->size - 1, &last));
		end = e->addr + e->size;
		if (e->type == 1)
			ram += e->size;
	}
	MUST(ram <= vmm->mem.size && ram + HIGH_MEMORY >= vmm->mem.size);
}

static void check_loaded(const struct vmm *vmm, const uint8_t *file, size_t size,
			 const uint8_t *initrd, size_t initrd_size, const char *cmdline)
{
	const struct boot_params *zp = (const void *)(vmm->mem.view + LOW_ADDRESS(zero_page));
	uint64_t at = vmm->entry - ENTRY_64;
	size_t payload = ((file[offsetof(struct boot_params, hdr)] ?: 4) + 1) * 512;

	MUST(at >= HIGH_MEMORY && at + zp->hdr.init_size <= low_ram(vmm));
	must_be_at(vmm, at, file + payload, size - payload);
	if (initrd_size) {
		MUST(zp->hdr.ramdisk_size == initrd_size);
		MUST(zp->hdr.ramdisk_image >= at + zp->hdr.init_size);
		MUST(zp->hdr.ramdisk_image >= at + size - payload);
		MUST(zp->hdr.ramdisk_image + initrd_size - 1 <= zp->hdr.initrd_addr_max);
		must_be_at(vmm, zp->hdr.ramdisk_image, initrd, initrd_size);
	}
	MUST(zp->hdr.cmd_line_ptr == LOW_ADDRESS(cmdline));
	MUST(!strcmp((const char *)vmm->mem.view + LOW_ADDRESS(cmdline), cmdline));
	check_memory_map(vmm, zp);
}

/* What is not told is that of a kernel that can be booted. */
static size_t make_kernel(uint8_t *file, size_t room, struct input *in)
{
	struct setup_header h = {
		.setup_sects = 1, .boot_flag = 0xaa55, .header = BOOT_MAGIC, .version = 0x20f,
		.loadflags = LOADED_HIGH, .xloadflags = XLF_KERNEL_64, .kernel_alignment = 1 << 21,
		.relocatable_kernel = 1, .cmdline_size = 2047, .initrd_addr_max = 0x7fffffff,
		.pref_address = 1 << 24, .init_size = 1 << 20, .syssize = 4,
	};
	uint32_t told = take(in, 4);
	size_t size = choose(in, room);

	if (told & 1 << 0)
		h.setup_sects = take(in, 1);
	if (told & 1 << 1)
		h.version = take(in, 2);
	if (told & 1 << 2)
		h.loadflags = take(in, 1);
	if (told & 1 << 3)
		h.xloadflags = take(in, 2);
	if (told & 1 << 4)
		h.kernel_alignment = take(in, 4);
	if (told & 1 << 5)
		h.relocatable_kernel = take(in, 1);
	if (told & 1 << 6)
		h.cmdline_size = take(in, 4);
	if (told & 1 << 7)
		h.initrd_addr_max = take(in, 4);
	if (told & 1 << 8)
		h.pref_address = take(in, 8);
	if (told & 1 << 9)
		h.pref_address = take(in, 2) * PAGE;
	if (told & 1 << 10)
		h.init_size = take(in, 4);
	if (told & 1 << 11)
		h.syssize = take(in, 4);
	if (told & 1 << 12)
		h.header = take(in, 4);
	for (size_t i = 0; i < room; i++)
		file[i] = i * 7 / 5 + 1;
	memcpy(file + offsetof(struct boot_params, hdr), &h, sizeof(h));
	return told & 1 << 13 ? size : room;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static uint8_t kernel[6 * 1024], initrd[2 * PAGE];
	struct input in = { bytes, size };
	uint8_t form = take(&in, 1);
	/* Up to 64 MiB, in pages; or some around the hole below 4 GiB. */
	uint64_t mem = form & 1 ? MEMORY_GAP_START + take(&in, 2) * PAGE - 0x8000 * PAGE :
				  (take(&in, 2) % 0x4000 + 1) * PAGE;
	size_t cmdline_len = form & 2 ? take(&in, 2) : 10, kernel_size, initrd_size = choose(&in, sizeof(initrd));
	int before = next_descriptor(), kernel_fd, initrd_fd, ret;
	char *cmdline = calloc(1, cmdline_len + 1);
	struct path kernel_path, initrd_path;
	struct boot boot = { .cmdline = cmdline };
	struct vmm vmm;

	MUST(cmdline);
	memset(cmdline, 'c', cmdline_len);
	memset(initrd, 'i', sizeof(initrd));
	if (form & 8) {
		kernel_size = in.left < sizeof(kernel) ? in.left : sizeof(kernel);
		memcpy(kernel, in.at, kernel_size);
	} else {
		kernel_size = make_kernel(kernel, sizeof(kernel), &in);
	}
	make_machine(&vmm, mem, 1);
	kernel_fd = make_file(kernel, kernel_size);
	initrd_fd = make_file(initrd, initrd_size);
	kernel_path = path_of(kernel_fd);
	initrd_path = path_of(initrd_fd);
	boot.kernel = kernel_path.text;
	if (form & 4)
		boot.initrd = initrd_path.text;
	else
		initrd_size = 0;

	ret = boot_load(&vmm, &boot);
	must_tell(&vmm, ret);
	if (!ret) {
		check_loaded(&vmm, kernel, kernel_size, initrd, initrd_size, cmdline);
		MUST(!boot_set_registers(&vmm, vmm.cpus[0].fd));
	}
	destroy_machine(&vmm);
	close(kernel_fd);
	close(initrd_fd);
	free(cmdline);
	MUST(next_descriptor() == before);
	return 0;
}
