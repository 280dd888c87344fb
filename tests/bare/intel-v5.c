// SPDX-License-Identifier: GPL-2.0
/* Intel, architectural perfmon version 5 with four fixed counters (perfmon: version=5, fixed=4). */
#include "pmu.h"
#include "shared.h"

void test(void)
{
	static const u32 outside[] = { 8, 0x40000004, 0x4000001f, 0x80000000 };
	struct cpuid a = cpuid(0xa);
	u64 v;

	is(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), 0xff,
	   "reset: GLOBAL_CTRL enables every general counter");
	is(a.eax & 0xff, 5, "CPUID.0AH:EAX[7:0] version 5");
	is(a.eax >> 8 & 0xff, 8, "CPUID.0AH:EAX[15:8] 8 general counters");
	is(a.ecx, 0xf, "CPUID.0AH:ECX the fixed counters as a bitmap");
	is(a.edx & 0x1f, 4, "CPUID.0AH:EDX[4:0] the number of fixed counters");
	is(a.edx >> 15 & 1, 1, "CPUID.0AH:EDX[15] AnyThread is deprecated");
	check(a.eax >> 24 >= 8, "CPUID.0AH:EAX[31:24] covers topdown slots");
	is(a.ebx & 0xff, 0, "CPUID.0AH:EBX no event is missing, including topdown slots");

	pmu_clear();
	is(kept_bits(MSR_CORE_PERF_FIXED_CTR_CTRL), 0xbbbb, "FIXED_CTR_CTRL: EN and PMI of four");
	is(writable_bits(MSR_CORE_PERF_FIXED_CTR_CTRL), 0xbbbb,
	   "FIXED_CTR_CTRL: AnyThread and the rest raise #GP");
	is(writable_bits(MSR_CORE_PERF_GLOBAL_CTRL), 0xf000000fful,
	   "GLOBAL_CTRL: 8 general and 4 fixed");
	is(writable_bits(FIXED_CTR(3)), MASK48, "FIXED_CTR3: 48 bits");
	is(rdmsr_safe(FIXED_CTR(4), &v), 13, "FIXED_CTR4 does not exist: #GP");
	rdpmc_encodings(outside, ARRAY_SIZE(outside));

	wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0x1000);
	is(rdmsr(MSR_CORE_PERF_GLOBAL_INUSE), BIT(35), "INUSE[35]: fixed counter 3");
	/*
	 * run()'s six instructions and ten NOPs: 16 ticks; two cycles each, four slots per cycle.
	 */
	is(count(FIXED(0), ALL, ten_nops), 16, "fixed counter 0: instructions");
	is(count(FIXED(1), ALL, ten_nops), 32, "fixed counter 1: core cycles");
	is(count(FIXED(2), ALL, ten_nops), 16, "fixed counter 2: reference cycles");
	is(count(FIXED(3), ALL, ten_nops), 128, "fixed counter 3: slots, four per core cycle");
	is(count(7, event(SLOTS) | ALL, ten_nops), 128, "a general counter counts slots");
	is(count_arg(FIXED(3), USR, in_user, (u64)ten_nops), 8 * (USER_INSNS + 10), "fixed counter 3: EN=2, ring 3 only");

	pmu_clear();
	pmi_expect(APIC_DM_NMI);
	pmu_set(FIXED(3), ALL | INT);
	ctr_write(FIXED(3), MINUS(8 * (2 + 3)));
	run(ten_nops, 0);
	is(cpu()->pmi.count, 1, "fixed counter 3 interrupts");
	is(cpu()->pmi.rip, (u64)ten_nops + 3, "fixed counter 3: follows the instruction that overflows");
	is(cpu()->pmi.status, BIT(35), "fixed counter 3: its status bit");
	wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, BIT(35));
	is(status(), 0, "fixed counter 3: its status bit is cleared");
	wrmsr(MSR_CORE_PERF_GLOBAL_STATUS_SET, BIT(35));
	is(status(), BIT(35), "fixed counter 3: its status bit is set by WRMSR");
	pmu_clear();
}
