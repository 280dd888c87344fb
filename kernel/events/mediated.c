// SPDX-License-Identifier: GPL-2.0
/* Who owns the PMU of a CPU, perf or a guest, and how the PMU is handed over. */

#include <linux/export.h>
#include <linux/irqflags.h>
#include <linux/lockdep.h>
#include <linux/nmi.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>
#include <linux/rcupdate.h>

#include "mediated.h"

/* The core PMU, and those whose interrupts come through the same LVT entry. */
#define MAX_MEDIATED_PMUS	4

static struct pmu *mediated_pmus[MAX_MEDIATED_PMUS];
static unsigned int nr_mediated_pmus;

static const struct perf_mediated_ops __rcu *mediated_ops;

DEFINE_PER_CPU(u8, perf_pmu_owner);
/* An enum perf_host_events: the host's events that are stopped for the guest's turn. */
static DEFINE_PER_CPU(u8, host_events);
DEFINE_PER_CPU(u8, perf_pmus_held);

unsigned int perf_mediated_nr_pmus(void)
{
	return READ_ONCE(nr_mediated_pmus);
}

/* With pmus_lock held.  A mediated PMU is never unregistered. */
void perf_mediated_add_pmu(struct pmu *pmu)
{
	if (!perf_pmu_is_mediated(pmu))
		return;

	if (WARN_ON_ONCE(pmu->module || nr_mediated_pmus == MAX_MEDIATED_PMUS)) {
		pmu->capabilities &= ~PERF_PMU_CAP_MEDIATED_VPMU;
		return;
	}

	mediated_pmus[nr_mediated_pmus] = pmu;
	/* Pairs with the acquire in perf_give_pmu_to_guest(). */
	smp_store_release(&nr_mediated_pmus, nr_mediated_pmus + 1);
}

/**
 * perf_set_mediated_ops - register the hypervisor's callbacks
 * @ops: the callbacks; NULL to unregister them
 *
 * No callback is running any more when a call with NULL returns.
 */
void perf_set_mediated_ops(const struct perf_mediated_ops *ops)
{
	WARN_ON_ONCE(ops && rcu_access_pointer(mediated_ops));

	rcu_assign_pointer(mediated_ops, ops);
	if (!ops)
		synchronize_rcu();
}
EXPORT_SYMBOL_GPL(perf_set_mediated_ops);

/**
 * perf_give_pmu_to_guest - hand this CPU's PMU to a guest
 *
 * On return the host's events are stopped and their counts taken, and perf does not touch
 * the PMU's registers before perf_take_pmu_from_guest().  The caller then makes sure that
 * the PMU as a whole is stopped, routes the PMI to the guest, and loads the guest's
 * registers.
 *
 * This is the one place that decides whether the guest's registers may stay loaded after
 * a VM-exit.  They may if no event of the host is stopped for the guest, or only the
 * watchdog's while another CPU watches this one.  What changes that later reclaims the
 * PMU by @reclaim: an event that is scheduled in on this CPU, one that is scheduled out,
 * and the end of the watch.
 *
 * IRQs are disabled.  If the registers may stay loaded, perf may reclaim the PMU whenever
 * IRQs are enabled.  Else IRQs stay disabled until perf_take_pmu_from_guest().
 *
 * Return: false if the caller has to save the registers and call
 * perf_take_pmu_from_guest() after the next VM-exit, on this CPU.
 */
