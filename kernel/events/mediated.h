/* SPDX-License-Identifier: GPL-2.0 */
/* Between perf's core and the PMUs that guests can have; see mediated.c. */
#ifndef _KERNEL_EVENTS_MEDIATED_H
#define _KERNEL_EVENTS_MEDIATED_H

#include <linux/perf_event.h>

#ifdef CONFIG_PERF_GUEST_MEDIATED_PMU

/* The host's active events on a CPU, as far as a guest's turn depends on them. */
enum perf_host_events {
	PERF_HOST_NONE,
	PERF_HOST_WATCHDOG,	/* only the NMI watchdog's */
	PERF_HOST_COUNTS,
};

/* The most lists that perf_mediated_active_lists() finds, see internal.h. */
#define PERF_MEDIATED_MAX_LISTS	4

/* core.c; on this CPU, with IRQs disabled. */
void perf_mediated_set_clocks(struct pmu **pmus, unsigned int nr, bool stop);

/* mediated_events.c; on this CPU, with IRQs disabled. */
enum perf_host_events perf_mediated_host_events(struct pmu *pmu, enum perf_host_events kind);
void perf_mediated_stop_events(struct pmu *pmu);
void perf_mediated_start_events(struct pmu *pmu);

/* mediated.c and mediated_account.c, for core.c. */
unsigned int perf_mediated_nr_pmus(void);
void perf_mediated_add_pmu(struct pmu *pmu);
int perf_mediated_account_event(struct perf_event *event);
void perf_mediated_unaccount_event(struct perf_event *event);
void __perf_mediated_reclaim_pmu(void);

static inline bool perf_pmu_is_mediated(const struct pmu *pmu)
{
	return pmu->capabilities & PERF_PMU_CAP_MEDIATED_VPMU;
}

/*
 * An event of @pmu is about to go on this CPU, or to leave it.  If the PMU is parked, the guest
 * has left it when this returns.
 */
static __always_inline void perf_mediated_reclaim_pmu(const struct pmu *pmu)
{
	if (perf_guest_has_pmu() && perf_pmu_is_mediated(pmu))
		__perf_mediated_reclaim_pmu();
}

/*
 * How to start an event that has been stopped for some time, as by throttling:
 * does its counter still hold what it has counted, or has a guest been there?
 */
static __always_inline int perf_mediated_reload(const struct perf_event *event)
{
	if (static_branch_unlikely(&perf_mediated_used) &&
	    event->hw.state & PERF_HES_LOST)
		return PERF_EF_RELOAD;

	return 0;
}

#define perf_host_clock_of(holder)	(&(holder)->host_clock)

/* The time @event goes by, where its context's or cgroup's clock shows @time. */
static __always_inline u64 perf_mediated_event_time(const struct perf_event *event,
						    const struct perf_host_clock *clk, u64 time)
{
	if (static_branch_unlikely(&perf_mediated_used) &&
	    event->attach_state & PERF_ATTACH_HOST_CLOCK)
		return perf_host_clock_read(clk, time);

	return time;
}

#else

static inline void perf_mediated_add_pmu(struct pmu *pmu) { }
static inline int perf_mediated_account_event(struct perf_event *event) { return 0; }
static inline void perf_mediated_unaccount_event(struct perf_event *event) { }
static inline bool perf_pmu_is_mediated(const struct pmu *pmu) { return false; }
static inline void perf_mediated_reclaim_pmu(const struct pmu *pmu) { }
static inline int perf_mediated_reload(const struct perf_event *event) { return 0; }

#define perf_host_clock_of(holder)	((void)(holder), NULL)

static inline u64 perf_mediated_event_time(const struct perf_event *event,
					   const struct perf_host_clock *clk, u64 time)
{
	return time;
}

#endif /* CONFIG_PERF_GUEST_MEDIATED_PMU */

#endif /* _KERNEL_EVENTS_MEDIATED_H */
