// SPDX-License-Identifier: GPL-2.0-only
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/kernel-page-flags.h>
#include <linux/sizes.h>

#include "cgroup_util.h"
#include "common.h"
#include "numaif.h"
#include "test_util.h"

void *map_anon(size_t size)
{
	return kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

u64 *map_file(int fd, size_t size)
{
	u8 *room = kvm_mmap(size + SZ_2M, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	u8 *mem = (u8 *)(((unsigned long)room + SZ_2M - 1) & -SZ_2M);

	/* Aligned as the file is, for what can be mapped by huge pages. */
	kvm_munmap(room, size + SZ_2M);
	mem = mmap(mem, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	TEST_ASSERT(mem != MAP_FAILED, "mmap() failed, errno = %d", errno);
	return (u64 *)mem;
}

int create_memfd(const void *buf, size_t len)
{
	int fd = memfd_create("source", MFD_CLOEXEC);

	TEST_ASSERT(fd >= 0, "memfd_create() failed, errno = %d", errno);
	TEST_ASSERT_EQ(pwrite(fd, buf, len, 0), (ssize_t)len);
	return fd;
}

void fill_pages(void *buf, size_t nr, u64 index, u64 who, u64 seq)
{
	size_t i;

	for (i = 0; i < nr; i++)
		fill_page(buf + PG(i), write_tag(index + i, who, seq));
}

void describe_page(char *buf, u64 index, struct page_view view)
{
	static const char * const names[] = {
		[PAGE_ZERO] = "zero", [PAGE_WHOLE] = "whole", [PAGE_TORN] = "torn",
		[PAGE_MISPLACED] = "another page's", [PAGE_STALE] = "stale memory",
		[PAGE_ALIEN] = "alien",
	};

	snprintf(buf, DESCRIPTION_LEN, "page %llu is %s: word 0 is 0x%016llx, word %u is 0x%016llx",
		 (unsigned long long)index, names[view.state], (unsigned long long)view.tag,
		 view.word, (unsigned long long)view.got);
}

static int fallocate_retrying(int fd, int mode, off_t off, size_t len)
{
	int ret;

	do {
		ret = RET(fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, off, len));
	} while (ret == -EINTR);
	return ret;
}

int punch(int fd, off_t off, size_t len)
{
	return fallocate_retrying(fd, FALLOC_FL_PUNCH_HOLE, off, len);
}

int preallocate(int fd, off_t off, size_t len)
{
	return fallocate_retrying(fd, 0, off, len);
}

void set_folio_order(int order)
{
	FILE *f = fopen("/sys/module/kvm/parameters/gmem_folio_order", "r+");

	TEST_ASSERT(f || errno == ENOENT, "No kvm.gmem_folio_order, errno = %d", errno);
	if (f) {
		fprintf(f, "%d", order);
		TEST_ASSERT(!fclose(f), "kvm.gmem_folio_order=%d: errno = %d", order, errno);
	}
}

int create_file_of_pages(struct kvm_vm *vm, size_t size)
{
	int fd;

	set_folio_order(0);
	fd = vm_create_guest_memfd(vm, size, WRITE_FLAGS);
	set_folio_order(9);
	return fd;
}

void send_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = {};
	struct iovec iov = { .iov_base = "", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	TEST_ASSERT(sendmsg(sock, &msg, 0) == 1, "sendmsg() failed, errno = %d", errno);
}

int recv_fd(int sock)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&msg))
		return -1;

	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

/* What @file says in the line that begins so. */
static long read_meminfo(const char *file, const char *what)
{
	FILE *f = fopen(file, "r");
	char line[128];
	long kib = -1;

	while (f && kib < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, what, strlen(what)))
			kib = atol(strchr(line, ':') + 1);
	TEST_ASSERT(kib >= 0, "%s does not say %s", file, what);
	fclose(f);
	return kib * 1024;
}

long meminfo(const char *what)
{
	return read_meminfo("/proc/meminfo", what);
}

