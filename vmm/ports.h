/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* What the guest reads and writes with IN and OUT. */
#ifndef VMM_PORTS_H
#define VMM_PORTS_H

#include "vmm.h"

void ports_serve(struct vmm *vmm, struct kvm_run *run);

#endif
