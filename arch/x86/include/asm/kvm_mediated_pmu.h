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
 * @loaded: its state is in the registers of the CPU that it is on, and the
 *	counters and the status in struct kvm_pmu are out of date.  Changes with
 *	IRQs off, on that CPU, and whenever they are on perf may take the PMU
 * @ctrl_stale: so is the global control, as the guest can write it without an
 *	exit and the exit has not saved it
 * @lvtpc: the mask bit that is in the CPU's LVTPC
 * @selector: what the guest has selected, as far as the event filter lets it
 * @fixed_ctrl: the same of the fixed counters
 * @stale: selectors that are not yet in the registers; nothing if not @loaded
 * @emulated_insns: counters that count instructions, of those that KVM emulates
 *	too, as far as the event filter lets them
 * @emulated_branches: the same of branches
 */
struct kvm_mediated_pmu {
	bool	active;
	bool	all_counters;
	bool	narrow;
	bool	loaded;
	bool	ctrl_stale;
	u32	lvtpc;
	u64	selector[KVM_MEDIATED_PMU_MAX_GP];
	u64	fixed_ctrl;
	u64	stale;
	u64	emulated_insns;
	u64	emulated_branches;
};

#endif /* _ASM_X86_KVM_MEDIATED_PMU_H */
