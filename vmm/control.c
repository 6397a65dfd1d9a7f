// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * The control socket. A client sends "snapshot" or "snapshot stop", with two
 * descriptors to write to: for the RAM image and for the machine's state. The answers
 * are "progress DONE TOTAL", and then "saved DONE" or "error MESSAGE". The machine goes
 * on; if it is to stop it does so when the client has given the files their names, and
 * says "named". Should the client leave without that the machine goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"
#include "demand.h"
#include "image.h"
#include "kvm-api.h"
#include "lib/shared.h"
#include "outcome.h"
#include "pause.h"
#include "state.h"

#define PROGRESS_MS	100.0
#define CLIENT_TIMEOUT	5

static int unix_address(struct vmm *vmm, const char *path, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un) { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(address->sun_path))
		return vmm_fail(vmm, "--control %s: a socket's path has %zu characters at most", path,
				sizeof(address->sun_path) - 1);
	memcpy(address->sun_path, path, strlen(path) + 1);
	return 0;
}

/* The socket of one that was killed: nobody answers there. */
static bool is_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	bool stale = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) &&
		     errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return stale;
}

static int bind_private(int fd, const struct sockaddr_un *address)
{
	mode_t mask = umask(077);
	int ret = bind(fd, (const struct sockaddr *)address, sizeof(*address));

	umask(mask);
	return ret;
}

int control_listen(struct vmm *vmm, const char *path)
{
	struct sockaddr_un address;
	int fd, ret;

	if (unix_address(vmm, path, &address))
		return -1;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return vmm_fail(vmm, "cannot make a socket: %m");
	ret = bind_private(fd, &address);
	if (ret && errno == EADDRINUSE && is_stale(&address)) {
		unlink(path);
		ret = bind_private(fd, &address);
	}
	if (!ret) {
		vmm->control.path = strdup(path);
		ret = listen(fd, 4);
	}
	if (ret) {
		vmm_fail(vmm, "--control %s: %s", path,
			 errno == EADDRINUSE ? "there is something there, perhaps another gmem run's socket" : strerror(errno));
		close(fd);
		return -1;
	}
	vmm->control.listening = fd;
	return 0;
}

/* -- a client -------------------------------------------------------------------------- */

struct request {
	int client;
	struct image image;
	int state;
	bool stop;
	double told_ms;
};

static int answer(int client, const char *format, ...)
{
	char message[CONTROL_MESSAGE_SIZE];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (len >= (int)sizeof(message))
		len = sizeof(message) - 1;
	return send(client, message, len, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Takes the descriptors, too; false if this is nothing that we know. */
static bool receive(struct request *r)
{
	char text[32] = "", control[CMSG_SPACE(2 * sizeof(int))];
	struct iovec iov = { .iov_base = text, .iov_len = sizeof(text) - 1 };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	int fds[2];
	ssize_t len;

	len = recvmsg(r->client, &message, MSG_CMSG_CLOEXEC);
	if (len <= 0)
		return false;
	c = CMSG_FIRSTHDR(&message);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return false;
	memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	r->image.fd = fds[0];
	if (c->cmsg_len != CMSG_LEN(sizeof(fds)))
		return false;
	r->state = fds[1];
	r->stop = !strcmp(text, "snapshot stop");
	return (r->stop || !strcmp(text, "snapshot")) && strlen(text) == (size_t)len;
}

static int tell_progress(struct vmm *vmm, struct image *image)
{
	struct request *r = (struct request *)((char *)image - offsetof(struct request, image));
	double now = now_ms();

	if (vmm_is_over(vmm))
		return vmm_fail(vmm, "the guest has ended");
	if (now - r->told_ms < PROGRESS_MS)
		return 0;
	r->told_ms = now;
	if (answer(r->client, "progress %" PRIu64 " %" PRIu64, image->done, image->total))
		return vmm_fail(vmm, "the client has left");
	return 0;
}

/* The machine is paused, and goes on unless the files get their names. */
static void stop_when_named(struct vmm *vmm, struct request *r)
{
	struct timeval patience = { 0 };
	char text[16];

	setsockopt(r->client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (recv(r->client, text, sizeof(text), 0) == 5 && !memcmp(text, "named", 5))
		vmm_end(vmm, VMM_STOPPED);
}

static int save(struct vmm *vmm, struct request *r)
{
	struct snapshot snapshot;
	int ret;

	if (demand_finish(vmm))
		return vmm_fail(vmm, "the guest has ended");
	if (vmm_pause(vmm))
		ret = vmm_fail(vmm, "the guest has ended");
	else
		ret = image_save(vmm, &r->image, &snapshot) || state_save(vmm, r->state, &snapshot) ? -1 : 0;
	if (!ret && !answer(r->client, "saved %" PRIu64, r->image.done) && r->stop)
		stop_when_named(vmm, r);
	/* A guest that heeds it does not take the pause for a lockup. */
	for (unsigned int i = 0; i < vmm->nr_cpus; i++)
		ioctl(vmm->cpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
	vmm_resume(vmm);
	return ret;
}

static void serve(struct vmm *vmm, struct request *r)
{
	if (!receive(r))
		answer(r->client, "error this is gmem run, which knows \"snapshot\"");
	else if (save(vmm, r))
		answer(r->client, "error %s", vmm->control.error);
}

static void *client_main(void *arg)
{
	struct vmm *vmm = arg;
	struct timeval patience = { .tv_sec = CLIENT_TIMEOUT };
	struct request r = {
		.client = vmm->control.client,
		.image = { .fd = -1, .progress = tell_progress },
		.state = -1,
	};

	setsockopt(r.client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(r.client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	serve(vmm, &r);
	if (r.image.fd >= 0)
		close(r.image.fd);
	if (r.state >= 0)
		close(r.state);

	pthread_mutex_lock(&vmm->lock);
	vmm->control.busy = false;
	close(r.client);
	pthread_mutex_unlock(&vmm->lock);
	vmm_wake(vmm);
	return NULL;
}

int control_socket(struct vmm *vmm)
{
	int fd;

	pthread_mutex_lock(&vmm->lock);
	fd = vmm->control.busy ? -1 : vmm->control.listening;
	pthread_mutex_unlock(&vmm->lock);
	return fd;
}

static void join(struct control *c)
{
	if (c->started)
		pthread_join(c->thread, NULL);
	c->started = false;
}

void control_accept(struct vmm *vmm)
{
	struct control *c = &vmm->control;

	join(c);
	c->client = accept4(c->listening, NULL, NULL, SOCK_CLOEXEC);
	if (c->client < 0)
		return;
	pthread_mutex_lock(&vmm->lock);
	c->error[0] = '\0';
	c->started = c->busy = !pthread_create(&c->thread, NULL, client_main, vmm);
	pthread_mutex_unlock(&vmm->lock);
	if (!c->started)
		close(c->client);
}

void control_close(struct vmm *vmm)
{
	struct control *c = &vmm->control;

	pthread_mutex_lock(&vmm->lock);
	if (c->busy)
		shutdown(c->client, SHUT_RD);
	pthread_mutex_unlock(&vmm->lock);
	join(c);
	if (c->listening >= 0)
		close(c->listening);
	if (c->path)
		unlink(c->path);
	free(c->path);
	c->listening = -1;
	c->path = NULL;
}
