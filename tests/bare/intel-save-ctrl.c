// SPDX-License-Identifier: GPL-2.0
/*
 * Intel, a CPU whose VM-exits cannot save GLOBAL_CTRL (save_ctrl=0), as Ice Lake and older.  They
 * can load it.
 */
#include "shared.h"
#include "vmx.h"

void test(void)
{
	vmx_on();
	vmx_new();
	is(rdmsr(0x483) >> 32 & EXIT_SAVE_GLOBAL_CTRL, 0, "IA32_VMX_EXIT_CTLS does not allow it");
	is(rdmsr(MSR_IA32_VMX_TRUE_EXIT_CTLS) >> 32 & EXIT_SAVE_GLOBAL_CTRL, 0,
	   "IA32_VMX_TRUE_EXIT_CTLS does not allow it");
	check(vmx_may(EXIT_CONTROLS, EXIT_LOAD_GLOBAL_CTRL), "VM-exit can load GLOBAL_CTRL");
	check(vmx_may(ENTRY_CONTROLS, ENTRY_LOAD_GLOBAL_CTRL), "VM-entry can load GLOBAL_CTRL");

	pmu_clear();
	pmu_set(0, event(INSNS) | ALL);
	vmx_set(ENTRY_CONTROLS, ENTRY_LOAD_GLOBAL_CTRL);
	vmx_set(EXIT_CONTROLS, EXIT_LOAD_GLOBAL_CTRL);
	vmwrite(GUEST_GLOBAL_CTRL, 1);
	vmwrite(HOST_GLOBAL_CTRL, 0);
	measure(MSR_CORE_PERF_GLOBAL_CTRL, 0, 0, vmx_launch, (u64)ten_nops);
	is(vmread(EXIT_REASON), 18, "the guest runs");
	is(ctr_read(0), GUEST_INSNS + 10, "and counts");

	vmx_new();
	vmwrite(EXIT_CONTROLS, vmread(EXIT_CONTROLS) | EXIT_SAVE_GLOBAL_CTRL);
	measure(MSR_CORE_PERF_GLOBAL_CTRL, 0, 0, vmx_launch, (u64)ten_nops);
	is(vmx_failed.valid, 1, "with the control set: VMLAUNCH fails");
	is(vmread(INSN_ERROR), 7, "with the control set: invalid control field");
}
