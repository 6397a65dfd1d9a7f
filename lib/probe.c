// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/* What the kernel can do, and why not when it can't. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"
#include "kvm.h"
#include "shared.h"

#define MAX_FEATURES	24

struct gmem_probe {
	uint64_t flags;
	size_t nr;
	struct gmem_feature feature[MAX_FEATURES];
	char why[MAX_FEATURES][160];
};

static const struct {
	uint64_t flag;
	const char *name, *about;
} flags[] = {
	{ GMEM_FLAG_MMAP, "GUEST_MEMFD_FLAG_MMAP", "user space can map guest memory" },
	{ GMEM_FLAG_INIT_SHARED, "GUEST_MEMFD_FLAG_INIT_SHARED", "memory begins as shared, not private" },
	{ GMEM_FLAG_NO_DIRECT_MAP, "GUEST_MEMFD_FLAG_NO_DIRECT_MAP", "guest memory is not in the kernel's direct map" },
	{ GMEM_FLAG_WRITE, "GUEST_MEMFD_FLAG_WRITE", "write(), splice and io_uring populate guest memory" },
	{ GMEM_FLAG_NO_OVERWRITE, "GUEST_MEMFD_FLAG_NO_OVERWRITE", "write() populates only what is absent" },
};

static const struct {
	int capability;
	const char *name, *about;
} capabilities[] = {
	{ KVM_CAP_USER_MEMORY2, "KVM_CAP_USER_MEMORY2", "guest_memfd can back a memory slot" },
	{ KVM_CAP_MEMORY_FAULT_INFO, "KVM_CAP_MEMORY_FAULT_INFO", "a vCPU says which address it lacks memory at" },
	{ KVM_CAP_MEMORY_ATTRIBUTES, "KVM_CAP_MEMORY_ATTRIBUTES", "pages can be made private or shared" },
};

#ifdef __x86_64__
static const struct {
	const char *name, *about;
} vm_types[] = {
	{ "KVM_X86_DEFAULT_VM", "ordinary VMs" },
	{ "KVM_X86_SW_PROTECTED_VM", "VMs with private memory, for testing" },
	{ "KVM_X86_SEV_VM", "AMD SEV" },
	{ "KVM_X86_SEV_ES_VM", "AMD SEV-ES" },
	{ "KVM_X86_SNP_VM", "AMD SEV-SNP" },
	{ "KVM_X86_TDX_VM", "Intel TDX" },
};
#endif

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

int gmem_check_extension(int kvm_or_vm, int capability)
{
	int answer = ioctl(kvm_or_vm, KVM_CHECK_EXTENSION, (long)capability);

	return answer > 0 ? answer : 0;
}

/* Supported if @why is NULL. */
static void add(struct gmem_probe *p, const char *name, const char *about,
		const char *why, ...) PRINTF(4, 5);

static void add(struct gmem_probe *p, const char *name, const char *about,
		const char *why, ...)
{
	char *text = p->why[p->nr];
	va_list args;

	if (why) {
		va_start(args, why);
		vsnprintf(text, sizeof(p->why[0]), why, args);
		va_end(args);
	}
	p->feature[p->nr++] = (struct gmem_feature) {
		.name = name,
		.about = about,
		.why = text,
		.supported = !why,
	};
}

static void why_no_kvm(char *why, size_t size, int err)
{
	const char *hint = "";

	if (err == ENOENT)
#ifdef __x86_64__
		hint = ": is virtualization on, and the module kvm_intel or kvm_amd loaded?";
#else
		hint = ": has the kernel been started at EL2?";
#endif
	else if (err == EACCES || err == EPERM)
		hint = ": is this user in the group kvm?";
	else if (err == EBUSY)
		hint = ": another hypervisor uses it";
	snprintf(why, size, "/dev/kvm: %s%s", strerror(err), hint);
}

/* Each feature depends on what comes before: @why names the first that lacks. */
static void probe_vm(struct gmem_probe *p, int vm, const char *why)
{
	bool has_flags;
	size_t i;

	if (!why && !gmem_check_extension(vm, KVM_CAP_GUEST_MEMFD))
		why = "KVM has no guest_memfd for this VM: it takes Linux 6.8 with CONFIG_KVM_GUEST_MEMFD, and nested paging (EPT or NPT)";
	add(p, "KVM_CAP_GUEST_MEMFD", "guest memory in a file that only the guest maps", why ? "%s" : NULL, why);

	has_flags = !why;
	p->flags = why ? 0 : gmem_check_extension(vm, KVM_CAP_GUEST_MEMFD_FLAGS);
	if (!why && !p->flags)
		why = "this kernel's guest_memfd has no flags for this VM's type: ordinary VMs have some since Linux 6.18";
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		if (p->flags & flags[i].flag)
			add(p, flags[i].name, flags[i].about, NULL);
		else if (why)
			add(p, flags[i].name, flags[i].about, "%s", why);
		else if (flags[i].flag == GMEM_FLAG_WRITE)
			add(p, flags[i].name, flags[i].about, "this kernel lacks the change that adds it: mmap and copy is used");
		else if (flags[i].flag == GMEM_FLAG_NO_OVERWRITE)
			add(p, flags[i].name, flags[i].about, "this kernel lacks the change that adds it");
		else if (flags[i].flag == GMEM_FLAG_NO_DIRECT_MAP)
			add(p, flags[i].name, flags[i].about, "it takes a kernel that is built with the change: the modules of gmem-dkms cannot have it");
		else
			add(p, flags[i].name, flags[i].about, "this kernel does not have it for this VM's type");
	}

	for (i = 0; i < ARRAY_SIZE(capabilities); i++) {
		if (!has_flags && why)
			add(p, capabilities[i].name, capabilities[i].about, "%s", why);
		else if (gmem_check_extension(vm, capabilities[i].capability))
			add(p, capabilities[i].name, capabilities[i].about, NULL);
		else
			add(p, capabilities[i].name, capabilities[i].about, "this kernel does not have it for this VM's type");
	}
}

