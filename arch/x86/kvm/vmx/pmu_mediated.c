// SPDX-License-Identifier: GPL-2.0
/*
 * VMX's part in a mediated vPMU: the global control at VM-entry and VM-exit, and
 * what the guest may access without an exit.
 *
 * VM-entry loads the guest's global control and VM-exit loads 0, so the guest's
 * counters stand in the host.  VM-exit also has to save it, for afterwards it is
 * gone: by a control of its own, or where the CPU has none by the list of MSRs
 * that are stored.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include <asm/perf_event.h>

#include "../x86.h"
#include "../cpuid.h"
#include "../pmu.h"
#include "capabilities.h"
#include "pmu_mediated.h"
#include "vmx.h"

/* Of version 4; the base does without. */
#ifndef MSR_CORE_PERF_GLOBAL_STATUS_SET
#define MSR_CORE_PERF_GLOBAL_STATUS_SET	0x00000391
#endif

const struct kvm_mediated_pmu_regs vmx_mediated_pmu_regs = {
	.global_ctrl		= MSR_CORE_PERF_GLOBAL_CTRL,
	.global_status		= MSR_CORE_PERF_GLOBAL_STATUS,
	.global_status_clear	= MSR_CORE_PERF_GLOBAL_OVF_CTRL,
	.global_status_set	= MSR_CORE_PERF_GLOBAL_STATUS_SET,
	.counter		= MSR_IA32_PMC0,
	.selector		= MSR_P6_EVNTSEL0,
	.stride			= 1,
	.fixed_counter		= MSR_CORE_PERF_FIXED_CTR0,
	.fixed_ctrl		= MSR_CORE_PERF_FIXED_CTR_CTRL,
};

/* The global control's place in the list of MSRs to store; it is the first to come. */
#define STORE_SLOT	0

static bool exit_saves_ctrl(void)
{
	return vmcs_config.vmexit_ctrl & VM_EXIT_SAVE_IA32_PERF_GLOBAL_CTRL;
}

/* With vmcs_config set up, and before KVM's capabilities are. */
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

/* For each VMCS that the vCPU will run with, when it is new and loaded. */
void vmx_mediated_pmu_init_vmcs(struct vcpu_vmx *vmx)
{
	if (!vmx->vcpu.kvm->arch.mediated_pmu)
		return;

	vmcs_write64(HOST_IA32_PERF_GLOBAL_CTRL, 0);
	vmcs_write64(GUEST_IA32_PERF_GLOBAL_CTRL, 0);
	vmx->loaded_vmcs->perf_global_ctrl = 0;
}

/*
 * Behind the basic controls of vmcs01; a vmcs02 takes them from there.  What is
 * loaded is 0 as long as the vCPU has no vPMU, see atomic_switch_perf_msrs().
 */
void vmx_mediated_pmu_init_controls(struct vcpu_vmx *vmx)
{
	struct vmx_msrs *store = &vmx->msr_autostore.guest;

	if (!vmx->vcpu.kvm->arch.mediated_pmu)
		return;

	vm_entry_controls_setbit(vmx, VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL);
	vm_exit_controls_setbit(vmx, VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL);
	if (exit_saves_ctrl()) {
		vm_exit_controls_setbit(vmx, VM_EXIT_SAVE_IA32_PERF_GLOBAL_CTRL);
		return;
	}

	store->val[STORE_SLOT].index = MSR_CORE_PERF_GLOBAL_CTRL;
	store->nr = STORE_SLOT + 1;
	vmcs_write64(VM_EXIT_MSR_STORE_ADDR, __pa(store->val));
	vmcs_write32(VM_EXIT_MSR_STORE_COUNT, store->nr);
}

/* When the vCPU's model has been set.  To exit is never wrong. */
void vmx_mediated_pmu_set_rdpmc(struct kvm_vcpu *vcpu)
{
	struct vcpu_vmx *vmx = to_vmx(vcpu);

	if (!vcpu->kvm->arch.mediated_pmu || is_guest_mode(vcpu))
		return;

	if (vmx_mediated_pmu_rdpmc_exits(vcpu))
		exec_controls_setbit(vmx, CPU_BASED_RDPMC_EXITING);
	else
		exec_controls_clearbit(vmx, CPU_BASED_RDPMC_EXITING);
}

