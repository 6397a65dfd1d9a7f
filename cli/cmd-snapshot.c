// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* gmem snapshot: have a gmem run save its machine to files of ours. */
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <linux/limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli.h"
#include "lib/shared.h"
#include "vmm/control.h"
#include "vmm/new-file.h"

static struct {
	const char *control;
	bool stop, force;
} args;

static const struct option_spec options[] = {
	{ OPTION_STRING, 0, "control", "PATH", "the machine's control socket (the one there is)", &args.control, NULL, NULL },
	{ OPTION_FLAG, 0, "stop", NULL, "end the machine once it is saved; else it goes on", &args.stop, NULL, NULL },
	{ OPTION_FLAG, 'f', "force", NULL, "replace a snapshot of that name", &args.force, NULL, NULL },
	OPTIONS_COMMON
};

static const struct command_spec spec = {
	.synopsis = "[OPTION]... OUT",
	.about = "Save a machine that gmem run runs: its memory to OUT, a sparse RAM image, and the\n"
		 "state of its processors and devices to OUT.state. gmem run --restore OUT goes on\n"
		 "with it. Neither file appears before it is whole.",
	.options = options,
	.operands = 1,
};

/* -- finding the machine --------------------------------------------------------------------- */

/* -1 and errno. */
static int try_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, err;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || !connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

static int connect_named(const char *path)
{
	int fd = try_connect(path);

	if (fd < 0)
		die("--control %s: %s: is gmem run running with it?", path, strerror(errno));
	return fd;
}

/* The machine that is there, if it is one. Sockets of killed ones don't answer. */
static int connect_only(void)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");
	char *pattern, why[256] = "";
	int fd, found = -1, n = 0;
	glob_t paths;

	if (!dir || !*dir)
		dir = "/run";
	if (asprintf(&pattern, "%s/gmem-*.sock", dir) < 0)
		die("out of memory");
	if (!glob(pattern, 0, NULL, &paths)) {
		for (size_t i = 0; i < paths.gl_pathc; i++) {
			fd = try_connect(paths.gl_pathv[i]);
			if (fd < 0)
				snprintf(why, sizeof(why), " (%s: %s)", paths.gl_pathv[i], strerror(errno));
			else if (n++)
				close(fd);
			else
				found = fd;
		}
		globfree(&paths);
	}
	if (!n)
		die("no machine answers at %s%s: is gmem run running? Give its --control PATH", pattern, why);
	if (n > 1)
		die("%d machines answer at %s: say which by --control PATH", n, pattern);
	free(pattern);
	return found;
}

