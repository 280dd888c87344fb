/* SPDX-License-Identifier: GPL-2.0 */
/* The part of linux/perf_mediated.h that depends on the architecture. */
#ifndef _ASM_X86_PERF_MEDIATED_H
#define _ASM_X86_PERF_MEDIATED_H

#include <linux/perf_mediated.h>

u64 perf_route_pmi_to_guest(u32 lvtpc);
u64 perf_used_counters(void);
u64 perf_selectors_to_stay(u64 eventsels);
bool perf_restores_pmu(void);
u64 perf_guest_status_bits(void);
void perf_expect_pmi(u64 status);
void perf_end_copies(void);
bool perf_keeps_pmu(void);

/* LVTPC stays the host's. */
static inline void perf_route_pmi_to_host(void) { }

/* perf_give_pmu_to_guest() has cleared the global control and the status. */
static inline bool perf_hands_over_clean_pmu(void) { return true; }

#endif /* _ASM_X86_PERF_MEDIATED_H */
