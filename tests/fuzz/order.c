// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Order files. One is read or refused, with a message of one line; what was read is
 * ranges of whole pages, which are an order, and the same when written and read
 * again.
 */
#include "fuzz.h"
#include "gmem.h"

static void write_and_read(struct gmem_context *g, const struct gmem_range *ranges, size_t n)
{
	int fd = make_file("", 0);
	struct gmem_range *again;
	size_t m;

	MUST(!gmem_order_write(g, fd, ranges, n));
	MUST(!lseek(fd, 0, SEEK_SET));
	MUST(!gmem_order_read(g, fd, &again, &m));
	MUST(m == n && !memcmp(again, ranges, n * sizeof(*ranges)));
	free(again);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	int before = next_descriptor(), fd = make_file(bytes, size), err;
	struct gmem_range *ranges;
	struct gmem_context *g;
	size_t n;

	MUST(!gmem_context_new(&g) && !lseek(fd, 0, SEEK_SET));
	err = gmem_order_read(g, fd, &ranges, &n);
	MUST(!err || err == -EINVAL);
	MUST(!err == !*gmem_error(g) && !strchr(gmem_error(g), '\n'));
	if (!err) {
		MUST(!memchr(bytes, '\0', size));
		for (size_t i = 0; i < n; i++) {
			MUST(ranges[i].length && ranges[i].length % PAGE == 0 && ranges[i].offset % PAGE == 0);
			MUST(ranges[i].offset + ranges[i].length - 1 >= ranges[i].offset);
		}
		MUST(!gmem_set_order(g, ranges, n));
		if (n)
			write_and_read(g, ranges, n);
		free(ranges);
	}
	close(fd);
	gmem_context_free(g);
	MUST(next_descriptor() == before);
	return 0;
}
