/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* A kernel, and what it finds in memory. */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include "vmm.h"

struct boot {
	const char *kernel;
	const char *initrd;	/* or NULL */
	const char *cmdline;
};

int boot_load(struct vmm *vmm, const struct boot *boot);
int boot_set_registers(struct vmm *vmm, int vcpu_fd);

#endif
