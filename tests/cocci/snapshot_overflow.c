// SPDX-License-Identifier: GPL-2.0
/* snapshot_overflow.cocci must find the lines that say "bad", and no others. */

static void kvm_pmu_incr_counter(struct kvm_pmc *pmc)
{
	u64 before = pmc->counter;

	pmc->counter = (pmc->counter + 1) & pmc_bitmask(pmc);
	reprogram_counter(pmc);
	if (pmc->counter < before)	/* bad */
		__kvm_perf_overflow(pmc, false);
}

static bool pmc_has_wrapped(struct kvm_pmc *pmc, u64 now)
{
	u64 then;

	then = pmc_read_counter(pmc);
	perf_event_pause(pmc->perf_event, true);
	if (now < then)			/* bad */
		return true;
	return false;
}

static bool pmc_is_owed(struct kvm_pmc *pmc, u64 perf)
{
	struct pmc_count count = pmc_count_consume(pmc->counter, perf, 0, pmc_bitmask(pmc));

	return count.perf_wrapped;
}
