// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * ACPI tables: the processors, the interrupt controllers, how to turn the machine
 * off and reset it, and that there is no keyboard controller, VGA nor clock.
 */
#include <string.h>

#include "acpi.h"

#define LOCAL_APIC	0xfee00000u
#define IO_APIC		0xfec00000u

struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem[6];
	char oem_table[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

struct xsdt {
	struct header header;
	uint64_t tables[2];
} __attribute__((packed));

struct address {
	uint8_t space;		/* 1: I/O ports */
	uint8_t bits;
	uint8_t offset;
	uint8_t access;
	uint64_t address;
} __attribute__((packed));

/* Revision 3 of the table, up to and with what ACPI 2.0 has. */
struct fadt {
	struct header header;
	uint32_t facs;
	uint32_t dsdt;
	uint8_t reserved1;
	uint8_t profile;
	uint16_t sci_interrupt;
	uint32_t smi_command;
	uint8_t smi_values[4];
	uint32_t pm1a_event, pm1b_event;
	uint32_t pm1a_control, pm1b_control;
	uint32_t pm2_control;
	uint32_t pm_timer;
	uint32_t gpe0, gpe1;
	uint8_t pm1_event_length;
	uint8_t pm1_control_length;
	uint8_t pm2_control_length;
	uint8_t pm_timer_length;
	uint8_t gpe0_length, gpe1_length, gpe1_base;
	uint8_t cst_control;
	uint16_t c2_latency, c3_latency;
	uint16_t flush_size, flush_stride;
	uint8_t duty_offset, duty_width;
	uint8_t day_alarm, month_alarm, century;
	uint16_t boot_flags;
	uint8_t reserved2;
	uint32_t flags;
	struct address reset;
	uint8_t reset_value;
	uint8_t reserved3[3];
	uint64_t x_facs, x_dsdt;
	struct address x_blocks[8];
} __attribute__((packed));

_Static_assert(sizeof(struct fadt) == 244, "FADT of revision 3");

#define FADT_LEGACY_DEVICES	(1 << 0)	/* the serial port */
#define FADT_NO_VGA		(1 << 2)
#define FADT_NO_CMOS_CLOCK	(1 << 5)
#define FADT_WBINVD		(1 << 0)
#define FADT_PROC_C1		(1 << 2)
#define FADT_POWER_BUTTON	(1 << 4)	/* is no fixed register */
#define FADT_SLEEP_BUTTON	(1 << 5)	/* neither */
#define FADT_RESET_REGISTER	(1 << 10)

struct madt {
	struct header header;
	uint32_t local_apic;
	uint32_t flags;			/* 1: there are 8259s, too */
} __attribute__((packed));

struct madt_local_apic {
	uint8_t type, length;
	uint8_t processor;
	uint8_t apic;
	uint32_t flags;			/* 1: enabled */
} __attribute__((packed));

struct madt_io_apic {
	uint8_t type, length;
	uint8_t apic;
	uint8_t reserved;
	uint32_t address;
	uint32_t first_interrupt;
} __attribute__((packed));

/* Name (\_S5_, Package () { ACPI_SLEEP_TYPE_OFF, ACPI_SLEEP_TYPE_OFF, 0, 0 }) */
static const uint8_t aml[] = {
	0x08, '_', 'S', '5', '_', 0x12, 0x08, 0x04,
	0x0a, ACPI_SLEEP_TYPE_OFF, 0x0a, ACPI_SLEEP_TYPE_OFF, 0x00, 0x00
};

static uint8_t checksum(const void *table, size_t len)
{
	const uint8_t *byte = table;
	uint8_t sum = 0;

	while (len--)
		sum += *byte++;
	return -sum;
}

static void finish(struct header *h, const char *signature, uint8_t revision, size_t len)
{
	memcpy(h->signature, signature, 4);
	h->length = len;
	h->revision = revision;
	memcpy(h->oem, "GMEM  ", 6);
	memcpy(h->oem_table, "GMEMRUN ", 8);
	h->oem_revision = 1;
	memcpy(h->creator, "GMEM", 4);
	h->creator_revision = 1;
	h->checksum = checksum(h, len);
}

/* Tables one after the other, each at a multiple of 16. */
struct builder {
	uint8_t *page;
	size_t size, used;
	uint64_t gpa;
};

static void *place(struct builder *b, size_t len, uint64_t *gpa)
{
	void *table = b->page + b->used;

	*gpa = b->gpa + b->used;
	b->used = (b->used + len + 15) & ~15ul;
	return b->used <= b->size ? table : NULL;
}

static uint64_t build_dsdt(struct builder *b)
{
	size_t len = sizeof(struct header) + sizeof(aml);
	uint64_t gpa;
	struct header *dsdt = place(b, len, &gpa);

	if (!dsdt)
		return 0;
	memcpy(dsdt + 1, aml, sizeof(aml));
	finish(dsdt, "DSDT", 2, len);
	return gpa;
}

static struct address port(uint16_t port, uint8_t bits)
{
	return (struct address) { .space = 1, .bits = bits, .address = port };
}

static uint64_t build_fadt(struct builder *b, uint64_t dsdt)
{
	uint64_t gpa;
	struct fadt *fadt = place(b, sizeof(*fadt), &gpa);

	if (!fadt)
		return 0;
	*fadt = (struct fadt) {
		.dsdt = dsdt,
		.x_dsdt = dsdt,
		.sci_interrupt = 9,
		.pm1a_event = ACPI_PM1_EVENT,
		.pm1_event_length = 4,
		.pm1a_control = ACPI_PM1_CONTROL,
		.pm1_control_length = 2,
		.c2_latency = 0xffff,
		.c3_latency = 0xffff,
		.boot_flags = FADT_LEGACY_DEVICES | FADT_NO_VGA | FADT_NO_CMOS_CLOCK,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_POWER_BUTTON | FADT_SLEEP_BUTTON |
			 FADT_RESET_REGISTER,
		.reset = port(ACPI_RESET, 8),
		.reset_value = ACPI_RESET_VALUE,
		.x_blocks[0] = port(ACPI_PM1_EVENT, 32),
		.x_blocks[2] = port(ACPI_PM1_CONTROL, 16),
	};
	finish(&fadt->header, "FACP", 3, sizeof(*fadt));
	return gpa;
}

static uint64_t build_madt(struct builder *b, unsigned int nr_cpus)
{
	struct madt_local_apic *cpu;
	struct madt_io_apic *io;
	size_t len = sizeof(struct madt) + nr_cpus * sizeof(*cpu) + sizeof(*io);
	uint64_t gpa;
	struct madt *madt = place(b, len, &gpa);

	if (!madt)
		return 0;
	madt->local_apic = LOCAL_APIC;
	madt->flags = 1;
	cpu = (struct madt_local_apic *)(madt + 1);
	for (unsigned int i = 0; i < nr_cpus; i++)
		*cpu++ = (struct madt_local_apic) {
			.length = sizeof(*cpu),
			.processor = i,
			.apic = i,
			.flags = 1,
		};
	io = (struct madt_io_apic *)cpu;
	*io = (struct madt_io_apic) {
		.type = 1,
		.length = sizeof(*io),
		.apic = nr_cpus,
		.address = IO_APIC,
	};
	finish(&madt->header, "APIC", 1, len);
	return gpa;
}

/* Fill @page, which the guest sees at @gpa and where it starts to look. */
size_t acpi_build(uint8_t *page, size_t size, uint64_t gpa, unsigned int nr_cpus)
{
	struct builder b = { .page = page, .size = size, .gpa = gpa };
	uint64_t rsdp_gpa, xsdt_gpa, fadt, madt;
	struct rsdp *rsdp = place(&b, sizeof(*rsdp), &rsdp_gpa);
	struct xsdt *xsdt = place(&b, sizeof(*xsdt), &xsdt_gpa);

	fadt = build_fadt(&b, build_dsdt(&b));
	madt = build_madt(&b, nr_cpus);
	if (!rsdp || !xsdt || !fadt || !madt)
		return 0;

	xsdt->tables[0] = fadt;
	xsdt->tables[1] = madt;
	finish(&xsdt->header, "XSDT", 1, sizeof(*xsdt));

	memcpy(rsdp->signature, "RSD PTR ", 8);
	memcpy(rsdp->oem, "GMEM  ", 6);
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = xsdt_gpa;
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
	return b.used;
}
