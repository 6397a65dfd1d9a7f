// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Record the order in which the guest touches its pages. Its memslots go through a
 * mapping that nobody else uses, so a page is in that mapping's page tables from
 * the guest's first touch on. A thread looks there every few milliseconds: pages
 * that were touched between two looks are in the order of their addresses.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "new-file.h"
#include "outcome.h"
#include "record.h"

#define PRESENT		(1ull << 63)
#define AT_ONCE		4096		/* pages */
#define INTERVAL_MS	5.0

static int add_page(struct record *r, uint64_t page)
{
	struct gmem_range *last = r->n ? &r->ranges[r->n - 1] : NULL;

	r->seen[page] = 1;
	r->pages++;
	if (last && last->offset + last->length == page * PAGE_SIZE) {
		last->length += PAGE_SIZE;
		return 0;
	}
	if (r->n == r->room) {
		size_t room = r->room ? 2 * r->room : 1024;
		struct gmem_range *ranges = realloc(r->ranges, room * sizeof(*ranges));

		if (!ranges)
			return -ENOMEM;
		r->ranges = ranges;
		r->room = room;
	}
	r->ranges[r->n++] = (struct gmem_range) { page * PAGE_SIZE, PAGE_SIZE };
	return 0;
}

/* Look at the page tables once. 0 or a negative errno. */
static int look(struct vmm *vmm)
{
	struct record *r = vmm->record;
	uint64_t first = (uintptr_t)vmm->mem.watched / PAGE_SIZE;
	uint64_t pages = vmm->mem.size / PAGE_SIZE, entry[AT_ONCE];
	int err = 0;

	for (uint64_t page = 0; page < pages && !err;) {
		size_t want = pages - page < AT_ONCE ? pages - page : AT_ONCE;
		ssize_t n = pread(r->pagemap, entry, want * sizeof(*entry), (first + page) * sizeof(*entry));

		if (n <= 0)
			return n ? -errno : -EIO;
		for (size_t i = 0; i < n / sizeof(*entry) && !err; i++, page++)
			if ((entry[i] & PRESENT) && !r->seen[page])
				err = add_page(r, page);
	}
	return err;
}

static void sleep_ms(double ms)
{
	struct timespec ts = { .tv_nsec = ms * 1e6 };

	nanosleep(&ts, NULL);
}

static void *record_main(void *arg)
{
	struct vmm *vmm = arg;
	int err = 0;

	while (!err && !atomic_load(&vmm->record->stop)) {
		sleep_ms(INTERVAL_MS);
		err = look(vmm);
	}
	if (err) {
		errno = -err;
		vmm_fail(vmm, "--record-order: cannot tell what the guest touches (/proc/self/pagemap): %m");
		vmm_end(vmm, VMM_DIED);
	}
	return NULL;
}

/* Rather now than when all is done. */
int record_check(struct vmm *vmm, const char *path)
{
	struct new_file file;
	int err = new_file_open(&file, path, true);

	if (!err)
		new_file_abort(&file);
	return err ? vmm_fail(vmm, "--record-order %s: %s", path, new_file_error(err)) : 0;
}

/* memory_watch() has been called. */
int record_start(struct vmm *vmm)
{
	struct record *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return vmm_fail(vmm, "out of memory");
	vmm->record = r;
	r->seen = calloc(vmm->mem.size / PAGE_SIZE, 1);
	r->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (!r->seen)
		return vmm_fail(vmm, "out of memory");
	if (r->pagemap < 0)
		return vmm_fail(vmm, "--record-order: /proc/self/pagemap: %m");
	err = vmm_start_thread(vmm, &r->thread, record_main);
	r->runs = !err;
	return err;
}

static void stop(struct record *r)
{
	atomic_store(&r->stop, true);
	if (r->runs)
		pthread_join(r->thread, NULL);
	r->runs = false;
}

static int write_file(struct vmm *vmm, const char *path)
{
	struct record *r = vmm->record;
	struct new_file file;
	int err = new_file_open(&file, path, true);
	size_t failed;

	if (err)
		return err;
	err = gmem_order_write(vmm->gmem, file.fd, r->ranges, r->n);
	if (!err)
		return new_file_commit(&file, 1, true, &failed);
	new_file_abort(&file);
	return err;
}

/* The guest has ended. */
int record_write(struct vmm *vmm, const char *path)
{
	int err;

	stop(vmm->record);
	err = look(vmm) ?: write_file(vmm, path);
	return err ? vmm_fail(vmm, "--record-order %s: %s", path, new_file_error(err)) : 0;
}

void record_destroy(struct vmm *vmm)
{
	struct record *r = vmm->record;

	if (!r)
		return;
	stop(r);
	if (r->pagemap >= 0)
		close(r->pagemap);
	free(r->seen);
	free(r->ranges);
	free(r);
	vmm->record = NULL;
}
