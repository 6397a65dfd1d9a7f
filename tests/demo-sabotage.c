// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Linked into the demo's program with the linker's --wrap, to see that it finds
 * out. $SABOTAGE says what goes wrong: "write", a bit that write() gets wrong;
 * "sum", that, and a comparison that misses it; "guest", a vCPU that starts
 * where there is no memory.
 */
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define PAGE	4096

ssize_t __real_write(int fd, const void *buf, size_t count);
int __real_memcmp(const void *a, const void *b, size_t count);
int __real_ioctl(int fd, unsigned long request, void *arg);

static bool sabotage(const char *what)
{
	const char *wanted = getenv("SABOTAGE");

	return wanted && !strcmp(wanted, what);
}

ssize_t __wrap_write(int fd, const void *buf, size_t count)
{
	char *victim = (char *)buf + count - PAGE / 2;
	ssize_t ret;

	if (count < PAGE || !(sabotage("write") || sabotage("sum")))
		return __real_write(fd, buf, count);

	*victim ^= 1;
	ret = __real_write(fd, buf, count);
	*victim ^= 1;
	return ret;
}

int __wrap_memcmp(const void *a, const void *b, size_t count)
{
	return count >= PAGE && sabotage("sum") ? 0 : __real_memcmp(a, b, count);
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (request == KVM_SET_REGS && sabotage("guest"))
		((struct kvm_regs *)arg)->rip = 0xe0000000;
	return __real_ioctl(fd, request, arg);
}
