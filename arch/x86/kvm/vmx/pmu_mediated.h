/* SPDX-License-Identifier: GPL-2.0 */
/* What VMX has to do for a mediated vPMU; see pmu_mediated.c. */
#ifndef __KVM_X86_VMX_PMU_MEDIATED_H
#define __KVM_X86_VMX_PMU_MEDIATED_H

#include "../pmu_mediated.h"
#include "vmx.h"

extern const struct kvm_mediated_pmu_regs vmx_mediated_pmu_regs;

void vmx_mediated_pmu_check(void);
void vmx_mediated_pmu_init_vmcs(struct vcpu_vmx *vmx);
void vmx_mediated_pmu_recalc(struct kvm_vcpu *vcpu);

/* All MSRs that may be accessed without an exit. */
#define VMX_MEDIATED_PMU_NR_MSRS	(2 * KVM_MAX_NR_INTEL_GP_COUNTERS +	\
					 KVM_MAX_NR_INTEL_FIXED_COUTNERS + 4)
u32 vmx_mediated_pmu_msr(unsigned int i);
bool __vmx_mediated_pmu_entry(struct vcpu_vmx *vmx);
void __vmx_mediated_pmu_exited(struct vcpu_vmx *vmx);
bool vmx_mediated_pmu_rdpmc(struct vcpu_vmx *vmx);

/* The global control is loaded by VM-entry itself; false if perf's way is the right one. */
static __always_inline bool vmx_mediated_pmu_entry(struct vcpu_vmx *vmx)
{
	return kvm_pmu_is_mediated(&vmx->vcpu.arch.pmu) && __vmx_mediated_pmu_entry(vmx);
}

/* vmcs01 has been loaded, behind L2 or an entry into it that failed. */
static __always_inline void vmx_mediated_pmu_left_l2(struct kvm_vcpu *vcpu)
{
	if (unlikely(vcpu->arch.pmu.mediated.recalc_l1))
		kvm_make_request(KVM_REQ_MSR_FILTER_CHANGED, vcpu);
}

/* And saved by VM-exit, as the guest writes it without one. */
static __always_inline void vmx_mediated_pmu_exited(struct vcpu_vmx *vmx)
{
	if (kvm_mediated_pmu_switches(&vmx->vcpu.arch.pmu))
		__vmx_mediated_pmu_exited(vmx);
}

#endif /* __KVM_X86_VMX_PMU_MEDIATED_H */
