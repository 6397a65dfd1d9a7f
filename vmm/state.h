/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* Everything but memory, in a file. */
#ifndef VMM_STATE_H
#define VMM_STATE_H

#include "image.h"
#include "vmm.h"

struct state {
	uint8_t *bytes;
	size_t size;
	size_t mem_size;
	unsigned int nr_cpus;
	struct snapshot snapshot;
};

/* The machine is paused. */
int state_save(struct vmm *vmm, int fd, const struct snapshot *snapshot);

/* Read and check it, so that the machine can be made to its measure. */
int state_read(struct vmm *vmm, const char *path, struct state *state);
int state_restore(struct vmm *vmm, const struct state *state);
void state_free(struct state *state);

#endif
