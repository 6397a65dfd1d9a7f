// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * What a shell cannot do to gmem run, in the lab:
 *
 *   vmm-helper deny CALL ARG VALUE ERRNO COMMAND...
 *                                        run it without that system call, where the
 *                                        argument ARG is VALUE: all by their numbers
 *   vmm-helper overwrite PID             one write() to guest memory that is populated
 *   vmm-helper poison PID TEXT           a memory error in a page that begins with that,
 *                                        of guest memory that the process has mapped
 *   vmm-helper stop FIFO TEXT            read up to that, then no more, and stay
 *   vmm-helper terminal COMMAND...       run it on a terminal, and show what it says
 *   vmm-helper quota DEVICE              what root's files take there: KIB FILES
 *   vmm-helper quota DEVICE KIB FILES    what they may take
 *   vmm-helper tsc STATE PERCENT         have the saved counter run at so much of its rate
 *   vmm-helper spin                      a virtual machine that runs, for good
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <pty.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/quota.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE	4096ul

static void deny(char **argv)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, atoi(argv[0]), 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[atoi(argv[1])])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, atoi(argv[2]), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | atoi(argv[3])),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		err(127, "prctl");
	execvp(argv[4], argv + 4);
	err(127, "%s", argv[4]);
}

static void quota(const char *device, const char *kib, const char *files)
{
	struct dqblk q;

	if (quotactl(QCMD(Q_GETQUOTA, USRQUOTA), device, 0, (void *)&q))
		err(1, "Q_GETQUOTA");
	if (!kib) {
		printf("%ju %ju\n", (uintmax_t)q.dqb_curspace / 1024, (uintmax_t)q.dqb_curinodes);
		return;
	}
	q.dqb_bhardlimit = strtoull(kib, NULL, 10);
	q.dqb_ihardlimit = strtoull(files, NULL, 10);
	q.dqb_valid = QIF_LIMITS;
	if (quotactl(QCMD(Q_SETQUOTA, USRQUOTA), device, 0, (void *)&q))
		err(1, "Q_SETQUOTA");
}

static int open_proc(const char *pid, const char *file)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, file);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

/* EBUSY: somebody has the page yet, which is bad memory all the same. */
static void corrupt(uint64_t pfn)
{
	static const char path[] = "/sys/kernel/debug/hwpoison/corrupt-pfn";
	FILE *f = fopen(path, "w");

	if (!f || fprintf(f, "%llu", (unsigned long long)pfn) < 0 || (fclose(f) && errno != EBUSY))
		err(1, "%s", path);
}

static void poison(const char *pid, const char *text)
{
	FILE *maps = fdopen(open_proc(pid, "maps"), "r");
	int mem = open_proc(pid, "mem"), map = open_proc(pid, "pagemap");
	unsigned long from, to;
	char line[512], head[64];

	while (fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "kvm-gmem") || sscanf(line, "%lx-%lx", &from, &to) != 2)
			continue;
		for (; from < to; from += PAGE) {
			uint64_t entry = 0;

			if (pread(mem, head, sizeof(head), from) != sizeof(head) ||
			    memcmp(head, text, strlen(text)) ||
			    pread(map, &entry, 8, from / PAGE * 8) != 8 || !(entry >> 63))
				continue;
			corrupt(entry & ((1ull << 55) - 1));
			return;
		}
	}
	errx(1, "no page begins with %s", text);
}

static void overwrite(const char *pid)
{
	static const uint8_t page[PAGE];
	const int process = syscall(SYS_pidfd_open, atoi(pid), 0);
	char path[64], name[64] = "";
	int fd;

	for (fd = 0; fd < 1024 && !strstr(name, "gmem"); fd++) {
		snprintf(path, sizeof(path), "/proc/%s/fd/%d", pid, fd);
		memset(name, 0, sizeof(name));
		if (readlink(path, name, sizeof(name) - 1) < 0)
			name[0] = 0;
	}
	fd = syscall(SYS_pidfd_getfd, process, fd - 1, 0);
	if (fd < 0)
		err(1, "no guest_memfd of process %s", pid);
	if (pwrite(fd, page, PAGE, lseek(fd, 0, SEEK_DATA)) < 0)
		err(1, "write");
}

