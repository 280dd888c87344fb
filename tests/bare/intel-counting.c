// SPDX-License-Identifier: GPL-2.0
/* Intel: when a counter counts; the shared rules, then the fixed counters. */
#include "pmu.h"
#include "shared.h"

static void fixed(void)
{
	/* run()'s six instructions and ten NOPs take 16 ticks. */
	static const struct { const char *what; u64 want; } rows[] = {
		{ "instructions", 16 }, { "core cycles, two per tick", 32 },
		{ "reference cycles, one per tick", 16 },
	};
	/*
	 * The same in ring 3: six instructions of in_user() (IRETQ, MOVs, CALL, RET) and ten NOPs.
	 */
	const u64 user = USER_INSNS + 10, kernel = RUN_INSNS + USER_KERNEL;

	for (int i = 0; i < 3; i++) {
		u64 cycles = i == 1 ? 2 : 1;

		is(count(FIXED(i), ALL, ten_nops), rows[i].want, "fixed counter %d: %s", i, rows[i].what);
		is(count_arg(FIXED(i), USR, in_user, (u64)ten_nops), cycles * user, "fixed counter %d: EN=2, ring 3 only", i);
		is(count_arg(FIXED(i), OS, in_user, (u64)ten_nops), cycles * kernel, "fixed counter %d: EN=1, ring 0 only", i);
		is(count(FIXED(i), 0, ten_nops), 0, "fixed counter %d: EN=0, never", i);
	}

	/* As with a general counter, but a fixed counter has no selector of its own. */
	shared_value = 1000;
	is(count_arg(FIXED(0), ALL, write_msr, FIXED_CTR(0)), 1000 + 1 + 2 + 1 + 3, "fixed counter 0 written while it counts");
	shared_value = 0;
	is(count_arg(FIXED(0), ALL, write_msr, MSR_CORE_PERF_FIXED_CTR_CTRL), 5,
	   "fixed counter 0 disabled by FIXED_CTR_CTRL: not that WRMSR");
	is(count_arg(FIXED(0), ALL, write_msr, MSR_CORE_PERF_GLOBAL_CTRL), 5,
	   "fixed counter 0 disabled by GLOBAL_CTRL: not that WRMSR");
	count_arg(FIXED(0), ALL, two_rdpmc, BIT(30));
	is(shared_value, 7, "RDPMC(40000000) twice: the second read sees the first");
}

static void everything(void)
{
	pmu_clear();
	for (int i = 0; i < counters(); i++)
		pmu_set(counter(i), event(INSNS) | ALL);
	run(ten_nops, 0);
	for (int i = 0; i < pmu.gp; i++)
		is(ctr_read(i), 16, "eleven counters at once: %d", i);
	is(ctr_read(FIXED(0)), 16, "eleven counters at once: fixed 0");
	is(ctr_read(FIXED(1)), 32, "eleven counters at once: fixed 1");
	is(ctr_read(FIXED(2)), 16, "eleven counters at once: fixed 2");
}

/* STATUS.CTR_Frz disables all counters while it is set. */
static void frozen(void)
{
	pmu_clear();
	for (int i = 0; i < counters(); i++)
		pmu_set(counter(i), event(INSNS) | ALL);
	wrmsr(MSR_CORE_PERF_GLOBAL_STATUS_SET, CTR_FRZ);
	run(ten_nops, 0);
	for (int i = 0; i < counters(); i++)
		is(ctr_read(counter(i)), 0, "STATUS.CTR_Frz: counter %d is stopped", counter(i));
	wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, CTR_FRZ);
	run(ten_nops, 0);
	is(ctr_read(0), 16, "STATUS.CTR_Frz cleared: a general counter counts");
	is(ctr_read(FIXED(0)), 16, "STATUS.CTR_Frz cleared: a fixed counter counts");
}

void test(void)
{
	counting();
	fixed();
	everything();
	frozen();
}
