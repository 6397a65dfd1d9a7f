/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the stress programs put into pages, so that a look at any word tells
 * who wrote it, and where to.
 *
 * A page is written whole, as a tag and words that follow from it.  Beside
 * writers there are those who store into memory, threads that have the file
 * mapped and vCPUs: each of the two kinds has a word of its own in the page.
 *
 * For the host as for the guest, which has no library: inline functions only.
 */
#ifndef STRESS_PAGES_H
#define STRESS_PAGES_H

#include <linux/types.h>
#include <stdbool.h>

#define PAGE_BYTES	4096ul
#define PAGE_WORDS	(PAGE_BYTES / sizeof(u64))

/* The size of, or the offset to, page @n. */
#define PG(n)		((n) * PAGE_BYTES)

/* The words that are stored to: by threads, by vCPUs. */
#define THREAD_WORD	(PAGE_WORDS - 2)
#define GUEST_WORD	(PAGE_WORDS - 1)

/* Odd, and far from anything that memory is likely to hold. */
#define WORD_STEP	0x9e3779b97f4a7c15ull

#define WRITE_MAGIC	0x67d5ull
#define STORE_MAGIC	0x51e3ull

/* What the debug kernel fills free pages with. */
#define STALE_WORD	0xaaaaaaaaaaaaaaaaull

enum page_state {
	PAGE_ZERO,
	PAGE_WHOLE,		/* one writer's */
	PAGE_TORN,		/* of several writers, or of one and of zeros */
	PAGE_MISPLACED,		/* of one writer, who meant another page */
	PAGE_STALE,		/* has memory that was free before */
	PAGE_ALIEN,		/* has what nobody wrote */
};

struct page_view {
	enum page_state state;
	u64 tag;		/* of the first word */
	unsigned int word;	/* the first that is wrong */
	u64 got;		/* and what it is */
};

static inline u64 make_tag(u64 magic, u64 index, u64 who, u64 seq)
{
	return magic << 48 | (index & 0xffff) << 32 | (who & 0xff) << 24 | (seq & 0xffffff);
}

static inline u64 write_tag(u64 index, u64 who, u64 seq)
{
	return make_tag(WRITE_MAGIC, index, who, seq);
}

static inline u64 store_tag(u64 index, u64 who, u64 seq)
{
	return make_tag(STORE_MAGIC, index, who, seq);
}

static inline bool tag_is(u64 tag, u64 magic, u64 index)
{
	return tag >> 48 == magic && (tag >> 32 & 0xffff) == (index & 0xffff);
}

static inline void fill_page(u64 *page, u64 tag)
{
	unsigned int i;

	for (i = 0; i < PAGE_WORDS; i++)
		page[i] = tag + i * WORD_STEP;
}

static inline bool is_store(u64 val, unsigned int word, u64 index)
{
	return word >= THREAD_WORD && tag_is(val, STORE_MAGIC, index);
}

/* Has somebody written this very word, whoever and whenever? */
static inline bool word_is_known(u64 val, unsigned int word, u64 index)
{
	return !val || tag_is(val - word * WORD_STEP, WRITE_MAGIC, index) ||
	       is_store(val, word, index);
}

static inline enum page_state classify_word(u64 val, unsigned int word, u64 index)
{
	if (val == STALE_WORD)
		return PAGE_STALE;
	if (word_is_known(val, word, index))
		return PAGE_TORN;
	if ((val - word * WORD_STEP) >> 48 == WRITE_MAGIC)
		return PAGE_MISPLACED;
	return PAGE_ALIEN;
}

/* A page that nobody is about to write. */
static inline struct page_view examine_page(const u64 *page, u64 index)
{
	const volatile u64 *mem = page;
	struct page_view view = { .state = PAGE_ZERO, .tag = mem[0] };
	const u64 step = view.tag ? WORD_STEP : 0;
	u64 want = view.tag, val;
	unsigned int i;

	if (view.tag) {
		view.state = PAGE_WHOLE;
		if (!tag_is(view.tag, WRITE_MAGIC, index)) {
			view.state = classify_word(view.tag, 0, index);
			view.got = view.tag;
			return view;
		}
	}

	for (i = 0; i < PAGE_WORDS; i++, want += step) {
		val = mem[i];
		if (val == want || is_store(val, i, index))
			continue;
		view.state = classify_word(val, i, index);
		view.word = i;
		view.got = val;
		return view;
	}
	return view;
}

/* A page that may be in the middle of being overwritten: word by word. */
static inline struct page_view glance_at_page(const u64 *page, u64 index)
{
	const volatile u64 *mem = page;
	struct page_view view = { .state = PAGE_WHOLE, .tag = mem[0] };
	unsigned int i;
	u64 val;

	for (i = 0; i < PAGE_WORDS; i++) {
		val = mem[i];
		if (word_is_known(val, i, index))
			continue;
		view.state = classify_word(val, i, index);
		view.word = i;
		view.got = val;
		break;
	}
	return view;
}

static inline bool page_is_sound(struct page_view view)
{
	return view.state == PAGE_ZERO || view.state == PAGE_WHOLE;
}

#endif
