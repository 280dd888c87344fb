// SPDX-License-Identifier: GPL-2.0
/*
 * AMD without PerfMonV2 (perfmon: version=1), as Zen 3 and older: no global registers.  The shared
 * rules hold.
 */
#include "pmu.h"
#include "shared.h"

void test(void)
{
	static const u32 absent[] = { MSR_AMD64_PERF_CNTR_GLOBAL_STATUS,
				      MSR_AMD64_PERF_CNTR_GLOBAL_CTL,
				      MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR,
				      MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET };
	static const u32 outside[] = { 6, 31, 0x40000000, 0xffffffff };
	u64 v;

	is(pmu.version, 1, "CPUID.80000022H:EAX[0] no PerfMonV2, or no such leaf");
	is(cpuid(0x80000001).ecx >> 23 & 1, 1, "CPUID.80000001H:ECX[23] six core counters");
	for (u64 i = 0; i < ARRAY_SIZE(absent); i++) {
		is(rdmsr_safe(absent[i], &v), 13, "MSR %x does not exist: RDMSR raises #GP",
		   absent[i]);
		is(wrmsr_safe(absent[i], 0), 13, "MSR %x does not exist: WRMSR raises #GP",
		   absent[i]);
	}
	for (int n = 0; n < 6; n++)
		is(rdmsr(PERF_CTL(n)) | rdmsr(PERF_CTR(n)), 0, "reset: PERF_CTL%d and PERF_CTR%d are 0", n, n);
	rdpmc_encodings(outside, ARRAY_SIZE(outside));
	counting();
	overflow();
	pmis();
}
