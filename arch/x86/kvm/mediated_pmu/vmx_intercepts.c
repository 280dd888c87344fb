// SPDX-License-Identifier: GPL-2.0
/* What a guest of VMX may access of a mediated vPMU without an exit. */

#include <linux/kvm_host.h>

#include <asm/perf_event.h>

#include "../cpuid.h"
#include "../pmu.h"
#include "../vmx/nested.h"
#include "../x86.h"
#include "vmx.h"

/* RDPMC reads any counter of the CPU, and a guest must read its own only. */
static bool need_rdpmc_intercept(struct kvm_vcpu *vcpu)
{
	return !kvm_mediated_pmu_switches(vcpu) || !vcpu_to_pmu(vcpu)->mediated.all_counters ||
	       enable_vmware_backdoor ||
	       (is_guest_mode(vcpu) && nested_cpu_has(get_vmcs12(vcpu), CPU_BASED_RDPMC_EXITING));
}

static void recalc_msr_intercepts(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	bool active = kvm_mediated_pmu_switches(vcpu);
	bool gp, fixed, global, full_width, exit;
	int i;

	/* KVM has to emulate a counter that is narrower than the CPU's. */
	gp = active && pmu->counter_bitmask[KVM_PMC_GP] == kvm_mediated_pmu_host.gp_mask;
	fixed = active && pmu->counter_bitmask[KVM_PMC_FIXED] == kvm_mediated_pmu_host.fixed_mask;
	full_width = guest_cpuid_has(vcpu, X86_FEATURE_PDCM) &&
		     (vcpu->arch.perf_capabilities & PMU_CAP_FW_WRITES);
	/*
	 * Hardware accepts the enable bits of all counters of the CPU.  The bit of
	 * PERF_METRICS does no harm: what a guest without them makes count is its own
	 * state, and zeroed at the next unload.
	 */
	global = active && pmu->mediated.all_counters && kvm_pmu_has_perf_global_ctrl(pmu);

	for (i = 0; i < KVM_MAX_NR_INTEL_GP_COUNTERS; i++) {
		exit = !gp || i >= pmu->nr_arch_gp_counters ||
		       !kvm_mediated_pmc_is_passthrough(pmu, i);
		vmx_set_intercept_for_msr(vcpu, MSR_IA32_PERFCTR0 + i, MSR_TYPE_RW, exit);
		vmx_set_intercept_for_msr(vcpu, MSR_IA32_PMC0 + i, MSR_TYPE_RW,
					  exit || !full_width);
	}
	for (i = 0; i < KVM_MAX_NR_INTEL_FIXED_COUTNERS; i++) {
		exit = !fixed || i >= pmu->nr_arch_fixed_counters ||
		       !kvm_mediated_pmc_is_passthrough(pmu, KVM_FIXED_PMC_BASE_IDX + i);
		vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_FIXED_CTR0 + i, MSR_TYPE_RW, exit);
	}
	/* Together with the last fixed counter, which counts slots. */
	vmx_set_intercept_for_msr(vcpu, MSR_PERF_METRICS, MSR_TYPE_RW,
				  exit || !kvm_mediated_pmu_has_metrics(vcpu));

	vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_GLOBAL_CTRL, MSR_TYPE_RW, !global);
	vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS, MSR_TYPE_R, !global);
	vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_GLOBAL_OVF_CTRL, MSR_TYPE_RW, !global);
}

/*
 * Recalculate what depends on the vCPU's model of a PMU, on whether the PMU is handed to
 * the vCPU, and on userspace's MSR filter.  Called for KVM_REQ_MEDIATED_PMU, which the
 * first two request when they change, and for KVM_REQ_MSR_FILTER_CHANGED.
 *
 * MSR intercepts are L1's, and merged with what L1 intercepts for L2.  Controls are those
 * of the VMCS that is loaded.  In L2 that is vmcs02; those of vmcs01 are recalculated when
 * vmcs01 is loaded again, and a new vmcs02 takes them from there.
 */
void vmx_mediated_pmu_recalc(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;

	if (!static_branch_unlikely(&kvm_mediated_pmu_used))
		return;

	kvm_mediated_pmu_recalc(vcpu);
	vmx_mediated_pmu_set_controls(vcpu);
	if (need_rdpmc_intercept(vcpu))
		exec_controls_setbit(to_vmx(vcpu), CPU_BASED_RDPMC_EXITING);
	else
		exec_controls_clearbit(to_vmx(vcpu), CPU_BASED_RDPMC_EXITING);
	recalc_msr_intercepts(vcpu);

	m->recalc_l1 = is_guest_mode(vcpu);
	if (m->recalc_l1)
		nested_vmx_refresh_msr_bitmap(vcpu);
}

/* The i-th MSR that may be passed through, for the merge of L0's and L1's bitmaps. */
u32 vmx_mediated_pmu_msr(unsigned int i)
{
	static const struct {
		u32 msr;
		unsigned int nr;
	} ranges[] = {
		{ MSR_IA32_PERFCTR0,		KVM_MAX_NR_INTEL_GP_COUNTERS },
		{ MSR_IA32_PMC0,		KVM_MAX_NR_INTEL_GP_COUNTERS },
		{ MSR_CORE_PERF_FIXED_CTR0,	KVM_MAX_NR_INTEL_FIXED_COUTNERS },
		{ MSR_PERF_METRICS,		1 },
		/* Status, control and status reset. */
		{ MSR_CORE_PERF_GLOBAL_STATUS,	3 },
	};
	unsigned int range = 0;

	while (i >= ranges[range].nr)
		i -= ranges[range++].nr;

	return ranges[range].msr + i;
}
