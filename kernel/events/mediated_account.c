// SPDX-License-Identifier: GPL-2.0
/*
 * Which events and which VMs may exist together: an event that counts in guests, and a VM
 * with a mediated vPMU, exclude each other.
 */
#define pr_fmt(fmt) "perf: " fmt

#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/mutex.h>
#include <linux/nmi.h>
#include <linux/perf_event.h>
#include <linux/printk.h>
#include <linux/sched.h>

#include "mediated.h"

/*
 * If positive, the number of events that count in guests; if negative, minus the number of
 * VMs with a mediated vPMU.  One atomic, so that joining one side and checking for the
 * other is one operation.
 */
static atomic_t events_or_vms = ATOMIC_INIT(0);

/* Serializes the one-time preparations of perf_create_mediated_pmu(). */
static DEFINE_MUTEX(mediated_mutex);

/*
 * Count originals only: an inherited event does not outlive its parent, and fork() must
 * not fail where the parent was accepted.
 */
int perf_mediated_account_event(struct perf_event *event)
{
	if (event->parent || event->attr.exclude_guest || !perf_pmu_is_mediated(event->pmu))
		return 0;

	if (atomic_inc_unless_negative(&events_or_vms)) {
		event->attach_state |= PERF_ATTACH_GUEST;
		return 0;
	}

	pr_info_ratelimited("%s[%d]: event %u/%#llx would count in guests that have a mediated vPMU: set exclude_guest (event:H)\n",
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
 * perf_create_mediated_pmu - register a VM that owns the PMU while it runs
 *
 * Until perf_release_mediated_pmu(), no event can be opened that would count in guests,
 * because no event could keep that promise.
 *
 * The first call makes the events of the NMI watchdog exclude guests, for good, so that
 * the watchdog is no reason to refuse.
 *
 * May sleep, takes cpu_hotplug_lock.
 *
 * Return: 0, -EOPNOTSUPP if no PMU can be given to guests, -EBUSY while events that count
 * in guests are open.
 */
int perf_create_mediated_pmu(void)
{
	int ret = 0;
	int events;

	might_sleep();

	if (!perf_mediated_nr_pmus())
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
 * perf_release_mediated_pmu - unregister a VM that runs on no CPU any more
 */
void perf_release_mediated_pmu(void)
{
	WARN_ON_ONCE(atomic_inc_return(&events_or_vms) > 0);
}
EXPORT_SYMBOL_GPL(perf_release_mediated_pmu);
