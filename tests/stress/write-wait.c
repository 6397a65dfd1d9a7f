// SPDX-License-Identifier: GPL-2.0-only
/*
 * While others have what is wanted: what waits can be killed, and what waits without a
 * limit holds no memory that nobody is charged for.
 */
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "kselftest.h"
#include "cgroup_util.h"
#include "common/fixture.h"
#include "common/uffd.h"

/* What /proc/PID/NAME says. */
static void read_proc(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY);
	len = read(fd, text, size - 1);
	text[max(len, 0l)] = 0;
	close(fd);
}

/* What comes after the name of the program in /proc/PID/stat. */
static const char *process_stat(pid_t pid)
{
	static char text[512];

	read_proc(pid, "stat", text, sizeof(text));
	return strrchr(text, ')') ? strrchr(text, ')') + 2 : "";
}

/* Wait until it sleeps in that system call, and no signal but SIGKILL, if any, will wake it. */
static bool is_stuck_in(pid_t pid, long nr)
{
	const u64 deadline = now_ms() + 20000;
	char text[256];

	do {
		usleep(1000);
		read_proc(pid, "syscall", text, sizeof(text));
	} while ((atol(text) != nr || *process_stat(pid) != 'D') && now_ms() < deadline);
	return now_ms() < deadline;
}

/*
 * fallocate() has the invalidate lock, and the kernel has it wait again and again as its
 * group is above memory.high.  A hole waits for fallocate() to be done, and a write waits
 * behind the hole.  Whoever writes can be killed all the same, long before that.
 */
TEST_F(file, killed_behind_the_invalidate_lock)
{
	const size_t size = 16ul << 20;
	const int fd = create_file_of_pages(self->vm, size);
	pid_t slow, hole, writer;
	struct memcg poor;
	int status;

	ASSERT_EQ(0, memcg_create(&poor, &program_cg, "poor"));
	ASSERT_EQ(0, cg_write(poor.path, "memory.high", "4096"));
	slow = fork_child();
	if (!slow)
		_exit(memcg_enter(&poor) || fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size));
	ASSERT_TRUE(is_stuck_in(slow, SYS_fallocate));

	hole = fork_child();
	if (!hole)
		_exit(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PG(1)) != 0);
	ASSERT_TRUE(is_stuck_in(hole, SYS_fallocate));

	writer = fork_child();
	if (!writer)
		_exit(pwrite(fd, self->src, PG(1), 0) != PAGE_BYTES);
	ASSERT_TRUE(is_stuck_in(writer, SYS_pwrite64));

	kill(writer, SIGKILL);
	status = wait_for(writer);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		TH_LOG("status 0x%x", status);
	/* The others are where they were: nothing else has set the writer free. */
	EXPECT_EQ(0, waitpid(hole, &status, WNOHANG));
	EXPECT_EQ(0, waitpid(slow, &status, WNOHANG));

	kill(slow, SIGKILL);
	wait_for(slow);
	EXPECT_EQ(0, wait_for(hole));
	EXPECT_EQ(PG(1), RET(pwrite(fd, self->src, PG(1), 0)));
	close(fd);
	EXPECT_EQ(0, memcg_settle(&poor, SLACK));
	EXPECT_EQ(0, memcg_destroy(&poor));
}

static long microseconds(struct timeval tv)
{
	return tv.tv_sec * 1000000l + tv.tv_usec;
}

static void *write_at_position(void *arg)
{
	struct writing *w = arg;

	w->ret = RET(write(w->fd, w->src, w->len));
	return NULL;
}

/*
 * A child looks for data, once a write at the file position lets go of that, by which
 * time it may have been killed.  Returns how long it has been busy, in microseconds.
 */
static long seek_in_child(int fd, u8 *src, bool killed)
{
	struct writing w = { .fd = fd, .src = src, .len = PG(1) };
	int uffd = block_pages(src, 1);
	struct rusage usage;
	int status;
	pid_t pid;

	TEST_ASSERT_EQ(lseek(fd, 0, SEEK_SET), 0);
	kvm_pthread_create(&w.thread, NULL, write_at_position, &w);
	TEST_ASSERT(next_blocked(uffd) == src, "The writer does not wait for its source");

	pid = fork_child();
	if (!pid)
		_exit(lseek(fd, PG(1), SEEK_DATA) != -1);
	TEST_ASSERT(is_stuck_in(pid, SYS_lseek), "lseek() does not wait for the writer");
	if (killed)
		kill(pid, SIGKILL);

	TEST_ASSERT_EQ(resolve_page(uffd, src, src + PG(1)), 0);
	kvm_pthread_join(w.thread, NULL);
	TEST_ASSERT_EQ(w.ret, (long)PG(1));
	close(uffd);
	TEST_ASSERT_EQ(wait4(pid, &status, 0, &usage), pid);
	return microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
}

