// SPDX-License-Identifier: GPL-2.0-only
/*
 * The source of a write() does as it likes: it goes away, it is somebody
 * else's, it never answers, it is memory of the strangest kinds.
 */
#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include <liburing.h>
#include <linux/perf_event.h>

#include "common/fixture.h"
#include "common/uffd.h"

/*
 * A mapping that another thread changes all the time.  What is mapped there,
 * if anything, has the same bytes at all times.
 */
struct changing {
	u8 *mem;
	int memfd;
	volatile bool stop;
	u64 changes;
	void (*change)(struct changing *c, size_t page, size_t nr);
};

static void map_back(struct changing *c, size_t page, size_t nr)
{
	void *mem = mmap(c->mem + PG(page), PG(nr), PROT_READ, MAP_PRIVATE | MAP_FIXED,
			 c->memfd, PG(page));

	TEST_ASSERT(mem != MAP_FAILED, "mmap() failed, errno = %d", errno);
}

static void change_unmap(struct changing *c, size_t page, size_t nr)
{
	kvm_munmap(c->mem + PG(page), PG(nr));
	map_back(c, page, nr);
}

static void change_map_over(struct changing *c, size_t page, size_t nr)
{
	map_back(c, page, nr);
}

static void change_move(struct changing *c, size_t page, size_t nr)
{
	void *there = map_anon(PG(nr));

	mremap(c->mem + PG(page), PG(nr), PG(nr), MREMAP_MAYMOVE | MREMAP_FIXED, there);
	mremap(there, PG(nr), PG(nr), MREMAP_MAYMOVE | MREMAP_FIXED, c->mem + PG(page));
}

static void change_protect(struct changing *c, size_t page, size_t nr)
{
	mprotect(c->mem + PG(page), PG(nr), PROT_NONE);
	mprotect(c->mem + PG(page), PG(nr), PROT_READ);
}

static void change_zap(struct changing *c, size_t page, size_t nr)
{
	madvise(c->mem + PG(page), PG(nr), MADV_DONTNEED);
}

static void change_size(struct changing *c, size_t page, size_t nr)
{
	TEST_ASSERT(!ftruncate(c->memfd, PG(page)), "ftruncate() failed, errno = %d", errno);
	TEST_ASSERT(!ftruncate(c->memfd, FILE_SIZE), "ftruncate() failed, errno = %d", errno);
}

static void *keep_changing(void *arg)
{
	struct kvm_random_state rng = new_kvm_random_state(1);
	struct changing *c = arg;

	while (!c->stop) {
		size_t page = kvm_random_u32(&rng) % NR_PAGES;
		size_t nr = 1 + kvm_random_u32(&rng) % (NR_PAGES - page);

		c->change(c, page, nr);
		WRITE_ONCE(c->changes, c->changes + 1);
	}
	return NULL;
}

FIXTURE(changing) {
	FIXTURE_DATA(file) f;
};

FIXTURE_VARIANT(changing) {
	void (*change)(struct changing *c, size_t page, size_t nr);
	/* Neither a torn copy nor zeros are KVM's fault. */
	bool loses_data;
};

FIXTURE_VARIANT_ADD(changing, unmapped) { .change = change_unmap };
FIXTURE_VARIANT_ADD(changing, mapped_over) { .change = change_map_over };
FIXTURE_VARIANT_ADD(changing, moved) { .change = change_move };
FIXTURE_VARIANT_ADD(changing, protected) { .change = change_protect };
FIXTURE_VARIANT_ADD(changing, zapped) { .change = change_zap };
FIXTURE_VARIANT_ADD(changing, truncated) { .change = change_size, .loses_data = true };

FIXTURE_SETUP(changing)
{
	file_setup(_metadata, &self->f, NULL);
}

FIXTURE_TEARDOWN_PARENT(changing)
{
	file_teardown(_metadata, &self->f, NULL);
}

