// SPDX-License-Identifier: GPL-2.0-only
/*
 * The source of a write() does as it likes: it goes away, it is somebody
 * else's, it never answers, it is memory of the strangest kinds.
 */
#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

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
	EXPECT_EQ(1234, pipe_queued(pipefd[0]));
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
		if (ret == -EINVAL && pipe_queued(s->pipe) < PAGE_BYTES) {
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
	EXPECT_EQ(PG(80), s[0].moved + s[1].moved + pipe_queued(pipefd[0]));
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

/* Memory that may be read or not: nothing else may happen. */
#define EXPECT_HARMLESS(mem, size)						\
	EXPECT_COUNT_OR(RET(pwrite(self->fd, mem, size, 0)), (size) / PAGE_BYTES, EFAULT)

TEST_F(file, vdso_and_vvar)
{
	const Elf64_Ehdr *vdso = (void *)getauxval(AT_SYSINFO_EHDR);
	unsigned long from, to;
	char line[256];
	FILE *maps;

	ASSERT_TRUE(!!vdso);
	EXPECT_EQ(PG(1), RET(pwrite(self->fd, vdso, PG(1), 0)));
	EXPECT_EQ(0, memcmp(self->mem, vdso, PG(1)));

	maps = fopen("/proc/self/maps", "r");
	ASSERT_TRUE(!!maps);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "[vv") && sscanf(line, "%lx-%lx", &from, &to) == 2)
			EXPECT_HARMLESS((void *)from, min(to - from, FILE_SIZE));
	fclose(maps);
	EXPECT_HARMLESS((void *)0xffffffffff600000ul, PG(1));
	EXPECT_USABLE(self->fd, self->mem);
}

TEST_NOTHING_IS_LEFT(0)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "hostile-source");
}
