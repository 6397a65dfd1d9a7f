/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/*
 * What the fuzz targets share. A target is what libFuzzer calls with bytes of its
 * making: it has the code under test parse them, and says with MUST() what has to
 * hold whatever they are.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	4096u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: it must hold that %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/* What is left of the input; it goes on with zeros behind its end. */
struct input {
	const uint8_t *at;
	size_t left;
};

static inline uint64_t take(struct input *in, size_t bytes)
{
	uint64_t value = 0;

	for (size_t i = 0; i < bytes && in->left; i++, in->left--)
		value |= (uint64_t)*in->at++ << 8 * i;
	return value;
}

/* Of all there are, below @n. */
static inline uint64_t choose(struct input *in, uint64_t n)
{
	return take(in, n > 0xffff ? 8 : n > 0xff ? 2 : 1) % n;
}

/* A file without a name, of those bytes. */
static inline int make_file(const void *bytes, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	MUST(fd >= 0);
	MUST(write(fd, bytes, size) == (ssize_t)size);
	return fd;
}

/* Memory to populate: a memfd takes all that a guest_memfd does. */
static inline int make_memory(uint64_t size)
{
	int fd = memfd_create("memory", MFD_CLOEXEC);

	MUST(fd >= 0 && !ftruncate(fd, size));
	return fd;
}

/* An image of @size bytes in pages of bytes, of zeros, and holes; @bytes has what it reads as. */
static inline int make_pages(uint8_t *bytes, uint64_t size, struct input *in)
{
	int fd = make_memory(size);

	for (uint64_t at = 0; at < size; at += PAGE) {
		uint64_t n = size - at < PAGE ? size - at : PAGE;
		uint8_t kind = take(in, 1);

		memset(bytes + at, kind > 0x60 ? kind : 0, n);
		if (kind >= 0x40)
			MUST(pwrite(fd, bytes + at, n, at) == (ssize_t)n);
	}
	return fd;
}

/* What it has, to be unmapped. */
static inline uint8_t *look_at(int fd, uint64_t size)
{
	uint8_t *view = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	MUST(view != MAP_FAILED);
	return view;
}

/* The descriptor that is given out next: the same before and after if none leaks. */
static inline int next_descriptor(void)
{
	int fd = dup(0);

	MUST(fd >= 0);
	close(fd);
	return fd;
}

#endif
