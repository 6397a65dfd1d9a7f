// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Guest memory: one guest_memfd, populated by libgmem. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm-api.h"
#include "memory.h"
#include "outcome.h"

/*
 * A guest's processors and we share it; WRITE makes population fast, and NO_OVERWRITE has
 * the kernel see to it that no page that the guest has is populated again.
 */
static int create_guest_memfd(struct vmm *vmm)
{
	const uint64_t flags = GMEM_FLAG_MMAP | GMEM_FLAG_INIT_SHARED | (vmm->mem.secret ? GMEM_FLAG_NO_DIRECT_MAP : 0);
	int fd = gmem_create(vmm->gmem, vmm->vm, vmm->mem.size, flags, GMEM_FLAG_WRITE | GMEM_FLAG_NO_OVERWRITE);

	return fd < 0 ? vmm_fail(vmm, "%s: gmem probe tells more", gmem_error(vmm->gmem)) : fd;
}

int memory_create(struct vmm *vmm, size_t size)
{
	struct memory *mem = &vmm->mem;

	mem->size = size;
	mem->fd = create_guest_memfd(vmm);
	if (mem->fd < 0)
		return -1;
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
	if (mem->watched)
		munmap(mem->watched, mem->size);
	if (mem->nothing)
		munmap(mem->nothing, mem->size);
	if (mem->fd >= 0)
		close(mem->fd);
}

/* What the memory cgroups that we are in allow, in bytes. */
static uint64_t cgroup_limit(void)
{
	char group[4096] = "", path[sizeof(group) + 64], *end;
	uint64_t limit = UINT64_MAX, max;
	FILE *f = fopen("/proc/self/cgroup", "re");

	if (!f)
		return limit;
	if (fscanf(f, "0::%4095[^\n]", group) != 1)
		group[0] = 0;
	fclose(f);
	for (; (end = strrchr(group, '/')); *end = 0) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", group);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%" SCNu64, &max) == 1 && max < limit)
			limit = max;
		fclose(f);
	}
	return limit;
}

int memory_allowed(struct vmm *vmm, uint64_t pages)
{
	const uint64_t limit = cgroup_limit();

	if (pages <= limit / PAGE_SIZE)
		return 0;
	return vmm_fail(vmm, "the memory cgroup allows %" PRIu64 " MiB (memory.max), the saved machine takes %" PRIu64,
			limit >> 20, (pages >> 8) + 1);
}

/* Where the guest has what is at @offset of the file. */
static uint64_t memory_address(uint64_t offset)
{
	return offset < MEMORY_GAP_START ? offset : offset - MEMORY_GAP_START + MEMORY_GAP_END;
}

/*
 * The guest's pages come from the file itself; where touches are recorded through
 * a mapping of it, whose page tables then tell; where memory is not populated yet
 * from a file that is no more, so that KVM_RUN fails there and says where.
 */
static int bind_slot(struct vmm *vmm, uint32_t slot, uint64_t offset, uint64_t size, bool absent)
{
	struct memory *mem = &vmm->mem;
	struct kvm_userspace_memory_region2 region = {
		.slot = slot,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = memory_address(offset),
		.memory_size = size,
		.userspace_addr = (uintptr_t)mem->view + offset,
		.guest_memfd = mem->fd,
		.guest_memfd_offset = offset,
	};

	if (absent) {
		region.userspace_addr = (uintptr_t)mem->nothing + offset;
		region.guest_memfd = mem->closed_fd;
	} else if (mem->watched) {
		region.flags = 0;
		region.userspace_addr = (uintptr_t)mem->watched + offset;
	}
	if (ioctl(vmm->vm, KVM_SET_USER_MEMORY_REGION2, &region))
		return vmm_fail(vmm, "cannot make the guest_memfd the guest's memory: %m");
	return 0;
}

static int unbind_slot(struct vmm *vmm, uint32_t slot)
{
	struct kvm_userspace_memory_region2 region = { .slot = slot };

	if (ioctl(vmm->vm, KVM_SET_USER_MEMORY_REGION2, &region))
		return vmm_fail(vmm, "cannot remove memory from the guest: %m");
	return 0;
}

static uint64_t slot_size(const struct memory *mem, uint32_t slot)
{
	uint64_t left = mem->size - slot * mem->slot_size;

	return left < mem->slot_size ? left : mem->slot_size;
}

