/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What KVM's mediated vPMU asks of perf, where perf knows nothing of it: KVM's modules are
 * made for a kernel that exists already.  They answer it themselves, in host_perf.c.
 *
 * The interface is that of the kernel's own include/linux/perf_mediated.h, in place of
 * which this file is found.
 */
#ifndef _LINUX_PERF_MEDIATED_H
#define _LINUX_PERF_MEDIATED_H

#include <linux/types.h>

/**
 * struct perf_mediated_ops - what the back end asks of KVM
 * @pmi: a guest's PMI has arrived on this CPU.  Hard IRQ context.
 * @reclaim: never called: no vCPU's state stays loaded after VM-exit
 */
struct perf_mediated_ops {
	void	(*pmi)(void);
	void	(*reclaim)(void);
};

/* No event is refused, and so no VM is. */
static inline int perf_create_mediated_pmu(void) { return 0; }
static inline void perf_release_mediated_pmu(void) { }

const char *perf_check_mediated_pmu(unsigned int *nr_metrics);
void perf_set_mediated_ops(const struct perf_mediated_ops *ops);

bool perf_give_pmu_to_guest(void);
void perf_take_pmu_from_guest(void);

#endif /* _LINUX_PERF_MEDIATED_H */
