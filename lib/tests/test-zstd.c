// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* Populate from zstd images: of one frame and of many, whole and damaged. */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

static long page;

/* An image being made. */
struct image {
	char *bytes;
	size_t size;
};

static void add_bytes(struct image *image, const void *bytes, size_t size)
{
	image->bytes = realloc(image->bytes, image->size + size);
	assert_non_null(image->bytes);
	memcpy(image->bytes + image->size, bytes, size);
	image->size += size;
}

static int checksum = 1;

/* A frame, which tells its size or does not. */
static void add_frame(struct image *image, const char *bytes, size_t size, int tells)
{
	size_t room = ZSTD_compressBound(size), n;
	char *compressed = malloc(room);
	ZSTD_CCtx *zstd = ZSTD_createCCtx();

	ZSTD_CCtx_setParameter(zstd, ZSTD_c_contentSizeFlag, tells);
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, checksum);
	n = ZSTD_compress2(zstd, compressed, room, bytes, size);
	assert_false(ZSTD_isError(n));
	add_bytes(image, compressed, n);
	ZSTD_freeCCtx(zstd);
	free(compressed);
}

static void add_skippable(struct image *image)
{
	add_bytes(image, "\x52\x2a\x4d\x18\x05\0\0\0hello", 13);
}

static int image_file(struct image *image)
{
	int fd = make_file(image->bytes, image->size);

	free(image->bytes);
	*image = (struct image) { 0 };
	return fd;
}

/* Populate with the image and see that it is @size of @bytes. */
static void expect(const struct param *p, struct image *image, const char *bytes, size_t size,
		   unsigned int threads)
{
	struct image copy = { 0 };
	struct gmem_context *g = begin_by(p);
	int fd = make_target(p->kind, 2 * MIB), source;

	add_bytes(&copy, image->bytes, image->size);
	source = image_file(image);
	lseek(source, 3, SEEK_SET);	/* a file is read from its start */
	gmem_set_threads(g, 3);
	gmem_set_verify(g, true);
	assert_ok(g, gmem_populate_zstd(g, fd, page, source, GMEM_ALL));
	assert_int_equal(gmem_stats(g)->bytes, size);
	assert_int_equal(gmem_stats(g)->up_to, page + size);
	assert_int_equal(gmem_stats(g)->threads, threads);
	assert_target(fd, page, bytes, size);

	/* The same from a pipe. */
	gmem_set_verify(g, false);
	fd = make_target(p->kind, 2 * MIB);
	source = make_pipe(copy.bytes, copy.size, 1000);
	assert_ok(g, gmem_populate_zstd(g, fd, page, source, threads % 2 ? size : GMEM_ALL));
	assert_target(fd, page, bytes, size);
	end(g);
	free(copy.bytes);
}

static void test_frames(void **state)
{
	const struct param *p = *state;
	struct image image = { 0 };
	char *bytes = make_bytes(9 * CHUNK, 1);
	size_t i;

	memset(bytes + CHUNK, 0, 3 * CHUNK + page);	/* something to compress */
	memset(bytes + 6 * CHUNK, 'x', CHUNK);

	add_frame(&image, bytes, 9 * CHUNK, true);
	expect(p, &image, bytes, 9 * CHUNK, 1);

	add_frame(&image, bytes, 9 * CHUNK, false);
	expect(p, &image, bytes, 9 * CHUNK, 1);

	for (checksum = 0; checksum < 2; checksum++) {
		for (i = 0; i < 9; i++)
			add_frame(&image, bytes + i * CHUNK, CHUNK, true);
		expect(p, &image, bytes, 9 * CHUNK, 3);
	}
	checksum = 1;

	/* Frames of any size, and what is to be skipped between them. */
	add_skippable(&image);
	add_frame(&image, bytes, page, true);
	add_skippable(&image);
	add_frame(&image, bytes + page, 0, true);
	add_frame(&image, bytes + page, 9 * CHUNK - page, true);
	add_skippable(&image);
	expect(p, &image, bytes, 9 * CHUNK, 3);

	/* Not at page boundaries: in sequence. */
	add_frame(&image, bytes, page + 1, true);
	add_frame(&image, bytes + page + 1, 9 * CHUNK - page - 1, true);
	expect(p, &image, bytes, 9 * CHUNK, 1);

	add_frame(&image, bytes, page, true);
	add_frame(&image, bytes + page, 9 * CHUNK - page, false);
	expect(p, &image, bytes, 9 * CHUNK, 1);
	free(bytes);
}

