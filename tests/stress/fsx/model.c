// SPDX-License-Identifier: GPL-2.0-only
/*
 * The model: plain memory that does what the documentation says.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fsx.h"

struct model model;

const char *wrong_model = "";
const char * const wrong_models[] = { "lost-page", "errno", "position", "hole", NULL };

static bool wrong(const char *how)
{
	return !strcmp(wrong_model, how);
}

void copy_bytes(void *to, const void *from, long len)
{
	const char *src = from;
	char *dst = to;

	for (; len >= 8; len -= 8, src += 8, dst += 8)
		__builtin_memcpy(dst, src, 8);
	for (; len > 0; len--)
		*dst++ = *src++;
}

static void zero_page(long page)
{
	uint64_t *word = (uint64_t *)(model.bytes + page * PAGE);
	int i;

	for (i = 0; i < PAGE / 8; i++)
		word[i] = 0;
}

bool model_mapped(void)
{
	return model.flags & GUEST_MEMFD_FLAG_MMAP;
}

/* May a guest have it as its memory?  On arm64 only what can be mapped. */
bool model_bindable(void)
{
#ifdef __aarch64__
	return model_mapped();
#else
	return true;
#endif
}

/* Can it be looked at through the mapping? */
bool model_readable(void)
{
	return model_mapped() && model.flags & GUEST_MEMFD_FLAG_INIT_SHARED;
}

/* May a page that is data be written? */
bool model_overwrites(void)
{
	return !(model.flags & GUEST_MEMFD_FLAG_NO_OVERWRITE);
}

static void punch_page(long page)
{
	model.came_along[page] = model.held[page] = false;
	model.written[page] = false;
	if (model.state[page] == DATA)
		zero_page(page);
	model.state[page] = HOLE;
}

void model_new_file(long flags, long pages)
{
	long page;
	int i;

	for (i = 0; i < NR_SLOTS; i++)
		model.slots[i].stale = true;
	for (i = 0; i < NR_FDS; i++)
		model.fds[i] = !i;
	for (page = 0; page < model.pages; page++)
		punch_page(page);

	model.flags = flags;
	model.pages = pages;
	model.size = pages * PAGE;
	model.pos = 0;
	model.modified = false;
}

void model_new(long flags, long pages)
{
	int i;

	model_new_file(flags, pages);
	model.vm = true;
	for (i = 0; i < NR_SLOTS; i++)
		model.slots[i] = (struct slot) {};
}

static void concerns(long off, long len)
{
	model.first = min(model.first, off / PAGE);
	model.last = max(model.last, (off + len - 1) / PAGE);
}

static void populate(long off, long len)
{
	long page;

	concerns(off, len);
	for (page = off / PAGE; page <= (off + len - 1) / PAGE; page++)
		model.state[page] = DATA;
	model.modified = true;
}

/*
 * Pages that were allocated together may be of one folio, and a mapping or a guest that
 * touches one of them has all of it.  The kernel knows which; what it did is taken over.
 */
static void note_neighbours(long page)
{
	long i;

	for (i = page; i >= 0 && model.state[i] == ALLOCATED; i--)
		model.came_along[i] = true;
	for (i = page; i < model.pages && model.state[i] == ALLOCATED; i++)
		model.came_along[i] = true;
}

/* Somebody looks at the bytes: from then on it is data. */
void model_touch(long off, long len)
{
	long page;

	if (len <= 0)
		return;

	if (model_overwrites())
		for (page = off / PAGE; page <= (off + len - 1) / PAGE; page++)
			note_neighbours(page);
	populate(off, len);
}

void model_store(long off, const void *from, long len)
{
	model_touch(off, len);
	copy_bytes(model.bytes + off, from, len);
}

/* What comes before the first look at the source: an error, or how much. */
long model_may_write(long off, long len, long limit)
{
	if (!(model.flags & GUEST_MEMFD_FLAG_WRITE))
		return -ENODEV;
	if (!len)
		return 0;
	if (off >= limit)
		return -EFBIG;
	if ((off | len) % PAGE)
		return wrong("errno") ? -EIO : -EINVAL;
	if (off + len > model.size)
		return -EINVAL;

	len = min(len, limit - off) / PAGE * PAGE;
	return len ?: -EFBIG;
}

/*
 * How much of it may be put into the file, the source being readable: up to the first
 * page that may not.
 */
