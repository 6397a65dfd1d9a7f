// SPDX-License-Identifier: GPL-2.0-only
/* The threads: what each does when all may do what they like. */
#include "race.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include <liburing.h>

/*
 * Look where the writers of an INSERT have got to: what is interesting is
 * what appeared a moment ago.
 */
long find_data(struct actor *actor)
{
	const u32 front = READ_ONCE(arena.inserted);
	const u32 back = pick(actor, 100);
	long off;

	off = lseek(arena.fd, PG(front > back ? front - back : 0), SEEK_DATA);
	return off < 0 ? -1 : off / PAGE_BYTES;
}

static u32 next_seq(void)
{
	return __atomic_add_fetch(&arena.seq, 1, __ATOMIC_RELAXED) & 0xffffff;
}

/* Where to write, and the pages to write there. */
struct piece {
	u32 index, nr, seq;
};

static bool next_piece(struct actor *actor, u32 max, void *buf, struct piece *piece)
{
	if (arena.phase == DUEL) {
		*piece = (struct piece) { arena.duel_index, DUEL_PAGES, next_seq() };
		fill_pages(buf, piece->nr, piece->index, actor->id, piece->seq);
		pthread_barrier_wait(&arena.duel);
		return true;
	}

	piece->nr = min(1 + pick(actor, pick(actor, 4) ? 8 : NR_PAGES / 4), max);
	/* All of a block; in the other phases it is one only if it comes first. */
	if (max >= BLOCK && !pick(actor, arena.phase == CHAOS ? 16 : 4))
		piece->nr = BLOCK;

	if (arena.phase == PREFETCH) {
		/* Some go through the file, some answer for single pages. */
		const u32 front = __atomic_fetch_add(&arena.inserted, piece->nr, __ATOMIC_RELAXED);

		if (front >= 6 * NR_PAGES)
			return false;
		if (pick(actor, 3)) {
			piece->index = front % NR_PAGES;
			piece->nr = min(piece->nr, NR_PAGES - piece->index);
		} else {
			piece->index = pick(actor, NR_PAGES);
			piece->nr = 1;
		}
	} else if (arena.phase == INSERT) {
		piece->index = __atomic_fetch_add(&arena.inserted, piece->nr, __ATOMIC_RELAXED);
		if (piece->index >= NR_PAGES)
			return false;
		piece->nr = min(piece->nr, NR_PAGES - piece->index);
	} else {
		piece->index = piece->nr == BLOCK ? BLOCK * pick(actor, NR_PAGES / BLOCK) :
						    pick(actor, NR_PAGES - piece->nr + 1);
	}
	piece->seq = next_seq();
	fill_pages(buf, piece->nr, piece->index, actor->id, piece->seq);
	return true;
}

/* A write that was to populate what is absent. */
static void piece_prefetched(struct actor *actor, const struct piece *piece, long ret)
{
	const u32 nr = ret > 0 ? ret / PAGE_BYTES : 0;
	u32 i, index;

	if (nr < piece->nr) {
		index = piece->index + nr;
		if ((nr ? ret != (long)PG(nr) : ret != -EEXIST) || nr > piece->nr)
			broken(CALLS, "%s of %u pages to page %u returned %ld", actor->name,
			       piece->nr, piece->index, ret);
		/* Nobody makes holes: what stopped it is still there. */
		if (lseek(arena.fd, PG(index), SEEK_DATA) != (off_t)PG(index) && !arena.pulled)
			broken(KEPT, "%s stopped at page %u, which is a hole", actor->name, index);
		count(REFUSED, 1);
	}
	for (i = 0; i < nr; i++) {
		index = piece->index + i;
		if (__atomic_fetch_add(&arena.populated[index], 1, __ATOMIC_RELAXED))
			broken(KEPT, "page %u has been populated twice", index);
		arena.expected[index] = write_tag(index, actor->id, piece->seq);
	}
	count(PREFETCHED, nr);
}

static void piece_done(struct actor *actor, const struct piece *piece, long ret, enum event event)
{
	u32 i;

	count(event, 1);
	count(PAGES_WRITTEN, piece->nr);
	if (arena.pulled)
		return;

	if (arena.phase == PREFETCH) {
		piece_prefetched(actor, piece, ret);
		return;
	}

	if (ret != (long)PG(piece->nr))
		broken(CALLS, "%s of %u pages to page %u returned %ld", actor->name,
		       piece->nr, piece->index, ret);

	if (arena.phase == INSERT)
		for (i = 0; i < piece->nr; i++)
			arena.expected[piece->index + i] = write_tag(piece->index + i, actor->id,
								     piece->seq);
}

static void writer_setup(struct actor *actor)
{
	actor->state = map_anon(PG(MAX_WRITE));
}

