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
#include "nested.h"
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

/* Of IA32_PERF_CAPABILITIES; the base does without, too. */
#define PMU_CAP_SMM_FREEZE	BIT_ULL(12)

/* In place of a value in the VMCS that perf's own way may have changed. */
#define CTRL_UNKNOWN	(~0ULL)

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

/* Can the CPU keep its counters from counting what SMIs execute? */
static bool cpu_freezes_in_smm(void)
{
	u64 caps;

	if (!boot_cpu_has(X86_FEATURE_PDCM))
		return false;

	rdmsrl(MSR_IA32_PERF_CAPABILITIES, caps);
	return caps & PMU_CAP_SMM_FREEZE;
}

/* For a VMCS that is new, and loaded: what VM-exit loads into a PMU that is a guest's. */
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
 * The list of MSRs to store is one of the vCPU, for both VMCSs; entries for L2 come
 * and go behind the global control.
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

/* RDPMC reads whichever counter the CPU has; a guest shall read its own only. */
static bool rdpmc_exits(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);

	return !kvm_mediated_pmu_switches(pmu) || !pmu->mediated.all_counters ||
	       enable_vmware_backdoor ||
	       (is_guest_mode(vcpu) && nested_cpu_has(get_vmcs12(vcpu), CPU_BASED_RDPMC_EXITING));
}

/* Of the VMCS that is loaded. */
static void set_controls(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct vcpu_vmx *vmx = to_vmx(vcpu);
	bool active = kvm_mediated_pmu_switches(pmu);

	if (!exit_saves_ctrl())
		set_store_list(vmx, active);
	else if (active)
		vm_exit_controls_setbit(vmx, VM_EXIT_SAVE_IA32_PERF_GLOBAL_CTRL);
	else
		vm_exit_controls_clearbit(vmx, VM_EXIT_SAVE_IA32_PERF_GLOBAL_CTRL);

	/* Without a mediated vPMU, the two that load are perf's, see atomic_switch_perf_msrs(). */
	if (kvm_pmu_is_mediated(pmu)) {
		vm_entry_controls_setbit(vmx, VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL);
		vm_exit_controls_setbit(vmx, VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL);
		vmx_mediated_pmu_init_vmcs(vmx);
	} else {
		vm_entry_controls_clearbit(vmx, VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL);
		vm_exit_controls_clearbit(vmx, VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL);
	}

	if (rdpmc_exits(vcpu))
		exec_controls_setbit(vmx, CPU_BASED_RDPMC_EXITING);
	else
		exec_controls_clearbit(vmx, CPU_BASED_RDPMC_EXITING);

	/* What the host's SMIs execute is none of the guest's affair. */
	pmu->mediated.debugctl = active && cpu_freezes_in_smm() ? DEBUGCTLMSR_FREEZE_IN_SMM : 0;
	vmx_guest_debugctl_write(vcpu, vmx_guest_debugctl_read());
}

static void set_intercepts(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	bool active = kvm_mediated_pmu_switches(pmu);
	bool gp, fixed, global, full_width, exit;
	int i;

	/* A narrower counter is one that KVM has to make. */
	gp = active && pmu->counter_bitmask[KVM_PMC_GP] == kvm_mediated_pmu_host.gp_mask;
	fixed = active && pmu->counter_bitmask[KVM_PMC_FIXED] == kvm_mediated_pmu_host.fixed_mask;
	full_width = guest_cpuid_has(vcpu, X86_FEATURE_PDCM) &&
		     (vcpu->arch.perf_capabilities & PMU_CAP_FW_WRITES);
	/*
	 * Hardware accepts bits of all counters that it has.  That of PERF_METRICS does
	 * no harm: what a guest that is not to have them makes count is its own, and gone
	 * with the next put.
	 */
	global = active && pmu->mediated.all_counters && kvm_pmu_has_perf_global_ctrl(pmu);

	for (i = 0; i < KVM_MAX_NR_INTEL_GP_COUNTERS; i++) {
		exit = !gp || i >= pmu->nr_arch_gp_counters || !kvm_mediated_pmc_is_open(pmu, i);
		vmx_set_intercept_for_msr(vcpu, MSR_IA32_PERFCTR0 + i, MSR_TYPE_RW, exit);
		vmx_set_intercept_for_msr(vcpu, MSR_IA32_PMC0 + i, MSR_TYPE_RW,
					  exit || !full_width);
	}
	for (i = 0; i < KVM_MAX_NR_INTEL_FIXED_COUTNERS; i++) {
		exit = !fixed || i >= pmu->nr_arch_fixed_counters ||
		       !kvm_mediated_pmc_is_open(pmu, KVM_FIXED_PMC_BASE_IDX + i);
		vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_FIXED_CTR0 + i, MSR_TYPE_RW, exit);
	}
	/* Together with the last of them, that of slots. */
	vmx_set_intercept_for_msr(vcpu, MSR_PERF_METRICS, MSR_TYPE_RW,
				  exit || !kvm_mediated_pmu_has_metrics(pmu));

	vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_GLOBAL_CTRL, MSR_TYPE_RW, !global);
	vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_GLOBAL_STATUS, MSR_TYPE_R, !global);
	vmx_set_intercept_for_msr(vcpu, MSR_CORE_PERF_GLOBAL_OVF_CTRL, MSR_TYPE_RW, !global);
}

