/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* The order in which the guest touches its pages. */
#ifndef VMM_RECORD_H
#define VMM_RECORD_H

#include "vmm.h"

int record_check(struct vmm *vmm, const char *path);
int record_start(struct vmm *vmm);
int record_write(struct vmm *vmm, const char *path);
void record_destroy(struct vmm *vmm);

#endif
