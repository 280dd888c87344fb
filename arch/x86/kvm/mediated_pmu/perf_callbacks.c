// SPDX-License-Identifier: GPL-2.0
/* What perf asks of KVM: to take a guest's PMI, and to give the PMU back. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>
#include <linux/percpu.h>
#include <linux/perf_mediated.h>

#include <asm/apic.h>

#include "internal.h"
#include "trace.h"

/*
 * Hard IRQ context.  The vCPU's thread is on this CPU and not in the guest, so the
 * request is seen before the next VM-entry.
 */
static void handle_pmi(void)
{
	struct kvm_vcpu *vcpu = __this_cpu_read(kvm_mediated_pmu_vcpu);
	struct kvm_pmu *pmu;
	u64 status;

	if (!vcpu)
		return;

	pmu = vcpu_to_pmu(vcpu);

	/* Intel's local APIC masks LVTPC when it delivers the interrupt. */
	if (boot_cpu_data.x86_vendor == X86_VENDOR_INTEL)
		pmu->mediated.lvtpc = APIC_LVT_MASKED;

	/* A guest without a status register cannot clear it to have the next PMI raised. */
	if (pmu->version < 2 && pmu->mediated.loaded) {
		rdmsrl(kvm_mediated_pmu_regs.global_status, status);
		wrmsrl(kvm_mediated_pmu_regs.global_status_clear, status);
	}

	++vcpu->stat.pmu_pmis;
	trace_kvm_pmu_pmi(vcpu->vcpu_id, pmu->mediated.loaded);
	kvm_make_request(KVM_REQ_PMI, vcpu);
}

static const struct perf_mediated_ops ops = {
	.pmi		= handle_pmi,
	.reclaim	= kvm_mediated_pmu_reclaim,
};

/* The vendor's module has been loaded; kvm_mediated_pmu_check() found the registers. */
void kvm_mediated_pmu_start(void)
{
	if (!enable_mediated_pmu)
		return;

	perf_set_mediated_ops(&ops);
	static_branch_enable(&kvm_mediated_pmu_used);
	pr_info("mediated vPMU enabled\n");
}

/* The vendor's module is unloaded, and no VM is left. */
void kvm_mediated_pmu_stop(void)
{
	if (static_key_enabled(&kvm_mediated_pmu_used)) {
		static_branch_disable(&kvm_mediated_pmu_used);
		perf_set_mediated_ops(NULL);
	}
	/* The parameter belongs to the vendor's module, and the variable outlives that. */
	enable_mediated_pmu = false;
}
