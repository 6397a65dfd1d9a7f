// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* The machine as a whole: made, run, taken apart. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "console.h"
#include "control.h"
#include "cpu.h"
#include "demand.h"
#include "kvm-api.h"
#include "lib/shared.h"
#include "machine.h"
#include "memory.h"
#include "outcome.h"
#include "pause.h"
#include "record.h"
#include "typing.h"

#define GRACE_MS	1000.0		/* for who reads the console */
#define TSS_ADDRESS	0xfffbd000ul	/* three pages that Intel's real mode takes */

static int create_devices(struct vmm *vmm)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	if (ioctl(vmm->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS))
		return vmm_fail(vmm, "KVM_SET_TSS_ADDR: %m");
	if (ioctl(vmm->vm, KVM_CREATE_IRQCHIP, 0))
		return vmm_fail(vmm, "KVM cannot create interrupt controllers: %m");
	if (ioctl(vmm->vm, KVM_CREATE_PIT2, &pit))
		return vmm_fail(vmm, "KVM cannot create a timer: %m");
	return 0;
}

/*
 * Whoever started us may have blocked any signal. Until vmm_run() what ends us just
 * kills. A job in the background is not stopped by its terminal, for then it would
 * not hear of its end: it reads EIO, and may write.
 */
static void init_signals(void)
{
	sigset_t ends, stops;

	vmm_end_signals(&ends);
	pthread_sigmask(SIG_UNBLOCK, &ends, NULL);
	sigemptyset(&stops);
	sigaddset(&stops, SIGTTIN);
	sigaddset(&stops, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &stops, NULL);
}

void vmm_init(struct vmm *vmm)
{
	init_signals();
	*vmm = (struct vmm) {
		.kvm = -1,
		.vm = -1,
		.mem.fd = -1,
		.mem.closed_fd = -1,
		.control.listening = -1,
		.wake = -1,
		.console = { .out = STDOUT_FILENO, .done = true },
		.start_ms = now_ms(),
	};
	pthread_mutex_init(&vmm->lock, NULL);
	pthread_mutex_init(&vmm->serial.lock, NULL);
	pthread_cond_init(&vmm->changed, NULL);
}

int vmm_create(struct vmm *vmm, size_t mem_size, unsigned int nr_cpus)
{
	int max, err;

	vmm->nr_cpus = nr_cpus;
	vmm->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vmm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vmm->kvm < 0)
		return vmm_fail(vmm, "/dev/kvm: %m: gmem probe tells more");
	err = gmem_context_new(&vmm->gmem);
	if (err || vmm->wake < 0)
		return vmm_fail(vmm, "no descriptors are left");

	vmm->vm = make_vm(vmm->kvm);
	if (vmm->vm < 0)
		return vmm_fail(vmm, "KVM cannot create a virtual machine: %m");
	max = ioctl(vmm->vm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	if (max > 0 && nr_cpus > (unsigned int)max)
		return vmm_fail(vmm, "--smp %u: KVM has %d processors for a guest", nr_cpus, max);
	if (create_devices(vmm))
		return -1;
	return memory_create(vmm, mem_size);
}

int vmm_create_cpus(struct vmm *vmm)
{
	vmm->cpus = calloc(vmm->nr_cpus, sizeof(*vmm->cpus));
	if (!vmm->cpus)
		return vmm_fail(vmm, "out of memory");
	for (unsigned int i = 0; i < vmm->nr_cpus; i++)
		vmm->cpus[i].fd = -1;
	for (unsigned int i = 0; i < vmm->nr_cpus; i++)
		if (cpu_create(vmm, &vmm->cpus[i], i))
			return -1;
	return 0;
}

void vmm_destroy(struct vmm *vmm)
{
	control_close(vmm);
	for (unsigned int i = 0; vmm->cpus && i < vmm->nr_cpus; i++)
		cpu_destroy(&vmm->cpus[i]);
	free(vmm->cpus);
	record_destroy(vmm);
	demand_destroy(vmm);
	memory_destroy(vmm);
	if (vmm->vm >= 0)
		close(vmm->vm);
	if (vmm->kvm >= 0)
		close(vmm->kvm);
	gmem_context_free(vmm->gmem);
	if (!console_is_done(vmm))
		return;			/* its thread waits for a reader yet */
	free(vmm->console.bytes);
	if (vmm->wake >= 0)
		close(vmm->wake);
	pthread_cond_destroy(&vmm->changed);
	pthread_mutex_destroy(&vmm->serial.lock);
	pthread_mutex_destroy(&vmm->lock);
}

