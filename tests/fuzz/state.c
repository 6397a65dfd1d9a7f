// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
/*
 * The state of a saved machine, gmem run --restore IMAGE's IMAGE.state. A file is
 * read or refused, with a message of one line. What is restored is within the file:
 * KVM is given nothing else, nor less than it would read, and the devices are sound.
 * What was saved is restored as it was.
 *
 * The first byte says what the rest is: all of a file, or its records but for the
 * header, or a plan of records, which are mostly of the right size, and of damage.
 */
#include "machine.h"
#include "vmm/state.c"		/* for the checksum, and what records there are */

#define NR_CPUS		2
#define MEMORY		(16 * PAGE)
#define SIZE_OF_MUCH	(sizeof(struct kvm_xsave) + 64)	/* XSAVE, and nested state */

static struct input answers;		/* of KVM */
static uint64_t given, taken;		/* sums of what KVM gave, and was given */
static const uint32_t tsc_khz = 2000000;
static bool playing_save;
static unsigned int settled;		/* processors whose KVM_GET_MP_STATE is not kept */

/* What begins as the input tells; most of what there is has hundreds of bytes. */
static void fill(void *to, size_t size)
{
	uint8_t *bytes = to;

	for (size_t i = 0; i < size; i++)
		bytes[i] = i < 8 ? take(&answers, 1) : bytes[i - 8] + 1;
}

/* Now and then KVM can't. */
static bool refuses(void)
{
	return !playing_save && take(&answers, 1) == 0xff;
}

/* The bytes that the kernel would read, all of them. */
static void add(uint64_t *sum, const void *bytes, size_t size)
{
	*sum = add_to_checksum(*sum, bytes, size);
}

static int supported_cpuid(struct kvm_cpuid2 *cpuid)
{
	static const uint32_t functions[] = { 1, 7, 7, 0xd, 0xd, 0x80000001 };

	MUST(cpuid->nent >= 6);
	cpuid->nent = 6;
	for (int i = 0; i < 6; i++) {
		uint32_t all = refuses() ? 0 : ~0u;

		cpuid->entries[i] = (struct kvm_cpuid_entry2){
			.function = functions[i], .index = i == 2 || i == 4,
			.eax = all, .ebx = all, .ecx = all, .edx = all,
		};
	}
	return 0;
}

/* As many as there are, less than there is room for. */
static int get_list(uint32_t *n, size_t room, uint32_t *first, size_t size)
{
	uint32_t want = playing_save ? answers.left % 5 : 0;

	if (*n < want || room < want) {
		*n = want;
		errno = E2BIG;
		return -1;
	}
	*n = want;
	fill(first, want * size);
	return 0;
}

static int access_msr(unsigned long request, struct kvm_msrs *msrs)
{
	MUST(msrs->nmsrs == 1);
	if (request == KVM_GET_MSRS) {
		if (playing_save && take(&answers, 1) % 4 == 3)
			return 0;
		fill(&msrs->entries[0].data, 8);
		if (playing_save)
			add(&given, msrs->entries, sizeof(msrs->entries[0]));
	} else {
		if (refuses())
			return 0;
		add(&taken, msrs->entries, sizeof(msrs->entries[0]));
	}
	return 1;
}

static int access_register(unsigned long request, const struct kvm_one_reg *reg)
{
	void *value = (void *)(uintptr_t)reg->addr;

	MUST(reg->id == REG_GUEST_SSP);
	if (request == KVM_GET_ONE_REG) {
		fill(value, 8);
		add(&given, value, 8);
	} else {
		if (refuses())
			return -1;
		add(&taken, value, 8);
	}
	return 0;
}

/* As large as it says. */
static int access_nested(unsigned long request, struct kvm_nested_state *nested)
{
	if (request == KVM_GET_NESTED_STATE) {
		MUST(nested->size == SIZE_OF_MUCH);
		fill(nested, SIZE_OF_MUCH);
		nested->size = sizeof(*nested) + take(&answers, 1);
		add(&given, nested, nested->size);
	} else {
		if (refuses())
			return -1;
		add(&taken, nested, nested->size);
	}
	return 0;
}

