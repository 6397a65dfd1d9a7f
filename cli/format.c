// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* What an image is, by how it begins. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "lib/shared.h"

#define HEAD	16

/* What is no RAM image, and would otherwise be loaded as if it were. */
static const struct {
	const char *magic;
	size_t length;
	const char *name;
} others[] = {
	{ "\x1f\x8b", 2, "a gzip file" },
	{ "BZh", 3, "a bzip2 file" },
	{ "\xfd\x37zXZ", 6, "an xz file" },
	{ "\x04\x22\x4d\x18", 4, "an lz4 file" },
	{ "\x02\x21\x4c\x18", 4, "an lz4 file" },
	{ "QFI\xfb", 4, "a qcow2 disk image" },
	{ "KDMV", 4, "a VMDK disk image" },
	{ "vhdxfile", 8, "a VHDX disk image" },
	{ "\x7f\x45LF", 4, "an ELF file, such as a core dump" },
	{ "KDUMP   ", 8, "a kdump file" },
	{ "QEVM", 4, "a migration stream of QEMU" },
	{ "LibvirtQemudSave", 16, "an image of virsh save" },
	{ "gmem vm", 7, "the state of a machine that gmem snapshot saved: its memory is the file without .state" },
};

/* Of a pipe, without taking it away: it may come in small pieces. */
static ssize_t peek_pipe(int pipe_fd, void *head)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	struct pollfd writer = { .fd = pipe_fd };
	ssize_t n;
	int copy[2];

	for (;;) {
		if (pipe(copy))
			return -1;
		n = tee(pipe_fd, copy[1], HEAD, 0);
		n = n <= 0 ? n : read(copy[0], head, HEAD);
		close(copy[0]);
		close(copy[1]);
		/* There is no event for "more than there is now". */
		if (n <= 0 || n == HEAD || (poll(&writer, 1, 0) == 1 && writer.revents & POLLHUP))
			return n;
		nanosleep(&moment, NULL);
	}
}

/* How many bytes; 0 where there is no way to tell in advance. */
static size_t peek(int fd, void *head)
{
	off_t position = lseek(fd, 0, SEEK_CUR);
	ssize_t n;

	if (position >= 0)
		n = pread(fd, head, HEAD, position);
	else if ((n = recv(fd, head, HEAD, MSG_PEEK | MSG_WAITALL)) < 0 && errno == ENOTSOCK)
		n = peek_pipe(fd, head);
	return n < 0 ? 0 : n;
}

enum format find_format(int image, const char *path)
{
	unsigned char head[HEAD] = { 0 };
	size_t n = peek(image, head), i;

	if (is_zstd(head, n))
		return FORMAT_ZSTD;
	for (i = 0; i < ARRAY_SIZE(others); i++)
		if (n >= others[i].length && !memcmp(head, others[i].magic, others[i].length))
			die("%s is no RAM image, it is %s: --format raw loads it as it is", path, others[i].name);
	return FORMAT_RAW;
}
