/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* A machine of gmem run whose memory is a memfd, and whose KVM the target plays. */
#ifndef FUZZ_MACHINE_H
#define FUZZ_MACHINE_H

#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "fuzz.h"
#include "vmm/machine.h"

#define FAKE_KVM	1000000
#define FAKE_VM		1000001
#define FAKE_CPU	1000002		/* the first */

/* The target's KVM. */
static int play_kvm(int fd, unsigned long request, void *arg);

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	return fd >= FAKE_KVM ? play_kvm(fd, request, arg) : (int)syscall(SYS_ioctl, fd, request, arg);
}

/* With @nr_cpus processors that are parked, and @size bytes of memory. */
static inline void make_machine(struct vmm *vmm, size_t size, unsigned int nr_cpus)
{
	vmm_init(vmm);
	MUST(!gmem_context_new(&vmm->gmem));
	vmm->kvm = FAKE_KVM;
	vmm->vm = FAKE_VM;
	vmm->nr_cpus = nr_cpus;
	vmm->cpus = calloc(nr_cpus ?: 1, sizeof(*vmm->cpus));
	MUST(vmm->cpus);
	for (unsigned int i = 0; i < nr_cpus; i++)
		vmm->cpus[i] = (struct cpu){ .vmm = vmm, .index = i, .fd = FAKE_CPU + i, .parked = true };
	vmm->mem.size = size;
	vmm->mem.fd = make_memory(size);
	vmm->mem.view = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vmm->mem.fd, 0);
	MUST(vmm->mem.view != MAP_FAILED);
}

static inline void destroy_machine(struct vmm *vmm)
{
	for (unsigned int i = 0; i < vmm->nr_cpus; i++)
		vmm->cpus[i].fd = -1;
	vmm->kvm = vmm->vm = -1;
	vmm_destroy(vmm);
}

/* A failure has a message of one line, which fits; success has none. */
static inline void must_tell(const struct vmm *vmm, int ret)
{
	MUST(ret == 0 || ret == -1);
	MUST(!ret == !vmm->error[0]);
	MUST(memchr(vmm->error, '\0', sizeof(vmm->error)) && !strchr(vmm->error, '\n'));
}

/* So that what takes a path can open it. */
struct path {
	char text[32];
};

static inline struct path path_of(int fd)
{
	struct path path;

	snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d", fd);
	return path;
}

#endif
