// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* The ports: the serial one, and what turns the machine off. */
#include <linux/kvm.h>
#include <string.h>

#include "acpi.h"
#include "outcome.h"
#include "ports.h"
#include "serial.h"

#define KEYBOARD_COMMAND	0x64
#define KEYBOARD_RESET		0xfe

#define PM1_SCI_ENABLED		1
#define PM1_SLEEP		(1 << 13)
#define PM1_SLEEP_TYPE(value)	((value) >> 10 & 7)

static void pm1_control(struct vmm *vmm, uint16_t value)
{
	if ((value & PM1_SLEEP) && PM1_SLEEP_TYPE(value) == ACPI_SLEEP_TYPE_OFF)
		vmm_end(vmm, VMM_OFF);
}

static void port_out(struct vmm *vmm, uint16_t port, uint8_t *data, size_t size)
{
	uint16_t word = size >= 2 ? data[0] | data[1] << 8 : data[0];

	if (port >= SERIAL_PORT && port < SERIAL_PORT + 8)
		serial_io(vmm, port, data, true);
	else if (port == ACPI_PM1_EVENT + 2)
		vmm->pm1_enable = word;
	else if (port == ACPI_PM1_CONTROL)
		pm1_control(vmm, word);
	else if ((port == KEYBOARD_COMMAND && *data == KEYBOARD_RESET) ||
		 (port == ACPI_RESET && *data == ACPI_RESET_VALUE))
		vmm_end(vmm, VMM_RESET);
}

static void port_in(struct vmm *vmm, uint16_t port, uint8_t *data, size_t size)
{
	uint16_t word = 0;

	/* Where nothing answers; what was there before is not the guest's to see. */
	memset(data, 0xff, size);
	if (port >= SERIAL_PORT && port < SERIAL_PORT + 8) {
		serial_io(vmm, port, data, false);
		return;
	}

	switch (port) {
	case ACPI_PM1_EVENT:
	case KEYBOARD_COMMAND:
		break;
	case ACPI_PM1_EVENT + 2:
		word = vmm->pm1_enable;
		break;
	case ACPI_PM1_CONTROL:
		word = PM1_SCI_ENABLED;
		break;
	default:
		return;
	}
	memcpy(data, &word, size < 2 ? size : 2);
}

void ports_serve(struct vmm *vmm, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			port_out(vmm, run->io.port, data, run->io.size);
		else
			port_in(vmm, run->io.port, data, run->io.size);
	}
}
