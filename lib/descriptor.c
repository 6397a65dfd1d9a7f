// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* guest_memfd descriptors: make one, examine one, ask what is populated. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "internal.h"
#include "kvm.h"

static int create(struct gmem *g, int vm, uint64_t size, uint64_t flags)
{
	struct kvm_create_guest_memfd args = { .size = size, .flags = flags };
	uint64_t supported;
	int fd, err;

	if (!size || size % g->page)
		return gmem_fail(g, -EINVAL, "cannot create a guest_memfd of %" PRIu64 " bytes: its size is a number of whole pages of %zu bytes",
				 size, g->page);

	fd = ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
	if (fd >= 0) {
		/* KVM does it by itself, but has not promised to. */
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		return fd;
	}

	err = -errno;
	if (err == -ENOTTY || !gmem_check_extension(vm, KVM_CAP_GUEST_MEMFD))
		return gmem_fail(g, err, "cannot create a guest_memfd: KVM has none for this VM, or this is no VM");

	supported = gmem_check_extension(vm, KVM_CAP_GUEST_MEMFD_FLAGS);
	if (flags & ~supported)
		return gmem_fail(g, err, "cannot create a guest_memfd with the flags %#" PRIx64 ": this kernel has %#" PRIx64 " for this VM",
				 flags, supported);
	return gmem_fail(g, err, "cannot create a guest_memfd of %" PRIu64 " bytes: %s",
			 size, strerrordesc_np(-err));
}

EXPORT int gmem_create(struct gmem *g, int vm, uint64_t size, uint64_t flags)
{
	int err = gmem_begin(g);

	return err ?: gmem_end(g, create(g, vm, size, flags));
}
