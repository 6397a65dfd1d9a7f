// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Ends, and leaves a process behind that has a populated guest_memfd. */
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../../lib/gmem.h"
#include "../../lib/kvm.h"

int main(void)
{
	struct kvm_create_guest_memfd args = {
		.size = 1 << 20,
		.flags = GMEM_FLAG_INIT_SHARED | GMEM_FLAG_WRITE,
	};
	static char source[1 << 16];
	int kvm, vm, fd;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	fd = ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
	if (fd < 0 || pwrite(fd, source, sizeof(source), 0) != sizeof(source))
		err(EXIT_FAILURE, "cannot populate a guest_memfd");

	switch (fork()) {
	case 0:
		for (;;)
			pause();
	case -1:
		err(EXIT_FAILURE, "cannot leave a process behind");
	}
	return EXIT_SUCCESS;
}
