/* SPDX-License-Identifier: GPL-2.0 */
/* Between perf's core and the PMUs that guests can have; see mediated.c. */
#ifndef _KERNEL_EVENTS_MEDIATED_H
#define _KERNEL_EVENTS_MEDIATED_H

#include <linux/perf_event.h>

#ifdef CONFIG_GUEST_PERF_EVENTS

/* What core.c does for mediated.c, all on this CPU with IRQs off. */
bool perf_mediated_pmu_busy(struct pmu *pmu);
void perf_mediated_events_out(void);
void perf_mediated_events_in(void);

/* What mediated.c does for core.c. */
void perf_mediated_add_pmu(struct pmu *pmu);
int perf_mediated_account_event(struct perf_event *event);
void perf_mediated_unaccount_event(struct perf_event *event);
bool __perf_mediated_claim_pmu(void);

static inline bool perf_pmu_is_mediated(const struct pmu *pmu)
{
	return pmu->capabilities & PERF_PMU_CAP_MEDIATED_VPMU;
}

/*
 * May events of @pmu go on this CPU?  To ask is to want it: a guest that can
 * leave has left when this returns.
 */
static __always_inline bool perf_mediated_claim_pmu(const struct pmu *pmu)
{
	if (!perf_guest_has_pmu() || !perf_pmu_is_mediated(pmu))
		return true;

	return __perf_mediated_claim_pmu();
}

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
static inline bool perf_mediated_claim_pmu(const struct pmu *pmu) { return true; }

static inline u64 perf_mediated_event_time(const struct perf_event *event,
					   const struct perf_host_clock *clk, u64 time)
{
	return time;
}

#endif /* CONFIG_GUEST_PERF_EVENTS */

#endif /* _KERNEL_EVENTS_MEDIATED_H */
