/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* Guest memory: one guest_memfd, populated by libgmem. */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include "vmm.h"

int memory_create(struct vmm *vmm, size_t size);
int memory_watch(struct vmm *vmm);
int memory_add(struct vmm *vmm);
int memory_add_absent(struct vmm *vmm, uint64_t slot_size);
int memory_reveal(struct vmm *vmm, uint64_t offset);
void memory_destroy(struct vmm *vmm);

/* So many pages may be populated here: else the kernel would kill us halfway. */
int memory_allowed(struct vmm *vmm, uint64_t pages);

bool memory_offset(const struct memory *mem, uint64_t gpa, uint64_t *offset);
int memory_put(struct vmm *vmm, uint64_t gpa, const void *bytes, size_t len, const char *what);
int memory_put_file(struct vmm *vmm, uint64_t gpa, int fd, off_t pos, size_t len, const char *name);

/* What vmm->gmem did has failed with @err, or counts for the report. */
int memory_populated(struct vmm *vmm, int err, const char *what);

/* Without dying of a memory error. */
int memory_read(struct vmm *vmm, uint64_t offset, void *bytes, size_t len);
int memory_write(struct vmm *vmm, uint64_t offset, const void *bytes, size_t len);

/* What is populated from @from on: 1, or 0 if nothing is. */
int memory_next_data(struct vmm *vmm, uint64_t from, struct gmem_range *range);

#endif