/* Each write is as long as it says, and no page is of two minds. */
TEST_F(changing, while_written)
{
	const FIXTURE_DATA(file) *file = &self->f;
	struct changing c = {
		.memfd = create_memfd(file->src, FILE_SIZE),
		.change = variant->change,
	};
	const u64 end = now_ms() + 500;
	u64 full = 0, partial = 0, failed = 0, n, from;
	pthread_t thread;
	long ret;

	c.mem = kvm_mmap(FILE_SIZE, PROT_READ, variant->loses_data ? MAP_SHARED : MAP_PRIVATE,
			 c.memfd);
	kvm_pthread_create(&thread, NULL, keep_changing, &c);

	for (n = 0; n < 6 || READ_ONCE(c.changes) < 10 || now_ms() < end; n++) {
		if (n % 2)
			ASSERT_EQ(0, punch(file->fd, 0, FILE_SIZE));
		from = n * 7 % NR_PAGES;
		ret = RET(pwrite(file->fd, c.mem + PG(from), FILE_SIZE - PG(from), PG(from)));
		EXPECT_COUNT_OR(ret, NR_PAGES - from, EFAULT);
		if (ret < 0)
			failed++;
		else if (ret < (long)(FILE_SIZE - PG(from)))
			partial++;
		else
			full++;

		if (variant->loses_data)
			EXPECT_KNOWN_WORDS(file->mem, NR_PAGES);
		else
			EXPECT_SOUND(file->mem, NR_PAGES);
		if (ret > 0 && !variant->loses_data)
			EXPECT_PAGES(file->mem, from, ret / PAGE_BYTES, 1, 1);
		if (n % 2) {
			const u64 written = from + max(ret, 0l) / PAGE_BYTES;

			EXPECT_ZERO(file->mem, 0, from);
			EXPECT_ZERO(file->mem, written, NR_PAGES - written);
		}
		ASSERT_EQ(KSFT_PASS, _metadata->exit_code)
			TH_LOG("write %lu, returned %ld", n, ret);
	}

	c.stop = true;
	kvm_pthread_join(thread, NULL);
	TH_LOG("%lu writes in full, %lu partial, %lu failed; %lu changes", full, partial, failed,
	       c.changes);
	EXPECT_USABLE(file->fd, file->mem);
}

static void *resolve_all(void *arg)
{
	/* { the userfaultfd, the memory, what it's to have } */
	void **args = arg;
	int uffd = (long)args[0];
	u8 *page;

	for (page = next_blocked(uffd); page; page = next_blocked(uffd)) {
		usleep(500);
		if (resolve_page(uffd, page, args[2] + (page - (u8 *)args[1])))
			break;
	}
	return NULL;
}

/* Each page only after a while. */
TEST_F(file, answered_late)
{
	const size_t nr = 100;
	u8 *src = map_anon(PG(nr));
	int uffd = block_pages(src, nr);
	void *args[] = { (void *)(long)uffd, src, self->src };
	pthread_t thread;

	kvm_pthread_create(&thread, NULL, resolve_all, args);
	EXPECT_EQ(PG(nr), RET(pwrite(self->fd, src, PG(nr), 0)));
	EXPECT_PAGES(self->mem, 0, nr, 1, 1);
	EXPECT_USABLE(self->fd, self->mem);
}

/* Whoever waits for an answer that never comes can still be killed. */
TEST_F(file, never_answered)
{
	const size_t blocked[] = { 0, 63, 64, 150 };
	int sock[2], uffd, status;
	u8 *src, *page;
	size_t i, bad;
	pid_t pid;

	for (i = 0; i < ARRAY_SIZE(blocked); i++) {
		bad = blocked[i];
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
		pid = fork_child();
		if (!pid) {
			src = map_anon(FILE_SIZE);
			memcpy(src, self->src, FILE_SIZE);
			send_fd(sock[1], block_pages(src + PG(bad), 1));
			pwrite(self->fd, src, FILE_SIZE, 0);
			_exit(0);
		}
		uffd = recv_fd(sock[0]);
		page = next_blocked(uffd);
		EXPECT_TRUE(!!page);
		/* Pages that nobody has seen are nobody's business. */
		EXPECT_SOUND(self->mem, NR_PAGES);
		EXPECT_ZERO(self->mem, bad, NR_PAGES - bad);

		ASSERT_EQ(0, kill(pid, SIGKILL));
		status = wait_for(pid);
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		EXPECT_SOUND(self->mem, NR_PAGES);
		EXPECT_ZERO(self->mem, bad, NR_PAGES - bad);
		EXPECT_USABLE(self->fd, self->mem);
		close(uffd);
		close(sock[0]);
		close(sock[1]);
	}
}

