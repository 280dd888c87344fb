// SPDX-License-Identifier: GPL-2.0
/* Intel's registers of a PMU that guests can have, and what VMX needs for it. */

#include <linux/kvm_host.h>

#include <asm/perf_event.h>

#include "../pmu.h"
#include "../vmx/capabilities.h"
#include "vmx.h"

/* Architectural PMU version 4; the base has no name for it. */
#ifndef MSR_CORE_PERF_GLOBAL_STATUS_SET
#define MSR_CORE_PERF_GLOBAL_STATUS_SET	0x00000391
#endif

static bool model_has_pmu(const struct kvm_cpuid_entry2 *entries, int nr)
{
	const struct kvm_cpuid_entry2 *e;

	for (e = entries; e < entries + nr; e++) {
		if (e->function == 0xa && (e->eax & 0xff))
			return true;
	}

	return false;
}

const struct kvm_mediated_pmu_regs vmx_mediated_pmu_regs = {
	.global_ctrl		= MSR_CORE_PERF_GLOBAL_CTRL,
	.global_status		= MSR_CORE_PERF_GLOBAL_STATUS,
	.global_status_clear	= MSR_CORE_PERF_GLOBAL_OVF_CTRL,
	.global_status_set	= MSR_CORE_PERF_GLOBAL_STATUS_SET,
	.counter		= MSR_IA32_PMC0,
	.eventsel		= MSR_P6_EVNTSEL0,
	.stride			= 1,
	.fixed_counter		= MSR_CORE_PERF_FIXED_CTR0,
	.fixed_ctr_ctrl		= MSR_CORE_PERF_FIXED_CTR_CTRL,
	.model_has_pmu		= model_has_pmu,
};

/* Called when vmcs_config is set up, before KVM's capabilities are. */
void vmx_mediated_pmu_check(void)
{
	if (!cpu_has_load_perf_global_ctrl())
		kvm_mediated_pmu_unavailable("VMX cannot load IA32_PERF_GLOBAL_CTRL");
	else if (!cpu_has_vmx_msr_bitmap())
		kvm_mediated_pmu_unavailable("VMX has no MSR bitmaps");
	else if (kvm_is_using_evmcs())
		kvm_mediated_pmu_unavailable("enlightened VMCSs cannot save IA32_PERF_GLOBAL_CTRL");
	else if (vmx_pt_mode_is_host_guest())
		kvm_mediated_pmu_unavailable("pt_mode=1, guests have Processor Trace");
}
