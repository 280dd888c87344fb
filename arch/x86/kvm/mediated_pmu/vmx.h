/* SPDX-License-Identifier: GPL-2.0 */
/* What kvm-intel does for a mediated vPMU. */
#ifndef __KVM_X86_MEDIATED_PMU_VMX_H
#define __KVM_X86_MEDIATED_PMU_VMX_H

#include "../vmx/vmx.h"
#include "mediated_pmu.h"

extern const struct kvm_mediated_pmu_regs vmx_mediated_pmu_regs;

void vmx_mediated_pmu_check(void);
void vmx_mediated_pmu_init_vmcs(struct vcpu_vmx *vmx);
void vmx_mediated_pmu_set_controls(struct kvm_vcpu *vcpu);
void vmx_mediated_pmu_recalc(struct kvm_vcpu *vcpu);

/* The number of MSRs that a guest may access without an exit. */
#define VMX_MEDIATED_PMU_NR_MSRS	(2 * KVM_MAX_NR_INTEL_GP_COUNTERS +	\
					 KVM_MAX_NR_INTEL_FIXED_COUTNERS + 4)
u32 vmx_mediated_pmu_msr(unsigned int i);
void __vmx_mediated_pmu_entry(struct vcpu_vmx *vmx);
void __vmx_mediated_pmu_exited(struct vcpu_vmx *vmx);
void __vmx_mediated_pmu_enter_l2(struct vcpu_vmx *vmx);
bool vmx_mediated_pmu_rdpmc(struct vcpu_vmx *vmx);

/*
 * Before VM-entry, which loads the guest's global control.
 *
 * Return: false if atomic_switch_perf_msrs() has to do it.
 */
static __always_inline bool vmx_mediated_pmu_entry(struct vcpu_vmx *vmx)
{
	if (!kvm_vcpu_has_mediated_pmu(&vmx->vcpu))
		return false;

	__vmx_mediated_pmu_entry(vmx);
	return true;
}

/* After VM-exit, which has saved the global control. */
static __always_inline void vmx_mediated_pmu_exited(struct vcpu_vmx *vmx)
{
	if (kvm_mediated_pmu_switches(&vmx->vcpu))
		__vmx_mediated_pmu_exited(vmx);
}

/* vmcs02 is loaded, and gets what an entry into L2 needs. */
static __always_inline void vmx_mediated_pmu_enter_l2(struct vcpu_vmx *vmx)
{
	if (kvm_vcpu_has_mediated_pmu(&vmx->vcpu))
		__vmx_mediated_pmu_enter_l2(vmx);
}

/* vmcs01 has been loaded, after L2 or after an entry into L2 that failed. */
static __always_inline void vmx_mediated_pmu_left_l2(struct kvm_vcpu *vcpu)
{
	if (unlikely(vcpu->arch.pmu.mediated.recalc_l1))
		kvm_make_request(KVM_REQ_MEDIATED_PMU, vcpu);
}

#endif /* __KVM_X86_MEDIATED_PMU_VMX_H */
