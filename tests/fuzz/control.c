// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * Requests to gmem run's control socket: any message, with any descriptors, or none,
 * on a machine with any pages in its memory. Each is answered, or the client has
 * left; the machine ends only when it was saved, asked to, and told that the files
 * have their names; if it says "saved" the image is its memory; no descriptor that
 * came along is kept.
 */
#include <fcntl.h>
#include <signal.h>

#include "machine.h"
#include "vmm/control.c"

#define PAGES	8		/* with something in them, and then up to the mark */
#define MEMORY	(IMAGE_MARK + PAGE)

static bool save_fails;

static int play_kvm(int fd, unsigned long request, void *arg)
{
	(void)fd;
	if (request == KVM_KVMCLOCK_CTRL)
		return 0;
	if (save_fails) {
		errno = EIO;
		return -1;
	}
	if (request == KVM_CHECK_EXTENSION)
		return 0;
	if (request == KVM_GET_MSR_INDEX_LIST)
		((struct kvm_msr_list *)arg)->nmsrs = 0;
	if (request == KVM_GET_CPUID2)
		((struct kvm_cpuid2 *)arg)->nent = 0;
	return 0;
}

/* What a client may send along. */
static int make_descriptor(uint8_t kind)
{
	int ends[2];

	switch (kind % 6) {
	case 0:
	case 1:
		return make_file("", 0);
	case 2:
		return make_file("something else", 14);
	case 3:
		return open("/dev/null", O_WRONLY | O_CLOEXEC);
	case 4:
		return open("/", O_RDONLY | O_CLOEXEC);
	default:
		MUST(!pipe2(ends, O_CLOEXEC));
		close(ends[0]);
		return ends[1];
	}
}

static void send_request(int client, const char *text, size_t size, const int *fds, size_t n)
{
	char control[CMSG_SPACE(4 * sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = (void *)text, .iov_len = size };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = n ? control : NULL, .msg_controllen = n ? CMSG_SPACE(n * sizeof(int)) : 0,
	};
	struct cmsghdr *c = n ? CMSG_FIRSTHDR(&message) : NULL;

	if (c) {
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	MUST(sendmsg(client, &message, MSG_NOSIGNAL) == (ssize_t)size);
}

/* The last answer, which is no progress: is it ok? */
static bool read_answer(int client)
{
	char text[CONTROL_MESSAGE_SIZE];
	ssize_t n;

	do {
		n = recv(client, text, sizeof(text) - 1, MSG_DONTWAIT);
		MUST(n > 0);
		text[n] = '\0';
		MUST(strlen(text) == (size_t)n && !strchr(text, '\n'));
	} while (!strncmp(text, "progress ", 9));
	MUST(!strncmp(text, "saved ", 6) || !strncmp(text, "error ", 6));
	return text[0] == 's';
}

static void must_be_memory(const struct vmm *vmm, int image)
{
	static uint8_t bytes[MEMORY];

	MUST(pread(image, bytes, sizeof(bytes), 0) == sizeof(bytes));
	MUST(!memcmp(bytes, vmm->mem.view, sizeof(bytes)));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const char *const texts[] = { "snapshot", "snapshot stop", "snapshot ", "snap" };
	struct input in = { bytes, size };
	int before = next_descriptor(), ends[2], fds[4];
	uint8_t form = take(&in, 1), pages = take(&in, 1);
	size_t n = take(&in, 1) % 5, len;
	struct request r = { .image = { .fd = -1, .progress = tell_progress }, .state = -1 };
	const char *text = texts[form & 3];
	struct vmm vmm;
	bool good, stop, named, known;

	signal(SIGPIPE, SIG_IGN);		/* as vmm_run() does */
	save_fails = form & 4;
	for (size_t i = 0; i < n; i++) {
		fds[i] = make_descriptor(take(&in, 1));
		MUST(fds[i] >= 0);
	}
	make_machine(&vmm, MEMORY, 1);
	/* This is the thread that serves the client, whose errors are its own. */
	vmm.control.busy = true;
	vmm.control.thread = pthread_self();
	for (int i = 0; i < PAGES; i++)
		if (pages & 1 << i)
			memset(vmm.mem.view + i * PAGE, i % 3 ? i : 0, PAGE);
	MUST(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	r.client = ends[0];
	len = strlen(text);
	if (form & 8) {
		text = (const char *)in.at;
		len = in.left;
	}
	if (len)
		send_request(ends[1], text, len, fds, n);
	named = form & 0x40 && len;
	if (named)
		send_request(ends[1], "named", 5, NULL, 0);
	/* Else the machine would wait for that. */
	if (form & 0x10 || !named)
		shutdown(ends[1], SHUT_WR);
	if (form & 0x20) {
		close(ends[1]);
		ends[1] = -1;
	}

	stop = len == 13 && !memcmp(text, "snapshot stop", len);
	known = stop || (len == 8 && !memcmp(text, "snapshot", len));

	serve(&vmm, &r);
	if (ends[1] >= 0) {
		good = read_answer(ends[1]);
		MUST(!good || (known && n >= 2 && !save_fails));
		if (good)
			must_be_memory(&vmm, fds[0]);
		MUST(vmm.outcome == (good && stop && named ? VMM_STOPPED : VMM_RUNNING));
	} else {
		MUST(vmm.outcome == VMM_RUNNING);
	}
	MUST(!vmm.pauses);
	if (r.image.fd >= 0)
		close(r.image.fd);
	if (r.state >= 0)
		close(r.state);
	close(ends[0]);
	if (ends[1] >= 0)
		close(ends[1]);
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	destroy_machine(&vmm);
	MUST(next_descriptor() == before);
	return 0;
}