/*
 * All that depends on what the vCPU's PMU is like, on whether it needs the CPU's,
 * and on userspace's MSR filter: on KVM_REQ_MSR_FILTER_CHANGED, which each change
 * of them makes.
 *
 * MSR intercepts are made up for L1, and merged with what L1 intercepts for L2.
 * Controls are those of the VMCS that is loaded.  In L2 that is vmcs02; vmcs01's are
 * made up when it is loaded again, and a new vmcs02 takes them from there.
 */
void vmx_mediated_pmu_recalc(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;

	if (!static_branch_unlikely(&kvm_mediated_pmu_used))
		return;

	kvm_mediated_pmu_recalc(vcpu);
	set_controls(vcpu);
	set_intercepts(vcpu);

	m->recalc_l1 = is_guest_mode(vcpu);
	if (m->recalc_l1)
		nested_vmx_refresh_msr_bitmap(vcpu);
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
		{ MSR_PERF_METRICS,		1 },
		/* Status, control and status reset. */
		{ MSR_CORE_PERF_GLOBAL_STATUS,	3 },
	};
	unsigned int range = 0;

	while (i >= ranges[range].nr)
		i -= ranges[range++].nr;

	return ranges[range].msr + i;
}

bool __vmx_mediated_pmu_entry(struct vcpu_vmx *vmx)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(&vmx->vcpu);
	struct loaded_vmcs *vmcs = vmx->loaded_vmcs;
	struct perf_guest_switch_msr *msrs;
	u64 guest, host = 0;
	int nr;

	if (!pmu->mediated.switches) {
		/* Events of the host that exclude guests; without PEBS this is all there is. */
		msrs = perf_guest_get_msrs(&nr, NULL);
		if (nr != 1) {
			vmcs->perf_global_ctrl = CTRL_UNKNOWN;
			return false;
		}
		guest = msrs->guest;
		host = msrs->host;
	} else {
		guest = kvm_mediated_pmu_ctrl(pmu);
		/* An entry that fails stores nothing. */
		if (!exit_saves_ctrl())
			vmx->msr_autostore.guest.val[STORE_SLOT].value = guest;
	}

	if (vmcs->perf_global_ctrl == guest && vmcs->perf_global_ctrl_host == host)
		return true;

	vmcs_write64(GUEST_IA32_PERF_GLOBAL_CTRL, guest);
	vmcs_write64(HOST_IA32_PERF_GLOBAL_CTRL, host);
	vmcs->perf_global_ctrl = guest;
	vmcs->perf_global_ctrl_host = host;
	return true;
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

	/* Hardware takes the bit of PERF_METRICS also from a guest that has none. */
	pmu->global_ctrl = ctrl & ~pmu->global_ctrl_rsvd;
}

/*
 * RDPMC has exited.  Where the global control does so, too, it is what it was.  If the
 * exit reports something else with it, as a bus lock, that is for the long way.
 *
 * Return: whether the guest can go on at once, with the VMCS ready for VM-entry.  If
 * not, @rdpmc says what is left to do.
 */
bool vmx_mediated_pmu_rdpmc(struct vcpu_vmx *vmx)
{
	struct kvm_vcpu *vcpu = &vmx->vcpu;
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;

	m->rdpmc = m->all_counters || vmx->exit_reason.full != EXIT_REASON_RDPMC ?
		   EXIT_FASTPATH_NONE : kvm_mediated_pmu_rdpmc(vcpu);
	if (m->rdpmc != EXIT_FASTPATH_REENTER_GUEST)
		return false;

	vmcs_writel(GUEST_RIP, kvm_rip_read(vcpu));
	vcpu->arch.regs_dirty = 0;
	vmx->loaded_vmcs->launched = 1;
	return true;
}