/* Without its userfaultfd memory is as ever. */
TEST_F(file, userfaultfd_closed)
{
	const size_t bad = 70;
	u8 *src = map_anon(FILE_SIZE);
	struct writing w = { .fd = self->fd, .src = src, .len = FILE_SIZE };
	int uffd;

	memcpy(src, self->src, FILE_SIZE);
	uffd = block_pages(src + PG(bad), 1);
	start_writing(&w);
	EXPECT_TRUE(!!next_blocked(uffd));
	close(uffd);
	kvm_pthread_join(w.thread, NULL);

	EXPECT_EQ(FILE_SIZE, w.ret);
	EXPECT_PAGES(self->mem, 0, bad, 1, 1);
	EXPECT_ZERO(self->mem, bad, 1);
	EXPECT_PAGES(self->mem, bad + 1, NR_PAGES - bad - 1, 1, 1);
	EXPECT_USABLE(self->fd, self->mem);
}

/* The answer is that there is none. */
TEST_F(file, answered_by_poison)
{
	const size_t bad = 70;
	u8 *src = map_anon(FILE_SIZE);
	struct writing w = { .fd = self->fd, .src = src, .len = FILE_SIZE };
	struct uffdio_poison poison = {
		.range = { .start = (unsigned long)src + PG(bad), .len = PAGE_BYTES },
	};
	int uffd;

	memcpy(src, self->src, FILE_SIZE);
	uffd = block_pages(src + PG(bad), 1);
	start_writing(&w);
	EXPECT_TRUE(!!next_blocked(uffd));
	EXPECT_EQ(0, RET(ioctl(uffd, UFFDIO_POISON, &poison)));
	kvm_pthread_join(w.thread, NULL);

	EXPECT_EQ(PG(bad), w.ret);
	EXPECT_PAGES(self->mem, 0, bad, 1, 1);
	EXPECT_ZERO(self->mem, bad, NR_PAGES - bad);
	EXPECT_EQ(-EFAULT, RET(pwrite(self->fd, src + PG(bad), PG(2), PG(bad))));
	EXPECT_USABLE(self->fd, self->mem);
}

/* Everything that can be done to the file is done while the source blocks. */
TEST_F(file, changed_while_source_blocks)
{
	const size_t bad = 100;
	u8 *src = map_anon(FILE_SIZE), *other = map_anon(FILE_SIZE);
	struct writing w = { .fd = self->fd, .src = src, .len = FILE_SIZE };
	int uffd, i;

	memcpy(src, self->src, FILE_SIZE);
	fill_pages(other, NR_PAGES, 0, 2, 2);
	uffd = block_pages(src + PG(bad), 1);
	start_writing(&w);
	EXPECT_TRUE(!!next_blocked(uffd));

	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
		EXPECT_EQ(0, preallocate(self->fd, PG(20), PG(100)));
		EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, other, FILE_SIZE, 0)));
		EXPECT_PAGES(self->mem, 0, NR_PAGES, 2, 2);
	}
	/* Nobody needs the VM to write. */
	kvm_vm_free(self->vm);

	EXPECT_EQ(0, resolve_page(uffd, src + PG(bad), self->src + PG(bad)));
	kvm_pthread_join(w.thread, NULL);
	EXPECT_EQ(FILE_SIZE, w.ret);
	EXPECT_SOUND(self->mem, NR_PAGES);
	EXPECT_PAGES(self->mem, bad, NR_PAGES - bad, 1, 1);
	EXPECT_USABLE(self->fd, self->mem);
}

/*
 * Pipes.
 */

struct feeder {
	int fd;
	const u8 *src;
	size_t len;
	size_t chunk;
	unsigned int pause_us;
};

static void *feed(void *arg)
{
	struct feeder *f = arg;
	size_t done, len;

	for (done = 0; done < f->len; done += len) {
		len = min(f->chunk, f->len - done);
		TEST_ASSERT_EQ(write(f->fd, f->src + done, len), (ssize_t)len);
		usleep(f->pause_us);
	}
	close(f->fd);
	return NULL;
}

static size_t queued(int fd)
{
	int bytes;

	TEST_ASSERT(!ioctl(fd, FIONREAD, &bytes), "FIONREAD failed, errno = %d", errno);
	return bytes;
}

/*
 * A writer that dribbles: splice() moves a page once there is one, complains
 * before, and leaves what is no page when the writer hangs up.
 */
