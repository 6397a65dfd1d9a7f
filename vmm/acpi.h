/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/* The ACPI tables, and the registers that they tell the guest of. */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include <stddef.h>
#include <stdint.h>

#define ACPI_TABLES		0xe0000ull
#define ACPI_PM1_EVENT		0x600
#define ACPI_PM1_CONTROL	0x604
#define ACPI_RESET		0x608
#define ACPI_RESET_VALUE	0x5a
#define ACPI_SLEEP_TYPE_OFF	5

/* Their size, or 0 if they do not fit. */
size_t acpi_build(uint8_t *page, size_t size, uint64_t gpa, unsigned int nr_cpus);

#endif