static int play_kvm(int fd, unsigned long request, void *arg)
{
	struct kvm_cpuid2 *cpuid = arg;
	struct kvm_msr_list *list = arg;
	size_t size = _IOC_SIZE(request);

	MUST(fd <= FAKE_CPU + NR_CPUS);
	switch (request) {
	case KVM_CHECK_EXTENSION:
		return SIZE_OF_MUCH;
	case KVM_GET_TSC_KHZ:
		add(&given, &tsc_khz, sizeof(tsc_khz));
		return tsc_khz;
	case KVM_SET_TSC_KHZ:
		if (refuses())
			return -1;
		add(&taken, &(uint32_t){ (uintptr_t)arg }, sizeof(uint32_t));
		return 0;
	case KVM_GET_ONE_REG:
	case KVM_SET_ONE_REG:
		return access_register(request, arg);
	case KVM_GET_NESTED_STATE:
	case KVM_SET_NESTED_STATE:
		return access_nested(request, arg);
	case KVM_GET_SUPPORTED_CPUID:
		return supported_cpuid(cpuid);
	case KVM_GET_MSR_INDEX_LIST:
		return get_list(&list->nmsrs, list->nmsrs, list->indices, sizeof(list->indices[0]));
	case KVM_GET_CPUID2:
		if (get_list(&cpuid->nent, cpuid->nent, (uint32_t *)cpuid->entries, sizeof(cpuid->entries[0])))
			return -1;
		add(&given, cpuid, sizeof(*cpuid) + cpuid->nent * sizeof(cpuid->entries[0]));
		return 0;
	case KVM_SET_CPUID2:
		MUST(fd >= FAKE_CPU);
		add(&taken, cpuid, sizeof(*cpuid) + cpuid->nent * sizeof(cpuid->entries[0]));
		return 0;
	case KVM_GET_MSRS:
	case KVM_SET_MSRS:
		return access_msr(request, arg);
	case KVM_GET_XSAVE2:
		size = SIZE_OF_MUCH;
		fill(arg, size);
		add(&given, arg, size);
		return 0;
	case KVM_SET_XSAVE:
		size = SIZE_OF_MUCH;	/* as it is with XSAVE2 */
		break;
	case KVM_IRQ_LINE:
		return 0;
	}
	MUST(size && size <= SIZE_OF_MUCH);
	/* Both of the chips' have the wrong direction. */
	if (_IOC_DIR(request) == _IOC_READ && request != KVM_SET_IRQCHIP) {
		fill(arg, size);
		if (request == KVM_GET_CLOCK)
			((struct kvm_clock_data *)arg)->flags = 0;
		/* Each processor is asked twice, the first time to settle it. */
		if (request != KVM_GET_MP_STATE || settled++ % 2)
			add(&given, arg, size);
		return 0;
	}
	if (request == KVM_GET_IRQCHIP) {
		fill(&((struct kvm_irqchip *)arg)->chip, 512);
		add(&given, arg, size);
		return 0;
	}
	if (refuses()) {
		errno = EINVAL;
		return -1;
	}
	add(&taken, arg, size);
	return 0;
}

/* -- files ---------------------------------------------------------------------- */

static void put_header(FILE *to, const uint8_t *bytes, size_t size)
{
	struct state_header h = {
		.magic = STATE_MAGIC, .version = STATE_VERSION, .nr_cpus = NR_CPUS, .mem_size = MEMORY,
		.size = sizeof(h) + size,
	};

	h.checksum = checksum(&h, bytes, size);
	fwrite(&h, sizeof(h), 1, to);
	fwrite(bytes, 1, size, to);
}

static size_t right_size(uint32_t type, struct input *in)
{
	const struct item *item = find_item(&(struct state_record){ .type = type });

	switch (type) {
	case RECORD_CPUID:
		return sizeof(struct kvm_cpuid2) + choose(in, 8) * sizeof(struct kvm_cpuid_entry2);
	case RECORD_MSRS:
		return sizeof(struct kvm_msrs) + choose(in, 8) * sizeof(struct kvm_msr_entry);
	case RECORD_XSAVE:
		return sizeof(struct kvm_xsave) + choose(in, 2) * 64;
	case RECORD_NESTED:
		return sizeof(struct kvm_nested_state) + choose(in, 64);
	case RECORD_TSC_KHZ:
		return sizeof(uint32_t);
	case RECORD_SHADOW_STACK:
		return sizeof(uint64_t);
	case RECORD_SERIAL:
		return sizeof(struct serial_regs);
	case RECORD_PM1_ENABLE:
		return sizeof(uint16_t);
	default:
		return item ? item->size : choose(in, 64);
	}
}

