// SPDX-License-Identifier: GPL-2.0
/*
 * The PMI while a guest owns the PMU.
 *
 * The host takes its PMIs as NMIs.  If guests' PMIs were NMIs, too, the NMI handler could
 * not tell them from the host's without reading the PMU, and they would arrive even while
 * the guest has LVTPC masked.  So LVTPC is the guest's while the guest owns the PMU, with
 * a vector of its own.
 *
 * Switch LVTPC only while no counter can count, i.e. with the global control at 0, so that
 * no overflow is delivered to the wrong owner:
 *
 *	to the guest:	stop the host's events, global control 0, LVTPC, guest's registers
 *	to the host:	global control 0, save the guest's registers, LVTPC, host's events
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/jiffies.h>
#include <linux/kprobes.h>
#include <linux/lockdep.h>
#include <linux/perf_event.h>
#include <linux/percpu.h>

#include <asm/apic.h>
#include <asm/irq_vectors.h>
#include <asm/msr.h>
#include <asm/perf_mediated.h>

#include "perf_event.h"

DEFINE_PER_CPU(bool, perf_guest_lvtpc);
/*
 * The number of NMIs of the host that may still arrive after a guest was given the PMU,
 * and the time, in jiffies, until which they may.
 */
static DEFINE_PER_CPU(unsigned int, late_host_nmis);
static DEFINE_PER_CPU(unsigned long, late_host_nmis_end);

/*
 * Such an NMI is delivered at once unless NMIs are blocked, e.g. because the guest handles
 * an NMI that KVM has injected.  AMD's driver expects latent NMIs for the same time.
 */
#define LATE_HOST_NMI	(HZ / 10)

/* There was an overflow when the host's events were stopped. */
static DEFINE_PER_CPU(bool, host_overflow);

/* An overflow's NMI comes within less unless it is blocked.  Microseconds. */
#define PMI_TIME	50

/**
 * perf_mediated_wait_for_pmi - let the host's events have their overflows
 *
 * Called with the PMU disabled, before its events are stopped for a guest's turn.  A
 * counter may have overflowed just before, and its PMI be on its way.  The handler makes
 * a sample of it as long as the event is not stopped.  AMD's driver waits itself, for each
 * event that it stops.  The overflow of PEBS is a record, which has no PMI of its own: the
 * PMI is that of a full buffer.
 */
void perf_mediated_wait_for_pmi(void)
{
	const struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	unsigned int i;
	u64 status, counters;

	if (boot_cpu_has(X86_FEATURE_PERFMON_V2))
		return;

	bitmap_to_arr64(&counters, cpuc->active_mask, X86_PMC_IDX_MAX);
	counters &= GENMASK_ULL(INTEL_PMC_IDX_METRIC_BASE - 1, 0) &
		    ~(cpuc->pebs_enabled & x86_pmu.pebs_capable);
	counters |= GLOBAL_STATUS_BUFFER_OVF;
	for (i = 0; i < PMI_TIME; i++) {
		rdmsrl(MSR_CORE_PERF_GLOBAL_STATUS, status);
		if (!(status & counters))
			break;
		udelay(1);
	}
	__this_cpu_write(host_overflow, !!status);
}

/*
 * A counter of the host may have overflowed just before it was stopped, and its NMI may
 * not have arrived yet.  Its event was updated when it was stopped, so the NMI has nothing
 * left to do, but it must not be reported as an unknown one.
 */
static void expect_host_nmis(void)
{
	unsigned int nr;
	u64 status;

	if (!perf_mediated_host_waits())
		return;
	if (!boot_cpu_has(X86_FEATURE_PERFMON_V2) && !__this_cpu_read(host_overflow))
		return;

	/* On Intel, LVTPC is masked with the first one. */
	if (boot_cpu_has(X86_FEATURE_PERFMON_V2)) {
		rdmsrl(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, status);
		nr = hweight64(status);
	} else {
		rdmsrl(MSR_CORE_PERF_GLOBAL_STATUS, status);
		nr = !!status;
	}

	if (!nr)
		return;

	/* NMIs that have not arrived by now were merged with others. */
	if (time_after(jiffies, __this_cpu_read(late_host_nmis_end)))
		__this_cpu_write(late_host_nmis, 0);

	__this_cpu_write(late_host_nmis_end, jiffies + LATE_HOST_NMI);
	this_cpu_add(late_host_nmis, nr);
}

/**
 * perf_used_counters - the counters that perf has used
 *
 * Called with IRQs disabled.
 *
 * Return: the counters, numbered as in the global control, that perf has used since the
 * last perf_route_pmi_to_host() on this CPU, or whose selectors it has.
 */
u64 perf_used_counters(void)
{
	u64 used;

	lockdep_assert_irqs_disabled();

	bitmap_to_arr64(&used, this_cpu_ptr(&cpu_hw_events)->used, X86_PMC_IDX_MAX);

	return used;
}
EXPORT_SYMBOL_GPL(perf_used_counters);

/**
 * perf_route_pmi_to_guest - route this CPU's PMIs to the guest
 * @lvtpc: the guest's own LVTPC, of which only the mask bit is used
 *
 * Called after perf_give_pmu_to_guest() and before the guest's registers are loaded, with
 * the global control at 0; and again when the guest's mask bit changes.
 *
 * From now on the NMI handler does not touch the PMU.  Counters of host events that were
 * closed are zeroed: the guest may have fewer counters than there are, and the caller
 * loads only the guest's.  On Intel's CPUs whose transactions use counter 3, these abort
 * until perf is enabled again.
 *
 * Return: perf_used_counters(); 0 for a repeated call.
 */
u64 perf_route_pmi_to_guest(u32 lvtpc)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);
	u64 used = 0;

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(!perf_guest_has_pmu()))
		return 0;

	/* The NMI handler writes LVTPC, and must stop doing so before LVTPC changes. */
	if (!__this_cpu_read(perf_guest_lvtpc)) {
		x86_pmu_clear_dirty(cpuc);
		used = perf_used_counters();
		intel_pmu_keep_counter3();
		expect_host_nmis();
		__this_cpu_write(perf_guest_lvtpc, true);
		barrier();
	}

	apic_write(APIC_LVTPC, PERF_GUEST_MEDIATED_PMI_VECTOR | (lvtpc & APIC_LVT_MASKED));

	return used;
}
EXPORT_SYMBOL_GPL(perf_route_pmi_to_guest);

/**
 * perf_route_pmi_to_host - route this CPU's PMIs to the host
 *
 * Called after the guest's registers were saved and before perf_take_pmu_from_guest().
 * The global control and the overflow status are 0, and so are the counters and selectors,
 * except those that the caller zeroes later if perf_used_counters() does not have them.
 */
void perf_route_pmi_to_host(void)
{
	struct cpu_hw_events *cpuc = this_cpu_ptr(&cpu_hw_events);

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(!__this_cpu_read(perf_guest_lvtpc)))
		return;

	/* The driver caches the fixed control; selectors it writes when it starts events. */
	x86_pmu_forget_fixed_ctrl(cpuc);
	bitmap_zero(cpuc->used, X86_PMC_IDX_MAX);

	apic_write(APIC_LVTPC, APIC_DM_NMI);
	barrier();
	__this_cpu_write(perf_guest_lvtpc, false);
}
EXPORT_SYMBOL_GPL(perf_route_pmi_to_host);

/*
 * An NMI arrived for which the PMU shows no cause, because a guest owns the PMU, or owned
 * it in between.  Return true if the host was owed it.  On AMD it can also be one of
 * several NMIs, the first of which has handled all overflows.
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
