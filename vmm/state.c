// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * The state of the machine but for its memory: a header, then records, which are
 * what KVM's ioctls give, in the order in which they are to be given back.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cpu.h"
#include "demand.h"
#include "kvm-api.h"
#include "memory.h"
#include "outcome.h"
#include "serial.h"
#include "state.h"

#define STATE_MAGIC	"gmem vm\n"
#define STATE_VERSION	2
#define STATE_MAX	(256u << 20)
#define MAX_UNLISTED	64		/* MSRs */

struct state_header {
	char magic[8];
	uint32_t version;
	uint32_t nr_cpus;
	uint64_t mem_size;
	struct snapshot snapshot;
	uint64_t size;		/* of all, this header included */
	uint64_t checksum;	/* of all, but for this */
};

struct state_record {
	uint32_t type;
	uint32_t cpu;
	uint64_t size;		/* without this header and the padding to 8 bytes */
};

enum record_type {
	RECORD_CPUID = 1,
	RECORD_TSC_KHZ,
	RECORD_SREGS2,
	RECORD_NESTED,
	RECORD_REGS,
	RECORD_XCRS,
	RECORD_XSAVE,
	RECORD_DEBUGREGS,
	RECORD_LAPIC,
	RECORD_MSRS,
	RECORD_VCPU_EVENTS,
	RECORD_MP_STATE,
	RECORD_SHADOW_STACK,
	RECORD_PIC_MASTER,
	RECORD_PIC_SLAVE,
	RECORD_IOAPIC,
	RECORD_PIT2,
	RECORD_CLOCK,
	RECORD_SERIAL,
	RECORD_PM1_ENABLE,
};

/* FNV-1a: against accidents, not against attackers. */
static uint64_t add_to_checksum(uint64_t hash, const void *bytes, size_t len)
{
	for (const uint8_t *at = bytes; len--; at++)
		hash = (hash ^ *at) * 0x100000001b3ull;
	return hash;
}

static uint64_t checksum(const struct state_header *h, const void *rest, size_t len)
{
	uint64_t hash = add_to_checksum(0xcbf29ce484222325ull, h, offsetof(struct state_header, checksum));

	return add_to_checksum(hash, rest, len);
}

/* -- MSRs -------------------------------------------------------------------------------- */

/* Where the guest had KVM keep its clock, and the like: addresses in its memory. */
static bool msr_is_address(uint32_t msr)
{
	enum {
		WALL_CLOCK_OLD = 0x11,
		SYSTEM_TIME_OLD = 0x12,
		KVM_FIRST = 0x4b564d00,
		KVM_LAST = 0x4b564d04,
	};

	return msr == WALL_CLOCK_OLD || msr == SYSTEM_TIME_OLD || (msr >= KVM_FIRST && msr <= KVM_LAST);
}

static struct kvm_msrs *alloc_msrs(size_t n, size_t *size)
{
	*size = sizeof(struct kvm_msrs) + n * sizeof(struct kvm_msr_entry);
	return calloc(1, *size);
}

static struct kvm_msr_list *msr_list(int kvm)
{
	struct kvm_msr_list probe = { 0 }, *list;

