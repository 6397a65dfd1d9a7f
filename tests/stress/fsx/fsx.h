/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Model-based testing of guest_memfd: random operations are played on a real one
 * and on a model, and both have to agree.
 */
#ifndef FSX_H
#define FSX_H

#include "play.h"

/*
 * A file: small as a rule, so that operations meet, or with blocks of the largest folio
 * (with pages of 4 KiB); and a stint of operations, that begins with a new machine and file.
 */
#define MOST_PAGES	160
#define BLOCK_PAGES	512
#define MAX_PAGES	1200
#define MAX_STINT	2048
#define MAX_ARGS	7

static inline long min(long a, long b)
{
	return a < b ? a : b;
}

static inline long max(long a, long b)
{
	return a > b ? a : b;
}

/* --- ops.c: the kinds of operations --- */

struct op {
	int kind;
	long args[MAX_ARGS];
};

struct op_kind {
	const char *name;
	int nr_args;
	/* How often, relative to others. */
	int weight;
	/* Make arguments up; false if there is nothing to do it to. */
	bool (*make)(long *args);
	/* Play it here and there, compare; false if it does not apply. */
	bool (*run)(const long *args);
};

extern const struct op_kind op_kinds[];
extern const int nr_op_kinds;

int op_kind(const char *name);
bool run_op(const struct op *op);

/* --- make.c: make operations up --- */

void start_making(unsigned long seed, unsigned long stint);
/* False if the stint is over. */
bool make_op(struct op *op);
bool make_new(long *args);
bool make_close_vm(long *args);
bool make_dup(long *args);
bool make_close(long *args);
bool make_write(long *args);
bool make_pwrite(long *args);
bool make_writev(long *args);
bool make_pwritev(long *args);
bool make_pwritev2(long *args);
bool make_limit(long *args);
bool make_uring(long *args);
bool make_pwrite_map(long *args);
bool make_store(long *args);
bool make_move(long *args);
bool make_touch(long *args);
bool make_madvise(long *args);
bool make_file_range(long *args);
bool make_seek(long *args);
bool make_stat(long *args);
bool make_refused(long *args);
bool make_fill(long *args);
bool make_vmsplice(long *args);
bool make_splice(long *args);
bool make_vmsplice_map(long *args);
bool make_sendfile(long *args);
bool make_bind(long *args);
bool make_unbind(long *args);
bool make_guest(long *args);
bool make_guest_write(long *args);
bool make_fork(long *args);
bool make_nothing(long *args);

/* --- random.c --- */

void seed_random(unsigned long seed, unsigned long stream);
long random_below(long n);
bool chance(int percent);

/* --- model.c: what the file must be, and what each call must return --- */

enum page_state {
	HOLE,
	/* By fallocate(), and not accessed since: a hole to whoever looks. */
	ALLOCATED,
	DATA,
};

struct slot {
	long place, first, pages;	/* not bound: no pages */
	bool stale;			/* its file has been closed */
};

/* What the pipe holds, one after the other: pieces of the source. */
struct piece {
	long at, len;
};

struct model {
	bool vm;
	bool fds[NR_FDS];
	long flags, pages, size, pos;
	enum page_state state[MAX_PAGES];
	/* Since it was a hole, by write() and its kin: it is dirty. */
	bool written[MAX_PAGES];
	/* May have become data as another page was touched, of the same folio or source. */
	bool came_along[MAX_PAGES];
	/* Punched while something held it: the memory may still be there. */
	bool held[MAX_PAGES];
	/* All zeros where it isn't data. */
	unsigned char bytes[MAX_PAGES * PAGE];
	struct slot slots[NR_SLOTS];
	struct piece pipe[256];
	int nr_pieces;
	/* Whether the modification time may have moved since it was asked for. */
	bool modified;
	/* The pages that an operation had to do with. */
	long first, last;
};

extern struct model model;

/* Models that are wrong on purpose, to see whether that is found. */
extern const char *wrong_model;
extern const char * const wrong_models[];

#define NO_LIMIT	(1l << 62)

bool model_mapped(void);
bool model_bindable(void);
bool model_readable(void);
void model_new(long flags, long pages);
void model_new_file(long flags, long pages);
void model_touch(long off, long len);
void model_store(long off, const void *from, long len);
long model_may_write(long off, long len, long limit);
long model_write(const struct iovec *iov, int nr, long off, long limit);
long model_publishable(long off, long len);
long model_publish(long off, const void *from, long len);
long model_publish_overlapping(long off, long from, long len, const unsigned char *old);
long model_publish_what_is_absent(long off, long from, long len);
bool model_overwrites(void);
long model_fallocate(long off, long len);
long model_punch(long off, long len);
long model_seek(long off, long whence);
long model_bind(int slot, long place, long first, long pages);
bool model_guest_sees(const struct slot *slot);
struct slot *model_slot_at(long place);
long model_queued(void);
long model_splice(long len, long off);
void copy_bytes(void *to, const void *from, long len);

/* --- look.c: compare the file with the model --- */

long differing_byte(const unsigned char *got, const unsigned char *want, long len);
void look_after_op(void);
void look_at_file(void);
void look_at_window(const struct slot *slot, long off, long words);

/* --- attempt.c: play in a process of its own --- */

struct attempt {
	/* Of this stint, the last being the one at work. */
	struct op ops[MAX_STINT];
	int nr;
	unsigned long stint, done;
	unsigned long counts[64];
	bool stop;
	/* How it went wrong. */
	bool failed;
	char what[256];
	long want, got;
};

enum outcome {
	AGREES,
	DIFFERS,
	CRASHES,
	HANGS,
	/* The lab is to blame. */
	UNUSABLE,
};

/* Shared with the process that plays. */
extern struct attempt *attempt;

struct options {
	unsigned long seed, ops, seconds;
};

void init_attempts(void);
enum outcome play_random(const struct options *options);
enum outcome play_ops(const struct op *ops, int nr);
/* The result of the operation at work. */
void result(long want, long got);
/* Anything else that has to agree. */
void expect(long want, long got, const char *what);

/* --- shrink.c, sequence.c --- */

int shrink(struct op *ops, int nr);
void print_op(FILE *out, const struct op *op, const char *after);
void print_sequence(FILE *out, const struct op *ops, int nr);
int read_sequence(const char *path, struct op *ops);

#endif /* FSX_H */
