// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* guest_memfd, and the ways to populate it. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "demo.h"

/* Any free place, aligned to 2 MiB: demo/image.c says why. */
#define MAP_AT		((void *)(1ul << 45))

/* WRITE is what this is about; memcpy and the verification need the others. */
#define GMEM_FLAGS	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED | \
			 GUEST_MEMFD_FLAG_WRITE)

int kvm_open(void)
{
	int kvm;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0 && errno == ENOENT)
		errx(EXIT_FAILURE, "there is no /dev/kvm: does this processor, or the machine it is emulated by, offer virtualization?");
	if (kvm < 0)
		err(EXIT_FAILURE, "cannot open /dev/kvm");

	return kvm;
}

int vm_open(int kvm)
{
	int vm, flags;

	vm = ioctl(kvm, KVM_CREATE_VM, KVM_X86_DEFAULT_VM);
	if (vm < 0)
		err(EXIT_FAILURE, "cannot create a virtual machine");

	if (ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD) <= 0)
		errx(EXIT_FAILURE, "KVM has no guest_memfd here: it takes CONFIG_KVM_GUEST_MEMFD and, on x86, nested paging (EPT or NPT)");

	flags = ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD_FLAGS);
	if (flags < 0)
		flags = 0;
	if (!(flags & GUEST_MEMFD_FLAG_WRITE))
		errx(EXIT_FAILURE, "this kernel cannot populate guest_memfd by write(): KVM_CAP_GUEST_MEMFD_FLAGS is %#x, without GUEST_MEMFD_FLAG_WRITE, %#x; boot one with kernel/patches-7.3, as lab/boot does",
		     (unsigned int)flags, (unsigned int)GUEST_MEMFD_FLAG_WRITE);
	if ((flags & GMEM_FLAGS) != GMEM_FLAGS)
		errx(EXIT_FAILURE, "this kernel's guest_memfd cannot be mapped: KVM_CAP_GUEST_MEMFD_FLAGS is %#x, not %#x",
		     (unsigned int)flags, (unsigned int)GMEM_FLAGS);

	return vm;
}

int gmem_create(int vm, size_t size)
{
	struct kvm_create_guest_memfd args = {
		.size = size,
		.flags = GMEM_FLAGS,
	};
	int gmem;

	gmem = ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
	if (gmem < 0)
		err(EXIT_FAILURE, "cannot create a guest_memfd of %zu bytes", size);

	return gmem;
}

void *gmem_map(int gmem, size_t size, int prot)
{
	void *mem;

	mem = mmap(MAP_AT, size, prot, MAP_SHARED, gmem, 0);
	if (mem == MAP_FAILED)
		err(EXIT_FAILURE, "cannot map the guest_memfd");

	return mem;
}

/* The way up to Linux 7.3. */
void *populate_by_memcpy(int gmem, const struct image *image)
{
	void *mem = gmem_map(gmem, image->size, PROT_READ | PROT_WRITE);

	return memcpy(mem, image->bytes, image->size);
}

/* The same, with the page faults taken in advance and at once. */
void *populate_by_madvise(int gmem, const struct image *image)
{
	void *mem = gmem_map(gmem, image->size, PROT_READ | PROT_WRITE);

	if (madvise(mem, image->size, MADV_POPULATE_WRITE))
		err(EXIT_FAILURE, "MADV_POPULATE_WRITE on the guest_memfd failed");

	return memcpy(mem, image->bytes, image->size);
}

void *populate_by_write(int gmem, const struct image *image)
{
	size_t done = 0;
	ssize_t n;

	while (done < image->size) {
		n = write(gmem, image->bytes + done, image->size - done);
		if (n < 0)
			err(EXIT_FAILURE, "write() to the guest_memfd failed at offset %zu", done);
		if (!n)
			errx(EXIT_FAILURE, "write() to the guest_memfd wrote nothing at offset %zu", done);
		done += n;
	}

	return NULL;
}

/* Compare every byte, and tell of the first that is wrong. */
bool verify(const void *mapping, const struct image *image)
{
	const unsigned char *got = mapping, *want = image->bytes;
	size_t i = 0;

	if (!memcmp(got, want, image->size))
		return true;

	while (i < image->size - 1 && got[i] == want[i])
		i++;
	warnx("verification failed: the byte at %#zx is %#04x, should be %#04x", i, got[i], want[i]);
	return false;
}