static bool writer_act(struct actor *actor)
{
	u8 *buf = actor->state;
	struct iovec iov[3];
	struct piece piece;
	size_t odd;
	long ret;

	if (!next_piece(actor, MAX_WRITE, buf, &piece))
		return false;

	if (pick(actor, 2)) {
		odd = pick(actor, PG(piece.nr));
		iov[0] = (struct iovec) { buf, odd };
		iov[1] = (struct iovec) { NULL, 0 };
		iov[2] = (struct iovec) { buf + odd, PG(piece.nr) - odd };
		ret = RET(pwritev(arena.fd, iov, 3, PG(piece.index)));
	} else {
		ret = RET(pwrite(arena.fd, buf, PG(piece.nr), PG(piece.index)));
	}
	piece_done(actor, &piece, ret, WRITES);
	return arena.phase != DUEL;
}

#define DEPTH	4

struct uring {
	struct io_uring ring;
	u8 *buf[DEPTH];
	struct piece piece[DEPTH];
};

static void uring_setup(struct actor *actor)
{
	struct iovec iov[DEPTH];
	struct uring *u = calloc(1, sizeof(*u));
	int i, ret;

	actor->state = u;
	ret = io_uring_queue_init(DEPTH, &u->ring, 0);
	TEST_ASSERT(!ret, "io_uring_queue_init() returned %d", ret);
	for (i = 0; i < DEPTH; i++) {
		u->buf[i] = map_anon(PG(MAX_WRITE));
		iov[i] = (struct iovec) { u->buf[i], PG(MAX_WRITE) };
	}
	ret = io_uring_register_buffers(&u->ring, iov, DEPTH);
	TEST_ASSERT(!ret, "io_uring_register_buffers() returned %d", ret);
}

static bool uring_act(struct actor *actor)
{
	struct uring *u = actor->state;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	const int depth = arena.phase == DUEL ? 1 : DEPTH;
	int i, nr, ret;

	for (nr = 0; nr < depth; nr++) {
		struct piece *piece = &u->piece[nr];

		if (!next_piece(actor, MAX_WRITE, u->buf[nr], piece))
			break;

		sqe = io_uring_get_sqe(&u->ring);
		if (pick(actor, 2))
			io_uring_prep_write_fixed(sqe, arena.fd, u->buf[nr], PG(piece->nr),
						  PG(piece->index), nr);
		else
			io_uring_prep_write(sqe, arena.fd, u->buf[nr], PG(piece->nr),
					    PG(piece->index));
		if (arena.phase != DUEL && pick(actor, 2))
			sqe->flags |= IOSQE_ASYNC;
		sqe->user_data = nr;
	}
	if (!nr)
		return false;

	ret = io_uring_submit(&u->ring);
	if (ret != nr)
		broken(CALLS, "io_uring_submit() of %d returned %d", nr, ret);

	for (i = 0; i < nr; i++) {
		do {
			ret = io_uring_wait_cqe(&u->ring, &cqe);
		} while (ret == -EINTR);
		if (ret) {
			broken(CALLS, "io_uring_wait_cqe() returned %d", ret);
			return false;
		}
		piece_done(actor, &u->piece[cqe->user_data], cqe->res, URING_WRITES);
		io_uring_cqe_seen(&u->ring, cqe);
	}
	return nr == DEPTH;
}

#define PIPE_PAGES	DUEL_PAGES

struct splicer {
	u8 *buf;
	int pipe[2];
	int memfd;
};

static void splicer_setup(struct actor *actor)
{
	struct splicer *s = calloc(1, sizeof(*s));

	actor->state = s;
	s->buf = map_anon(PG(PIPE_PAGES));
	s->memfd = create_memfd(s->buf, PG(PIPE_PAGES));
	TEST_ASSERT(!pipe2(s->pipe, O_CLOEXEC), "pipe2() failed, errno = %d", errno);
}

static bool splicer_act(struct actor *actor)
{
	struct splicer *s = actor->state;
	struct piece piece;
	struct iovec iov;
	off_t in_off = 0;
	loff_t off;
	long ret;

	if (!next_piece(actor, PIPE_PAGES, s->buf, &piece))
		return false;

	off = PG(piece.index);
	iov = (struct iovec) { s->buf, PG(piece.nr) };
	switch (pick(actor, 3)) {
	case 0:
		ret = RET(write(s->pipe[1], s->buf, iov.iov_len));
		break;
	case 1:
		ret = RET(vmsplice(s->pipe[1], &iov, 1, 0));
		break;
	default:
		TEST_ASSERT_EQ(pwrite(s->memfd, s->buf, iov.iov_len, 0), (ssize_t)iov.iov_len);
		ret = RET(splice(s->memfd, &in_off, s->pipe[1], NULL, iov.iov_len, 0));
	}
	TEST_ASSERT_EQ(ret, (long)iov.iov_len);

	ret = RET(splice(s->pipe[0], NULL, arena.fd, &off, iov.iov_len, 0));
	piece_done(actor, &piece, ret, SPLICES);
	/* What was not to overwrite is still in the pipe. */
	if (arena.phase == PREFETCH && ret < (long)iov.iov_len && !arena.pulled) {
		iov.iov_len -= max(ret, 0l);
		TEST_ASSERT_EQ(read(s->pipe[0], s->buf, iov.iov_len), (ssize_t)iov.iov_len);
	}
	return !arena.pulled && arena.phase != DUEL;
}

