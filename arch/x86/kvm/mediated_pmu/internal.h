/* SPDX-License-Identifier: GPL-2.0 */
/* What only the files of this directory share. */
#ifndef __KVM_X86_MEDIATED_PMU_INTERNAL_H
#define __KVM_X86_MEDIATED_PMU_INTERNAL_H

#include <linux/kvm_host.h>

#include <asm/msr.h>

#include "../pmu.h"
#include "../x86.h"

/*
 * Unloading so many times in a row without an enabled selector makes a vCPU dormant.
 * Beside an event of the host, to become dormant and to be woken by three counters costs
 * about as much as so many unloads and loads.  So whatever time a guest lets pass between
 * two uses of its PMU, it costs at most twice what it has to.
 */
#define KVM_MEDIATED_PMU_IDLE_PUTS	10

/*
 * The vCPU whose PMU state was last loaded on this CPU, until that vCPU is scheduled out.
 * A PMI can be delivered after the registers were unloaded, but no later than when IRQs
 * are enabled after VM-exit, i.e. while the vCPU's thread is on this CPU.
 */
DECLARE_PER_CPU(struct kvm_vcpu *, kvm_mediated_pmu_vcpu);

void kvm_mediated_pmu_reclaim(void);

/* @i: as in the global control. */
static __always_inline struct kvm_pmc *kvm_mediated_pmu_pmc(struct kvm_pmu *pmu, unsigned int i)
{
	return i < KVM_FIXED_PMC_BASE_IDX ? &pmu->gp_counters[i] :
					    &pmu->fixed_counters[i - KVM_FIXED_PMC_BASE_IDX];
}

/* The bits of the status that the guest can clear: none without a status register. */
static inline u64 kvm_mediated_pmu_guest_status(const struct kvm_pmu *pmu, u64 status)
{
	return pmu->version > 1 ? status & ~pmu->global_ctrl_rsvd : 0;
}

/* Bring KVM's copy of the global control up to date.  IRQs are disabled. */
static __always_inline void kvm_mediated_pmu_sync_ctrl_irqoff(struct kvm_pmu *pmu)
{
	struct kvm_mediated_pmu *m = &pmu->mediated;

	if (m->ctrl_stale && m->loaded) {
		rdmsrl(kvm_mediated_pmu_regs.global_ctrl, pmu->global_ctrl);
		m->ctrl_stale = false;
	}
}

/* Stop the guest's counters where the register holds the guest's control. */
static __always_inline void kvm_mediated_pmu_stop_hw(struct kvm_pmu *pmu)
{
	if (!kvm_mediated_pmu_regs.ctrl_in_register)
		return;

	kvm_mediated_pmu_sync_ctrl_irqoff(pmu);
	wrmsrl(kvm_mediated_pmu_regs.global_ctrl, 0);
}

/* Have the guest's control in the register, where that is its place. */
static __always_inline void kvm_mediated_pmu_start_hw(struct kvm_pmu *pmu)
{
	if (kvm_mediated_pmu_regs.ctrl_in_register)
		wrmsrl(kvm_mediated_pmu_regs.global_ctrl, kvm_mediated_pmu_ctrl(pmu));
}

#endif /* __KVM_X86_MEDIATED_PMU_INTERNAL_H */
