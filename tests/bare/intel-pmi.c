// SPDX-License-Identifier: GPL-2.0
/* Intel: the performance monitoring interrupt; the shared rules, then freezing and x2APIC. */
#include "pmu.h"
#include "shared.h"

static u64 at_pmi[2];

/* Read in the handler, while frozen: the handler's own instructions do not count. */
static void read_both(struct frame *f)
{
	(void)f;
	at_pmi[0] = ctr_read(0);
	at_pmi[1] = ctr_read(FIXED(0));
}

static void read_and_thaw(struct frame *f)
{
	read_both(f);
	wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, 1 | CTR_FRZ);
}

static void freeze(u32 lvt, const char *how)
{
	pmu_clear();
	wrmsr(MSR_IA32_DEBUGCTLMSR, FREEZE_ON_PMI);
	is(rdmsr(MSR_IA32_DEBUGCTLMSR), FREEZE_ON_PMI, "DEBUGCTL[12] freeze on PMI can be set");
	pmi_expect(lvt);
	cpu()->pmi_action = read_both;
	pmu_set(0, event(INSNS) | ALL | INT);
	ctr_write(0, MINUS(7));
	pmu_set(FIXED(0), ALL);
	sti();
	run(ten_nops, 0);
	is(cpu()->pmi.count, 1, "freeze on PMI, %s: one interrupt", how);
	is(cpu()->pmi.status, 1 | CTR_FRZ, "freeze on PMI, %s: STATUS.CTR_Frz in the handler", how);
	is(at_pmi[0], 0, "freeze on PMI, %s: the counter is stopped at its overflow", how);
	is(at_pmi[1], 7, "freeze on PMI, %s: the others are stopped at the same instruction", how);
	is(ctr_read(0), 0, "freeze on PMI, %s: it lasts until software ends it", how);

	/* The freeze does not clear GLOBAL_CTRL, as it did before version 4. */
	pmu_clear();
	pmi_expect(lvt);
	ctr_write(0, MINUS(7));
	pmu_set(0, event(INSNS) | ALL | INT);
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 1);
	asm volatile(".rept 20\n nop\n .endr" : : : "memory");
	is(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), 1, "freeze on PMI, %s: GLOBAL_CTRL is unchanged",
	   how);
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);

	pmu_clear();
	pmi_expect(lvt);
	cpu()->pmi_action = read_and_thaw;
	pmu_set(0, event(INSNS) | USR | INT);
	/*
	 * Ring 3: IRETQ, three MOVs, CALL, ten NOPs, RET.  The seventh overflows, and the handler's
	 * IRETQ adds one.
	 */
	ctr_write(0, MINUS(7));
	run(in_user, (u64)ten_nops);
	is(at_pmi[0], 0, "freeze on PMI, %s: ended by the handler, value there", how);
	is(ctr_read(0), USER_INSNS + 10 + 1 - 7,
	   "freeze on PMI, %s: ended by the handler, counting continues", how);
	is(rdmsr(MSR_CORE_PERF_GLOBAL_STATUS), 0, "freeze on PMI, %s: ended by the handler, status",
	   how);

	/* Without INT there is no PMI, and nothing to freeze. */
	pmu_clear();
	pmi_expect(lvt);
	pmu_set(0, event(INSNS) | ALL);
	ctr_write(0, MINUS(7));
	run(ten_nops, 0);
	is(ctr_read(0), RUN_INSNS + 10 - 7, "freeze on PMI, %s: no PMI, no freeze", how);
	cli();
	wrmsr(MSR_IA32_DEBUGCTLMSR, 0);
	pmu_clear();
}

static void x2apic(void)
{
	u64 lvt;

	if (!(cpuid(1).ecx & BIT(21)))
		return;
	pmu_clear();
	pmi_expect(APIC_DM_NMI);
	x2apic_on();
	pmu_set(0, event(INSNS) | ALL | INT);
	ctr_write(0, MINUS(2 + 5));
	run(ten_nops, 0);
	is(cpu()->pmi.count, 1, "x2APIC: one interrupt");
	is(cpu()->pmi.rip, (u64)ten_nops + 5, "x2APIC: follows the instruction that overflows");
	is(rdmsr_safe(MSR_X2APIC_LVTPC, &lvt), 0, "x2APIC: the entry is MSR 834H");
	is(lvt, APIC_DM_NMI | APIC_LVT_MASKED, "x2APIC: masked by the delivery");
	is(wrmsr_safe(MSR_X2APIC_LVTPC, APIC_DM_NMI), 0, "x2APIC: MSR 834H can be written");
	wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, 1);
	ctr_write(0, MINUS(2 + 5));
	run(ten_nops, 0);
	is(cpu()->pmi.count, 2, "x2APIC: the next one after unmasking");
	pmu_clear();
}

void test(void)
{
	pmis();
	freeze(V_PMI, "fixed vector");
	freeze(APIC_DM_NMI, "NMI");
	x2apic();
}
