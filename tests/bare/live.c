// SPDX-License-Identifier: GPL-2.0
/*
 * What the machine reports about writes to a live PMU, on both vendors: the host's writes of the
 * LVT entry, of selectors and of counters, with the global control not 0 and the interrupt routed
 * to a vector.
 */
#include "svm.h"
#include "vmx.h"

static u64 seen[3];

static void from_here(void)
{
	for (int i = 0; i < 3; i++)
		seen[i] = mark_read(TRUTH_LIVE_LVTPC + i);
}

/* Check the number of writes since then: of the LVT entry, of selectors, of counters. */
static void wrote(u64 lvtpc, u64 selectors, u64 counters, const char *what)
{
	is(mark_read(TRUTH_LIVE_LVTPC) - seen[0], lvtpc, "%s: LVT entry", what);
	is(mark_read(TRUTH_LIVE_SELECTOR) - seen[1], selectors, "%s: selectors", what);
	is(mark_read(TRUTH_LIVE_COUNTER) - seen[2], counters, "%s: counters", what);
	from_here();
}

static void write_all(void)
{
	for (int i = 0; i < pmu.gp; i++)
		wrmsr(selector_msr(i), event(INSNS) | ALL | EN);
	if (pmu.fixed)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0x333);
	for (int i = 0; i < counters(); i++)
		ctr_write(counter(i), 5);
}

static void lvt(u32 value) { apic_write(APIC_LVT_PC, value); }

static void entry(const char *how)
{
	note("the LVT entry, %s", how);
	wrmsr(pmu.global, 0);
	lvt(V_PMI);
	lvt(APIC_DM_NMI);
	wrote(0, 0, 0, "global control 0");
	wrmsr(pmu.global, BIT(1));
	lvt(APIC_DM_NMI | APIC_LVT_MASKED);
	lvt(APIC_DM_NMI);
	wrote(0, 0, 0, "NMI to NMI");
	lvt(V_PMI);
	wrote(1, 0, 0, "NMI to a vector");
	lvt(V_PMI | APIC_LVT_MASKED);
	lvt(V_PMI);
	wrote(2, 0, 0, "masked and unmasked");
	lvt(APIC_DM_NMI);
	wrote(1, 0, 0, "a vector to NMI");
	lvt(APIC_LVT_MASKED);
	wrote(0, 0, 0, "to its reset value, which is not a vector");
	wrmsr(pmu.global, 0);
}

