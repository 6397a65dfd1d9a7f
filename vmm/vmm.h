/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/*
 * A small virtual machine monitor, enough for Linux with a shell on a serial
 * console: processors, KVM's own interrupt controllers and timer, a 16550, the
 * few ACPI registers that turn a machine off. Guest memory is a guest_memfd that
 * libgmem populates.
 *
 * Here is what a machine consists of; each NAME.h has the functions of NAME.c. Those
 * that can fail return 0 or -1, and leave a message with vmm_fail().
 */
#ifndef VMM_H
#define VMM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "gmem.h"

struct kvm_msr_entry;
struct kvm_run;
struct vmm;

/* RAM is contiguous in the file; the guest sees a hole below 4 GiB for devices. */
#define MEMORY_GAP_START	0xc0000000ull
#define MEMORY_GAP_END		0x100000000ull
#define PAGE_SIZE		4096ull

struct memory {
	size_t size;
	bool secret;		/* not in the kernel's direct map */
	int fd;			/* the guest_memfd */
	uint64_t slot_size;	/* of all memslots but the last */
	uint8_t *view;		/* all of it, for us */
	uint8_t *watched;	/* what the guest goes through when its touches are recorded */
	uint8_t *nothing;	/* where there is no memory yet */
	int closed_fd;
};

struct demand {
	struct gmem_demand *demand;
	const char *path;	/* of the image */
	int image;
	uint64_t pages;		/* of it, that are not zeros */
	pthread_t background;
	bool background_runs;
	bool finished;		/* all is populated, or will not be: under the machine's lock */
	atomic_size_t faults;	/* that the guest had to wait for */
};

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

#define SERIAL_FIFO	64

/* As it is in a saved state. */
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

/* Tells the kernel's lines, which begin with a time stamp, from all others. */
struct line_watch {
	enum {
		LINE_START,
		LINE_BRACKET,
		LINE_REST,
	} state;
	bool userspace;
};

struct console {
	int out;
	bool raw;
	bool escaped;		/* Ctrl-A was typed */
	uint8_t typed[4096];	/* and is not with the guest yet */
	size_t nr_typed;

	/* Under the machine's lock: what has been said and not been written. */
	struct line_watch watch;
	uint8_t *bytes;
	size_t n, room;
	bool closing;		/* nothing more will be said */
	bool done;		/* no thread writes, and nothing is kept */
};

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

#define VMM_ERROR_SIZE	512

struct control {
	int listening;		/* the socket, or -1 */
	char *path;

	/* Under the machine's lock: */
	bool busy;		/* a snapshot is being made, on this thread: */
	pthread_t thread;
	bool started;		/* and has to be joined */
	int client;
	char error[VMM_ERROR_SIZE];	/* its own: the machine goes on */
};

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
	struct gmem_context *gmem;	/* for all that populates memory */
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
	char error[VMM_ERROR_SIZE];
	struct control control;

	int wake;		/* eventfd: the main thread has something to look at */
	int signal;		/* that ended it */
	bool hurry;		/* to end: no reader is worth waiting for */

	double start_ms;	/* of the program */
	double first_instruction_ms, first_userspace_ms;	/* since; or 0 */
	enum gmem_method method;	/* that populated most of memory */
	uint64_t populated;	/* bytes, before the first instruction */
	double populate_ms;
};

#endif
