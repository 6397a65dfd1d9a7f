// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* How to copy: what a source allows, what the guest_memfd can do, what was asked for. */
#include <errno.h>
#include <stdio.h>

#include "internal.h"
#include "shared.h"

/* Every source can be read into a buffer; what else can be done with it. */
static const struct {
	bool sendfile, io_uring;
	const char *why;
} sources[] = {
	[FROM_BUFFER] = { .why = "a buffer has nothing to read from: use write or mmap" },
	[FROM_FILE] = { .sendfile = true, .io_uring = true },
	[FROM_LAYERS] = { .why = "layers are read page by page: use write or mmap" },
	[FROM_STREAM] = { .io_uring = true, .why = "a stream's chunks are not whole pages: use write, mmap or io_uring" },
	[FROM_ZSTD] = { .why = "a compressed image has to be decompressed in between: use write or mmap" },
	[ON_DEMAND] = { .why = "on demand it is write or mmap" },
};

static int refuse(struct gmem_context *g, const char *why)
{
	return gmem_fail(g, -EOPNOTSUPP, "method %s: %s", gmem_method_name(g->method), why);
}

static int check(struct gmem_context *g, const struct target *t, enum source source)
{
	const enum gmem_method method = g->method;

	if ((method == GMEM_METHOD_SENDFILE && !sources[source].sendfile) ||
	    (method == GMEM_METHOD_IO_URING && !sources[source].io_uring))
		return refuse(g, sources[source].why);
	if (method == GMEM_METHOD_IO_URING && !HAVE_IO_URING)
		return refuse(g, "this libgmem was built without liburing");
	if (method == GMEM_METHOD_SENDFILE && !g->overwrite)
		return refuse(g, "it cannot leave pages alone that are populated already: use another");
	if (method == GMEM_METHOD_MMAP && !(t->can & GMEM_CAN_MMAP))
		return refuse(g, "this guest_memfd cannot be mapped: it was made without GUEST_MEMFD_FLAG_MMAP");
	if ((method == GMEM_METHOD_WRITE || method == GMEM_METHOD_SENDFILE) && !(t->can & GMEM_CAN_WRITE))
		return refuse(g, "this guest_memfd cannot be written: it was made without GUEST_MEMFD_FLAG_WRITE, or this kernel lacks that");
	if (!(t->can & (GMEM_CAN_WRITE | GMEM_CAN_MMAP)))
		return gmem_fail(g, -EOPNOTSUPP, "this guest_memfd can be neither written nor mapped: make it with GUEST_MEMFD_FLAG_WRITE or GUEST_MEMFD_FLAG_MMAP");
	return 0;
}

/*
 * sendfile saves a copy, if the page cache has the source; but it does not look for
 * zeros, which take memory and time if they are written.
 */
static bool sendfile_is_best(const struct gmem_context *g, enum source source)
{
	return sources[source].sendfile && g->zero == GMEM_ZERO_WRITE && g->overwrite && !g->direct;
}

int gmem_choose_method(struct gmem_context *g, struct target *t, enum source source)
{
	const char *why = "as asked";
	int err = check(g, t, source);

	if (err)
		return err;
	t->by_copy = g->method == GMEM_METHOD_MMAP || !(t->can & GMEM_CAN_WRITE);
	t->method = g->method;
	if (t->method == GMEM_METHOD_IO_URING) {
		why = t->by_copy ? "as asked; into the guest_memfd by mmap" : "as asked; into the guest_memfd by write";
	} else if (t->method == GMEM_METHOD_AUTO && !t->by_copy && sendfile_is_best(g, source)) {
		t->method = GMEM_METHOD_SENDFILE;
		why = "this guest_memfd can be written, and zeros are not to be skipped";
	} else if (t->method == GMEM_METHOD_AUTO) {
		t->method = default_method(t->can & GMEM_CAN_WRITE, t->can & GMEM_CAN_MMAP);
		why = t->by_copy ? "this guest_memfd can be mapped, but not written" : "this guest_memfd can be written";
	}
	snprintf(g->why, sizeof(g->why), "%s", why);
	return 0;
}