static void test_size(void **state)
{
	struct gmem_context *g = begin();
	struct image image = { 0 };
	char *bytes = make_bytes(CHUNK, 1);
	uint64_t size;
	int fd;

	(void)state;
	add_frame(&image, bytes, CHUNK, true);
	add_skippable(&image);
	add_frame(&image, bytes, 55, true);
	fd = image_file(&image);
	assert_ok(g, gmem_zstd_size(g, fd, &size));
	assert_int_equal(size, CHUNK + 55);

	add_frame(&image, bytes, CHUNK, false);
	fd = image_file(&image);
	assert_fails(g, gmem_zstd_size(g, fd, &size), -ENODATA, "does not tell");

	/* A frame that goes on as a hole, which would be empty blocks without end. */
	add_bytes(&image, "\x28\xb5\x2f\xfd\x20\x05", 6);
	fd = image_file(&image);
	assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
	alarm(60);
	assert_fails(g, gmem_zstd_size(g, fd, &size), -ENODATA, "does not tell");
	alarm(0);

	fd = make_file(bytes, CHUNK);
	assert_fails(g, gmem_zstd_size(g, fd, &size), -ENODATA, "does not tell");
	end(g);
}

/* Cut off at any place, with one frame or many: an error, and no more than was there. */
static void test_cut_off(void **state)
{
	const struct param *p = *state;
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(5 * CHUNK, 1), *copy;
	size_t size, cut;
	int fd, source, many;

	memset(bytes + CHUNK, 0, CHUNK);
	for (many = 0; many < 2; many++) {
		struct image image = { 0 };

		if (!many)
			add_frame(&image, bytes, 5 * CHUNK, true);
		for (cut = 0; many && cut < 5; cut++)
			add_frame(&image, bytes + cut * CHUNK, CHUNK, true);
		size = image.size;
		copy = malloc(size);
		memcpy(copy, image.bytes, size);
		image_file(&image);
		for (cut = 0; cut < size; cut += size / 17 + 1) {
			fd = make_target(p->kind, MIB);
			source = make_file(copy, cut);
			/* At a frame's end nobody can tell. */
			if (gmem_populate_zstd(g, fd, 0, source, 5 * CHUNK) != -ENODATA)
				fail_msg("cut at %zu: %s", cut, gmem_error(g));
			assert_target(fd, 0, bytes, gmem_stats(g)->up_to);
		}
		free(copy);
	}
	end(g);
}

static void test_damaged(void **state)
{
	const struct param *p = *state;
	struct image image = { 0 };
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(8 * CHUNK + 1, 1), garbage;
	int source, err, i, fd = make_target(p->kind, MIB);

	memset(bytes, 'a', CHUNK);
	source = make_file(bytes, CHUNK);
	assert_fails(g, gmem_populate_zstd(g, fd, 0, source, GMEM_ALL), -EBADMSG, "no zstd image");

	/* A byte that is wrong, anywhere in frames with checksums. */
	for (i = 0; i < 8; i++)
		add_frame(&image, bytes + i * CHUNK, CHUNK - page + 1, true);
	for (i = 0; i < 30; i++) {
		size_t at = image.size / 31 * (i + 1);

		garbage = image.bytes[at];
		image.bytes[at] ^= 0x55;
		source = make_file(image.bytes, image.size);
		gmem_set_pad(g, true);
		err = gmem_populate_zstd(g, fd, 0, source, GMEM_ALL);
		if (err != -EBADMSG && err != -ENODATA && err != -ENOSPC)
			fail_msg("damaged at %zu: %d: %s", at, err, gmem_error(g));
		image.bytes[at] = garbage;
	}
	source = image_file(&image);
	assert_ok(g, gmem_populate_zstd(g, fd, 0, source, GMEM_ALL));

	/* A frame of nothing, whose checksum is wrong. */
	for (i = 0; i < 2; i++)
		add_frame(&image, bytes + i * CHUNK, CHUNK, true);
	add_frame(&image, bytes, 0, true);
	image.bytes[image.size - 1] ^= 1;
	source = image_file(&image);
	assert_fails(g, gmem_populate_zstd(g, fd, 0, source, GMEM_ALL), -EBADMSG, "damaged");

	/* Garbage behind the last frame. */
	add_frame(&image, bytes, CHUNK, true);
	add_bytes(&image, "garbage", 7);
	source = image_file(&image);
	assert_fails(g, gmem_populate_zstd(g, fd, 0, source, GMEM_ALL), -EBADMSG, "damaged");
	end(g);
}

