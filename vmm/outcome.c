// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* How the machine ends, what went wrong, and what the main thread is to look at. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "outcome.h"

/* A snapshot that fails is the client's problem, and no reason for the guest to end. */
static char *error_of_this_thread(struct vmm *vmm)
{
	if (vmm->control.busy && pthread_equal(vmm->control.thread, pthread_self()))
		return vmm->control.error;
	return vmm->error;
}

int vmm_fail(struct vmm *vmm, const char *format, ...)
{
	va_list args;
	char *error;

	pthread_mutex_lock(&vmm->lock);
	error = error_of_this_thread(vmm);
	if (!error[0]) {
		va_start(args, format);
		vsnprintf(error, VMM_ERROR_SIZE, format, args);
		va_end(args);
	}
	pthread_mutex_unlock(&vmm->lock);
	return -1;
}

void vmm_end_signals(sigset_t *ends)
{
	static const int all[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	struct sigaction was;

	sigemptyset(ends);
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (!sigaction(all[i], NULL, &was) && was.sa_handler != SIG_IGN)
			sigaddset(ends, all[i]);
}

/* A thread that did not block what ends us would have it kill us, with no clean end. */
int vmm_start_thread(struct vmm *vmm, pthread_t *thread, void *(*fn)(void *))
{
	sigset_t ends, before;

	vmm_end_signals(&ends);
	pthread_sigmask(SIG_BLOCK, &ends, &before);
	errno = pthread_create(thread, NULL, fn, vmm);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return errno ? vmm_fail(vmm, "cannot start a thread: %m") : 0;
}

void vmm_wake(struct vmm *vmm)
{
	const uint64_t one = 1;

	/* It fails only if it would overflow: then it is awake already. */
	if (write(vmm->wake, &one, sizeof(one)) < 0)
		return;
}

void vmm_end(struct vmm *vmm, enum vmm_outcome outcome)
{
	pthread_mutex_lock(&vmm->lock);
	if (vmm->outcome == VMM_RUNNING)
		vmm->outcome = outcome;
	pthread_cond_broadcast(&vmm->changed);
	pthread_mutex_unlock(&vmm->lock);
	vmm_wake(vmm);
}

bool vmm_is_over(struct vmm *vmm)
{
	bool over;

	pthread_mutex_lock(&vmm->lock);
	over = vmm->outcome != VMM_RUNNING;
	pthread_mutex_unlock(&vmm->lock);
	return over;
}