	ioctl(kvm, KVM_GET_MSR_INDEX_LIST, &probe);	/* E2BIG, and how many */
	list = calloc(1, sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
	if (!list)
		return NULL;
	list->nmsrs = probe.nmsrs;
	if (!ioctl(kvm, KVM_GET_MSR_INDEX_LIST, list))
		return list;
	free(list);
	return NULL;
}

/* Of these KVM does not tell that it has them: the memory types that the guest has set. */
static const struct {
	uint32_t first, last;
} unlisted[] = {
	{ 0x200, 0x20f },		/* of variable ranges */
	{ 0x250, 0x250 },		/* of fixed ones, and the next two */
	{ 0x258, 0x259 },
	{ 0x268, 0x26f },
	{ 0x2ff, 0x2ff },		/* of all else */
};

enum {
	FEATURE_CONTROL = 0x3a,
	VMX_FIRST = 0x480,
	VMX_LAST = 0x491,
	TSC_DEADLINE = 0x6e0,
};

/* Nested state is not taken before these. */
static bool msr_is_early(uint32_t msr)
{
	return msr == FEATURE_CONTROL || (msr >= VMX_FIRST && msr <= VMX_LAST);
}

static void get_msr(int cpu_fd, struct kvm_msrs *msrs, uint32_t index)
{
	struct kvm_msr_entry e = { .index = index };

	if (!cpu_access_msr(cpu_fd, KVM_GET_MSRS, &e))
		msrs->entries[msrs->nmsrs++] = e;
}

/*
 * The early ones, or all others, that KVM and this processor have. The deadline comes
 * last: it would not be taken before the timer is in deadline mode.
 */
static struct kvm_msrs *get_msrs(struct vmm *vmm, int cpu_fd, bool early, size_t *size)
{
	struct kvm_msr_list *list = msr_list(vmm->kvm);
	struct kvm_msrs *msrs;

	if (!list)
		return NULL;
	msrs = alloc_msrs(list->nmsrs + MAX_UNLISTED, size);
	for (unsigned int i = 0; msrs && i < list->nmsrs; i++)
		if (list->indices[i] != TSC_DEADLINE && msr_is_early(list->indices[i]) == early)
			get_msr(cpu_fd, msrs, list->indices[i]);
	for (size_t i = 0; msrs && !early && i < sizeof(unlisted) / sizeof(*unlisted); i++)
		for (uint32_t msr = unlisted[i].first; msr <= unlisted[i].last; msr++)
			get_msr(cpu_fd, msrs, msr);
	if (msrs && !early)
		get_msr(cpu_fd, msrs, TSC_DEADLINE);
	free(list);
	return msrs;
}

/* One that cannot be set is what this processor lacks: fine if it says nothing. */
static int set_msrs(struct vmm *vmm, int cpu_fd, struct kvm_msrs *msrs, size_t size)
{
	if (size < sizeof(*msrs) || msrs->nmsrs > (size - sizeof(*msrs)) / sizeof(msrs->entries[0]))
		return vmm_fail(vmm, "the state's MSRs are damaged");

	for (unsigned int i = 0; i < msrs->nmsrs; i++) {
		struct kvm_msr_entry e = msrs->entries[i];
		uint64_t offset;

		/* KVM itself does not wait for memory that is populated on demand. */
		if (vmm->demand && msr_is_address(e.index) &&
		    memory_offset(&vmm->mem, e.data & ~63ull, &offset) &&
		    demand_touch(vmm, offset, 64))
			return -1;
		if (cpu_access_msr(cpu_fd, KVM_SET_MSRS, &e)) {
			struct kvm_msr_entry now = { .index = e.index };

			if (!e.data || (!cpu_access_msr(cpu_fd, KVM_GET_MSRS, &now) && now.data == e.data))
				continue;
			return vmm_fail(vmm, "this machine's processor does not take MSR %#x = %#llx: restore on one like that which saved",
					e.index, (unsigned long long)e.data);
		}
	}
	return 0;
}

/* -- CPUID: the processor must be able to do what it could --------------------------------- */

static struct kvm_cpuid2 *get_cpuid(int cpu_fd, size_t *size)
{
	const unsigned int nent = 256;
	struct kvm_cpuid2 *cpuid;