bool perf_give_pmu_to_guest(void)
{
	/* Pairs with the release in perf_mediated_add_pmu(). */
	unsigned int i, nr = smp_load_acquire(&nr_mediated_pmus);
	enum perf_host_events events = PERF_HOST_NONE;
	bool park;

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(__this_cpu_read(perf_pmu_owner) != PERF_PMU_HOST))
		return false;

	for (i = 0; i < nr; i++)
		events = perf_mediated_host_events(mediated_pmus[i], events);
	__this_cpu_write(host_events, events);

	/*
	 * perf_pmu_disable() nests: what core.c enables after this, here or in an
	 * interrupt while the PMU is parked, does not reach the driver.
	 */
	__this_cpu_write(perf_pmus_held, nr);
	for (i = 0; i < nr; i++)
		perf_pmu_disable(mediated_pmus[i]);

	if (events != PERF_HOST_NONE)
		perf_mediated_wait_for_pmi();

	/*
	 * Stop time together with the counters, not after they have been read.  The
	 * watchdog's event has no reader of its time.
	 */
	if (events == PERF_HOST_COUNTS)
		perf_mediated_set_clocks(mediated_pmus, nr, true);
	for (i = 0; events != PERF_HOST_NONE && i < nr; i++)
		perf_mediated_stop_events(mediated_pmus[i]);

	park = events == PERF_HOST_NONE ||
	       (events == PERF_HOST_WATCHDOG && hardlockup_cpu_is_watched());
	__this_cpu_write(perf_pmu_owner, park ? PERF_PMU_PARKED : PERF_PMU_GUEST);
	return park;
}
EXPORT_SYMBOL_GPL(perf_give_pmu_to_guest);

/*
 * The timer of this CPU's watchdog.  Reclaim the PMU for the watchdog's event if no other
 * CPU watches this one any more.  Hard IRQ context.
 */
void perf_mediated_watchdog_beat(void)
{
	if (perf_guest_has_pmu() && __this_cpu_read(host_events) != PERF_HOST_NONE &&
	    !hardlockup_cpu_is_watched())
		__perf_mediated_reclaim_pmu();
}

/**
 * perf_take_pmu_from_guest - take this CPU's PMU back from a guest
 *
 * The caller has saved the guest's registers, has cleared its selectors and its overflow
 * status, and has routed the PMI to the host.  The host's events count again on return.
 *
 * IRQs are disabled, on the CPU of perf_give_pmu_to_guest().
 */
void perf_take_pmu_from_guest(void)
{
	enum perf_host_events events = __this_cpu_read(host_events);
	unsigned int nr = __this_cpu_read(perf_pmus_held), i;

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(__this_cpu_read(perf_pmu_owner) == PERF_PMU_HOST))
		return;

	__this_cpu_write(perf_pmu_owner, PERF_PMU_HOST);

	for (i = 0; events != PERF_HOST_NONE && i < nr; i++)
		perf_mediated_start_events(mediated_pmus[i]);
	__this_cpu_write(host_events, PERF_HOST_NONE);

	__this_cpu_write(perf_pmus_held, 0);
	for (i = nr; i > 0; i--)
		perf_pmu_enable(mediated_pmus[i - 1]);

	/*
	 * Resume time together with the counters, not when the first one has been
	 * written.  With such events the PMU is never PARKED, so the caller holds no
	 * lock of perf.
	 */
	if (events == PERF_HOST_COUNTS)
		perf_mediated_set_clocks(mediated_pmus, nr, false);
}
EXPORT_SYMBOL_GPL(perf_take_pmu_from_guest);

/* An event of a PMU that a guest owns is about to be scheduled in or out on this CPU. */
void __perf_mediated_reclaim_pmu(void)
{
	const struct perf_mediated_ops *ops;

	lockdep_assert_irqs_disabled();

	/* IRQs are disabled during a guest's turn, so nothing schedules events. */
	if (WARN_ON_ONCE(__this_cpu_read(perf_pmu_owner) == PERF_PMU_GUEST))
		return;

	rcu_read_lock();
	ops = rcu_dereference(mediated_ops);
	if (ops)
		ops->reclaim();
	rcu_read_unlock();

	WARN_ON_ONCE(__this_cpu_read(perf_pmu_owner) != PERF_PMU_HOST);
}

/* A PMI with the guests' vector, for the guest that owns the PMU, or has just owned it. */
void perf_guest_handle_mediated_pmi(void)
{
	const struct perf_mediated_ops *ops;

	rcu_read_lock();
	ops = rcu_dereference(mediated_ops);
	if (ops)
		ops->pmi();
	rcu_read_unlock();
}

/* Are events of the host on this CPU stopped for the guest's turn? */
bool perf_mediated_host_waits(void)
{
	return __this_cpu_read(host_events) != PERF_HOST_NONE;
}
