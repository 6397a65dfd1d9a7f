// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
#include "helper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const kind_name[] = {
	[MEMFD] = "memfd",
	[GUEST_MEMFD] = "guest_memfd",
	[GUEST_MEMFD_MMAP] = "guest_memfd without WRITE",
};

/* What the test has, up to its end. Some make it in threads. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *memory[1024];
static int fds[8192], nr_memory, nr_fds;
static pid_t writers[64];
static int nr_writers;

static void *own_memory(void *mem)
{
	assert_non_null(mem);
	pthread_mutex_lock(&lock);
	assert_true(nr_memory < (int)(sizeof(memory) / sizeof(memory[0])));
	memory[nr_memory++] = mem;
	pthread_mutex_unlock(&lock);
	return mem;
}

static int own_fd(int fd)
{
	assert_true(fd >= 0);
	pthread_mutex_lock(&lock);
	assert_true(nr_fds < (int)(sizeof(fds) / sizeof(fds[0])));
	fds[nr_fds++] = fd;
	pthread_mutex_unlock(&lock);
	return fd;
}

int make_vm(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;

	if (kvm < 0)
		return -1;
	/* What io_uring left to do for this thread interrupts it. */
	do
		vm = ioctl(kvm, KVM_CREATE_VM, 0L);
	while (vm < 0 && errno == EINTR);
	close(kvm);
	return vm;
}

static uint64_t supported_flags(void)
{
	static int flags = -1;
	int vm = flags < 0 ? make_vm() : -1;

	if (vm >= 0) {
		flags = ioctl(vm, KVM_CHECK_EXTENSION, 244L);
		close(vm);
	}
	return flags < 0 ? 0 : flags;
}

/* NULL if this machine can make one, else why not. */
static const char *kind_lacks(enum kind kind)
{
	if (kind == MEMFD)
		return NULL;
	if (access("/dev/kvm", R_OK | W_OK))
		return "no /dev/kvm to be opened";
	if (!(supported_flags() & GMEM_FLAG_MMAP))
		return "this KVM has no guest_memfd that can be mapped";
	return NULL;
}

bool kind_writes(enum kind kind)
{
	return kind == MEMFD || (kind == GUEST_MEMFD && supported_flags() & GMEM_FLAG_WRITE);
}

static int make_guest_memfd(uint64_t size, uint64_t flags)
{
	int vm = make_vm(), fd;
	struct gmem_context *g;

	assert_int_equal(gmem_context_new(&g), 0);
	fd = gmem_create(g, vm, size, flags, 0);
	assert_ok(g, fd);
	gmem_context_free(g);
	close(vm);
	return own_fd(fd);
}

void skip_unless_no_overwrite(void)
{
	if (!(supported_flags() & GMEM_FLAG_NO_OVERWRITE)) {
		print_message("this kernel has no GUEST_MEMFD_FLAG_NO_OVERWRITE\n");
		skip();
	}
}

int make_no_overwrite(uint64_t size)
{
	return make_guest_memfd(size, GMEM_FLAG_MMAP | GMEM_FLAG_INIT_SHARED |
				      GMEM_FLAG_WRITE | GMEM_FLAG_NO_OVERWRITE);
}

int make_target(enum kind kind, uint64_t size)
{
	uint64_t flags = GMEM_FLAG_MMAP | GMEM_FLAG_INIT_SHARED;
	int fd;

	if (kind == MEMFD) {
		fd = own_fd(memfd_create("gmem-test", MFD_CLOEXEC));
		assert_int_equal(ftruncate(fd, size), 0);
		return fd;
	}
	if (kind == GUEST_MEMFD)
		flags |= supported_flags() & GMEM_FLAG_WRITE;
	return make_guest_memfd(size, flags);
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/*
 * Of files, also those that have no name; the allocator's and libraries come and go,
 * and so do TSan's, which reads the program when it finds what is to be suppressed.
 */
static int count_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int n = 0;

	while (fgets(line, sizeof(line), maps))
		n += (strchr(line, '/') || strstr(line, "anon_inode")) && !strstr(line, ".so") &&
		     !strstr(line, "tsan.") && !strstr(line, "/test-");
	fclose(maps);
	return n;
}

struct quirks quirks;

#define EXPORT	__attribute__((visibility("default")))	/* for libgmem */

EXPORT off_t lseek(int fd, off_t offset, int whence)
{
	struct stat st;

	if (quirks.liar && whence == SEEK_DATA && !fstat(fd, &st) && st.st_ino == quirks.liar) {
		errno = ENXIO;
		return -1;
	}
	if (fd == quirks.watched && whence != SEEK_CUR)
		quirks.moves++;
	return syscall(SYS_lseek, fd, offset, whence);
}

EXPORT ssize_t pread(int fd, void *to, size_t size, off_t offset)
{
	if (quirks.bad_from && offset + (off_t)size > quirks.bad_from) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, to, size, offset);
}

EXPORT ssize_t pwrite(int fd, const void *from, size_t size, off_t offset)
{
	ssize_t n = syscall(SYS_pwrite64, fd, from, size, offset);

	if (size && quirks.shrinks && fd == quirks.shrinks && ftruncate(fd, 0))
		abort();
	return n;
}

