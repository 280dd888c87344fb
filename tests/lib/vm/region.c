// SPDX-License-Identifier: GPL-2.0
/* Measured regions: counters, and running a region until its ends are undisturbed. */
#include "vm.h"

const char *const vm_privileges[] = { "", "user", "kernel", "user and kernel" };

uint64_t vm_selector(const struct vm_counter *c)
{
	uint64_t event = c->event == VM_INSNS ? 0xc0 : vm_seen.amd ? 0xc2 : 0xc4;

	if (c->fixed)
		return (c->privilege & VM_KERNEL ? 1 : 0) | (c->privilege & VM_USER ? 2 : 0) |
		       (c->interrupt ? 8 : 0);
	return event | (c->privilege & VM_USER ? 1 << 16 : 0) |
	       (c->privilege & VM_KERNEL ? 1 << 17 : 0) | (c->interrupt ? 1 << 20 : 0) | 1 << 22;
}

uint32_t vm_counter_msr(const struct vm_counter *c)
{
	return vm_seen.amd ? MSR_F15H_PERF_CTR + 2 * c->index :
	       c->fixed ? MSR_CORE_PERF_FIXED_CTR0 + c->index : MSR_IA32_PMC0 + c->index;
}

uint64_t vm_bit(const struct vm_counter *c)
{
	return 1ULL << (c->index + (c->fixed ? 32 : 0));
}

int64_t vm_interruptions(const struct vm_frame *f, unsigned int end)
{
	/* Intel has one write, to the global control. */
	unsigned int n = vm_seen.global ? 0 : f->on.n;

	return f->truth[end][EXITS_AFTER] - f->truth[end][EXITS] - n;
}

bool vm_ends_are_alike(const struct vm_frame *f)
{
	/*
	 * A mediated vCPU whose selectors are all disabled, or denied by the event filter, exits
	 * for its write.  One more exit does not matter on Intel, where exits do not count.
	 */
	int64_t most = vm_seen.global;

	return vm_interruptions(f, 0) <= most && vm_interruptions(f, 1) <= most;
}

void vm_measure(struct vm *vm, struct vm_region *s)
{
	struct vm_frame *f = &s->frame;
	unsigned int i, tries = 0;

	f->body = s->body->code;
	f->on.n = f->off.n = vm_seen.amd ? s->n : 1;
	if (!vm_seen.amd) {
		f->on.write[0].msr = f->off.write[0].msr = MSR_CORE_PERF_GLOBAL_CTRL;
		f->on.write[0].value = f->off.write[0].value = 0;
	}
	for (i = 0; i < s->n; i++) {
		if (!vm_seen.amd) {
			f->on.write[0].value |= vm_bit(&s->counter[i]);
			continue;
		}
		f->on.write[i].msr = f->off.write[i].msr =
			MSR_F15H_PERF_CTL + 2 * s->counter[i].index;
		f->on.write[i].value = vm_selector(&s->counter[i]);
		f->off.write[i].value = 0;
	}
	do {
		if (vm->before)
			vm->before(vm);
		s->interrupts = mark_read(TRUTH_EXITS_BY_REASON + SVM_EXIT_INTR);
		vm_call(vm, vm_guest_region, s);
		must(++tries < VM_TRIES, "a measured region without a tick of the host");
	} while (!s->interrupted && !vm_ends_are_alike(f));
}