long node_meminfo(int node, const char *what)
{
	char file[64], line[64];

	snprintf(file, sizeof(file), "/sys/devices/system/node/node%d/meminfo", node);
	snprintf(line, sizeof(line), "Node %d %s", node, what);
	return read_meminfo(file, line);
}

int node_of(void *page)
{
	int status;

	READ_ONCE(*(char *)page);
	kvm_move_pages(0, 1, &page, NULL, &status, 0);
	return status;
}

int run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

size_t pipe_queued(int fd)
{
	int bytes;

	TEST_ASSERT(!ioctl(fd, FIONREAD, &bytes), "FIONREAD failed, errno = %d", errno);
	return bytes;
}

u64 page_frame(const void *page)
{
	const int fd = open("/proc/self/pagemap", O_RDONLY);
	u64 entry = 0;

	if (pread(fd, &entry, sizeof(entry), (u64)page / PAGE_BYTES * sizeof(entry)) < 0)
		entry = 0;
	close(fd);
	return entry & ((1ull << 55) - 1);
}

u64 frame_flags(u64 pfn)
{
	const int fd = open("/proc/kpageflags", O_RDONLY);
	u64 flags;

	TEST_ASSERT(pfn && pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) == sizeof(flags),
		    "No flags of frame %llu, errno = %d", (unsigned long long)pfn, errno);
	close(fd);
	return flags;
}

u64 page_flags(const void *page)
{
	READ_ONCE(*(const char *)page);
	return frame_flags(page_frame(page));
}

size_t folio_pages(const void *page)
{
	u64 pfn, nr = 1;

	if (!(page_flags(page) & (BIT_ULL(KPF_COMPOUND_HEAD) | BIT_ULL(KPF_COMPOUND_TAIL))))
		return 1;

	pfn = page_frame(page);
	while (frame_flags(pfn) & BIT_ULL(KPF_COMPOUND_TAIL))
		pfn--;
	while (frame_flags(pfn + nr) & BIT_ULL(KPF_COMPOUND_TAIL))
		nr++;
	return nr;
}

long write_knob(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	long ret = RET(fd < 0 ? -1 : write(fd, text, strlen(text)));

	if (fd >= 0)
		close(fd);
	return ret;
}

static void write_file(const char *path, const char *text)
{
	long ret = write_knob(path, text);

	if (ret < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(-ret));
}

int memcg_create(struct memcg *cg, struct memcg *parent, const char *name)
{
	char mount[sizeof(cg->path)];
	char *root = parent ? parent->path : mount;

	if (!parent) {
		if (cg_find_unified_root(mount, sizeof(mount), NULL))
			return -ENOENT;
		/* Don't log it each time that memcg_settle() does. */
		write_file("/proc/sys/vm/drop_caches", "4");
	}

	if (cg_read_strstr(root, "cgroup.controllers", "memory") ||
	    cg_write(root, "cgroup.subtree_control", "+memory"))
		return -ENOENT;

	if (snprintf(cg->path, sizeof(cg->path), "%s/%s.%d", root, name, getpid()) >=
	    (int)sizeof(cg->path))
		return -ENAMETOOLONG;
	return cg_create(cg->path) ? -errno : 0;
}

int memcg_enter(struct memcg *cg)
{
	return cg_enter_current(cg->path);
}

/* For whoever has to find out. */
static void memcg_print(struct memcg *cg)
{
	char text[4096], *line, *rest = text;

	if (cg_read(cg->path, "memory.stat", text, sizeof(text)))
		return;

	printf("# memory.current %ld\n", cg_read_long(cg->path, "memory.current"));
	while ((line = strsep(&rest, "\n")))
		if (*line && !strstr(line, " 0"))
			printf("# %s\n", line);
}

