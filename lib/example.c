/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* A VM's memory from a RAM image: example IMAGE */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <gmem.h>

int main(int argc, char **argv)
{
	int vm = ioctl(open("/dev/kvm", O_RDWR), KVM_CREATE_VM, 0);
	int image = open(argc > 1 ? argv[1] : "", O_RDONLY), memory;
	struct stat st;
	struct gmem_context *g;

	if (vm < 0 || image < 0 || fstat(image, &st) || gmem_context_new(&g))
		return 1;

	/* With what this kernel has of what we can use. */
	memory = gmem_create(g, vm, (st.st_size + 4095) & ~4095ULL, 0,
			     GMEM_FLAG_MMAP | GMEM_FLAG_INIT_SHARED | GMEM_FLAG_WRITE);
	gmem_set_pad(g, true);
	if (memory < 0 || gmem_populate_file(g, memory, 0, image, 0, GMEM_ALL)) {
		fprintf(stderr, "%s\n", gmem_error(g));
		return 1;
	}
	printf("%.0f ms by %s\n", gmem_stats(g)->ms, gmem_method_name(gmem_stats(g)->method));
	/* Go on: KVM_SET_USER_MEMORY_REGION2 with .guest_memfd = memory. */
	gmem_context_free(g);
	return 0;
}