/* -- talking to it --------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = sig;
}

/* Without SA_RESTART: what waits returns, and cleans up. What was ignored stays so. */
static void heed_signals(void)
{
	static const int all[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	struct sigaction sa = { .sa_handler = on_signal }, was;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		sigaddset(&set, all[i]);
		if (!sigaction(all[i], NULL, &was) && was.sa_handler != SIG_IGN)
			sigaction(all[i], &sa, NULL);
	}
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static int ask(int socket, const char *what, int image, int state)
{
	char control[CMSG_SPACE(2 * sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = (char *)what, .iov_len = strlen(what) };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	int fds[2] = { image, state };

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* The bytes that were saved, or -1 and what went wrong in @error. */
static int64_t wait_for_result(int socket, char error[CONTROL_MESSAGE_SIZE])
{
	double start = now_ms();
	struct gmem_progress p;
	uint64_t done;

	for (;;) {
		char message[CONTROL_MESSAGE_SIZE];
		ssize_t n = recv(socket, message, sizeof(message) - 1, 0);

		if (n <= 0) {
			const char *why = n < 0 ? strerror(errno) : "gmem run has died";

			snprintf(error, CONTROL_MESSAGE_SIZE, "%s", interrupted ? strsignal(interrupted) : why);
			return -1;
		}
		message[n] = '\0';
		p.ms = now_ms() - start;
		if (sscanf(message, "progress %" SCNu64 " %" SCNu64, &p.done, &p.total) == 2) {
			show_progress(&p, "saving");
		} else if (sscanf(message, "saved %" SCNu64, &done) == 1 && done <= INT64_MAX) {
			return done;
		} else {
			const char *unknown = "what listens there is no gmem run, or another version";
			bool known = !strncmp(message, "error ", 6) && message[6];

			snprintf(error, CONTROL_MESSAGE_SIZE, "%s", known ? message + 6 : unknown);
			return -1;
		}
	}
}

/* The machine ends when it hears that. */
static void tell_named(int socket)
{
	char none;

	if (send(socket, "named", 5, MSG_NOSIGNAL) == 5)
		while (recv(socket, &none, sizeof(none), 0) < 0 && errno == EINTR)
			;
}

/* -- the files -------------------------------------------------------------------------------- */

enum {
	IMAGE,
	STATE,
	NR_FILES,
};

struct snapshot_files {
	char *path[NR_FILES];
	struct new_file file[NR_FILES];
	uint64_t size, allocated;
};

static void die_of(const char *path, int err)
{
	die("cannot write %s: %s%s", path, new_file_error(err),
	    err == -EEXIST ? ", and --force would replace it" : "");
}

static void abort_files(struct snapshot_files *s)
{
	for (int i = 0; i < NR_FILES; i++)
		new_file_abort(&s->file[i]);
}

static void open_files(struct snapshot_files *s, char *out)
{
	s->path[IMAGE] = out;
	if (asprintf(&s->path[STATE], "%s.state", out) < 0)
		die("out of memory");
	/* We could write it, from its directory; who restores opens the path. */
	if (strlen(s->path[STATE]) >= PATH_MAX)
		die_of(s->path[STATE], -ENAMETOOLONG);
	for (int i = 0; i < NR_FILES; i++) {
		int err = new_file_open(&s->file[i], s->path[i], args.force), failed = i;

		if (!err)
			continue;
		while (i--)
			new_file_abort(&s->file[i]);
		die_of(s->path[failed], err);
	}
}

static void commit_files(struct snapshot_files *s)
{
	struct stat st;
	size_t failed;
	int err;

	if (!fstat(s->file[IMAGE].fd, &st)) {
		s->size = st.st_size;
		s->allocated = st.st_blocks * 512ull;
	}
	err = new_file_commit(s->file, NR_FILES, args.force, &failed);
	if (err)
		die_of(s->path[failed], err);
}

static void tell(const struct snapshot_files *s, uint64_t data, double ms)
{
	char size[32], saved[32], disk[32];

	if (output.json) {
		json_result(NULL);
		json_string("image", s->path[IMAGE]);
		json_string("state", s->path[STATE]);
		json_uint("size", s->size);
		json_uint("populated_bytes", data);
		json_uint("allocated_bytes", s->allocated);
		json_double("ms", ms);
		json_end();
	} else if (!output.quiet) {
		put_printable(stdout, s->path[IMAGE]);
		printf(": %s of memory, %s of it populated, %s on disk; saved in %.1f ms, the machine %s\n",
		       format_size(size, s->size), format_size(saved, data),
		       format_size(disk, s->allocated), ms, args.stop ? "has ended" : "goes on");
	}
}

int cmd_snapshot(int argc, char **argv)
{
	int operand = parse_options(argc, argv, &spec), socket;
	struct snapshot_files s = { 0 };
	char error[CONTROL_MESSAGE_SIZE] = "gmem run has died";
	double start = now_ms();
	int64_t data = -1;

	if (!argv[operand])
		die_usage("where to? Give the name of the RAM image to write");

	heed_signals();
	socket = args.control ? connect_named(args.control) : connect_only();
	open_files(&s, argv[operand]);
	if (!ask(socket, args.stop ? "snapshot stop" : "snapshot", s.file[IMAGE].fd, s.file[STATE].fd))
		data = wait_for_result(socket, error);
	end_progress();
	if (data < 0) {
		abort_files(&s);
		die("%s", error);
	}
	commit_files(&s);
	if (args.stop)
		tell_named(socket);
	close(socket);
	tell(&s, data, now_ms() - start);
	free(s.path[STATE]);
	return EXIT_OK;
}
