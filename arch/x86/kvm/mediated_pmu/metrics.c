// SPDX-License-Identifier: GPL-2.0
/* PERF_METRICS of a guest, read and written by KVM where they are. */

#include <linux/irqflags.h>
#include <linux/kvm_host.h>

#include "../pmu.h"
#include "../x86.h"

u64 kvm_mediated_pmu_read_metrics(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;
	unsigned long flags;
	u64 value;

	local_irq_save(flags);
	if (m->loaded)
		rdpmcl(INTEL_PMC_FIXED_RDPMC_METRICS, value);
	else
		value = m->metrics;
	local_irq_restore(flags);

	return value;
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_read_metrics);

/* Return: 0, or 1 if @value has a field that this CPU has not. */
int kvm_mediated_pmu_write_metrics(struct kvm_vcpu *vcpu, u64 value)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;
	unsigned long flags;

	if (value & ~kvm_mediated_pmu_host.metrics_mask)
		return 1;

	local_irq_save(flags);
	if (m->loaded)
		wrmsrl(MSR_PERF_METRICS, value);
	m->metrics = value;
	local_irq_restore(flags);

	return 0;
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_write_metrics);