static void test_too_large(void **state)
{
	const struct param *p = *state;
	struct image image = { 0 };
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(4 * CHUNK, 1);
	int fd, source, tells, frames, i;

	for (tells = 0; tells < 2; tells++) {
		for (frames = 1; frames <= 4; frames += 3) {
			for (i = 0; i < frames; i++)
				add_frame(&image, bytes + i * 4 * CHUNK / frames, 4 * CHUNK / frames, tells);
			source = image_file(&image);
			fd = make_target(p->kind, 3 * CHUNK + page);
			assert_int_equal(gmem_populate_zstd(g, fd, 0, source, GMEM_ALL), -ENOSPC);
			assert_target(fd, 0, bytes, gmem_stats(g)->up_to);

			/* As much as is asked for, and more than there is. */
			assert_ok(g, gmem_populate_zstd(g, fd, 0, source, 2 * CHUNK + page));
			assert_target(fd, 0, bytes, 2 * CHUNK + page);
			assert_int_equal(gmem_stats(g)->up_to, 2 * CHUNK + page);
			fd = make_target(p->kind, MIB);
			assert_fails(g, gmem_populate_zstd(g, fd, 0, source, 5 * CHUNK), -ENODATA, "short");
			assert_int_equal(gmem_stats(g)->up_to, 4 * CHUNK);
		}
	}
	end(g);
}

static void test_pad(void **state)
{
	const struct param *p = *state;
	size_t size = 3 * CHUNK + 17;
	struct image image = { 0 };
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(size, 1);
	int fd, source, frames;

	for (frames = 1; frames <= 2; frames++) {
		fd = make_target(p->kind, MIB);
		gmem_set_pad(g, false);
		if (frames == 2)
			add_frame(&image, bytes, CHUNK, true);
		add_frame(&image, bytes + (frames - 1) * CHUNK, size - (frames - 1) * CHUNK, true);
		source = image_file(&image);
		assert_fails(g, gmem_populate_zstd(g, fd, 0, source, GMEM_ALL), -EINVAL, "padding");
		gmem_set_pad(g, true);
		assert_ok(g, gmem_populate_zstd(g, fd, 0, source, GMEM_ALL));
		assert_target(fd, 0, bytes, size);
	}
	end(g);
}

/* Which frame comes first is seen by where a damaged one stops it. */
static void test_order(void **state)
{
	const struct gmem_range hot = { 7 * CHUNK + page, page };
	const struct param *p = *state;
	struct image image = { 0 };
	struct gmem_context *g = begin_by(p);
	char *bytes = make_bytes(8 * CHUNK, 1);
	int fd, source, i;

	for (i = 0; i < 8; i++)
		add_frame(&image, bytes + i * CHUNK, CHUNK, true);
	source = make_file(image.bytes, image.size);
	fd = make_target(p->kind, MIB);
	gmem_set_threads(g, 1);
	assert_ok(g, gmem_set_order(g, &hot, 1));
	assert_ok(g, gmem_populate_zstd(g, fd, 0, source, GMEM_ALL));
	assert_target(fd, 0, bytes, 8 * CHUNK);

	fd = make_target(p->kind, MIB);
	image.bytes[image.size - 100] ^= 1;	/* in the last */
	source = image_file(&image);
	assert_int_equal(gmem_populate_zstd(g, fd, 0, source, GMEM_ALL), -EBADMSG);
	assert_int_equal(gmem_stats(g)->up_to, 0);
	end(g);
}

static void test_methods(void **state)
{
	struct image image = { 0 };
	struct gmem_context *g = begin();
	int fd = make_target(MEMFD, MIB), source;

	(void)state;
	add_frame(&image, "x", 1, true);
	source = image_file(&image);
	assert_ok(g, gmem_set_method(g, GMEM_METHOD_SENDFILE));
	assert_fails(g, gmem_populate_zstd(g, fd, 0, source, GMEM_ALL), -EOPNOTSUPP, "decompressed");
	assert_ok(g, gmem_set_method(g, GMEM_METHOD_IO_URING));
	assert_fails(g, gmem_populate_zstd(g, fd, 0, source, GMEM_ALL), -EOPNOTSUPP, "decompressed");
	end(g);
}

int main(void)
{
	enum gmem_method method;
	enum kind kind;

	page = sysconf(_SC_PAGESIZE);
	add_test("size", test_size, MEMFD, GMEM_METHOD_AUTO);
	add_test("methods", test_methods, MEMFD, GMEM_METHOD_AUTO);
	for (kind = 0; kind < NR_KINDS; kind++) {
		for (method = GMEM_METHOD_AUTO; method <= GMEM_METHOD_MMAP; method++) {
			if (refuses(kind, method))
				continue;
			add_test("frames", test_frames, kind, method);
			add_test("cut off", test_cut_off, kind, method);
			add_test("damaged", test_damaged, kind, method);
			add_test("too large", test_too_large, kind, method);
			add_test("padding", test_pad, kind, method);
			add_test("order", test_order, kind, method);
		}
	}
	return run_all("zstd");
}
