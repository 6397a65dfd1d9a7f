// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* A guest_memfd with a virtual machine of its own, and the order to populate it in. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "lib/shared.h"

static int open_vm(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;

	if (kvm < 0)
		die("/dev/kvm: %s: gmem probe tells more", strerror(errno));
	vm = make_vm(kvm);
	if (vm < 0)
		die("KVM cannot create a virtual machine: %s", strerror(errno));
	close(kvm);
	return vm;
}

int make_guest_memory(struct gmem_context *g, uint64_t size, uint64_t also)
{
	const uint64_t wanted = GMEM_FLAG_MMAP | GMEM_FLAG_INIT_SHARED | GMEM_FLAG_WRITE;
	int vm = open_vm(), fd = gmem_create(g, vm, size, also, wanted);

	if (fd < 0)
		die("%s", gmem_error(g));
	if (!(gmem_examine(g, fd, &size) & (GMEM_CAN_MMAP | GMEM_CAN_WRITE)))
		die("nothing can populate guest memory on this kernel: gmem probe tells why");
	close(vm);	/* the guest_memfd keeps the VM */
	return fd;
}

void set_order(struct gmem_context *g, const char *path)
{
	struct gmem_range *ranges;
	size_t n;
	int fd;

	if (!path)
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die_usage("--order %s: %s", path, strerror(errno));
	if (gmem_order_read(g, fd, &ranges, &n) || gmem_set_order(g, ranges, n))
		die_usage("--order %s: %s", path, gmem_error(g));
	free(ranges);
	close(fd);
}
