/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* A file that appears under its name when it is whole, or never. */
#ifndef NEW_FILE_H
#define NEW_FILE_H

struct new_file {
	int fd;
	char *path;		/* what it will be called */
	char *temporary;	/* what it is called now; NULL: nothing */
};

/* 0 or a negative errno. */
int new_file_open(struct new_file *f, const char *path);
int new_file_commit(struct new_file *f);
void new_file_abort(struct new_file *f);

#endif
