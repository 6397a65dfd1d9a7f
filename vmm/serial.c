// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* A 16550 UART, as far as Linux's 8250 driver looks. */
#include <linux/kvm.h>
#include <linux/serial_reg.h>
#include <sys/ioctl.h>

#include "console.h"
#include "outcome.h"
#include "serial.h"

#define DIVISOR_LATCH	UART_LCR_DLAB

static void set_irq(struct vmm *vmm, bool level)
{
	struct kvm_irq_level irq = { .irq = SERIAL_IRQ, .level = level };

	if (level != vmm->serial.irq_level)
		ioctl(vmm->vm, KVM_IRQ_LINE, &irq);
	vmm->serial.irq_level = level;
}

static bool receive_pending(const struct serial_regs *r)
{
	return (r->ier & UART_IER_RDI) && r->rx_count;
}

static bool transmit_pending(const struct serial_regs *r)
{
	return (r->ier & UART_IER_THRI) && r->thr_empty_pending;
}

static void update_irq(struct vmm *vmm)
{
	const struct serial_regs *r = &vmm->serial.regs;

	set_irq(vmm, receive_pending(r) || transmit_pending(r));
}

void serial_update_irq(struct vmm *vmm)
{
	pthread_mutex_lock(&vmm->serial.lock);
	update_irq(vmm);
	pthread_mutex_unlock(&vmm->serial.lock);
}

static void rx_push(struct serial_regs *r, uint8_t byte)
{
	if (r->rx_count == SERIAL_FIFO)
		return;
	r->rx[(r->rx_head + r->rx_count) % SERIAL_FIFO] = byte;
	r->rx_count++;
}

static uint8_t rx_pop(struct vmm *vmm)
{
	struct serial_regs *r = &vmm->serial.regs;
	uint8_t byte;

	if (!r->rx_count)
		return 0;
	byte = r->rx[r->rx_head];
	r->rx_head = (r->rx_head + 1) % SERIAL_FIFO;
	r->rx_count--;
	if (!r->rx_count)
		vmm_wake(vmm);		/* there may be more to type */
	return byte;
}

static uint8_t interrupt_identity(struct serial_regs *r)
{
	uint8_t fifos = r->fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0;

	if (receive_pending(r))
		return fifos | UART_IIR_RDI;
	if (transmit_pending(r)) {
		r->thr_empty_pending = false;	/* reading tells */
		return fifos | UART_IIR_THRI;
	}
	return fifos | UART_IIR_NO_INT;
}

/* In loopback the outputs are wired to the inputs, which is how drivers probe. */
static uint8_t modem_status(const struct serial_regs *r)
{
	uint8_t status = 0;

	if (!(r->mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	if (r->mcr & UART_MCR_RTS)
		status |= UART_MSR_CTS;
	if (r->mcr & UART_MCR_DTR)
		status |= UART_MSR_DSR;
	if (r->mcr & UART_MCR_OUT1)
		status |= UART_MSR_RI;
	if (r->mcr & UART_MCR_OUT2)
		status |= UART_MSR_DCD;
	return status;
}

static uint8_t read_register(struct vmm *vmm, unsigned int reg)
{
	struct serial_regs *r = &vmm->serial.regs;

	switch (reg) {
	case UART_RX:
		return r->lcr & DIVISOR_LATCH ? r->dll : rx_pop(vmm);
	case UART_IER:
		return r->lcr & DIVISOR_LATCH ? r->dlm : r->ier;
	case UART_IIR:
		return interrupt_identity(r);
	case UART_LCR:
		return r->lcr;
	case UART_MCR:
		return r->mcr;
	case UART_LSR:
		return UART_LSR_TEMT | UART_LSR_THRE | (r->rx_count ? UART_LSR_DR : 0);
	case UART_MSR:
		return modem_status(r);
	default:
		return r->scr;
	}
}

static void transmit(struct serial_regs *r, uint8_t byte)
{
	if (r->mcr & UART_MCR_LOOP)
		rx_push(r, byte);
	r->thr_empty_pending = true;
}

static void write_register(struct vmm *vmm, unsigned int reg, uint8_t byte)
{
	struct serial_regs *r = &vmm->serial.regs;

	switch (reg) {
	case UART_TX:
		if (r->lcr & DIVISOR_LATCH)
			r->dll = byte;
		else
			transmit(r, byte);
		break;
	case UART_IER:
		if (r->lcr & DIVISOR_LATCH) {
			r->dlm = byte;
			break;
		}
		if (!(r->ier & UART_IER_THRI) && (byte & UART_IER_THRI))
			r->thr_empty_pending = true;
		if (!(r->ier & UART_IER_RDI) && (byte & UART_IER_RDI))
			vmm_wake(vmm);		/* now there is room for what is typed */
		r->ier = byte & 0xf;
		break;
	case UART_FCR:
		r->fcr = byte;
		if (byte & UART_FCR_CLEAR_RCVR)
			r->rx_count = 0;
		break;
	case UART_LCR:
		r->lcr = byte;
		break;
	case UART_MCR:
		r->mcr = byte & 0x1f;
		break;
	case UART_SCR:
		r->scr = byte;
		break;
	}
}

static bool goes_out(struct vmm *vmm, unsigned int reg)
{
	const struct serial_regs *r = &vmm->serial.regs;
	bool out;

	pthread_mutex_lock(&vmm->serial.lock);
	out = reg == UART_TX && !(r->lcr & DIVISOR_LATCH) && !(r->mcr & UART_MCR_LOOP);
	pthread_mutex_unlock(&vmm->serial.lock);
	return out;
}

/* The lock is not held while the console waits for its reader. */
void serial_io(struct vmm *vmm, uint16_t port, uint8_t *byte, bool write)
{
	unsigned int reg = port - SERIAL_PORT;

	if (write && goes_out(vmm, reg))
		console_write(vmm, *byte);
	pthread_mutex_lock(&vmm->serial.lock);
	if (write)
		write_register(vmm, reg, *byte);
	else
		*byte = read_register(vmm, reg);
	update_irq(vmm);
	pthread_mutex_unlock(&vmm->serial.lock);
}

/* Nothing is typed ahead of the driver: what it has not opened yet it will flush. */
size_t serial_room(struct vmm *vmm)
{
	const struct serial_regs *r = &vmm->serial.regs;
	size_t room;

	pthread_mutex_lock(&vmm->serial.lock);
	room = r->ier & UART_IER_RDI ? SERIAL_FIFO - r->rx_count : 0;
	pthread_mutex_unlock(&vmm->serial.lock);
	return room;
}

void serial_receive(struct vmm *vmm, const uint8_t *bytes, size_t len)
{
	pthread_mutex_lock(&vmm->serial.lock);
	for (size_t i = 0; i < len; i++)
		rx_push(&vmm->serial.regs, bytes[i]);
	update_irq(vmm);
	pthread_mutex_unlock(&vmm->serial.lock);
}
