// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whoever writes is killed, interrupted, or gone before its write is.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/time.h>

#include <liburing.h>

#include "common/fixture.h"
#include "common/uffd.h"

/* What a child does until it is killed: each of @seq makes another pattern. */
static void write_forever(int fd, u8 *buf)
{
	const int memfd = create_memfd(buf, FILE_SIZE);
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	off_t in_off;
	u32 seq;

	TEST_ASSERT(!io_uring_queue_init(4, &ring, 0), "io_uring_queue_init() failed");
	for (seq = 1; ; seq++) {
		fill_pages(buf, NR_PAGES, 0, 2, seq);
		pwrite(fd, buf, FILE_SIZE, 0);

		fill_pages(buf, NR_PAGES, 0, 3, seq);
		pwrite(memfd, buf, FILE_SIZE, 0);
		in_off = 0;
		lseek(fd, 0, SEEK_SET);
		sendfile(fd, memfd, &in_off, FILE_SIZE);

		fill_pages(buf, NR_PAGES, 0, 4, seq);
		io_uring_prep_write(io_uring_get_sqe(&ring), fd, buf, FILE_SIZE, 0);
		io_uring_submit(&ring);
		if (seq % 2 && !io_uring_wait_cqe(&ring, &cqe))
			io_uring_cqe_seen(&ring, cqe);
		if (!(seq % 2))
			break;	/* and die with a write in flight */
	}
	_exit(0);
}

/* At random instants, many times, two at once. */
TEST_F(file, killed_anywhere)
{
	struct kvm_random_state rng = new_kvm_random_state(1);
	const u64 end = now_ms() + 3000;
	pid_t pids[2];
	int round, i;

	for (round = 0; round < 6 || now_ms() < end; round++) {
		if (round % 2)
			ASSERT_EQ(0, punch(self->fd, 0, FILE_SIZE));
		for (i = 0; i < 2; i++) {
			pids[i] = fork_child();
			if (!pids[i])
				write_forever(self->fd, map_anon(FILE_SIZE));
		}
		usleep(kvm_random_u32(&rng) % 40000);
		for (i = 0; i < 2; i++)
			kill(pids[i], SIGKILL);
		for (i = 0; i < 2; i++)
			wait_for(pids[i]);
		EXPECT_SOUND(self->mem, NR_PAGES);
		ASSERT_EQ(KSFT_PASS, _metadata->exit_code)
			TH_LOG("round %d", round);
	}
	TH_LOG("%d times", round);
	EXPECT_USABLE(self->fd, self->mem);
}

#define LARGE_CHUNK	(4ul << 20)
#define LARGE_CHUNKS	96

/* A write of 384 MiB has no time to finish once it is killed. */
TEST_F(file, dies_at_once)
{
	const size_t size = LARGE_CHUNK * LARGE_CHUNKS;
	struct iovec iov[LARGE_CHUNKS];
	int fd, i, status, attempt;
	off_t populated = 0;
	u8 *chunk;
	pid_t pid;

	chunk = map_anon(LARGE_CHUNK);
	fill_pages(chunk, LARGE_CHUNK / PAGE_BYTES, 0, 5, 1);
	for (i = 0; i < LARGE_CHUNKS; i++)
		iov[i] = (struct iovec) { chunk, LARGE_CHUNK };

	/* Whoever kills may be late: that doesn't count. */
	for (attempt = 0; attempt < 5; attempt++) {
		fd = vm_create_guest_memfd(self->vm, size, WRITE_FLAGS);
		pid = fork_child();
		if (!pid)
			_exit(pwritev(fd, iov, LARGE_CHUNKS, 0) != (ssize_t)size);

		while (lseek(fd, 0, SEEK_HOLE) < (off_t)(size / 16))
			sched_yield();
		kill(pid, SIGKILL);
		status = wait_for(pid);
		populated = lseek(fd, 0, SEEK_HOLE);
		/* All of what is there is in one piece, from the start. */
		EXPECT_EQ(-ENXIO, RET(lseek(fd, populated, SEEK_DATA)));
		EXPECT_EQ(0, punch(fd, 0, size));
		close(fd);
		if (WIFSIGNALED(status) && populated < (off_t)(size * 7 / 8))
			break;
	}
	EXPECT_LT(populated, size * 7 / 8)
		TH_LOG("a write went on to the end in spite of SIGKILL");
}

