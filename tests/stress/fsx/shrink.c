// SPDX-License-Identifier: GPL-2.0-only
/*
 * Make a sequence that fails short: leave operations out, in ever smaller pieces,
 * then make their kinds and arguments simple, as long as it still fails.
 */
#include <string.h>
#include <time.h>

#include "fsx.h"

/* Rather a sequence that isn't the shortest than none. */
#define TIME_LIMIT_S	180

static time_t deadline;

static bool time_is_up(void)
{
	return time(NULL) > deadline;
}

/* If @ops fail as well they take the place of @best, up to where they fail. */
static bool fails_too(struct op *best, int *nr_best, const struct op *ops, int nr)
{
	const enum outcome outcome = play_ops(ops, nr);

	if (outcome == AGREES || outcome == UNUSABLE)
		return false;

	*nr_best = attempt->nr;
	memcpy(best, attempt->ops, attempt->nr * sizeof(*best));
	return true;
}

/* The first one stays: without a file there's nothing. */
static bool leave_out(struct op *ops, int *nr, int size)
{
	static struct op some[MAX_STINT];
	bool shorter = false;
	int at = max(*nr - size, 1), end;

	while (at >= 1 && !time_is_up()) {
		end = min(at + size, *nr);
		memcpy(some, ops, at * sizeof(*ops));
		memcpy(some + at, ops + end, (*nr - end) * sizeof(*ops));
		if (at < end && fails_too(ops, nr, some, *nr - (end - at)))
			shorter = true;
		if (at == 1)
			break;
		at = max(min(at, *nr) - size, 1);
	}
	return shorter;
}

static bool simplify(struct op *ops, int *nr, int nth, int arg)
{
	static struct op some[MAX_STINT];
	const long value = ops[nth].args[arg];
	const long simpler[] = {
		0, 1, PAGE, value / PAGE * PAGE, value / 2 / PAGE * PAGE, value - 16 * PAGE,
		value - PAGE, value / 2, value - 1,
	};
	unsigned int i;

	for (i = 0; i < sizeof(simpler) / sizeof(*simpler) && !time_is_up(); i++) {
		if (simpler[i] < 0 || (value >= 0 && simpler[i] >= value))
			continue;

		memcpy(some, ops, *nr * sizeof(*ops));
		some[nth].args[arg] = simpler[i];
		if (fails_too(ops, nr, some, *nr))
			return true;
	}
	return false;
}

/* Some numbers would take forever to come down to where they fail no more. */
static bool simplify_far(struct op *ops, int *nr, int nth, int arg)
{
	int times = 0;

	while (nth < *nr && times < 20 && simplify(ops, nr, nth, arg))
		times++;

	return times;
}

/* Of the same first arguments. */
static bool simplify_kind(struct op *ops, int *nr, int nth)
{
	static const char * const simpler[][2] = {
		{ "pwritev2", "pwritev" }, { "pwritev", "pwrite" }, { "limit", "pwrite" },
		{ "writev", "write" }, { "append", "write" }, { "fork", "write" },
	};
	static struct op some[MAX_STINT];
	unsigned int i;

	for (i = 0; i < sizeof(simpler) / sizeof(*simpler) && !time_is_up(); i++) {
		if (strcmp(op_kinds[ops[nth].kind].name, simpler[i][0]))
			continue;

		memcpy(some, ops, *nr * sizeof(*ops));
		some[nth].kind = op_kind(simpler[i][1]);
		return fails_too(ops, nr, some, *nr);
	}
	return false;
}

int shrink(struct op *ops, int nr)
{
	bool better = true;
	int size, i, arg;

	deadline = time(NULL) + TIME_LIMIT_S;
	while (better && !time_is_up()) {
		better = false;
		for (size = nr / 2; size; size /= 2)
			better |= leave_out(ops, &nr, size);

		for (i = 0; i < nr; i++)
			better |= simplify_kind(ops, &nr, i);

		for (i = 0; i < nr; i++)
			for (arg = 0; i < nr && arg < op_kinds[ops[i].kind].nr_args; arg++)
				better |= simplify_far(ops, &nr, i, arg);
	}
	return nr;
}
