// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* A virtual machine, to make a guest_memfd for. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

int open_vm(void)
{
	int kvm, vm;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		die("/dev/kvm: %s: gmem probe tells more", strerror(errno));

	do
		vm = ioctl(kvm, KVM_CREATE_VM, 0L);
	while (vm < 0 && errno == EINTR);
	if (vm < 0)
		die("KVM cannot create a virtual machine: %s", strerror(errno));
	close(kvm);
	return vm;
}

int make_guest_memory(struct gmem *g, uint64_t size, uint64_t also)
{
	const uint64_t wanted = GMEM_FLAG_MMAP | GMEM_FLAG_INIT_SHARED | GMEM_FLAG_WRITE;
	struct gmem_probe *probe;
	int vm = open_vm(), fd;
	uint64_t flags;

	if (gmem_probe(g, vm, &probe))
		die("%s", gmem_error(g));
	flags = gmem_probe_flags(probe) & wanted;
	if (also & ~gmem_probe_flags(probe))
		die("this kernel's guest_memfd has no such flag: gmem probe tells more");
	gmem_probe_free(probe);
	if (!(flags & (GMEM_FLAG_MMAP | GMEM_FLAG_WRITE)))
		die("nothing can populate guest memory on this kernel: gmem probe tells why");

	fd = gmem_create(g, vm, size, flags | also);
	if (fd < 0)
		die("%s", gmem_error(g));
	close(vm);	/* the guest_memfd keeps the VM */
	return fd;
}
