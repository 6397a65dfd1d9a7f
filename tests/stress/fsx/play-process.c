// SPDX-License-Identifier: GPL-2.0-only
/*
 * Children that use what they inherit, and limits of the process.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "play.h"

/*
 * A child writes at the position it shares with us and, if @store is an offset
 * in the mapping, stores 64 bytes there.
 */
long play_fork(long fd, long at, long len, long store)
{
	static long *result;
	pid_t pid;

	if (!result)
		result = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	*result = -ECHILD;
	pid = MUST(fork());
	if (!pid) {
		*result = play_write(fd, at, len);
		if (store >= 0)
			play_store(store, at, 64);
		_exit(0);
	}
	MUST(waitpid(pid, NULL, 0));
	return *result;
}

static volatile int nr_signals;

static void count_signal(int sig)
{
	nr_signals += !!sig;
}

/* With RLIMIT_FSIZE; SIGXFSZ has to come with EFBIG, and with nothing else. */
long play_limit(long fd, long at, long len, long off, long limit)
{
	struct sigaction sa = { .sa_handler = count_signal };
	struct rlimit old, new;
	long ret;

	MUST(sigaction(SIGXFSZ, &sa, NULL));
	MUST(getrlimit(RLIMIT_FSIZE, &old));
	new = old;
	new.rlim_cur = limit;
	nr_signals = 0;

	MUST(setrlimit(RLIMIT_FSIZE, &new));
	ret = play_pwrite(fd, at, len, off);
	MUST(setrlimit(RLIMIT_FSIZE, &old));

	return (ret == -EFBIG) == nr_signals ? ret : -EPROTO;
}
