// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Contexts, options, probing, descriptors, order files. */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static long page;

static int demand(struct gmem_context *g, int fd, int source, uint64_t length, uint64_t granule)
{
	struct gmem_demand *demand;

	return gmem_demand_new(g, fd, source, length, granule, NULL, NULL, &demand);
}

/* It fails with a message that has that in it; and what succeeds then has none. */
#define FAILS(call, err, text) \
	do { \
		assert_fails(g, call, err, text); \
		assert_ok(g, gmem_set_pad(g, false)); \
		assert_string_equal(gmem_error(g), ""); \
	} while (0)

static void test_failures(void **state)
{
	const struct gmem_range odd = { page + 1, page }, wraps = { UINT64_MAX - page + 1, 2 * page };
	struct gmem_context *g = begin();
	const int fd = make_target(MEMFD, page), file = make_file("x", 1), directory = open("/", O_RDONLY | O_CLOEXEC);
	struct gmem_range range;
	struct gmem_range *ranges;
	int ends[2];
	uint64_t n;
	size_t nr;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	FAILS(gmem_set_method(g, 99), -EINVAL, "method");
	FAILS(gmem_set_threads(g, 1025), -EINVAL, "1024");
	FAILS(gmem_set_chunk(g, 0), -EINVAL, "chunk");
	FAILS(gmem_set_chunk(g, page + 1), -EINVAL, "whole pages");
	FAILS(gmem_set_chunk(g, (size_t)2 << 30), -EINVAL, "1 GiB");
	FAILS(gmem_set_zero(g, 3), -EINVAL, "zeros");
	FAILS(gmem_set_order(g, &odd, 1), -EINVAL, "whole pages");
	FAILS(gmem_set_order(g, &wraps, 1), -EINVAL, "whole pages");

	FAILS(gmem_create(g, -1, 0, 0, 0), -EINVAL, "0 bytes");
	FAILS(gmem_create(g, -1, page + 1, 0, 0), -EINVAL, "whole pages");
	/* qemu-user knows no call of KVM's. */
	if (gmem_create(g, -1, page, 0, 0) != -ENOSYS) {
		FAILS(gmem_create(g, -1, page, 0, 0), -EBADF, "no VM");
		FAILS(gmem_create(g, fd, page, 0, 0), -ENOTTY, "no VM");
	}
	FAILS(gmem_examine(g, -1, &n), -EBADF, "descriptor -1");
	FAILS(gmem_examine(g, ends[0], &n), -EINVAL, "no guest_memfd");
	FAILS(gmem_next_populated(g, -1, 0, &range), -EBADF, "descriptor -1");
	FAILS(gmem_next_populated(g, fd, 0, &range), -ENXIO, "nothing");

	FAILS(gmem_populate_buffer(g, -1, 0, "", 0), -EBADF, "descriptor -1");
	FAILS(gmem_populate_buffer(g, ends[0], 0, "", 0), -EINVAL, "no guest_memfd");
	FAILS(gmem_populate_buffer(g, fd, 1, "", 0), -EINVAL, "page size");
	FAILS(gmem_populate_buffer(g, fd, 0, "x", 1), -EINVAL, "padding");
	FAILS(gmem_populate_buffer(g, fd, page, "", page), -ENOSPC, "do not fit");
	FAILS(gmem_populate_file(g, fd, 0, -1, 0, GMEM_ALL), -EBADF, "source");
	FAILS(gmem_populate_file(g, fd, 0, ends[0], 0, GMEM_ALL), -EINVAL, "neither a file");
	FAILS(gmem_populate_file(g, fd, 0, directory, 0, GMEM_ALL), -EINVAL, "neither a file");
	FAILS(gmem_populate_file(g, fd, 0, file, 0, page), -ENODATA, "too few");
	FAILS(gmem_populate_file(g, fd, 0, file, 0, GMEM_ALL), -EINVAL, "padding");
	FAILS(gmem_populate_layers(g, fd, 0, &file, 0), -EINVAL, "1 to 64");
	FAILS(gmem_populate_layers(g, fd, 0, &file, GMEM_MAX_LAYERS + 1), -EINVAL, "1 to 64");
	FAILS(gmem_populate_layers(g, fd, 0, &file, 1), -EINVAL, "whole pages");
	FAILS(gmem_populate_layers(g, fd, 0, &ends[0], 1), -EINVAL, "neither a file");
	FAILS(gmem_populate_stream(g, fd, 0, -1, GMEM_ALL), -EBADF, "source");
	FAILS(gmem_populate_stream(g, fd, 0, directory, GMEM_ALL), -EISDIR, "reading the source");
	if (built_with("zstd")) {
		FAILS(gmem_populate_zstd(g, fd, 0, -1, GMEM_ALL), -EBADF, "source");
		FAILS(gmem_populate_zstd(g, fd, 0, file, GMEM_ALL), -EBADMSG, "no zstd image");
		FAILS(gmem_populate_zstd(g, fd, 0, make_file(NULL, 0), GMEM_ALL), -ENODATA, "cut off");
		FAILS(gmem_zstd_size(g, -1, &n), -EBADF, "source");
		FAILS(gmem_zstd_size(g, ends[0], &n), -ENODATA, "neither a file");
		FAILS(gmem_zstd_size(g, file, &n), -ENODATA, "does not tell");
	} else {
		FAILS(gmem_populate_zstd(g, fd, 0, file, GMEM_ALL), -EOPNOTSUPP, "built without zstd");
		FAILS(gmem_zstd_size(g, file, &n), -EOPNOTSUPP, "built without zstd");
	}

	FAILS(demand(g, fd, file, page, 0), -EINVAL, "granule");
	FAILS(demand(g, fd, file, page, page + 1), -EINVAL, "granule");
	FAILS(demand(g, fd, file, page + 1, page), -EINVAL, "whole pages");
	FAILS(demand(g, fd, file, page, page), -ENODATA, "has 1 bytes");
	FAILS(demand(g, fd, ends[0], page, page), -ESPIPE, "no file");
	FAILS(demand(g, -1, fd, page, page), -EBADF, "descriptor -1");

	FAILS(gmem_order_read(g, -1, &ranges, &nr), -EBADF, "order file");
	FAILS(gmem_order_read(g, directory, &ranges, &nr), -EIO, "order file");
	FAILS(gmem_order_read(g, file, &ranges, &nr), -EINVAL, "line 1");
	FAILS(gmem_order_write(g, -1, NULL, 0), -EBADF, "order file");
	FAILS(gmem_order_write(g, ends[0], NULL, 0), -EBADF, "order file");

	gmem_cancel(g);
	FAILS(gmem_populate_buffer(g, fd, 0, "", 0), -ECANCELED, "cancelled");
	close(directory);
	close(ends[0]);
	close(ends[1]);
	end(g);
	gmem_context_free(NULL);
}

