// SPDX-License-Identifier: GPL-2.0
/* counter_access.cocci must find the lines that say "bad", and no others. */

static u64 pmc_read_counter(struct kvm_pmc *pmc)
{
	return pmc_count_read(pmc->counter, 0, pmc->emulated_counter, pmc_bitmask(pmc));
}

static int amd_pmu_get_msr(struct kvm_vcpu *vcpu, struct kvm_pmc *pmc, u64 *data)
{
	if (!pmc)
		return 1;

	*data = pmc->counter;		/* bad */
	return 0;
}

static void intel_pmu_reset(struct kvm_pmc *pmc)
{
	pmc_reset_counter(pmc);
	pmc->emulated_counter = 0;	/* bad */
	pmc->eventsel = 0;
}

static void kvm_pmu_note(struct kvm_pmc *pmc)
{
	if (pmc->overflow_reported)	/* bad */
		pr_info("%llu\n", pmc_read_counter(pmc));
}
