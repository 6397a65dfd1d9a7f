// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* What is typed goes to the serial port. */
#include <errno.h>
#include <string.h>
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

size_t typing_room(struct vmm *vmm)
{
	const struct console *c = &vmm->console;

	if (c->raw)
		return sizeof(c->typed) - c->nr_typed;
	return c->nr_typed ? 0 : serial_room(vmm);
}

void typing_deliver(struct vmm *vmm)
{
	struct console *c = &vmm->console;
	size_t n = serial_room(vmm);

	if (n > c->nr_typed)
		n = c->nr_typed;
	serial_receive(vmm, c->typed, n);
	c->nr_typed -= n;
	memmove(c->typed, c->typed + n, c->nr_typed);
}

bool typing_read(struct vmm *vmm, size_t room)
{
	struct console *c = &vmm->console;
	uint8_t *bytes = c->typed + c->nr_typed;
	ssize_t n = read(STDIN_FILENO, bytes, room);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n <= 0) {
		/* A terminal's end: it has hung up, or another job has it (EIO). */
		console_restore(vmm);
		return false;
	}
	c->nr_typed += c->raw ? take_escapes(vmm, bytes, n) : (size_t)n;
	return true;
}
