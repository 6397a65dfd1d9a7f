// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Order files: which pages come first. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "shared.h"

static bool parse_number(const char **text, uint64_t *number)
{
	char *end;

	while (isspace((unsigned char)**text))
		(*text)++;
	if (!isdigit((unsigned char)**text))
		return false;
	errno = 0;
	*number = strtoull(*text, &end, number_base(*text));
	*text = end;
	return !errno;
}

/*
 * The next line, without its comment: 1, 0 at the end; -EINVAL if it is no line of
 * an order file. That may be something else, of any size and without any line.
 */
static int read_line(FILE *file, char *line, size_t size)
{
	bool comment = false;
	size_t len = 0;
	int c;

	while ((c = getc_unlocked(file)) != EOF && c != '\n') {
		comment |= c == '#';
		if (!c || (!comment && len == size - 1))
			return -EINVAL;
		if (!comment)
			line[len++] = c;
	}
	line[len] = '\0';
	return c != EOF || len || comment;
}

/* 1: a range, 0: none, -EINVAL. */
static int parse_line(const char *text, size_t page, struct gmem_range *range)
{
	if (!text[strspn(text, " \t\r")])
		return 0;
	if (!parse_number(&text, &range->offset) || !isspace((unsigned char)*text) ||
	    !parse_number(&text, &range->length) || text[strspn(text, " \t\r")])
		return -EINVAL;
	if (range->offset % page || range->length % page || !range->length ||
	    range->offset > UINT64_MAX - range->length)
		return -EINVAL;
	return 1;
}

static int read_lines(struct gmem_context *g, FILE *file, struct ranges *ranges)
{
	struct gmem_range range;
	unsigned long nr = 0;
	char line[256];
	int more;

	while ((more = read_line(file, line, sizeof(line)))) {
		int found = more < 0 ? more : parse_line(line, g->page, &range);

		nr++;
		if (found < 0)
			return gmem_fail(g, found, "the order file's line %lu is not OFFSET LENGTH, both whole pages", nr);
		if (found && gmem_ranges_add(ranges, range.offset, range.length))
			return gmem_fail(g, -ENOMEM, "out of memory");
	}
	return ferror(file) ? gmem_fail(g, -EIO, "cannot read the order file") : 0;
}

EXPORT int gmem_order_read(struct gmem_context *g, int fd, struct gmem_range **ranges, size_t *n)
{
	struct ranges list = { 0 };
	int err = gmem_begin(g), copy;
	FILE *file;

	if (err)
		return err;

	copy = dup(fd);
	file = copy < 0 ? NULL : fdopen(copy, "r");
	if (!file) {
		err = gmem_fail(g, -errno, "cannot read the order file: %s", strerror(errno));
		if (copy >= 0)
			close(copy);
		return gmem_end(g, err);
	}
	err = read_lines(g, file, &list);
	fclose(file);
	if (err) {
		free(list.range);
		return gmem_end(g, err);
	}
	*ranges = list.range;
	*n = list.nr;
	return gmem_end(g, 0);
}

static int write_text(int fd, const char *text)
{
	size_t left = strlen(text);
	ssize_t n;

	for (; left; text += n, left -= n) {
		n = write(fd, text, left);
		if (n < 0 && errno == EINTR)
			n = 0;
		if (n < 0)
			return -errno;
	}
	return 0;
}

static int write_lines(int fd, const struct ranges *list)
{
	int err = write_text(fd, "# offset length, in the order of first touch\n");
	char line[64];
	size_t i;

	for (i = 0; i < list->nr && !err; i++) {
		snprintf(line, sizeof(line), "%#" PRIx64 " %#" PRIx64 "\n",
			 list->range[i].offset, list->range[i].length);
		err = write_text(fd, line);
	}
	return err;
}

EXPORT int gmem_order_write(struct gmem_context *g, int fd, const struct gmem_range *ranges, size_t n)
{
	struct ranges list = { 0 };
	int err = gmem_begin(g);
	size_t i;

	if (err)
		return err;
	for (i = 0; i < n && !err; i++)
		err = gmem_ranges_add(&list, ranges[i].offset, ranges[i].length);
	if (!err)
		err = write_lines(fd, &list);
	free(list.range);
	if (err)
		gmem_fail(g, err, "cannot write the order file: %s", strerror(-err));
	return gmem_end(g, err);
}