static void test_method_names(void **state)
{
	(void)state;
	assert_string_equal(gmem_method_name(GMEM_METHOD_AUTO), "auto");
	assert_string_equal(gmem_method_name(GMEM_METHOD_IO_URING), "io_uring");
	assert_null(gmem_method_name(GMEM_METHOD_IO_URING + 1));
}

static void test_probe(void **state)
{
	const struct gmem_feature *f, *write;
	struct gmem_context *g = begin();
	int vm = make_vm(), kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct gmem_probe *probe;
	uint64_t flags;
	size_t i;

	(void)state;
	assert_ok(g, gmem_probe(g, -1, &probe));
	for (i = 0; (f = gmem_probe_feature(probe, i)); i++) {
		assert_true(strlen(f->name) && strlen(f->about));
		assert_int_equal(f->supported, !strlen(f->why));
		assert_ptr_equal(gmem_probe_find(probe, f->name), f);
	}
	assert_true(i > 10);
	assert_null(gmem_probe_find(probe, "no such"));

	flags = gmem_probe_flags(probe);
	write = gmem_probe_find(probe, "GUEST_MEMFD_FLAG_WRITE");
	assert_int_equal(write->supported, !!(flags & GMEM_FLAG_WRITE));
	assert_int_equal(gmem_probe_find(probe, "/dev/kvm")->supported, kvm >= 0);
	gmem_probe_free(probe);
	if (kvm >= 0)
		close(kvm);

	if (vm >= 0) {
		assert_ok(g, gmem_probe(g, vm, &probe));
		assert_int_equal(gmem_probe_flags(probe), flags);
		gmem_probe_free(probe);
		close(vm);
	}
	end(g);
}

