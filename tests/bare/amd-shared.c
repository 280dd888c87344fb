// SPDX-License-Identifier: GPL-2.0
/*
 * AMD's counters after those of the core, which CPUs share: of the northbridge (data fabric) and of
 * the last level cache.  Also LbrAndPmcFreeze.  (APM, volume 2, "Performance Monitoring Counters";
 * volume 3, RDPMC.)
 */
#include "pmu.h"
#include "shared.h"

static void counter_of(u32 ctl, u32 index, const char *what)
{
	u64 a, b, v = 0;

	wrmsr(ctl, 0);
	wrmsr(ctl + 1, 12345);
	is(rdmsr(ctl + 1), 12345, "%s: can be written", what);
	is(rdpmc_safe(index, &v), 0, "%s: RDPMC %x", what, index);
	is(v, 12345, "%s: RDPMC reads what was written", what);
	wrmsr(ctl, EN | 0x1f);
	is(rdmsr(ctl), EN | 0x1f, "%s: its control", what);
	a = rdpmc(index);
	for (volatile int i = 0; i < 100; i++)
		;
	b = rdpmc(index);
	check(b - a > 100 && b - a < 10000, "%s: counts the clock, %d of it", what, (int)(b - a));
	wrmsr(ctl, 0);
	a = rdmsr(ctl + 1);
	is(rdpmc(index), a, "%s: is stopped", what);
	wrmsr(ctl + 1, 0);
}

static void freeze(void)
{
	pmu_clear();
	pmi_expect(APIC_DM_NMI);
	wrmsr(MSR_IA32_DEBUGCTLMSR, FREEZE_ON_PMI);
	pmu_set(0, event(INSNS) | ALL | INT);
	pmu_set(1, event(INSNS) | ALL);
	ctr_write(0, MINUS(5));
	run(ten_nops, 0);
	is(cpu()->pmi.count, 1, "freeze on PMI: one");
	is(status(), 1 | CTR_FRZ, "freeze on PMI: the status says so");
	is(ctr_read(0), 0, "freeze on PMI: the counter is stopped at its overflow");
	is(ctr_read(1), 5, "freeze on PMI: the others are stopped at the same instruction");
	wrmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, 1 | CTR_FRZ);
	wrmsr(MSR_IA32_DEBUGCTLMSR, 0);
	run(ten_nops, 0);
	is(ctr_read(0), RUN_INSNS + 10,
	   "freeze on PMI: the counters count again when software ends it");
	pmu_clear();
}

void test(void)
{
	for (int n = 0; n < 4; n++)
		counter_of(NB_CTL(n), 6 + n, "northbridge");
	for (int n = 0; n < 6; n++)
		counter_of(L3_CTL(n), 10 + n, "L3");
	if (pmu.version > 1)
		freeze();
}
