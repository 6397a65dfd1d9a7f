/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* A socket to ask for snapshots. */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include "vmm.h"

#define CONTROL_MESSAGE_SIZE	512

int control_listen(struct vmm *vmm, const char *path);
void control_accept(struct vmm *vmm);
void control_close(struct vmm *vmm);

#endif
