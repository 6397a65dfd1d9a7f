// SPDX-License-Identifier: GPL-2.0-only
/*
 * Make operations up: mostly such that something happens, near to where something
 * happened before, and some that must be refused.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fsx.h"

#define MMAP		GUEST_MEMFD_FLAG_MMAP
#define SHARED		GUEST_MEMFD_FLAG_INIT_SHARED
#define WRITE		GUEST_MEMFD_FLAG_WRITE
#define ONCE		GUEST_MEMFD_FLAG_NO_OVERWRITE

static long stint_length, made, hot_page;
/* Steps to go of: look at the times, have something refused, look again. */
static int times_to_go;
static bool looked;

void start_making(unsigned long seed, unsigned long stint)
{
	seed_random(seed, stint);
	made = 0;
	hot_page = 0;
	looked = false;
	times_to_go = 0;
	stint_length = chance(10) ? 10 + random_below(50) : 500 + random_below(1400);
}

static void spoil(long *off, long *len);

static int random_kind(void)
{
	static long sum;
	long pick;
	int kind;

	if (!sum)
		for (kind = 0; kind < nr_op_kinds; kind++)
			sum += op_kinds[kind].weight;

	pick = random_below(sum);
	for (kind = 0; pick >= op_kinds[kind].weight; kind++)
		pick -= op_kinds[kind].weight;
	return kind;
}

static void set_op(struct op *op, const char *name, long a, long b, long c, long d)
{
	*op = (struct op) { op_kind(name), { a, b, c, d } };
}

/* Leave nothing unseen, nor in the pipe. */
static bool make_last_op(struct op *op)
{
	const struct slot *slot = model.slots;
	int i;

	if (model.nr_pieces) {
		set_op(op, "drain", 0, 0, 0, 0);
		return true;
	}
	if (!model_readable() && model_bindable() && model.vm &&
	    (slot->stale || slot->pages != model.pages)) {
		for (i = 0; i < NR_SLOTS; i++) {
			if (!slot[i].pages)
				continue;
			set_op(op, "unbind", i, 0, 0, 0);
			return true;
		}
		set_op(op, "bind", 0, 0, 0, model.pages);
		return true;
	}
	if (looked)
		return false;

	looked = true;
	set_op(op, "look", 0, 0, 0, 0);
	return true;
}

/* Let the guest see something of the file that there is now. */
static bool make_memslot(struct op *op)
{
	int i, nr = 0;

	if (!model.vm)
		return false;

	for (i = 0; i < NR_SLOTS; i++) {
		nr += !!model.slots[i].pages;
		if (model.slots[i].pages && model.slots[i].stale) {
			set_op(op, "unbind", i, 0, 0, 0);
			return true;
		}
	}
	if (!nr)
		set_op(op, "bind", random_below(NR_SLOTS), random_below(NR_PLACES), 0, model.pages);
	return !nr;
}

static bool make_times_op(struct op *op)
{
	if (!times_to_go)
		return false;

	op->kind = op_kind(times_to_go == 2 ? "pwrite" : "stat");
	make_pwrite(op->args);
	if (times_to_go == 2 && chance(50))
		spoil(&op->args[3], &op->args[2]);
	else if (times_to_go == 2)
		op->args[1] = SOURCE_SIZE;
	times_to_go--;
	return true;
}

bool make_op(struct op *op)
{
	if (!made++) {
		op->kind = op_kind("new");
		make_new(op->args);
		return true;
	}
	/* There isn't much to do with what cannot be written. */
	if (made > (model.flags & WRITE && model.flags & SHARED ? stint_length : 80))
		return make_last_op(op);

	if (make_times_op(op))
		return true;
	if (chance(10) && make_memslot(op))
		return true;

	do {
		op->kind = random_kind();
	} while (!op_kinds[op->kind].make(op->args));

	return true;
}

/* --- arguments --- */

static long random_fd(void)
{
	long fd;

	do {
		fd = random_below(NR_FDS);
	} while (!model.fds[fd]);
	return fd;
}

