// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* The serial port's other end: the terminal, or whatever stdin and stdout are. */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include "console.h"
#include "outcome.h"

static struct termios cooked;

int console_make_raw(struct vmm *vmm)
{
	struct termios raw;

	if (!isatty(STDIN_FILENO))
		return 0;
	if (tcgetattr(STDIN_FILENO, &cooked))
		return vmm_fail(vmm, "cannot get the terminal's settings: %m");
	raw = cooked;
	cfmakeraw(&raw);
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw))
		return vmm_fail(vmm, "cannot make the terminal raw: %m");
	vmm->console.raw = true;
	return 0;
}

void console_restore(struct vmm *vmm)
{
	if (vmm->console.raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &cooked);
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

static void wait_until_writable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	poll(&p, 1, -1);
}

/* Called with the serial port's lock held. */
void console_write(struct vmm *vmm, uint8_t byte)
{
	int fd = vmm->console.out;

	if (line_watch(&vmm->console.watch, byte))
		vmm->first_userspace_ms = vmm_now_ms() - vmm->start_ms;
	while (write(fd, &byte, 1) < 0 && !vmm_is_over(vmm)) {
		if (errno == EAGAIN) {
			wait_until_writable(fd);
		} else if (errno != EINTR) {
			vmm_fail(vmm, "cannot write what the guest says: %m");
			vmm_end(vmm, VMM_DIED);
		}
	}
}
