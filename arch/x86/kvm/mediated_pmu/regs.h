/* SPDX-License-Identifier: GPL-2.0 */
/* The registers of a PMU that guests can have, by vendor, and how they are accessed. */
#ifndef __KVM_X86_MEDIATED_PMU_REGS_H
#define __KVM_X86_MEDIATED_PMU_REGS_H

#include <linux/jump_label.h>
#include <linux/kvm_host.h>

#include <asm/msr.h>
#include <asm/perf_event.h>

/**
 * struct kvm_mediated_pmu_regs - where a vendor's PMU has its registers
 * @global_ctrl: one enable bit per counter
 * @global_status: one overflow bit per counter
 * @global_status_clear: clears the status bits that are written as one
 * @global_status_set: sets them
 * @counter: the first general counter, written at full width
 * @eventsel: its event selector
 * @stride: distance between two general counters, and between two selectors
 * @fixed_counter: the first fixed counter; 0 if there is none
 * @fixed_ctr_ctrl: the control of all fixed counters
 * @eventsel_guest_only: selector bits that make a counter count in guest mode only
 * @ctrl_in_register: VM-entry and VM-exit do not switch the global control: the
 *	register holds the guest's while the guest's state is loaded
 * @model_has_pmu: does this model of a CPU, as userspace has set it, have a PMU?
 *
 * Constants, and no callbacks, where VM-entry and VM-exit need them: an indirect call
 * there costs more than the register access that it decides on.
 */
struct kvm_mediated_pmu_regs {
	u32	global_ctrl;
	u32	global_status;
	u32	global_status_clear;
	u32	global_status_set;
	u32	counter;
	u32	eventsel;
	u32	stride;
	u32	fixed_counter;
	u32	fixed_ctr_ctrl;
	u64	eventsel_guest_only;
	bool	ctrl_in_register;
	bool	(*model_has_pmu)(const struct kvm_cpuid_entry2 *entries, int nr);
};

/* The counters of this CPU; kvm_pmu_cap has those that KVM offers to guests. */
struct kvm_mediated_pmu_host {
	unsigned int	nr_gp;
	unsigned int	nr_fixed;
	u64		gp_mask;
	u64		fixed_mask;
	/* The bits of PERF_METRICS that can be written; 0 if there is no such register. */
	u64		metrics_mask;
};

/* The fixed counters for which perf has an event; the next one counts slots. */
#define KVM_MAX_NR_PERF_FIXED_COUNTERS	3

extern bool enable_mediated_pmu;
extern struct kvm_mediated_pmu_host kvm_mediated_pmu_host;

/* Enabled while the vendor's module is loaded with enable_mediated_pmu. */
DECLARE_STATIC_KEY_FALSE(kvm_mediated_pmu_used);
/* Of the vendor whose module is loaded. */
extern struct kvm_mediated_pmu_regs kvm_mediated_pmu_regs;

/* The counter of slots, in the global control.  PERF_METRICS are shares of its count. */
#define KVM_MEDIATED_PMU_SLOTS_IDX	(INTEL_PMC_IDX_FIXED + 3)

void kvm_mediated_pmu_check(const struct kvm_mediated_pmu_regs *regs);
void kvm_mediated_pmu_unavailable(const char *why);

static inline u32 kvm_mediated_pmu_eventsel_msr(unsigned int i)
{
	return kvm_mediated_pmu_regs.eventsel + i * kvm_mediated_pmu_regs.stride;
}

static inline u32 kvm_mediated_pmc_msr(const struct kvm_pmc *pmc)
{
	const struct kvm_mediated_pmu_regs *regs = &kvm_mediated_pmu_regs;

	if (pmc->type == KVM_PMC_GP)
		return regs->counter + pmc->idx * regs->stride;

	return regs->fixed_counter + pmc->idx - INTEL_PMC_IDX_FIXED;
}

static __always_inline u64 kvm_mediated_pmc_read_hw(const struct kvm_pmc *pmc)
{
	u64 value;

	if (pmc->type == KVM_PMC_GP)
		rdpmcl(pmc->idx, value);
	else
		rdpmcl(INTEL_PMC_FIXED_RDPMC_BASE | (pmc->idx - INTEL_PMC_IDX_FIXED), value);

	return value;
}

/*
 * Set all bits above the guest's counter width, so that the hardware counter overflows
 * when the guest's narrower counter does.
 */
static __always_inline void kvm_mediated_pmc_write_hw(const struct kvm_pmc *pmc, u64 value)
{
	const struct kvm_pmu *pmu = &pmc->vcpu->arch.pmu;
	u64 mask = pmc->type == KVM_PMC_GP ? kvm_mediated_pmu_host.gp_mask :
					     kvm_mediated_pmu_host.fixed_mask;

	wrmsrl(kvm_mediated_pmc_msr(pmc), value | (mask & ~pmu->counter_bitmask[pmc->type]));
}

#endif /* __KVM_X86_MEDIATED_PMU_REGS_H */
