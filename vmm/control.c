// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * The control socket. A client sends one message, "snapshot" or "snapshot stop",
 * with two descriptors to write to: for the RAM image and for the machine's state.
 * The answers are "progress DONE TOTAL", and at last "ok DONE" or "error MESSAGE".
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
#include "kvm-api.h"
#include "memory.h"
#include "outcome.h"
#include "pause.h"
#include "state.h"

#define PIECE		(1ull << 20)
#define PROGRESS_MS	100.0
#define CLIENT_TIMEOUT	5

static int unix_address(struct vmm *vmm, const char *path, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
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
		vmm->control_path = strdup(path);
		ret = listen(fd, 4);
	}
	if (ret) {
		vmm_fail(vmm, errno == EADDRINUSE ?
			 "--control %s: there is something there, perhaps another gmem run's socket" :
			 "--control %s: %m", path);
		close(fd);
		return -1;
	}
	vmm->control = fd;
	return 0;
}

void control_close(struct vmm *vmm)
{
	if (vmm->control >= 0)
		close(vmm->control);
	if (vmm->control_path)
		unlink(vmm->control_path);
	free(vmm->control_path);
	vmm->control = -1;
	vmm->control_path = NULL;
}

/* -- a client -------------------------------------------------------------------------- */

struct request {
	int client;
	int image, state;
	bool stop;
	uint64_t done, total;
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
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
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
	r->image = fds[0];
	if (c->cmsg_len != CMSG_LEN(sizeof(fds)))
		return false;
	r->state = fds[1];
	r->stop = !strcmp(text, "snapshot stop");
	return (r->stop || !strcmp(text, "snapshot")) && strlen(text) == (size_t)len;
}

static int count_data(struct vmm *vmm, struct request *r)
{
	struct gmem_range range;
	uint64_t from = 0;
	int found;

	while ((found = memory_next_data(vmm, from, &range)) > 0) {
		r->total += range.length;
		from = range.offset + range.length;
	}
	return found;
}

static bool is_zero(const uint8_t *page)
{
	return !page[0] && !memcmp(page, page + 1, PAGE_SIZE - 1);
}

static int write_at(struct vmm *vmm, int fd, uint64_t offset, uint64_t end)
{
	while (offset < end) {
		ssize_t n = pwrite(fd, vmm->mem.view + offset, end - offset, offset);

		if (n < 0 && errno != EINTR)
			return vmm_fail(vmm, "cannot write the RAM image: %m");
		if (n > 0)
			offset += n;
	}
	return 0;
}

/* The pages that are not all zeros; a hole in the image reads the same. */
static int write_pages(struct vmm *vmm, int fd, uint64_t offset, uint64_t end)
{
	while (offset < end) {
		uint64_t start;

		while (offset < end && is_zero(vmm->mem.view + offset))
			offset += PAGE_SIZE;
		start = offset;
		while (offset < end && !is_zero(vmm->mem.view + offset))
			offset += PAGE_SIZE;
		if (write_at(vmm, fd, start, offset))
			return -1;
	}
	return 0;
}

static int tell_progress(struct vmm *vmm, struct request *r)
{
	double now = vmm_now_ms();

	if (now - r->told_ms < PROGRESS_MS)
		return 0;
	r->told_ms = now;
	if (answer(r->client, "progress %" PRIu64 " %" PRIu64, r->done, r->total))
		return vmm_fail(vmm, "the client has left");
	return 0;
}

static int save_range(struct vmm *vmm, struct request *r, struct gmem_range range)
{
	uint64_t end = range.offset + range.length;

	for (uint64_t at = range.offset; at < end;) {
		uint64_t next = end - at < PIECE ? end : at + PIECE;

		if (write_pages(vmm, r->image, at, next) || tell_progress(vmm, r))
			return -1;
		r->done += next - at;
		at = next;
	}
	return 0;
}

static int save_memory(struct vmm *vmm, struct request *r)
{
	struct gmem_range range;
	uint64_t from = 0;
	int found;

	/* Pages of zeros are not written: what the file had must go. */
	if (ftruncate(r->image, 0) || ftruncate(r->image, vmm->mem.size))
		return vmm_fail(vmm, "cannot make the RAM image %zu bytes large: %m", vmm->mem.size);
	if (count_data(vmm, r))
		return -1;
	while ((found = memory_next_data(vmm, from, &range)) > 0) {
		if (save_range(vmm, r, range))
			return -1;
		from = range.offset + range.length;
	}
	return found;
}

static int save(struct vmm *vmm, struct request *r)
{
	int ret;

	if (demand_finish(vmm))
		return -1;
	if (vmm_pause(vmm))
		ret = vmm_fail(vmm, "the guest has ended");
	else
		ret = save_memory(vmm, r) || state_save(vmm, r->state) ? -1 : 0;
	if (!ret && !answer(r->client, "ok %" PRIu64, r->done) && r->stop)
		vmm_end(vmm, VMM_STOPPED);
	/* A guest that heeds it does not take the pause for a lockup. */
	for (unsigned int i = 0; i < vmm->nr_cpus; i++)
		ioctl(vmm->cpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
	vmm_resume(vmm);
	return ret;
}

/* A snapshot that fails is the client's problem, and no reason for the guest to end. */
static void report_failure(struct vmm *vmm, struct request *r)
{
	char error[sizeof(vmm->error)];

	pthread_mutex_lock(&vmm->lock);
	memcpy(error, vmm->error, sizeof(error));
	if (vmm->outcome != VMM_DIED)
		vmm->error[0] = '\0';
	pthread_mutex_unlock(&vmm->lock);
	answer(r->client, "error %s", error);
}

static void serve(struct vmm *vmm, struct request *r)
{
	if (!receive(r)) {
		answer(r->client, "error this is gmem run, which knows \"snapshot\"");
		return;
	}
	if (save(vmm, r))
		report_failure(vmm, r);
}

void control_accept(struct vmm *vmm)
{
	struct timeval patience = { .tv_sec = CLIENT_TIMEOUT };
	struct request r = {
		.client = accept4(vmm->control, NULL, NULL, SOCK_CLOEXEC),
		.image = -1,
		.state = -1,
	};

	if (r.client < 0)
		return;
	setsockopt(r.client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(r.client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	serve(vmm, &r);
	if (r.image >= 0)
		close(r.image);
	if (r.state >= 0)
		close(r.state);
	close(r.client);
}
