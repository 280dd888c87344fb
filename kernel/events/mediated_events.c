// SPDX-License-Identifier: GPL-2.0
/*
 * The host's events on this CPU, stopped and started around a guest's turn.
 *
 * Events stay scheduled.  So a turn costs what the counting events cost, however many
 * others wait for a counter; a throttled event stays throttled; and the software events of
 * a group go on.
 */

#include <linux/list.h>
#include <linux/nmi.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>

#include "internal.h"
#include "mediated.h"

/*
 * IRQs are disabled, so only this CPU changes what is on it: the lists of active events
 * need no lock.
 */
static enum perf_host_events kind_of(struct list_head *active, struct pmu *pmu,
				     enum perf_host_events kind)
{
	struct perf_event *leader;

	list_for_each_entry(leader, active, active_list) {
		if (perf_group_pmu(leader) != pmu)
			continue;
		if (kind != PERF_HOST_NONE || !hardlockup_detector_perf_owns(leader))
			return PERF_HOST_COUNTS;
		kind = PERF_HOST_WATCHDOG;
	}

	return kind;
}

/* Return what the active events of @pmu on this CPU are, together with others that are @kind. */
enum perf_host_events perf_mediated_host_events(struct pmu *pmu, enum perf_host_events kind)
{
	struct list_head *lists[PERF_MEDIATED_MAX_LISTS];
	unsigned int i, nr = perf_mediated_active_lists(pmu, lists);

	for (i = 0; i < nr; i++)
		kind = kind_of(lists[i], pmu, kind);

	return kind;
}

/*
 * An event that was stopped already, as a throttled one is, stays stopped after the
 * guest's turn.  The guest will have used its counter, so take the count now, tell tasks
 * that read it by RDPMC, and have whoever starts the event reload the counter.  Not every
 * driver clears PERF_HES_LOST when it starts an event.
 */
static void stop_event(struct perf_event *event)
{
	bool stopped = event->hw.state & PERF_HES_STOPPED;

	event->pmu->stop(event, PERF_EF_UPDATE);
	if (!stopped) {
		event->hw.state &= ~PERF_HES_LOST;
	} else if (!(event->hw.state & PERF_HES_LOST)) {
		event->hw.state |= PERF_HES_LOST;
		perf_event_update_userpage(event);
	}
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

static void visit_active_events(struct list_head *active, struct pmu *pmu,
				void (*func)(struct perf_event *event))
{
	struct perf_event *leader, *event;

	list_for_each_entry(leader, active, active_list) {
		if (perf_group_pmu(leader) != pmu)
			continue;
		if (has_counter(leader))
			func(leader);
		for_each_sibling_event(event, leader) {
			if (has_counter(event))
				func(event);
		}
	}
}

static void visit_events(struct pmu *pmu, void (*func)(struct perf_event *event))
{
	struct list_head *lists[PERF_MEDIATED_MAX_LISTS];
	unsigned int i, nr = perf_mediated_active_lists(pmu, lists);

	for (i = 0; i < nr; i++)
		visit_active_events(lists[i], pmu, func);
}

void perf_mediated_stop_events(struct pmu *pmu)
{
	visit_events(pmu, stop_event);
}

void perf_mediated_start_events(struct pmu *pmu)
{
	visit_events(pmu, start_event);
}
