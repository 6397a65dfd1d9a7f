// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* The serial port's other end: the terminal, or whatever stdin and stdout are. */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "console.h"
#include "lib/shared.h"
#include "outcome.h"

#define PATIENCE	4096	/* bytes that nobody has read */

/* -- the terminal ------------------------------------------------------------------------ */

static struct termios cooked, raw;

/*
 * What another has set since is theirs: a shell that has taken the terminal back. A
 * terminal that nobody reads would never drain.
 */
static void make_cooked(void)
{
	struct termios now;

	if (!tcgetattr(STDIN_FILENO, &now) && now.c_iflag == raw.c_iflag && now.c_oflag == raw.c_oflag &&
	    now.c_lflag == raw.c_lflag)
		tcsetattr(STDIN_FILENO, TCSANOW, &cooked);
}

static void on_fatal_signal(int sig)
{
	make_cooked();
	raise(sig);			/* SA_RESETHAND: to die of it */
}

/* Those of our own faults; the main thread takes the others. */
static void restore_when_we_crash(void)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };
	struct sigaction sa = { .sa_handler = on_fatal_signal, .sa_flags = SA_RESETHAND };

	for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++)
		sigaction(fatal[i], &sa, NULL);
}

bool console_is_terminal(void)
{
	pid_t group = tcgetpgrp(STDIN_FILENO);

	/* One that controls nobody here has no jobs in the background. */
	return isatty(STDIN_FILENO) && (group < 0 || group == getpgrp());
}

int console_make_raw(struct vmm *vmm)
{
	if (!console_is_terminal())
		return 0;
	if (tcgetattr(STDIN_FILENO, &cooked))
		return vmm_fail(vmm, "cannot get the terminal's settings: %m");
	raw = cooked;
	cfmakeraw(&raw);
	restore_when_we_crash();
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw))
		return vmm_fail(vmm, "cannot make the terminal raw: %m");
	vmm->console.raw = true;
	return 0;
}

void console_restore(struct vmm *vmm)
{
	if (vmm->console.raw)
		make_cooked();
	vmm->console.raw = false;
}

/*
 * True at the first character that shows that a line is not the kernel's: theirs
 * start with "[", blanks and a digit.
 */
bool line_watch(struct line_watch *watch, uint8_t byte)
{
	bool kernels_own = true;

	if (byte == '\n' || byte == '\r') {
		watch->state = LINE_START;
		return false;
	}

	switch (watch->state) {
	case LINE_START:
		kernels_own = byte == '[';
		watch->state = kernels_own ? LINE_BRACKET : LINE_REST;
		break;
	case LINE_BRACKET:
		kernels_own = byte == ' ' || isdigit(byte);
		if (byte != ' ')
			watch->state = LINE_REST;
		break;
	case LINE_REST:
		break;
	}
	if (kernels_own || watch->userspace)
		return false;
	watch->userspace = true;
	return true;
}

/* -- what the guest says ----------------------------------------------------------------- */

static void wait_until_writable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	poll(&p, 1, -1);
}

/* 0 or an errno. */
static int write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EAGAIN)
			wait_until_writable(fd);
		else if (n < 0 && errno != EINTR)
			return errno;
		if (n > 0) {
			bytes += n;
			len -= n;
		}
	}
	return 0;
}

/* Room for one more. */
static bool grow(struct console *c)
{
	size_t room = c->room ? 2 * c->room : 2 * PATIENCE;
	uint8_t *bytes;

	if (c->n < c->room)
		return true;
	bytes = realloc(c->bytes, room);
	if (!bytes)
		return false;
	c->bytes = bytes;
	c->room = room;
	return true;
}

/*
 * A processor that is to be paused, or to end, may not wait for the reader: then what
 * it says is kept beyond PATIENCE, a byte a pause.
 */
void console_write(struct vmm *vmm, uint8_t byte)
{
	struct console *c = &vmm->console;

	pthread_mutex_lock(&vmm->lock);
	while (c->n >= PATIENCE && !vmm->pauses && vmm->outcome == VMM_RUNNING)
		pthread_cond_wait(&vmm->changed, &vmm->lock);
	if (line_watch(&c->watch, byte))
		vmm->first_userspace_ms = now_ms() - vmm->start_ms;
	if (!c->done && grow(c)) {
		c->bytes[c->n++] = byte;
		pthread_cond_broadcast(&vmm->changed);
	}
	pthread_mutex_unlock(&vmm->lock);
}

/* Wait for something to write; false if that is all. With the lock held. */
static bool wait_for_bytes(struct vmm *vmm)
{
	struct console *c = &vmm->console;

	while (!c->n && !c->closing)
		pthread_cond_wait(&vmm->changed, &vmm->lock);
	return c->n;
}

static void *console_main(void *arg)
{
	struct vmm *vmm = arg;
	struct console *c = &vmm->console;
	uint8_t bytes[PATIENCE];
	int err = 0;

	pthread_mutex_lock(&vmm->lock);
	while (!err && wait_for_bytes(vmm)) {
		size_t n = c->n < sizeof(bytes) ? c->n : sizeof(bytes);

		memcpy(bytes, c->bytes, n);
		pthread_mutex_unlock(&vmm->lock);
		err = write_all(c->out, bytes, n);
		pthread_mutex_lock(&vmm->lock);
		c->n -= n;
		memmove(c->bytes, c->bytes + n, c->n);
		pthread_cond_broadcast(&vmm->changed);
	}
	pthread_mutex_unlock(&vmm->lock);
	if (err) {
		errno = err;
		vmm_fail(vmm, "cannot write what the guest says: %m");
		vmm_end(vmm, VMM_DIED);
	}
	/* From here on the machine may be taken apart. */
	pthread_mutex_lock(&vmm->lock);
	c->done = true;
	c->n = 0;
	vmm_wake(vmm);
	pthread_mutex_unlock(&vmm->lock);
	return NULL;
}

/* Nobody joins it: it may wait for its reader for ever. */
int console_start(struct vmm *vmm)
{
	pthread_t thread;
	int err;

	vmm->console.done = false;
	err = vmm_start_thread(vmm, &thread, console_main);
	if (err)
		vmm->console.done = true;
	else
		pthread_detach(thread);
	return err;
}

void console_close(struct vmm *vmm)
{
	pthread_mutex_lock(&vmm->lock);
	vmm->console.closing = true;
	pthread_cond_broadcast(&vmm->changed);
	pthread_mutex_unlock(&vmm->lock);
}

bool console_is_done(struct vmm *vmm)
{
	bool done;

	pthread_mutex_lock(&vmm->lock);
	done = vmm->console.done;
	pthread_mutex_unlock(&vmm->lock);
	return done;
}
