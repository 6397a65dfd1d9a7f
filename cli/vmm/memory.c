// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Guest memory: one guest_memfd, populated by libgmem. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kvm-api.h"
#include "vmm.h"

#define ZSTD_MAGIC	0xfd2fb528u

/* All that makes population fast, of what this kernel has; MMAP is for snapshots. */
static int choose_flags(struct vmm *vmm, uint64_t *flags)
{
	const uint64_t needed = GMEM_FLAG_MMAP | GMEM_FLAG_INIT_SHARED;
	struct gmem_probe *probe;
	int err = gmem_probe(vmm->gmem, vmm->vm, &probe);

	if (err)
		return vmm_fail(vmm, "%s", gmem_error(vmm->gmem));
	*flags = gmem_probe_flags(probe) & (needed | GMEM_FLAG_WRITE);
	gmem_probe_free(probe);
	if ((*flags & needed) != needed)
		return vmm_fail(vmm, "this kernel has no guest_memfd that a guest's processor and its VMM can share: gmem probe tells more");
	return 0;
}

int memory_create(struct vmm *vmm, size_t size)
{
	struct memory *mem = &vmm->mem;

	if (choose_flags(vmm, &mem->flags))
		return -1;
	mem->size = size;
	mem->fd = gmem_create(vmm->gmem, vmm->vm, size, mem->flags);
	if (mem->fd < 0)
		return vmm_fail(vmm, "%s", gmem_error(vmm->gmem));
	mem->view = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, mem->fd, 0);
	if (mem->view == MAP_FAILED) {
		mem->view = NULL;
		return vmm_fail(vmm, "cannot map the guest's memory: %m");
	}
	return 0;
}

void memory_destroy(struct vmm *vmm)
{
	struct memory *mem = &vmm->mem;

	if (mem->view)
		munmap(mem->view, mem->size);
	if (mem->trapped)
		munmap(mem->trapped, mem->size);
	if (mem->fd >= 0)
		close(mem->fd);
}

/* Have the guest take its pages from the file. */
static int add_file(struct vmm *vmm, uint32_t slot, uint64_t gpa, uint64_t offset, uint64_t size)
{
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)vmm->mem.view + offset,
		.guest_memfd = vmm->mem.fd,
		.guest_memfd_offset = offset,
	};

	return ioctl(vmm->vm, KVM_SET_USER_MEMORY_REGION2, &region);
}

/* Or through a mapping of it, whose permissions tell us of touches. */
static int add_mapping(struct vmm *vmm, uint32_t slot, uint64_t gpa, uint64_t offset, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)vmm->mem.trapped + offset,
	};

	return ioctl(vmm->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

int memory_add_to_guest(struct vmm *vmm, bool trap)
{
	int (*add)(struct vmm *, uint32_t, uint64_t, uint64_t, uint64_t) = trap ? add_mapping : add_file;
	struct memory *mem = &vmm->mem;
	uint64_t low = mem->size < MEMORY_GAP_START ? mem->size : MEMORY_GAP_START;

	if (trap) {
		mem->trapped = mmap(NULL, mem->size, PROT_NONE, MAP_SHARED, mem->fd, 0);
		if (mem->trapped == MAP_FAILED) {
			mem->trapped = NULL;
			return vmm_fail(vmm, "cannot map the guest's memory: %m");
		}
	}
	if (add(vmm, 0, 0, 0, low) ||
	    (low < mem->size && add(vmm, 1, MEMORY_GAP_END, low, mem->size - low)))
		return vmm_fail(vmm, "cannot make the guest_memfd the guest's memory: %m");
	return 0;
}

bool memory_offset(const struct memory *mem, uint64_t gpa, uint64_t *offset)
{
	if (gpa >= MEMORY_GAP_END)
		gpa -= MEMORY_GAP_END - MEMORY_GAP_START;
	else if (gpa >= MEMORY_GAP_START)
		return false;
	*offset = gpa;
	return gpa < mem->size;
}

/* The call's result counts for the report. */
static int populated(struct vmm *vmm, int err, const char *what)
{
	const struct gmem_stats *stats = gmem_stats(vmm->gmem);

	if (err)
		return vmm_fail(vmm, "%s: %s", what, gmem_error(vmm->gmem));
	vmm->populated += stats->bytes;
	vmm->populate_ms += stats->ms;
	vmm->method = stats->method;
	return 0;
}

int memory_put(struct vmm *vmm, uint64_t gpa, const void *bytes, size_t len, const char *what)
{
	gmem_set_pad(vmm->gmem, true);
	return populated(vmm, gmem_populate_buffer(vmm->gmem, vmm->mem.fd, gpa, bytes, len), what);
}

int memory_put_file(struct vmm *vmm, uint64_t gpa, int fd, off_t pos, size_t len, const char *name)
{
	gmem_set_pad(vmm->gmem, true);
	return populated(vmm, gmem_populate_file(vmm->gmem, vmm->mem.fd, gpa, fd, pos, len), name);
}

static bool is_zstd(int fd)
{
	uint32_t magic;

	return pread(fd, &magic, sizeof(magic), 0) == sizeof(magic) && magic == ZSTD_MAGIC;
}

int memory_restore(struct vmm *vmm, const char *image)
{
	int fd = open(image, O_RDONLY | O_CLOEXEC), err;
	uint64_t size = vmm->mem.size;

	if (fd < 0)
		return vmm_fail(vmm, "cannot read %s: %m", image);
	gmem_set_pad(vmm->gmem, false);
	if (is_zstd(fd))
		err = gmem_populate_zstd(vmm->gmem, vmm->mem.fd, 0, fd, size);
	else
		err = gmem_populate_file(vmm->gmem, vmm->mem.fd, 0, fd, 0, size);
	close(fd);
	return populated(vmm, err, image);
}

int memory_next_data(struct vmm *vmm, uint64_t from, struct gmem_range *range)
{
	int err;

	if (from >= vmm->mem.size)
		return 0;
	err = gmem_next_populated(vmm->gmem, vmm->mem.fd, from, range);
	if (!err)
		return 1;
	return err == -ENXIO ? 0 : vmm_fail(vmm, "%s", gmem_error(vmm->gmem));
}
