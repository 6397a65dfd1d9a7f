/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* The serial port's other end: the terminal, or whatever stdin and stdout are. */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "vmm.h"

void console_write(struct vmm *vmm, uint8_t byte);
int console_make_raw(struct vmm *vmm);
void console_restore(struct vmm *vmm);
bool line_watch(struct line_watch *watch, uint8_t byte);

#endif