/* RDPMC reads whichever counter the CPU has; a guest shall read its own only. */
bool vmx_mediated_pmu_rdpmc_exits(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	return !kvm_pmu_is_mediated(pmu) || !pmu->mediated.all_counters || enable_vmware_backdoor;
}

void vmx_mediated_pmu_set_intercepts(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	bool active = kvm_pmu_is_mediated(pmu);
	bool gp, fixed, global, full_width;
	int i;

	if (!vcpu->kvm->arch.mediated_pmu)
		return;

	/* A narrower counter is one that KVM has to make. */
	gp = active && pmu->counter_bitmask[KVM_PMC_GP] == kvm_mediated_pmu_host.gp_mask;
	fixed = active && pmu->counter_bitmask[KVM_PMC_FIXED] == kvm_mediated_pmu_host.fixed_mask;
	full_width = guest_cpuid_has(vcpu, X86_FEATURE_PDCM) &&
		     (vcpu->arch.perf_capabilities & PMU_CAP_FW_WRITES);
	/* Hardware accepts bits of all counters that it has. */
	global = active && pmu->mediated.all_counters && kvm_pmu_has_perf_global_ctrl(pmu);

	for (i = 0; i < KVM_MAX_NR_INTEL_GP_COUNTERS; i++) {
		bool exit = !gp || i >= pmu->nr_arch_gp_counters;

		vmx_set_intercept_for_msr(vcpu, MSR_IA32_PERFCTR0 + i, MSR_TYPE_RW, exit);
		vmx_set_intercept_for_msr(vcpu, MSR_IA32_PMC0 + i, MSR_TYPE_RW,
					  exit || !full_width);
	}
	for (i = 0; i < KVM_MAX_NR_INTEL_FIXED_COUTNERS; i++)
		vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_FIXED_CTR0 + i, MSR_TYPE_RW,
					  !fixed || i >= pmu->nr_arch_fixed_counters);

	vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_GLOBAL_CTRL, MSR_TYPE_RW, !global);
	vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS, MSR_TYPE_R, !global);
	vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_GLOBAL_OVF_CTRL, MSR_TYPE_RW, !global);
}

/* For the bitmap of a nested guest, which lets through what L0's and L1's both do. */
u32 vmx_mediated_pmu_msr(unsigned int i)
{
	static const struct {
		u32 msr;
		unsigned int nr;
	} ranges[] = {
		{ MSR_IA32_PERFCTR0,		KVM_MAX_NR_INTEL_GP_COUNTERS },
		{ MSR_IA32_PMC0,		KVM_MAX_NR_INTEL_GP_COUNTERS },
		{ MSR_CORE_PERF_FIXED_CTR0,	KVM_MAX_NR_INTEL_FIXED_COUTNERS },
		/* Status, control and status reset. */
		{ MSR_CORE_PERF_GLOBAL_STATUS,	3 },
	};
	unsigned int range = 0;

	while (i >= ranges[range].nr)
		i -= ranges[range++].nr;

	return ranges[range].msr + i;
}

void __vmx_mediated_pmu_entry(struct vcpu_vmx *vmx)
{
	u64 ctrl = kvm_mediated_pmu_ctrl(vcpu_to_pmu(&vmx->vcpu));

	/* An entry that fails stores nothing. */
	if (!exit_saves_ctrl())
		vmx->msr_autostore.guest.val[STORE_SLOT].value = ctrl;

	if (vmx->loaded_vmcs->perf_global_ctrl == ctrl)
		return;

	vmcs_write64(GUEST_IA32_PERF_GLOBAL_CTRL, ctrl);
	vmx->loaded_vmcs->perf_global_ctrl = ctrl;
}

void __vmx_mediated_pmu_exited(struct vcpu_vmx *vmx)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(&vmx->vcpu);

	if (!kvm_pmu_has_perf_global_ctrl(pmu))
		return;

	if (exit_saves_ctrl()) {
		pmu->global_ctrl = vmcs_read64(GUEST_IA32_PERF_GLOBAL_CTRL);
		vmx->loaded_vmcs->perf_global_ctrl = pmu->global_ctrl;
	} else {
		pmu->global_ctrl = vmx->msr_autostore.guest.val[STORE_SLOT].value;
	}
}
