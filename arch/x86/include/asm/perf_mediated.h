/* SPDX-License-Identifier: GPL-2.0 */
/* LVTPC, while a guest has the PMU; see arch/x86/events/mediated.c. */
#ifndef _ASM_X86_PERF_MEDIATED_H
#define _ASM_X86_PERF_MEDIATED_H

#include <linux/perf_mediated.h>

#ifdef CONFIG_PERF_GUEST_MEDIATED_PMU

DECLARE_PER_CPU(bool, perf_guest_lvtpc);

const char *perf_check_mediated_pmu(unsigned int *nr_metrics);

u64 perf_route_pmi_to_guest(u32 lvtpc);
void perf_route_pmi_to_host(void);
u64 perf_used_counters(void);
bool perf_guest_lvtpc_nmi(void);

/* Whoever is handed the PMU clears the global control and the status. */
static __always_inline bool perf_hands_over_clean_pmu(void) { return false; }

/* Whoever hands it back clears the fixed control and the selectors. */
static __always_inline bool perf_restores_pmu(void) { return false; }

/* Between two turns of a guest, selectors stay only if they count in guests only. */
static __always_inline u64 perf_selectors_to_stay(u64 eventsels) { return 0; }
static __always_inline void perf_end_copies(void) { }

/* Perf refuses the events for which it would. */
static __always_inline bool perf_keeps_pmu(void) { return false; }

/* PT and BTS are handed over together with the counters. */
static __always_inline u64 perf_guest_status_bits(void) { return ~0ULL; }

/* LVTPC is the guest's until it is handed back, and a PMI that is late has its vector. */
static __always_inline void perf_expect_pmi(u64 status) { }

/* Would a PMI on this CPU be a guest's? */
static __always_inline bool perf_guest_has_lvtpc(void)
{
	return static_branch_unlikely(&perf_mediated_used) && __this_cpu_read(perf_guest_lvtpc);
}

#else

static __always_inline bool perf_guest_has_lvtpc(void)
{
	return false;
}

static inline bool perf_guest_lvtpc_nmi(void)
{
	return false;
}

#endif /* CONFIG_PERF_GUEST_MEDIATED_PMU */

#endif /* _ASM_X86_PERF_MEDIATED_H */
