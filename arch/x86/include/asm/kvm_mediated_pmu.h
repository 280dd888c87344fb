/* SPDX-License-Identifier: GPL-2.0 */
/* A vCPU's part in a mediated vPMU; see arch/x86/kvm/pmu_mediated.c. */
#ifndef _ASM_X86_KVM_MEDIATED_PMU_H
#define _ASM_X86_KVM_MEDIATED_PMU_H

#include <linux/types.h>

#define KVM_MEDIATED_PMU_MAX_GP		8
/* The fixed counters' common selector, beside the general ones in @stale. */
#define KVM_MEDIATED_PMU_FIXED		32

/**
 * struct kvm_mediated_pmu - what the registers hold, or shall hold, for a vCPU
 * @active: the vCPU has the PMU itself while it runs; constant once it has run
 * @all_counters: it knows of every counter that the CPU has
 * @narrow: it takes its counters for narrower than they are
 * @switches: the PMU is handed to it for its turn.  Else it is dormant: no selector
 *	is on, and the guest exits for whatever it does with its PMU.  Changes
 *	together with intercepts and controls, in the vendor's recalculation of them
 * @writes_ctrl: with @switches, the guest may write the global control, and VM-exits
 *	do not save it
 * @idle_puts: so many times the registers were put with no selector on, since one
 *	was turned on
 * @loaded: its state is in the registers of the CPU that it is on, and the
 *	counters and the status in struct kvm_pmu are out of date.  Changes with
 *	IRQs off, on that CPU, and whenever they are on perf may take the PMU
 * @leaves: @loaded, and to be put behind the next VM-exit
 * @ctrl_stale: the guest may have written the global control since KVM's copy was
 *	made.  Set in front of each VM-entry if @writes_ctrl, by kvm_mediated_pmu_enter(),
 *	where nothing looks at that copy before the guest has run; never on VMX, where
 *	VM-exit saves it.  Cleared by __kvm_mediated_pmu_sync_ctrl() and put.  While it
 *	is set and @loaded is, nobody may use kvm_pmu's global_ctrl, which
 *	kvm_mediated_pmu_ctrl() asserts
 * @recalc_l1: VMX's controls for L1 are still those of another model of CPU,
 *	because the vCPU was in L2 when it got this one
 * @put_here: its registers have been put, all of them zeroed, and it has not left
 *	the CPU since
 * @calls: how many function calls other CPUs have had it do until then
 * @rdpmc: a fastpath_t: what is left to do of an RDPMC that has exited
 * @lvtpc: the mask bit that is in the CPU's LVTPC
 * @debugctl: bits of IA32_DEBUGCTL that are set while the guest runs, whatever it wants
 * @selector: what the guest has selected, as far as the event filter lets it
 * @fixed_ctrl: the same of the fixed counters
 * @metrics: PERF_METRICS; out of date while @loaded, like the counters
 * @open: the counters that the guest accesses without an exit, numbered as in the
 *	global control: those whose selectors have been on since @switches.  Others
 *	hold what KVM has written, which is in struct kvm_pmc also while @loaded
 * @on: the general counters whose @selector is not 0
 * @values: the counters that may be other than 0; out of date while @loaded, like them
 * @stale: selectors that are not yet in the registers; nothing if not @loaded
 */
struct kvm_mediated_pmu {
	bool	active;
	bool	all_counters;
	bool	narrow;
	bool	switches;
	bool	writes_ctrl;
	u8	idle_puts;
	bool	loaded;
	bool	leaves;
	bool	ctrl_stale;
	bool	recalc_l1;
	bool	put_here;
	u8	rdpmc;
	u32	calls;
	u32	lvtpc;
	u64	debugctl;
	u64	selector[KVM_MEDIATED_PMU_MAX_GP];
	u64	fixed_ctrl;
	u64	metrics;
	u64	open;
	u64	on;
	u64	values;
	u64	stale;
};

#endif /* _ASM_X86_KVM_MEDIATED_PMU_H */