long model_publishable(long off, long len)
{
	long page;

	/* The times are updated first. */
	model.modified = true;
	if (!(model.flags & GUEST_MEMFD_FLAG_INIT_SHARED))
		return -EACCES;

	for (page = off / PAGE; page < (off + len) / PAGE; page++)
		if (model.state[page] == DATA && !model_overwrites())
			return page * PAGE - off ?: -EEXIST;
	return len;
}

static void mark_written(long off, long len)
{
	long page;

	for (page = off / PAGE; page < (off + len) / PAGE; page++)
		model.written[page] = true;
}

static long bytes_in(const struct iovec *iov, int nr)
{
	long sum = 0;

	while (nr--)
		sum += iov++->iov_len;
	return sum;
}

static long readable_bytes(const struct iovec *iov, int nr)
{
	const unsigned char *end = world.source + SOURCE_SIZE, *base;
	long sum = 0;

	for (; nr--; iov++) {
		base = iov->iov_base;
		if (iov->iov_len && base + iov->iov_len > end)
			return sum + (base < end ? end - base : 0);
		sum += iov->iov_len;
	}
	return sum;
}

static void gather(unsigned char *to, const struct iovec *iov, long len)
{
	long nr;

	for (; len; iov++, len -= nr, to += nr) {
		nr = min(iov->iov_len, len);
		copy_bytes(to, iov->iov_base, nr);
	}
}

long model_write(const struct iovec *iov, int nr, long off, long limit)
{
	long len = model_may_write(off, bytes_in(iov, nr), limit);

	concerns(max(min(off, model.size), 0), 1);
	if (len <= 0)
		return len;

	/* Who may not write at all is told before the source is looked at. */
	if (model_publishable(off, 0) < 0)
		return -EACCES;
	len = min(len, readable_bytes(iov, nr)) / PAGE * PAGE;
	if (!len)
		return -EFAULT;
	len = model_publishable(off, len);
	if (len < 0)
		return len;

	populate(off, len);
	mark_written(off, len);
	gather(model.bytes + off, iov, wrong("lost-page") && len > PAGE ? len - PAGE : len);
	return len;
}

/* What model_write() does, from elsewhere than the source. */
long model_publish(long off, const void *from, long len)
{
	len = model_publishable(off, len);
	if (len > 0) {
		populate(off, len);
		copy_bytes(model.bytes + off, from, len);
		mark_written(off, len);
	}
	return len;
}

/*
 * Write what the file itself has, where nothing is overwritten.  To read the source of a
 * page populates that, before it is known whether the page can be written, and the source
 * is read a folio ahead.
 */
long model_publish_what_is_absent(long off, long from, long len)
{
	unsigned char page[PAGE] __attribute__((aligned(8)));
	long done, ret;

	if (model_publishable(off, 0) < 0)
		return -EACCES;

	concerns(from, len);
	for (done = from / PAGE; done <= (from + len - 1) / PAGE; done++)
		model.came_along[done] = true;

	for (done = 0; done < len; done += PAGE) {
		model_touch(from + done, PAGE);
		copy_bytes(page, model.bytes + from + done, PAGE);
		ret = model_publish(off + done, page, PAGE);
		if (ret < 0)
			return done ?: ret;
	}
	return done;
}

/*
 * Write what the file itself has, or had, after the kernel did.  A page that is part of
 * the source may be read before or after it has been overwritten by the very same
 * call: both are right, what the kernel did is taken over.
 */
long model_publish_overlapping(long off, long from, long len, const unsigned char *old)
{
	const long in_page = from & (PAGE - 1);
	unsigned char page[PAGE] __attribute__((aligned(8)));
	long done, begin, end;
	int choice;

	populate(off, len);
	mark_written(off, len);

	for (done = 0; done < len; done += PAGE) {
		/* The source of this page is of two pages, which begin here. */
		begin = from + done - in_page;
		end = begin + PAGE;

		for (choice = 0; choice < 4; choice++) {
			if (choice & 1 && (begin < off || begin >= off + done))
				continue;
			if (choice & 2 && (!in_page || end < off || end >= off + done))
				continue;

			copy_bytes(page, choice & 1 ? model.bytes + begin + in_page : old + done,
				   PAGE - in_page);
			copy_bytes(page + PAGE - in_page,
				   choice & 2 ? model.bytes + end : old + done + PAGE - in_page,
				   in_page);
			if (differing_byte(page, world.mem + off + done, PAGE) == PAGE)
				break;
		}
		/* If it is none of them: the comparison that follows will tell. */
		copy_bytes(model.bytes + off + done, choice < 4 ? page : old + done, PAGE);
	}
	return len;
}

