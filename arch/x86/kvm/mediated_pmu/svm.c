// SPDX-License-Identifier: GPL-2.0
/*
 * What a guest of SVM may access of a mediated vPMU without an exit.
 *
 * Neither VMRUN nor #VMEXIT switches a register of the PMU.  The guest's counters do not
 * count in the host because their selectors count in guest mode only.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include <asm/perf_event.h>

#include "../cpuid.h"
#include "../pmu.h"
#include "../svm/svm.h"
#include "../x86.h"
#include "svm.h"

/* In kvm_mediated_pmu's @open: the global registers. */
#define OPEN_GLOBAL	BIT_ULL(63)

/*
 * AMD's CPUs have always had four counters, and no way to say that there are none.  A
 * model of a CPU with neither the extended counters nor PerfMonV2 is one from which
 * userspace has removed the PMU.
 */
static bool model_has_pmu(const struct kvm_cpuid_entry2 *entries, int nr)
{
	const struct kvm_cpuid_entry2 *e;

	for (e = entries; e < entries + nr; e++) {
		if (e->function == 0x80000001 && (e->ecx & feature_bit(PERFCTR_CORE)))
			return true;
		if (e->function == 0x80000022 && (e->eax & feature_bit(PERFMON_V2)))
			return true;
	}

	return false;
}

const struct kvm_mediated_pmu_regs svm_mediated_pmu_regs = {
	.global_ctrl		= MSR_AMD64_PERF_CNTR_GLOBAL_CTL,
	.global_status		= MSR_AMD64_PERF_CNTR_GLOBAL_STATUS,
	.global_status_clear	= MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR,
	.global_status_set	= MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET,
	.counter		= MSR_F15H_PERF_CTR0,
	.eventsel		= MSR_F15H_PERF_CTL0,
	.stride			= 2,
	.eventsel_guest_only	= AMD64_EVENTSEL_GUESTONLY,
	.ctrl_in_register	= true,
	.model_has_pmu		= model_has_pmu,
};

/*
 * Do selectors keep the guest-only bit?  A hypervisor below may drop it, and then a
 * guest's counters would count in this host.  Try a selector that is off.  If all are
 * on, events of the host lose what they count in between.
 */
static bool guest_only_works(void)
{
	unsigned long flags;
	u64 old, seen;
	int i;

	local_irq_save(flags);
	for (i = 0; i < AMD64_NUM_COUNTERS_CORE; i++) {
		rdmsrl(MSR_F15H_PERF_CTL + 2 * i, old);
		if (!(old & ARCH_PERFMON_EVENTSEL_ENABLE))
			break;
	}
	i = min(i, AMD64_NUM_COUNTERS_CORE - 1);
	wrmsrl(MSR_F15H_PERF_CTL + 2 * i,
	       (old & ~AMD64_EVENTSEL_HOSTONLY) | AMD64_EVENTSEL_GUESTONLY);
	rdmsrl(MSR_F15H_PERF_CTL + 2 * i, seen);
	wrmsrl(MSR_F15H_PERF_CTL + 2 * i, old);
	local_irq_restore(flags);

	return seen & AMD64_EVENTSEL_GUESTONLY;
}

/* Called when kvm-amd is loaded, after kvm_mediated_pmu_check(). */
void svm_mediated_pmu_check(void)
{
	if (enable_mediated_pmu && !guest_only_works())
		kvm_mediated_pmu_unavailable("selectors do not keep the guest-only bit");
}

/*
 * RDPMC reads any counter of the CPU, and with larger numbers those of the northbridge
 * and of caches, which are the host's.
 *
 * Set the intercept in vmcb01; nested_svm merges it with what L1 intercepts.
 */
void svm_mediated_pmu_set_rdpmc(struct kvm_vcpu *vcpu)
{
	if (!kvm_mediated_pmu_switches(vcpu) || !vcpu_to_pmu(vcpu)->mediated.all_counters ||
	    enable_vmware_backdoor || sev_es_guest(vcpu->kvm) ||
	    boot_cpu_has(X86_FEATURE_PERFCTR_NB) || boot_cpu_has(X86_FEATURE_PERFCTR_LLC))
		svm_set_intercept(to_svm(vcpu), INTERCEPT_RDPMC);
	else
		svm_clr_intercept(to_svm(vcpu), INTERCEPT_RDPMC);
}

/* Change those that have to change: each is looked up in a list. */
static void recalc_msr_intercepts(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct vcpu_svm *svm = to_svm(vcpu);
	bool active = kvm_mediated_pmu_switches(vcpu);
	u64 open = 0, changed;
	bool pass;
	int i;

	if (active && pmu->counter_bitmask[KVM_PMC_GP] == kvm_mediated_pmu_host.gp_mask)
		open = pmu->mediated.passthrough & GENMASK_ULL(pmu->nr_arch_gp_counters - 1, 0);
	/* Hardware accepts the enable bits of all counters of the CPU. */
	if (active && pmu->mediated.all_counters && kvm_pmu_has_perf_global_ctrl(pmu))
		open |= OPEN_GLOBAL;

	changed = open ^ pmu->mediated.open;
	pmu->mediated.open = open;
	for (i = 0; i < KVM_MAX_NR_AMD_GP_COUNTERS; i++) {
		if (!(changed & BIT_ULL(i)))
			continue;
		pass = open & BIT_ULL(i);
		set_msr_interception(vcpu, svm->msrpm, MSR_F15H_PERF_CTR + 2 * i,
				     pass && pmu->has_core_counters,
				     pass && pmu->has_core_counters);
		if (i < AMD64_NUM_COUNTERS)
			set_msr_interception(vcpu, svm->msrpm, MSR_K7_PERFCTR0 + i, pass, pass);
	}
	if (!(changed & OPEN_GLOBAL))
		return;

	pass = open & OPEN_GLOBAL;
	/* Writes to the status are ignored, and rare. */
	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, pass, 0);
	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, pass, pass);
	set_msr_interception(vcpu, svm->msrpm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, pass, pass);
}

/*
 * Recalculate what depends on the vCPU's model of a PMU, on whether the PMU is handed to
 * the vCPU, and on userspace's MSR filter.  Called for KVM_REQ_MEDIATED_PMU, which the
 * first two request when they change, and for KVM_REQ_MSR_FILTER_CHANGED.  In L2, merge
 * again what L1 intercepts.
 */
void svm_mediated_pmu_recalc(struct kvm_vcpu *vcpu)
{
	if (!static_branch_unlikely(&kvm_mediated_pmu_used))
		return;

	kvm_mediated_pmu_recalc(vcpu);
	svm_mediated_pmu_set_rdpmc(vcpu);
	recalc_msr_intercepts(vcpu);
	if (is_guest_mode(vcpu))
		nested_svm_refresh_msrpm(vcpu);
}
