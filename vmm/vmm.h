/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/*
 * A small virtual machine monitor, enough for Linux with a shell on a serial
 * console: processors, KVM's own interrupt controllers and timer, a 16550, the
 * few ACPI registers that turn a machine off. Guest memory is a guest_memfd that
 * libgmem populates.
 *
 * Functions that can fail return 0 or -1, and leave a message with vmm_fail().
 */
#ifndef VMM_H
#define VMM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "gmem.h"

struct kvm_msr_entry;
struct kvm_run;
struct vmm;

/* -- memory: where it is, for the guest and for us ----------------------------- */

/* RAM is contiguous in the file; the guest sees a hole below 4 GiB for devices. */
#define MEMORY_GAP_START	0xc0000000ull
#define MEMORY_GAP_END		0x100000000ull
#define PAGE_SIZE		4096ull

struct memory {
	size_t size;
	int fd;			/* the guest_memfd */
	uint64_t flags;		/* what it was created with */
	uint64_t slot_size;	/* of all memslots but the last */
	uint8_t *view;		/* all of it, for us */
	uint8_t *watched;	/* what the guest goes through when its touches are recorded */
	uint8_t *nothing;	/* where there is no memory yet */
	int closed_fd;
};

int memory_create(struct vmm *vmm, size_t size);
int memory_watch(struct vmm *vmm);
int memory_add(struct vmm *vmm);
int memory_add_absent(struct vmm *vmm, uint64_t slot_size);
int memory_reveal(struct vmm *vmm, uint64_t offset);
void memory_destroy(struct vmm *vmm);
bool memory_offset(const struct memory *mem, uint64_t gpa, uint64_t *offset);
int memory_put(struct vmm *vmm, uint64_t gpa, const void *bytes, size_t len, const char *what);
int memory_put_file(struct vmm *vmm, uint64_t gpa, int fd, off_t pos, size_t len, const char *name);

int memory_restore(struct vmm *vmm, const char *image);
bool memory_image_is_zstd(int fd);

/* What is populated from @from on: 1, or 0 if nothing is. */
int memory_next_data(struct vmm *vmm, uint64_t from, struct gmem_range *range);

/* -- demand: run before all memory is populated ------------------------------------ */

struct demand {
	struct gmem *gmem;
	struct gmem_demand *demand;
	int image;
	pthread_t background;
	bool background_runs;
	atomic_size_t faults;	/* that the guest had to wait for */
};

int demand_create(struct vmm *vmm);
int demand_begin(struct vmm *vmm, struct gmem *gmem, const char *image);
int demand_touch(struct vmm *vmm, uint64_t offset, size_t len);
int demand_start_background(struct vmm *vmm);
int demand_finish(struct vmm *vmm);
const struct gmem_stats *demand_stop(struct vmm *vmm);
void demand_destroy(struct vmm *vmm);

/* -- record: the order in which the guest touches its pages -------------------------- */

struct record {
	uint8_t *seen;		/* by page */
	struct gmem_range *ranges;
	size_t n, room;
	uint64_t pages;
	int pagemap;
	pthread_t thread;
	bool runs;
	atomic_bool stop;
};

int record_check(struct vmm *vmm, const char *path);
int record_start(struct vmm *vmm);
int record_write(struct vmm *vmm, const char *path);
void record_destroy(struct vmm *vmm);

/* -- boot: a kernel and what it finds in memory ---------------------------------- */

struct boot {
	const char *kernel;
	const char *initrd;	/* or NULL */
	const char *cmdline;
};

int boot_load(struct vmm *vmm, const struct boot *boot);
int boot_set_registers(struct vmm *vmm, int vcpu_fd);
size_t acpi_build(uint8_t *page, size_t size, uint64_t gpa, unsigned int nr_cpus);

/* The registers that acpi_build() tells the guest of. */
#define ACPI_TABLES		0xe0000ull
#define ACPI_PM1_EVENT		0x600
#define ACPI_PM1_CONTROL	0x604
#define ACPI_RESET		0x608
#define ACPI_RESET_VALUE	0x5a
#define ACPI_SLEEP_TYPE_OFF	5

/* -- ports: what the guest reads and writes with IN and OUT ---------------------- */

void ports_serve(struct vmm *vmm, struct kvm_run *run);

/* -- serial: a 16550 at 0x3f8, interrupt 4 --------------------------------------- */

#define SERIAL_PORT	0x3f8
#define SERIAL_IRQ	4
#define SERIAL_FIFO	64