static void probe_vm_types(struct gmem_probe *p, int kvm, const char *why)
{
#ifdef __x86_64__
	/* A kernel that cannot tell has the default type only. */
	unsigned int types = why ? 0 : gmem_check_extension(kvm, KVM_CAP_VM_TYPES) | 1;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(vm_types); i++) {
		if (types & (1U << i))
			add(p, vm_types[i].name, vm_types[i].about, NULL);
		else
			add(p, vm_types[i].name, vm_types[i].about, "%s",
			    why ?: "the kernel, its configuration or the processor lacks it");
	}
#else
	(void)p;
	(void)kvm;
	(void)why;
#endif
}

/* guest_memfd tells which pages are populated if its files have a position. */
static void probe_seek(struct gmem_probe *p, struct gmem_context *g, int vm)
{
	const char *name = "SEEK_DATA and SEEK_HOLE", *about = "guest_memfd tells which pages are populated";
	struct kvm_create_guest_memfd args = { .size = g->page };
	int fd;

	fd = vm < 0 ? -1 : ioctl(vm, KVM_CREATE_GUEST_MEMFD, &args);
	if (fd < 0) {
		/* Types whose memory is all private take no flags but 0, so this is odd. */
		add(p, name, about, "there is no guest_memfd to ask");
		return;
	}
	if (lseek(fd, 0, SEEK_HOLE) == 0)
		add(p, name, about, NULL);
	else
		add(p, name, about, "this kernel's guest_memfd cannot seek");
	close(fd);
}

/* The method io_uring: it takes liburing, and a kernel and a sandbox that allow it. */
static void probe_io_uring(struct gmem_probe *p)
{
	const char *name = "io_uring", *about = "the source is read ahead, while guest memory is written";
	unsigned char params[512] = { 0 };	/* more than struct io_uring_params has */
	long fd;

	if (!HAVE_IO_URING) {
		add(p, name, about, "this libgmem was built without liburing");
		return;
	}
	fd = syscall(SYS_io_uring_setup, 1, params);
	if (fd < 0)
		add(p, name, about, "this kernel or its settings (kernel.io_uring_disabled) do not allow it: %s", strerror(errno));
	else
		add(p, name, about, NULL);
	if (fd >= 0)
		close(fd);
}

EXPORT int gmem_probe(struct gmem_context *g, int vm, struct gmem_probe **result)
{
	int kvm, own_vm = -1, err;
	struct gmem_probe *p;
	char why[160] = "";

	err = gmem_begin(g);
	if (err)
		return err;

	p = calloc(1, sizeof(*p));
	if (!p)
		return gmem_end(g, gmem_fail(g, -ENOMEM, "out of memory"));

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		why_no_kvm(why, sizeof(why), errno);
	add(p, "/dev/kvm", "virtual machines", *why ? "%s" : NULL, why);

	if (kvm >= 0 && vm < 0) {
		vm = own_vm = make_vm(kvm);
		if (vm < 0)
			snprintf(why, sizeof(why), "KVM cannot create a VM: %s", strerror(errno));
	}
	/* The caller's VM can be asked even where /dev/kvm is out of reach. */
	probe_vm(p, vm, vm < 0 ? why : NULL);
	probe_seek(p, g, vm);
	probe_vm_types(p, kvm, kvm < 0 ? why : NULL);
	add(p, "zstd", "images compressed by zstd", HAVE_ZSTD ? NULL : "this libgmem was built without zstd");
	probe_io_uring(p);

	if (own_vm >= 0)
		close(own_vm);
	if (kvm >= 0)
		close(kvm);
	*result = p;
	return gmem_end(g, 0);
}

EXPORT void gmem_probe_free(struct gmem_probe *probe)
{
	free(probe);
}

EXPORT const struct gmem_feature *gmem_probe_feature(const struct gmem_probe *probe, size_t i)
{
	return i < probe->nr ? &probe->feature[i] : NULL;
}

EXPORT const struct gmem_feature *gmem_probe_find(const struct gmem_probe *probe, const char *name)
{
	size_t i;

	for (i = 0; i < probe->nr; i++)
		if (!strcmp(probe->feature[i].name, name))
			return &probe->feature[i];

	return NULL;
}

EXPORT uint64_t gmem_probe_flags(const struct gmem_probe *probe)
{
	return probe->flags;
}