void reap(pid_t pid)
{
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int fds_before, mappings_before;

struct gmem_context *begin(void)
{
	struct gmem_context *g;

	quirks = (struct quirks) { 0 };
	nr_memory = nr_fds = nr_writers = 0;	/* of a test that failed: they stay */
	fds_before = count_fds();
	mappings_before = count_mappings();
	assert_int_equal(gmem_context_new(&g), 0);
	assert_ok(g, gmem_set_chunk(g, CHUNK));
	return g;
}

void end(struct gmem_context *g)
{
	gmem_context_free(g);
	while (nr_memory)
		free(memory[--nr_memory]);
	while (nr_fds)
		close(fds[--nr_fds]);
	while (nr_writers)
		reap(writers[--nr_writers]);
	assert_int_equal(count_fds(), fds_before);
	assert_int_equal(count_mappings(), mappings_before);
}

char *make_zeros(size_t size)
{
	return own_memory(calloc(1, size));
}

char *make_bytes(size_t size, unsigned int seed)
{
	char *bytes = own_memory(malloc(size + 1));	/* of 0 bytes, too */
	uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
	size_t i;

	for (i = 0; i < size; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		bytes[i] = state >> 32 | !(i % 512);
	}
	return bytes;
}

int make_file(const char *bytes, size_t size)
{
	int fd = own_fd(open(getenv("TMPDIR") ?: "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));

	assert_int_equal(ftruncate(fd, size), 0);
	if (bytes)
		assert_int_equal(pwrite(fd, bytes, size, 0), size);
	return fd;
}

void assert_target(int fd, uint64_t offset, const char *bytes, size_t size)
{
	long page = sysconf(_SC_PAGESIZE);
	size_t length = (size + page - 1) / page * page, i;
	char *map;

	if (!size)
		return;
	map = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, offset);
	assert_ptr_not_equal(map, MAP_FAILED);
	for (i = 0; i < size && map[i] == bytes[i]; i++)
		;
	if (i < size)
		fail_msg("byte %#zx of %#zx is %#x, should be %#x", i, size, map[i], bytes[i]);
	for (; i < length; i++)
		if (map[i])
			fail_msg("byte %#zx, behind the last of the source, is %#x", i, map[i]);
	munmap(map, length);
}

uint64_t populated_pages(struct gmem_context *g, int fd)
{
	struct gmem_range range = { 0, 0 };
	uint64_t sum = 0;
	int err;

	while (!(err = gmem_next_populated(g, fd, range.offset + range.length, &range)))
		sum += range.length;
	assert_int_equal(err, -ENXIO);
	return sum / sysconf(_SC_PAGESIZE);
}

int make_pipe(const char *bytes, size_t size, size_t piece)
{
	pid_t writer;
	int ends[2];
	ssize_t n;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	writer = fork();
	assert_true(writer >= 0 && nr_writers < (int)(sizeof(writers) / sizeof(writers[0])));
	if (!writer) {
		close(ends[0]);
		for (; size; bytes += n, size -= n) {
			n = write(ends[1], bytes, size < piece ? size : piece);
			if (n < 0)
				_exit(1);
		}
		_exit(0);
	}
	close(ends[1]);
	writers[nr_writers++] = writer;
	return own_fd(ends[0]);
}

bool built_with(const char *what)
{
	struct gmem_probe *probe;
	bool with;
	struct gmem_context *g;

	assert_int_equal(gmem_context_new(&g), 0);
	assert_ok(g, gmem_probe(g, -1, &probe));
	with = gmem_probe_find(probe, what)->supported;
	gmem_probe_free(probe);
	gmem_context_free(g);
	return with;
}

bool refuses(enum kind kind, enum gmem_method method)
{
	if (method == GMEM_METHOD_IO_URING && !built_with("io_uring"))
		return true;
	return (method == GMEM_METHOD_WRITE || method == GMEM_METHOD_SENDFILE) && !kind_writes(kind);
}

struct gmem_context *begin_by(const struct param *p)
{
	struct gmem_context *g = begin();

	assert_ok(g, gmem_set_method(g, p->method));
	return g;
}

/* skip() returns to cmocka: before the test has anything that it would have to free. */
static void run_or_skip(void **state)
{
	const struct param *p = *state;
	const char *why = kind_lacks(p->kind);

	if (why) {
		print_message("%s: %s\n", kind_name[p->kind], why);
		skip();
	}
	p->test(state);
}

#define MAX_TESTS	512

static struct CMUnitTest tests[MAX_TESTS];
static struct param params[MAX_TESTS];
static size_t nr_tests;

void add_test(const char *name, CMUnitTestFunction test, enum kind kind, enum gmem_method method)
{
	char *text;

	assert_true(nr_tests < MAX_TESTS);
	params[nr_tests] = (struct param) { kind, method, test };
	if (asprintf(&text, "%s: %s: %s", name, kind_name[kind], gmem_method_name(method)) < 0)
		abort();
	tests[nr_tests] = (struct CMUnitTest) { text, run_or_skip, NULL, NULL, &params[nr_tests] };
	nr_tests++;
}

int run_all(const char *program)
{
	int status = _cmocka_run_group_tests(program, tests, nr_tests, NULL, NULL);

	while (nr_tests)
		free((char *)tests[--nr_tests].name);
	return status;
}