TEST_F(file, pipe_fed_slowly)
{
	struct feeder f = {
		.src = self->src, .len = PG(40) + 1234, .chunk = 1000, .pause_us = 200,
	};
	u64 moved = 0, refused = 0;
	pthread_t thread;
	int pipefd[2];
	loff_t off = 0;
	long ret;

	ASSERT_EQ(0, pipe(pipefd));
	f.fd = pipefd[1];
	kvm_pthread_create(&thread, NULL, feed, &f);

	while (moved < PG(40)) {
		ret = RET(splice(pipefd[0], NULL, self->fd, &off, PG(8),
				 refused % 2 ? SPLICE_F_NONBLOCK : 0));
		if (ret == -EINVAL || ret == -EAGAIN) {
			EXPECT_EQ(moved, (u64)off);
			refused++;
			usleep(100);
			continue;
		}
		EXPECT_COUNT_OR(ret, 8, EINVAL);
		ASSERT_EQ(KSFT_PASS, _metadata->exit_code);
		moved += ret;
		EXPECT_EQ(moved, (u64)off);
	}
	kvm_pthread_join(thread, NULL);

	EXPECT_EQ(-EINVAL, RET(splice(pipefd[0], NULL, self->fd, &off, PG(8), 0)));
	EXPECT_EQ(1234, queued(pipefd[0]));
	EXPECT_LT(0, refused);
	EXPECT_PAGES(self->mem, 0, 40, 1, 1);
	EXPECT_EQ(PG(40), RET(lseek(self->fd, 0, SEEK_HOLE)));
	EXPECT_USABLE(self->fd, self->mem);
}

struct splicer {
	pthread_t thread;
	int pipe, fd;
	loff_t off;
	u64 moved;
	int odd_error;
};

static void *splice_all(void *arg)
{
	struct splicer *s = arg;
	long ret;

	for (;;) {
		ret = RET(splice(s->pipe, NULL, s->fd, &s->off, PG(5), 0));
		if (!ret)
			return NULL;
		if (ret > 0)
			s->moved += ret;
		else if (ret == -EINVAL)
			usleep(50);
		else
			s->odd_error = ret;
		/* What is left is not a page. */
		if (ret == -EINVAL && queued(s->pipe) < PAGE_BYTES) {
			struct pollfd p = { .fd = s->pipe };

			if (poll(&p, 1, 0) == 1 && p.revents & POLLHUP)
				return NULL;
		}
	}
}

/* Two take from the same pipe: what one got the other didn't. */
TEST_F(file, splicers_share_a_pipe)
{
	struct feeder f = { .src = self->src, .len = PG(80), .chunk = 3000 };
	struct splicer s[2];
	pthread_t thread;
	int pipefd[2], i;

	ASSERT_EQ(0, pipe(pipefd));
	f.fd = pipefd[1];
	for (i = 0; i < 2; i++) {
		s[i] = (struct splicer) { .pipe = pipefd[0], .fd = self->fd, .off = PG(i * 100) };
		kvm_pthread_create(&s[i].thread, NULL, splice_all, &s[i]);
	}
	kvm_pthread_create(&thread, NULL, feed, &f);
	kvm_pthread_join(thread, NULL);
	for (i = 0; i < 2; i++) {
		kvm_pthread_join(s[i].thread, NULL);
		EXPECT_EQ(0, s[i].odd_error);
		EXPECT_EQ(0, s[i].moved % PAGE_BYTES);
		EXPECT_EQ(s[i].moved, s[i].off - PG(i * 100));
		if (s[i].moved)
			EXPECT_EQ(PG(i * 100) + s[i].moved,
				  RET(lseek(self->fd, PG(i * 100), SEEK_HOLE)));
	}
	EXPECT_EQ(PG(80), s[0].moved + s[1].moved + queued(pipefd[0]));
	EXPECT_USABLE(self->fd, self->mem);
}

/* Pages that were lent to the pipe, or given away, change: the file's don't. */
TEST_F(file, vmspliced_pages_change)
{
	const unsigned int flags[] = { 0, SPLICE_F_GIFT };
	const size_t nr = 8;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		u8 *src = map_anon(PG(nr));
		struct iovec iov = { .iov_base = src, .iov_len = PG(nr) };
		int pipefd[2];
		loff_t off = 0;

		fill_pages(src, nr, 0, 3, 1);
		ASSERT_EQ(0, pipe(pipefd));
		ASSERT_EQ(PG(nr), RET(vmsplice(pipefd[1], &iov, 1, flags[i])));
		/* Not copied yet: it's the new bytes that count. */
		fill_pages(src, nr, 0, 3, 2);
		EXPECT_EQ(PG(nr), RET(splice(pipefd[0], NULL, self->fd, &off, PG(nr),
					     SPLICE_F_MOVE)));
		fill_pages(src, nr, 0, 3, 3);
		EXPECT_PAGES(self->mem, 0, nr, 3, 2);
		/* Nor the other way round. */
		self->mem[THREAD_WORD] = store_tag(0, 4, 1);
		EXPECT_NE(self->mem[THREAD_WORD], ((u64 *)src)[THREAD_WORD]);
		kvm_munmap(src, PG(nr));
		close(pipefd[0]);
		close(pipefd[1]);
	}
	EXPECT_USABLE(self->fd, self->mem);
}

