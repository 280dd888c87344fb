/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A vPMU that is the hardware PMU while the vCPU runs: what the rest of KVM calls.
 * switch.c describes the states of a vCPU's PMU.
 */
#ifndef __KVM_X86_MEDIATED_PMU_H
#define __KVM_X86_MEDIATED_PMU_H

#include <linux/kvm_host.h>
#include <linux/lockdep.h>

#include "../lapic.h"
#include "regs.h"

/* Does this vCPU own the hardware PMU while it runs? */
static __always_inline bool kvm_vcpu_has_mediated_pmu(const struct kvm_vcpu *vcpu)
{
	return static_branch_unlikely(&kvm_mediated_pmu_used) && vcpu->arch.pmu.mediated.active;
}

/*
 * Is the PMU handed to the vCPU at VM-entry?  If not, the vCPU exits for every access to
 * its PMU, and perf keeps its events out of the guest as without a mediated vPMU.
 *
 * Asked at each VM-entry and VM-exit.  A static key in front of the flag would make a
 * vCPU that leaves its PMU alone pay for both, to save other vCPUs the flag.
 */
static __always_inline bool kvm_mediated_pmu_switches(const struct kvm_vcpu *vcpu)
{
	return unlikely(vcpu->arch.pmu.mediated.switches);
}

/*
 * Does the vCPU's PMU have PERF_METRICS?  The enable bit in the global control says so.
 * Only a mediated vPMU can have them: perf has no event that KVM could open for them.
 */
static __always_inline bool kvm_mediated_pmu_has_metrics(const struct kvm_vcpu *vcpu)
{
	return kvm_vcpu_has_mediated_pmu(vcpu) &&
	       !(vcpu->arch.pmu.global_ctrl_rsvd & BIT_ULL(GLOBAL_CTRL_EN_PERF_METRICS));
}

/* Can the guest change this counter without an exit?  @i as in the global control. */
static inline bool kvm_mediated_pmc_is_passthrough(const struct kvm_pmu *pmu, unsigned int i)
{
	return pmu->mediated.passthrough & BIT_ULL(i);
}

/* Are the vCPU's counters in this CPU's registers?  IRQs are disabled. */
static __always_inline bool kvm_mediated_pmu_is_loaded(const struct kvm_vcpu *vcpu)
{
	return kvm_mediated_pmu_switches(vcpu) && vcpu->arch.pmu.mediated.loaded;
}

void kvm_mediated_pmu_start(void);
void kvm_mediated_pmu_stop(void);

int kvm_mediated_pmu_set_cpuid(struct kvm_vcpu *vcpu, const struct kvm_cpuid_entry2 *entries,
			       int nr);
