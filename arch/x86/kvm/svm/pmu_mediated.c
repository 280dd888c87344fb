// SPDX-License-Identifier: GPL-2.0
/*
 * SVM's part in a mediated vPMU: what the guest may access without an exit.
 *
 * Neither VMRUN nor #VMEXIT switches anything of the PMU.  What makes the guest's
 * counters stand in the host is that their selectors count in guest mode only.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include <asm/perf_event.h>

#include "x86.h"
#include "cpuid.h"
#include "pmu.h"
#include "pmu_mediated.h"
#include "svm.h"

const struct kvm_mediated_pmu_regs svm_mediated_pmu_regs = {
	.global_ctrl		= MSR_AMD64_PERF_CNTR_GLOBAL_CTL,
	.global_status		= MSR_AMD64_PERF_CNTR_GLOBAL_STATUS,
	.global_status_clear	= MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR,
	.global_status_set	= MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET,
	.counter		= MSR_F15H_PERF_CTR0,
	.selector		= MSR_F15H_PERF_CTL0,
	.stride			= 2,
	.guest_only		= AMD64_EVENTSEL_GUESTONLY,
};

/*
 * RDPMC reads whichever counter the CPU has, with larger numbers also those of the
 * northbridge and the caches, which are the host's.
 */
static bool rdpmc_exits(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	return !kvm_pmu_is_mediated(pmu) || !pmu->mediated.all_counters || enable_vmware_backdoor ||
	       sev_es_guest(vcpu->kvm) ||
	       boot_cpu_has(X86_FEATURE_PERFCTR_NB) || boot_cpu_has(X86_FEATURE_PERFCTR_LLC);
}

void svm_mediated_pmu_set_intercepts(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct vcpu_svm *svm = to_svm(vcpu);
	bool active = kvm_pmu_is_mediated(pmu);
	bool gp, core, global;
	int i;

	if (!vcpu->kvm->arch.mediated_pmu)
		return;

	gp = active && pmu->counter_bitmask[KVM_PMC_GP] == kvm_mediated_pmu_host.gp_mask;
	core = guest_cpuid_has(vcpu, X86_FEATURE_PERFCTR_CORE);
	/* Hardware accepts bits of all counters that it has. */
	global = active && pmu->mediated.all_counters && kvm_pmu_has_perf_global_ctrl(pmu);

	for (i = 0; i < KVM_MAX_NR_AMD_GP_COUNTERS; i++) {
		bool pass = gp && i < pmu->nr_arch_gp_counters;

		set_msr_interception(vcpu, svm->msrpm, MSR_F15H_PERF_CTR + 2 * i,
				     pass && core, pass && core);
		if (i < AMD64_NUM_COUNTERS)
			set_msr_interception(vcpu, svm->msrpm, MSR_K7_PERFCTR0 + i, pass, pass);
	}
	/* Writes to the status are ignored, and rare. */
	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, global, 0);
	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, global, global);
	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR,
			     global, global);

	if (rdpmc_exits(vcpu))
		svm_set_intercept(svm, INTERCEPT_RDPMC);
	else
		svm_clr_intercept(svm, INTERCEPT_RDPMC);
}
