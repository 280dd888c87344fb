// SPDX-License-Identifier: GPL-2.0
/* Intel without FREEZE_WHILE_SMM (freeze_smm=0): it is not enumerated, and its bit is reserved. */
#include "pmu.h"

CODE(smi, "movabs $0x4b564d504d550006, %rax\n mov $2, %ecx\n xchg %bx, %bx\n .rept 10\n nop\n .endr");

void test(void)
{
	is(rdmsr(MSR_IA32_PERF_CAPABILITIES) >> 12 & 1, 0, "PERF_CAPABILITIES[12] is 0");
	is(rdmsr(MSR_IA32_PERF_CAPABILITIES) >> 13 & 1, 1, "PERF_CAPABILITIES[13] is 1");
	is(wrmsr_safe(MSR_IA32_DEBUGCTLMSR, BIT(14)), 13, "DEBUGCTL[14] is reserved: #GP");
	is(wrmsr_safe(MSR_IA32_DEBUGCTLMSR, FREEZE_ON_PMI), 0, "DEBUGCTL[12] is not");
	wrmsr(MSR_IA32_DEBUGCTLMSR, 0);
	is(count(0, event(INSNS) | ALL, smi), RUN_INSNS + 13 + 16, "what SMM executes is counted");
}