/* A type, a processor, and a record that begins as told and goes on with zeros. */
static void put_planned(struct writer *w, struct input *in)
{
	static uint8_t bytes[2 * sizeof(struct kvm_xsave)];
	uint8_t form = take(in, 1);
	uint32_t type = form & 0x1f;
	size_t size = form & 0x20 ? choose(in, sizeof(bytes)) : right_size(type, in);
	size_t told = choose(in, 64);

	memset(bytes, 0, sizeof(bytes));
	for (size_t i = 0; i < told && i < size; i++)
		bytes[i] = take(in, 1);
	/* What counts its entries does so rightly, mostly. */
	if (!(form & 0x40) && type == RECORD_CPUID)
		*(uint32_t *)bytes = (size - 8) / sizeof(struct kvm_cpuid_entry2);
	if (!(form & 0x40) && type == RECORD_NESTED)
		((struct kvm_nested_state *)bytes)->size = size;
	w->cpu = form & 0x80 ? take(in, 1) : 0;
	put(w, type, bytes, size);
}

/* What a hostile state can be. */
static int make_state(struct input *in)
{
	uint8_t form = take(in, 1), damages = form >> 2 & 3, *bytes;
	char *file, *records;
	size_t size, records_size;
	FILE *to = open_memstream(&file, &size);
	FILE *inner = open_memstream(&records, &records_size);
	struct writer w = { .to = inner };
	int fd;

	MUST(to && inner);
	switch (form & 3) {
	case 0:
		fwrite(in->at, 1, in->left, to);
		break;
	case 1:
		put_header(to, in->at, in->left);
		break;
	default:
		for (uint8_t n = take(in, 1) % 32; n; n--)
			put_planned(&w, in);
		fflush(inner);
		bytes = (uint8_t *)records;
		put_header(to, bytes, records_size);
	}
	fclose(inner);
	fclose(to);
	for (; form & 3 && damages; damages--)
		file[choose(in, size)] = take(in, 1);
	fd = make_file(file, size);
	free(records);
	free(file);
	return fd;
}

/* -- what must hold --------------------------------------------------------------- */

static void restore(struct vmm *vmm, int fd)
{
	struct state state = { 0 };
	struct path path = path_of(fd);
	int ret = state_read(vmm, path.text, &state);

	must_tell(vmm, ret);
	if (!ret) {
		MUST(state.nr_cpus && state.mem_size && state.mem_size % PAGE == 0);
		MUST(state.size >= sizeof(struct state_header));
		ret = state_restore(vmm, &state);
		must_tell(vmm, ret);
	}
	if (!ret) {
		const struct serial_regs *r = &vmm->serial.regs;

		MUST(r->rx_count <= SERIAL_FIFO && r->rx_head < SERIAL_FIFO);
	}
	state_free(&state);
}

static void save_and_restore(struct input *in)
{
	int fd = make_file("", 0);
	struct snapshot snapshot = { .pages = 3, .id = "what they share" };
	struct vmm from, to;

	make_machine(&from, MEMORY, NR_CPUS);
	make_machine(&to, MEMORY, NR_CPUS);
	from.pm1_enable = take(in, 2);
	from.serial.regs.rx_count = choose(in, SERIAL_FIFO + 1);
	from.serial.regs.rx_head = choose(in, SERIAL_FIFO);
	from.serial.regs.rx[5] = take(in, 1);
	answers = *in;
	given = taken = settled = 0;
	playing_save = true;
	MUST(!state_save(&from, fd, &snapshot));
	playing_save = false;
	answers.left = 0;
	restore(&to, fd);
	MUST(!to.error[0]);
	MUST(given == taken);
	MUST(to.pm1_enable == from.pm1_enable);
	MUST(!memcmp(&to.serial.regs, &from.serial.regs, sizeof(to.serial.regs)));
	close(fd);
	destroy_machine(&from);
	destroy_machine(&to);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct input in = { bytes, size };
	int before = next_descriptor(), fd;
	struct vmm vmm;

	if (take(&in, 1) & 0x80) {
		save_and_restore(&in);
	} else {
		fd = make_state(&in);
		playing_save = false;
		answers = (struct input){ bytes, size };
		make_machine(&vmm, MEMORY, NR_CPUS);
		restore(&vmm, fd);
		destroy_machine(&vmm);
		close(fd);
	}
	MUST(next_descriptor() == before);
	return 0;
}
