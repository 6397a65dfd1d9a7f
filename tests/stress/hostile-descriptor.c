// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can be done with a descriptor by whoever gets hold of it, and what
 * becomes of a file whose memory has errors.
 */
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "common/fixture.h"
#include "common/offline.h"

#define NOBODY	65534

static void become_nobody(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		_exit(100);
}

/* From here on: write, and leave. */
static void only_write(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_pwrite64, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_exit_group, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_exit, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = ARRAY_SIZE(filter), .filter = filter };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		_exit(101);
}

/*
 * A helper that is to populate and not to see: nobody's process, which comes by
 * the descriptor through a socket.  Returns the line of what went wrong.
 */
#define CHECK(want, call)	do { if (RET(call) != (want)) return __LINE__; } while (0)

static int helper(int sock, u8 *src)
{
	const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_TRUNC, O_RDONLY | O_DIRECT };
	const int fd = recv_fd(sock);
	struct stat st;
	char path[64];
	u8 buf[16];
	size_t i;

	become_nobody();
	if (fd < 0)
		return __LINE__;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

	CHECK(FILE_SIZE, pwrite(fd, src, FILE_SIZE, 0));
	CHECK(0, fstat(fd, &st));
	if (st.st_size != FILE_SIZE)
		return __LINE__;

	/* Not read, in any way. */
	CHECK(-EINVAL, read(fd, buf, sizeof(buf)));
	CHECK(-EINVAL, pread(fd, buf, sizeof(buf), 0));
	CHECK(-EINVAL, sendfile(sock, fd, NULL, 16));
	if (mmap(NULL, PG(1), PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED || errno != ENODEV)
		return __LINE__;
	if (mmap(NULL, PG(1), PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED || errno != ENODEV)
		return __LINE__;

	/* Not opened again, with other rights, or executed. */
	for (i = 0; i < ARRAY_SIZE(modes); i++)
		if (open(path, modes[i]) >= 0)
			return __LINE__;
	if (syscall(__NR_execveat, fd, "", NULL, NULL, AT_EMPTY_PATH) != -1)
		return __LINE__;

	/* Nor changed in size or nature. */
	CHECK(-EINVAL, ftruncate(fd, 0));
	CHECK(-EINVAL, ftruncate(fd, 2 * FILE_SIZE));
	if (!truncate(path, 0) || !fchmod(fd, 0777) || !fchown(fd, NOBODY, NOBODY) ||
	    !fsetxattr(fd, "user.x", "x", 1, 0))
		return __LINE__;
	CHECK(-ENOTTY, ioctl(fd, KVM_CREATE_VCPU, 0));
	CHECK(0, fstat(fd, &st));
	if (st.st_size != FILE_SIZE)
		return __LINE__;

	only_write();
	return pwrite(fd, src, FILE_SIZE, 0) == FILE_SIZE ? 0 : __LINE__;
}

TEST_F(file, given_to_nobody)
{
	int fd = vm_create_guest_memfd(self->vm, FILE_SIZE,
				       GUEST_MEMFD_FLAG_INIT_SHARED | GUEST_MEMFD_FLAG_WRITE);
	int sock[2], status, result[2];
	int line = 0;
	pid_t pid;

	/* Before the descriptor is anywhere near. */
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	ASSERT_EQ(0, pipe(result));
	pid = fork_child();
	if (!pid) {
		close(fd);
		close(self->fd);
		close(self->vm->fd);
		kvm_munmap(self->mem, FILE_SIZE);
		line = helper(sock[1], self->src);
		/* If seccomp lets us, which is when something failed. */
		if (line)
			write(result[1], &line, sizeof(line));
		syscall(__NR_exit_group, !!line);
	}
	close(result[1]);
	send_fd(sock[0], fd);
	status = wait_for(pid);
	if (read(result[0], &line, sizeof(line)) < 0)
		line = -1;
	EXPECT_EQ(0, status)
		TH_LOG("line %d", line);
	EXPECT_EQ(FILE_SIZE, RET(lseek(fd, 0, SEEK_HOLE)));
	EXPECT_EQ(0, punch(fd, 0, FILE_SIZE));
	close(fd);
}

/* Copies between files that aren't the page cache's to make. */
TEST_F(file, copied_by_the_kernel)
{
	int memfd = create_memfd(self->src, FILE_SIZE);
	int other = vm_create_guest_memfd(self->vm, FILE_SIZE, WRITE_FLAGS);
	loff_t in, out;

	in = out = 0;
	EXPECT_EQ(-EXDEV, RET(copy_file_range(memfd, &in, self->fd, &out, FILE_SIZE, 0)));
	EXPECT_EQ(-EXDEV, RET(copy_file_range(self->fd, &in, memfd, &out, FILE_SIZE, 0)));
	EXPECT_EQ(-EINVAL, RET(copy_file_range(other, &in, self->fd, &out, FILE_SIZE, 0)));
	EXPECT_EQ(-EINVAL, RET(copy_file_range(self->fd, &in, self->fd, &out, PG(1), 0)));
	EXPECT_EQ(-EINVAL, RET(sendfile(self->fd, other, &in, PG(1))));
	EXPECT_GT(0, ioctl(self->fd, FICLONE, other));
	EXPECT_GT(0, ioctl(self->fd, FICLONE, memfd));
	EXPECT_EQ(0, in | out);
	EXPECT_EQ(-ENXIO, RET(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(-ENXIO, RET(lseek(other, 0, SEEK_DATA)));
	EXPECT_USABLE(self->fd, self->mem);
}

/*
 * Memory errors.
 */

/* The count of pages before it, and the error on it; a hole cures. */
TEST_F(file, page_with_error)
{
	const size_t bad[] = { 0, 63, 64, NR_PAGES - 1 };
	size_t i;
	int err;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		const u64 n = bad[i];

		ASSERT_EQ(FILE_SIZE, RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
		err = poison(self->mem + n * PAGE_WORDS);
		if (err == EINVAL || err == EPERM)
			SKIP(return, "no MADV_HWPOISON");
		fill_pages(self->src, NR_PAGES, 0, 2, i);

		EXPECT_EQ(n ? (long)PG(n) : -EHWPOISON,
			  RET(pwrite(self->fd, self->src, FILE_SIZE, 0)));
		EXPECT_PAGES(self->mem, 0, n, 2, i);
		EXPECT_EQ(-EHWPOISON, RET(pwrite(self->fd, self->src, PG(1), PG(n))));
		if (n + 1 < NR_PAGES) {
			EXPECT_PAGES(self->mem, n + 1, NR_PAGES - n - 1, 1, 1);
			EXPECT_EQ(PG(NR_PAGES - n - 1),
				  RET(pwrite(self->fd, self->src + PG(n + 1),
					     PG(NR_PAGES - n - 1), PG(n + 1))));
		}
		EXPECT_EQ(0, punch(self->fd, PG(n), PG(1)));
		EXPECT_EQ(PG(1), RET(pwrite(self->fd, self->src + PG(n), PG(1), PG(n))));
		EXPECT_PAGES(self->mem, 0, NR_PAGES, 2, i);
		fill_pages(self->src, NR_PAGES, 0, 1, 1);
	}
	EXPECT_USABLE(self->fd, self->mem);
}

static void *write_until_told(void *arg)
{
	struct writing *w = arg;

	while (!READ_ONCE(w->off)) {
		w->ret = RET(pwrite(w->fd, w->src, w->len, 0));
		if (w->ret != -EHWPOISON && (w->ret <= 0 || w->ret % PAGE_BYTES))
			break;
	}
	return NULL;
}

static void *punch_last_page_until_told(void *arg)
{
	struct writing *w = arg;

	while (!READ_ONCE(w->off))
		w->ret = punch(w->fd, FILE_SIZE - PG(1), PG(1));
	return NULL;
}

/*
 * A page with an error is locked by whoever looks for its users, which takes the
 * invalidate lock, shared, in that order.  With a hole that waits for its turn
 * before that, nobody may have the invalidate lock and wait for the page.
 */
TEST_F(file, errors_amid_holes)
{
	struct writing w[4];
	int i, err;

	for (i = 0; i < 4; i++) {
		w[i] = (struct writing) { .fd = self->fd, .src = self->src, .len = PG(1) };
		kvm_pthread_create(&w[i].thread, NULL, i % 2 ? punch_last_page_until_told :
				   write_until_told, &w[i]);
	}
	for (i = 0; i < 20; i++) {
		err = poison(self->mem);
		if (err == EINVAL || err == EPERM)
			break;
		EXPECT_EQ(0, punch(self->fd, 0, PG(1)));
	}
	for (i = 0; i < 4; i++) {
		WRITE_ONCE(w[i].off, 1);
		kvm_pthread_join(w[i].thread, NULL);
		if (i % 2) {
			EXPECT_EQ(0, w[i].ret);
		} else {
			EXPECT_COUNT_OR(w[i].ret, 1, EHWPOISON);
		}
	}
	EXPECT_EQ(0, punch(self->fd, 0, FILE_SIZE));
	EXPECT_USABLE(self->fd, self->mem);
}

TEST_NOTHING_IS_LEFT(meminfo("HardwareCorrupted") / PAGE_BYTES)

int main(int argc, char *argv[])
{
	return hostile_main(argc, argv, "hostile-descriptor");
}
