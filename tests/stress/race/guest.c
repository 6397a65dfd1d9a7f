// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vCPUs.  The first half of the file is always in the guest's memory, the
 * second half in a memslot that comes and goes, at one of two places.
 */
#include "race.h"

#include "processor.h"

#define FIRST_SLOT	1
#define CHURN_SLOT	2

#define HALF		(NR_PAGES / 2)
#define FIRST_GPA	0x100000000ull
#define CHURN_GPA	0x110000000ull
#define OTHER_GPA	0x120000000ull
/* Where no memory ever is: who stores there is done. */
#define DONE_GPA	0x130000000ull

static struct mailbox boxes[NR_VCPUS];

/* What userspace_addr points into. */
static u64 *slots_mem;

static void guest_code(struct mailbox *box)
{
	u64 i;

	for (;;) {
		for (i = 0; i < box->nr; i++) {
			const struct box_item *item = &box->item[i];
			u64 *page = (u64 *)item->gva;

			if (item->store)
				WRITE_ONCE(page[GUEST_WORD], item->store);
			else if (box->strict)
				box->view[i] = examine_page(page, item->index);
			else
				box->view[i] = glance_at_page(page, item->index);
		}
		/* The simplest way out, with nothing for the host to read. */
		WRITE_ONCE(*(u32 *)DONE_GPA, 0);
	}
}

static int set_slot(u32 slot, u64 gpa, u64 index, u64 nr)
{
	return RET(__vm_set_user_memory_region2(arena.vm, slot, KVM_MEM_GUEST_MEMFD, gpa, PG(nr),
						(void *)slots_mem + PG(index), arena.fd,
						PG(index)));
}

void guests_create(void)
{
	struct kvm_vcpu *vcpus[NR_VCPUS];
	unsigned int i;
	int ret;

	arena.vm = __vm_create_with_vcpus(VM_SHAPE_DEFAULT, NR_VCPUS, 64, guest_code, vcpus);
	arena.fd = vm_create_guest_memfd(arena.vm, PG(NR_PAGES), WRITE_FLAGS |
					 (arena.once ? GUEST_MEMFD_FLAG_NO_OVERWRITE : 0) |
					 (arena.once && arena.secret ? GUEST_MEMFD_FLAG_NO_DIRECT_MAP : 0));
	arena.mem = map_file(arena.fd, PG(NR_PAGES));
	slots_mem = arena.apart ? (u64 *)map_anon(PG(NR_PAGES)) : arena.mem;

	ret = set_slot(FIRST_SLOT, FIRST_GPA, 0, HALF);
	TEST_ASSERT(!ret, "KVM_SET_USER_MEMORY_REGION2 returned %d", ret);
	virt_map(arena.vm, FIRST_GPA, FIRST_GPA, HALF);
	virt_map(arena.vm, CHURN_GPA, CHURN_GPA, HALF);
	virt_map(arena.vm, OTHER_GPA, OTHER_GPA, HALF);
	virt_map(arena.vm, DONE_GPA, DONE_GPA, 1);
	slot_toggle();

	for (i = 0; i < NR_VCPUS; i++) {
		arena.guest[i].vcpu = vcpus[i];
		arena.guest[i].box = addr_gva2hva(arena.vm, (gva_t)&boxes[i]);
		vcpu_args_set(vcpus[i], 1, &boxes[i]);
	}
}

/* Bind the second half of the file if it isn't bound, unbind it if it is. */
void slot_toggle(void)
{
	static bool other;
	int ret;

	if (arena.slot_gpa) {
		arena.slot_gpa = 0;
		ret = set_slot(CHURN_SLOT, 0, HALF, 0);
	} else {
		const u64 gpa = other ? OTHER_GPA : CHURN_GPA;

		ret = set_slot(CHURN_SLOT, gpa, HALF, HALF);
		other = !other;
		arena.slot_gpa = gpa;
	}
	if (ret && !arena.pulled)
		broken(CALLS, "KVM_SET_USER_MEMORY_REGION2 returned %d", ret);
	count(SLOT_CHANGES, 1);
}

bool guest_add_item(struct guest *guest, u64 index, u64 store)
{
	const u64 base = index < HALF ? FIRST_GPA : arena.slot_gpa;

	if (!base)
		return false;

	guest->box->item[guest->box->nr++] = (struct box_item) {
		.gva = base + PG(index % HALF), .index = index, .store = store,
	};
	return true;
}

static bool guest_is_lost(struct guest *guest)
{
	fprintf(stderr, "# a vCPU does not get on:\n");
	vcpu_dump(stderr, guest->vcpu, 2);
	return false;
}

