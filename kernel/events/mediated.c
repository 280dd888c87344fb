// SPDX-License-Identifier: GPL-2.0
/*
 * PMUs that guests can have to themselves: who may, and who does.
 *
 * Which events exist and which VMs do exclude each other, so that an event
 * never misses what it was asked to count: see perf_create_mediated_pmu().
 * Whose PMU it is right now is decided CPU by CPU, see perf_load_guest_context().
 *
 * For a guest's turn, events of the host stay scheduled, and are stopped.  So a
 * turn costs what the events that are counting cost, however many wait for
 * their turn, a throttled event stays throttled, and a group's software events
 * go on.
 */
#define pr_fmt(fmt) "perf: " fmt

#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/irqflags.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/nmi.h>
#include <linux/perf_event.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>

#include "mediated.h"

/* The core PMU, and those whose interrupts come through the same LVT entry. */
#define MAX_MEDIATED_PMUS	4

static struct pmu *mediated_pmus[MAX_MEDIATED_PMUS];
static unsigned int nr_mediated_pmus;

/*
 * How many there are of the side that is: events that count in guests if
 * positive, VMs with a mediated vPMU if negative.  One word, so that either
 * side learns of the other in the same instruction in which it joins.
 */
static atomic_t events_or_vms = ATOMIC_INIT(0);

/* Serializes the one-time preparations of perf_create_mediated_pmu(). */
static DEFINE_MUTEX(mediated_mutex);

static const struct perf_mediated_ops __rcu *mediated_ops;

DEFINE_PER_CPU(u8, perf_pmu_owner);
/* Events of the host are on this CPU, and stand still for the guest's turn. */
static DEFINE_PER_CPU(bool, host_waits);
/* Among them are others than the watchdog's. */
static DEFINE_PER_CPU(bool, host_counts);
/* So many of mediated_pmus[] are disabled on this CPU until the guest is out. */
static DEFINE_PER_CPU(u8, nr_held);

/* With pmus_lock held.  Such PMUs are never unregistered. */
void perf_mediated_add_pmu(struct pmu *pmu)
{
	if (!perf_pmu_is_mediated(pmu))
		return;

	if (WARN_ON_ONCE(pmu->module || nr_mediated_pmus == MAX_MEDIATED_PMUS)) {
		pmu->capabilities &= ~PERF_PMU_CAP_MEDIATED_VPMU;
		return;
	}

	mediated_pmus[nr_mediated_pmus] = pmu;
	/* Pairs with the acquire in perf_load_guest_context(). */
	smp_store_release(&nr_mediated_pmus, nr_mediated_pmus + 1);
}

/*
 * An inherited event lives shorter than the event it comes from, and where that
 * was let in, fork() shall not fail: only originals are counted.
 */
int perf_mediated_account_event(struct perf_event *event)
{
	if (event->parent || event->attr.exclude_guest || !perf_pmu_is_mediated(event->pmu))
		return 0;

	if (atomic_inc_unless_negative(&events_or_vms)) {
		event->attach_state |= PERF_ATTACH_GUEST;
		return 0;
	}

	pr_info_ratelimited("%s[%d]: event %u/%#llx would count in guests, but a VM has a mediated vPMU: exclude_guest, i.e. event:H\n",
			    current->comm, task_pid_nr(current), event->attr.type,
			    (unsigned long long)event->attr.config);
	return -EOPNOTSUPP;
}

void perf_mediated_unaccount_event(struct perf_event *event)
{
	if (!(event->attach_state & PERF_ATTACH_GUEST))
		return;

	event->attach_state &= ~PERF_ATTACH_GUEST;
	atomic_dec(&events_or_vms);
}

/**
 * perf_create_mediated_pmu - a VM wants to have the PMU while it runs
 *
 * From here to perf_release_mediated_pmu() no event can be opened that would
 * count in guests, because none could keep that promise.
 *
 * The first call turns the NMI watchdog's events into ones that exclude guests,
 * for good, so that the watchdog is no reason to refuse.
 *
 * May sleep, takes cpu_hotplug_lock.
 *
 * Return: 0, -EOPNOTSUPP where no PMU can do it, -EBUSY while events that count
 * in guests are open.
 */
