// SPDX-License-Identifier: GPL-2.0
/* WRMSR of the global registers that exits, done in a fast path. */

#include <linux/kvm_host.h>

#include "internal.h"

/*
 * WRMSR has exited, and IRQs have been disabled since.  Drivers write the global control
 * and reset the status for each sample and each event; nothing else of KVM is needed.
 *
 * Return: true if the write is done; false if nothing was done.
 */
bool kvm_mediated_pmu_write_global(struct kvm_vcpu *vcpu, u32 msr, u64 data)
{
	struct msr_data info = { .index = msr, .data = data };

	if (!kvm_mediated_pmu_is_loaded(vcpu) ||
	    (msr != kvm_mediated_pmu_regs.global_ctrl &&
	     msr != kvm_mediated_pmu_regs.global_status_clear))
		return false;

	return kvm_pmu_is_valid_msr(vcpu, msr) &&
	       kvm_msr_allowed(vcpu, msr, KVM_MSR_FILTER_WRITE) &&
	       !kvm_pmu_set_msr(vcpu, &info);
}
