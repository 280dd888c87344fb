// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a vCPU of a guest that is a hypervisor itself (L1) can be saved while it is in L1's guest
 * (L2) and continue in another VM with nothing lost: counts, the control that VM-exit has still to
 * load, AMD's modes.
 */
#include "nested.h"

/* In the order of restoring: nothing may count before all values are set. */
static const uint32_t intel_msrs[] = {
	MSR_CORE_PERF_FIXED_CTR0, MSR_IA32_PERFCTR0, MSR_IA32_PERFCTR0 + 1, MSR_IA32_PERFCTR0 + 2, MSR_IA32_PERFCTR0 + 3,
	MSR_P6_EVNTSEL0, MSR_P6_EVNTSEL0 + 1, MSR_P6_EVNTSEL0 + 2, MSR_P6_EVNTSEL0 + 3,
	MSR_CORE_PERF_GLOBAL_STATUS, MSR_CORE_PERF_FIXED_CTR_CTRL, MSR_CORE_PERF_GLOBAL_CTRL,
}, amd_msrs[] = {
	MSR_F15H_PERF_CTR, MSR_F15H_PERF_CTR + 2, MSR_F15H_PERF_CTR + 4, MSR_F15H_PERF_CTR + 6,
	MSR_F15H_PERF_CTL, MSR_F15H_PERF_CTL + 2, MSR_F15H_PERF_CTL + 4, MSR_F15H_PERF_CTL + 6,
	/* if they exist */
	MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, MSR_AMD64_PERF_CNTR_GLOBAL_CTL,
};

static const uint32_t *msrs;
static unsigned int n_msrs, moved;
static uint64_t value[32];

static void set_msrs(struct vm *vm)
{
	unsigned int i;

	for (i = 0; i < n_msrs; i++)
		vm_set_msr(vm, msrs[i], value[i]);
}

static void move(struct vm *vm)
{
	struct vm old = *vm;
	unsigned int i;

	msrs = vm_seen.amd ? amd_msrs : intel_msrs;
	n_msrs = vm_seen.amd ? ARRAY_SIZE(amd_msrs) : ARRAY_SIZE(intel_msrs);
	n_msrs -= vm_seen.amd && !nested.has_control ? 2 : 0;
	must(nested_save(vm), "the vCPU is in L2");
	for (i = 0; i < n_msrs; i++)
		value[i] = vm_get_msr(vm, msrs[i]);
	vm_close(vm);

	vm_open(vm);
	vm->hook = old.hook;
	vm->before = old.before;
	nested_restore(vm, set_msrs);
	moved++;
}

static void moving(void)
{
	static const uint64_t bits[] = { 0, AMD64_EVENTSEL_GUESTONLY, AMD64_EVENTSEL_HOSTONLY,
					 AMD64_EVENTSEL_GUESTONLY | AMD64_EVENTSEL_HOSTONLY };
	unsigned int i, loads, extra, exits = 2;

	for (loads = 0; loads <= !vm_seen.amd; loads++) {
		nested_defaults();
		vm_body(&nested.l2, "nop*9 jmp hook nop*5 rdmsr jmp hook rdpmc nop*5");
		if (loads) {
			/* VM-entry has loaded L2's control, and VM-exit will load another. */
			l1.load_entry = 1;
			l1.load_exit = 0;
		}
		nested_counter(VM_INSNS, VM_KERNEL, 0, 0);
		nested_counter(vm_seen.amd ? VM_INSNS : VM_BRANCHES, VM_KERNEL, 0, 0);
		nested_counter(VM_INSNS, vm_seen.amd ? VM_KERNEL : VM_USER, 0, 0);
		nested_counter(VM_INSNS, VM_KERNEL, 0, 0);
		for (i = 0; i < nested.s.n && vm_seen.amd; i++)
			nested.on_bits[i] = bits[i];
		nested.off_before = loads;
		moved = 0;
		nested.vm.hook = move;
		vm_measure(&nested.vm, &nested.s);
		nested.vm.hook = NULL;
		check(moved >= 2, "%s: twice",
		      nested_title("moved", loads ? "a control of L2's own" : ""));
		check_equal("exits to L1", l1.exits, 1, "the call");
		if (loads) {
			check_equal("the count", nested.s.counter[0].value,
				    nested_insns_of_l2(&nested.s.counter[0]), "L2 alone");
			check_equal("another counter", nested.s.counter[3].value, 0,
				    "it was not enabled");
			check_equal("the global control in L1", l1.control, 0,
				    "as VM-exit has loaded it");
			continue;
		}
		for (i = 0; i < nested.s.n; i++) {
			if (vm_seen.amd && (bits[i] == AMD64_EVENTSEL_GUESTONLY ||
					    bits[i] == AMD64_EVENTSEL_HOSTONLY))
				continue;
			check_equal("the count", nested.s.counter[i].value, nested_events(i),
				    "the machine's count of L1 and L2, and KVM's");
		}
		if (!vm_seen.amd)
			continue;
		/*
		 * A new VM has page faults, which are exits that the code does not make.  The
		 * entries after them count in L2, or in L1 before its reading.
		 */
		for (i = 0; i < nested.l2.insns; i++)
			exits += nested.l2.insn[i].emulated;
		extra = nested_exits[1] - nested_exits[0] - exits;
		check_equal("the two modes", nested.s.counter[1].value + nested.s.counter[2].value,
			    nested_events(1), "both together are all events");
		check_between("guest-only", nested.s.counter[1].value,
			      nested_insns_of_l2(&nested.s.counter[1]) - extra,
			      nested_insns_of_l2(&nested.s.counter[1]), "L2, with each entry");
	}
}

int main(void)
{
	nested_open();
	nested_run(moving);
	return nested_close();
}