static void stop(const char *fifo, const char *text)
{
	int in = open(fifo, O_RDONLY);
	char seen[64] = "", c;
	size_t len = strlen(text);

	fcntl(in, F_SETPIPE_SZ, PAGE);
	while (read(in, &c, 1) == 1) {
		memmove(seen, seen + 1, len - 1);
		seen[len - 1] = c;
		if (!memcmp(seen, text, len))
			pause();
	}
	errx(1, "the end, and no %s", text);
}

static void terminal(char **argv)
{
	char bytes[4096];
	ssize_t n;
	int fd;

	if (!forkpty(&fd, NULL, NULL, NULL)) {
		execvp(argv[0], argv);
		err(127, "%s", argv[0]);
	}
	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		if (write(STDOUT_FILENO, bytes, n) != n)
			break;
}

/* FNV-1a, as vmm/state.c has it. */
static uint64_t hash(uint64_t hash, const uint8_t *bytes, size_t len)
{
	while (len--)
		hash = (hash ^ *bytes++) * 0x100000001b3ull;
	return hash;
}

static void tsc(const char *path, uint32_t percent)
{
	enum { CHECKSUM = 56, RECORDS = 64, TSC_KHZ = 2 };
	static uint8_t bytes[1 << 20];
	FILE *f = fopen(path, "r+");
	size_t size = f ? fread(bytes, 1, sizeof(bytes), f) : 0;
	uint64_t *sum = (uint64_t *)(bytes + CHECKSUM), len;

	for (size_t at = RECORDS; at < size; at += 16 + ((len + 7) & ~7ull)) {
		uint32_t *type = (uint32_t *)(bytes + at), *khz = type + 4;

		len = *(uint64_t *)(type + 2);
		if (*type == TSC_KHZ)
			*khz = (uint64_t)*khz * percent / 100;
	}
	*sum = hash(hash(0xcbf29ce484222325ull, bytes, CHECKSUM), bytes + RECORDS, size - RECORDS);
	if (size < RECORDS || fseek(f, 0, SEEK_SET) || fwrite(bytes, 1, size, f) != size || fclose(f))
		err(1, "%s", path);
}

static void spin(void)
{
	int kvm = open("/dev/kvm", O_RDWR), vm = ioctl(kvm, KVM_CREATE_VM, 0), cpu;
	uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region memory = {
		.guest_phys_addr = PAGE, .memory_size = PAGE, .userspace_addr = (uintptr_t)page,
	};
	struct kvm_regs regs = { .rip = PAGE, .rflags = 2 };
	struct kvm_sregs sregs;

	memcpy(page, "\xff\x06\x10\x10\xeb\xfa", 6);		/* incw 0x1010; jmp back */
	if (vm < 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &memory))
		err(1, "KVM");
	cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	ioctl(cpu, KVM_GET_SREGS, &sregs);
	sregs.cs.base = sregs.cs.selector = 0;
	sregs.ds.base = sregs.ds.selector = 0;
	if (ioctl(cpu, KVM_SET_SREGS, &sregs) || ioctl(cpu, KVM_SET_REGS, &regs))
		err(1, "KVM");
	if (!fork()) {
		uint16_t was = 0;

		/* It runs as long as this says so. */
		for (unsigned int n = 0;; n += was != *(volatile uint16_t *)(page + 16)) {
			was = *(volatile uint16_t *)(page + 16);
			printf("spun %u\n", n);
			fflush(stdout);
			usleep(200000);
		}
	}
	while (ioctl(cpu, KVM_RUN, 0) >= 0)
		;
	err(1, "KVM_RUN");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "deny") && argc > 6)
		deny(argv + 2);
	else if (!strcmp(what, "quota") && (argc == 3 || argc == 5))
		quota(argv[2], argv[3], argc == 5 ? argv[4] : NULL);
	else if (!strcmp(what, "overwrite") && argc == 3)
		overwrite(argv[2]);
	else if (!strcmp(what, "poison") && argc == 4)
		poison(argv[2], argv[3]);
	else if (!strcmp(what, "stop") && argc == 4)
		stop(argv[2], argv[3]);
	else if (!strcmp(what, "terminal") && argc > 2)
		terminal(argv + 2);
	else if (!strcmp(what, "tsc") && argc == 4)
		tsc(argv[2], atoi(argv[3]));
	else if (!strcmp(what, "spin") && argc == 2)
		spin();
	else
		errx(2, "see the source");
	return 0;
}