static bool bad_range(long off, long len)
{
	return off < 0 || len <= 0 || (off | len) % PAGE;
}

long model_fallocate(long off, long len)
{
	long page;

	if (bad_range(off, len) || off + len > model.size)
		return -EINVAL;

	for (page = off / PAGE; page < (off + len) / PAGE; page++)
		if (model.state[page] == HOLE)
			model.state[page] = wrong("hole") ? DATA : ALLOCATED;
	concerns(off, len);
	model.modified = true;
	return 0;
}

long model_punch(long off, long len)
{
	long page;

	if (bad_range(off, len))
		return -EINVAL;

	for (page = off / PAGE; page < min((off + len) / PAGE, model.pages); page++)
		punch_page(page);
	concerns(min(off, model.size), min(len, model.size));
	model.modified = true;
	return 0;
}

long model_seek(long off, long whence)
{
	long page;

	if (whence == SEEK_DATA || whence == SEEK_HOLE) {
		if (off < 0 || off >= model.size)
			return -ENXIO;
		page = off / PAGE;
		while (page < model.pages &&
		       (model.state[page] == DATA) != (whence == SEEK_DATA))
			page++;
		if (whence == SEEK_DATA && page == model.pages)
			return -ENXIO;
		return model.pos = max(off, page * PAGE);
	}

	off += whence == SEEK_CUR ? model.pos : whence == SEEK_END ? model.size : 0;
	if (off < 0 || off > model.size || whence > SEEK_HOLE)
		return -EINVAL;
	return model.pos = off;
}

/*
 * Without that a guest has private memory of the file only, which this kind of guest does
 * not have; what it has comes from userspace_addr, where nothing is.
 */
bool model_guest_sees(const struct slot *slot)
{
	return !slot->stale && model_mapped();
}

struct slot *model_slot_at(long place)
{
	struct slot *slot;

	for (slot = model.slots; slot < model.slots + NR_SLOTS; slot++)
		if (slot->pages && slot->place == place)
			return slot;
	return NULL;
}

long model_bind(int slot, long place, long first, long pages)
{
	const struct slot *other;

	/* A memslot of guest_memfd cannot be changed, only deleted. */
	if (model.slots[slot].pages)
		return -EINVAL;
	if (model_slot_at(place))
		return -EEXIST;
	if (first < 0 || first + pages > model.pages)
		return -EINVAL;
	for (other = model.slots; other < model.slots + NR_SLOTS; other++)
		if (other->pages && !other->stale &&
		    first < other->first + other->pages && other->first < first + pages)
			return -EEXIST;
	if (!model_bindable())
		return -EINVAL;

	model.slots[slot] = (struct slot) { .place = place, .first = first, .pages = pages };
	return 0;
}

long model_queued(void)
{
	long sum = 0;
	int i;

	for (i = 0; i < model.nr_pieces; i++)
		sum += model.pipe[i].len;
	return sum;
}

/* The whole pages among what the pipe holds. */
long model_splice(long len, long off)
{
	struct iovec iov[256];
	long ret, left;
	int i, nr;

	if (!len)
		return 0;
	if (!(model.flags & GUEST_MEMFD_FLAG_WRITE))
		return -ENODEV;
	if (!model.nr_pieces)
		return -EAGAIN;
	len = min(len, model_queued()) / PAGE * PAGE;
	if (!len)
		return -EINVAL;

	for (nr = 0, left = len; left; nr++) {
		iov[nr].iov_base = world.source + model.pipe[nr].at;
		iov[nr].iov_len = min(left, model.pipe[nr].len);
		left -= iov[nr].iov_len;
	}
	ret = model_write(iov, nr, off, NO_LIMIT);

	for (i = 0, left = max(ret, 0); left; i++) {
		nr = min(left, model.pipe[i].len);
		model.pipe[i].at += nr;
		model.pipe[i].len -= nr;
		left -= nr;
	}
	for (i = 0, nr = 0; i < model.nr_pieces; i++)
		if (model.pipe[i].len)
			model.pipe[nr++] = model.pipe[i];
	model.nr_pieces = nr;
	return ret;
}