long memcg_settle(struct memcg *cg, long slack)
{
	const u64 deadline = now_ms() + 8000;
	long left;

	do {
		/*
		 * Processors hold on to pages which they are to put on the LRU
		 * lists, and charge in advance: have both back.
		 */
		write_file("/proc/sys/vm/drop_caches", "1");
		cg_write(cg->path, "memory.high", "0");
		left = cg_read_long(cg->path, "memory.current");
		if (left <= slack)
			return 0;

		left -= cg_read_key_long(cg->path, "memory.stat", "kernel ");
		if (!left)
			return 0;
		usleep(20000);
	} while (now_ms() < deadline);
	memcg_print(cg);
	return left;
}

int memcg_destroy(struct memcg *cg)
{
	return cg_destroy(cg->path);
}

struct memcg_events memcg_events(int fd)
{
	struct memcg_events e = { -1, -1 };
	char text[256] = "";

	pread(fd, text, sizeof(text) - 1, 0);
	sscanf(text, "low %*d high %*d max %ld oom %ld", &e.max, &e.oom);
	return e;
}

int refuse_oom_killer(void)
{
	FILE *f = fopen("/proc/self/oom_score_adj", "w");

	fprintf(f, "-1000");
	return fclose(f);
}

/*
 * A stack has the innermost function first: what is allocated for the slab, for the
 * debuggers' own records of stacks, or for a source that write() faulted in, isn't
 * the file's.  lab/leaks goes by the same rule.
 */
static bool is_not_the_files(const char *line)
{
	return strstr(line, "slab") || strstr(line, "kmem_cache") ||
	       strstr(line, "stack_depot") || strstr(line, "handle_mm_fault");
}

static long gmem_pages_owned(void)
{
	FILE *f = fopen("/sys/kernel/debug/page_owner_stacks/show_stacks", "r");
	enum { NOBODY, GMEM, OTHER } owner = NOBODY;
	long pages, total = 0;
	char line[512];

	if (!f)
		return -1;

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "nr_base_pages: %ld", &pages) == 1) {
			if (owner == GMEM)
				total += pages;
			owner = NOBODY;
		} else if (owner == NOBODY && strstr(line, "kvm_gmem_")) {
			owner = GMEM;
		} else if (owner == NOBODY && is_not_the_files(line)) {
			owner = OTHER;
		}
	}
	fclose(f);
	return total;
}

long gmem_pages_left(long few)
{
	const u64 deadline = now_ms() + 5000;
	long left;

	/* Each processor may still hold some that were to go to the LRU lists. */
	write_file("/proc/sys/vm/drop_caches", "1");
	while ((left = gmem_pages_owned()) > few && now_ms() < deadline)
		usleep(100000);
	return left;
}

struct watchdog {
	volatile u64 deadline;
	u64 allowed;
	char what[128];
};

static struct watchdog *dog;	/* shared */
static pid_t dog_pid;

void watchdog_start(unsigned int seconds)
{
	const pid_t watched = getpid();

	dog = kvm_mmap(sizeof(*dog), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	dog->allowed = seconds * 1000ull;
	watchdog_pat("starting");

	dog_pid = fork();
	TEST_ASSERT(dog_pid >= 0, "fork() failed, errno = %d", errno);
	if (dog_pid)
		return;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (now_ms() < dog->deadline)
		usleep(100000);

	printf("Bail out! No progress for %llu s: %s\n",
	       (unsigned long long)dog->allowed / 1000, dog->what);
	fflush(stdout);
	write_file("/proc/sysrq-trigger", "t");
	write_file("/proc/sysrq-trigger", "l");
	kill(watched, SIGKILL);
	_exit(1);
}

void watchdog_pat(const char *what)
{
	if (!dog)
		return;
	snprintf(dog->what, sizeof(dog->what), "%s", what);
	dog->deadline = now_ms() + dog->allowed;
}

void watchdog_stop(void)
{
	if (!dog)
		return;
	kill(dog_pid, SIGKILL);
	waitpid(dog_pid, NULL, 0);
	kvm_munmap(dog, sizeof(*dog));
	dog = NULL;
}