/* Have the guest see what is populated now. No processor may run. */
int memory_reveal(struct vmm *vmm, uint64_t offset)
{
	uint32_t slot = offset / vmm->mem.slot_size;

	if (unbind_slot(vmm, slot))
		return -1;
	return bind_slot(vmm, slot, slot * vmm->mem.slot_size, slot_size(&vmm->mem, slot), false);
}

static int bind_all(struct vmm *vmm, bool absent)
{
	struct memory *mem = &vmm->mem;

	for (uint32_t slot = 0; slot * mem->slot_size < mem->size; slot++)
		if (bind_slot(vmm, slot, slot * mem->slot_size, slot_size(mem, slot), absent))
			return -1;
	return 0;
}

/* All of it, at once. */
int memory_add(struct vmm *vmm)
{
	vmm->mem.slot_size = MEMORY_GAP_START;
	return bind_all(vmm, false);
}

/* All of it, in slots that memory_reveal() makes accessible one by one. */
int memory_add_absent(struct vmm *vmm, uint64_t slot_size)
{
	struct memory *mem = &vmm->mem;
	int ret;

	mem->slot_size = slot_size;
	mem->nothing = mmap(NULL, mem->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem->nothing == MAP_FAILED) {
		mem->nothing = NULL;
		return vmm_fail(vmm, "no room for the guest's memory: %m");
	}
	mem->closed_fd = create_guest_memfd(vmm);
	if (mem->closed_fd < 0)
		return -1;
	ret = bind_all(vmm, true);
	close(mem->closed_fd);
	mem->closed_fd = -1;
	return ret;
}

/* From here on the guest's touches show in the page tables of mem->watched. */
int memory_watch(struct vmm *vmm)
{
	struct memory *mem = &vmm->mem;

	mem->watched = mmap(NULL, mem->size, PROT_READ | PROT_WRITE, MAP_SHARED, mem->fd, 0);
	if (mem->watched != MAP_FAILED)
		return 0;
	mem->watched = NULL;
	return vmm_fail(vmm, "cannot map the guest's memory: %m");
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

int memory_populated(struct vmm *vmm, int err, const char *what)
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
	return memory_populated(vmm, gmem_populate_buffer(vmm->gmem, vmm->mem.fd, gpa, bytes, len), what);
}

int memory_put_file(struct vmm *vmm, uint64_t gpa, int fd, off_t pos, size_t len, const char *name)
{
	gmem_set_pad(vmm->gmem, true);
	return memory_populated(vmm, gmem_populate_file(vmm->gmem, vmm->mem.fd, gpa, fd, pos, len), name);
}

/*
 * Through a pipe: the kernel copies, to whom a memory error is EFAULT. It would kill
 * us with SIGBUS if we looked at the page ourselves. An errno.
 */
static int copy_through(const int pipe[2], const void *from, void *to, size_t len, size_t *copied)
{
	ssize_t n = write(pipe[1], from, len);

	for (ssize_t got, at = 0; at < n; at += got) {
		got = read(pipe[0], (uint8_t *)to + at, n - at);
		if (got <= 0)
			return got ? errno : EIO;
	}
	*copied = n < 0 ? 0 : n;
	return n < 0 ? errno : 0;
}

static int copy(struct vmm *vmm, uint64_t offset, const void *from, void *to, size_t len)
{
	int pipe[2], err = 0;
	size_t at, n;

	if (pipe2(pipe, O_CLOEXEC | O_NONBLOCK))
		return vmm_fail(vmm, "cannot make a pipe: %m");
	for (at = 0; at < len && !err; at += n) {
		n = 0;
		err = copy_through(pipe, (const uint8_t *)from + at, (uint8_t *)to + at, len - at, &n);
	}
	close(pipe[0]);
	close(pipe[1]);
	errno = err;
	if (err == EFAULT)
		vmm_fail(vmm, "the guest's memory has an error: the page at %#llx cannot be used",
			 (unsigned long long)(memory_address(offset + at) & ~(PAGE_SIZE - 1)));
	else if (err)
		vmm_fail(vmm, "cannot copy the guest's memory: %m");
	return err ? -1 : 0;
}

int memory_read(struct vmm *vmm, uint64_t offset, void *bytes, size_t len)
{
	return copy(vmm, offset, vmm->mem.view + offset, bytes, len);
}

int memory_write(struct vmm *vmm, uint64_t offset, const void *bytes, size_t len)
{
	return copy(vmm, offset, bytes, vmm->mem.view + offset, len);
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