/*
 * Memory of all kinds.
 */

/* Write from @mem, whose bytes don't change, and compare. */
#define EXPECT_READABLE(mem, size)	expect_readable(_metadata, self, __LINE__, mem, size)

static void expect_readable(struct __test_metadata *_metadata, FIXTURE_DATA(file) *self, int line,
			    const void *mem, size_t size)
{
	size_t i;

	EXPECT_EQ(size, RET(pwrite(self->fd, mem, size, 0)))
		TH_LOG("line %d", line);
	for (i = 0; i < size / sizeof(u64) && self->mem[i] == ((u64 *)mem)[i]; i++)
		;
	EXPECT_EQ(size / sizeof(u64), i)
		TH_LOG("line %d: this word differs", line);
}

/* Where memory may be read or not, but nothing else may happen. */
#define EXPECT_HARMLESS(mem, size)						\
	EXPECT_COUNT_OR(RET(pwrite(self->fd, mem, size, 0)), (size) / PAGE_BYTES, EFAULT)

TEST_F(file, vdso_and_vvar)
{
	const Elf64_Ehdr *vdso = (void *)getauxval(AT_SYSINFO_EHDR);
	unsigned long from, to;
	char line[256];
	FILE *maps;

	ASSERT_TRUE(!!vdso);
	EXPECT_READABLE(vdso, PG(1));

	maps = fopen("/proc/self/maps", "r");
	ASSERT_TRUE(!!maps);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "[vv") && sscanf(line, "%lx-%lx", &from, &to) == 2)
			EXPECT_HARMLESS((void *)from, min(to - from, FILE_SIZE));
	fclose(maps);
	EXPECT_HARMLESS((void *)0xffffffffff600000ul, PG(1));
	EXPECT_USABLE(self->fd, self->mem);
}

/* What KVM itself maps: struct kvm_run, the coalesced MMIO ring. */
TEST_F(file, kvm_run)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_create_with_one_vcpu(&vcpu, NULL);
	const int pages = kvm_check_cap(KVM_CAP_COALESCED_MMIO);
	const int kvm = open_kvm_dev_path_or_exit();
	const long size = RET(__kvm_ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL));

	EXPECT_READABLE(vcpu->run, size);
	if (pages)
		EXPECT_READABLE((void *)vcpu->run + PG(pages), PG(1));
	close(kvm);
	kvm_vm_free(vm);
	EXPECT_USABLE(self->fd, self->mem);
}

TEST_F(file, perf_ring)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,
	};
	int perf = syscall(__NR_perf_event_open, &attr, 0, -1, -1, 0);
	void *ring;

	if (perf < 0)
		SKIP(return, "no perf events, errno = %d", errno);
	ring = mmap(NULL, PG(9), PROT_READ | PROT_WRITE, MAP_SHARED, perf, 0);
	ASSERT_NE(MAP_FAILED, ring);
	EXPECT_EQ(PG(9), RET(pwrite(self->fd, ring, PG(9), 0)));
	EXPECT_USABLE(self->fd, self->mem);
}

TEST_F(file, io_uring_ring)
{
	struct io_uring ring;

	ASSERT_EQ(0, io_uring_queue_init(128, &ring, 0));
	EXPECT_READABLE(ring.sq.sqes, PG(2));
	EXPECT_EQ(PG(1), RET(pwrite(self->fd, ring.sq.ring_ptr, PG(1), 0)));
	io_uring_queue_exit(&ring);
	EXPECT_USABLE(self->fd, self->mem);
}

