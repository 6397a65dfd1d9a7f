// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the handling of memory errors does to pages that were written: they are dirty
 * (fsx looks at the flag), so it neither takes them for pages that can be had again from
 * somewhere nor fails to tell those who asked to be told early.
 */
#include <signal.h>
#include <sys/prctl.h>

#include "kselftest.h"
#include "common/fixture.h"
#include "common/offline.h"

/*
 * Memory that has corrected errors is taken out of use, if what is in it can be moved
 * or had again.  Of guest_memfd neither can: the page stays.  Nobody has touched it but
 * write(), and a mapping that cannot dirty it.
 */
TEST_F(file, soft_offline_keeps_what_was_written)
{
	u64 *mem = kvm_mmap(FILE_SIZE, PROT_READ, MAP_SHARED, self->fd);
	int i;

	if (access(SOFT_OFFLINE, W_OK))
		SKIP(return, "the kernel has no soft_offline_page");

	READ_ONCE(mem[PAGE_WORDS]);
	EXPECT_EQ(0, preallocate(self->fd, PG(2), PG(1)));
	EXPECT_EQ(PG(4), RET(pwrite(self->fd, self->src, PG(4), 0)));
	for (i = 0; i < 4; i++)
		EXPECT_GT(0, soft_offline(mem + i * PAGE_WORDS));
	EXPECT_EQ(PG(4), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_PAGES(mem, 0, 4, 1, 1);
}

static volatile int nr_sigbus;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	nr_sigbus += info->si_code == BUS_MCEERR_AO || info->si_code == BUS_MCEERR_AR;
}

/* How often a child that asked to be told early is told of an error in @page, or -errno. */
static int told_of_error(const u64 *page)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	int ret, status;
	pid_t pid;

	pid = fork_child();
	if (!pid) {
		READ_ONCE(*page);
		sigaction(SIGBUS, &sa, NULL);
		if (prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0))
			_exit(100);
		/* KVM keeps the page in the file, which counts as a failure to recover. */
		ret = RET(madvise((void *)page, PG(1), MADV_HWPOISON));
		if (ret && ret != -EBUSY)
			_exit(101);
		/* It was sent before madvise() returned: it has arrived. */
		_exit(nr_sigbus);
	}
	status = wait_for(pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Early or not, it is as for pages that were stored to through a mapping. */
TEST_F(file, early_sigbus_as_for_a_mapping)
{
	int by_write, by_overwrite, by_store;

	self->mem[0] = 1;
	READ_ONCE(self->mem[PAGE_WORDS]);
	EXPECT_EQ(PG(2), RET(pwrite(self->fd, self->src, PG(2), PG(1))));
	by_store = told_of_error(self->mem);
	by_overwrite = told_of_error(self->mem + PAGE_WORDS);
	by_write = told_of_error(self->mem + 2 * PAGE_WORDS);
	EXPECT_EQ(1, by_store);
	EXPECT_EQ(1, by_overwrite);
	EXPECT_EQ(1, by_write);

	/* Which takes the pages with it, and them out of service for good. */
	EXPECT_EQ(-EHWPOISON, RET(pwrite(self->fd, self->src, PG(1), PG(1))));
	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
}

TEST_NOTHING_IS_LEFT(3)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "write-error");
}
