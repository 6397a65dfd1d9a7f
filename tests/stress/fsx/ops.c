// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kinds of operations: each is played on the model and on the file, and the
 * results are compared.  What they left behind is looked at afterwards.
 *
 * The arguments may be anything: operations are taken out of a sequence, and
 * numbers are made smaller, to find a short one.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fsx.h"

static bool is_open(long fd)
{
	return fd >= 0 && fd < NR_FDS && model.fds[fd];
}

static bool is_source(long at, long len)
{
	return at >= 0 && at <= SOURCE_SIZE && len >= 0 && len <= MAX_PAGES * PAGE;
}

static bool is_readable_source(long at, long len)
{
	return is_source(at, len) && at + len <= SOURCE_SIZE;
}

static bool is_of_file(long off, long len)
{
	return off >= 0 && len >= 0 && off + len <= model.size;
}

static bool has_segs(long segs)
{
	return segs >= 1 && segs <= MAX_SEGS;
}

/* What moves the file's position by what it wrote. */
static long move_on(long ret)
{
	if (ret > 0 && strcmp(wrong_model, "position"))
		model.pos += ret;
	return ret;
}

#define FLAGS	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED |	\
		 GUEST_MEMFD_FLAG_WRITE | GUEST_MEMFD_FLAG_NO_OVERWRITE)

static bool is_new_file(long flags, long pages)
{
	return pages >= 1 && pages <= MAX_PAGES && !(flags & ~FLAGS) &&
	       (flags & GUEST_MEMFD_FLAG_WRITE || !(flags & GUEST_MEMFD_FLAG_NO_OVERWRITE));
}

static bool run_new(const long *args)
{
	if (!is_new_file(args[0], args[1]))
		return false;

	model_new(args[0], args[1]);
	result(0, play_new(args[0], args[1]));
	return true;
}

static bool run_new_file(const long *args)
{
	if (!model.vm || !is_new_file(args[0], args[1]))
		return false;

	model_new_file(args[0], args[1]);
	result(0, play_new_file(args[0], args[1]));
	return true;
}

static bool run_close_vm(const long *args)
{
	(void)args;
	if (!model.vm)
		return false;

	model.vm = false;
	result(0, play_close_vm());
	return true;
}

static bool run_dup(const long *args)
{
	if (!is_open(args[0]) || args[0] == args[1] || args[1] < 0 || args[1] >= NR_FDS)
		return false;

	model.fds[args[1]] = true;
	result(0, play_dup(args[0], args[1]));
	return true;
}

static bool run_close(const long *args)
{
	if (!is_open(args[0]) || model.fds[0] + model.fds[1] + model.fds[2] < 2)
		return false;

	model.fds[args[0]] = false;
	result(0, play_close(args[0]));
	return true;
}

static bool run_remap(const long *args)
{
	(void)args;
	result(0, play_remap());
	return true;
}

static long write_segs(long at, long len, long segs, long cuts, long off)
{
	struct iovec iov[MAX_SEGS];

	return model_write(iov, cut(iov, at, len, segs, cuts), off, NO_LIMIT);
}

static bool run_write(const long *args)
{
	long want;

	if (!is_open(args[0]) || !is_source(args[1], args[2]))
		return false;

	want = move_on(write_segs(args[1], args[2], 1, 0, model.pos));
	result(want, play_write(args[0], args[1], args[2]));
	return true;
}

static bool run_pwrite(const long *args)
{
	long want;

	if (!is_open(args[0]) || !is_source(args[1], args[2]) || args[3] < 0)
		return false;

	want = write_segs(args[1], args[2], 1, 0, args[3]);
	result(want, play_pwrite(args[0], args[1], args[2], args[3]));
	return true;
}

/* The VFS does not even ask the file if there is nothing in the segments. */
static long write_segs_by_vfs(long at, long len, long segs, long cuts, long off)
{
	return len ? write_segs(at, len, segs, cuts, off) : 0;
}

static bool run_writev(const long *args)
{
	long want;

	if (!is_open(args[0]) || !is_source(args[1], args[2]) || !has_segs(args[3]))
		return false;

	want = move_on(write_segs_by_vfs(args[1], args[2], args[3], args[4], model.pos));
	result(want, play_writev(args[0], args[1], args[2], args[3], args[4]));
	return true;
}