/*
 * Once in a quarter of an hour or so QEMU 7.2, where it emulates a processor with
 * SVM, has a vCPU go on at an address of the host's kernel, on a pristine kernel
 * with ordinary memory, too.
 */
static bool is_astray(const struct kvm_run *run)
{
#ifdef __x86_64__
	u32 eax, name[3];

	if (run->exit_reason != KVM_EXIT_SHUTDOWN && run->exit_reason != KVM_EXIT_INTERNAL_ERROR)
		return false;
	cpuid(0x40000000, &eax, &name[0], &name[1], &name[2]);
	return !memcmp(name, "TCGTCGTCGTCG", sizeof(name));
#else
	return false;
#endif
}

bool guest_run(struct guest *guest)
{
	struct kvm_run *run = guest->vcpu->run;
	int ret;

	if (guest->astray)
		return false;

	guest->disturbed = false;
	for (;;) {
		ret = RET(__vcpu_run(guest->vcpu));
		if (arena.pulled)
			return false;

		if (ret == -EINTR && arena.late)
			return guest_is_lost(guest);
		if (ret == -EINTR)
			continue;
		if (ret == -EFAULT && run->exit_reason == KVM_EXIT_MEMORY_FAULT) {
			guest->disturbed = true;
			continue;
		}
		if (ret) {
			broken(CALLS, "KVM_RUN returned %d, exit reason %u", ret, run->exit_reason);
			return false;
		}
		if (run->exit_reason == KVM_EXIT_MMIO && run->mmio.phys_addr != DONE_GPA) {
			/* The memslot is gone.  No word is like this. */
			guest->disturbed = true;
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
			continue;
		}
		if (is_astray(run)) {
			guest->astray = true;
			__atomic_fetch_add(&report->vcpus_astray, 1, __ATOMIC_RELAXED);
			return false;
		}
		if (run->exit_reason != KVM_EXIT_MMIO) {
			broken(CALLS, "a vCPU left with exit reason %u", run->exit_reason);
			return false;
		}
		if (guest->disturbed)
			count(GUEST_DISTURBED, 1);
		return !guest->disturbed;
	}
}

/* Have the guest look at what the box says. */
static void guest_look(struct guest *guest, enum rule rule, enum event event)
{
	struct mailbox *box = guest->box;
	u64 i, looks = 0;
	bool ran;

	if (!box->nr)
		return;
	ran = guest_run(guest);

	for (i = 0; i < box->nr; i++) {
		/* With the memslot gone nobody knows what became of it: forget the page. */
		if (box->item[i].store)
			arena.guest_stored[box->item[i].index] = ran ? box->item[i].store : 0;
		if (box->item[i].store || !ran)
			continue;
		looks++;
		if (!page_is_sound(box->view[i]) ||
		    (rule == FRESH && box->view[i].state == PAGE_ZERO))
			broken_page(rule, "a vCPU", box->item[i].index, box->view[i]);
	}
	if (ran) {
		count(event, looks);
		count(GUEST_STORES, box->nr - looks);
	}
}

void vcpu_setup(struct actor *actor)
{
	actor->state = &arena.guest[actor->id % NR_VCPUS];
}

bool vcpu_act(struct actor *actor)
{
	struct guest *guest = actor->state;
	const bool fresh = arena.phase == INSERT;
	const u32 nr = 1 + pick(actor, BOX_ITEMS);
	long index;
	u32 i;

	guest->box->nr = 0;
	guest->box->strict = fresh;
	for (i = 0; i < nr; i++) {
		index = fresh ? find_data(actor) : pick(actor, NR_PAGES);
		if (index >= 0)
			guest_add_item(guest, index, pick(actor, 4) || !may_store(actor, index) ?
				       0 : store_tag(index, actor->id, i));
	}
	guest_look(guest, fresh ? FRESH : WORDS, fresh ? GUEST_FRESH_LOOKS : GUEST_LOOKS);
	return true;
}

/* At rest: all vCPUs, some pages. */
void guest_examine(u64 seed)
{
	unsigned int v, i;

	for (v = 0; v < NR_VCPUS; v++) {
		struct guest *guest = &arena.guest[v];

		guest->box->nr = 0;
		guest->box->strict = true;
		for (i = 0; i < BOX_ITEMS; i++)
			guest_add_item(guest, (seed + i * 25) % NR_PAGES, 0);
		guest_look(guest, AT_REST, GUEST_LOOKS);
	}
}