struct serial_regs {
	uint8_t ier, lcr, mcr, scr, dll, dlm, fcr;
	uint8_t thr_empty_pending;
	uint8_t rx_head, rx_count;
	uint8_t rx[SERIAL_FIFO];
};

struct serial {
	pthread_mutex_t lock;
	struct serial_regs regs;
	bool irq_level;
};

void serial_io(struct vmm *vmm, uint16_t port, uint8_t *byte, bool write);
size_t serial_room(struct vmm *vmm);
void serial_receive(struct vmm *vmm, const uint8_t *bytes, size_t len);
void serial_update_irq(struct vmm *vmm);

/* -- console: the serial port's other end ---------------------------------------- */

/* Tells the kernel's lines, which begin with a time stamp, from all others. */
struct line_watch {
	enum { LINE_START, LINE_BRACKET, LINE_REST } state;
	bool userspace;
};

struct console {
	int out;
	struct line_watch watch;
	bool raw;
	bool escaped;		/* Ctrl-A was typed */
};

void console_write(struct vmm *vmm, uint8_t byte);
int console_make_raw(struct vmm *vmm);
void console_restore(struct vmm *vmm);
bool line_watch(struct line_watch *watch, uint8_t byte);

/* -- cpu -------------------------------------------------------------------------- */

struct cpu {
	struct vmm *vmm;
	unsigned int index;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	pthread_t thread;
	bool started;
	bool parked;		/* is not in KVM_RUN, and will not be while paused */
};

int cpu_create(struct vmm *vmm, struct cpu *cpu, unsigned int index);
int cpu_access_msr(int cpu_fd, unsigned long request, struct kvm_msr_entry *entry);
int cpu_set_cpuid(struct vmm *vmm, struct cpu *cpu);
int cpu_start(struct vmm *vmm, struct cpu *cpu);
void cpu_destroy(struct cpu *cpu);

/* -- state: everything but memory -------------------------------------------------- */

int state_save(struct vmm *vmm, int fd);

struct state {
	uint8_t *bytes;
	size_t size;
	size_t mem_size;
	unsigned int nr_cpus;
};

int state_read(struct vmm *vmm, const char *path, struct state *state);
int state_restore(struct vmm *vmm, const struct state *state);
void state_free(struct state *state);

/* -- control: a socket to ask for snapshots ----------------------------------------- */

#define CONTROL_MESSAGE_SIZE	512

int control_listen(struct vmm *vmm, const char *path);
void control_accept(struct vmm *vmm);
void control_close(struct vmm *vmm);

/* -- the machine ---------------------------------------------------------------------- */

enum vmm_outcome {
	VMM_RUNNING,
	VMM_OFF,		/* the guest turned itself off */
	VMM_RESET,		/* the guest asked for a reset */
	VMM_STOPPED,		/* saved and stopped */
	VMM_QUIT,		/* by the user or a signal */
	VMM_DIED,		/* of what the message says */
};

struct vmm {
	int kvm, vm;
	struct gmem *gmem;	/* for all that populates memory */
	struct memory mem;
	struct demand *demand;	/* or NULL */
	struct record *record;	/* or NULL */
	struct serial serial;
	struct console console;
	uint64_t entry;		/* of the kernel */
	uint16_t pm1_enable;

	unsigned int nr_cpus;
	struct cpu *cpus;

	pthread_mutex_t lock;	/* of what follows */
	pthread_cond_t changed;
	unsigned int pauses;	/* how many want it paused */
	enum vmm_outcome outcome;
	char error[512];

	int wake;		/* eventfd: the main thread has something to look at */
	int control;		/* the listening socket, or -1 */
	char *control_path;
	int signal;		/* that ended it */

	double start_ms;	/* of the program */
	double first_instruction_ms, first_userspace_ms;	/* since; or 0 */
	enum gmem_method method;	/* that populated most of memory */
	uint64_t populated;	/* bytes, before the first instruction */
	double populate_ms;
};

void vmm_init(struct vmm *vmm);
int vmm_create(struct vmm *vmm, size_t mem_size, unsigned int nr_cpus);
int vmm_create_cpus(struct vmm *vmm);
int vmm_run(struct vmm *vmm);
int vmm_pause(struct vmm *vmm);
void vmm_resume(struct vmm *vmm);
void vmm_end(struct vmm *vmm, enum vmm_outcome outcome);
void vmm_wake(struct vmm *vmm);
bool vmm_is_over(struct vmm *vmm);
void vmm_destroy(struct vmm *vmm);
double vmm_now_ms(void);

/* Leave a message for who called, unless there is one: -1. */
int vmm_fail(struct vmm *vmm, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