struct faulter {
	u64 *mem;
};

static void faulter_setup(struct actor *actor)
{
	struct faulter *f = calloc(1, sizeof(*f));

	actor->state = f;
	f->mem = map_file(arena.fd, PG(NR_PAGES));
}

static bool faulter_once(struct actor *actor)
{
	struct faulter *f = actor->state;
	const bool fresh = arena.phase == INSERT;
	struct page_view view;
	u64 *page;
	long index;

	index = fresh ? find_data(actor) : pick(actor, NR_PAGES);
	if (index < 0)
		return true;
	page = f->mem + index * PAGE_WORDS;

	switch (pick(actor, 32)) {
	case 0:
		madvise(page, PG(1 + pick(actor, NR_PAGES - index)), MADV_DONTNEED);
		count(REMAPS, 1);
		break;
	case 1:
		if (arena.pulled)
			return false;
		kvm_munmap(f->mem, PG(NR_PAGES));
		f->mem = mmap(NULL, PG(NR_PAGES), PROT_READ | PROT_WRITE, MAP_SHARED, arena.fd, 0);
		if (f->mem == MAP_FAILED) {
			/* Nobody may look any more. */
			TEST_ASSERT(arena.pulled, "mmap() failed, errno = %d", errno);
			pthread_exit(NULL);
		}
		count(REMAPS, 1);
		break;
	case 2:
		if (!fresh)
			madvise(page, PG(1 + pick(actor, min(NR_PAGES - index, 40l))),
				MADV_POPULATE_WRITE);
		break;
	case 3 ... 9:
		if (!may_store(actor, index))
			break;
		WRITE_ONCE(page[THREAD_WORD], store_tag(index, actor->id, pick(actor, 1000)));
		arena.stored[index] = page[THREAD_WORD];
		count(STORES, 1);
		break;
	default:
		view = fresh ? examine_page(page, index) : glance_at_page(page, index);
		if (!page_is_sound(view) || (fresh && view.state == PAGE_ZERO))
			broken_page(fresh ? FRESH : WORDS, "a mapping", index, view);
		count(fresh ? FRESH_LOOKS : LOOKS, 1);
	}
	return true;
}

/* A fault often costs a thread its turn: make something of those it gets. */
static bool faulter_act(struct actor *actor)
{
	int i;

	for (i = 0; i < 16 && !arena.stop; i++)
		if (!faulter_once(actor))
			return false;
	return true;
}

/* Makes holes, except in an INSERT, and pages that nobody has written. */
static bool puncher_act(struct actor *actor)
{
	const bool pause = !pick(actor, 4);
	const u32 nr = pick(actor, 50) ? 1 + pick(actor, 60) : NR_PAGES;
	const u32 index = pick(actor, NR_PAGES - nr + 1);
	int ret;

	if (arena.phase == INSERT || arena.once || !pick(actor, 4)) {
		ret = preallocate(arena.fd, PG(index), PG(nr));
		count(ALLOCATIONS, 1);
	} else {
		ret = punch(arena.fd, PG(index), PG(nr));
		count(PUNCHES, 1);
	}
	if (ret && !arena.pulled)
		broken(CALLS, "fallocate() of %u pages at page %u returned %d", nr, index, ret);

	if (pause)
		usleep(pick(actor, 400));
	return true;
}

static bool slot_act(struct actor *actor)
{
	if (arena.pulled)
		return false;
	slot_toggle();
	usleep(pick(actor, arena.slot_gpa ? 8000 : 1000));
	return true;
}

struct actor actors[] = {
	{ "pwrite()", writer_setup, writer_act, .is_writer = true },
	{ "pwritev()", writer_setup, writer_act, .is_writer = true },
	{ "io_uring", uring_setup, uring_act, .is_writer = true },
	{ "splice()", splicer_setup, splicer_act, .is_writer = true },
	{ "mapping", faulter_setup, faulter_act },
	{ "mapping", faulter_setup, faulter_act },
	{ "fallocate()", NULL, puncher_act },
	{ "memslots", NULL, slot_act },
	{ "vCPU", vcpu_setup, vcpu_act },
	{ "vCPU", vcpu_setup, vcpu_act },
};

const unsigned int nr_actors = ARRAY_SIZE(actors);
