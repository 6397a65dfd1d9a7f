/* SPDX-License-Identifier: GPL-2.0-only */
/* A source that takes its time: memory whose faults somebody has to resolve. */
#ifndef STRESS_UFFD_H
#define STRESS_UFFD_H

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#include "common.h"
#include "test_util.h"

/* Have whoever reads the @nr pages wait until they are resolved. */
static inline int block_pages(void *pages, size_t nr)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_POISON };
	struct uffdio_register reg = {
		.range = { .start = (unsigned long)pages, .len = PG(nr) },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC);

	TEST_ASSERT(uffd >= 0, "userfaultfd() failed, errno = %d", errno);
	kvm_madvise(pages, PG(nr), MADV_DONTNEED);
	TEST_ASSERT(!ioctl(uffd, UFFDIO_API, &api), "UFFDIO_API failed, errno = %d", errno);
	TEST_ASSERT(!ioctl(uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER failed, errno = %d", errno);
	return uffd;
}

/* Where the next one waits, or NULL when nobody will. */
static inline void *next_blocked(int uffd)
{
	struct uffd_msg msg;

	if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
		return NULL;
	TEST_ASSERT_EQ(msg.event, UFFD_EVENT_PAGEFAULT);
	return (void *)(msg.arg.pagefault.address & -PAGE_BYTES);
}

/* Returns 0, or an error. */
static inline int resolve_page(int uffd, void *page, const void *src)
{
	struct uffdio_copy copy = {
		.dst = (unsigned long)page,
		.src = (unsigned long)src,
		.len = PAGE_BYTES,
	};

	return RET(ioctl(uffd, UFFDIO_COPY, &copy));
}

#endif
