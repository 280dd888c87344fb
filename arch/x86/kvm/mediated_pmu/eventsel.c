// SPDX-License-Identifier: GPL-2.0
/* The event selectors that a guest's selectors and the event filter make together. */

#include <linux/bits.h>
#include <linux/kvm_host.h>

#include "../pmu.h"
#include "../x86.h"

/* The value of a general counter's hardware selector; 0 if the counter is off. */
static u64 gp_eventsel_hw(const struct kvm_pmc *pmc, bool allowed)
{
	const struct kvm_pmu *pmu = &pmc->vcpu->arch.pmu;

	if (!allowed || !(pmc->eventsel & ARCH_PERFMON_EVENTSEL_ENABLE))
		return 0;

	/* Bits that KVM ignores for a perf event must not get to hardware. */
	return (pmc->eventsel & (pmu->raw_event_mask | ARCH_PERFMON_EVENTSEL_USR |
				 ARCH_PERFMON_EVENTSEL_OS | ARCH_PERFMON_EVENTSEL_INT |
				 ARCH_PERFMON_EVENTSEL_ENABLE)) |
	       kvm_mediated_pmu_regs.eventsel_guest_only;
}

/*
 * Make the selector anew: the guest has selected another event, or the event filter has
 * changed.  The next VM-entry writes it to hardware.
 *
 * @allowed: the event filter lets the guest count the event
 */
void kvm_mediated_pmc_set_eventsel_hw(struct kvm_pmc *pmc, bool allowed)
{
	struct kvm_pmu *pmu = pmc_to_pmu(pmc);
	struct kvm_mediated_pmu *m = &pmu->mediated;
	u64 eventsel, field, enabled;
	int shift;

	if (pmc_is_gp(pmc)) {
		eventsel = gp_eventsel_hw(pmc, allowed);
		if (m->eventsel_hw[pmc->idx] == eventsel)
			return;

		/* An unload that comes in between has to know what the register holds. */
		m->eventsel_stale |= BIT_ULL(pmc->idx);
		barrier();
		m->eventsel_hw[pmc->idx] = eventsel;
		enabled = eventsel;
		if (enabled)
			m->enabled_gp |= BIT_ULL(pmc->idx);
		else
			m->enabled_gp &= ~BIT_ULL(pmc->idx);
	} else {
		shift = (pmc->idx - KVM_FIXED_PMC_BASE_IDX) * INTEL_FIXED_BITS_STRIDE;
		field = (u64)INTEL_FIXED_BITS_MASK << shift;
		eventsel = m->fixed_ctr_ctrl_hw & ~field;
		if (allowed)
			eventsel |= pmu->fixed_ctr_ctrl & field;
		if (m->fixed_ctr_ctrl_hw == eventsel)
			return;

		m->eventsel_stale |= BIT_ULL(KVM_MEDIATED_PMU_FIXED);
		barrier();
		m->fixed_ctr_ctrl_hw = eventsel;
		enabled = eventsel & field;
	}

	if (!enabled)
		return;

	m->idle_puts = 0;
	if (!m->switches || !kvm_mediated_pmc_is_passthrough(pmu, pmc->idx)) {
		/*
		 * Until the guest can write the counter, hardware holds what KVM has
		 * written, so the counter may be loaded already.
		 */
		m->passthrough |= BIT_ULL(pmc->idx);
		kvm_make_request(KVM_REQ_MEDIATED_PMU, pmc->vcpu);
	}
}
