// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * The ports of gmem run's machine, which a hostile guest reads and writes as it
 * likes, and what is typed meanwhile. Nothing is written outside of the guest's
 * operand, nor left of it as it was when it is read; the serial port's state stays
 * sound, what is typed arrives in order, and the guest ends but once.
 */
#include <fcntl.h>
#include <linux/kvm.h>

#include "machine.h"
#include "vmm/acpi.h"
#include "vmm/ports.h"
#include "vmm/serial.h"

#define OFFSET	4096	/* of the data in KVM's shared page, and its room */
#define ROOM	256
#define CANARY	0x5a

static bool irq_level;

static int play_kvm(int fd, unsigned long request, void *arg)
{
	const struct kvm_irq_level *irq = arg;

	MUST(fd == FAKE_VM && request == KVM_IRQ_LINE);
	MUST(irq->irq == SERIAL_IRQ && irq->level != irq_level);
	irq_level = irq->level;
	return 0;
}

/* Addresses that mean something, and all others. */
static uint16_t take_port(struct input *in)
{
	static const uint16_t bases[] = { SERIAL_PORT - 4, ACPI_PM1_EVENT, 0x60, 0 };
	uint8_t which = take(in, 1);

	return which < 0xc0 ? bases[which >> 6] + (which & 0xf) : take(in, 2);
}

static bool answers(uint16_t port)
{
	return (port >= SERIAL_PORT && port < SERIAL_PORT + 8) || port == 0x64 || port == ACPI_PM1_EVENT ||
	       port == ACPI_PM1_EVENT + 2 || port == ACPI_PM1_CONTROL;
}

static void in_or_out(struct vmm *vmm, struct kvm_run *run, struct input *in, uint8_t op)
{
	uint8_t *data = (uint8_t *)run + OFFSET;
	size_t size = 1 << op % 3, len;

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = op & 4 ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
	run->io.size = size;
	run->io.port = take_port(in);
	run->io.count = op & 8 ? take(in, 2) % (ROOM / size) + 1 : 1;
	run->io.data_offset = OFFSET;
	len = size * run->io.count;

	memset(data, CANARY, ROOM + 1);
	if (run->io.direction == KVM_EXIT_IO_OUT)
		for (size_t i = 0; i < len && i < 64; i++)
			data[i] = take(in, 1);
	ports_serve(vmm, run);

	MUST(data[len] == CANARY);
	/* A register has two bytes at most, of the serial port one. */
	if (run->io.direction == KVM_EXIT_IO_IN)
		for (size_t i = 0; i < len; i++)
			if (!answers(run->io.port) || i % size >= 2 || (run->io.port < ACPI_PM1_EVENT && i % size && run->io.port != 0x64))
				MUST(data[i] == 0xff);
}

static void check_serial(struct vmm *vmm)
{
	const struct serial_regs *r = &vmm->serial.regs;
	size_t room = serial_room(vmm);

	MUST(r->rx_count <= SERIAL_FIFO && r->rx_head < SERIAL_FIFO);
	MUST(r->thr_empty_pending <= 1 && r->ier <= 0xf && r->mcr <= 0x1f);
	MUST(room <= (size_t)SERIAL_FIFO - r->rx_count);
	MUST(irq_level == vmm->serial.irq_level);
}

/* As much as there is room for, and all of it comes in. */
static void type_keys(struct vmm *vmm, struct input *in)
{
	struct serial_regs before = vmm->serial.regs;
	size_t n = choose(in, serial_room(vmm) + 1);
	uint8_t keys[SERIAL_FIFO];

	for (size_t i = 0; i < n; i++)
		keys[i] = take(in, 1);
	serial_receive(vmm, keys, n);
	MUST(vmm->serial.regs.rx_count == before.rx_count + n);
	for (size_t i = 0; i < n; i++)
		MUST(vmm->serial.regs.rx[(before.rx_head + before.rx_count + i) % SERIAL_FIFO] == keys[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static int console = -1;
	struct input in = { bytes, size };
	struct kvm_run *run = malloc(OFFSET + ROOM + 1);
	enum vmm_outcome outcome;
	struct vmm vmm;

	if (console < 0)
		console = open("/dev/null", O_WRONLY | O_CLOEXEC);
	MUST(run && console >= 0);
	irq_level = false;
	make_machine(&vmm, PAGE, 0);
	vmm.console.out = console;
	while (in.left) {
		uint8_t op = take(&in, 1);

		outcome = vmm.outcome;
		if (op & 0x80)
			type_keys(&vmm, &in);
		else
			in_or_out(&vmm, run, &in, op);
		check_serial(&vmm);
		MUST(outcome == VMM_RUNNING || vmm.outcome == outcome);
		MUST(vmm.outcome <= VMM_RESET && !vmm.error[0]);
	}
	free(run);
	destroy_machine(&vmm);
	return 0;
}
