// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * The RAM image of a snapshot: as large as memory, and sparse. One page of it, which
 * no guest uses, tells of which snapshot it is, so that it is never taken for that of
 * another state.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "lib/shared.h"
#include "memory.h"
#include "outcome.h"

#define PIECE		(256ull << 10)
#define MARK_MAGIC	"gmem RAM image\n"

struct image_mark {
	char magic[16];
	uint8_t id[16];
};

/* -- saving ------------------------------------------------------------------------- */

static int count_data(struct vmm *vmm, struct image *image)
{
	struct gmem_range range;
	uint64_t from = 0;
	int found;

	while ((found = memory_next_data(vmm, from, &range)) > 0) {
		image->total += range.length;
		from = range.offset + range.length;
	}
	return found;
}

int image_write(struct vmm *vmm, int fd, const void *bytes, size_t len, uint64_t offset, const char *what)
{
	const uint8_t *at = bytes;

	while (len) {
		ssize_t n = pwrite(fd, at, len, offset);

		if (n < 0 && errno != EINTR)
			return vmm_fail(vmm, "cannot write %s: %m", what);
		if (n > 0) {
			at += n;
			offset += n;
			len -= n;
		}
	}
	return 0;
}

/* The pages that are not all zeros; a hole in the image reads the same. */
static int write_pages(struct vmm *vmm, int fd, const uint8_t *bytes, size_t len, uint64_t offset,
		       uint64_t *pages)
{
	for (size_t at = 0; at < len;) {
		size_t start;

		while (at < len && is_zero(bytes + at, PAGE_SIZE))
			at += PAGE_SIZE;
		start = at;
		while (at < len && !is_zero(bytes + at, PAGE_SIZE))
			at += PAGE_SIZE;
		if (image_write(vmm, fd, bytes + start, at - start, offset + start, "the RAM image"))
			return -1;
		*pages += (at - start) / PAGE_SIZE;
	}
	return 0;
}

static int save_range(struct vmm *vmm, struct image *image, struct gmem_range range, uint64_t *pages)
{
	static uint8_t bytes[PIECE];		/* there is one snapshot at a time */

	while (range.length) {
		size_t len = range.length < PIECE ? range.length : PIECE;

		if (memory_read(vmm, range.offset, bytes, len) ||
		    write_pages(vmm, image->fd, bytes, len, range.offset, pages) ||
		    image->progress(vmm, image))
			return -1;
		image->done += len;
		range.offset += len;
		range.length -= len;
	}
	return 0;
}

static int write_mark(struct vmm *vmm, struct snapshot *snapshot)
{
	struct image_mark mark = { .magic = MARK_MAGIC };

	if (getrandom(snapshot->id, sizeof(snapshot->id), 0) != sizeof(snapshot->id))
		return vmm_fail(vmm, "no random numbers: %m");
	memcpy(mark.id, snapshot->id, sizeof(mark.id));
	return memory_write(vmm, IMAGE_MARK, &mark, sizeof(mark));
}

int image_save(struct vmm *vmm, struct image *image, struct snapshot *snapshot)
{
	struct gmem_range range;
	uint64_t from = 0;
	int found;

	/* Pages of zeros are not written: what the file had must go. */
	if (ftruncate(image->fd, 0) || ftruncate(image->fd, vmm->mem.size))
		return vmm_fail(vmm, "cannot make the RAM image %zu bytes large: %m", vmm->mem.size);
	snapshot->pages = 0;
	if (write_mark(vmm, snapshot) || count_data(vmm, image))
		return -1;
	while ((found = memory_next_data(vmm, from, &range)) > 0) {
		if (save_range(vmm, image, range, &snapshot->pages))
			return -1;
		from = range.offset + range.length;
	}
	return found;
}

/* -- restoring ---------------------------------------------------------------------- */

bool image_is_zstd(int fd)
{
	char begin[4];

	return pread(fd, begin, sizeof(begin), 0) == sizeof(begin) && is_zstd(begin, sizeof(begin));
}

