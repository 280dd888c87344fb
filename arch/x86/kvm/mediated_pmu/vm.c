// SPDX-License-Identifier: GPL-2.0
/* Which VMs, and which of their vCPUs, have a mediated vPMU. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>
#include <linux/mutex.h>
#include <linux/perf_mediated.h>

#include <asm/perf_mediated.h>

#include "../irq.h"
#include "internal.h"

/*
 * Serializes the first vCPUs of VMs.  Not kvm->lock: perf_create_mediated_pmu() takes
 * cpu_hotplug_lock, which is taken outside of it elsewhere.
 */
static DEFINE_MUTEX(join_mutex);

/**
 * kvm_mediated_pmu_set_cpuid - a vCPU that has not run yet gets a model of a CPU
 * @vcpu: the vCPU
 * @entries: the model, which has been checked but is not in force yet
 * @nr: the number of @entries
 *
 * The first vCPU of a VM whose model has a PMU makes the VM a user of perf's mediated
 * PMU.  A VM that userspace gives no PMU, or no local APIC in the kernel, does not become
 * one: its owner gets no error, and the host's events no competitor.
 *
 * Return: 0, or the error of perf_create_mediated_pmu().
 */
int kvm_mediated_pmu_set_cpuid(struct kvm_vcpu *vcpu, const struct kvm_cpuid_entry2 *entries,
			       int nr)
{
	struct kvm *kvm = vcpu->kvm;
	int r = 0;

	if (!static_branch_unlikely(&kvm_mediated_pmu_used) || !kvm->arch.enable_pmu ||
	    !kvm_mediated_pmu_regs.model_has_pmu(entries, nr))
		return 0;

	mutex_lock(&join_mutex);
	if (kvm->arch.mediated_pmu) {
		/* Another vCPU was first. */
	} else if (irqchip_in_kernel(kvm)) {
		r = perf_create_mediated_pmu();
		kvm->arch.mediated_pmu = !r;
	} else if (!kvm->arch.mediated_pmu_refused) {
		/* KVM could neither deliver its PMIs nor see whether it masks them. */
		pr_info_ratelimited("%s[%d]: no vPMU for this VM: a mediated one needs the APIC in the kernel\n",
				    current->comm, task_pid_nr(current));
		kvm->arch.mediated_pmu_refused = true;
	}
	mutex_unlock(&join_mutex);

	return r;
}

void kvm_mediated_pmu_destroy_vm(struct kvm *kvm)
{
	if (kvm->arch.mediated_pmu)
		perf_release_mediated_pmu();
}

/*
 * May the vCPU have a PMU at all?  While enable_mediated_pmu is set there is no other
 * kind, because perf refuses the events that a perf-based vPMU opens.
 */
bool kvm_mediated_pmu_allows_pmu(struct kvm_vcpu *vcpu)
{
	if (!static_branch_unlikely(&kvm_mediated_pmu_used))
		return true;

	return vcpu->kvm->arch.mediated_pmu &&
	       kvm_mediated_pmu_regs.model_has_pmu(vcpu->arch.cpuid_entries,
						   vcpu->arch.cpuid_nent);
}

/*
 * Called by kvm_pmu_refresh() when the vPMU is as it will be from now on.  The vCPU has
 * not run with that vPMU, and the request has controls and intercepts follow before it
 * does.
 */
void kvm_mediated_pmu_refresh(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_mediated_pmu *m = &pmu->mediated;

	if (!static_branch_unlikely(&kvm_mediated_pmu_used))
		return;

	m->active = vcpu->kvm->arch.mediated_pmu && pmu->version && pmu->nr_arch_gp_counters;
	m->narrow_counters =
		pmu->counter_bitmask[KVM_PMC_GP] != kvm_mediated_pmu_host.gp_mask ||
		(pmu->nr_arch_fixed_counters &&
		 pmu->counter_bitmask[KVM_PMC_FIXED] != kvm_mediated_pmu_host.fixed_mask);
	m->all_counters = m->active && !m->narrow_counters &&
			  pmu->nr_arch_gp_counters == kvm_mediated_pmu_host.nr_gp &&
			  pmu->nr_arch_fixed_counters == kvm_mediated_pmu_host.nr_fixed;

	m->idle_puts = KVM_MEDIATED_PMU_IDLE_PUTS;
	m->nonzero = ~0ULL;
	m->switches = false;
	kvm_make_request(KVM_REQ_MEDIATED_PMU, vcpu);
}

void kvm_mediated_pmu_reset(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;

	kvm_mediated_pmu_unload(vcpu);
	memset(m->eventsel_hw, 0, sizeof(m->eventsel_hw));
	m->enabled_gp = 0;
	m->fixed_ctr_ctrl_hw = 0;
	m->metrics = 0;
}

/*
 * Decide whether the PMU is handed to the vCPU, which is loaded.  The vendor's code is
 * about to recalculate intercepts and controls, and goes by that.
 */
void kvm_mediated_pmu_recalc(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;

	m->switches = m->active && m->idle_puts < KVM_MEDIATED_PMU_IDLE_PUTS && !perf_keeps_pmu();
	if (!m->switches) {
		kvm_mediated_pmu_unload(vcpu);
		/* If perf keeps the PMU, selectors are enabled. */
		if (m->idle_puts == KVM_MEDIATED_PMU_IDLE_PUTS)
			m->passthrough = 0;
	}

	m->writes_ctrl = kvm_mediated_pmu_regs.ctrl_in_register && m->switches &&
			 m->all_counters && vcpu_to_pmu(vcpu)->version > 1;
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_recalc);
