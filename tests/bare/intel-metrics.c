// SPDX-License-Identifier: GPL-2.0
/*
 * PERF_METRICS (Intel SDM, volume 3, "Performance Metrics"): where the slots of fixed counter 3
 * went.  Each field is 255 times its share, as defined in tools/machine/README.
 */
#include "pmu.h"
#include "shared.h"

#define ON	(BIT(FIXED(3)) | METRICS)
#define COUNTED	(ON | BIT(FIXED(0)) | 7)	/* with start()'s counters, to compare */

CODE(mixed, "mov $20, %ecx\n1: test $3, %cl\njnz 2f\nnop\n2: call 3f\njmp 4f\n3: ret\n4: dec %ecx\njnz 1b");

static u64 fields(u64 retiring, u64 bad, u64 front, u64 all)
{
	u64 f[3] = { (255 * retiring + all / 2) / all, (255 * bad + all / 2) / all, (255 * front + all / 2) / all };

	return f[0] | f[1] << 8 | f[2] << 16 | (255 - f[0] - f[1] - f[2]) << 24;
}

static void start(void)
{
	pmu_clear();
	wrmsr(MSR_PERF_METRICS, 0);
	pmu_set(FIXED(3), ALL);
	pmu_set(FIXED(0), ALL);
	pmu_set(0, event(BRANCHES) | ALL);
	pmu_set(1, event(MISSES) | ALL);
	pmu_set(2, event(NOT_TAKEN) | ALL);
}

static void all(char *code, const char *what)
{
	u64 slots, v;

	start();
	measure(MSR_CORE_PERF_GLOBAL_CTRL, COUNTED, 0, code, 0);
	slots = ctr_read(FIXED(3));
	v = rdmsr(MSR_PERF_METRICS);
	is(slots, 8 * ctr_read(FIXED(0)), "%s: slots, eight per instruction", what);
	is(v & 0xffffffff, fields(slots / 2, 2 * ctr_read(1), 2 * (ctr_read(0) - ctr_read(2)), slots),
	   "%s: half retires, two slots are lost to a miss, two to a taken branch", what);
	is((v & 0xff) + (v >> 8 & 0xff) + (v >> 16 & 0xff) + (v >> 24 & 0xff), 255, "%s: the sum", what);
	is((v >> 32 & 0xff) <= (v & 0xff) && (v >> 40 & 0xff) <= (v >> 8 & 0xff) && (v >> 48 & 0xff) <= (v >> 16 & 0xff) &&
	   (v >> 56) <= (v >> 24 & 0xff), 1, "%s: no part is more than the whole", what);
	is(rdpmc(RDPMC_METRICS), v, "%s: by RDPMC", what);
}

void test(void)
{
	const u64 some = 100 | 50 << 8 | 60 << 16 | 45 << 24;
	u64 v;

	all(ten_nops, "no loop");
	all(mixed, "calls and branches");

	start();
	measure(MSR_CORE_PERF_GLOBAL_CTRL, BIT(FIXED(3)), 0, mixed, 0);
	is(rdmsr(MSR_PERF_METRICS), 0, "without its bit in GLOBAL_CTRL it counts nothing");
	is(ctr_read(FIXED(3)) > 0, 1, "fixed counter 3 counts");
	/* Enable the metrics after the counter has counted: they have none of that. */
	start();
	measure(MSR_CORE_PERF_GLOBAL_CTRL, BIT(FIXED(3)), COUNTED, mixed, 0);
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
	v = 8 * ctr_read(FIXED(0));
	is(ctr_read(FIXED(3)) > 2 * v, 1, "most of the counter's slots are from before");
	is(rdmsr(MSR_PERF_METRICS) & 0xffffffff,
	   fields(v / 2, 2 * ctr_read(1), 2 * (ctr_read(0) - ctr_read(2)), v),
	   "with the counter enabled before: only since its bit is set");
	start();
	pmu_set(FIXED(3), USR);
	measure(MSR_CORE_PERF_GLOBAL_CTRL, ON, 0, mixed, 0);
	is(rdmsr(MSR_PERF_METRICS), 0, "user mode only: nothing of the kernel");

	/* Write counter and metrics as they were read, in either order. */
	pmu_clear();
	wrmsr(FIXED_CTR(3), 1000000);
	wrmsr(MSR_PERF_METRICS, some);
	is(rdmsr(MSR_PERF_METRICS), some, "written after the counter");
	wrmsr(MSR_PERF_METRICS, 0);
	wrmsr(FIXED_CTR(3), 0);
	wrmsr(MSR_PERF_METRICS, some);
	wrmsr(FIXED_CTR(3), 1000000);
	is(rdmsr(MSR_PERF_METRICS), some, "written before the counter");
	pmu_set(FIXED(3), ALL);
	measure(MSR_CORE_PERF_GLOBAL_CTRL, ON, 0, ten_nops, 0);
	v = rdmsr(MSR_PERF_METRICS);
	is(v & 0xffffffff, some, "a few more slots change nothing");

	start();
	pmi_expect(APIC_DM_NMI);
	pmu_set(FIXED(3), ALL | INT);
	ctr_write(FIXED(3), MINUS(40));
	measure(MSR_CORE_PERF_GLOBAL_CTRL, ON, 0, ten_nops, 0);
	is(status(), BIT(FIXED(3)) | METRICS,
	   "fixed counter 3 has overflowed, and the metrics' bit comes with it");
	is(cpu()->pmi.count, 1, "and interrupts once");
	wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, METRICS);
	is(status(), BIT(FIXED(3)), "the metrics' status is cleared");
	wrmsr(MSR_CORE_PERF_GLOBAL_STATUS_SET, METRICS);
	is(status(), BIT(FIXED(3)) | METRICS, "and set");
	pmu_clear();
	wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, METRICS);
}
