// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * A file that appears under its name when it is whole, or never. Where the file
 * system can, it has no name before, so that nothing is left if we are killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "new-file.h"

/* Who can read guest memory can read all that the guest knows. */
#define MODE	0600

static int open_unnamed(const char *path)
{
	char *copy = strdup(path);
	int fd;

	if (!copy) {
		errno = ENOMEM;
		return -1;
	}
	fd = open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, MODE);
	free(copy);
	return fd;
}

int new_file_open(struct new_file *f, const char *path)
{
	*f = (struct new_file){ .fd = open_unnamed(path), .path = strdup(path) };
	if (!f->path)
		goto no_memory;
	if (f->fd >= 0)
		return 0;
	/* EISDIR is what a kernel says that has never heard of O_TMPFILE. */
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) {
		int err = -errno;

		new_file_abort(f);
		return err;
	}

	if (asprintf(&f->temporary, "%s.XXXXXX", path) < 0) {
		f->temporary = NULL;
		goto no_memory;
	}
	f->fd = mkostemp(f->temporary, O_CLOEXEC);
	if (f->fd < 0) {
		int err = -errno;

		free(f->temporary);
		f->temporary = NULL;
		new_file_abort(f);
		return err;
	}
	return 0;

no_memory:
	new_file_abort(f);
	return -ENOMEM;
}

/* linkat() replaces nothing: to another name first, for rename() does. */
static int give_name(struct new_file *f)
{
	char proc[64], *name;
	int err;

	if (asprintf(&name, "%s.%d", f->path, getpid()) < 0)
		return -ENOMEM;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", f->fd);
	if (linkat(AT_FDCWD, proc, AT_FDCWD, name, AT_SYMLINK_FOLLOW)) {
		err = -errno;
		free(name);
		return err;
	}
	f->temporary = name;
	return 0;
}

int new_file_commit(struct new_file *f)
{
	int err = 0;

	if (fsync(f->fd))
		err = -errno;
	if (!err && !f->temporary)
		err = give_name(f);
	if (!err && rename(f->temporary, f->path))
		err = -errno;
	if (!err) {
		free(f->temporary);
		f->temporary = NULL;
	}
	new_file_abort(f);
	return err;
}

void new_file_abort(struct new_file *f)
{
	if (f->temporary)
		unlink(f->temporary);
	if (f->fd >= 0)
		close(f->fd);
	free(f->temporary);
	free(f->path);
	*f = (struct new_file){ .fd = -1 };
}
