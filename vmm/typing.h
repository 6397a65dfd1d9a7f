/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* What is typed goes to the serial port. */
#ifndef VMM_TYPING_H
#define VMM_TYPING_H

#include "vmm.h"

/*
 * How much to take of stdin: of a terminal as much as can be kept, for Ctrl-A x is also for
 * a guest that takes nothing, else no more than the guest takes.
 */
size_t typing_room(struct vmm *vmm);

/* Take what stdin has, @room bytes at most; false at its end. */
bool typing_read(struct vmm *vmm, size_t room);

/* Give the guest what it takes of that. */
void typing_deliver(struct vmm *vmm);

#endif
