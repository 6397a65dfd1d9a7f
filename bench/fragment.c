// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* A machine whose free memory is single pages, as after weeks of work. */
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "bench.h"

#define PAGE_SIZE	4096ul
#define HUGE_SIZE	(2 * MIB)
/* The kernel kills rather than give this away page by page. */
#define RESERVE		(256 * MIB)

static char *take(size_t size, size_t step, int advice)
{
	char *memory;
	size_t i;

	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(EXIT_FAILURE, "cannot have %zu MiB to fragment", size / MIB);
	madvise(memory, size, advice);
	for (i = 0; i < size; i += step)
		memory[i] = 1;

	return memory;
}

/* Take all of the memory there is, give back every second page, keep the rest. */
void memory_fragment(void)
{
	struct sysinfo info;
	size_t size, i;
	char *memory;

	/* The kernel would put it together again meanwhile. */
	set_parameter("/proc/sys/vm/compaction_proactiveness", 0);
	sysinfo(&info);
	size = info.freeram * info.mem_unit;
	if (size <= RESERVE)
		errx(EXIT_FAILURE, "no memory to fragment");
	size = (size - RESERVE) & -HUGE_SIZE;

	memory = take(size, PAGE_SIZE, MADV_NOHUGEPAGE);
	for (i = 0; i < size; i += 2 * PAGE_SIZE)
		if (madvise(memory + i, PAGE_SIZE, MADV_DONTNEED))
			err(EXIT_FAILURE, "cannot give back a page");

	take(RESERVE, HUGE_SIZE, MADV_HUGEPAGE);
}
