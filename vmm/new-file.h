/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* Files that appear under their names when all of them are whole, or never. */
#ifndef NEW_FILE_H
#define NEW_FILE_H

#include <stdbool.h>
#include <stddef.h>

struct new_file {
	int fd;
	int dir;		/* the directory that it will be in */
	char *name;		/* what it will be called there */
	char temporary[24];	/* in there, too: it, or what it replaced; "": nothing */
	bool replaces;		/* temporary is what had the name */
};

/*
 * 0 or a negative errno: -EEXIST if there is such a file and it is not to be
 * replaced, -EMEDIUMTYPE if there is something that is no regular file.
 */
int new_file_open(struct new_file *f, const char *path, bool replace);

/*
 * Give all of them, which are in one directory, their names: a negative errno if
 * that fails, because of the one with the number @failed, and what was there before is
 * there still. The files are gone for us.
 */
int new_file_commit(struct new_file *files, size_t n, bool replace, size_t *failed);
void new_file_abort(struct new_file *f);

/* The errno's meaning here. */
const char *new_file_error(int err);

#endif
