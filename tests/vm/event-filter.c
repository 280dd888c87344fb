// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: an event that userspace denies the guest is not counted, whether it is executed or
 * emulated, from the moment at which it is denied to the moment at which it is allowed again.
 *
 * The filter changes while the guest waits for userspace to answer an OUT, so that the OUT counts
 * by the new filter.
 */
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

enum filter { FREE, DENIED, ALLOWED, NOT_ALLOWED, OTHER_DENIED };

static const bool counts[] = { [FREE] = 1, [DENIED] = 0, [ALLOWED] = 1, [NOT_ALLOWED] = 0, [OTHER_DENIED] = 1 };

static const struct {
	const char *what, *code;
	uint64_t start;
	enum filter filter[4];		/* from the beginning, and from each hook on */
} rows[] = {
	{ "denied", "(nop*5 cpuid fep-nop fep-jmp out-vmm)*5", 0, { DENIED } },
	{ "not among those allowed",
	  "(nop*5 cpuid fep-nop fep-jmp out-vmm)*5", 0, { NOT_ALLOWED } },
	{ "allowed", "(nop*5 cpuid fep-nop fep-jmp out-vmm)*5", 0, { ALLOWED } },
	{ "another one denied", "(nop*5 cpuid fep-nop fep-jmp out-vmm)*5", 0, { OTHER_DENIED } },
	{ "denied in between",
	  "nop*5 cpuid fep-nop fep-jmp hook nop*5 cpuid fep-nop fep-jmp hook nop*5 cpuid fep-nop "
	  "fep-jmp",
	  0, { FREE, DENIED, ALLOWED } },
	{ "allowed in between",
	  "nop*5 cpuid fep-nop fep-jmp hook nop*5 cpuid fep-nop fep-jmp hook nop*5 cpuid fep-nop "
	  "fep-jmp",
	  0, { DENIED, FREE, NOT_ALLOWED } },
	{ "denied and allowed before the next instruction",
	  "nop*5 cpuid fep-nop hook hook hook fep-nop cpuid nop*5",
	  0, { FREE, DENIED, FREE, DENIED } },
	{ "denied, so it does not overflow",
	  "(nop*5 cpuid fep-nop fep-jmp out-vmm)*9", -30, { DENIED } },
	{ "denied before it overflows",
	  "nop*5 hook (nop*5 cpuid fep-nop fep-jmp out-vmm)*9", -45, { FREE, DENIED } },
};

static void set_filter(enum filter filter)
{
	const struct vm_counter *c = &s.counter[0];
	uint64_t mine = vm_selector(&(struct vm_counter) { .event = c->event }) & 0xffff;
	struct {
		struct kvm_pmu_event_filter head;
		__u64 event[1];
	} f = { .head.nevents = 1 };

	/* With FREE, deny an empty list: nothing is filtered. */
	f.head.action = filter == ALLOWED || filter == NOT_ALLOWED ? KVM_PMU_EVENT_ALLOW : KVM_PMU_EVENT_DENY;
	f.event[0] = filter == DENIED || filter == ALLOWED ? mine : 0x3c;
	f.head.fixed_counter_bitmap = filter == DENIED || filter == ALLOWED ? 1 << c->index : 1 << 2;
	if (filter == FREE)
		f.head.nevents = f.head.fixed_counter_bitmap = 0;
	must(!ioctl(vm.fd, KVM_SET_PMU_EVENT_FILTER, &f), "the filter can be set");
}

static unsigned int row, hooks;

static void before(struct vm *unused)
{
	(void)unused;
	hooks = 0;
	set_filter(rows[row].filter[0]);
}

static void hook(struct vm *unused)
{
	(void)unused;
	set_filter(rows[row].filter[++hooks]);
}

static void filtered(const struct vm_counter *counter)
{
	uint64_t want = rows[row].start;
	unsigned int i;
	char what[128];

	s.counter[0] = *counter;
	s.counter[0].start = rows[row].start;
	vm_body(&body, rows[row].code);
	s.body = &body;
	s.n = 1;
	vm_measure(&vm, &s);
	for (i = 0; i <= body.points; i++)
		if (counts[rows[row].filter[i]])
			want += vm_events(&s, 0, i ? (int)i - 1 : VM_BEGIN, i < body.points ? (int)i : VM_END);
	snprintf(what, sizeof(what), "%s: %s", rows[row].what, counter->name);
	check_equal(what, vm_signed(s.counter[0].value), vm_signed(want), "what was allowed");
	check(!vm_seen.pmis && !s.status, "%s: no overflow", what);
}

static const struct vm_counter counters[] = {
	{ .name = "general, instructions", .event = VM_INSNS },
	{ .name = "general, branches", .event = VM_BRANCHES },
	{ .name = "fixed, instructions", .event = VM_INSNS, .fixed = true },
};

int main(void)
{
	unsigned int i;

	vm_open(&vm);
	vm.before = before;
	vm.hook = hook;
	vm_call(&vm, vm_guest_prepare, NULL);
	for (row = 0; row < ARRAY_SIZE(rows); row++) {
		for (i = 0; i < ARRAY_SIZE(counters); i++) {
			struct vm_counter counter = counters[i];

			if (counter.fixed && vm_seen.amd)
				continue;
			counter.privilege = VM_KERNEL;
			counter.interrupt = true;
			filtered(&counter);
		}
	}
	vm_close(&vm);
	return check_done();
}
