// SPDX-License-Identifier: GPL-2.0
/*
 * Intel, architectural perfmon version 4: every register's reset value, reserved bits, access and
 * absence.
 */
#include "pmu.h"
#include "shared.h"

static void reset_values(void)
{
	is(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), 0xff,
	   "reset: GLOBAL_CTRL enables every general counter, no fixed one");
	is(rdmsr(MSR_CORE_PERF_FIXED_CTR_CTRL), 0, "reset: FIXED_CTR_CTRL is 0");
	is(rdmsr(MSR_CORE_PERF_GLOBAL_STATUS), 0, "reset: GLOBAL_STATUS is 0");
	is(rdmsr(MSR_CORE_PERF_GLOBAL_INUSE), 0, "reset: GLOBAL_INUSE is 0");
	is(rdmsr(MSR_IA32_DEBUGCTLMSR), 0, "reset: DEBUGCTL is 0");
	for (int n = 0; n < 8; n++)
		is(rdmsr(PERFEVTSEL(n)) | rdmsr(PMC(n)), 0, "reset: PERFEVTSEL%d and PMC%d are 0", n, n);
	for (int n = 0; n < 3; n++)
		is(rdmsr(FIXED_CTR(n)), 0, "reset: FIXED_CTR%d is 0", n);
}

static void enumeration(void)
{
	struct cpuid a = cpuid(0xa);

	is(a.eax & 0xff, 4, "CPUID.0AH:EAX[7:0] version 4");
	is(a.eax >> 8 & 0xff, 8, "CPUID.0AH:EAX[15:8] 8 general counters");
	is(a.eax >> 16 & 0xff, 48, "CPUID.0AH:EAX[23:16] 48 bits wide");
	check(a.eax >> 24 >= 7, "CPUID.0AH:EAX[31:24] covers the seven architectural events");
	is(a.ebx & 0x7f, 0, "CPUID.0AH:EBX none of the seven events is missing");
	is(a.edx & 0x1f, 3, "CPUID.0AH:EDX[4:0] 3 fixed counters");
	is(a.edx >> 5 & 0xff, 48, "CPUID.0AH:EDX[12:5] 48 bits wide");
	is(a.edx >> 15 & 1, 1, "CPUID.0AH:EDX[15] AnyThread is deprecated");
	is(cpuid(1).ecx >> 15 & 1, 1, "CPUID.01H:ECX[15] PERF_CAPABILITIES exists");
	is(rdmsr(MSR_IA32_PERF_CAPABILITIES) >> 13 & 1, 1,
	   "PERF_CAPABILITIES[13] full-width writes");
	is(rdmsr(MSR_IA32_MISC_ENABLE) >> 7 & 1, 1,
	   "MISC_ENABLE[7] performance monitoring available");
	is(rdmsr(MSR_IA32_MISC_ENABLE) >> 11 & 3, 3,
	   "MISC_ENABLE[12:11] neither branch trace store nor PEBS");
}

/* A register and what a WRMSR of it does. */
static const struct {
	const char *rule;
	u32 msr;
	u64 value;
	int vector;
	u64 then;	/* its value afterwards */
} writes[] = {
	{ "PMC0: 32 bits are written", PMC(0), 0x7fffffff, 0, 0x7fffffff },
	{ "PMC0: bit 31 extends to bit 47", PMC(0), 0x80000000, 0, 0xffff80000000 },
	{ "PMC0: all ones is -1", PMC(0), 0xffffffff, 0, MASK48 },
	{ "PMC0: EDX does not matter, no fault", PMC(0), 0x1234500000005, 0, 5 },
	{ "PMC0: nor do bits 63:48", PMC(0), 0xffff000080000001, 0, 0xffff80000001 },
	{ "PMC7: bit 31 extends to bit 47", PMC(7), 0x80000007, 0, 0xffff80000007 },
	{ "A_PMC0: full width", A_PMC(0), 0x123456789abc, 0, 0x123456789abc },
	{ "A_PMC0: bit 31 is not extended", A_PMC(0), 0x80000000, 0, 0x80000000 },
	{ "A_PMC7: full width", A_PMC(7), MASK48, 0, MASK48 },
	{ "A_PMC7: bit 48 faults, value stays", A_PMC(7), BIT(48), 13, MASK48 },
	{ "FIXED_CTR0: full width", FIXED_CTR(0), 0xfedcba987654, 0, 0xfedcba987654 },
	{ "FIXED_CTR2: full width", FIXED_CTR(2), MASK48, 0, MASK48 },
	{ "FIXED_CTR2: bit 48 faults, value stays", FIXED_CTR(2), BIT(48), 13, MASK48 },
	{ "GLOBAL_STATUS is read-only", MSR_CORE_PERF_GLOBAL_STATUS, 0, 13, 0 },
	{ "GLOBAL_INUSE is read-only", MSR_CORE_PERF_GLOBAL_INUSE, 0, 13, 0 },
	{ "PERFEVTSEL0: a faulting write changes nothing", PERFEVTSEL(0), BIT(32) | 0xc0, 13, 0 },
	{ "GLOBAL_CTRL: a faulting write changes nothing", MSR_CORE_PERF_GLOBAL_CTRL, BIT(35) | 1,
	  13, 0 },
};

