// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is in a dump of a kernel that had guest memory outside of its direct map: all of
 * it.  The dump is made by another kernel, which has page tables of its own.
 *
 * kdump KERNEL INITRAMFS fills such memory, and has its kernel crash.  Where that initramfs
 * runs the same program without arguments, it looks into /proc/vmcore.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/kexec.h>

#include "common/common.h"
#include "test_util.h"

#define NR_PAGES	1024ul
/* Only its inverse is in memory. */
#define WANTED		(0x6ee75ec4e7ull << 16)

static void fill_and_crash(const char *kernel, const char *initramfs)
{
	static const char parameters[] = "console=ttyS0 panic=-1 nr_cpus=1 reset_devices";
	const int kernel_fd = open(kernel, O_RDONLY), initramfs_fd = open(initramfs, O_RDONLY);
	struct kvm_vm *vm = vm_create_barebones();
	const int fd = vm_create_guest_memfd(vm, PG(NR_PAGES), WRITE_FLAGS | GUEST_MEMFD_FLAG_NO_DIRECT_MAP);
	volatile u64 *words = map_anon(PG(1));
	size_t i;
	long ret;

	ret = RET(syscall(__NR_kexec_file_load, kernel_fd, initramfs_fd, sizeof(parameters), parameters,
			  KEXEC_FILE_ON_CRASH));
	TEST_ASSERT(!ret, "kexec_file_load() returned %ld", ret);

	for (i = 0; i < PAGE_WORDS; i++)
		words[i] = ~WANTED;
	for (i = 0; i < NR_PAGES; i++)
		TEST_ASSERT_EQ(pwrite(fd, (void *)words, PG(1), PG(i)), (ssize_t)PG(1));
	memset((void *)words, 0, PG(1));

	write_knob("/proc/sysrq-trigger", "c");
	TEST_FAIL("The kernel goes on");
}

static void look_into_the_dump(int dump)
{
	static u64 page[PAGE_BYTES / sizeof(u64)];
	unsigned long words = 0, i;

	while (read(dump, page, sizeof(page)) > 0)
		for (i = 0; i < ARRAY_SIZE(page); i++)
			words += page[i] == ~WANTED;
	printf("in the dump: %lu pages\n", words / PAGE_WORDS);
}

int main(int argc, char *argv[])
{
	const int dump = open("/proc/vmcore", O_RDONLY);

	TEST_ASSERT(argc == 3 || dump >= 0, "Usage: kdump KERNEL INITRAMFS");
	if (dump >= 0)
		look_into_the_dump(dump);
	else
		fill_and_crash(argv[1], argv[2]);
	return 0;
}
