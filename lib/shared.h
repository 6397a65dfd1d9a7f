/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* What the library, the tool and its VMM all need, and no program that uses the library. */
#ifndef GMEM_SHARED_H
#define GMEM_SHARED_H

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "gmem.h"

/* Do so many bytes hold nothing but zeros? memcmp() is as fast as memory. */
static inline bool is_zero(const void *bytes, size_t length)
{
	const char *p = bytes;

	return !length || (!p[0] && !memcmp(p, p + 1, length - 1));
}

/* Is what begins like that compressed by zstd? Its first frame may be one to be skipped. */
static inline bool is_zstd(const void *begin, size_t length)
{
	const unsigned char *p = begin;

	return length >= 4 && (!memcmp(p, "\x28\xb5\x2f\xfd", 4) || (p[0] >> 4 == 5 && !memcmp(p + 1, "\x2a\x4d\x18", 3)));
}

/* Of a clock that begins anywhere and is never set. */
static inline double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

/* Of a number as people write it: decimal, but for 0x; 010 is ten. */
static inline int number_base(const char *text)
{
	return text[0] == '0' && (text[1] | 0x20) == 'x' ? 16 : 10;
}

/* How a guest_memfd is populated that can be written, mapped; auto: it can't be. */
static inline enum gmem_method default_method(bool can_write, bool can_mmap)
{
	if (can_write)
		return GMEM_METHOD_WRITE;
	return can_mmap ? GMEM_METHOD_MMAP : GMEM_METHOD_AUTO;
}

/* A VM of /dev/kvm, or -1 and errno; a signal, or what io_uring left to do, interrupts it. */
static inline int make_vm(int kvm)
{
	int vm;

	do
		vm = ioctl(kvm, KVM_CREATE_VM, 0L);
	while (vm < 0 && errno == EINTR);
	return vm;
}

#endif /* GMEM_SHARED_H */
