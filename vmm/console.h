/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* The serial port's other end: the terminal, or whatever stdin and stdout are. */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "vmm.h"

/* Is stdin a terminal, and ours, not that of another job? */
bool console_is_terminal(void);
int console_make_raw(struct vmm *vmm);
void console_restore(struct vmm *vmm);

/* Write what the guest says, on a thread of its own, for who reads it may stop. */
int console_start(struct vmm *vmm);

/* The guest says that. Waits for the reader, but for a pause or the end it does not. */
void console_write(struct vmm *vmm, uint8_t byte);

/* It will say no more: the main thread is woken when all is written. */
void console_close(struct vmm *vmm);
bool console_is_done(struct vmm *vmm);

bool line_watch(struct line_watch *watch, uint8_t byte);

#endif