/* Real MMIO: a device's table of interrupt vectors. */
TEST_F(file, pci_resource)
{
	char path[] = "/sys/bus/pci/devices/0000:00:01.0/resource1";
	int fd = open(path, O_RDWR | O_SYNC);
	void *mmio;

	if (fd < 0)
		SKIP(return, "no %s", path);
	mmio = mmap(NULL, PG(1), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mmio == MAP_FAILED)
		SKIP(return, "%s cannot be mapped, errno = %d", path, errno);
	EXPECT_HARMLESS(mmio, PG(1));
	EXPECT_USABLE(self->fd, self->mem);
}

static void set_number(const char *path, long n)
{
	FILE *f = fopen(path, "w");

	TEST_ASSERT(f, "Cannot open %s, errno = %d", path, errno);
	fprintf(f, "%ld\n", n);
	TEST_ASSERT(!fclose(f), "Cannot write %ld to %s, errno = %d", n, path, errno);
}

TEST_F(file, hugetlb)
{
	const size_t huge = 2ul << 20;
	u8 *mem, *src;

	set_number("/proc/sys/vm/nr_hugepages", 4);
	mem = mmap(NULL, 2 * huge, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
	if (mem == MAP_FAILED) {
		set_number("/proc/sys/vm/nr_hugepages", 0);
		SKIP(return, "no huge pages");
	}
	/* Across both, page for page and not. */
	src = mem + huge - PG(100);
	fill_pages(src, NR_PAGES, 0, 5, 1);
	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, src, FILE_SIZE, 0)));
	EXPECT_PAGES(self->mem, 0, NR_PAGES, 5, 1);
	EXPECT_READABLE(src + 8, PG(150));

	/* And with the second gone. */
	EXPECT_EQ(0, munmap(mem + huge, huge));
	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	EXPECT_EQ(PG(100), RET(pwrite(self->fd, src, FILE_SIZE, 0)));
	EXPECT_PAGES(self->mem, 0, 100, 5, 1);
	EXPECT_ZERO(self->mem, 100, 100);
	munmap(mem, huge);
	set_number("/proc/sys/vm/nr_hugepages", 0);
	EXPECT_USABLE(self->fd, self->mem);
}