static int check_mark(struct vmm *vmm, const char *path, const struct image_mark *mark,
		      const struct snapshot *snapshot)
{
	if (memcmp(mark->magic, MARK_MAGIC, sizeof(mark->magic)))
		return vmm_fail(vmm, "%s is not the RAM image of a machine that gmem snapshot saved", path);
	if (memcmp(mark->id, snapshot->id, sizeof(mark->id)))
		return vmm_fail(vmm, "%s and the state beside it are of two snapshots", path);
	return 0;
}

/*
 * A file that has lost data, as one whose copy was never finished, has holes instead,
 * or zeros. How many pages are not zeros is known.
 */
int image_check_pages(struct vmm *vmm, const char *path, uint64_t pages, uint64_t wanted)
{
	if (pages >= wanted)
		return 0;
	return vmm_fail(vmm, "%s is damaged: %" PRIu64 " pages of it are not zeros, there should be %" PRIu64,
			path, pages, wanted);
}

/* How many there can be at most: those that are no holes. */
static uint64_t pages_with_data(int fd, uint64_t size)
{
	uint64_t pages = 0;
	off_t at, hole = 0;

	while ((at = lseek(fd, hole, SEEK_DATA)) >= 0) {
		hole = lseek(fd, at, SEEK_HOLE);
		if (hole < 0)
			break;
		pages += (hole + PAGE_SIZE - 1) / PAGE_SIZE - at / PAGE_SIZE;
	}
	/* Unless it came to the last, there is no telling. */
	return errno == ENXIO ? pages : size / PAGE_SIZE;
}

static int check_raw(struct vmm *vmm, const char *path, int fd, const struct snapshot *snapshot)
{
	struct image_mark mark = { 0 };
	struct stat st;
	off_t size;

	if (fstat(fd, &st))
		return vmm_fail(vmm, "cannot read %s: %m", path);
	size = S_ISBLK(st.st_mode) ? lseek(fd, 0, SEEK_END) : st.st_size;
	if (!S_ISBLK(st.st_mode) && (uint64_t)size != vmm->mem.size)
		return vmm_fail(vmm, "%s has %jd bytes, the saved machine's memory has %zu", path,
				(intmax_t)size, vmm->mem.size);
	if (pread(fd, &mark, sizeof(mark), IMAGE_MARK) < 0)
		return vmm_fail(vmm, "cannot read %s: %m", path);
	if (check_mark(vmm, path, &mark, snapshot))
		return -1;
	return image_check_pages(vmm, path, pages_with_data(fd, vmm->mem.size), snapshot->pages);
}

int image_open(struct vmm *vmm, const char *path, const struct snapshot *snapshot)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);	/* a pipe will not do */

	if (fd < 0)
		return vmm_fail(vmm, "cannot read %s: %m", path);
	if (!memory_allowed(vmm, snapshot->pages) && (image_is_zstd(fd) || !check_raw(vmm, path, fd, snapshot)))
		return fd;
	close(fd);
	return -1;
}

int image_restore(struct vmm *vmm, const char *path, const struct snapshot *snapshot)
{
	int fd = image_open(vmm, path, snapshot), err;
	struct image_mark mark;
	bool packed;

	if (fd < 0)
		return -1;
	packed = image_is_zstd(fd);
	gmem_set_pad(vmm->gmem, false);
	if (packed)
		err = gmem_populate_zstd(vmm->gmem, vmm->mem.fd, 0, fd, vmm->mem.size);
	else
		err = gmem_populate_file(vmm->gmem, vmm->mem.fd, 0, fd, 0, vmm->mem.size);
	close(fd);
	if (memory_populated(vmm, err, path))
		return -1;
	/* As check_raw() has it: of another snapshot the number of pages means nothing. */
	if (packed && (memory_read(vmm, IMAGE_MARK, &mark, sizeof(mark)) || check_mark(vmm, path, &mark, snapshot)))
		return -1;
	return image_check_pages(vmm, path, gmem_stats(vmm->gmem)->pages_written, snapshot->pages);
}
