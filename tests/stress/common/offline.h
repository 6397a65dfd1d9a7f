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

/* Nobody has it mapped then.  Returns 0, or an error. */
static inline int soft_offline(const u64 *page)
{
	int fd = open(SOFT_OFFLINE, O_WRONLY), ret;
	char text[32];

	TEST_ASSERT(fd >= 0, "Cannot open " SOFT_OFFLINE ", errno = %d", errno);
	READ_ONCE(*page);
	snprintf(text, sizeof(text), "%#lx", (long)(page_frame(page) * PAGE_BYTES));
	kvm_madvise((void *)page, PG(1), MADV_DONTNEED);
	ret = RET(write(fd, text, strlen(text)));
	close(fd);
	return min(ret, 0);
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