static long random_nr_pages(void)
{
	const int kind = random_below(100);

	if (kind < 66)
		return 1 + random_below(3);
	if (kind < 96)
		return 1 + random_below(10);
	/* About what KVM writes at once. */
	if (kind < 98)
		return 60 + random_below(10);
	return 1 + random_below(model.pages);
}

/* Whole pages within the file. */
static void random_range(long *off, long *len)
{
	const long blocks = model.pages / BLOCK_PAGES;
	long nr = min(random_nr_pages(), model.pages);
	long page = random_below(model.pages - nr + 1);

	if (blocks && chance(6)) {
		nr = BLOCK_PAGES * (1 + random_below(blocks));
		page = BLOCK_PAGES * random_below(blocks - nr / BLOCK_PAGES + 1);
	} else if (chance(60)) {
		page = min(max(hot_page - 4 + random_below(9), 0), model.pages - nr);
	}
	hot_page = page;
	*off = page * PAGE;
	*len = nr * PAGE;
}

/* What must be refused, or do nothing. */
static void spoil(long *off, long *len)
{
	switch (random_below(8)) {
	case 0:
		*len += random_below(PAGE);
		break;
	case 1:
		*len -= random_below(PAGE);
		break;
	case 2:
		*off += random_below(PAGE);
		break;
	case 3:
		*off = model.size - (*len - PAGE);
		break;
	case 4:
		*off = model.size + random_below(3) * PAGE;
		break;
	case 5:
		*off = 1l << (30 + random_below(13));
		break;
	case 6:
		*len = 0;
		break;
	default:
		*off += random_below(2);
		*len = random_below(PAGE);
	}
	*len = min(max(*len, 0), MAX_PAGES * PAGE);
}

static void random_request(long *off, long *len)
{
	random_range(off, len);
	if (chance(7))
		spoil(off, len);
}

static long readable_at(long len)
{
	const long room = SOURCE_SIZE - len;

	if (room <= 0)
		return 0;
	if (chance(20))
		return random_below(room + 1);
	if (chance(15))
		return random_below(room / PAGE + 1) * PAGE;
	return random_below(room / 8 + 1) * 8;
}

/* Some of the source is unreadable at times, from anywhere on. */
static long random_at(long len)
{
	if (!chance(6))
		return readable_at(len);
	if (chance(50))
		return SOURCE_SIZE - random_below(len / PAGE + 1) * PAGE;
	return SOURCE_SIZE - min(random_below(len + 1), SOURCE_SIZE);
}

static long random_segs(void)
{
	return 1 + random_below(chance(70) ? 5 : MAX_SEGS);
}

/* Where a request of the file's position would be refused, move that. */
static bool position_is_of_use(void)
{
	return (model.pos % PAGE == 0 && model.pos < model.size) || chance(10);
}

static void request_at_position(long *len)
{
	long off;

	random_request(&off, len);
	if (!chance(4))
		*len = min(*len, max(model.size - model.pos, PAGE));
}

/* --- operations --- */

bool make_nothing(long *args)
{
	(void)args;
	return true;
}

bool make_new(long *args)
{
	const int flags = random_below(100), pages = random_below(100);

	args[0] = flags < 58 ? MMAP | SHARED | WRITE :
		  flags < 80 ? MMAP | SHARED | WRITE | ONCE :
		  flags < 84 ? SHARED | WRITE :
		  flags < 88 ? SHARED | WRITE | ONCE :
		  flags < 91 ? WRITE :
		  flags < 94 ? MMAP | WRITE :
		  flags < 95 ? MMAP | WRITE | ONCE :
		  flags < 98 ? MMAP | SHARED : 0;
	args[1] = pages < 10 ? 1 + random_below(3) :
		  pages < 55 ? 4 + random_below(36) :
		  pages < 75 ? 60 + random_below(10) :
		  pages < 94 ? 1 + random_below(MOST_PAGES) :
			       BLOCK_PAGES + random_below(MAX_PAGES - BLOCK_PAGES + 1);
	return true;
}

/* Not too early, lest the guest sees nothing. */
bool make_close_vm(long *args)
{
	(void)args;
	return model.vm && made > stint_length / 4 * 3;
}

