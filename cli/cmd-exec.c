// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* gmem exec: run any program with guest memory as a file descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

#define OWN_FAILURE	125	/* as of env and timeout */

static uint64_t size;
static bool keep;

static const struct option_spec options[] = {
	{ OPTION_SIZE, 's', "size", "SIZE", "how much guest memory (needed)", &size, NULL, NULL },
	{ OPTION_FLAG, 0, "no-overwrite", NULL, "the kernel refuses to write a page again", &keep, NULL, NULL },
	OPTIONS_COMMON
};

static const struct command_spec spec = {
	.synopsis = "--size SIZE [OPTION]... [--] COMMAND [ARG]...",
	.about = "Run COMMAND with the guest_memfd of a new VM as an open descriptor: 3, or the\n"
		 "next that is free. $GMEM_FD is its number, as is {} in the ARGs. It can be\n"
		 "written in whole pages, but not opened by name, like /dev/fd/3:\n\n"
		 "  gmem exec --size 512M -- sh -c 'zstdcat ram.zst | dd obs=1M >&$GMEM_FD'\n\n"
		 "Then tells, on stderr, how much is populated; with --json on stdout, where nothing\n"
		 "of COMMAND's goes then. Exit status: that of COMMAND; 125 to 127 if it did not run.",
	.options = options,
	.runs_command = true,
};

/* {} is the descriptor. */
static char *replace(const char *arg, const char *number)
{
	const char *braces;
	char *result, *grown;

	result = strdup("");
	while (result && (braces = strstr(arg, "{}"))) {
		if (asprintf(&grown, "%s%.*s%s", result, (int)(braces - arg), arg, number) < 0)
			return NULL;
		free(result);
		result = grown;
		arg = braces + 2;
	}
	if (!result || asprintf(&grown, "%s%s", result, arg) < 0)
		return NULL;
	free(result);
	return grown;
}

/* The first from 3 on that the command does not inherit something else as, nor is @but. */
static int inheritable(int but)
{
	int fd = 3, flags;

	while (fd == but || ((flags = fcntl(fd, F_GETFD)) >= 0 && !(flags & FD_CLOEXEC)))
		fd++;
	return fd;
}

/* What ^C is to end is the command, unless that is to ignore it. */
static const int signals[] = { SIGINT, SIGQUIT };
static struct sigaction inherited[ARRAY_SIZE(signals)];

static void ignore_signals(void)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &ignore, &inherited[i]);
}

static void restore_signals(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &inherited[i], NULL);
}

/* What the command is told of descriptor @fd. */
static void tell_number(char **argv, int fd)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", fd);
	if (setenv("GMEM_FD", number, 1))
		die("out of memory");
	for (char **arg = argv + 1; *arg; arg++) {
		*arg = replace(*arg, number);
		if (!*arg)
			die("out of memory");
	}
}

/* Become the command, with @memory as @fd. Returns only if that fails: why. */
static int become(char **argv, int memory, int fd)
{
	restore_signals();
	/* Our stdout is the result's alone. */
	if (output.json && dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return errno;
	if (fd == memory ? fcntl(fd, F_SETFD, 0) : dup2(memory, fd) < 0)
		return errno;
	execvp(argv[0], argv);
	return errno;
}

/* The command as a process, which has been begun. */
static pid_t start(char **argv, int memory)
{
	int ends[2], fd, err;
	pid_t child;

	/* As the command begins the kernel closes it: then there is no error to read. */
	if (pipe2(ends, O_CLOEXEC))
		die("cannot make a pipe: %s", strerror(errno));
	fd = inheritable(ends[1]);
	tell_number(argv, fd);
	ignore_signals();
	child = fork();
	if (child < 0)
		die("cannot start a process: %s", strerror(errno));
	if (!child) {
		err = become(argv, memory, fd);
		_exit(write(ends[1], &err, sizeof(err)) != sizeof(err));
	}
	close(ends[1]);
	if (read(ends[0], &err, sizeof(err)) == sizeof(err)) {
		exit_failed = err == ENOENT ? 127 : 126;
		die("%s: %s", argv[0], strerror(err));
	}
	close(ends[0]);
	return child;
}

static int count_populated(struct gmem_context *g, int fd, uint64_t *sum)
{
	struct gmem_range range = { 0, 0 };
	int err;

	for (*sum = 0; !(err = gmem_next_populated(g, fd, range.offset + range.length, &range)); *sum += range.length)
		;
	return err == -ENXIO ? 0 : err;
}

static void report(struct gmem_context *g, int memory, int status)
{
	uint64_t page = sysconf(_SC_PAGESIZE), bytes;
	int err = count_populated(g, memory, &bytes);
	char is[32], of[32];

	if (err)
		warn("%s", gmem_error(g));
	if (output.json) {
		json_result(err ? gmem_error(g) : NULL);
		json_uint("status", status);
		json_uint("size", size);
		json_uint("populated", bytes);
		json_uint("pages", bytes / page);
		json_end();
	} else if (!err && !output.quiet) {
		fprintf(stderr, "gmem exec: %" PRIu64 " pages populated, %s of %s\n",
			bytes / page, format_size(is, bytes), format_size(of, size));
	}
}

int cmd_exec(int argc, char **argv)
{
	int operand, memory, status;
	uint64_t real_size;
	struct gmem_context *g;
	pid_t child;

	/* 1 and 2 are what the command may say. */
	exit_failed = exit_usage = OWN_FAILURE;
	operand = parse_options(argc, argv, &spec);
	if (!argv[operand])
		die_usage("which COMMAND?");
	if (!size)
		die_usage("--size is needed: how much guest memory?");

	if (gmem_context_new(&g))
		die("out of memory");
	memory = make_guest_memory(g, size, keep ? GMEM_FLAG_NO_OVERWRITE : 0);
	if (!(gmem_examine(g, memory, &real_size) & GMEM_CAN_WRITE) && !output.quiet)
		warn("this kernel has no GUEST_MEMFD_FLAG_WRITE: the descriptor can only be mapped");

	child = start(argv + operand, memory);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			die("waiting for the command: %s", strerror(errno));
	status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);

	report(g, memory, status);
	gmem_context_free(g);
	return status;
}
