// SPDX-License-Identifier: GPL-2.0
/* Events that KVM emulates, counted where the counters are. */

#include <linux/irqflags.h>
#include <linux/kvm_host.h>

#include "internal.h"
#include "trace.h"

static void signal_overflow(struct kvm_pmu *pmu, struct kvm_pmc *pmc)
{
	if (kvm_pmu_has_perf_global_ctrl(pmu)) {
		if (pmu->mediated.loaded)
			wrmsrl(kvm_mediated_pmu_regs.global_status_set, BIT_ULL(pmc->idx));
		else
			pmu->global_status |= BIT_ULL(pmc->idx);
	}

	++pmc->vcpu->stat.pmu_emulated_overflows;
	trace_kvm_pmu_emulated_overflow(pmc->vcpu->vcpu_id, pmc->idx);
	if (pmc_wants_pmi(pmc))
		kvm_make_request(KVM_REQ_PMI, pmc->vcpu);
}

/* Increment at once, for the guest's next RDPMC to see.  IRQs are disabled. */
static __always_inline void increment(struct kvm_pmu *pmu, struct kvm_pmc *pmc)
{
	u64 value;

	if (pmu->mediated.loaded) {
		value = (kvm_mediated_pmc_read_hw(pmc) + 1) & pmc_bitmask(pmc);
		kvm_mediated_pmc_write_hw(pmc, value);
	} else {
		value = (pmc->counter + 1) & pmc_bitmask(pmc);
		pmc->counter = value;
		pmu->mediated.nonzero |= BIT_ULL(pmc->idx);
	}

	if (unlikely(!value))
		signal_overflow(pmu, pmc);
}

/*
 * Count an event that KVM has emulated.  Any context, IRQs may be disabled.
 *
 * The emulated instruction may itself have written a selector, and the new selector
 * counts it.  So handle a pending KVM_REQ_PMU first, which takes nothing of perf here.
 */
void kvm_mediated_pmu_count_emulated(struct kvm_vcpu *vcpu, enum kvm_pmu_emulated_event event)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	unsigned long flags;
	u64 counters;
	int idx;

	if (kvm_test_request(KVM_REQ_PMU, vcpu)) {
		/* For the event filter.  Fast paths are outside of the vCPU's own section. */
		idx = srcu_read_lock(&vcpu->kvm->srcu);
		kvm_pmu_reprogram_pending(vcpu);
		srcu_read_unlock(&vcpu->kvm->srcu, idx);
	}

	counters = *(u64 *)kvm_pmu_emulating(vcpu, event);
	if (!counters)
		return;

	local_irq_save(flags);
	kvm_mediated_pmu_sync_ctrl_irqoff(pmu);
	counters &= kvm_mediated_pmu_ctrl(pmu);
	for (; counters; counters &= counters - 1)
		increment(pmu, kvm_pmc_idx_to_pmc(pmu, __ffs64(counters)));
	local_irq_restore(flags);
}
