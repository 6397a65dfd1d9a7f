/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* A 16550 at 0x3f8, interrupt 4. */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include "vmm.h"

#define SERIAL_PORT	0x3f8
#define SERIAL_IRQ	4

void serial_io(struct vmm *vmm, uint16_t port, uint8_t *byte, bool write);
size_t serial_room(struct vmm *vmm);
void serial_receive(struct vmm *vmm, const uint8_t *bytes, size_t len);
void serial_update_irq(struct vmm *vmm);

#endif
