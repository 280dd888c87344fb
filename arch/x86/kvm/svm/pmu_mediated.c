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
 * Do selectors keep the guest-only bit?  Hypervisors below may drop it, and then a
 * guest's counters would count this host.  A selector that is off is tried; if
 * all are on, the host's events lose what this takes.
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

/* When KVM's module is loaded, behind the checks that all vendors share. */
void svm_mediated_pmu_check(void)
{
	if (enable_mediated_pmu && !guest_only_works())
		kvm_mediated_pmu_unavailable("selectors do not keep the guest-only bit");
}

/*
 * RDPMC reads whichever counter the CPU has, with larger numbers also those of the
 * northbridge and the caches, which are the host's.
 *
 * This is vmcb01's intercept; nested_svm merges it with what L1 intercepts.
 */
void svm_mediated_pmu_set_rdpmc(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	if (!kvm_mediated_pmu_switches(pmu) || !pmu->mediated.all_counters ||
	    enable_vmware_backdoor || sev_es_guest(vcpu->kvm) ||
	    boot_cpu_has(X86_FEATURE_PERFCTR_NB) || boot_cpu_has(X86_FEATURE_PERFCTR_LLC))
		svm_set_intercept(to_svm(vcpu), INTERCEPT_RDPMC);
	else
		svm_clr_intercept(to_svm(vcpu), INTERCEPT_RDPMC);
}

static void set_intercepts(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct vcpu_svm *svm = to_svm(vcpu);
	bool active = kvm_mediated_pmu_switches(pmu);
	bool gp, core, global;
	int i;

	gp = active && pmu->counter_bitmask[KVM_PMC_GP] == kvm_mediated_pmu_host.gp_mask;
	core = guest_cpuid_has(vcpu, X86_FEATURE_PERFCTR_CORE);
	/* Hardware accepts bits of all counters that it has. */
	global = active && pmu->mediated.all_counters && kvm_pmu_has_perf_global_ctrl(pmu);

	for (i = 0; i < KVM_MAX_NR_AMD_GP_COUNTERS; i++) {
		bool pass = gp && i < pmu->nr_arch_gp_counters && kvm_mediated_pmc_is_open(pmu, i);

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
}

/*
 * All that depends on what the vCPU's PMU is like, on whether it needs the CPU's,
 * and on userspace's MSR filter: on KVM_REQ_MSR_FILTER_CHANGED, which each change
 * of them makes.  In L2, what L1 intercepts is merged anew.
 */
void svm_mediated_pmu_recalc(struct kvm_vcpu *vcpu)
{
	if (!static_branch_unlikely(&kvm_mediated_pmu_used))
		return;

	kvm_mediated_pmu_recalc(vcpu);
	svm_mediated_pmu_set_rdpmc(vcpu);
	set_intercepts(vcpu);
	if (is_guest_mode(vcpu))
		nested_svm_refresh_msrpm(vcpu);
}

/*
 * RDPMC has exited.  The VMCB has RAX and RIP of the guest, and gets them back.
 *
 * Return: whether the guest can go on at once, with the VMCB ready for VMRUN.  If
 * not, @rdpmc says what is left to do.
 */
bool svm_mediated_pmu_rdpmc(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;
	struct vcpu_svm *svm = to_svm(vcpu);
	struct vmcb *vmcb = svm->vmcb;

	/* With IRQs off the instruction's length cannot be found out. */
	m->rdpmc = nrips && vmcb->control.next_rip ? kvm_mediated_pmu_rdpmc(vcpu) :
						     EXIT_FASTPATH_NONE;
	if (m->rdpmc == EXIT_FASTPATH_NONE)
		return false;

	vmcb->save.rax = vcpu->arch.regs[VCPU_REGS_RAX];
	vmcb->save.rip = vcpu->arch.regs[VCPU_REGS_RIP];
	/* Whatever it was, VMRUN has flushed it, and delivered what was injected. */
	vmcb->control.tlb_ctl = TLB_CONTROL_DO_NOTHING;
	svm->soft_int_injected = false;
	if (m->rdpmc != EXIT_FASTPATH_REENTER_GUEST)
		return false;

	kvm_mediated_pmu_enter(vcpu);
	return true;
}
