/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* Run before all memory is populated. */
#ifndef VMM_DEMAND_H
#define VMM_DEMAND_H

#include "image.h"
#include "vmm.h"

int demand_begin(struct vmm *vmm, const char *image, const struct snapshot *snapshot);
int demand_touch(struct vmm *vmm, uint64_t offset, size_t len);
int demand_start_background(struct vmm *vmm);

/* Returns when all of memory is populated; -1: the guest has ended. */
int demand_finish(struct vmm *vmm);
const struct gmem_stats *demand_stop(struct vmm *vmm);
void demand_destroy(struct vmm *vmm);

#endif
