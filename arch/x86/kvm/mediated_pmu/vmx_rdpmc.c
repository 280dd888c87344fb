// SPDX-License-Identifier: GPL-2.0
/* RDPMC of a guest of VMX, done between two VM-entries. */

#include <linux/kvm_host.h>

#include "../kvm_cache_regs.h"
#include "../pmu.h"
#include "vmx.h"

/*
 * RDPMC has exited.  If the guest has all counters, its global control may have changed
 * without an exit, and the common way saves it.  The common way also takes an exit that
 * reports more than RDPMC, for instance a bus lock.
 *
 * Return: true if the guest can go on at once, with the VMCS ready for VM-entry; false if
 * there is more to do, as @rdpmc says.
 */
bool vmx_mediated_pmu_rdpmc(struct vcpu_vmx *vmx)
{
	struct kvm_vcpu *vcpu = &vmx->vcpu;
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;

	m->rdpmc = m->all_counters || vmx->exit_reason.full != EXIT_REASON_RDPMC ?
		   EXIT_FASTPATH_NONE : kvm_mediated_pmu_rdpmc(vcpu);
	if (m->rdpmc != EXIT_FASTPATH_REENTER_GUEST)
		return false;

	vmcs_writel(GUEST_RIP, kvm_rip_read(vcpu));
	vcpu->arch.regs_dirty = 0;
	vmx->loaded_vmcs->launched = 1;
	return true;
}
