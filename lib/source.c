// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* What the library asks of a source that can be read in any order, or of any file. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

int gmem_reopen(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags);
}

int gmem_source_size(struct gmem_context *g, int source, uint64_t *size)
{
	struct stat st;

	if (fstat(source, &st))
		return gmem_fail(g, -errno, "the source: %s", strerror(errno));
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(source, BLKGETSIZE64, size))
			return gmem_fail(g, -errno, "the source's size: %s", strerror(errno));
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return -ESPIPE;
	*size = st.st_size;
	return 0;
}
