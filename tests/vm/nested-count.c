// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: the counters of a guest that is a hypervisor itself (L1) count what it and its guest (L2)
 * execute, across VM-entry and VM-exit, and what KVM emulates for both.
 */
#include "nested.h"

static void counting(void)
{
	static const struct {
		const char *what, *code;
		bool cpuid;
	} rows[] = {
		{ "nothing", "", 0 },
		{ "nops and branches", "nop*9 jmp nop*5 jmp*3", 0 },
		{ "RDPMC, and KVM's own MSRs", "nop*3 rdpmc nop*2 rdmsr nop*2 wrmsr", 0 },
		{ "devices",
		  "nop*3 out-pic nop*2 in-pic nop*3 out-vmm nop*2 in-vmm nop*3 mmio-write nop*2 "
		  "mmio-read nop*9", 0 },
		{ "WBINVD", "nop*3 wbinvd nop*9", 0 },
		{ "CPUID, intercepted by L1", "nop*3 cpuid nop*2 jmp cpuid nop*9", 1 },
		{ "user mode", "nop*3 user{nop*9 jmp*3 nop*2} nop*4", 0 },
		{ "user mode, with exits",
		  "nop*3 user{nop*9 rdpmc jmp*3 out-vmm nop*2} rdmsr nop*4", 0 },
	};
	unsigned int r, i;

	for (r = 0; r < ARRAY_SIZE(rows); r++) {
		nested_defaults();
		l1.takes_cpuid = rows[r].cpuid;
		vm_body(&nested.l2, rows[r].code);
		nested_counter(VM_INSNS, VM_KERNEL, 0, 0);
		nested_counter(VM_BRANCHES, VM_KERNEL, 0, 0);
		nested_counter(VM_INSNS, VM_USER, 0, 0);
		nested_counter(VM_BRANCHES, VM_BOTH, 0, 0);
		if (!vm_seen.amd)
			nested_counter(VM_INSNS, VM_BOTH, 1, 0);
		nested_measure();
		note("%s", nested_title(rows[r].what, ""));
		check_equal("exits to L1", l1.exits, 1 + 2 * rows[r].cpuid,
			    "the call, and what L1 intercepts");
		for (i = 0; i < nested.s.n; i++) {
			char what[64];

			snprintf(what, sizeof(what), "%s%s, %s",
				 nested.s.counter[i].fixed ? "fixed: " : "",
				 nested.s.counter[i].event == VM_INSNS ? "instructions" :
									 "branches",
				 vm_privileges[nested.s.counter[i].privilege]);
			check_equal(what, nested.s.counter[i].value, nested_events(i),
				    "the machine's count of L1 and L2, and KVM's");
		}
		if (l1.exits == 1)
			check(nested_undisturbed(),
			      "exits to L0: what it emulates, the entry and the call");
	}
}

int main(void)
{
	nested_open();
	nested_run(counting);
	return nested_close();
}
