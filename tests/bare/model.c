// SPDX-License-Identifier: GPL-2.0
/*
 * A CPU that one can buy describes its PMU as the real one does: by public dumps of CPUID, the
 * Intel SDM (volume 4 for IA32_PERF_CAPABILITIES) and AMD's APM (volume 3, Fn8000_0001 and
 * Fn8000_0022).  What it describes exists, and nothing else does.
 */
#include "shared.h"
#include "vmx.h"

static const struct {
	u32 signature;
	const char *what;
	/* Intel: leaf 0AH; AMD: 8000_0022H.EAX and EBX, then bits 23, 24 and 28 of 8000_0001H.ECX */
	u32 eax, ebx, ecx, edx;
	/*
	 * Intel: IA32_PERF_CAPABILITIES, fields of PERF_METRICS, AnyThread; AMD: northbridge and L3
	 * counters, freeze
	 */
	u32 capabilities, fields, any;
	bool saves, aborts;
	u32 microcode;
} cpus[] = {
	{ 0x50654, "Skylake-SP", 0x07300404, 0, 0, 0x603, 0x3000, 0, 1, false, true, 0x2007006 },
	{ 0x606a6, "Ice Lake-SP", 0x08300805, 0, 0xf, 0x8604, 0xb000, 4, 0, false, false, 0 },
	{ 0x806f8, "Sapphire Rapids", 0x08300805, 0, 0xf, 0x8604, 0xb000, 8, 0, true, false, 0 },
	{ 0xa00f11, "Zen 3", 0, 0, 0x11800000, 0, 4, 6, 0, false, false, 0 },
	{ 0xa10f11, "Zen 4", 5, 0x4006, 0x11800000, 0, 16, 6, 1, false, false, 0 },
	{ 0xb00f21, "Zen 5", 5, 0x4006, 0x11800000, 0, 16, 6, 1, false, false, 0 },
};

static void intel(int i)
{
	u64 n = cpus[i].edx & 0x1f, fixed = (BIT(n) - 1) << 32, metrics = cpus[i].fields ? METRICS : 0;
	struct cpuid a = cpuid(0xa);
	u64 v;

	is(a.eax, cpus[i].eax, "CPUID.0AH:EAX");
	is(a.ebx, cpus[i].ebx, "CPUID.0AH:EBX");
	is(a.ecx, cpus[i].ecx, "CPUID.0AH:ECX");
	is(a.edx, cpus[i].edx, "CPUID.0AH:EDX");
	is(rdmsr(MSR_IA32_PERF_CAPABILITIES), cpus[i].capabilities, "IA32_PERF_CAPABILITIES");
	is(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), BIT(pmu.gp) - 1,
	   "reset: GLOBAL_CTRL enables every general counter");
	pmu_clear();
	is(writable_bits(MSR_CORE_PERF_GLOBAL_CTRL), (BIT(pmu.gp) - 1) | fixed | metrics,
	   "GLOBAL_CTRL: what can be enabled");
	is(kept_bits(MSR_CORE_PERF_FIXED_CTR_CTRL),
	   (cpus[i].any ? 0xffffffff : 0xbbbbbbbb) & (BIT(4 * n) - 1), "FIXED_CTR_CTRL: its bits");
	is(!!(writable_bits(PERFEVTSEL(0)) & ANYTHREAD), cpus[i].any, "PERFEVTSEL0: AnyThread");
	is(rdmsr_safe(PERFEVTSEL(pmu.gp), &v) == 0, 0, "no selector after the last");
	is(rdmsr_safe(FIXED_CTR(n), &v) == 0, 0, "no fixed counter after the last");
	is(rdmsr_safe(MSR_PERF_METRICS, &v) == 0, metrics != 0, "PERF_METRICS");
	if (metrics)
		is(writable_bits(MSR_PERF_METRICS), cpus[i].fields == 8 ? ~0ul : BIT(32) - 1,
		   "PERF_METRICS: its fields");
	is(rdpmc_safe(RDPMC_METRICS, &v) == 0, metrics != 0, "PERF_METRICS by RDPMC");
	is(cpuid(7).edx >> 13 & 1, cpus[i].aborts, "CPUID.7:EDX, transactions can be made to abort");
	if (cpus[i].aborts)
		is(writable_bits(MSR_TSX_FORCE_ABORT), 1, "IA32_TSX_FORCE_ABORT: its bits");
	if (cpus[i].microcode)
		is(rdmsr(MSR_IA32_UCODE_REV) >> 32, cpus[i].microcode, "IA32_BIOS_SIGN_ID");
	is(!!(rdmsr(0x483) >> 32 & EXIT_SAVE_GLOBAL_CTRL), cpus[i].saves, "VM-exits that save the global control");
}

static void amd(int i)
{
	struct cpuid v2 = { 0 };
	u64 v;

	if (cpuid(0x80000000).eax >= 0x80000022)
		v2 = cpuid(0x80000022);
	is(v2.eax, cpus[i].eax, "CPUID.80000022H:EAX");
	is(v2.ebx, cpus[i].ebx, "CPUID.80000022H:EBX");
	is(cpuid(0x80000001).ecx & 0x11800000, cpus[i].ecx,
	   "CPUID.80000001H:ECX, bits of counters");
	is(cpuid(0x80000001).eax, cpus[i].signature, "CPUID.80000001H:EAX");
	for (u32 n = 0; n < 16; n++)
		is(rdmsr_safe(NB_CTL(n), &v) == 0, n < cpus[i].capabilities, "northbridge counter %d", (int)n);
	for (u32 n = 0; n < 6; n++)
		is(rdmsr_safe(L3_CTL(n), &v) == 0, n < cpus[i].fields, "L3 counter %d", (int)n);
	is(kept_bits(MSR_IA32_DEBUGCTLMSR) & FREEZE_ON_PMI, cpus[i].any ? FREEZE_ON_PMI : 0,
	   "DBG_CTL can freeze the counters");
}

void test(void)
{
	int i = 0;

	while (i < (int)ARRAY_SIZE(cpus) && cpus[i].signature != cpuid(1).eax)
		i++;
	check(i < (int)ARRAY_SIZE(cpus), "CPUID.1:EAX %x is a known CPU", cpuid(1).eax);
	if (i == (int)ARRAY_SIZE(cpus))
		return;
	note("%s", cpus[i].what);
	if (pmu.intel)
		intel(i);
	else
		amd(i);
}
