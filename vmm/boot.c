// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Load a bzImage by Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst):
 * the kernel and initrd in memory, the zero page filled in, paging on.
 */
#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "acpi.h"
#include "boot.h"
#include "image.h"
#include "memory.h"
#include "outcome.h"

/* What the kernel finds below 1 MiB, in one piece that is populated at once. */
struct low_memory {
	uint64_t gdt[PAGE_SIZE / 8];
	struct boot_params zero_page;
	uint64_t pml4[512];
	uint64_t pdpt[512];
	uint64_t pd[4][512];		/* the first 4 GiB, as they are */
	char cmdline[PAGE_SIZE];
};

#define LOW_MEMORY	0x10000ull
#define LOW_END		0x9fc00ull	/* of what a PC has free there */
#define HIGH_MEMORY	0x100000ull

#define LOW_ADDRESS(member) (LOW_MEMORY + offsetof(struct low_memory, member))

_Static_assert(sizeof(struct boot_params) == PAGE_SIZE, "the zero page is a page");

#define SELECTOR_CODE	0x10
#define SELECTOR_DATA	0x18
#define GDT_CODE64	0x00af9b000000ffffull
#define GDT_DATA	0x00cf93000000ffffull

#define PTE_TABLE	0x3		/* present, writable */
#define PTE_LARGE	0x83		/* a page of 2 MiB, or of 1 GiB */

#define BOOT_MAGIC	0x53726448	/* "HdrS" */
#define MIN_VERSION	0x20c		/* has xloadflags */
#define ENTRY_64	0x200

struct kernel {
	const char *path;
	int fd;
	struct setup_header header;
	off_t payload;
	size_t size;
	uint64_t at;
	uint64_t room;			/* that it takes there, to unpack itself */
};

static int open_image(struct vmm *vmm, const char *path, size_t *size)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);	/* a pipe will not do */

	if (fd < 0 || fstat(fd, &st))
		goto fail;
	if (S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		vmm_fail(vmm, "%s is no regular file: its size has to be known", path);
		close(fd);
		return -1;
	}
	*size = st.st_size;
	return fd;
fail:
	vmm_fail(vmm, "cannot read %s: %m", path);
	if (fd >= 0)
		close(fd);
	return -1;
}

static int read_header(struct vmm *vmm, struct kernel *k, size_t file_size)
{
	struct setup_header *h = &k->header;
	ssize_t n = pread(k->fd, h, sizeof(*h), offsetof(struct boot_params, hdr));

	if (n < 0)
		return vmm_fail(vmm, "cannot read %s: %m", k->path);
	if (n < (ssize_t)sizeof(*h) || h->header != BOOT_MAGIC || h->boot_flag != 0xaa55)
		return vmm_fail(vmm, "%s is not a bzImage: it has no Linux boot header", k->path);
	if (h->version < MIN_VERSION || !(h->loadflags & LOADED_HIGH) ||
	    !(h->xloadflags & XLF_KERNEL_64))
		return vmm_fail(vmm, "%s has no 64-bit entry point: give an x86-64 bzImage of Linux 3.8 or later",
				k->path);

	k->payload = ((h->setup_sects ?: 4) + 1) * 512;
	if ((size_t)k->payload >= file_size || file_size - k->payload < (size_t)h->syssize * 16 - 15)
		return vmm_fail(vmm, "%s is cut off: it has %zu bytes, and its header says %zu",
				k->path, file_size, (size_t)k->payload + (size_t)h->syssize * 16);
	k->size = file_size - k->payload;
	return 0;
}

static uint64_t low_ram(const struct vmm *vmm)
{
	return vmm->mem.size < MEMORY_GAP_START ? vmm->mem.size : MEMORY_GAP_START;
}

/* Where it prefers to be, or else as low as can be. The header may say anything. */
static int place_kernel(struct vmm *vmm, struct kernel *k)
{
	const struct setup_header *h = &k->header;
	uint64_t align = h->kernel_alignment;

	k->at = h->pref_address;
	k->room = h->init_size > k->size ? h->init_size : k->size;
	if ((k->at > low_ram(vmm) || k->room > low_ram(vmm) - k->at) && h->relocatable_kernel && align)
		k->at = (HIGH_MEMORY + align - 1) / align * align;
	if (k->at < HIGH_MEMORY || k->at >= MEMORY_GAP_START || k->at % PAGE_SIZE)
		return vmm_fail(vmm, "%s is damaged: it is to be loaded at %#" PRIx64 ", its header says", k->path, k->at);
	if (k->at + k->room > low_ram(vmm))
		return vmm_fail(vmm, "%zu MiB of memory are too little for %s: it needs %" PRIu64 " MiB; raise --mem",
				vmm->mem.size >> 20, k->path, ((k->at + k->room) >> 20) + 1);
	return memory_put_file(vmm, k->at, k->fd, k->payload, k->size, k->path);
}

/* As high as the kernel allows, out of the way of what it unpacks. */
static int load_initrd(struct vmm *vmm, const char *path, const struct kernel *k,
		       struct setup_header *header)
{
	uint64_t end = low_ram(vmm), limit = (uint64_t)k->header.initrd_addr_max + 1, at;
	size_t size;
	int fd, ret;

