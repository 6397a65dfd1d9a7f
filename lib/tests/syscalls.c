// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * syscalls WHAT: do it between two prctl() that a trace shows, for what docs/vmm.md says
 * of the system calls of each operation.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gmem.h"
#include "shared.h"

#define SIZE	((size_t)4 << 20)

static struct gmem_context *g;
static int target, source, stream, order, vm;
static bool hidden;

/* As the kernel's for libgmem; of memory without a direct map it populates nothing. */
__attribute__((visibility("default"))) int madvise(void *at, size_t length, int advice)
{
	if (!hidden)
		return syscall(SYS_madvise, at, length, advice);
	errno = EINVAL;
	return -1;
}

static int by(enum gmem_method method)
{
	return gmem_set_method(g, method) ?: gmem_populate_file(g, target, 0, source, 0, GMEM_ALL);
}

static int by_map_hidden(void)
{
	hidden = true;
	return gmem_set_verify(g, true) ?: by(GMEM_METHOD_MMAP);
}

/* Where there is no KVM, in vain. */
static int create(void)
{
	int fd = gmem_create(g, vm, SIZE, 0, GMEM_FLAG_MMAP | GMEM_FLAG_INIT_SHARED | GMEM_FLAG_WRITE);

	return vm < 0 ? target : fd;
}

static int next_populated(int fd)
{
	struct gmem_range range;
	int err = gmem_next_populated(g, fd, 0, &range);

	return err == -ENXIO ? 0 : err;
}

static int cancel(void)
{
	gmem_cancel(g);
	return by(GMEM_METHOD_WRITE) == -ECANCELED ? 0 : -1;
}

static int orders(void)
{
	struct gmem_range range = { 0, SIZE }, *ranges;
	size_t n;
	int err = gmem_order_write(g, order, &range, 1);

	lseek(order, 0, SEEK_SET);
	err = err ?: gmem_order_read(g, order, &ranges, &n);
	if (!err)
		free(ranges);
	return err;
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
	if (!strcmp(what, "hidden"))
		return by_map_hidden();
	if (!strcmp(what, "layers"))
		return gmem_populate_layers(g, target, 0, (int[]) { source, source }, 2);
	if (!strcmp(what, "create"))
		return create() < 0;
	if (!strcmp(what, "next_populated"))
		return next_populated(target) ?: next_populated(create());
	if (!strcmp(what, "cancel"))
		return cancel();
	if (!strcmp(what, "order"))
		return orders();
	return by(GMEM_METHOD_WRITE);
}

int main(int argc, char **argv)
{
	char *bytes = malloc(SIZE);
	int ends[2], err;

	memset(bytes, 1, SIZE);
	target = memfd_create("target", 0);
	source = memfd_create("source", 0);
	order = memfd_create("order", 0);
	vm = make_vm(open("/dev/kvm", O_RDWR));
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
