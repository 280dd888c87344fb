/* SPDX-License-Identifier: GPL-2.0 */
/* The state of a vCPU's mediated PMU; see arch/x86/kvm/mediated_pmu/. */
#ifndef _ASM_X86_KVM_MEDIATED_PMU_H
#define _ASM_X86_KVM_MEDIATED_PMU_H

#include <linux/types.h>

#define KVM_MEDIATED_PMU_MAX_GP		8
/* Bit of @eventsel_stale for the control of all fixed counters, next to the general ones. */
#define KVM_MEDIATED_PMU_FIXED		32

/**
 * struct kvm_mediated_pmu - hardware state of a vCPU's mediated PMU
 * @active: the vCPU owns the hardware PMU while it runs; constant once it has run
 * @all_counters: the guest's model of a CPU has every counter of this CPU
 * @narrow_counters: the guest's counters are narrower than this CPU's
 * @switches: the PMU is handed to the vCPU at VM-entry.  Else the vCPU is dormant: no
 *	event selector is enabled or perf keeps the PMU, and every access to it exits.
 *	Only the vendor's recalculation of intercepts and controls changes it, together
 *	with those
 * @writes_ctrl: with @switches, the guest may write the global control, and VM-exit
 *	does not save it
 * @idle_puts: number of times in a row that the registers were unloaded without an
 *	enabled event selector
 * @loaded: the vCPU's state is in the registers of the CPU that it is on; counters and
 *	status in struct kvm_pmu are out of date.  Changes with IRQs disabled, on that
 *	CPU.  Perf may take the PMU, and clear it, whenever IRQs are enabled
 * @put_on_exit: @loaded, and the registers have to be unloaded after the next VM-exit
 * @ctrl_stale: the guest may have written the global control since KVM's copy was
 *	made.  Set before each VM-entry if @writes_ctrl, by kvm_mediated_pmu_note_entry();
 *	never on VMX, where VM-exit saves the control.  Cleared by
 *	__kvm_mediated_pmu_sync_ctrl() and by unloading.  While @ctrl_stale and @loaded
 *	are set, kvm_pmu's global_ctrl may not be used, which kvm_mediated_pmu_ctrl()
 *	asserts
 * @recalc_l1: the VMX controls for L1 belong to an earlier model of a CPU, because the
 *	vCPU was in L2 when userspace changed the model
 * @clean_on_cpu: no register but those of @kept and @kept_eventsels has held another value than
 *	0 since the state was last unloaded, as far as perf and KVM know, because the vCPU
 *	has not left the CPU
 * @call_count: the CPU's count of function call interrupts at that time
 * @rdpmc: a fastpath_t, what is left to do for an RDPMC that has exited
 * @lvtpc: the mask bit that is in the CPU's LVTPC
 * @debugctl: bits of IA32_DEBUGCTL that are set while the guest runs, whatever the
 *	guest writes
 * @eventsel_hw: the guest's event selectors, as far as the event filter allows them
 * @fixed_ctr_ctrl_hw: the same for the fixed counters
 * @metrics: PERF_METRICS; out of date while @loaded, like the counters
 * @passthrough: the counters that the guest accesses without an exit, numbered as in
 *	the global control: those whose selectors were enabled at some time since
 *	@switches was set.  Others hold what KVM has written, also while @loaded
 * @open: the MSRs that the MSR permission map of L1 lets the guest access, as far as
 *	userspace's filter does: counters as in @passthrough, and OPEN_GLOBAL.  SVM only
 * @enabled_gp: the general counters whose @eventsel_hw is not 0
 * @nonzero: the counters that may be other than 0, but for those that @kept has in their
 *	registers; out of date while @loaded
 * @kept: counters whose registers still hold what unload has read from them.  They are
 *	zeroed before anything but this vCPU and the host's kernel can read them
 * @kept_eventsels: the same for selectors, numbered as in @eventsel_stale; the host's
 *	kernel does not execute what they count, or perf does not mind
 * @eventsel_stale: selectors that have changed since they were loaded or unloaded
 */
struct kvm_mediated_pmu {
	bool	active;
	bool	all_counters;
	bool	narrow_counters;
	bool	switches;
	bool	writes_ctrl;
	u8	idle_puts;
	bool	loaded;
	bool	put_on_exit;
	bool	ctrl_stale;
	bool	recalc_l1;
	bool	clean_on_cpu;
	u8	rdpmc;
	u32	call_count;
	u32	lvtpc;
	u64	debugctl;
	u64	eventsel_hw[KVM_MEDIATED_PMU_MAX_GP];
	u64	fixed_ctr_ctrl_hw;
	u64	metrics;
	u64	passthrough;
	u64	open;
	u64	enabled_gp;
	u64	nonzero;
	u64	kept;
	u64	kept_eventsels;
	u64	eventsel_stale;
};

#endif /* _ASM_X86_KVM_MEDIATED_PMU_H */