static void test_create(void **state)
{
	struct gmem_context *g = begin_by(*state);
	int vm = make_vm(), fd;
	uint64_t size = 0;

	assert_fails(g, gmem_create(g, vm, page, 1ULL << 63, 0), -EINVAL, "0x8000000000000000");

	fd = gmem_create(g, vm, 3 * page, GMEM_FLAG_MMAP, GMEM_FLAG_INIT_SHARED | 1ULL << 63);
	assert_ok(g, fd);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(gmem_examine(g, fd, &size) & ~GMEM_CAN_SEEK, GMEM_IS_GUEST_MEMFD | GMEM_CAN_MMAP);
	assert_int_equal(size, 3 * page);
	close(fd);

	/* Memory that can be neither written nor mapped is nothing that we can populate. */
	fd = gmem_create(g, vm, page, 0, 0);
	assert_ok(g, fd);
	assert_int_equal(gmem_examine(g, fd, &size) & (GMEM_CAN_MMAP | GMEM_CAN_WRITE), 0);
	assert_fails(g, gmem_populate_buffer(g, fd, 0, "", 0), -EOPNOTSUPP, "neither written nor mapped");
	close(fd);
	close(vm);
	end(g);
}

static void test_examine(void **state)
{
	struct gmem_context *g = begin();
	uint64_t size;

	(void)state;
	assert_int_equal(gmem_examine(g, make_target(MEMFD, page), &size), GMEM_CAN_WRITE | GMEM_CAN_MMAP | GMEM_CAN_SEEK);
	assert_int_equal(size, page);
	end(g);
}

static void test_populated(void **state)
{
	const struct param *p = *state;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(3 * page, 1);
	int fd = quirks.watched = make_target(p->kind, 64 * MIB);
	struct gmem_range range;

	gmem_cancel(g);
	assert_fails(g, gmem_next_populated(g, fd, 0, &range), -ECANCELED, "cancelled");
	assert_fails(g, gmem_next_populated(g, fd, 0, &range), -ENXIO, "nothing");

	assert_ok(g, gmem_populate_buffer(g, fd, 5 * page, bytes, 3 * page));
	assert_ok(g, gmem_populate_buffer(g, fd, 64 * MIB - page, bytes, page));
	assert_ok(g, gmem_next_populated(g, fd, 0, &range));
	assert_int_equal(range.offset, 5 * page);
	assert_int_equal(range.length, 3 * page);
	assert_ok(g, gmem_next_populated(g, fd, 6 * page, &range));
	assert_int_equal(range.offset, 6 * page);
	assert_int_equal(range.length, 2 * page);
	assert_ok(g, gmem_next_populated(g, fd, 8 * page, &range));
	assert_int_equal(range.offset, 64 * MIB - page);
	assert_int_equal(range.length, page);
	assert_int_equal(gmem_next_populated(g, fd, 64 * MIB, &range), -ENXIO);
	assert_int_equal(gmem_next_populated(g, fd, 65 * MIB, &range), -ENXIO);
	assert_int_equal(quirks.moves, 0);	/* another thread may write() from there on */
	end(g);
}

/* Pages of 2 MiB: each mapping has to end where they do. */
static void test_hugetlb(void **state)
{
	struct gmem_context *g = begin();
	char *bytes = make_bytes(3 * MIB, 1);
	struct gmem_range range;
	uint64_t size;
	void *map;
	int fd;

	(void)state;
	fd = memfd_create("gmem-test", MFD_CLOEXEC | MFD_HUGETLB | 21u << 26);
	map = fd < 0 || ftruncate(fd, 8 * MIB) ? MAP_FAILED :
	      mmap(NULL, 8 * MIB, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		close(fd);
		end(g);
		print_message("no huge pages\n");
		skip();
	}
	munmap(map, 8 * MIB);
	assert_int_equal(gmem_examine(g, fd, &size), GMEM_CAN_MMAP | GMEM_CAN_SEEK);
	assert_int_equal(size, 8 * MIB);
	gmem_set_verify(g, true);
	assert_ok(g, gmem_populate_buffer(g, fd, MIB, bytes, 3 * MIB));
	map = mmap(NULL, 8 * MIB, PROT_READ, MAP_SHARED, fd, 0);
	assert_memory_equal((char *)map + MIB, bytes, 3 * MIB);
	munmap(map, 8 * MIB);
	assert_ok(g, gmem_next_populated(g, fd, 0, &range));
	close(fd);
	end(g);
}

