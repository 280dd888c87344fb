// SPDX-License-Identifier: GPL-2.0
/* The PMU of either vendor. */
#include "pmu.h"

struct pmu pmu;
static u64 v1_config;		/* without a global control: for run() */
static int v1_counter;

static const u64 events[EVENTS][2] = {
	/*		  Intel		AMD */
	[INSNS]		= { 0x00c0,	0x0c0 },
	[CYCLES]	= { 0x003c,	0x076 },
	[REF_CYCLES]	= { 0x013c },
	[BRANCHES]	= { 0x00c4,	0x0c2 },
	[COND]		= { 0x01c4,	0x0d1 },
	[TAKEN]		= { 0x20c4,	0x0c4 },	/* Intel: near ones only */
	[NOT_TAKEN]	= { 0x10c4 },
	[CALLS]		= { 0x02c4 },
	[RETURNS]	= { 0x08c4,	0x0c8 },
	[FAR]		= { 0x40c4,	0x0c6 },
	[MISSES]	= { 0x00c5,	0x0c3 },
	[LLC_REFS]	= { 0x4f2e },
	[LLC_MISSES]	= { 0x412e },
	[SLOTS]		= { 0x01a4 },
	[LOADS]		= { 0x81d0,	0x129 },	/* Intel: modifying is a load and a store */
	[STORES]	= { 0x82d0,	0x229 },
	[LOAD_STORES]	= { 0x83d0,	0x429 },	/* Intel: any; AMD: modifying */
};

u64 event(enum event e) { return events[e][!pmu.intel]; }

void pmu_init(void)
{
	pmu.intel = cpuid(0).ebx == 0x756e6547;	/* "Genu" */
	if (pmu.intel) {
		struct cpuid leaf = cpuid(0xa);

		pmu = (struct pmu){ true,
				    leaf.eax & 0xff,
				    leaf.eax >> 8 & 0xff,
				    leaf.edx & 0x1f,
				    MSR_CORE_PERF_GLOBAL_CTRL,
				    MSR_CORE_PERF_GLOBAL_STATUS,
				    MSR_CORE_PERF_GLOBAL_OVF_CTRL,
				    MSR_CORE_PERF_GLOBAL_STATUS_SET,
				    0 };
	} else if (cpuid(0x80000000).eax >= 0x80000022 && cpuid(0x80000022).eax & 1) {
		pmu = (struct pmu){ false,
				    2,
				    cpuid(0x80000022).ebx & 0xf,
				    0,
				    MSR_AMD64_PERF_CNTR_GLOBAL_CTL,
				    MSR_AMD64_PERF_CNTR_GLOBAL_STATUS,
				    MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR,
				    MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET,
				    0 };
	} else {
		pmu = (struct pmu){ false, 1, cpuid(0x80000001).ecx & BIT(23) ? 6 : 4, 0, 0, 0, 0, 0, 0 };
	}
	pmu.all = (BIT(pmu.gp) - 1) | (BIT(pmu.fixed) - 1) << 32;
}

u32 selector_msr(int n) { return pmu.intel ? PERFEVTSEL(n) : PERF_CTL(n); }

u32 counter_msr(int n) { return n >= 32 ? FIXED_CTR(n - 32) : pmu.intel ? A_PMC(n) : PERF_CTR(n); }
void ctr_write(int n, u64 v) { wrmsr(counter_msr(n), v & MASK48); }
u64 ctr_read(int n) { return rdmsr(counter_msr(n)); }

u64 status(void) { return pmu.status ? rdmsr(pmu.status) : 0; }

void pmu_set(int n, u64 config)
{
	if (n >= 32) {
		u64 field = !!(config & OS) | !!(config & USR) << 1 | !!(config & INT) << 3;
		int shift = 4 * (n - 32);

		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL,
		      (rdmsr(MSR_CORE_PERF_FIXED_CTR_CTRL) & ~(0xful << shift)) | field << shift);
		return;
	}
	v1_config = config;
	v1_counter = n;
	wrmsr(selector_msr(n), config | (pmu.global ? EN : 0));
}

void pmu_clear(void)
{
	if (pmu.global)
		wrmsr(pmu.global, 0);
	for (int i = 0; i < pmu.gp; i++)
		wrmsr(selector_msr(i), 0);
	if (pmu.fixed)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0);
	for (int i = 0; i < counters(); i++)
		ctr_write(counter(i), 0);
	if (pmu.reset)
		wrmsr(pmu.reset, pmu.all | (pmu.intel ? STATUS_OTHERS : 0));
}

void run(void *code, u64 arg)
{
	if (pmu.global)
		measure(pmu.global, pmu.all, 0, code, arg);
	else
		measure(selector_msr(v1_counter), v1_config | EN, v1_config, code, arg);
}

u64 count_arg(int n, u64 config, void *code, u64 arg)
{
	pmu_clear();
	pmu_set(n, config);
	run(code, arg);
	return ctr_read(n);
}

u64 writable_bits(u32 msr)
{
	u64 taken = 0;

	for (int b = 0; b < 64; b++)
		if (wrmsr_safe(msr, BIT(b)) == 0)
			taken |= BIT(b);
	wrmsr_safe(msr, 0);
	return taken;
}

u64 kept_bits(u32 msr)
{
	u64 kept = 0, v;

	for (int b = 0; b < 64; b++)
		if (wrmsr_safe(msr, BIT(b)) == 0 && rdmsr_safe(msr, &v) == 0)
			kept |= v & BIT(b);
	wrmsr_safe(msr, 0);
	return kept;
}

void pmi_expect(u32 lvt)
{
	apic_write(APIC_LVT_PC, lvt);
	cpu()->pmi = (struct pmi){ 0 };
	cpu()->pmi_action = NULL;
}
