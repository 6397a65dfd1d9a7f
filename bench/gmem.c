// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* The file that is populated. */
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../lib/gmem.h"
#include "../lib/kvm.h"
#include "bench.h"

int guest_vm(void)
{
	static int vm = -1;
	int kvm, flags;

	if (vm >= 0)
		return vm;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		err(EXIT_FAILURE, "cannot open /dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		err(EXIT_FAILURE, "cannot create a virtual machine");

	flags = ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS);
	if (flags < 0 || !(flags & GMEM_FLAG_WRITE))
		errx(EXIT_FAILURE, "this kernel's guest_memfd has no GUEST_MEMFD_FLAG_WRITE");

	return vm;
}

/* Where there is no KVM: a file system's file, made anew each time. */
const char *gmem_stand_in;
bool gmem_secret;

static int stand_in_create(size_t size)
{
	int fd = open(gmem_stand_in, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || unlink(gmem_stand_in) || ftruncate(fd, size))
		err(EXIT_FAILURE, "cannot create %s", gmem_stand_in);

	return fd;
}

int guest_memfd_create(size_t size)
{
	struct kvm_create_guest_memfd args = {
		.size = size,
		.flags = GMEM_FLAG_MMAP | GMEM_FLAG_INIT_SHARED |
			 GMEM_FLAG_WRITE | (gmem_secret ? GMEM_FLAG_NO_DIRECT_MAP : 0),
	};
	int fd;

	if (gmem_stand_in)
		return stand_in_create(size);

	fd = ioctl(guest_vm(), KVM_CREATE_GUEST_MEMFD, &args);
	if (fd < 0)
		err(EXIT_FAILURE, "cannot create a guest_memfd of %zu bytes", size);

	return fd;
}