static bool run_pwritev(const long *args)
{
	long want;

	if (!is_open(args[0]) || !is_source(args[1], args[2]) || args[3] < 0 ||
	    !has_segs(args[4]))
		return false;

	want = write_segs_by_vfs(args[1], args[2], args[4], args[5], args[3]);
	result(want, play_pwritev(args[0], args[1], args[2], args[3], args[4], args[5]));
	return true;
}

static bool run_pwritev2(const long *args)
{
	const long off = args[3] == -1 ? model.pos : args[3];
	long want;

	if (!is_open(args[0]) || !is_source(args[1], args[2]) || off < 0 || !has_segs(args[4]))
		return false;

	if (!args[2]) {
		want = 0;
	} else if (args[6] & (RWF_NOWAIT | 0x40)) {
		want = -EOPNOTSUPP;
	} else {
		want = write_segs(args[1], args[2], args[4], args[5],
				  args[6] & RWF_APPEND ? model.size : off);
		if (args[3] == -1)
			move_on(want);
	}
	result(want, play_pwritev2(args[0], args[1], args[2], args[3], args[4], args[5], args[6]));
	return true;
}

static bool run_append(const long *args)
{
	long want;

	if (!is_open(args[0]) || !is_source(args[1], args[2]))
		return false;

	want = write_segs(args[1], args[2], 1, 0, model.size);
	result(want, play_append(args[0], args[1], args[2]));
	return true;
}

static bool run_limit(const long *args)
{
	struct iovec iov[1];
	long want;

	if (!is_open(args[0]) || !is_source(args[1], args[2]) || args[3] < 0 || args[4] < 0)
		return false;

	want = model_write(iov, cut(iov, args[1], args[2], 1, 0), args[3], args[4]);
	result(want, play_limit(args[0], args[1], args[2], args[3], args[4]));
	return true;
}

static bool run_uring(const long *args)
{
	const long off = args[4] == -1 ? model.pos : args[4];
	long want;

	if (!is_open(args[0]) || args[1] < 0 || args[1] > 2 || off < 0 || !has_segs(args[5]) ||
	    !is_source(args[2], args[3]))
		return false;
	if (args[1] == 2 && !is_readable_source(args[2], args[3]))
		return false;

	want = write_segs(args[2], args[3], args[1] == 1 ? args[5] : 1, args[6], off);
	/*
	 * io_uring goes on after a short write, and does not move the position of
	 * any file if that fails, though it tells of what was written.
	 */
	if (args[4] == -1 && want == args[3])
		move_on(want);
	result(want, play_uring(args[0], args[1], args[2], args[3], args[4], args[5], args[6]));
	return true;
}

/* What the pages had that a call is about to write elsewhere. */
static unsigned char own_bytes[MAX_PAGES * PAGE];

static void read_own_pages(long from, long len)
{
	model_touch(from, len);
	copy_bytes(own_bytes, model.bytes + from, len);
}

static bool run_pwrite_map(const long *args)
{
	long want;

	if (!is_open(args[0]) || !model_mapped() || !is_of_file(args[1], args[2]) || args[3] < 0)
		return false;

	/* How far ahead the source is read decides which page is populated already. */
	if (!model_overwrites() && labs(args[1] - args[3]) < args[2] + PAGE)
		return false;

	want = model_may_write(args[3], args[2], NO_LIMIT);
	if (want > 0 && !model_overwrites())
		want = model_publish_what_is_absent(args[3], args[1], want);
	else if (want > 0)
		want = model_publishable(args[3], want);
	result(want, play_pwrite_map(args[0], args[1], args[2], args[3]));
	if (want > 0 && model_overwrites()) {
		read_own_pages(args[1], args[2]);
		model_publish_overlapping(args[3], args[1], args[2], own_bytes);
	}
	return true;
}

static bool run_store(const long *args)
{
	if (!model_readable() || !is_readable_source(args[1], args[2]) ||
	    !is_of_file(args[0], args[2]) || (args[0] | args[2]) % 4)
		return false;

	model_store(args[0], world.source + args[1], args[2]);
	result(0, play_store(args[0], args[1], args[2]));
	return true;
}

static bool run_move(const long *args)
{
	static unsigned char buf[16 * PAGE];

	if (!model_readable() || !is_of_file(args[0], args[2]) || !is_of_file(args[1], args[2]) ||
	    args[2] > (long)sizeof(buf) || args[2] % 4)
		return false;

	model_touch(args[1], args[2]);
	copy_bytes(buf, model.bytes + args[1], args[2]);
	model_store(args[0], buf, args[2]);
	result(0, play_move(args[0], args[1], args[2]));
	return true;
}

