/* SPDX-License-Identifier: GPL-2.0-only */
/* A page goes out of use: for errors that were corrected, or for one that was not. */
#ifndef STRESS_OFFLINE_H
#define STRESS_OFFLINE_H

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "test_util.h"

#define SOFT_OFFLINE	"/sys/devices/system/memory/soft_offline_page"
#define CORRUPT_PFN	"/sys/kernel/debug/hwpoison/corrupt-pfn"

/* Nobody has it mapped then.  Returns 0, or an error. */
static inline int soft_offline(const u64 *page)
{
	char text[32];

	TEST_ASSERT(!access(SOFT_OFFLINE, W_OK), "Cannot open " SOFT_OFFLINE ", errno = %d", errno);
	READ_ONCE(*page);
	snprintf(text, sizeof(text), "%#lx", (long)(page_frame(page) * PAGE_BYTES));
	kvm_madvise((void *)page, PG(1), MADV_DONTNEED);
	return min(write_knob(SOFT_OFFLINE, text), 0L);
}

/*
 * A memory error in a page, whether anybody has it mapped or not; what comes of that is
 * left to whoever accesses it.  Returns what writing the number does.
 */
static inline long corrupt_pfn(u64 pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "%#llx", (unsigned long long)pfn);
	return write_knob(CORRUPT_PFN, text);
}

/*
 * Whoever has the page mapped can get a SIGBUS: let it be somebody else.  Returns 0, or
 * an errno.
 */
static inline int poison(u64 *page)
{
	int status;
	pid_t pid;

	kvm_madvise(page, PG(1), MADV_DONTNEED);
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed, errno = %d", errno);
	if (!pid) {
		signal(SIGBUS, SIG_DFL);
		READ_ONCE(*page);
		_exit(madvise(page, PG(1), MADV_HWPOISON) ? errno : 0);
	}
	TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

#endif