TEST_F(file, secretmem)
{
	int fd = syscall(__NR_memfd_secret, 0);
	struct iovec iov = { .iov_len = PG(1) };
	int pipefd[2];
	u8 *mem;

	if (fd < 0)
		SKIP(return, "no memfd_secret()");
	ASSERT_EQ(0, ftruncate(fd, PG(70)));
	mem = mmap(NULL, PG(70), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		SKIP(return, "memory of memfd_secret() cannot be mapped, errno = %d", errno);
	fill_pages(mem, 70, 0, 6, 1);
	EXPECT_EQ(PG(70), RET(pwrite(self->fd, mem, PG(70), 0)));
	EXPECT_PAGES(self->mem, 0, 70, 6, 1);

	/* It may be copied by its owner, nobody may have its pages. */
	iov.iov_base = mem;
	ASSERT_EQ(0, pipe(pipefd));
	EXPECT_EQ(-EFAULT, RET(vmsplice(pipefd[1], &iov, 1, 0)));
	EXPECT_USABLE(self->fd, self->mem);
}

TEST_F(file, devices)
{
	int zero = open("/dev/zero", O_RDWR);
	int disk = open("/dev/vda", O_RDONLY);
	u8 *mem;

	ASSERT_LE(0, zero);
	mem = kvm_mmap(FILE_SIZE, PROT_READ, MAP_PRIVATE, zero);
	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
	EXPECT_EQ(FILE_SIZE, RET(pwrite(self->fd, mem, FILE_SIZE, 0)));
	EXPECT_ZERO(self->mem, 0, NR_PAGES);

	if (disk < 0)
		SKIP(return, "no disk");
	mem = kvm_mmap(PG(20), PROT_READ, MAP_SHARED, disk);
	EXPECT_READABLE(mem, PG(16));
	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	EXPECT_EQ(PG(16), RET(sendfile(self->fd, disk, NULL, PG(16))));
	EXPECT_USABLE(self->fd, self->mem);
}

/* A huge page that is split under the copy. */
TEST_F(file, transparent_huge_page)
{
	const size_t huge = 2ul << 20;
	u8 *mem = (void *)(((unsigned long)map_anon(2 * huge) + huge - 1) & -huge);
	struct writing w = { .fd = self->fd, .src = mem, .len = FILE_SIZE };
	int i;

	for (i = 0; i < 8; i++) {
		madvise(mem, huge, MADV_HUGEPAGE);
		fill_pages(mem, NR_PAGES, 0, 7, i);
		madvise(mem, huge, MADV_COLLAPSE);
		start_writing(&w);
		madvise(mem + PG(NR_PAGES), PG(10), MADV_DONTNEED);
		mprotect(mem + PG(NR_PAGES), PG(10), PROT_READ);
		mprotect(mem + PG(NR_PAGES), PG(10), PROT_READ | PROT_WRITE);
		kvm_pthread_join(w.thread, NULL);
		EXPECT_EQ(FILE_SIZE, w.ret);
		EXPECT_PAGES(self->mem, 0, NR_PAGES, 7, i);
	}
	EXPECT_USABLE(self->fd, self->mem);
}

static long number_of(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = -1;

	if (f) {
		if (fscanf(f, "%ld", &n) != 1)
			n = -1;
		fclose(f);
	}
	return n;
}

/* Pages that the kernel has merged, and parts again. */
TEST_F(file, merged_pages)
{
	const u64 deadline = now_ms() + 8000;
	u8 *one = map_anon(PG(50)), *two = map_anon(PG(50));

	if (number_of("/sys/kernel/mm/ksm/run") < 0)
		SKIP(return, "no KSM");
	fill_pages(one, 50, 0, 8, 1);
	fill_pages(two, 50, 0, 8, 1);
	ASSERT_EQ(0, madvise(one, PG(50), MADV_MERGEABLE));
	ASSERT_EQ(0, madvise(two, PG(50), MADV_MERGEABLE));
	set_number("/sys/kernel/mm/ksm/sleep_millisecs", 1);
	set_number("/sys/kernel/mm/ksm/pages_to_scan", 1000);
	set_number("/sys/kernel/mm/ksm/run", 1);
	while (number_of("/sys/kernel/mm/ksm/pages_sharing") < 50 && now_ms() < deadline)
		usleep(1000);
	EXPECT_LE(50, number_of("/sys/kernel/mm/ksm/pages_sharing"));

	EXPECT_EQ(PG(50), RET(pwrite(self->fd, two, PG(50), 0)));
	EXPECT_PAGES(self->mem, 0, 50, 8, 1);
	fill_pages(one, 50, 0, 8, 2);
	EXPECT_EQ(PG(50), RET(pwrite(self->fd, one, PG(50), 0)));
	EXPECT_PAGES(self->mem, 0, 50, 8, 2);
	set_number("/sys/kernel/mm/ksm/run", 2);
	EXPECT_USABLE(self->fd, self->mem);
}

static void *write_for_a_while(void *arg)
{
	struct writing *w = arg;
	int i;

	for (i = 0; i < 20; i++)
		write_once(w);
	return NULL;
}

/* Two files, each the source of the other, and of itself. */
TEST_F(file, files_feed_each_other)
{
	int fd = vm_create_guest_memfd(self->vm, FILE_SIZE, WRITE_FLAGS);
	u64 *mem = map_file(fd, FILE_SIZE);
	struct writing w[] = {
		{ .fd = fd, .src = self->mem, .len = FILE_SIZE },
		{ .fd = self->fd, .src = mem, .len = FILE_SIZE },
		{ .fd = fd, .src = mem, .len = FILE_SIZE },
		{ .fd = self->fd, .src = self->mem, .len = FILE_SIZE },
	};
	size_t i;

	fill_pages(mem, NR_PAGES, 0, 9, 1);
	EXPECT_EQ(PG(100), RET(pwrite(self->fd, self->src, PG(100), 0)));
	for (i = 0; i < ARRAY_SIZE(w); i++)
		kvm_pthread_create(&w[i].thread, NULL, write_for_a_while, &w[i]);
	for (i = 0; i < 20; i++)
		punch(i % 2 ? fd : self->fd, PG(i), PG(3));
	for (i = 0; i < ARRAY_SIZE(w); i++) {
		kvm_pthread_join(w[i].thread, NULL);
		EXPECT_EQ(FILE_SIZE, w[i].ret);
	}
	EXPECT_KNOWN_WORDS(self->mem, NR_PAGES);
	EXPECT_KNOWN_WORDS(mem, NR_PAGES);
	EXPECT_USABLE(self->fd, self->mem);
	EXPECT_USABLE(fd, mem);
}

TEST_NOTHING_IS_LEFT(0)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "hostile-source");
}
