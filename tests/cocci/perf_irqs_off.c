// SPDX-License-Identifier: GPL-2.0
/* perf_irqs_off.cocci must find the lines that say "bad", and no others. */

static void pmc_look(struct kvm_pmc *pmc)
{
	unsigned long flags;

	local_irq_disable();
	pmc->current_config = 0;
	perf_event_pause(pmc->perf_event, true);	/* bad */
	local_irq_enable();
	perf_event_enable(pmc->perf_event);

	local_irq_save(flags);
	if (pmc->eventsel)
		pmc_stop_counter(pmc);			/* bad */
	local_irq_restore(flags);
}

static fastpath_t handle_fastpath_something_irqoff(struct kvm_vcpu *vcpu)
{
	kvm_pmu_handle_event(vcpu);			/* bad */
	kvm_make_request(KVM_REQ_PMU, vcpu);
	return EXIT_FASTPATH_REENTER_GUEST;
}

static void kvm_pmu_incr_counter(struct kvm_pmc *pmc)
{
	pmc->emulated_counter++;
	reprogram_counter(pmc);				/* bad */
}

static void kvm_pmu_cleanup(struct kvm_vcpu *vcpu, struct kvm_pmc *pmc)
{
	pmc_stop_counter(pmc);
}
