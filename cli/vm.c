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

	vm = ioctl(kvm, KVM_CREATE_VM, 0L);
	if (vm < 0)
		die("KVM cannot create a virtual machine: %s", strerror(errno));
	close(kvm);
	return vm;
}
