// SPDX-License-Identifier: GPL-2.0
/*
 * The global control of a mediated vPMU at VM-entry and VM-exit of VMX.
 *
 * VM-entry loads the guest's global control and VM-exit loads 0, so the guest's counters
 * do not count in the host.  VM-exit also has to save the guest's value, which is lost
 * otherwise: by an exit control of its own, or by the list of MSRs to store on CPUs that
 * have no such control.
 */
#include <linux/kvm_host.h>

#include <asm/perf_event.h>

#include "../cpuid.h"
#include "../pmu.h"
#include "../vmx/capabilities.h"
#include "../vmx/nested.h"
#include "../x86.h"
#include "vmx.h"

/* In IA32_PERF_CAPABILITIES; the base has no name for it either. */
#define PMU_CAP_SMM_FREEZE	BIT_ULL(12)

/* The place of the global control in the list of MSRs to store: the first one. */
#define STORE_SLOT	0

static bool exit_saves_ctrl(void)
{
	return vmcs_config.vmexit_ctrl & VM_EXIT_SAVE_IA32_PERF_GLOBAL_CTRL;
}

/* Can the CPU keep its counters from counting in SMM? */
static bool cpu_freezes_in_smm(void)
{
	u64 caps;

	if (!boot_cpu_has(X86_FEATURE_PDCM))
		return false;

	rdmsrl(MSR_IA32_PERF_CAPABILITIES, caps);
	return caps & PMU_CAP_SMM_FREEZE;
}

/* For a new VMCS, which is loaded: the values of the control in the host and in the guest. */
void vmx_mediated_pmu_init_vmcs(struct vcpu_vmx *vmx)
{
	if (!static_branch_unlikely(&kvm_mediated_pmu_used))
		return;

	vmcs_write64(HOST_IA32_PERF_GLOBAL_CTRL, 0);
	vmcs_write64(GUEST_IA32_PERF_GLOBAL_CTRL, 0);
	vmx->loaded_vmcs->perf_global_ctrl = 0;
	vmx->loaded_vmcs->perf_global_ctrl_host = 0;
}

/*
 * The vCPU has one list of MSRs to store for both of its VMCSs.  Entries for L2 come and
 * go after the global control.
 */
static void set_store_list(struct vcpu_vmx *vmx, bool active)
{
	struct vmx_msrs *store = &vmx->msr_autostore.guest;
	bool stored = store->nr && store->val[STORE_SLOT].index == MSR_CORE_PERF_GLOBAL_CTRL;

	if (active && !stored && !WARN_ON_ONCE(store->nr == MAX_NR_LOADSTORE_MSRS)) {
		memmove(&store->val[STORE_SLOT + 1], &store->val[STORE_SLOT],
			store->nr++ * sizeof(store->val[0]));
		store->val[STORE_SLOT].index = MSR_CORE_PERF_GLOBAL_CTRL;
	} else if (!active && stored) {
		memmove(&store->val[STORE_SLOT], &store->val[STORE_SLOT + 1],
			--store->nr * sizeof(store->val[0]));
	}

	vmcs_write64(VM_EXIT_MSR_STORE_ADDR, __pa(store->val));
	vmcs_write32(VM_EXIT_MSR_STORE_COUNT, is_guest_mode(&vmx->vcpu) ? store->nr : active);
}

/* Before an entry into L2.  The list may have changed while the VMCS of L1 was loaded. */
void __vmx_mediated_pmu_enter_l2(struct vcpu_vmx *vmx)
{
	if (!exit_saves_ctrl())
		vmcs_write32(VM_EXIT_MSR_STORE_COUNT, vmx->msr_autostore.guest.nr);
}

/* Set the controls of the VMCS that is loaded. */
void vmx_mediated_pmu_set_controls(struct kvm_vcpu *vcpu)
{
	struct vcpu_vmx *vmx = to_vmx(vcpu);
	bool active = kvm_mediated_pmu_switches(vcpu);

	if (!exit_saves_ctrl())
		set_store_list(vmx, active);
	else if (active)
		vm_exit_controls_setbit(vmx, VM_EXIT_SAVE_IA32_PERF_GLOBAL_CTRL);
	else
		vm_exit_controls_clearbit(vmx, VM_EXIT_SAVE_IA32_PERF_GLOBAL_CTRL);

	/* Without a mediated vPMU, atomic_switch_perf_msrs() sets the two that load. */
	if (kvm_vcpu_has_mediated_pmu(vcpu)) {
		vm_entry_controls_setbit(vmx, VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL);
		vm_exit_controls_setbit(vmx, VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL);
		vmx_mediated_pmu_init_vmcs(vmx);
	} else {
		vm_entry_controls_clearbit(vmx, VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL);
		vm_exit_controls_clearbit(vmx, VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL);
	}

	/* Keep what the host's SMIs execute out of the guest's counters. */
	vcpu->arch.pmu.mediated.debugctl =
		active && cpu_freezes_in_smm() ? DEBUGCTLMSR_FREEZE_IN_SMM : 0;
	vmx_guest_debugctl_write(vcpu, vmx_guest_debugctl_read());
}

void __vmx_mediated_pmu_entry(struct vcpu_vmx *vmx)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(&vmx->vcpu);
	struct loaded_vmcs *vmcs = vmx->loaded_vmcs;
	struct perf_guest_switch_msr *msrs;
	u64 guest, host = 0;
	int nr;

	if (!pmu->mediated.switches) {
		/*
		 * Host events that exclude guests.  The first one is the global control,
		 * which also keeps PEBS out of the guest, see perf_check_mediated_pmu().
		 * The others are for guests that have PEBS.
		 */
		msrs = perf_guest_get_msrs(&nr, pmu);
		guest = msrs->guest;
		host = msrs->host;
	} else {
		guest = kvm_mediated_pmu_ctrl(pmu);
		/* A VM-entry that fails stores nothing. */
		if (!exit_saves_ctrl())
			vmx->msr_autostore.guest.val[STORE_SLOT].value = guest;
	}

	if (vmcs->perf_global_ctrl == guest && vmcs->perf_global_ctrl_host == host)
		return;

	vmcs_write64(GUEST_IA32_PERF_GLOBAL_CTRL, guest);
	vmcs_write64(HOST_IA32_PERF_GLOBAL_CTRL, host);
	vmcs->perf_global_ctrl = guest;
	vmcs->perf_global_ctrl_host = host;
}

void __vmx_mediated_pmu_exited(struct vcpu_vmx *vmx)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(&vmx->vcpu);
	u64 ctrl;

	if (!kvm_pmu_has_perf_global_ctrl(pmu))
		return;

	if (exit_saves_ctrl()) {
		ctrl = vmcs_read64(GUEST_IA32_PERF_GLOBAL_CTRL);
		vmx->loaded_vmcs->perf_global_ctrl = ctrl;
	} else {
		ctrl = vmx->msr_autostore.guest.val[STORE_SLOT].value;
	}

	/* Hardware takes the enable bit of PERF_METRICS from a guest without them, too. */
	pmu->global_ctrl = ctrl & ~pmu->global_ctrl_rsvd;
}