/*
 * Bits that can be written, and bits that must fault.  Bits of features that the machine does not
 * have are in neither set.
 */
static const struct {
	const char *rule;
	u32 msr, n;
	u64 taken, ignored;	/* ignored: not checked */
	bool reads_back;
} masks[] = {
	/* 19 is pin control and 21 AnyThread: reserved on this version; 63:32 reserved. */
	{ "PERFEVTSEL%d takes bits 31:0 but 19 and 21", PERFEVTSEL(0), 8, 0xffd7ffff, 0, true },
	{ "A_PMC%d takes 48 bits", A_PMC(0), 8, MASK48, 0, true },
	{ "FIXED_CTR%d takes 48 bits", FIXED_CTR(0), 3, MASK48, 0, true },
	/* Three fields of four bits, of which the third is AnyThread. */
	{ "FIXED_CTR_CTRL takes EN and PMI of three", MSR_CORE_PERF_FIXED_CTR_CTRL, 1, 0xbbb, 0,
	  true },
	{ "GLOBAL_CTRL takes 8 general and 3 fixed", MSR_CORE_PERF_GLOBAL_CTRL, 1, 0x7000000ffull,
	  0, true },
	/* LBR_Frz, CTR_Frz, OvfBuf, CondChgd; not checked: metrics, trace, ASCI, uncore. */
	{ "STATUS_RESET takes counters, freezes, buffer, change", MSR_CORE_PERF_GLOBAL_OVF_CTRL, 1,
	  0x7000000ffull | STATUS_OTHERS, BIT(48) | BIT(55) | BIT(60) | BIT(61), false },
	/* As above, but bit 63 is reserved here. */
	{ "STATUS_SET takes counters, freezes, buffer", MSR_CORE_PERF_GLOBAL_STATUS_SET, 1,
	  0x7000000ffull | (STATUS_OTHERS & ~BIT(63)), BIT(48) | BIT(55) | BIT(60) | BIT(61),
	  false },
};

static const struct { const char *rule; u32 msr; } absent[] = {
	{ "PMC8", PMC(8) }, { "A_PMC8", A_PMC(8) }, { "PERFEVTSEL8", PERFEVTSEL(8) }, { "FIXED_CTR3", FIXED_CTR(3) },
	{ "PEBS_ENABLE", MSR_IA32_PEBS_ENABLE }, { "PERF_METRICS", MSR_PERF_METRICS },
};

static void inuse(void)
{
	pmu_clear();
	for (int n = 0; n < 8; n++) {
		wrmsr(PERFEVTSEL(n), 1);
		is(rdmsr(MSR_CORE_PERF_GLOBAL_INUSE), BIT(n),
		   "INUSE[%d]: PERFEVTSEL%d selects an event, enabled or not", n, n);
		wrmsr(PERFEVTSEL(n), EN | ALL | 0xff00);
		is(rdmsr(MSR_CORE_PERF_GLOBAL_INUSE), 0, "INUSE[%d]: event select 0 is not a use",
		   n);
		wrmsr(PERFEVTSEL(n), INT);
		is(rdmsr(MSR_CORE_PERF_GLOBAL_INUSE), BIT(63),
		   "INUSE[63]: PERFEVTSEL%d would interrupt", n);
		wrmsr(PERFEVTSEL(n), 0);
	}
	for (int n = 0; n < 3; n++) {
		for (u64 en = 1; en < 4; en++) {
			wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, en << 4 * n);
			is(rdmsr(MSR_CORE_PERF_GLOBAL_INUSE), BIT(32 + n),
			   "INUSE[%d]: fixed counter %d with EN=%lu", 32 + n, n, en);
		}
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 8ul << 4 * n);
		is(rdmsr(MSR_CORE_PERF_GLOBAL_INUSE), BIT(63),
		   "INUSE[63]: fixed counter %d would interrupt", n);
	}
	pmu_clear();
}