static volatile int nr_signals;

static void count_signal(int sig)
{
	nr_signals++;
}

struct storm {
	pid_t pid;
	pthread_t target;
	volatile bool stop;
};

static void *send_signals(void *arg)
{
	struct storm *storm = arg;

	while (!storm->stop) {
		pthread_kill(storm->target, SIGUSR1);
		kill(storm->pid, SIGRTMIN);
		usleep(50);
	}
	return NULL;
}

/* Signals that don't kill never shorten a write, of whatever kind. */
TEST_F(file, storm_of_signals)
{
	const struct itimerval often = { .it_interval.tv_usec = 1000, .it_value.tv_usec = 1000 };
	const struct itimerval never = {};
	struct sigaction sa = { .sa_handler = count_signal };
	const int memfd = create_memfd(self->src, FILE_SIZE);
	struct storm storm = { .pid = getpid(), .target = pthread_self() };
	const u64 end = now_ms() + 500;
	pthread_t thread;
	off_t in_off;
	u64 n;

	ASSERT_EQ(0, sigaction(SIGALRM, &sa, NULL));
	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	ASSERT_EQ(0, sigaction(SIGRTMIN, &sa, NULL));
	kvm_pthread_create(&thread, NULL, send_signals, &storm);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));

	for (n = 0; now_ms() < end || nr_signals < 50; n++) {
		ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
		in_off = 0;
		ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
		/* sendfile() fills a pipe in between, and may be short: whole pages. */
		EXPECT_COUNT_OR(RET(sendfile(self->fd, memfd, &in_off, FILE_SIZE)), NR_PAGES,
				EINTR);
		EXPECT_EQ(in_off, lseek(self->fd, 0, SEEK_CUR));
		EXPECT_EQ(0, in_off % PAGE_BYTES);
		ASSERT_EQ(KSFT_PASS, _metadata->exit_code);
	}
	storm.stop = true;
	kvm_pthread_join(thread, NULL);
	setitimer(ITIMER_REAL, &never, NULL);
	TH_LOG("%lu writes, %d signals", n, nr_signals);
	EXPECT_PAGES(self->mem, 0, NR_PAGES, 1, 1);
	EXPECT_USABLE(self->fd, self->mem);
}

/*
 * io_uring.
 */

static void prepare_write(struct io_uring *ring, int fd, const void *src, size_t len, u64 data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_write(sqe, fd, src, len, 0);
	sqe->flags |= IOSQE_ASYNC;
	sqe->user_data = data;
}

/* The process goes away with a write in flight that nobody will ever answer. */
TEST_F(file, uring_exit_in_flight)
{
	int sock[2], uffd, status, round;
	struct io_uring ring;
	pid_t pid;
	u8 *src;

	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
		pid = fork_child();
		if (!pid) {
			src = map_anon(FILE_SIZE);
			memcpy(src, self->src, FILE_SIZE);
			uffd = block_pages(src + PG(100), 1);
			io_uring_queue_init(4, &ring, 0);
			prepare_write(&ring, self->fd, src, FILE_SIZE, 0);
			prepare_write(&ring, self->fd, self->src, FILE_SIZE, 1);
			io_uring_submit(&ring);
			send_fd(sock[1], uffd);
			if (round % 2)
				pause();
			next_blocked(uffd);
			_exit(0);
		}
		uffd = recv_fd(sock[0]);
		if (round % 2) {
			EXPECT_TRUE(!!next_blocked(uffd));
			kill(pid, SIGKILL);
		}
		status = wait_for(pid);
		EXPECT_EQ(round % 2, WIFSIGNALED(status));
		EXPECT_SOUND(self->mem, NR_PAGES);
		EXPECT_USABLE(self->fd, self->mem);
		close(uffd);
		close(sock[0]);
		close(sock[1]);
	}
}

TEST_NOTHING_IS_LEFT(0)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "hostile-death");
}
