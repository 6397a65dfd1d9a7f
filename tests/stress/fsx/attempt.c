// SPDX-License-Identifier: GPL-2.0-only
/*
 * Play in a process of its own, which has a machine, a file and a model of its
 * own, and may die.  It leaves what it did in shared memory.
 */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fsx.h"

/*
 * A second would do, if this were not emulated, with sanitizers, and shared.  To
 * shrink what hangs takes many of them.
 */
#define HANG_SECONDS	(options ? 60 : 20)
#define PROGRESS_SECONDS	10

struct attempt *attempt;

static void block_sigchld(int how)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	MUST(sigprocmask(how, &child, NULL));
}

void init_attempts(void)
{
	attempt = mmap(NULL, sizeof(*attempt), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(attempt == MAP_FAILED ? -1 : 0);

	/* For sigtimedwait(). The children play with no signal blocked. */
	block_sigchld(SIG_BLOCK);
}

void expect(long want, long got, const char *what)
{
	if (got == want)
		return;

	snprintf(attempt->what, sizeof(attempt->what), "%s", what);
	attempt->want = want;
	attempt->got = got;
	attempt->failed = true;
	_exit(1);
}

void result(long want, long got)
{
	expect(want, got, "its result");
}

/* Say what is to be done before it is done, lest it never returns. */
static bool play_op(const struct op *op)
{
	if (attempt->nr == MAX_STINT) {
		fputs("fsx: a stint that does not end\n", stderr);
		_exit(EXIT_FAILURE);
	}

	attempt->ops[attempt->nr++] = *op;
	if (!run_op(op))
		return false;

	look_after_op();
	attempt->counts[op->kind]++;
	attempt->done++;
	return true;
}

static void child_random(const struct options *options)
{
	struct op op;

	for (;; attempt->stint++) {
		start_making(options->seed, attempt->stint);
		attempt->nr = 0;
		while (make_op(&op)) {
			if (attempt->stop || attempt->done >= options->ops)
				return;
			if (!play_op(&op))
				attempt->nr--;
		}
	}
}

static void child_ops(const struct op *ops, int nr)
{
	int i;

	world.patient = true;
	for (i = 0; i < nr; i++)
		play_op(&ops[i]);
}

static pid_t start_child(void)
{
	pid_t pid;

	memset(attempt, 0, sizeof(*attempt));
	fflush(NULL);
	pid = MUST(fork());
	if (!pid)
		block_sigchld(SIG_UNBLOCK);
	return pid;
}

static void progress(const struct options *options, long seconds)
{
	fprintf(stderr, "fsx: seed %lu: %lu operations in %ld s\n", options->seed, attempt->done,
		seconds);
}

static long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* Where in the kernel it is, as far as that tells. */
static void print_whereabouts(pid_t pid)
{
	static const char * const files[] = { "stat", "syscall", "stack" };
	char path[64], text[4096];
	unsigned int i;
	size_t len;
	FILE *in;

	for (i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, files[i]);
		in = fopen(path, "r");
		if (!in)
			continue;
		len = fread(text, 1, sizeof(text), in);
		fclose(in);
		fprintf(stderr, "fsx: hangs: %s:\n%.*s", files[i], (int)len, text);
	}
}

static enum outcome watch(pid_t pid, const struct options *options)
{
	const struct timespec second = { .tv_sec = 1 };
	const long start = now();
	long moved = start, said = start;
	unsigned long done = 0;
	sigset_t child;
	int status;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);

	while (!MUST(waitpid(pid, &status, WNOHANG))) {
		sigtimedwait(&child, NULL, &second);

		if (attempt->done != done)
			moved = now();
		done = attempt->done;

		if (now() - moved >= HANG_SECONDS) {
			if (options)
				print_whereabouts(pid);
			kill(pid, SIGKILL);
			return HANGS;
		}
		if (options && now() - said >= PROGRESS_SECONDS) {
			progress(options, now() - start);
			said = now();
		}
		if (options && options->seconds && now() - start >= (long)options->seconds)
			attempt->stop = true;
	}

	if (WIFSIGNALED(status))
		return CRASHES;
	if (attempt->failed)
		return DIFFERS;
	return WEXITSTATUS(status) ? UNUSABLE : AGREES;
}

enum outcome play_random(const struct options *options)
{
	pid_t pid = start_child();

	if (!pid) {
		child_random(options);
		_exit(0);
	}
	return watch(pid, options);
}

enum outcome play_ops(const struct op *ops, int nr)
{
	pid_t pid = start_child();

	if (!pid) {
		child_ops(ops, nr);
		_exit(0);
	}
	return watch(pid, NULL);
}
