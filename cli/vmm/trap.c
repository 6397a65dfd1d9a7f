// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Learn of the guest's first touches. The guest's memory is a mapping that starts
 * out inaccessible: KVM_RUN fails where the guest touches it, we populate that
 * granule if need be, note the order, open it, and the guest goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm-api.h"
#include "new-file.h"
#include "vmm.h"

/* Each may become a mapping of its own; a process has 65530 of them. */
#define MAX_GRANULES	32768
#define DEMAND_GRANULE	(64ull << 10)

static bool parameter_is_set(const char *path)
{
	char value = 'N';
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, &value, 1) != 1)
			value = 'N';
		close(fd);
	}
	return value == 'Y' || value == '1';
}

/* With shadow paging KVM reads the guest's page tables itself, and would not wait. */
static int check_support(struct vmm *vmm, const char *option)
{
	if (ioctl(vmm->vm, KVM_CHECK_EXTENSION, KVM_CAP_MEMORY_FAULT_INFO) <= 0)
		return vmm_fail(vmm, "%s: this kernel's KVM does not tell where a guest faults (KVM_CAP_MEMORY_FAULT_INFO)", option);
	if (!parameter_is_set("/sys/module/kvm_intel/parameters/ept") &&
	    !parameter_is_set("/sys/module/kvm_amd/parameters/npt"))
		return vmm_fail(vmm, "%s: KVM runs without nested paging here, and it takes that", option);
	return 0;
}

static int open_granules(struct vmm *vmm, uint64_t first, uint64_t last)
{
	struct trap *t = vmm->trap;
	uint64_t start = first * t->granule, end = (last + 1) * t->granule;

	if (end > vmm->mem.size)
		end = vmm->mem.size;
	if (mprotect(vmm->mem.trapped + start, end - start, PROT_READ | PROT_WRITE))
		return vmm_fail(vmm, "cannot open the guest's memory at %#llx to it: %m",
				(unsigned long long)start);
	memset(t->open + first, 1, last + 1 - first);
	return 0;
}

/* Two processors may touch a granule at once, and the background may be there first. */
static int touch_granule(struct vmm *vmm, uint64_t granule)
{
	struct trap *t = vmm->trap;
	int err, ret = 0;

	if (t->demand) {
		err = gmem_demand_fault(t->demand, granule * t->granule, t->granule);
		if (err)
			return vmm_fail(vmm, "%s", gmem_error(t->gmem));
	}
	pthread_mutex_lock(&t->lock);
	if (!t->open[granule]) {
		if (t->record)
			t->order[t->touched] = granule;
		t->touched++;
		ret = open_granules(vmm, granule, granule);
	}
	pthread_mutex_unlock(&t->lock);
	return ret;
}

int trap_touch(struct vmm *vmm, uint64_t offset, size_t len)
{
	size_t size = vmm->trap->granule;

	for (uint64_t g = offset / size; g <= (offset + len - 1) / size; g++)
		if (touch_granule(vmm, g))
			return -1;
	return 0;
}

/* Populated: the guest need not ask for it any more, unless we want to know. */
static int on_populated(const struct gmem_range *range, void *arg)
{
	struct vmm *vmm = arg;
	struct trap *t = vmm->trap;
	int ret;

	if (t->record)
		return 0;
	pthread_mutex_lock(&t->lock);
	ret = open_granules(vmm, range->offset / t->granule,
			    (range->offset + range->length - 1) / t->granule);
	pthread_mutex_unlock(&t->lock);
	return ret ? -ENOMEM : 0;
}

int trap_create(struct vmm *vmm, bool record, bool demand)
{
	struct trap *t;
	size_t granule = record ? PAGE_SIZE : DEMAND_GRANULE;

	if (check_support(vmm, demand ? "--demand" : "--record-order"))
		return -1;
	t = calloc(1, sizeof(*t));
	if (!t)
		return vmm_fail(vmm, "out of memory");
	while (vmm->mem.size / granule > MAX_GRANULES)
		granule *= 2;
	pthread_mutex_init(&t->lock, NULL);
	t->record = record;
	t->granule = granule;
	t->granules = (vmm->mem.size + granule - 1) / granule;
	t->open = calloc(t->granules, 1);
	t->order = calloc(t->granules, sizeof(*t->order));
	vmm->trap = t;
	return t->open && t->order ? 0 : vmm_fail(vmm, "out of memory");
}

int trap_demand(struct vmm *vmm, struct gmem *gmem, int image)
{
	struct trap *t = vmm->trap;

	t->gmem = gmem;
	if (gmem_demand_new(gmem, vmm->mem.fd, image, vmm->mem.size, t->granule,
			    on_populated, vmm, &t->demand))
		return vmm_fail(vmm, "%s", gmem_error(gmem));
	return 0;
}

static void *background_main(void *arg)
{
	struct vmm *vmm = arg;
	int err = gmem_demand_run(vmm->trap->demand);

	if (err && err != -ECANCELED) {
		vmm_fail(vmm, "%s", gmem_error(vmm->trap->gmem));
		vmm_end(vmm, VMM_DIED);
	}
	return NULL;
}

int trap_start_background(struct vmm *vmm)
{
	struct trap *t = vmm->trap;
	int err = pthread_create(&t->background, NULL, background_main, vmm);

	if (err) {
		errno = err;
		return vmm_fail(vmm, "cannot start a thread: %m");
	}
	t->background_runs = true;
	return 0;
}

static void join_background(struct trap *t)
{
	if (t->background_runs)
		pthread_join(t->background, NULL);
	t->background_runs = false;
}

int trap_finish_population(struct vmm *vmm)
{
	if (!vmm->trap)
		return 0;
	join_background(vmm->trap);
	return vmm_is_over(vmm) ? -1 : 0;
}

/* Once the guest has ended, what was done counts. */
const struct gmem_stats *trap_stop_population(struct vmm *vmm)
{
	struct trap *t = vmm->trap;

	if (t->background_runs)
		gmem_cancel(t->gmem);
	join_background(t);
	gmem_demand_free(t->demand);
	t->demand = NULL;
	return gmem_stats(t->gmem);
}

int trap_write_order(struct vmm *vmm, const char *path)
{
	struct trap *t = vmm->trap;
	struct gmem_range *ranges = calloc(t->touched + 1, sizeof(*ranges));
	struct new_file file;
	int err;

	if (!ranges)
		return vmm_fail(vmm, "out of memory");
	for (size_t i = 0; i < t->touched; i++) {
		ranges[i].offset = t->order[i] * t->granule;
		ranges[i].length = t->granule;
		if (ranges[i].length > vmm->mem.size - ranges[i].offset)
			ranges[i].length = vmm->mem.size - ranges[i].offset;
	}
	err = new_file_open(&file, path);
	if (!err) {
		err = gmem_order_write(vmm->gmem, file.fd, ranges, t->touched);
		if (err)
			new_file_abort(&file);
		else
			err = new_file_commit(&file);
	}
	free(ranges);
	errno = -err;
	return err ? vmm_fail(vmm, "--record-order %s: %m", path) : 0;
}

void trap_destroy(struct vmm *vmm)
{
	struct trap *t = vmm->trap;

	if (!t)
		return;
	if (t->demand)
		trap_stop_population(vmm);
	pthread_mutex_destroy(&t->lock);
	free(t->open);
	free(t->order);
	free(t);
	vmm->trap = NULL;
}