int perf_create_mediated_pmu(void)
{
	int ret = 0;
	int events;

	might_sleep();

	if (!READ_ONCE(nr_mediated_pmus))
		return -EOPNOTSUPP;

	mutex_lock(&mediated_mutex);

	if (!static_key_enabled(&perf_mediated_used)) {
		hardlockup_detector_perf_exclude_guest();
		static_branch_enable(&perf_mediated_used);
	}

	if (!atomic_dec_unless_positive(&events_or_vms)) {
		events = atomic_read(&events_or_vms);
		pr_info_ratelimited("%s[%d]: no mediated vPMU: %d open event(s) count in guests, i.e. have no exclude_guest\n",
				    current->comm, task_pid_nr(current), max(events, 1));
		ret = -EBUSY;
	}

	mutex_unlock(&mediated_mutex);

	return ret;
}
EXPORT_SYMBOL_GPL(perf_create_mediated_pmu);

/**
 * perf_release_mediated_pmu - the VM is gone, and off all CPUs
 */
void perf_release_mediated_pmu(void)
{
	WARN_ON_ONCE(atomic_inc_return(&events_or_vms) > 0);
}
EXPORT_SYMBOL_GPL(perf_release_mediated_pmu);

/**
 * perf_set_mediated_ops - whom to ask when a guest has the PMU
 * @ops: the hypervisor's callbacks; NULL before they go away
 *
 * After a call with NULL nobody is in a callback any more.
 */
void perf_set_mediated_ops(const struct perf_mediated_ops *ops)
{
	WARN_ON_ONCE(ops && rcu_access_pointer(mediated_ops));

	rcu_assign_pointer(mediated_ops, ops);
	if (!ops)
		synchronize_rcu();
}
EXPORT_SYMBOL_GPL(perf_set_mediated_ops);

/*
 * With IRQs off only this CPU changes what is on it, so no lock is needed to
 * look at the lists of active events.
 */
static void note_active_events(struct list_head *active)
{
	struct perf_event *first;

	if (list_empty(active))
		return;

	__this_cpu_write(host_waits, true);
	first = list_first_entry(active, struct perf_event, active_list);
	if (!list_is_singular(active) || !hardlockup_detector_perf_owns(first))
		__this_cpu_write(host_counts, true);
}

static void note_host_events(struct pmu *pmu)
{
	struct perf_cpu_pmu_context *cpc = this_cpu_ptr(pmu->cpu_pmu_context);
	struct perf_event_pmu_context *task_epc = cpc->task_epc;

	note_active_events(&cpc->epc.pinned_active);
	note_active_events(&cpc->epc.flexible_active);
	if (task_epc) {
		note_active_events(&task_epc->pinned_active);
		note_active_events(&task_epc->flexible_active);
	}
}

/*
 * What was stopped before, as a throttled event is, stays stopped behind the
 * guest's turn, but its counter will have been used: its count is taken now, and
 * whoever starts it has to reload it.
 */
static void stop_event(struct perf_event *event)
{
	bool stopped = event->hw.state & PERF_HES_STOPPED;

	event->pmu->stop(event, PERF_EF_UPDATE);
	if (stopped)
		event->hw.state |= PERF_HES_LOST;
}

static void start_event(struct perf_event *event)
{
	if (!(event->hw.state & PERF_HES_LOST))
		event->pmu->start(event, PERF_EF_RELOAD);
}

static bool has_counter(struct perf_event *event)
{
	return perf_pmu_is_mediated(event->pmu) && event->state == PERF_EVENT_STATE_ACTIVE;
}

static void visit_active_events(struct list_head *active,
				void (*func)(struct perf_event *event))
{
	struct perf_event *leader, *event;

	list_for_each_entry(leader, active, active_list) {
		if (has_counter(leader))
			func(leader);
		for_each_sibling_event(event, leader) {
			if (has_counter(event))
				func(event);
		}
	}
}

static void visit_host_events(void (*func)(struct perf_event *event))
{
	struct perf_cpu_pmu_context *cpc;
	unsigned int i;

	for (i = 0; i < __this_cpu_read(nr_held); i++) {
		cpc = this_cpu_ptr(mediated_pmus[i]->cpu_pmu_context);

		visit_active_events(&cpc->epc.pinned_active, func);
		visit_active_events(&cpc->epc.flexible_active, func);
		if (cpc->task_epc) {
			visit_active_events(&cpc->task_epc->pinned_active, func);
			visit_active_events(&cpc->task_epc->flexible_active, func);
		}
	}
}

/**
 * perf_load_guest_context - give this CPU's PMU to the guest
 *
 * On return the host's events stand still, with their counts taken, and perf
 * does not touch the PMU's registers before perf_put_guest_context().  The next
 * step is the caller's: to make sure that the PMU as a whole is stopped, then
 * the interrupt, then the guest's registers.
 *
 * This is the one place where it is decided whether the guest's registers may
 * stay where they are over VM-exits.  They may if no event of the host stands
 * still for them, or only that of the watchdog, and another CPU looks after this
 * one meanwhile.  What changes that later claims the PMU, which calls @leave: an
 * event that comes on this CPU, one that goes, and the end of the watch.
 *
 * IRQs off.  If the registers may stay, the PMU can be gone whenever IRQs were on
 * since, and else they stay off until perf_put_guest_context(), on the same CPU.
 *
 * Return: false if the registers have to be saved, and perf_put_guest_context()
 * called, after the next VM-exit.
 */
