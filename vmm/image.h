/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* The RAM image of a snapshot: written, and read. */
#ifndef VMM_IMAGE_H
#define VMM_IMAGE_H

#include "acpi.h"
#include "vmm.h"

/* The page in which an image tells its snapshot; boot.c keeps it from the guest. */
#define IMAGE_MARK	(ACPI_TABLES + PAGE_SIZE)

/* What an image and a state have in common. */
struct snapshot {
	uint8_t id[16];		/* random */
	uint64_t pages;		/* of the image, that are not all zeros */
};

struct image {
	int fd;
	uint64_t done, total;	/* bytes of populated memory */
	int (*progress)(struct vmm *vmm, struct image *image);	/* is to go on if 0 */
};

/* The machine is paused. */
int image_save(struct vmm *vmm, struct image *image, struct snapshot *snapshot);

/* Write all of that to a file of a snapshot, which the message calls @what. */
int image_write(struct vmm *vmm, int fd, const void *bytes, size_t len, uint64_t offset, const char *what);

/* Its descriptor. What is compressed tells its snapshot only when it is unpacked. */
int image_open(struct vmm *vmm, const char *path, const struct snapshot *snapshot);
bool image_is_zstd(int fd);

/* It has so many pages that are not zeros: is it whole? */
int image_check_pages(struct vmm *vmm, const char *path, uint64_t pages, uint64_t wanted);

/* Populate all of memory. */
int image_restore(struct vmm *vmm, const char *path, const struct snapshot *snapshot);

#endif