/* -- running it --------------------------------------------------------------------- */

static void take_signal(struct vmm *vmm, int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return;
	vmm->signal = info.ssi_signo;
	vmm_end(vmm, VMM_QUIT);
}

static void serve(struct vmm *vmm, int signals)
{
	enum {
		WAKE,
		SIGNALS,
		CONTROL,
		TYPING,
		N,
	};
	struct pollfd fds[N] = {
		[WAKE] = { .fd = vmm->wake, .events = POLLIN },
		[SIGNALS] = { .fd = signals, .events = POLLIN },
		[CONTROL] = { .events = POLLIN },
		[TYPING] = { .events = POLLIN },
	};
	bool typing = true;
	uint64_t count;

	while (!vmm_is_over(vmm)) {
		size_t room = typing ? typing_room(vmm) : 0;

		fds[TYPING].fd = room ? STDIN_FILENO : -1;
		fds[CONTROL].fd = control_socket(vmm);
		if (poll(fds, N, -1) < 0)
			continue;
		if (fds[WAKE].revents && read(vmm->wake, &count, sizeof(count)) < 0)
			continue;
		if (fds[SIGNALS].revents)
			take_signal(vmm, signals);
		if (fds[CONTROL].fd >= 0 && fds[CONTROL].revents)
			control_accept(vmm);
		if (room && fds[TYPING].revents)
			typing = typing_read(vmm, room);
		typing_deliver(vmm);
	}
}

/*
 * What the guest has said before it ended is still to be read. A signal ends that;
 * who has ended the machine has no mind to wait for a reader that has stopped.
 */
static void serve_console(struct vmm *vmm, int signals)
{
	bool by_guest = vmm->outcome == VMM_OFF || vmm->outcome == VMM_RESET || vmm->outcome == VMM_DIED;
	struct pollfd fds[] = {
		{ .fd = vmm->wake, .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};
	double end = now_ms() + GRACE_MS, left = GRACE_MS;
	uint64_t count;

	console_close(vmm);
	while (!console_is_done(vmm) && (by_guest || left > 0)) {
		poll(fds, 2, by_guest ? -1 : (int)left + 1);
		if (fds[0].revents && read(vmm->wake, &count, sizeof(count)) < 0)
			continue;
		if (fds[1].revents) {
			take_signal(vmm, signals);
			return;
		}
		left = end - now_ms();
	}
}

/* Until all threads are gone. One that is about to enter the guest needs the kick. */
static void join_cpus(struct vmm *vmm)
{
	pthread_mutex_lock(&vmm->lock);
	vmm_kick_cpus(vmm);
	pthread_mutex_unlock(&vmm->lock);
	for (unsigned int i = 0; i < vmm->nr_cpus; i++)
		if (vmm->cpus[i].started)
			pthread_join(vmm->cpus[i].thread, NULL);
}

static int start_threads(struct vmm *vmm)
{
	if (console_start(vmm))
		return -1;
	for (unsigned int i = 0; i < vmm->nr_cpus; i++)
		if (cpu_start(vmm, &vmm->cpus[i]))
			return -1;
	return 0;
}

static void on_kick(int sig)
{
	(void)sig;			/* it is there to interrupt KVM_RUN */
}

static void set_up_signals(sigset_t *ends)
{
	struct sigaction kick = { .sa_handler = on_kick };
	sigset_t kicks;

	vmm_end_signals(ends);
	pthread_sigmask(SIG_BLOCK, ends, NULL);

	sigaction(VMM_KICK, &kick, NULL);
	sigemptyset(&kicks);
	sigaddset(&kicks, VMM_KICK);
	pthread_sigmask(SIG_UNBLOCK, &kicks, NULL);

	/* Errors say the same. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

int vmm_run(struct vmm *vmm)
{
	sigset_t ends;
	int signals, ret = -1;

	set_up_signals(&ends);
	signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0) {
		vmm_fail(vmm, "cannot watch for signals: %m");
	} else if (!console_make_raw(vmm) && !start_threads(vmm)) {
		serve(vmm, signals);
		ret = 0;
	}
	vmm_end(vmm, VMM_DIED);
	control_close(vmm);
	join_cpus(vmm);
	serve_console(vmm, signals);
	vmm->hurry = vmm->signal || !console_is_done(vmm);
	console_restore(vmm);
	if (signals >= 0)
		close(signals);
	/* Whatever takes long from here on, another signal is the end of it. */
	pthread_sigmask(SIG_UNBLOCK, &ends, NULL);
	return ret;
}