static bool run_touch(const long *args)
{
	if (!model_mapped() || !is_of_file(args[0], 1))
		return false;

	if (model_readable())
		model_touch(args[0], 1);
	result(model_readable() ? 0 : -EFAULT, play_touch(args[0]));
	return true;
}

static bool run_madvise(const long *args)
{
	long want = 0;

	if (!model_mapped() || !is_of_file(args[0], args[1]) || args[0] % PAGE || !args[1] ||
	    (args[2] != MADV_DONTNEED && args[2] != MADV_POPULATE_READ &&
	     args[2] != MADV_POPULATE_WRITE))
		return false;

	if (args[2] != MADV_DONTNEED) {
		if (model_readable())
			model_touch(args[0], args[1]);
		else
			want = -EFAULT;
	}
	result(want, play_madvise(args[0], args[1], args[2]));
	return true;
}

static bool run_fallocate(const long *args)
{
	if (!is_open(args[0]))
		return false;

	result(model_fallocate(args[1], args[2]), play_fallocate(args[0], args[1], args[2]));
	return true;
}

static bool run_punch(const long *args)
{
	if (!is_open(args[0]))
		return false;

	result(model_punch(args[1], args[2]), play_punch(args[0], args[1], args[2]));
	return true;
}

static bool run_seek(const long *args)
{
	if (!is_open(args[0]) || args[2] < 0)
		return false;

	result(model_seek(args[1], args[2]), play_seek(args[0], args[1], args[2]));
	return true;
}

static bool run_stat(const long *args)
{
	if (!is_open(args[0]))
		return false;

	result(model.size, play_stat(args[0]));
	expect(0, play_blocks(args[0]), "st_blocks");
	if (!model.modified)
		expect(0, play_mtime_moved(), "modification time moved");
	model.modified = false;
	return true;
}

static bool run_refused(const long *args)
{
	const long wants[] = {
		-EINVAL, -EINVAL, -EINVAL, -ENXIO, model_mapped() ? -EINVAL : -ENODEV, -EXDEV,
		-EOPNOTSUPP, -EOPNOTSUPP, 0, 0, -EINVAL,
	};

	if (!is_open(args[0]) || args[1] < 0 || args[1] > 10)
		return false;

	result(wants[args[1]], play_refused(args[0], args[1]));
	return true;
}

static long pages_spanned(long at, long len)
{
	return (at % PAGE + len + PAGE - 1) / PAGE;
}

/* Each piece takes a buffer of the pipe, of which there are 256. */
static void queue(long at, long len)
{
	if (len)
		model.pipe[model.nr_pieces++] = (struct piece) { at, len };
}

static bool run_fill(const long *args)
{
	long done, nr, part;

	if (!is_readable_source(args[0], args[1]) || args[2] < 1 ||
	    model.nr_pieces + (args[1] / args[2] + 1) * pages_spanned(0, args[2]) > 200)
		return false;

	for (done = 0; done < args[1]; done += nr) {
		nr = min(args[1] - done, args[2]);
		for (part = 0; part < nr; part += PAGE)
			queue(args[0] + done + part, min(nr - part, PAGE));
	}
	result(args[1], play_fill(args[0], args[1], args[2]));
	return true;
}

static bool run_vmsplice(const long *args)
{
	long done, nr;

	if (!is_readable_source(args[0], args[1]) ||
	    model.nr_pieces + pages_spanned(args[0], args[1]) > 200)
		return false;

	for (done = 0; done < args[1]; done += nr) {
		nr = min(args[1] - done, PAGE - (args[0] + done) % PAGE);
		queue(args[0] + done, nr);
	}
	result(args[1], play_vmsplice(args[0], args[1]));
	return true;
}

static bool run_splice(const long *args)
{
	long want;

	if (!is_open(args[0]) || args[1] < -1 || args[2] < 0)
		return false;

	want = model_splice(args[2], args[1] < 0 ? model.pos : args[1]);
	if (args[1] < 0)
		move_on(want);
	result(want, play_splice(args[0], args[1], args[2]));
	return true;
}