	*size = sizeof(*cpuid) + nent * sizeof(cpuid->entries[0]);
	cpuid = calloc(1, *size);
	if (!cpuid)
		return NULL;
	cpuid->nent = nent;
	if (!ioctl(cpu_fd, KVM_GET_CPUID2, cpuid)) {
		*size = sizeof(*cpuid) + cpuid->nent * sizeof(cpuid->entries[0]);
		return cpuid;
	}
	free(cpuid);
	return NULL;
}

static const struct kvm_cpuid_entry2 *find_leaf(const struct kvm_cpuid2 *cpuid, uint32_t function,
						uint32_t index)
{
	for (unsigned int i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
			return &cpuid->entries[i];
	return NULL;
}

static int check_features(struct vmm *vmm, const struct kvm_cpuid2 *saved)
{
	static const struct {
		uint32_t function, index, eax, ebx, ecx, edx;
	} leaves[] = {
		/* not what KVM emulates or the system sets: TSC deadline, OSXSAVE, hypervisor */
		{ 1, 0, 0, 0, ~(1u << 24 | 1u << 27 | 1u << 31), ~0u },
		{ 7, 0, 0, ~0u, ~(1u << 4), ~0u },	/* OSPKE */
		{ 7, 1, ~0u, 0, 0, ~0u },
		{ 0xd, 0, ~0u, 0, 0, ~0u },
		{ 0xd, 1, ~0u, 0, 0, 0 },
		{ 0x80000001, 0, 0, 0, ~0u, ~0u },
	};
	struct kvm_cpuid2 *here = kvm_supported_cpuid(vmm->kvm);
	int ret = 0;

	if (!here)
		return vmm_fail(vmm, "KVM_GET_SUPPORTED_CPUID: %m");
	for (size_t i = 0; i < sizeof(leaves) / sizeof(*leaves) && !ret; i++) {
		static const struct kvm_cpuid_entry2 none;
		const struct kvm_cpuid_entry2 *was = find_leaf(saved, leaves[i].function, leaves[i].index);
		const struct kvm_cpuid_entry2 *is = find_leaf(here, leaves[i].function, leaves[i].index);

		if (!was)
			continue;
		if (!is)
			is = &none;
		if ((was->eax & ~is->eax & leaves[i].eax) || (was->ebx & ~is->ebx & leaves[i].ebx) ||
		    (was->ecx & ~is->ecx & leaves[i].ecx) || (was->edx & ~is->edx & leaves[i].edx))
			ret = vmm_fail(vmm, "this machine's processor lacks features (CPUID %#x) that the saved one has",
				       leaves[i].function);
	}
	free(here);
	return ret;
}

static int set_cpuid(struct vmm *vmm, int cpu_fd, const struct kvm_cpuid2 *cpuid, size_t size)
{
	if (size < sizeof(*cpuid) || cpuid->nent != (size - sizeof(*cpuid)) / sizeof(cpuid->entries[0]))
		return vmm_fail(vmm, "the state's CPUID is damaged");
	if (check_features(vmm, cpuid))
		return -1;
	if (vmm->mem.secret && cpu_needs_direct_map(cpuid))
		return vmm_fail(vmm, "--secret: the saved machine has kvmclock or nested virtualization, which do not work there: save one that was started with --secret");
	return ioctl(cpu_fd, KVM_SET_CPUID2, cpuid) ? vmm_fail(vmm, "KVM_SET_CPUID2: %m") : 0;
}

/* -- what an ioctl takes and gives as it is ---------------------------------------------------- */

#define ITEM(when, name, type) \
	{ when, RECORD_##name, #name, KVM_GET_##name, KVM_SET_##name, sizeof(struct type), 0 }
#define CHIP(name) \
	{ OF_VM, RECORD_##name, "IRQCHIP", KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, \
	  sizeof(struct kvm_irqchip), KVM_IRQCHIP_##name }

/* Whose it is, and when: what a processor's MSRs depend on comes before them. */
enum when {
	OF_VM,
	EARLY,
	AFTER_EARLY_MSRS,
	AFTER_MSRS,
};

static const struct item {
	enum when when;
	enum record_type type;
	const char *name;
	unsigned long get, set;
	size_t size;
	uint32_t chip;		/* of irqchips: which */
} items[] = {
	CHIP(PIC_MASTER),
	CHIP(PIC_SLAVE),
	CHIP(IOAPIC),
	ITEM(OF_VM, PIT2, kvm_pit_state2),
	ITEM(OF_VM, CLOCK, kvm_clock_data),
	ITEM(EARLY, SREGS2, kvm_sregs2),
	ITEM(AFTER_EARLY_MSRS, REGS, kvm_regs),
	ITEM(AFTER_EARLY_MSRS, XCRS, kvm_xcrs),
	ITEM(AFTER_EARLY_MSRS, DEBUGREGS, kvm_debugregs),
	ITEM(AFTER_EARLY_MSRS, LAPIC, kvm_lapic_state),
	ITEM(AFTER_MSRS, VCPU_EVENTS, kvm_vcpu_events),
	ITEM(AFTER_MSRS, MP_STATE, kvm_mp_state),
};

#define NR_ITEMS	(sizeof(items) / sizeof(*items))

/* -- saving --------------------------------------------------------------------------------------- */

struct writer {
	FILE *to;
	uint32_t cpu;
};

/* What goes wrong shows when the stream is closed. */
static int put(struct writer *w, enum record_type type, const void *bytes, size_t size)
{
	static const char padding[8];
	struct state_record record = { .type = type, .cpu = w->cpu, .size = size };

	fwrite(&record, sizeof(record), 1, w->to);
	fwrite(bytes, 1, size, w->to);
	fwrite(padding, 1, -size & 7, w->to);
	return 0;
}

static int save_item(struct vmm *vmm, struct writer *w, int fd, const struct item *item)
{
	_Alignas(8) uint8_t bytes[sizeof(struct kvm_lapic_state) + 4096] = { 0 };

	if (item->get == KVM_GET_IRQCHIP)
		((struct kvm_irqchip *)bytes)->chip_id = item->chip;
	if (ioctl(fd, item->get, bytes))
		return vmm_fail(vmm, "KVM_GET_%s: %m", item->name);
	/* The guest's clock goes on where it stopped, whatever time it is. */
	if (item->type == RECORD_CLOCK)
		((struct kvm_clock_data *)bytes)->flags = 0;
	return put(w, item->type, bytes, item->size);
}

static int save_items(struct vmm *vmm, struct writer *w, int fd, enum when when)
{
	for (size_t i = 0; i < NR_ITEMS; i++)
		if (items[i].when == when && save_item(vmm, w, fd, &items[i]))
			return -1;
	return 0;
}

static int save_xsave(struct vmm *vmm, struct writer *w, int fd)
{
	int size = ioctl(vmm->vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2), ret;
	unsigned long get = size > 0 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
	void *xsave;

	if (size < (int)sizeof(struct kvm_xsave))
		size = sizeof(struct kvm_xsave);
	xsave = calloc(1, size);
	if (!xsave)
		return vmm_fail(vmm, "out of memory");
	ret = ioctl(fd, get, xsave) ? vmm_fail(vmm, "KVM_GET_XSAVE: %m") : put(w, RECORD_XSAVE, xsave, size);
	free(xsave);
	return ret;
}

static int save_variable(struct vmm *vmm, struct writer *w, enum record_type type, void *bytes, size_t size,
			 const char *name)
{
	if (!bytes)
		return vmm_fail(vmm, "KVM_GET_%s: %m", name);
	put(w, type, bytes, size);
	free(bytes);
	return 0;
}

/* Else the guest's clock would go faster or slower. */
static int save_tsc_khz(struct vmm *vmm, struct writer *w, int fd)
{
	uint32_t khz = ioctl(fd, KVM_GET_TSC_KHZ, 0);

	return (int32_t)khz < 0 ? vmm_fail(vmm, "KVM_GET_TSC_KHZ: %m") : put(w, RECORD_TSC_KHZ, &khz, sizeof(khz));
}

/* That of a guest that is a hypervisor, whose own guests may be running. */
static int save_nested(struct vmm *vmm, struct writer *w, int fd)
{
	int size = ioctl(vmm->vm, KVM_CHECK_EXTENSION, KVM_CAP_NESTED_STATE), ret;
	struct kvm_nested_state *nested;

	if (size < (int)sizeof(*nested))
		return 0;		/* it cannot be one */
	nested = calloc(1, size);
	if (!nested)
		return vmm_fail(vmm, "out of memory");
	nested->size = size;
	if (ioctl(fd, KVM_GET_NESTED_STATE, nested) || nested->size > (uint32_t)size)
		ret = vmm_fail(vmm, "KVM_GET_NESTED_STATE: %m");
	else
		ret = put(w, RECORD_NESTED, nested, nested->size);
	free(nested);
	return ret;
}

/* Its pointer; what else it has are MSRs. */
static int access_shadow_stack(int fd, unsigned long request, uint64_t *pointer)
{
	struct kvm_one_reg reg = { .id = REG_GUEST_SSP, .addr = (uintptr_t)pointer };

	return ioctl(fd, request, &reg);
}

static int save_shadow_stack(struct vmm *vmm, struct writer *w, int fd)
{
	uint64_t pointer;

	if (ioctl(vmm->vm, KVM_CHECK_EXTENSION, KVM_CAP_ONE_REG) <= 0 ||
	    access_shadow_stack(fd, KVM_GET_ONE_REG, &pointer))
		return 0;		/* neither KVM nor its guest has one */
	return put(w, RECORD_SHADOW_STACK, &pointer, sizeof(pointer));
}

static int save_cpu(struct vmm *vmm, struct writer *w, struct cpu *cpu)
{
	struct kvm_mp_state settled;
	size_t size;
	void *bytes;

	/* Asking has KVM take what INIT or SIPI is pending, which changes registers. */
	ioctl(cpu->fd, KVM_GET_MP_STATE, &settled);

	w->cpu = cpu->index;
	bytes = get_cpuid(cpu->fd, &size);
	if (save_variable(vmm, w, RECORD_CPUID, bytes, size, "CPUID2") || save_tsc_khz(vmm, w, cpu->fd) ||
	    save_items(vmm, w, cpu->fd, EARLY))
		return -1;
	bytes = get_msrs(vmm, cpu->fd, true, &size);
	if (save_variable(vmm, w, RECORD_MSRS, bytes, size, "MSRS") || save_nested(vmm, w, cpu->fd) ||
	    save_items(vmm, w, cpu->fd, AFTER_EARLY_MSRS) || save_xsave(vmm, w, cpu->fd))
		return -1;
	bytes = get_msrs(vmm, cpu->fd, false, &size);
	if (save_variable(vmm, w, RECORD_MSRS, bytes, size, "MSRS") || save_items(vmm, w, cpu->fd, AFTER_MSRS))
		return -1;
	return save_shadow_stack(vmm, w, cpu->fd);
}

static int save_all(struct vmm *vmm, FILE *to)
{
	struct writer w = { .to = to };

	/* The machine's first: processors' timers are armed when all else is there. */
	if (save_items(vmm, &w, vmm->vm, OF_VM))
		return -1;
	put(&w, RECORD_SERIAL, &vmm->serial.regs, sizeof(vmm->serial.regs));
	put(&w, RECORD_PM1_ENABLE, &vmm->pm1_enable, sizeof(vmm->pm1_enable));
	for (unsigned int i = 0; i < vmm->nr_cpus; i++)
		if (save_cpu(vmm, &w, &vmm->cpus[i]))
			return -1;
	return 0;
}

int state_save(struct vmm *vmm, int fd, const struct snapshot *snapshot)
{
	struct state_header header = {
		.magic = STATE_MAGIC,
		.version = STATE_VERSION,
		.nr_cpus = vmm->nr_cpus,
		.mem_size = vmm->mem.size,
		.snapshot = *snapshot,
	};
	size_t size = 0;
	char *bytes = NULL;
	FILE *to = open_memstream(&bytes, &size);
	int ret;

	if (!to)
		return vmm_fail(vmm, "out of memory");
	ret = save_all(vmm, to);
	if (fclose(to) && !ret)
		ret = vmm_fail(vmm, "out of memory");
	header.size = sizeof(header) + size;
	header.checksum = checksum(&header, bytes, size);
	if (!ret)
		ret = image_write(vmm, fd, &header, sizeof(header), 0, "the state");
	if (!ret)
		ret = image_write(vmm, fd, bytes, size, sizeof(header), "the state");
	free(bytes);
	return ret;
}

/* -- restoring ----------------------------------------------------------------------------------------- */

static int load_file(struct vmm *vmm, const char *path, struct state *state)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);	/* a pipe will not do */
	struct stat st;
	ssize_t n = -1;

	if (fd < 0)
		return vmm_fail(vmm, "cannot read %s: %m: gmem snapshot saves a machine's state there, beside its RAM image",
				path);
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size <= STATE_MAX) {
		state->size = st.st_size;
		state->bytes = malloc(state->size + 1);
		if (state->bytes)
			n = pread(fd, state->bytes, state->size, 0);
	}
	close(fd);
	if (n != (ssize_t)state->size)
		return vmm_fail(vmm, "cannot read %s: is it what gmem snapshot saved?", path);
	return 0;
}

int state_read(struct vmm *vmm, const char *path, struct state *state)
{
	struct state_header h;

	if (load_file(vmm, path, state))
		return -1;
	if (state->size < sizeof(h) || memcmp(state->bytes, STATE_MAGIC, sizeof(h.magic)))
		return vmm_fail(vmm, "%s is not the state of a machine that gmem snapshot saved", path);
	memcpy(&h, state->bytes, sizeof(h));
	if (h.version != STATE_VERSION)
		return vmm_fail(vmm, "%s has version %u, this gmem knows %u: use the gmem that saved it", path,
				h.version, STATE_VERSION);
	if (h.size != state->size)
		return vmm_fail(vmm, "%s has %zu bytes, should have %" PRIu64 ": it is cut off",
				path, state->size, h.size);
	if (checksum(&h, state->bytes + sizeof(h), state->size - sizeof(h)) != h.checksum)
		return vmm_fail(vmm, "%s is damaged: its checksum is wrong", path);
	if (!h.nr_cpus || !h.mem_size || h.mem_size % PAGE_SIZE)
		return vmm_fail(vmm, "%s is damaged: it has %u processors and %" PRIu64 " bytes of memory", path,
				h.nr_cpus, h.mem_size);
	state->nr_cpus = h.nr_cpus;
	state->mem_size = h.mem_size;
	state->snapshot = h.snapshot;
	return 0;
}

static const struct item *find_item(const struct state_record *r)
{
	for (size_t i = 0; i < NR_ITEMS; i++)
		if (items[i].type == r->type)
			return &items[i];
	return NULL;
}

static int copy_record(struct vmm *vmm, void *to, size_t size, const void *bytes, const struct state_record *r)
{
	if (r->size != size)
		return vmm_fail(vmm, "the state's record %u has %" PRIu64 " bytes, should have %zu",
				r->type, r->size, size);
	memcpy(to, bytes, size);
	return 0;
}

static int restore_item(struct vmm *vmm, int fd, const struct state_record *r, void *bytes)
{
	const struct item *item = find_item(r);

	if (!item)
		return vmm_fail(vmm, "the state has a record of unknown type %u", r->type);
	if (r->size != item->size)
		return vmm_fail(vmm, "the state's %s has %" PRIu64 " bytes, should have %zu",
				item->name, r->size, item->size);
	if (ioctl(fd, item->set, bytes))
		return vmm_fail(vmm, "KVM_SET_%s: %m", item->name);
	return 0;
}

static int restore_xsave(struct vmm *vmm, int fd, const struct state_record *r, void *bytes)
{
	int size = ioctl(vmm->vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);

	if (r->size < sizeof(struct kvm_xsave) || (size > 0 && r->size < (size_t)size))
		return vmm_fail(vmm, "the state's XSAVE area has %" PRIu64 " bytes, this machine's has %d",
				r->size, size);
	return ioctl(fd, KVM_SET_XSAVE, bytes) ? vmm_fail(vmm, "KVM_SET_XSAVE: %m") : 0;
}

/* Without scaling the processor's own rate is as good if KVM takes it for the same. */
static int restore_tsc_khz(struct vmm *vmm, int fd, const struct state_record *r, const void *bytes)
{
	uint32_t khz = 0;

	if (copy_record(vmm, &khz, sizeof(khz), bytes, r))
		return -1;
	if (ioctl(fd, KVM_SET_TSC_KHZ, (unsigned long)khz))
		return vmm_fail(vmm, "this machine's time stamp counter cannot run at the saved one's %u kHz, it has %d",
				khz, ioctl(fd, KVM_GET_TSC_KHZ, 0));
	return 0;
}

static int restore_nested(struct vmm *vmm, int fd, const struct state_record *r, void *bytes)
{
	const struct kvm_nested_state *nested = bytes;

	if (r->size < sizeof(*nested) || nested->size != r->size)
		return vmm_fail(vmm, "the state of nested guests is damaged");
	/* KVM reads its tables itself, and would not wait for memory. */
	if (vmm->demand && (nested->flags & KVM_STATE_NESTED_GUEST_MODE))
		return vmm_fail(vmm, "--demand: a guest of the saved machine's own was running: restore without it");
	if (ioctl(fd, KVM_SET_NESTED_STATE, bytes))
		return vmm_fail(vmm, "this machine's KVM does not take the saved one's nested guests: %m");
	return 0;
}

static int restore_shadow_stack(struct vmm *vmm, int fd, const struct state_record *r, const void *bytes)
{
	uint64_t pointer = 0;

	if (copy_record(vmm, &pointer, sizeof(pointer), bytes, r))
		return -1;
	if (access_shadow_stack(fd, KVM_SET_ONE_REG, &pointer) && pointer)
		return vmm_fail(vmm, "this machine's KVM has no shadow stacks, which the saved one uses");
	return 0;
}

static int restore_record(struct vmm *vmm, const struct state_record *r, void *bytes)
{
	bool of_vm = r->type >= RECORD_PIC_MASTER;
	int fd = of_vm ? vmm->vm : vmm->cpus[r->cpu].fd;

	switch (r->type) {
	case RECORD_CPUID:
		return set_cpuid(vmm, fd, bytes, r->size);
	case RECORD_TSC_KHZ:
		return restore_tsc_khz(vmm, fd, r, bytes);
	case RECORD_NESTED:
		return restore_nested(vmm, fd, r, bytes);
	case RECORD_SHADOW_STACK:
		return restore_shadow_stack(vmm, fd, r, bytes);
	case RECORD_XSAVE:
		return restore_xsave(vmm, fd, r, bytes);
	case RECORD_MSRS:
		return set_msrs(vmm, fd, bytes, r->size);
	case RECORD_SERIAL:
		return copy_record(vmm, &vmm->serial.regs, sizeof(vmm->serial.regs), bytes, r);
	case RECORD_PM1_ENABLE:
		return copy_record(vmm, &vmm->pm1_enable, sizeof(vmm->pm1_enable), bytes, r);
	default:
		return restore_item(vmm, fd, r, bytes);
	}
}

int state_restore(struct vmm *vmm, const struct state *state)
{
	size_t at = sizeof(struct state_header);

	while (at < state->size) {
		struct state_record r;

		if (state->size - at < sizeof(r))
			return vmm_fail(vmm, "the state's last record is cut off");
		memcpy(&r, state->bytes + at, sizeof(r));
		at += sizeof(r);
		if (r.size > state->size - at || r.cpu >= vmm->nr_cpus)
			return vmm_fail(vmm, "the state has a record that makes no sense");
		if (restore_record(vmm, &r, state->bytes + at))
			return -1;
		at += (r.size + 7) & ~7ull;
	}
	if (vmm->serial.regs.rx_count > SERIAL_FIFO || vmm->serial.regs.rx_head >= SERIAL_FIFO)
		return vmm_fail(vmm, "the state of the serial port makes no sense");
	serial_update_irq(vmm);
	return 0;
}

void state_free(struct state *state)
{
	free(state->bytes);
}
