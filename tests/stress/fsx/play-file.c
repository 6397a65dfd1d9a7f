// SPDX-License-Identifier: GPL-2.0-only
/*
 * The virtual machine and the file: made, written, mapped, punched, looked at.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "play.h"

struct world world = { .kvm = -1, .vm = -1, .vcpu = -1, .fds = { -1, -1, -1 } };

void *anon_memory(size_t size, int prot)
{
	void *mem = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(mem == MAP_FAILED ? -1 : 0);
	return mem;
}

/* Neither has to be aligned, the number has to be a multiple of 4. */
void copy_words(void *to, const void *from, size_t nr_bytes)
{
	size_t i;

	for (i = 0; i + 8 <= nr_bytes; i += 8)
		__builtin_memcpy((char *)to + i, (const char *)from + i, 8);
	if (i < nr_bytes)
		__builtin_memcpy((char *)to + i, (const char *)from + i, 4);
}

static void make_source(void)
{
	uint64_t *word = anon_memory(SOURCE_SIZE + SOURCE_GUARD, PROT_NONE);
	size_t i;

	world.source = (void *)word;
	MUST(mprotect(word, SOURCE_SIZE, PROT_READ | PROT_WRITE));
	for (i = 0; i < SOURCE_SIZE / sizeof(*word); i++)
		word[i] = (i + 1) * 0x9e3779b97f4a7c15ull;

	/* The same for sendfile(). */
	world.in = MUST(memfd_create("source", 0));
	MUST(write(world.in, word, SOURCE_SIZE));
}

static void open_file(long flags, long pages)
{
	struct kvm_create_guest_memfd gmem = { .size = pages * PAGE, .flags = flags };

	world.fds[0] = MUST(ioctl(world.vm, KVM_CREATE_GUEST_MEMFD, &gmem));
	world.flags = flags;
	world.size = gmem.size;
	play_remap();
	play_stat(0);
}

static void close_file(void)
{
	int i;

	if (world.mem)
		MUST(munmap(world.mem, world.size));
	world.mem = NULL;

	for (i = 0; i < NR_FDS; i++)
		play_close(i);
}

/* A new machine and a new file. */
long play_new(long flags, long pages)
{
	if (!world.source)
		make_source();
	if (world.kvm < 0)
		world.kvm = MUST(open("/dev/kvm", O_RDWR));

	play_close_vm();
	close_file();
	world.vm = MUST(ioctl(world.kvm, KVM_CREATE_VM, 0));
	open_file(flags, pages);
	return 0;
}

/* A new file for the same machine. Its memslots stay with the old one. */
long play_new_file(long flags, long pages)
{
	close_file();
	open_file(flags, pages);
	return 0;
}

/* The file outlives it. */
long play_close_vm(void)
{
	if (world.vcpu >= 0) {
		MUST(munmap(world.run, ioctl(world.kvm, KVM_GET_VCPU_MMAP_SIZE, 0)));
		MUST(close(world.vcpu));
		world.vcpu = -1;
	}
	if (world.vm >= 0)
		MUST(close(world.vm));
	world.vm = -1;
	return 0;
}

long play_dup(long from, long to)
{
	play_close(to);
	world.fds[to] = MUST(dup(world.fds[from]));
	return 0;
}

long play_close(long fd)
{
	if (world.fds[fd] >= 0)
		MUST(close(world.fds[fd]));
	world.fds[fd] = -1;
	return 0;
}

static int any_fd(void)
{
	int i = 0;

	while (i < NR_FDS - 1 && world.fds[i] < 0)
		i++;

	return world.fds[i];
}

/* Map the file anew: no page table has any of its pages then. */
long play_remap(void)
{
	if (world.mem)
		MUST(munmap(world.mem, world.size));
	world.mem = NULL;
	if (!(world.flags & GUEST_MEMFD_FLAG_MMAP))
		return 0;

	world.mem = mmap(NULL, world.size, PROT_READ | PROT_WRITE, MAP_SHARED, any_fd(), 0);
	MUST(world.mem == MAP_FAILED ? -1 : 0);
	return 0;
}

/*
 * Cut @len bytes from @at on into segments.  What is between those, and whether
 * they have any length at all, comes from @cuts.
 */
int cut(struct iovec *iov, long at, long len, long segs, long cuts)
{
	unsigned long hash = cuts, gap = cuts % 3 ? 0 : cuts % 4096;
	long i, size;

	for (i = 0; i < segs; i++) {
		hash = (hash + i + 1) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 29;
		size = hash % 4 == 0 ? 0 : (hash >> 8) % (hash % 4 == 1 ? 700 : len + 1);
		if (size > len || i == segs - 1)
			size = len;

		iov[i].iov_len = size;
		iov[i].iov_base = size || hash % 8 ? world.source + at : NULL;
		at += size + gap;
		len -= size;
	}
	return segs;
}

long play_write(long fd, long at, long len)
{
	return RET(write(world.fds[fd], world.source + at, len));
}

long play_pwrite(long fd, long at, long len, long off)
{
	return RET(pwrite(world.fds[fd], world.source + at, len, off));
}

long play_writev(long fd, long at, long len, long segs, long cuts)
{
	struct iovec iov[MAX_SEGS];

	return RET(writev(world.fds[fd], iov, cut(iov, at, len, segs, cuts)));
}