bool make_dup(long *args)
{
	args[0] = random_fd();
	args[1] = random_below(NR_FDS);
	return args[0] != args[1];
}

bool make_close(long *args)
{
	args[0] = random_fd();
	return model.fds[0] + model.fds[1] + model.fds[2] > 1;
}

/* fd at len */
bool make_write(long *args)
{
	if (!position_is_of_use())
		return false;

	args[0] = random_fd();
	request_at_position(&args[2]);
	args[1] = random_at(args[2]);
	return true;
}

/* fd at len segs cuts */
bool make_writev(long *args)
{
	if (!make_write(args))
		return false;

	args[3] = random_segs();
	args[4] = random_below(1 << 16);
	return true;
}

/* fd at len off */
bool make_pwrite(long *args)
{
	args[0] = random_fd();
	random_request(&args[3], &args[2]);
	args[1] = random_at(args[2]);
	return true;
}

/* fd at len off segs cuts */
bool make_pwritev(long *args)
{
	make_pwrite(args);
	args[4] = random_segs();
	args[5] = random_below(1 << 16);
	return true;
}

/* fd at len off segs cuts flags */
bool make_pwritev2(long *args)
{
	static const int flags[] = {
		0, RWF_HIPRI, RWF_DSYNC, RWF_SYNC, 0x20 /* RWF_NOAPPEND */, RWF_APPEND,
		RWF_NOWAIT, 0x40 /* RWF_ATOMIC */,
	};

	make_pwritev(args);
	args[6] = flags[random_below(chance(70) ? 5 : 8)];
	if (!chance(25))
		return true;

	args[3] = -1;
	request_at_position(&args[2]);
	args[1] = random_at(args[2]);
	return position_is_of_use();
}

/* fd at len off limit */
bool make_limit(long *args)
{
	make_pwrite(args);
	args[4] = args[3] + random_below(args[2] + 2 * PAGE) - PAGE;
	if (chance(50))
		args[4] = args[4] / PAGE * PAGE;
	return args[4] >= 0;
}

/* fd op at len off segs cuts */
bool make_uring(long *args)
{
	args[0] = random_fd();
	args[1] = random_below(3);
	random_request(&args[4], &args[3]);
	if (chance(25)) {
		if (!position_is_of_use())
			return false;
		args[4] = -1;
		request_at_position(&args[3]);
	}
	args[2] = args[1] == 2 ? readable_at(args[3]) : random_at(args[3]);
	args[5] = args[1] == 1 ? random_segs() : 1;
	args[6] = random_below(1 << 16);
	return true;
}

/* fd from len off */
bool make_pwrite_map(long *args)
{
	args[0] = random_fd();
	random_request(&args[3], &args[2]);
	args[1] = random_below(max(model.size - args[2], 0) + 1);
	if (chance(60))
		args[1] = args[1] / PAGE * PAGE;
	if (chance(40))
		args[1] = args[3] + random_below(3 * PAGE) - PAGE;
	return model_mapped();
}

/* off at len */
bool make_store(long *args)
{
	long len;

	random_range(&args[0], &len);
	args[2] = chance(50) ? 4 + random_below(64) * 4 : min(len, 8 * PAGE);
	args[0] += random_below((len - min(len, args[2])) / 4 + 1) * 4;
	args[1] = readable_at(args[2]);
	return model_readable();
}

/* to from len */
bool make_move(long *args)
{
	random_range(&args[0], &args[2]);
	args[2] = min(args[2], 4 * PAGE) / 4 * 4;
	if (chance(50))
		args[2] = 4 + random_below(args[2] / 4) * 4;
	args[1] = random_below(model.size - args[2] + 1);
	return model_readable();
}

/* off */
bool make_touch(long *args)
{
	long len;

	random_range(&args[0], &len);
	args[0] += random_below(PAGE);
	return model_mapped();
}

/* off len advice */
bool make_madvise(long *args)
{
	static const int advices[] = { MADV_DONTNEED, MADV_POPULATE_READ, MADV_POPULATE_WRITE };

	random_range(&args[0], &args[1]);
	args[2] = advices[random_below(3)];
	return model_mapped();
}