void kvm_mediated_pmu_destroy_vm(struct kvm *kvm);
bool kvm_mediated_pmu_allows_pmu(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_refresh(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_reset(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_recalc(struct kvm_vcpu *vcpu);

void __kvm_mediated_pmu_prepare_entry(struct kvm_vcpu *vcpu, u32 lvtpc);
void __kvm_mediated_pmu_finish_exit(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_unload(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_sched_out(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_sync_ctrl(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_sync_status(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_change_status(struct kvm_vcpu *vcpu, u64 bits, bool set);
void kvm_mediated_pmu_ctrl_written(struct kvm_vcpu *vcpu);
u64 kvm_mediated_pmu_read_metrics(struct kvm_vcpu *vcpu);
int kvm_mediated_pmu_write_metrics(struct kvm_vcpu *vcpu, u64 value);

u64 kvm_mediated_pmc_read(struct kvm_pmc *pmc);
void kvm_mediated_pmc_write(struct kvm_pmc *pmc, u64 value);
void kvm_mediated_pmc_set_eventsel_hw(struct kvm_pmc *pmc, bool allowed);
void kvm_mediated_pmu_count_emulated(struct kvm_vcpu *vcpu, enum kvm_pmu_emulated_event event);
fastpath_t kvm_mediated_pmu_rdpmc(struct kvm_vcpu *vcpu);
bool kvm_mediated_pmu_write_global(struct kvm_vcpu *vcpu, u32 msr, u64 data);

/*
 * The value of the global control with which the guest's counters count as the guest
 * wants them to.  A caller that may follow a run of the guest calls
 * __kvm_mediated_pmu_sync_ctrl() first.
 */
static inline u64 kvm_mediated_pmu_ctrl(const struct kvm_pmu *pmu)
{
	lockdep_assert(!pmu->mediated.ctrl_stale || !pmu->mediated.loaded);

	if (pmu->version > 1)
		return pmu->global_ctrl;

	/* A PMU without a global control: only the selectors enable a counter. */
	return pmu->all_valid_pmc_idx[0];
}

/*
 * Note that the guest, which is about to be entered, may write the global control.
 * Called before each VM-entry, also by the loop of fast paths.
 */
static __always_inline void kvm_mediated_pmu_note_entry(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu->arch.pmu.mediated;

	m->ctrl_stale = m->writes_ctrl;
}

/*
 * Have the guest's state in the registers.  IRQs are disabled, and VM-entry cannot be
 * cancelled any more.
 */
static __always_inline void kvm_mediated_pmu_prepare_entry(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu->arch.pmu.mediated;
	u32 lvtpc;

	if (!kvm_mediated_pmu_switches(vcpu))
		return;

	lvtpc = kvm_lapic_get_reg(vcpu->arch.apic, APIC_LVTPC) & APIC_LVT_MASKED;
	if (!m->loaded || m->eventsel_stale || lvtpc != m->lvtpc)
		__kvm_mediated_pmu_prepare_entry(vcpu, lvtpc);
	kvm_mediated_pmu_note_entry(vcpu);
}

/*
 * After VM-exit, before IRQs are enabled and before anything of the host that perf
 * counts: give the PMU back if perf has a use for it.
 */
static __always_inline void kvm_mediated_pmu_finish_exit(struct kvm_vcpu *vcpu)
{
	if (unlikely(vcpu->arch.pmu.mediated.put_on_exit))
		__kvm_mediated_pmu_finish_exit(vcpu);
}

/* Give the PMU back to perf and have all of the guest's state in struct kvm_pmu. */
static __always_inline void kvm_mediated_pmu_unload(struct kvm_vcpu *vcpu)
{
	if (kvm_vcpu_has_mediated_pmu(vcpu))
		__kvm_mediated_pmu_unload(vcpu);
}

/* Have the guest's global control in struct kvm_pmu. */
static __always_inline void kvm_mediated_pmu_sync_ctrl(struct kvm_vcpu *vcpu)
{
	if (kvm_vcpu_has_mediated_pmu(vcpu))
		__kvm_mediated_pmu_sync_ctrl(vcpu);
}

/* Have the guest's overflow status in struct kvm_pmu. */
static __always_inline void kvm_mediated_pmu_sync_status(struct kvm_vcpu *vcpu)
{
	if (kvm_vcpu_has_mediated_pmu(vcpu))
		__kvm_mediated_pmu_sync_status(vcpu);
}

/* Set or clear bits of the status.  Return: false, nothing was done without a mediated vPMU. */
static __always_inline bool kvm_mediated_pmu_change_status(struct kvm_vcpu *vcpu, u64 bits,
							   bool set)
{
	if (!kvm_vcpu_has_mediated_pmu(vcpu))
		return false;

	__kvm_mediated_pmu_change_status(vcpu, bits, set);
	return true;
}

/* The vCPU is scheduled out, or its thread returns to userspace. */
static __always_inline void kvm_mediated_pmu_sched_out(struct kvm_vcpu *vcpu)
{
	if (kvm_vcpu_has_mediated_pmu(vcpu))
		__kvm_mediated_pmu_sched_out(vcpu);
}

#endif /* __KVM_X86_MEDIATED_PMU_H */