#define SPARSE_SIZE	(256ul << 20)

/* Much memory that is allocated and has no data takes long to search, unless killed. */
TEST_F(file, killed_while_seeking)
{
	const int fd = create_file_of_pages(self->vm, SPARSE_SIZE);
	long whole = LONG_MAX, killed = LONG_MAX;
	u8 *src = map_anon(PG(2));
	int i;

	ASSERT_EQ(0, preallocate(fd, 0, SPARSE_SIZE));
	/* An emulated processor stands still now and then: take the best of some. */
	for (i = 0; i < 5; i++) {
		whole = min(whole, seek_in_child(fd, src, false));
		killed = min(killed, seek_in_child(fd, src, true));
	}
	EXPECT_LT(killed, whole / 2);
	TH_LOG("%ld us for all of it, %ld us when killed", whole, killed);
	close(fd);
}

#define NR_WRITERS	1000
#define NR_EACH		16

static pthread_barrier_t all_are_there;
static u8 *rest_of_source;

/* The second page of what is written is one that nobody serves. */
static void *write_pieces(void *arg)
{
	struct writing *w = arg;
	const struct iovec iov[] = {
		{ rest_of_source, PG(1) },
		{ (void *)w->src, PG(1) },
		{ rest_of_source, w->len - PG(2) },
	};

	pthread_barrier_wait(&all_are_there);
	w->ret = RET(pwritev(w->fd, iov, ARRAY_SIZE(iov), w->off));
	return NULL;
}

/* What the processors have in lists of their own, for the next who allocates, in bytes. */
static long free_in_lists(void)
{
	FILE *f = fopen("/proc/zoneinfo", "r");
	long count, nr = 0;
	char line[128];

	TEST_ASSERT(f, "Cannot open /proc/zoneinfo, errno = %d", errno);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " count: %ld", &count) == 1)
			nr += count;
	fclose(f);
	return PG(nr);
}

/* What is neither free, in whatever list, nor charged to the group, less all memory, in bytes. */
static long uncharged(const char *group)
{
	return -meminfo("MemFree") - free_in_lists() - cg_read_long(group, "memory.current");
}

/*
 * Many threads wait for a source that is never there, behind a page that is: enough of a
 * beginning for a large folio.  None has memory beyond what it is charged for.
 */
TEST_F(file, waits_without_memory)
{
	const int fd = vm_create_guest_memfd(self->vm, PG(NR_EACH) * NR_WRITERS, WRITE_FLAGS);
	static struct writing w[NR_WRITERS];
	u8 *src = map_anon(PG(NR_WRITERS));
	long before, held, data;
	size_t i;
	int uffd;

	/* Else the first fault would allocate the huge page of zeros. */
	kvm_madvise(src, PG(NR_WRITERS), MADV_NOHUGEPAGE);
	uffd = block_pages(src, NR_WRITERS);
	rest_of_source = self->src;
	pthread_barrier_init(&all_are_there, NULL, NR_WRITERS + 1);
	for (i = 0; i < NR_WRITERS; i++) {
		w[i] = (struct writing) {
			.fd = fd,
			.src = src + PG(i),
			.len = PG(NR_EACH),
			.off = PG(NR_EACH) * i,
		};
		kvm_pthread_create(&w[i].thread, NULL, write_pieces, &w[i]);
	}
	before = uncharged(self->cg.path);
	pthread_barrier_wait(&all_are_there);
	for (i = 0; i < NR_WRITERS; i++)
		ASSERT_NE(NULL, next_blocked(uffd));
	held = uncharged(self->cg.path) - before;
	/* Not a page each: a part of that is what others of the machine do meanwhile. */
	EXPECT_GT((long)PG(NR_WRITERS) / 2, held);
	TH_LOG("%ld KiB are held that nobody is charged for", held / 1024);
	/* Of each piece no more is there than what comes before that page. */
	for (i = 0; i < NR_WRITERS; i++) {
		data = RET(lseek(fd, w[i].off + PG(1), SEEK_DATA));
		EXPECT_TRUE(data == -ENXIO || data == (long)(w[i].off + PG(NR_EACH)));
	}

	/* Memory without a userfaultfd is as ever: zeros. */
	close(uffd);
	for (i = 0; i < NR_WRITERS; i++) {
		kvm_pthread_join(w[i].thread, NULL);
		EXPECT_EQ(PG(NR_EACH), w[i].ret);
	}
	close(fd);
}

TEST_NOTHING_IS_LEFT(0)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "write-wait");
}
