// SPDX-License-Identifier: GPL-2.0
/* RDPMC of a guest of SVM, done between two VMRUNs. */

#include <linux/kvm_host.h>

#include "../pmu.h"
#include "../svm/svm.h"
#include "svm.h"

/*
 * RDPMC has exited.  The VMCB has the guest's RAX and RIP, and gets the new ones.
 *
 * Return: true if the guest can go on at once, with the VMCB ready for VMRUN; false if
 * there is more to do, as @rdpmc says.
 */
bool svm_mediated_pmu_rdpmc(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;
	struct vcpu_svm *svm = to_svm(vcpu);
	struct vmcb *vmcb = svm->vmcb;

	/* Without NRIPs KVM decodes the instruction, which it cannot with IRQs disabled. */
	m->rdpmc = nrips && vmcb->control.next_rip ? kvm_mediated_pmu_rdpmc(vcpu) :
						     EXIT_FASTPATH_NONE;
	if (m->rdpmc == EXIT_FASTPATH_NONE)
		return false;

	vmcb->save.rax = vcpu->arch.regs[VCPU_REGS_RAX];
	vmcb->save.rip = vcpu->arch.regs[VCPU_REGS_RIP];
	/* VMRUN has flushed the TLB and delivered what was injected; do neither again. */
	vmcb->control.tlb_ctl = TLB_CONTROL_DO_NOTHING;
	svm->soft_int_injected = false;
	if (m->rdpmc != EXIT_FASTPATH_REENTER_GUEST)
		return false;

	kvm_mediated_pmu_note_entry(vcpu);
	return true;
}