static void read_order(struct gmem_context *g, const char *text, int should, size_t n, const struct gmem_range *is)
{
	struct gmem_range *ranges = NULL;
	int fd = make_file(text, strlen(text)), err;
	size_t got = 99;

	err = gmem_order_read(g, fd, &ranges, &got);
	assert_int_equal(err, should);
	if (!err) {
		assert_int_equal(got, n);
		if (n)
			assert_memory_equal(ranges, is, n * sizeof(*is));
		free(ranges);
	}
	close(fd);
}

static void test_order_file(void **state)
{
	const struct gmem_range two[] = { { 0x8000, 0x2000 }, { 0, 0x1000 } };
	const struct gmem_range three[] = { { 0x8000, 0x1000 }, { 0x9000, 0x1000 }, { 0, 0x1000 } };
	struct gmem_context *g = begin();
	struct gmem_range *ranges;
	char text[256];
	int fd;
	size_t n;

	(void)state;
	read_order(g, "", 0, 0, NULL);
	read_order(g, "# nothing\n\n  \t\n", 0, 0, NULL);
	read_order(g, "0x8000 0x2000\n0 4096 # a comment\n", 0, 2, two);
	read_order(g, "0x8000 0x2000\n  0\t0x1000", 0, 2, two);
	read_order(g, "0X8000 08192\n00 04096\n", 0, 2, two);
	read_order(g, "0x8000 0x2000\n0\n", -EINVAL, 0, NULL);
	assert_non_null(strstr(gmem_error(g), "line 2"));
	read_order(g, "0 4096 x\n", -EINVAL, 0, NULL);
	read_order(g, "-4096 4096\n", -EINVAL, 0, NULL);
	read_order(g, "0 4097\n", -EINVAL, 0, NULL);
	read_order(g, "0 0\n", -EINVAL, 0, NULL);
	read_order(g, "0xfffffffffffff000 0x2000\n", -EINVAL, 0, NULL);
	read_order(g, "99999999999999999999 4096\n", -EINVAL, 0, NULL);

	/* What is no text, and has no lines: refused where that shows. */
	fd = make_file("0 4096\0 8192\n", 13);
	assert_fails(g, gmem_order_read(g, fd, &ranges, &n), -EINVAL, "line 1");
	close(fd);
	fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	assert_fails(g, gmem_order_read(g, fd, &ranges, &n), -EINVAL, "line 1");
	close(fd);
	memset(text, '0', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	text[sizeof(text) - 6] = ' ';
	memcpy(text + sizeof(text) - 5, "4096", 4);
	read_order(g, text, 0, 1, (const struct gmem_range[]) { { 0, 4096 } });
	fd = make_file(NULL, 0);
	dprintf(fd, "%s\n#%s%s\n0%s\n", text, text, text, text);
	lseek(fd, 0, SEEK_SET);
	assert_fails(g, gmem_order_read(g, fd, &ranges, &n), -EINVAL, "line 3");
	close(fd);

	/* What is written can be read, and neighbours have become one. */
	fd = make_file(NULL, 0);
	assert_ok(g, gmem_order_write(g, fd, three, 3));
	n = pread(fd, text, sizeof(text) - 1, 0);
	text[n] = '\0';
	read_order(g, text, 0, 2, two);
	end(g);
}

int main(void)
{
	enum kind kind;

	page = sysconf(_SC_PAGESIZE);
	add_test("failures", test_failures, MEMFD, GMEM_METHOD_AUTO);
	add_test("method names", test_method_names, MEMFD, GMEM_METHOD_AUTO);
	add_test("probe", test_probe, MEMFD, GMEM_METHOD_AUTO);
	add_test("create", test_create, GUEST_MEMFD, GMEM_METHOD_AUTO);
	add_test("examine", test_examine, MEMFD, GMEM_METHOD_AUTO);
	for (kind = 0; kind < NR_KINDS; kind++)
		add_test("populated", test_populated, kind, GMEM_METHOD_AUTO);
	add_test("huge pages", test_hugetlb, MEMFD, GMEM_METHOD_AUTO);
	add_test("order file", test_order_file, MEMFD, GMEM_METHOD_AUTO);
	return run_all("context");
}