long play_pwritev(long fd, long at, long len, long off, long segs, long cuts)
{
	struct iovec iov[MAX_SEGS];

	return RET(pwritev(world.fds[fd], iov, cut(iov, at, len, segs, cuts), off));
}

long play_pwritev2(long fd, long at, long len, long off, long segs, long cuts,
		   long flags)
{
	struct iovec iov[MAX_SEGS];

	return RET(pwritev2(world.fds[fd], iov, cut(iov, at, len, segs, cuts), off, flags));
}

long play_append(long fd, long at, long len)
{
	long ret;

	MUST(fcntl(world.fds[fd], F_SETFL, O_APPEND));
	ret = play_write(fd, at, len);
	MUST(fcntl(world.fds[fd], F_SETFL, 0));
	return ret;
}

/* The source is the mapping of the file itself. */
long play_pwrite_map(long fd, long from, long len, long off)
{
	return RET(pwrite(world.fds[fd], world.mem + from, len, off));
}

long play_store(long off, long at, long len)
{
	copy_words(world.mem + off, world.source + at, len);
	return 0;
}

long play_move(long to, long from, long len)
{
	static unsigned char buf[16 * PAGE];

	copy_words(buf, world.mem + from, len);
	copy_words(world.mem + to, buf, len);
	return 0;
}

static sigjmp_buf on_bus_error;

static void bus_error(int sig)
{
	siglongjmp(on_bus_error, sig);
}

long play_touch(long off)
{
	struct sigaction sa = { .sa_handler = bus_error }, old;
	volatile long ret = -EFAULT;

	MUST(sigaction(SIGBUS, &sa, &old));
	if (!sigsetjmp(on_bus_error, 1)) {
		*(volatile unsigned char *)(world.mem + off);
		ret = 0;
	}
	MUST(sigaction(SIGBUS, &old, NULL));
	return ret;
}

long play_madvise(long off, long len, long advice)
{
	return RET(madvise(world.mem + off, len, advice));
}

long play_fallocate(long fd, long off, long len)
{
	return RET(fallocate(world.fds[fd], FALLOC_FL_KEEP_SIZE, off, len));
}

long play_punch(long fd, long off, long len)
{
	return RET(fallocate(world.fds[fd], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len));
}

long play_seek(long fd, long off, long whence)
{
	return RET(lseek(world.fds[fd], off, whence));
}

static bool mtime_moved;

/*
 * The size. If there is time, let some pass, longer than any tick: to modify the
 * file is then seen by its times.
 */
long play_stat(long fd)
{
	const struct timespec tick = { .tv_nsec = 20 * 1000 * 1000 };
	static struct timespec last;
	struct stat st;

	if (world.patient)
		nanosleep(&tick, NULL);
	MUST(fstat(world.fds[fd], &st));
	mtime_moved = st.st_mtim.tv_sec != last.tv_sec || st.st_mtim.tv_nsec != last.tv_nsec;
	last = st.st_mtim;
	return st.st_size;
}

/* Between the last call of play_stat() and the one before. */
long play_mtime_moved(void)
{
	return mtime_moved;
}

long play_blocks(long fd)
{
	struct stat st;

	MUST(fstat(world.fds[fd], &st));
	return st.st_blocks;
}

long play_incore(long first, long nr, unsigned char *vec)
{
	return RET(mincore(world.mem + first * PAGE, nr * PAGE, vec));
}

/*
 * Whether a page that is data is dirty, as /proc/kpageflags says.  What cannot be found
 * out counts as dirty.
 */
long play_dirty(long page)
{
	static int pagemap = -1, kpageflags = -1;
	const unsigned char *at = world.mem + page * PAGE;
	uint64_t pfn = 0, flags = 0;

	if (pagemap < 0)
		pagemap = open("/proc/self/pagemap", O_RDONLY);
	if (kpageflags < 0)
		kpageflags = open("/proc/kpageflags", O_RDONLY);

	*(const volatile unsigned char *)at;
	if (pread(pagemap, &pfn, 8, (uintptr_t)at / PAGE * 8) != 8)
		return 1;
	pfn &= (1ull << 55) - 1;
	if (!pfn || pread(kpageflags, &flags, 8, pfn * 8) != 8)
		return 1;
	return flags >> 4 & 1;	/* KPF_DIRTY */
}

/* What no guest_memfd does, or not this one; and what does nothing. */
long play_refused(long fd, long what)
{
	static unsigned char buf[PAGE];
	off_t in = 0, out = 0;
	char name[32];
	void *mem;

	fd = world.fds[fd];
	switch (what) {
	case 0:
		return RET(read(fd, buf, sizeof(buf)));
	case 1:
		return RET(pread(fd, buf, sizeof(buf), 0));
	case 2:
		return RET(ftruncate(fd, 2 * world.size));
	case 3:
		snprintf(name, sizeof(name), "/proc/self/fd/%ld", fd);
		return RET(open(name, O_RDWR));
	case 4:
		mem = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
		return mem == MAP_FAILED ? -errno : 0;
	case 5:
		return RET(copy_file_range(world.in, &in, fd, &out, PAGE, 0));
	case 6:
		return RET(fallocate(fd, 0, 0, PAGE));
	case 7:
		return RET(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
	case 8:
		return RET(fsync(fd));
	case 9:
		return RET(fdatasync(fd));
	default:
		return RET(sendfile(world.in, fd, &in, PAGE));
	}
}
