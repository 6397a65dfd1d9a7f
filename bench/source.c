// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * What guest memory is populated with: anonymous memory, all of it touched, and
 * the same bytes in a tmpfs file. Nothing here ever waits for a disk.
 *
 * The memory starts an odd number of pages after a multiple of 2 MiB. QEMU's TCG
 * looks pages up in a table indexed by the low bits of the page number, one page
 * an entry. Source and destination of a copy that have those bits in common throw
 * each other out at every single access, which makes the copy ten times slower,
 * and no processor does that. Destinations are aligned to their size, as blocks of
 * pages, or to 2 MiB, as mappings (see methods.c).
 */
#include <err.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define SKEW		(13 * 4 * KIB)

static char *bytes;
static size_t filled;
static int file = -1;

/* For files of @size bytes at the most. */
void source_init(size_t size)
{
	size_t i, length = SOURCE_SIZE + SKEW + 2 * MIB;
	uint64_t *words, x = 88172645463325252ull;
	char *memory;

	memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(EXIT_FAILURE, "cannot have %lu MiB for the source", SOURCE_SIZE / MIB);
	/* Whether there are huge pages must not depend on luck. */
	madvise(memory, length, MADV_NOHUGEPAGE);
	bytes = (char *)(((uintptr_t)memory + 2 * MIB - 1) & -(2 * MIB)) + SKEW;

	words = (uint64_t *)bytes;
	filled = size < SOURCE_SIZE ? size : SOURCE_SIZE;
	for (i = 0; i < filled / sizeof(*words); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		words[i] = x;
	}
}

/* The source of what goes to @offset; @len shrinks to what can be had at once. */
const char *source_at(size_t offset, size_t *len)
{
	offset %= SOURCE_SIZE;
	if (*len > SOURCE_SIZE - offset)
		*len = SOURCE_SIZE - offset;

	return bytes + offset;
}

int source_file(void)
{
	size_t done = 0;
	ssize_t n;

	if (file >= 0)
		return file;

	file = memfd_create("source", MFD_CLOEXEC);
	if (file < 0)
		err(EXIT_FAILURE, "cannot create the source file");
	while (done < filled) {
		n = write(file, bytes + done, filled - done);
		if (n <= 0)
			err(EXIT_FAILURE, "cannot write the source file");
		done += n;
	}

	return file;
}
