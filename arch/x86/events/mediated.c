// SPDX-License-Identifier: GPL-2.0
/*
 * The performance counters' interrupt, while a guest has the counters.
 *
 * The host takes it as an NMI.  A guest's would be one of a kind that nobody
 * could tell from the host's without a look at the PMU, and would reach the
 * host whatever the guest has masked.  So LVTPC is the guest's as long as the
 * counters are, with a vector of its own.
 *
 * LVTPC is switched only while no counter can count, i.e. with the global
 * control at 0, lest an overflow goes the way of the wrong owner:
 *
 *	load:	host's events out, global control 0, LVTPC, guest's registers
 *	put:	global control 0, guest's registers saved, LVTPC, host's events in
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/export.h>
#include <linux/hardirq.h>
#include <linux/jiffies.h>
#include <linux/kprobes.h>
#include <linux/lockdep.h>
#include <linux/perf_event.h>
#include <linux/percpu.h>

#include <asm/apic.h>
#include <asm/idtentry.h>
#include <asm/irq_vectors.h>
#include <asm/msr.h>
#include <asm/perf_mediated.h>

#include "perf_event.h"

DEFINE_PER_CPU(bool, perf_guest_lvtpc);
/*
 * So many NMIs without a cause are ones that the host was owed when guests took
 * over, until this time in jiffies.
 */
static DEFINE_PER_CPU(unsigned int, late_host_nmis);
static DEFINE_PER_CPU(unsigned long, late_host_nmis_end);

/*
 * The NMI comes at once, but for what blocks it: a guest's own NMI that was
 * injected and is not over.  As long as AMD's driver takes NMIs to be latent.
 */
#define LATE_HOST_NMI	(HZ / 10)

/*
 * Counters of the host may have overflowed in the last moment before they were
 * stopped, and their NMIs be on the way.  The events have been updated, and the
 * NMIs have nothing left to do, but they must not become unknown ones.
 */
static void expect_host_nmis(void)
{
	unsigned int nr;
	u64 status;

	if (!perf_mediated_host_waits())
		return;

	/* Intel masks LVTPC with the first one. */
	if (boot_cpu_has(X86_FEATURE_PERFMON_V2)) {
		rdmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, status);
		nr = hweight64(status);
	} else {
		rdmsrl(MSR_CORE_PERF_GLOBAL_STATUS, status);
		nr = !!status;
	}

	if (!nr)
		return;

	/* Those that have not come by now were taken with another one's cause. */
	if (time_after(jiffies, __this_cpu_read(late_host_nmis_end)))
		__this_cpu_write(late_host_nmis, 0);

	__this_cpu_write(late_host_nmis_end, jiffies + LATE_HOST_NMI);
	this_cpu_add(late_host_nmis, nr);
}

/**
 * perf_load_guest_lvtpc - route this CPU's PMIs to the guest
 * @lvtpc: the guest's own LVTPC, of which the mask bit counts
 *
 * Between perf_load_guest_context() and the load of the guest's registers, with
 * the global control at 0.  Again, if the guest's mask bit has changed.
 *
 * From here on the NMI handler does not touch the PMU, and nothing is left in
 * the counters of host events that are gone: the guest may know of fewer
 * counters than there are, and load only these.
 *
 * Return: the counters, numbered as in the global control, that perf has used since
 * the last perf_put_guest_lvtpc() on this CPU, them or their selectors.  Nothing the
 * second time.
 */
u64 perf_load_guest_lvtpc(u32 lvtpc)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	u64 used = 0;

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(!perf_guest_has_pmu()))
		return 0;

	/* The NMI handler writes LVTPC: it has to know before it is changed. */
	if (!__this_cpu_read(perf_guest_lvtpc)) {
		x86_pmu_clear_dirty(cpuc);
		bitmap_to_arr64(&used, cpuc->used, X86_PMC_IDX_MAX);
		expect_host_nmis();
		__this_cpu_write(perf_guest_lvtpc, true);
		barrier();
	}

	apic_write(APIC_LVTPC, PERF_GUEST_MEDIATED_PMI_VECTOR | (lvtpc & APIC_LVT_MASKED));

	return used;
}
EXPORT_SYMBOL_GPL(perf_load_guest_lvtpc);

/**
 * perf_put_guest_lvtpc - route this CPU's PMIs to the host
 *
 * After the guest's registers have been saved, with the global control at 0 and
 * neither an overflow left in the PMU's status nor a value in its counters and
 * selectors, and before perf_put_guest_context().
 */
void perf_put_guest_lvtpc(void)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(!__this_cpu_read(perf_guest_lvtpc)))
		return;

	/* Selectors are written by the driver itself, as it starts its events anew. */
	x86_pmu_forget_fixed_ctrl(cpuc);
	bitmap_zero(cpuc->used, X86_PMC_IDX_MAX);

	apic_write(APIC_LVTPC, APIC_DM_NMI);
	barrier();
	__this_cpu_write(perf_guest_lvtpc, false);
}
EXPORT_SYMBOL_GPL(perf_put_guest_lvtpc);

/*
 * An NMI without a cause, because the PMU is a guest's by now or was in between:
 * is it one that the host was owed?  On AMD it can also be one of several, the
 * first of which has dealt with all.
 */
bool perf_guest_lvtpc_nmi(void)
{
	if (__this_cpu_read(late_host_nmis) &&
	    time_before_eq(jiffies, __this_cpu_read(late_host_nmis_end))) {
		this_cpu_dec(late_host_nmis);
		return true;
	}

	return boot_cpu_data.x86_vendor == X86_VENDOR_AMD && amd_pmu_nmi_is_late();
}

NOKPROBE_SYMBOL(perf_guest_lvtpc_nmi);

DEFINE_IDTENTRY_SYSVEC(sysvec_perf_guest_pmi)
{
	apic_eoi();
	inc_irq_stat(perf_guest_pmis);
	perf_mediated_pmi();
}
