// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Read a guest's RAM image, from a file or a block device, into memory. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "demo.h"

/* What the guest's 32-bit code can reach, with room left for the code. */
#define IMAGE_MAX	(3ULL << 30)
/*
 * The image starts an odd number of pages after a multiple of 2 MiB, what it is
 * copied to on one: QEMU's TCG can't cope with source and destination that have
 * the low bits of their page numbers in common (docs/performance.md).
 */
#define HUGE		(2ul << 20)
#define SKEW		(13ul << 12)

/*
 * Past the page cache where that works: the image is read once, and a second
 * copy of it would take the memory that is to be populated.
 */
static int image_open(const char *path)
{
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
	if (fd < 0 && errno == EINVAL)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err(EXIT_FAILURE, "cannot open the image %s", path);

	return fd;
}

static size_t image_size(int fd, const char *path)
{
	long page = sysconf(_SC_PAGESIZE);
	struct stat st;
	off_t size;

	if (fstat(fd, &st))
		err(EXIT_FAILURE, "cannot examine the image %s", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		errx(EXIT_FAILURE, "the image %s is neither a file nor a block device", path);

	size = lseek(fd, 0, SEEK_END);
	if (size < 0)
		err(EXIT_FAILURE, "cannot tell the size of the image %s", path);
	if (!size)
		errx(EXIT_FAILURE, "the image %s is empty: give a guest's RAM image", path);
	if (size % page)
		errx(EXIT_FAILURE, "the image %s has %lld bytes, which is not a multiple of the page size, %ld: is it whole?",
		     path, (long long)size, page);
	if ((unsigned long long)size > IMAGE_MAX)
		errx(EXIT_FAILURE, "the image %s has %lld bytes: %llu is the most",
		     path, (long long)size, IMAGE_MAX);

	return size;
}

static void *image_memory(size_t size)
{
	size_t length = size + SKEW + HUGE;
	char *memory;

	memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(EXIT_FAILURE, "no memory for %zu bytes of image", size);
	/* Quicker to read into; does no harm where there are no huge pages. */
	madvise(memory, length, MADV_HUGEPAGE);

	return (char *)(((uintptr_t)memory + HUGE - 1) & -HUGE) + SKEW;
}

struct image image_read(const char *path)
{
	struct image image;
	size_t done = 0;
	double start;
	ssize_t n;
	int fd;

	fd = image_open(path);
	image.size = image_size(fd, path);
	fprintf(stderr, "reading %s\n", path);
	start = now_ms();

	image.bytes = image_memory(image.size);
	while (done < image.size) {
		n = pread(fd, image.bytes + done, image.size - done, done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err(EXIT_FAILURE, "cannot read the image %s at offset %zu", path, done);
		if (!n)
			errx(EXIT_FAILURE, "the image %s ended at offset %zu of %zu: has it been truncated?",
			     path, done, image.size);
		done += n;
	}
	close(fd);

	fprintf(stderr, "  %.0f MiB in %.1f s\n", image.size / MIB, (now_ms() - start) / 1000);
	return image;
}
