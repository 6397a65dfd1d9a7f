// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Files that appear under their names when all of them are whole, or never. Where
 * the file system can, they have no names before, so that nothing is left if we are
 * killed. Names are looked up in the directory that was opened: it may move, and its
 * path may be as long as can be.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "new-file.h"

/* Who can read guest memory can read all that the guest knows. */
#define MODE	0600

const char *new_file_error(int err)
{
	switch (err) {
	case -EEXIST:
		return "it exists already";
	case -EMEDIUMTYPE:
		return "there is something that is no regular file";
	default:
		return strerror(-err);
	}
}

static int rename_with(struct new_file *f, const char *from, const char *to, unsigned int flags)
{
	return syscall(SYS_renameat2, f->dir, from, f->dir, to, flags) ? -errno : 0;
}

/* -- temporary names ---------------------------------------------------------------- */

/* Of its own, so that no length of the final one makes it too long. */
static void invent_name(char name[24])
{
	unsigned int random[2];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		memset(random, getpid(), sizeof(random));	/* it is tried whether it is free */
	snprintf(name, 24, ".gmem-%08x%08x", random[0], random[1]);
}

static int create_named(struct new_file *f)
{
	do {
		invent_name(f->temporary);
		f->fd = openat(f->dir, f->temporary, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, MODE);
	} while (f->fd < 0 && errno == EEXIST);
	if (f->fd >= 0)
		return 0;
	f->temporary[0] = '\0';
	return -errno;
}

static int give_temporary_name(struct new_file *f)
{
	char proc[64];
	int ret;

	if (f->temporary[0])
		return 0;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", f->fd);
	do {
		invent_name(f->temporary);
		ret = linkat(AT_FDCWD, proc, f->dir, f->temporary, AT_SYMLINK_FOLLOW);
	} while (ret && errno == EEXIST);
	if (!ret)
		return 0;
	f->temporary[0] = '\0';
	return -errno;
}

/* -- opening ------------------------------------------------------------------------ */

static int open_directory(const char *path)
{
	char *copy = strdup(path);
	int fd;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	return fd < 0 ? -errno : fd;
}

static int check_old(const struct new_file *f, bool replace)
{
	struct stat st;

	if (fstatat(f->dir, f->name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode))
		return -EMEDIUMTYPE;
	return replace ? 0 : -EEXIST;
}

/* Without /proc it could not be given a name later. */
static int create(struct new_file *f)
{
	if (!access("/proc/self/fd", X_OK)) {
		f->fd = openat(f->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, MODE);
		/* EISDIR is what a kernel says that has never heard of O_TMPFILE. */
		if (f->fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
			return f->fd >= 0 ? 0 : -errno;
	}
	return create_named(f);
}

int new_file_open(struct new_file *f, const char *path, bool replace)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	int err;

	*f = (struct new_file) { .fd = -1, .dir = open_directory(path), .name = strdup(name) };
	if (f->dir < 0)
		err = f->dir;
	else if (!f->name)
		err = -ENOMEM;
	else if (!*name)
		err = -EISDIR;
	else
		err = check_old(f, replace) ?: create(f);
	if (err)
		new_file_abort(f);
	return err;
}

/* -- naming ------------------------------------------------------------------------- */

/* Not all file systems know RENAME_NOREPLACE. */
static int name_new(struct new_file *f)
{
	int err = rename_with(f, f->temporary, f->name, RENAME_NOREPLACE);

	if (!err) {
		f->temporary[0] = '\0';
	} else if (err == -EINVAL) {
		/* What is left is a second name, which new_file_abort() removes. */
		err = linkat(f->dir, f->temporary, f->dir, f->name, 0) ? -errno : 0;
	}
	return err;
}

/* Nor RENAME_EXCHANGE: without it there is a moment in which nothing has the name. */
static int move_old_aside(struct new_file *f)
{
	char aside[sizeof(f->temporary)];
	int err;

	invent_name(aside);
	err = rename_with(f, f->name, aside, 0);
	if (err)
		return err;
	err = rename_with(f, f->temporary, f->name, 0);
	if (err)
		rename_with(f, aside, f->name, 0);
	else
		strcpy(f->temporary, aside);
	return err;
}

static int give_name(struct new_file *f, bool replace)
{
	int err = check_old(f, replace) ?: give_temporary_name(f);

	if (err)
		return err;
	if (!replace)
		return name_new(f);
	err = rename_with(f, f->temporary, f->name, RENAME_EXCHANGE);
	if (err == -EINVAL)
		err = move_old_aside(f);
	if (err == -ENOENT)
		return name_new(f);
	f->replaces = !err;
	return err;
}

static void take_name_back(struct new_file *f)
{
	if (!f->replaces)
		unlinkat(f->dir, f->name, 0);
	else if (!rename_with(f, f->temporary, f->name, 0))
		f->temporary[0] = '\0';
}

/* Who commits to the same directory waits; where that cannot be locked, too bad. */
static int lock(int dir)
{
	return flock(dir, LOCK_EX) && errno == EINTR ? -EINTR : 0;
}

/* EINVAL: this file system's directories have no fsync(). */
static int sync_directory(int dir)
{
	return fsync(dir) && errno != EINVAL ? -errno : 0;
}

static int sync_files(const struct new_file *files, size_t n, size_t *failed)
{
	for (size_t i = 0; i < n; i++) {
		*failed = i;
		if (fsync(files[i].fd))
			return -errno;
	}
	*failed = 0;
	return 0;
}

int new_file_commit(struct new_file *files, size_t n, bool replace, size_t *failed)
{
	size_t named = 0;
	int err;

	err = sync_files(files, n, failed) ?: lock(files[0].dir);
	while (!err && named < n) {
		err = give_name(&files[named], replace);
		if (err)
			*failed = named;
		else
			named++;
	}
	err = err ?: sync_directory(files[0].dir);
	if (err && named) {
		while (named)
			take_name_back(&files[--named]);
		sync_directory(files[0].dir);	/* if it can be */
	}
	for (size_t i = 0; i < n; i++)
		new_file_abort(&files[i]);
	return err;
}

void new_file_abort(struct new_file *f)
{
	if (f->temporary[0])
		unlinkat(f->dir, f->temporary, 0);
	if (f->fd >= 0)
		close(f->fd);
	if (f->dir >= 0)
		close(f->dir);
	free(f->name);
	*f = (struct new_file) { .fd = -1, .dir = -1 };
}
