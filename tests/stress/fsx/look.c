// SPDX-License-Identifier: GPL-2.0-only
/*
 * Compare the file with the model.  To look at a page that isn't data would make
 * it data: of those, only that they are holes is looked at.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fsx.h"

#define POISON	0xaaaaaaaaaaaaaaaaull

static int any_fd(void)
{
	int i = 0;

	while (!model.fds[i])
		i++;
	return i;
}

/* @len if there's none. */
long differing_byte(const unsigned char *got, const unsigned char *want, long len)
{
	uint64_t g, w;
	long i;

	for (i = 0; i + 8 <= len; i += 8) {
		__builtin_memcpy(&g, got + i, 8);
		__builtin_memcpy(&w, want + i, 8);
		if (g != w)
			break;
	}
	while (i < len && got[i] == want[i])
		i++;
	return i;
}

static void describe(char *what, size_t size, const char *who, long off, long got,
		     long want, const unsigned char *around)
{
	uint64_t word;

	__builtin_memcpy(&word, around, 8);
	snprintf(what, size, "%s: page %ld, byte %ld is 0x%02lx, not 0x%02lx%s", who, off / PAGE,
		 off % PAGE, got, want, word == POISON ? " (stale kernel memory!)" : "");
}

/* One of some: to ask takes longer than to look. */
static void look_whether_dirty(long page)
{
	if (model.written[page] && !((attempt->done + page) % 16))
		expect(1, play_dirty(page), "a page that was written is dirty");
}

static void look_through_mapping(long first, long last)
{
	const unsigned char *got, *want;
	char what[128];
	long page, off;

	for (page = first; page <= last; page++) {
		if (model.state[page] != DATA)
			continue;

		got = world.mem + page * PAGE;
		want = model.bytes + page * PAGE;
		off = differing_byte(got, want, PAGE);
		if (off == PAGE) {
			look_whether_dirty(page);
			continue;
		}

		describe(what, sizeof(what), "mapping", page * PAGE + off, got[off], want[off],
			 got + (off & -8));
		expect(want[off], got[off], what);
	}
}

/* What the guest has read just now, at @off from where @slot is. */
void look_at_window(const struct slot *slot, long off, long words)
{
	const long file_off = slot->first * PAGE + off;
	const unsigned char *want = model.bytes + file_off, *got = play_window();
	char what[128];
	long i;

	i = differing_byte(got, want, words * 4);
	if (i == words * 4)
		return;

	describe(what, sizeof(what), "guest", file_off + i, got[i], want[i], got + (i & -8));
	expect(want[i], got[i], what);
}

static const struct slot *slot_of(long page)
{
	const struct slot *slot;

	for (slot = model.slots; slot < model.slots + NR_SLOTS; slot++)
		if (model_guest_sees(slot) && page >= slot->first && page < slot->first + slot->pages)
			return slot;
	return NULL;
}

static void look_by_guest(long first, long last, long limit)
{
	const struct slot *slot;
	long page, off;

	if (!model.vm)
		return;

	for (page = first; page <= last && limit; page++) {
		slot = slot_of(page);
		if (model.state[page] != DATA || !slot)
			continue;

		off = (page - slot->first) * PAGE;
		expect(0, play_guest_read(slot->place, off, WINDOW_WORDS),
		       "the guest cannot read its memory");
		look_at_window(slot, off, WINDOW_WORDS);
		limit--;
	}
}

static void look_at_position(int fd)
{
	expect(model.pos, play_seek(fd, 0, SEEK_CUR), "file position");
}

/* From run to run of data and of holes. */
static void look_by_seeking(int fd, long first, long last)
{
	const long pos = model.pos;
	long off, want, whence;

	for (off = first * PAGE; off <= last * PAGE; off = want < 0 ? model.size : want) {
		whence = model.state[off / PAGE] == DATA ? SEEK_HOLE : SEEK_DATA;
		want = model_seek(off, whence);
		expect(want, play_seek(fd, off, whence),
		       whence == SEEK_DATA ? "SEEK_DATA" : "SEEK_HOLE");
	}
	model.pos = pos;
	play_seek(fd, pos, SEEK_SET);
}

static void look_by_mincore(long first, long last)
{
	static unsigned char in[MAX_PAGES];
	long page;

	expect(0, play_incore(first, last - first + 1, in), "mincore()");
	/* It goes by folios: what was allocated or punched of one, only seeking tells. */
	for (page = first; page <= last; page++)
		if (model.state[page] != ALLOCATED && !model.held[page] &&
		    (in[page - first] & 1) != (model.state[page] == DATA))
			expect(model.state[page] == DATA, in[page - first] & 1,
			       "mincore() of a page");
}

static void look_at_pages(long first, long last, long guest_limit)
{
	const int fd = any_fd();

	first = max(first, 0);
	last = min(last, model.pages - 1);

	look_at_position(fd);
	if (first > last)
		return;

	look_by_seeking(fd, first, last);
	if (model_mapped())
		look_by_mincore(first, last);
	if (model_readable())
		look_through_mapping(first, last);
	look_by_guest(first, last, guest_limit);
}

static void take_over_what_came_along(void)
{
	const int fd = any_fd();
	long page, off;

	for (page = 0; page < model.pages; page++) {
		off = page * PAGE;
		if (model.came_along[page] && model.state[page] != DATA &&
		    play_seek(fd, off, SEEK_DATA) == off)
			model.state[page] = DATA;
		model.came_along[page] = false;
	}
	play_seek(fd, model.pos, SEEK_SET);
}

/* What it had to do with, and a page to each side. */
void look_after_op(void)
{
	if (memchr(model.came_along, true, sizeof(model.came_along)))
		take_over_what_came_along();
	look_at_pages(model.first - 1, model.last + 1, model_readable() ? 0 : 2);
	model.first = MAX_PAGES;
	model.last = -2;
}

void look_at_file(void)
{
	look_at_pages(0, model.pages - 1, model_readable() ? 8 : model.pages);
}
