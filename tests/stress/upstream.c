// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults of Linux 7.3 itself that the first patches of the series fix. Nothing here is
 * written by write(): to see them, run this on a kernel without the patches, e.g. by
 *
 *   tests/stress/compile build/stress upstream
 *   lab/boot --unpatched --add build/stress/upstream -- /bin/upstream
 *
 * where the second test hangs until its time is up.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "kvm_test_harness.h"
#include "common/offline.h"

#define UPSTREAM_FLAGS	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)

FIXTURE(upstream) {
	struct kvm_vm *vm;
	int fd;
	u64 *mem;
};

FIXTURE_SETUP(upstream)
{
	self->vm = vm_create_barebones();
	self->fd = vm_create_guest_memfd(self->vm, PG(2), UPSTREAM_FLAGS);
	self->mem = map_file(self->fd, PG(2));
}

FIXTURE_TEARDOWN(upstream)
{
	close(self->fd);
	kvm_vm_free(self->vm);
}

/*
 * A page that is clean stays in the file when it is to go out of use: there is nowhere to
 * have it again from, and a guest can have it mapped without holding it.
 */
TEST_F(upstream, clean_page_is_not_evicted)
{
	u8 in = 0;

	if (access(SOFT_OFFLINE, W_OK))
		SKIP(return, "the kernel has no soft_offline_page");

	EXPECT_GT(0, soft_offline(self->mem));
	ASSERT_EQ(0, mincore(self->mem, PG(1), &in));
	EXPECT_EQ(1, in & 1)
		TH_LOG("the page is not in the file any more");
}

struct puncher {
	pthread_t thread;
	int fd;
	bool allocates;
	volatile bool stop;
};

static void *hold_invalidate_lock(void *arg)
{
	struct puncher *p = arg;

	while (!p->stop) {
		if (p->allocates)
			preallocate(p->fd, 0, PG(1));
		else
			punch(p->fd, PG(1), PG(1));
	}
	return NULL;
}

/*
 * fallocate() has the invalidate lock and wants the page, memory_failure() has the page
 * and wants the invalidate lock, behind a hole that waits for fallocate().
 */
TEST_F_TIMEOUT(upstream, memory_error_amid_holes, 60)
{
	struct puncher p[] = {
		{ .fd = self->fd }, { .fd = self->fd, .allocates = true },
		{ .fd = self->fd }, { .fd = self->fd, .allocates = true },
	};
	size_t i;
	int err;

	for (i = 0; i < ARRAY_SIZE(p); i++)
		kvm_pthread_create(&p[i].thread, NULL, hold_invalidate_lock, &p[i]);
	for (i = 0; i < 40; i++) {
		err = poison(self->mem);
		EXPECT_TRUE(err != EINVAL && err != EPERM);
		EXPECT_EQ(0, punch(self->fd, 0, PG(1)));
	}
	for (i = 0; i < ARRAY_SIZE(p); i++) {
		p[i].stop = true;
		kvm_pthread_join(p[i].thread, NULL);
	}
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE((kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & UPSTREAM_FLAGS) == UPSTREAM_FLAGS);
	return test_harness_run(argc, argv);
}