static void registers(u32 value, const char *how)
{
	note("with the LVT entry %s", how);
	pmu_clear();
	lvt(value);
	from_here();
	write_all();
	wrote(0, 0, 0, "global control 0");

	wrmsr(pmu.global, pmu.all);
	write_all();
	wrote(0, pmu.gp + !!pmu.fixed, counters(), "all counters enabled");
	wrmsr(pmu.reset, pmu.all);
	wrmsr(pmu.set, 0);
	wrmsr(pmu.global, pmu.all);
	rdmsr(selector_msr(0));
	wrote(0, 0, 0, "status and global control");
	if (pmu.intel) {
		is(wrmsr_safe(PERFEVTSEL(0), PIN), 13, "a write that faults");
		is(wrmsr_safe(FIXED_CTR(0), BIT(48)), 13, "a write that faults");
		wrote(0, 0, 0, "a write that faults does not count");
		wrmsr(PMC(0), 0);
		wrote(0, 0, 1, "the legacy address of a counter");
		for (int i = 0; i < pmu.gp; i++)
			wrmsr(PERFEVTSEL(i), 0);
		wrote(0, pmu.gp, 0, "selectors to 0");
		ctr_write(0, 0);
		wrote(0, 0, 1, "a counter that nothing selects: the next selector would start it");
	} else {
		wrmsr(LEGACY_CTL(3), event(INSNS) | ALL | EN);
		wrote(0, 1, 0, "the legacy address of a selector");
		wrmsr(LEGACY_CTR(3), 0);
		wrote(0, 0, 1, "the legacy address of a counter");
		wrmsr(PERF_CTL(1), event(INSNS) | ALL);
		wrmsr(PERF_CTL(2), event(INSNS) | EN);
		wrmsr(PERF_CTL(3), event(INSNS) | ALL | EN | AMD64_EVENTSEL_GUESTONLY);
		wrmsr(PERF_CTL(4), event(INSNS) | ALL | EN | AMD64_EVENTSEL_HOSTONLY);
		wrmsr(PERF_CTL(5),
		      event(INSNS) | ALL | EN | AMD64_EVENTSEL_GUESTONLY | AMD64_EVENTSEL_HOSTONLY);
		wrote(0, 5, 0, "selectors");
		ctr_write(1, 0);
		wrote(0, 0, 0, "a counter whose selector does not enable it");
		ctr_write(2, 0);
		wrote(0, 0, 0, "a counter that counts in no ring");
		ctr_write(3, 0);
		wrote(0, 0, 0, "guest-only");
		ctr_write(4, 0);
		wrote(0, 0, !!(rdmsr(MSR_EFER) & EFER_SVME),
		      "host-only: counts if EFER.SVME is set");
		ctr_write(5, 0);
		wrote(0, 0, !!(rdmsr(MSR_EFER) & EFER_SVME), "guest-only and host-only: the same");
		wrmsr(pmu.global, pmu.all & ~BIT(5));
		ctr_write(5, 0);
		wrote(0, 0, 0, "a counter that the global control does not enable");
	}
	wrmsr(pmu.global, 0);
	write_all();
	wrote(0, 0, 0, "global control 0 again");
}

/*
 * A guest's writes do not count: of a selector that counts, its counter, and by x2APIC the LVT
 * entry.
 */
#define WRITE(msr, value) \
	"mov " MSR_IMM(msr) ", %ecx\n mov $" #value ", %eax\n xor %edx, %edx\n wrmsr\n "
CODE(intel_writes,
     WRITE(MSR_P6_EVNTSEL0, 0x4300c0) WRITE(MSR_IA32_PERFCTR0, 5) WRITE(MSR_X2APIC_LVTPC, 0x40));
CODE(amd_writes,
     WRITE(MSR_F15H_PERF_CTL, 0x4300c0) WRITE(MSR_F15H_PERF_CTR, 5) WRITE(MSR_X2APIC_LVTPC, 0x40));

static void in_guest(void)
{
	pmu_clear();
	lvt(V_PMI);
	if (pmu.intel) {
		vmx_on();
		vmx_new();
		measure(pmu.global, pmu.all, 0, vmx_launch, (u64)intel_writes);
		is(vmread(EXIT_REASON), 18, "a guest has run");
	} else {
		svm_new();
		measure(pmu.global, pmu.all, 0, svm_run, (u64)amd_writes);
		is(VMCB(u64, VMCB_EXIT_CODE), 0x81, "a guest has run");
	}
	is(rdmsr(selector_msr(0)), event(INSNS) | ALL | EN, "and has written");
	wrote(0, 0, 0, "a guest");
}

void test(void)
{
	from_here();
	check(rdmsr(pmu.global) != 0, "reset: the global control is not 0");
	lvt(APIC_DM_NMI);
	write_all();
	wrote(0, 0, 0, "the interrupt is an NMI, so it is the host's");
	entry("memory");
	registers(V_PMI, "a vector");
	registers(V_PMI | APIC_LVT_MASKED, "a vector, masked");
	if (!pmu.intel)
		svm_on();
	registers(V_PMI, "a vector, virtualization enabled");
	if (cpuid(1).ecx & BIT(21)) {
		x2apic_on();
		entry("x2APIC");
		in_guest();
	}
	pmu_clear();
	lvt(APIC_DM_NMI);
	wrmsr(pmu.global, pmu.all);
	from_here();
	write_all();
	wrote(0, 0, 0, "an NMI");
}
