// SPDX-License-Identifier: GPL-2.0
/* AMD, PerfMonV2: every register's reset value, reserved bits, access and absence. */
#include "pmu.h"
#include "shared.h"

static void reset_values(void)
{
	is(rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_CTL), 0x3f,
	   "reset: the global control enables every counter");
	is(rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS), 0, "reset: the global status is 0");
	for (int n = 0; n < 6; n++)
		is(rdmsr(PERF_CTL(n)) | rdmsr(PERF_CTR(n)), 0, "reset: PERF_CTL%d and PERF_CTR%d are 0", n, n);
}

static void enumeration(void)
{
	struct cpuid v2 = cpuid(0x80000022);

	check(cpuid(0x80000000).eax >= 0x80000022, "CPUID.80000000H: leaf 80000022H exists");
	is(v2.eax, 1, "CPUID.80000022H:EAX PerfMonV2, no branch records, no freezing");
	is(v2.ebx, 6, "CPUID.80000022H:EBX 6 core counters, no others");
	is(cpuid(0x80000001).ecx >> 23 & 1, 1, "CPUID.80000001H:ECX[23] six core counters");
	is(cpuid(0x80000001).ecx >> 24 & 1, 0, "CPUID.80000001H:ECX[24] no northbridge counters");
	is(cpuid(0x80000001).ecx >> 28 & 1, 0, "CPUID.80000001H:ECX[28] no L3 counters");
}

/* Reserved: 19, 21, 39:36, 63:42. */
#define CTL_BITS	0x30fffd7fffful

static void bits(void)
{
	for (int n = 0; n < 6; n++) {
		is(writable_bits(PERF_CTL(n)), CTL_BITS, "PERF_CTL%d: reserved bits raise #GP", n);
		is(kept_bits(PERF_CTL(n)), CTL_BITS, "PERF_CTL%d: the others read back", n);
		is(writable_bits(PERF_CTR(n)), ~0ul, "PERF_CTR%d: any value can be written", n);
		is(kept_bits(PERF_CTR(n)), MASK48, "PERF_CTR%d: 48 bits are kept", n);
	}
	for (int n = 0; n < 4; n++) {
		is(kept_bits(LEGACY_CTL(n)), CTL_BITS,
		   "legacy address of PERF_CTL%d: the same bits", n);
		is(kept_bits(LEGACY_CTR(n)), MASK48, "legacy address of PERF_CTR%d: the same bits",
		   n);
	}
	is(kept_bits(MSR_AMD64_PERF_CNTR_GLOBAL_CTL), 0x3f, "global control: 6 counters");

	wrmsr(PERF_CTL(0), 0x5300c0);
	is(wrmsr_safe(PERF_CTL(0), BIT(42) | 0x76), 13, "PERF_CTL0: a reserved bit raises #GP");
	is(rdmsr(PERF_CTL(0)), 0x5300c0, "PERF_CTL0: a faulting write changes nothing");
	wrmsr(PERF_CTR(0), ~0ul);
	is(rdmsr(PERF_CTR(0)), MASK48, "PERF_CTR0: -1 is 48 ones");
	wrmsr(PERF_CTR(0), 0x80000000);
	is(rdmsr(PERF_CTR(0)), 0x80000000, "PERF_CTR0: bit 31 is not extended");
}

static void aliases(void)
{
	pmu_clear();
	for (int n = 0; n < 4; n++) {
		wrmsr(LEGACY_CTL(n), ALL | 0x76 + n);
		wrmsr(LEGACY_CTR(n), 0x123456789000 + n);
		is(rdmsr(PERF_CTL(n)), ALL | 0x76 + n, "legacy address writes PERF_CTL%d", n);
		is(rdmsr(PERF_CTR(n)), 0x123456789000 + n, "legacy address writes PERF_CTR%d", n);
		wrmsr(PERF_CTL(n), USR | n);
		wrmsr(PERF_CTR(n), 77 + n);
		is(rdmsr(LEGACY_CTL(n)), USR | n, "legacy address reads PERF_CTL%d", n);
		is(rdmsr(LEGACY_CTR(n)), 77 + n, "legacy address reads PERF_CTR%d", n);
	}
	pmu_clear();
}

static void status_bits(void)
{
	pmu_clear();
	pmi_expect(V_PMI);
	for (int n = 0; n < 6; n++)
		pmu_set(n, INT);
	sti();
	wrmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET, 0x3f);
	is(rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS), 0x3f, "STATUS_SET sets each counter's bit");
	is(cpu()->pmi.count, 0, "STATUS_SET does not interrupt");
	cli();
	wrmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET, 0);
	is(rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS), 0x3f, "STATUS_SET of 0 clears nothing");
	wrmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, 9);
	is(rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS), 0x36,
	   "STATUS_CLR clears the bits written as 1 only");
	is(wrmsr_safe(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, 0), 0,
	   "the global status is read-only: a write does not fault");
	is(rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS), 0x36,
	   "the global status is read-only: a write changes nothing");
	is(wrmsr_safe(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, ~4ULL), 0,
	   "STATUS_CLR: reserved bits do not fault");
	is(rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS), 4,
	   "STATUS_CLR with reserved bits clears the others");
	is(wrmsr_safe(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET, BIT(63) | BIT(20) | BIT(6)), 0,
	   "STATUS_SET: reserved bits do not fault");
	is(rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS), 4, "STATUS_SET: reserved bits set nothing");
	wrmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, 0x3f);
	is(rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS), 0, "STATUS_CLR clears all");
	pmi_expect(APIC_LVT_MASKED);
	pmu_clear();
}

static void accesses(void)
{
	u64 reads = mark_read(TRUTH_HOST_RDMSR), writes = mark_read(TRUTH_HOST_WRMSR), pmcs = mark_read(TRUTH_HOST_RDPMC);

	rdmsr(PERF_CTR(5));
	rdmsr(LEGACY_CTL(0));
	rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS);
	rdmsr(0x10);
	wrmsr(PERF_CTL(1), 0);
	wrmsr(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);
	wrmsr(0xc0000103, 0);
	rdpmc(0);
	is(mark_read(TRUTH_HOST_RDMSR) - reads, 3, "truth: three RDMSRs of PMU registers, the fourth is of another one");
	is(mark_read(TRUTH_HOST_WRMSR) - writes, 2, "truth: two WRMSRs of PMU registers, the third is of another one");
	is(mark_read(TRUTH_HOST_RDPMC) - pmcs, 1, "truth: one RDPMC");
}

void test(void)
{
	/* 6 and above would be counters of the northbridge and the L3; bit 30 is Intel's. */
	static const u32 outside[] = { 6, 7, 10, 31, 0x40000000, 0x80000000, 0xffffffff };

	reset_values();
	enumeration();
	pmu_clear();
	bits();
	aliases();
	status_bits();
	rdpmc_encodings(outside, ARRAY_SIZE(outside));
	accesses();
}