static bool run_drain(const long *args)
{
	const unsigned char *want, *got;
	long i, nth, off = 0;

	(void)args;
	result(model_queued(), play_drain());
	got = play_drained_bytes();
	for (i = 0; i < model.nr_pieces; i++) {
		want = world.source + model.pipe[i].at;
		nth = differing_byte(got + off, want, model.pipe[i].len);
		if (nth < model.pipe[i].len)
			expect(want[nth], got[off + nth], "what was left in the pipe");
		off += model.pipe[i].len;
	}
	model.nr_pieces = 0;
	return true;
}

static void punch_held_pages(long first, long nr)
{
	model_punch(first * PAGE, nr * PAGE);
	while (nr--)
		model.held[first + nr] = true;
}

/* @from and @len have been checked; the pipe refers to those pages. */
static long splice_own_pages(long from, long len, long off, long punch)
{
	const long whole = len / PAGE * PAGE;
	long want;

	if (!model_readable())
		return -EFAULT;

	read_own_pages(from, len);
	if (punch)
		punch_held_pages(from / PAGE, pages_spanned(from, len));

	want = model_may_write(off, whole, NO_LIMIT);
	if (model.flags & GUEST_MEMFD_FLAG_WRITE && !whole)
		return -EINVAL;
	return want > 0 ? model_publishable(off, whole) : want;
}

static bool run_vmsplice_map(const long *args)
{
	long want;

	if (!is_open(args[0]) || !model_mapped() || !is_of_file(args[1], args[2]) ||
	    args[3] < 0 || !args[2] || pages_spanned(args[1], args[2]) > 250)
		return false;

	want = splice_own_pages(args[1], args[2], args[3], args[4]);
	result(want, play_vmsplice_map(args[0], args[1], args[2], args[3], args[4]));
	if (want > 0)
		model_publish_overlapping(args[3], args[1], want, own_bytes);
	return true;
}

/* sendfile() hands over what its own pipe of 16 pages holds, piece by piece. */
static long model_sendfile(long from, long len)
{
	struct iovec iov;
	long nr, ret = 0, done = 0;

	while (len > 0 && from < SOURCE_SIZE) {
		nr = min(min(len, 16 * PAGE - from % PAGE), SOURCE_SIZE - from);
		iov = (struct iovec) { world.source + from, nr / PAGE * PAGE };

		ret = model_write(&iov, 1, model.pos + done, NO_LIMIT);
		if (!ret)
			ret = -EINVAL;
		if (ret < 0)
			break;
		done += ret;
		from += ret;
		len -= ret;
		if (ret < nr)
			break;
	}
	return done ?: ret;
}

static bool run_sendfile(const long *args)
{
	long want;

	if (!is_open(args[0]) || !is_source(args[1], args[2]))
		return false;

	want = move_on(model_sendfile(args[1], args[2]));
	result(want, play_sendfile(args[0], args[1], args[2]));
	return true;
}

static bool run_bind(const long *args)
{
	if (!model.vm || args[0] < 0 || args[0] >= NR_SLOTS || args[1] < 0 ||
	    args[1] >= NR_PLACES || args[2] < 0 || args[3] < 1 || args[3] > MAX_PAGES)
		return false;

	result(model_bind(args[0], args[1], args[2], args[3]),
	       play_bind(args[0], args[1], args[2], args[3]));
	return true;
}

static bool run_unbind(const long *args)
{
	if (!model.vm || args[0] < 0 || args[0] >= NR_SLOTS)
		return false;

	result(model.slots[args[0]].pages ? 0 : -EINVAL, play_unbind(args[0]));
	model.slots[args[0]] = (struct slot) {};
	return true;
}

/* Whether a guest may be sent there; @slot is NULL if there's nothing. */
static bool guest_may_go(long place, long off, long words, struct slot **slot)
{
	if (!model.vm || place < 0 || place >= NR_PLACES || off < 0 || off % 4 || words < 1 ||
	    words > WINDOW_WORDS)
		return false;

	*slot = model_slot_at(place);
	return *slot ? off + words * 4 <= (*slot)->pages * PAGE : words <= 4 && off < PAGE - 16;
}

static long guest_result(const struct slot *slot)
{
	return !slot ? -ENXIO : model_guest_sees(slot) ? 0 : -EFAULT;
}

static bool run_guest_write(const long *args)
{
	struct slot *slot;

	if (!guest_may_go(args[0], args[1], args[3], &slot) ||
	    !is_readable_source(args[2], args[3] * 4))
		return false;

	if (!guest_result(slot))
		model_store(slot->first * PAGE + args[1], world.source + args[2], args[3] * 4);
	result(guest_result(slot), play_guest_write(args[0], args[1], args[2], args[3]));
	return true;
}