/* Set and clear the status by WRMSR; nothing interrupts. */
static void status_bits(void)
{
	pmu_clear();
	pmi_expect(V_PMI);
	for (int i = 0; i < counters(); i++)
		pmu_set(counter(i), INT);
	wrmsr(MSR_CORE_PERF_GLOBAL_STATUS_SET, pmu.all);
	is(rdmsr(MSR_CORE_PERF_GLOBAL_STATUS), pmu.all, "STATUS_SET sets each counter's bit");
	sti();
	is(cpu()->pmi.count, 0, "STATUS_SET does not interrupt");
	cli();
	is(apic_read(APIC_LVT_PC) & APIC_LVT_MASKED, 0,
	   "STATUS_SET does not mask the local APIC's entry");
	wrmsr(MSR_CORE_PERF_GLOBAL_STATUS_SET, 0);
	is(rdmsr(MSR_CORE_PERF_GLOBAL_STATUS), pmu.all, "STATUS_SET of 0 clears nothing");
	wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, BIT(3) | BIT(33));
	is(rdmsr(MSR_CORE_PERF_GLOBAL_STATUS), pmu.all & ~(BIT(3) | BIT(33)),
	   "STATUS_RESET clears the bits written as 1 only");
	wrmsr(MSR_CORE_PERF_GLOBAL_STATUS_SET, BIT(59));
	is(rdmsr(MSR_CORE_PERF_GLOBAL_STATUS) >> 59 & 1, 1, "STATUS_SET sets CTR_Frz");
	wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, pmu.all | STATUS_OTHERS);
	is(rdmsr(MSR_CORE_PERF_GLOBAL_STATUS), 0, "STATUS_RESET clears all");
	pmi_expect(APIC_LVT_MASKED);
	pmu_clear();
}

static void rdpmc_rules(void)
{
	/* Beyond the general counters, beyond the fixed ones, with bits that select neither. */
	static const u32 outside[] = { 8, 31, 0x40000003, 0x4000001f, 0x80000000, 0x20000000, 0x40000008, 0xffffffff };

	rdpmc_encodings(outside, ARRAY_SIZE(outside));
}

static void accesses(void)
{
	u64 reads = mark_read(TRUTH_HOST_RDMSR), writes = mark_read(TRUTH_HOST_WRMSR), pmcs = mark_read(TRUTH_HOST_RDPMC);

	rdmsr(PMC(0));
	rdmsr(MSR_CORE_PERF_GLOBAL_CTRL);
	rdmsr(0x10);
	wrmsr(PERFEVTSEL(1), 0);
	wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0);
	wrmsr(A_PMC(1), 0);
	wrmsr(0xc0000103, 0);
	rdpmc(0);
	is(mark_read(TRUTH_HOST_RDMSR) - reads, 2, "truth: two RDMSRs of PMU registers, the third is of another one");
	is(mark_read(TRUTH_HOST_WRMSR) - writes, 3, "truth: three WRMSRs of PMU registers, the fourth is of another one");
	is(mark_read(TRUTH_HOST_RDPMC) - pmcs, 1, "truth: one RDPMC");
}

void test(void)
{
	u64 v;

	reset_values();
	enumeration();
	pmu_clear();
	for (u64 i = 0; i < ARRAY_SIZE(writes); i++) {
		is(wrmsr_safe(writes[i].msr, writes[i].value), writes[i].vector, "%s: vector", writes[i].rule);
		is(rdmsr(writes[i].msr), writes[i].then, "%s: value", writes[i].rule);
	}
	wrmsr(A_PMC(2), 0x123456789abc);
	is(rdmsr(PMC(2)), 0x123456789abc, "PMC2 and A_PMC2 are one counter");
	v = rdmsr(MSR_IA32_PERF_CAPABILITIES);
	is(wrmsr_safe(MSR_IA32_PERF_CAPABILITIES, v), 13, "PERF_CAPABILITIES is read-only");
	for (u64 i = 0; i < ARRAY_SIZE(masks); i++) {
		for (u32 n = 0; n < masks[i].n; n++) {
			is(writable_bits(masks[i].msr + n) & ~masks[i].ignored, masks[i].taken, masks[i].rule, n);
			if (masks[i].reads_back)
				is(kept_bits(masks[i].msr + n), masks[i].taken,
				   "each bit that can be written reads back");
		}
	}
	for (u64 i = 0; i < ARRAY_SIZE(absent); i++) {
		is(rdmsr_safe(absent[i].msr, &v), 13, "%s does not exist: RDMSR raises #GP",
		   absent[i].rule);
		is(wrmsr_safe(absent[i].msr, 0), 13, "%s does not exist: WRMSR raises #GP",
		   absent[i].rule);
	}
	inuse();
	status_bits();
	rdpmc_rules();
	accesses();
}
