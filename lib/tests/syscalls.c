// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * syscalls WHAT: do it between two prctl() that a trace shows, for what docs/vmm.md says
 * of the system calls of each operation.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "gmem.h"

#define SIZE	((size_t)4 << 20)

static struct gmem_context *g;
static int target, source, stream;

static int by(enum gmem_method method)
{
	return gmem_set_method(g, method) ?: gmem_populate_file(g, target, 0, source, 0, GMEM_ALL);
}

static int demand(void)
{
	struct gmem_demand *d;
	int err = gmem_demand_new(g, target, source, SIZE, SIZE / 4, NULL, NULL, &d);

	if (!err) {
		err = gmem_demand_fault(d, SIZE / 2, 1) ?: gmem_demand_run(d);
		gmem_demand_free(d);
	}
	return err;
}

static int act(const char *what)
{
	struct gmem_probe *probe;

	if (!strcmp(what, "probe")) {
		int err = gmem_probe(g, -1, &probe);

		gmem_probe_free(probe);
		return err;
	}
	if (!strcmp(what, "mmap"))
		return by(GMEM_METHOD_MMAP);
	if (!strcmp(what, "sendfile"))
		return by(GMEM_METHOD_SENDFILE);
	if (!strcmp(what, "io_uring"))
		return by(GMEM_METHOD_IO_URING);
	if (!strcmp(what, "verify"))
		return gmem_set_verify(g, true) ?: by(GMEM_METHOD_WRITE);
	if (!strcmp(what, "stream"))
		return gmem_populate_stream(g, target, 0, stream, SIZE / 64);
	if (!strcmp(what, "demand"))
		return demand();
	return by(GMEM_METHOD_WRITE);
}

int main(int argc, char **argv)
{
	char *bytes = malloc(SIZE);
	int ends[2], err;

	memset(bytes, 1, SIZE);
	target = memfd_create("target", 0);
	source = memfd_create("source", 0);
	if (target < 0 || source < 0 || ftruncate(target, SIZE) || write(source, bytes, SIZE) != (ssize_t)SIZE ||
	    pipe(ends) || write(ends[1], bytes, SIZE / 64) != (ssize_t)SIZE / 64)
		return 2;
	free(bytes);
	stream = ends[0];
	prctl(PR_SET_NAME, "begin");
	err = gmem_context_new(&g) ?: gmem_set_threads(g, 2) ?: act(argc > 1 ? argv[1] : "");
	gmem_context_free(g);
	prctl(PR_SET_NAME, "end");
	return err ? 1 : 0;
}