static bool run_guest_read(const long *args)
{
	struct slot *slot;

	if (!guest_may_go(args[0], args[1], args[2], &slot))
		return false;

	result(guest_result(slot), play_guest_read(args[0], args[1], args[2]));
	if (guest_result(slot))
		return true;

	model_touch(slot->first * PAGE + args[1], args[2] * 4);
	look_at_window(slot, args[1], args[2]);
	return true;
}

static bool run_fork(const long *args)
{
	long want;

	if (!is_open(args[0]) || !is_source(args[1], args[2]) ||
	    !is_readable_source(args[1], 64) ||
	    (args[3] != -1 && (!model_readable() || !is_of_file(args[3], 64) || args[3] % 4)))
		return false;

	want = move_on(write_segs(args[1], args[2], 1, 0, model.pos));
	if (args[3] != -1)
		model_store(args[3], world.source + args[1], 64);
	result(want, play_fork(args[0], args[1], args[2], args[3]));
	return true;
}

static bool run_look(const long *args)
{
	(void)args;
	result(0, 0);
	look_at_file();
	return true;
}

const struct op_kind op_kinds[] = {
	{ "new",	2,  0,	make_new,	run_new },
	{ "new_file",	2,  1,	make_new,	run_new_file },
	{ "close_vm",	0,  2,	make_close_vm,	run_close_vm },
	{ "dup",	2,  6,	make_dup,	run_dup },
	{ "close",	1,  6,	make_close,	run_close },
	{ "remap",	0,  2,	make_nothing,	run_remap },
	{ "write",	3, 30,	make_write,	run_write },
	{ "pwrite",	4, 50,	make_pwrite,	run_pwrite },
	{ "writev",	5, 20,	make_writev,	run_writev },
	{ "pwritev",	6, 35,	make_pwritev,	run_pwritev },
	{ "pwritev2",	7, 15,	make_pwritev2,	run_pwritev2 },
	{ "append",	3,  4,	make_write,	run_append },
	{ "limit",	5, 12,	make_limit,	run_limit },
	{ "uring",	7,  8,	make_uring,	run_uring },
	{ "pwrite_map",	4, 25,	make_pwrite_map, run_pwrite_map },
	{ "store",	3, 30,	make_store,	run_store },
	{ "move",	3, 12,	make_move,	run_move },
	{ "touch",	1, 10,	make_touch,	run_touch },
	{ "madvise",	3, 12,	make_madvise,	run_madvise },
	{ "fallocate",	3, 25,	make_file_range, run_fallocate },
	{ "punch",	3, 45,	make_file_range, run_punch },
	{ "seek",	3, 45,	make_seek,	run_seek },
	{ "stat",	1,  8,	make_stat,	run_stat },
	{ "refused",	2,  5,	make_refused,	run_refused },
	{ "fill",	3, 15,	make_fill,	run_fill },
	{ "vmsplice",	2, 10,	make_vmsplice,	run_vmsplice },
	{ "splice",	3, 30,	make_splice,	run_splice },
	{ "drain",	0,  2,	make_nothing,	run_drain },
	{ "vmsplice_map", 5, 5,	make_vmsplice_map, run_vmsplice_map },
	{ "sendfile",	3, 12,	make_sendfile,	run_sendfile },
	{ "bind",	4,  4,	make_bind,	run_bind },
	{ "unbind",	1,  3,	make_unbind,	run_unbind },
	{ "guest_write", 4, 20,	make_guest_write, run_guest_write },
	{ "guest_read",	3, 16,	make_guest,	run_guest_read },
	{ "fork",	4,  1,	make_fork,	run_fork },
	{ "look",	0,  3,	make_nothing,	run_look },
};

const int nr_op_kinds = sizeof(op_kinds) / sizeof(op_kinds[0]);

int op_kind(const char *name)
{
	int kind = 0;

	while (kind < nr_op_kinds && strcmp(op_kinds[kind].name, name))
		kind++;
	return kind;
}

/* There has to be a file first. */
bool run_op(const struct op *op)
{
	if (!model.pages && op_kinds[op->kind].run != run_new)
		return false;

	return op_kinds[op->kind].run(op->args);
}
