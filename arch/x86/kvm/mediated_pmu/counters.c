// SPDX-License-Identifier: GPL-2.0
/* Counters of a guest, read and written by KVM where they are. */

#include <linux/irqflags.h>
#include <linux/kvm_host.h>

#include "../pmu.h"
#include "../x86.h"

u64 kvm_mediated_pmc_read(struct kvm_pmc *pmc)
{
	unsigned long flags;
	u64 value;

	local_irq_save(flags);
	if (pmc_to_pmu(pmc)->mediated.loaded)
		value = kvm_mediated_pmc_read_hw(pmc);
	else
		value = pmc->counter;
	local_irq_restore(flags);

	return value & pmc_bitmask(pmc);
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmc_read);

void kvm_mediated_pmc_write(struct kvm_pmc *pmc, u64 value)
{
	struct kvm_mediated_pmu *m = &pmc_to_pmu(pmc)->mediated;
	unsigned long flags;

	value &= pmc_bitmask(pmc);

	local_irq_save(flags);
	if (m->loaded)
		kvm_mediated_pmc_write_hw(pmc, value);
	pmc->counter = value;
	m->nonzero |= BIT_ULL(pmc->idx);
	local_irq_restore(flags);
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmc_write);