/* fd off len */
bool make_file_range(long *args)
{
	args[0] = random_fd();
	random_request(&args[1], &args[2]);
	return true;
}

/* fd off whence */
bool make_seek(long *args)
{
	long len;

	args[0] = random_fd();
	random_range(&args[1], &len);
	if (chance(15))
		args[1] += random_below(PAGE);
	args[2] = chance(60) ? SEEK_SET : random_below(6);
	if (args[2] == SEEK_CUR && chance(90))
		args[1] -= model.pos;
	if (args[2] == SEEK_END && chance(90))
		args[1] -= model.size;
	if (chance(5))
		args[1] = random_below(model.size * 3) - model.size;
	return true;
}

/* fd */
bool make_stat(long *args)
{
	args[0] = random_fd();
	if (chance(50))
		times_to_go = 2;
	return true;
}

/* fd what */
bool make_refused(long *args)
{
	args[0] = random_fd();
	args[1] = random_below(11);
	return true;
}

/* at len chunk */
bool make_fill(long *args)
{
	args[1] = chance(60) ? (1 + random_below(7)) * PAGE : 1 + random_below(4 * PAGE);
	args[0] = readable_at(args[1]);
	args[2] = chance(50) ? PAGE : 100 + random_below(PAGE);
	return model_queued() < 16 * PAGE;
}

/* at len */
bool make_vmsplice(long *args)
{
	args[1] = chance(60) ? (1 + random_below(7)) * PAGE : 1 + random_below(4 * PAGE);
	args[0] = readable_at(args[1]);
	return model_queued() < 16 * PAGE;
}

/* fd off len */
bool make_splice(long *args)
{
	args[0] = random_fd();
	random_request(&args[1], &args[2]);
	if (chance(25)) {
		args[1] = -1;
		request_at_position(&args[2]);
	}
	return model.nr_pieces || chance(5);
}

/* fd from len off punch */
bool make_vmsplice_map(long *args)
{
	make_pwrite_map(args);
	args[4] = random_below(2);
	return args[2] && model_mapped();
}

/* fd from len */
bool make_sendfile(long *args)
{
	args[0] = random_fd();
	request_at_position(&args[2]);
	args[1] = random_at(args[2]);
	return position_is_of_use();
}

/* slot place first pages */
bool make_bind(long *args)
{
	long off, len;

	random_range(&off, &len);
	args[0] = random_below(NR_SLOTS);
	args[1] = random_below(NR_PLACES);
	args[2] = off / PAGE;
	args[3] = len / PAGE;
	if (chance(40)) {
		args[2] = 0;
		args[3] = model.pages;
	}
	if (chance(5))
		args[2] += model.pages;
	return model.vm;
}

/* slot */
bool make_unbind(long *args)
{
	args[0] = random_below(NR_SLOTS);
	return model.vm && (model.slots[args[0]].pages || chance(5));
}

/* place off words */
bool make_guest(long *args)
{
	const struct slot *slot;
	long bytes;

	args[0] = random_below(NR_PLACES);
	slot = model_slot_at(args[0]);
	bytes = slot ? slot->pages * PAGE : PAGE;
	args[2] = 1 + random_below(16);
	if (slot && model_guest_sees(slot) && chance(60))
		args[2] = WINDOW_WORDS;
	args[1] = random_below((bytes - args[2] * 4) / 4 + 1) * 4;
	if (args[2] == WINDOW_WORDS && chance(70))
		args[1] = args[1] / PAGE * PAGE;
	if (!slot)
		args[2] = 1;
	/* Mostly where there is something. */
	return model.vm && (slot || chance(3));
}

/* place off at words */
bool make_guest_write(long *args)
{
	const bool made_it = make_guest(args);

	args[3] = args[2];
	args[2] = readable_at(args[3] * 4);
	return made_it;
}

/* fd at len store */
bool make_fork(long *args)
{
	long len;

	/* The dearest of all. */
	if (chance(50) || !make_write(args))
		return false;

	args[1] = readable_at(max(args[2], 64));
	random_range(&args[3], &len);
	if (!model_readable() || chance(40))
		args[3] = -1;
	return true;
}
