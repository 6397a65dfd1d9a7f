// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Usage: compare FD OFFSET FILE
 *
 * Are the bytes of guest memory that begin at OFFSET those of FILE, and zeros
 * around them? Maps the guest_memfd by itself, with nothing of libgmem's.
 */
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP	((size_t)1 << 20)

static const char zeros[STEP];
static size_t page;

/*
 * At most STEP bytes, which begin on a page. What has not been populated stays so: it is
 * zeros, and not to be looked at.
 */
static void check(const char *map, size_t at, const char *want, size_t length)
{
	static unsigned char there[STEP / 4096];
	size_t n, i, done;
	const char *is;

	if (mincore((void *)(map + at), length, there))
		err(2, "mincore");
	for (done = 0; done < length; done += n) {
		n = page < length - done ? page : length - done;
		is = there[done / page] & 1 ? map + at + done : zeros;
		if (!memcmp(is, want + done, n))
			continue;
		for (i = 0; is[i] == want[done + i]; i++)
			;
		errx(1, "the byte at %#zx is not what it should be", at + done + i);
	}
}

int main(int argc, char **argv)
{
	static char buffer[STEP];
	struct stat st;
	size_t at, end, n;
	ssize_t got;
	char *map;
	int fd, file;

	if (argc != 4)
		errx(2, "FD OFFSET FILE");
	page = sysconf(_SC_PAGESIZE);
	fd = atoi(argv[1]);
	at = strtoul(argv[2], NULL, 0);
	file = open(argv[3], O_RDONLY);
	if (file < 0 || fstat(fd, &st))
		err(2, "%s", argv[3]);
	map = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		err(2, "cannot map");

	for (end = 0; end < at; end += n) {
		n = at - end < STEP ? at - end : STEP;
		check(map, end, zeros, n);
	}
	while ((got = read(file, buffer, STEP)) > 0) {
		if (at + got > (size_t)st.st_size)
			errx(1, "the file is larger than the memory");
		check(map, at, buffer, got);
		at += got;
	}
	if (got < 0)
		err(2, "%s", argv[3]);
	for (; at < (size_t)st.st_size; at += n) {
		n = st.st_size - at < STEP ? st.st_size - at : STEP;
		check(map, at, zeros, n);
	}
	return 0;
}
