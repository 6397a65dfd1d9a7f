/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory that has corrected errors is to go out of use: a page of it, by its address. */
#ifndef STRESS_OFFLINE_H
#define STRESS_OFFLINE_H

#include <fcntl.h>
#include <sys/mman.h>
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

#endif
