/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* What is typed goes to the serial port. */
#ifndef VMM_TYPING_H
#define VMM_TYPING_H

#include "vmm.h"

/* Take what stdin has, @room bytes at most; false at its end. */
bool typing_read(struct vmm *vmm, size_t room);

#endif
