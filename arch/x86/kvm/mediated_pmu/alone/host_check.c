// SPDX-License-Identifier: GPL-2.0
/* Whether the host's PMU and perf are such that host_perf.c can hand the PMU to guests. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>
#include <linux/perf_mediated.h>

#include "../internal.h"
#include "self_test.h"

/* In IA32_PERF_CAPABILITIES: counters can be written in full; there is PERF_METRICS. */
#define PMU_CAP_FULL_WRITES	BIT_ULL(13)
#define PMU_CAP_METRICS		BIT_ULL(15)

static u64 perf_capabilities(void)
{
	u64 caps = 0;

	if (boot_cpu_has(X86_FEATURE_PDCM))
		rdmsrl(MSR_IA32_PERF_CAPABILITIES, caps);
	return caps;
}

/* PERF_METRICS has four fields or eight, and nothing but a write tells. */
static unsigned int count_metrics(void)
{
	const u32 slots = MSR_CORE_PERF_FIXED_CTR0 + 3;
	unsigned long flags;
	unsigned int nr = 0;
	u64 value, counter;

	if (kvm_mediated_pmu_host.nr_fixed < 4 || !(perf_capabilities() & PMU_CAP_METRICS))
		return 0;

	local_irq_save(flags);
	host_pmu_stop();
	rdmsrl(slots, counter);
	if (!rdmsrl_safe(MSR_PERF_METRICS, &value)) {
		nr = wrmsrl_safe(MSR_PERF_METRICS, ~0ULL) ? 4 : 8;
		wrmsrl(slots, counter);
		wrmsrl(MSR_PERF_METRICS, value);
	}
	host_pmu_start();
	local_irq_restore(flags);

	return nr;
}

/* Intel's CPUs whose PEBS may still write into a guest's memory: perf stops it at each VM-entry. */
static bool pebs_reaches_guests(void)
{
	struct perf_guest_switch_msr *msrs;
	int nr = 0;

	preempt_disable();
	msrs = host_guest_msrs(&nr);
	preempt_enable();

	return nr == 2 && msrs[1].msr == MSR_IA32_PEBS_ENABLE;
}

/**
 * perf_check_mediated_pmu - can this host's PMU be handed to guests by KVM's modules alone?
 * @nr_metrics: is set to the number of fields in PERF_METRICS, 0 without that register
 *
 * kvm_mediated_pmu_regs and the numbers of counters are known.  Takes about a millisecond
 * for each CPU.
 *
 * Return: NULL, or why not.
 */
const char *perf_check_mediated_pmu(unsigned int *nr_metrics)
{
	const char *why;

	if (boot_cpu_data.x86_vendor == X86_VENDOR_INTEL) {
		if ((cpuid_eax(0xa) & 0xff) < 4 || !(perf_capabilities() & PMU_CAP_FULL_WRITES))
			return "no PMU of version 4 with full-width writes";
		if (pebs_reaches_guests())
			return "the CPU's PEBS has to be stopped for guests";
	} else if (!boot_cpu_has(X86_FEATURE_PERFMON_V2)) {
		return "no PMU that is AMD's PerfMonV2";
	}

	why = self_test();
	if (IS_ERR(why))
		return "perf gives no event of its own to check it with";
	if (!why)
		*nr_metrics = count_metrics();

	return why;
}
