// SPDX-License-Identifier: GPL-2.0
/* Global control and status of a guest, accessed by KVM where they are. */

#include <linux/irqflags.h>
#include <linux/kvm_host.h>

#include "internal.h"

/* Call before KVM reads or replaces the guest's global control. */
void __kvm_mediated_pmu_sync_ctrl(struct kvm_vcpu *vcpu)
{
	unsigned long flags;

	local_irq_save(flags);
	kvm_mediated_pmu_sync_ctrl_irqoff(vcpu_to_pmu(vcpu));
	local_irq_restore(flags);
}

void __kvm_mediated_pmu_sync_status(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	unsigned long flags;
	u64 status;

	local_irq_save(flags);
	if (pmu->mediated.loaded) {
		rdmsrl(kvm_mediated_pmu_regs.global_status, status);
		pmu->global_status = kvm_mediated_pmu_guest_status(pmu, status);
	}
	local_irq_restore(flags);
}

/* In one piece: perf may reclaim the PMU, and the status then is in memory only. */
void __kvm_mediated_pmu_change_status(struct kvm_vcpu *vcpu, u64 bits, bool set)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	u64 bits_hw = kvm_mediated_pmu_guest_status(pmu, bits);
	unsigned long flags;

	local_irq_save(flags);
	pmu->global_status = set ? pmu->global_status | bits : pmu->global_status & ~bits;
	if (bits_hw && pmu->mediated.loaded)
		wrmsrl(set ? kvm_mediated_pmu_regs.global_status_set :
			     kvm_mediated_pmu_regs.global_status_clear, bits_hw);
	local_irq_restore(flags);
}

/*
 * KVM has changed its copy of the global control.  VM-entry of VMX loads that copy; a
 * guest of SVM runs with what is in the register.
 */
void kvm_mediated_pmu_ctrl_written(struct kvm_vcpu *vcpu)
{
	unsigned long flags;

	local_irq_save(flags);
	if (vcpu_to_pmu(vcpu)->mediated.loaded)
		kvm_mediated_pmu_start_hw(vcpu_to_pmu(vcpu));
	local_irq_restore(flags);
}
