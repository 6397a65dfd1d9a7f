// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* What is typed goes to the serial port. */
#include <errno.h>
#include <unistd.h>

#include "console.h"
#include "outcome.h"
#include "serial.h"
#include "typing.h"

#define ESCAPE		0x01		/* Ctrl-A */

/* What the user types; Ctrl-A x is for us, Ctrl-A Ctrl-A is Ctrl-A. */
static size_t take_escapes(struct vmm *vmm, uint8_t *bytes, size_t len)
{
	struct console *c = &vmm->console;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (c->escaped) {
			c->escaped = false;
			if (bytes[i] == 'x')
				vmm_end(vmm, VMM_QUIT);
			else
				bytes[n++] = bytes[i];
		} else if (bytes[i] == ESCAPE) {
			c->escaped = true;
		} else {
			bytes[n++] = bytes[i];
		}
	}
	return n;
}

bool typing_read(struct vmm *vmm, size_t room)
{
	uint8_t bytes[SERIAL_FIFO];
	ssize_t n = read(STDIN_FILENO, bytes, room);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n <= 0) {
		/* A terminal's end: it has hung up, or another job has it (EIO). */
		console_restore(vmm);
		return false;
	}
	if (vmm->console.raw)
		n = take_escapes(vmm, bytes, n);
	serial_receive(vmm, bytes, n);
	return true;
}