bool perf_load_guest_context(void)
{
	/* Pairs with the release in perf_mediated_add_pmu(). */
	unsigned int i, nr = smp_load_acquire(&nr_mediated_pmus);
	bool park;

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(__this_cpu_read(perf_pmu_owner) != PERF_PMU_HOST))
		return false;

	for (i = 0; i < nr; i++)
		note_host_events(mediated_pmus[i]);

	/*
	 * Disabling nests: whatever core.c does next, here or in an interrupt
	 * while the guest's registers are parked, ends above zero and does not
	 * reach the driver.
	 */
	for (i = 0; i < nr; i++)
		perf_pmu_disable(mediated_pmus[i]);
	__this_cpu_write(nr_held, nr);

	/*
	 * Time stops with the counters, and not when all of them have been read.
	 * Nobody asks for that of the watchdog's event.
	 */
	if (__this_cpu_read(host_counts))
		perf_mediated_set_clocks(true);
	if (__this_cpu_read(host_waits))
		visit_host_events(stop_event);

	park = !__this_cpu_read(host_counts) &&
	       (!__this_cpu_read(host_waits) || hardlockup_cpu_is_watched());
	__this_cpu_write(perf_pmu_owner, park ? PERF_PMU_PARKED : PERF_PMU_GUEST);
	return park;
}
EXPORT_SYMBOL_GPL(perf_load_guest_context);

/* This CPU's watchdog has its timer: does its event have to count again?  Hard IRQ. */
void perf_mediated_watchdog_beat(void)
{
	if (perf_guest_has_pmu() && __this_cpu_read(host_waits) && !hardlockup_cpu_is_watched())
		__perf_mediated_claim_pmu();
}

/**
 * perf_put_guest_context - take this CPU's PMU back from the guest
 *
 * The guest's registers have been saved, its selectors and overflow status
 * cleared, and the interrupt is the host's again: counting begins in here.
 *
 * IRQs off, on the CPU on which it was loaded.
 */
void perf_put_guest_context(void)
{
	unsigned int i = __this_cpu_read(nr_held);

	lockdep_assert_irqs_disabled();

	if (WARN_ON_ONCE(__this_cpu_read(perf_pmu_owner) == PERF_PMU_HOST))
		return;

	__this_cpu_write(perf_pmu_owner, PERF_PMU_HOST);

	if (__this_cpu_read(host_waits))
		visit_host_events(start_event);
	__this_cpu_write(host_waits, false);

	__this_cpu_write(nr_held, 0);
	while (i--)
		perf_pmu_enable(mediated_pmus[i]);

	/*
	 * Time goes on with the counters, and not when the first of them has been
	 * written.  Never from PARKED, so no lock of perf's is held around this.
	 */
	if (__this_cpu_read(host_counts)) {
		__this_cpu_write(host_counts, false);
		perf_mediated_set_clocks(false);
	}
}
EXPORT_SYMBOL_GPL(perf_put_guest_context);

/* An event of a PMU that a guest has is about to go on this CPU, or to leave it. */
void __perf_mediated_claim_pmu(void)
{
	const struct perf_mediated_ops *ops;

	lockdep_assert_irqs_disabled();

	/* Events are scheduled by interrupts and tasks, and there are none in a guest's turn. */
	if (WARN_ON_ONCE(__this_cpu_read(perf_pmu_owner) == PERF_PMU_GUEST))
		return;

	rcu_read_lock();
	ops = rcu_dereference(mediated_ops);
	if (ops)
		ops->leave();
	rcu_read_unlock();

	WARN_ON_ONCE(__this_cpu_read(perf_pmu_owner) != PERF_PMU_HOST);
}

/* A PMI with the guests' vector: it belongs to whoever has, or just had, the PMU. */
void perf_mediated_pmi(void)
{
	const struct perf_mediated_ops *ops;

	rcu_read_lock();
	ops = rcu_dereference(mediated_ops);
	if (ops)
		ops->pmi();
	rcu_read_unlock();
}

/* Do events of the host on this CPU stand still for the guest's turn? */
bool perf_mediated_host_waits(void)
{
	return __this_cpu_read(host_waits);
}
