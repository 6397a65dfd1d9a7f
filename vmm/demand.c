// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Run before all memory is populated. What is not yet has memslots that are bound
 * to a guest_memfd that was closed: there KVM_RUN fails, and says where. We have
 * the library populate that slot and bind it to the real file, and retry.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "demand.h"
#include "kvm-api.h"
#include "memory.h"
#include "outcome.h"
#include "pause.h"

#define MIN_SLOT	(1ull << 20)
#define MAX_SLOTS	1024

#ifndef KVM_CAP_DISABLE_QUIRKS2
#define KVM_CAP_DISABLE_QUIRKS2	213
#endif
#define QUIRK_SLOT_ZAP_ALL	(1 << 7)

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
static int check_support(struct vmm *vmm)
{
	if (ioctl(vmm->vm, KVM_CHECK_EXTENSION, KVM_CAP_MEMORY_FAULT_INFO) <= 0)
		return vmm_fail(vmm, "--demand: this kernel's KVM does not tell where a guest faults (KVM_CAP_MEMORY_FAULT_INFO)");
	if (!parameter_is_set("/sys/module/kvm_intel/parameters/ept") &&
	    !parameter_is_set("/sys/module/kvm_amd/parameters/npt"))
		return vmm_fail(vmm, "--demand: KVM runs without nested paging here, and it takes that");
	return 0;
}

/* Removing a slot is not to cost what is mapped of the others. */
static void keep_other_slots(struct vmm *vmm)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_DISABLE_QUIRKS2, .args[0] = QUIRK_SLOT_ZAP_ALL };

	ioctl(vmm->vm, KVM_ENABLE_CAP, &cap);	/* else it is slower */
}

static int create(struct vmm *vmm)
{
	uint64_t slot_size = MIN_SLOT;

	if (check_support(vmm))
		return -1;
	vmm->demand = calloc(1, sizeof(*vmm->demand));
	if (!vmm->demand)
		return vmm_fail(vmm, "out of memory");
	vmm->demand->image = -1;
	keep_other_slots(vmm);
	while (vmm->mem.size / slot_size > MAX_SLOTS)
		slot_size *= 2;
	return memory_add_absent(vmm, slot_size);
}

/* A slot cannot change, only go and come: nobody may look meanwhile. */
static int on_populated(const struct gmem_range *range, void *arg)
{
	struct vmm *vmm = arg;
	int ret = vmm_pause(vmm);

	if (!ret)
		ret = memory_reveal(vmm, range->offset);
	vmm_resume(vmm);
	return ret ? -ECANCELED : 0;
}

int demand_begin(struct vmm *vmm, const char *image, const struct snapshot *snapshot)
{
	struct demand *d;

	if (create(vmm))
		return -1;
	d = vmm->demand;
	d->path = image;
	d->pages = snapshot->pages;
	d->image = image_open(vmm, image, snapshot);
	if (d->image < 0)
		return -1;
	if (image_is_zstd(d->image))
		return vmm_fail(vmm, "--demand: %s is compressed: unpack it, so that it can be read in any order", image);
	if (gmem_demand_new(vmm->gmem, vmm->mem.fd, d->image, vmm->mem.size, vmm->mem.slot_size,
			    on_populated, vmm, &d->demand))
		return vmm_fail(vmm, "%s: %s", image, gmem_error(vmm->gmem));
	return 0;
}

int demand_touch(struct vmm *vmm, uint64_t offset, size_t len)
{
	struct demand *d = vmm->demand;
	int err = gmem_demand_fault(d->demand, offset, len);

	return err ? vmm_fail(vmm, "populating on demand: %s", gmem_demand_error(d->demand)) : 0;
}

/* Populate the rest. What lacks data is known then; the guest has seen zeros instead. */
static int populate_rest(struct vmm *vmm)
{
	struct demand *d = vmm->demand;
	int err = gmem_demand_run(d->demand);

	if (err == -ECANCELED)
		return 0;
	if (err)
		return vmm_fail(vmm, "populating in the background: %s", gmem_demand_error(d->demand));
	return image_check_pages(vmm, d->path, gmem_demand_stats(d->demand)->pages_written, d->pages);
}

static void *background_main(void *arg)
{
	struct vmm *vmm = arg;

	if (populate_rest(vmm))
		vmm_end(vmm, VMM_DIED);
	pthread_mutex_lock(&vmm->lock);
	vmm->demand->finished = true;
	pthread_cond_broadcast(&vmm->changed);
	pthread_mutex_unlock(&vmm->lock);
	return NULL;
}

int demand_start_background(struct vmm *vmm)
{
	struct demand *d = vmm->demand;
	int err = vmm_start_thread(vmm, &d->background, background_main);

	d->background_runs = !err;
	return err;
}

static void join_background(struct demand *d)
{
	if (d->background_runs)
		pthread_join(d->background, NULL);
	d->background_runs = false;
}

int demand_finish(struct vmm *vmm)
{
	bool over;

	pthread_mutex_lock(&vmm->lock);
	while (vmm->demand && !vmm->demand->finished && vmm->outcome == VMM_RUNNING)
		pthread_cond_wait(&vmm->changed, &vmm->lock);
	over = vmm->outcome != VMM_RUNNING;
	pthread_mutex_unlock(&vmm->lock);
	return over ? -1 : 0;
}

/* The guest has ended: what was done so far counts. */
const struct gmem_stats *demand_stop(struct vmm *vmm)
{
	struct demand *d = vmm->demand;

	if (d->background_runs)
		gmem_demand_cancel(d->demand);
	join_background(d);
	return gmem_demand_stats(d->demand);
}

void demand_destroy(struct vmm *vmm)
{
	struct demand *d = vmm->demand;

	if (!d)
		return;
	if (d->demand)
		demand_stop(vmm);
	gmem_demand_free(d->demand);
	if (d->image >= 0)
		close(d->image);
	free(d);
	vmm->demand = NULL;
}