	if (end > limit)
		end = limit;
	fd = open_image(vmm, path, &size);
	if (fd < 0)
		return -1;
	at = (end - size) & ~(PAGE_SIZE - 1);
	if (size > end || at < k->at + k->room) {
		close(fd);
		return vmm_fail(vmm, "%zu MiB of memory are too little for %s and %s: raise --mem",
				vmm->mem.size >> 20, k->path, path);
	}
	ret = size ? memory_put_file(vmm, at, fd, 0, size, path) : 0;
	close(fd);
	header->ramdisk_image = at;
	header->ramdisk_size = size;
	return ret;
}

static void add_range(struct boot_params *zp, uint64_t start, uint64_t end, uint32_t type)
{
	if (start < end)
		zp->e820_table[zp->e820_entries++] = (struct boot_e820_entry) { start, end - start, type };
}

static void fill_memory_map(const struct vmm *vmm, struct boot_params *zp)
{
	const uint32_t RAM = 1, RESERVED = 2;

	add_range(zp, 0, LOW_END, RAM);
	add_range(zp, ACPI_TABLES, IMAGE_MARK + PAGE_SIZE, RESERVED);
	add_range(zp, HIGH_MEMORY, low_ram(vmm), RAM);
	if (vmm->mem.size > MEMORY_GAP_START)
		add_range(zp, MEMORY_GAP_END, MEMORY_GAP_END + vmm->mem.size - MEMORY_GAP_START, RAM);
}

static void fill_tables(struct low_memory *low)
{
	low->gdt[SELECTOR_CODE / 8] = GDT_CODE64;
	low->gdt[SELECTOR_DATA / 8] = GDT_DATA;

	low->pml4[0] = LOW_ADDRESS(pdpt) | PTE_TABLE;
	for (uint64_t i = 0; i < 4; i++)
		low->pdpt[i] = LOW_ADDRESS(pd[i]) | PTE_TABLE;
	for (uint64_t i = 0; i < 4 * 512; i++)
		low->pd[i / 512][i % 512] = (i << 21) | PTE_LARGE;
}

static int fill_low_memory(struct vmm *vmm, const struct boot *boot, const struct kernel *k)
{
	static struct low_memory low;
	static uint8_t acpi[PAGE_SIZE];
	struct setup_header *h = &low.zero_page.hdr;
	size_t len = strlen(boot->cmdline);

	if (len > k->header.cmdline_size || len >= sizeof(low.cmdline))
		return vmm_fail(vmm, "the kernel's command line has %zu characters, it takes %u: shorten --append",
				len, k->header.cmdline_size);

	memset(&low, 0, sizeof(low));
	memset(acpi, 0, sizeof(acpi));
	*h = k->header;
	h->type_of_loader = 0xff;
	h->cmd_line_ptr = LOW_ADDRESS(cmdline);
	memcpy(low.cmdline, boot->cmdline, len + 1);
	low.zero_page.acpi_rsdp_addr = ACPI_TABLES;
	fill_memory_map(vmm, &low.zero_page);
	fill_tables(&low);
	if (boot->initrd && load_initrd(vmm, boot->initrd, k, h))
		return -1;
	if (!acpi_build(acpi, sizeof(acpi), ACPI_TABLES, vmm->nr_cpus))
		return vmm_fail(vmm, "%u processors do not fit the ACPI tables", vmm->nr_cpus);

	if (memory_put(vmm, LOW_MEMORY, &low, sizeof(low), "the zero page"))
		return -1;
	return memory_put(vmm, ACPI_TABLES, acpi, sizeof(acpi), "the ACPI tables");
}

int boot_load(struct vmm *vmm, const struct boot *boot)
{
	struct kernel k = { .path = boot->kernel };
	size_t file_size;
	int ret = -1;

	k.fd = open_image(vmm, k.path, &file_size);
	if (k.fd < 0)
		return -1;
	if (!read_header(vmm, &k, file_size) && !place_kernel(vmm, &k))
		ret = fill_low_memory(vmm, boot, &k);
	vmm->entry = k.at + ENTRY_64;
	close(k.fd);
	return ret;
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment) {
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
	};
}

/* As the boot protocol wants the first processor: long mode, flat segments. */
int boot_set_registers(struct vmm *vmm, int vcpu_fd)
{
	struct kvm_segment data = flat_segment(SELECTOR_DATA, 3);
	struct kvm_regs regs = {
		.rip = vmm->entry,
		.rsi = LOW_ADDRESS(zero_page),
		.rsp = LOW_ADDRESS(zero_page),	/* the kernel sets its own at once */
		.rflags = 2,			/* always set */
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs))
		return vmm_fail(vmm, "KVM_GET_SREGS: %m");

	data.db = 1;
	sregs.cs = flat_segment(SELECTOR_CODE, 11);
	sregs.cs.l = 1;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.gdt.base = LOW_ADDRESS(gdt);
	sregs.gdt.limit = SELECTOR_DATA + 7;
	sregs.cr3 = LOW_ADDRESS(pml4);
	sregs.cr4 |= 1 << 5;			/* PAE */
	sregs.cr0 |= 1u << 31 | 1;		/* paging, protected mode */
	sregs.efer |= 1 << 10 | 1 << 8;		/* long mode active, enabled */

	if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs))
		return vmm_fail(vmm, "KVM_SET_SREGS: %m");
	if (ioctl(vcpu_fd, KVM_SET_REGS, &regs))
		return vmm_fail(vmm, "KVM_SET_REGS: %m");
	return 0;
}
