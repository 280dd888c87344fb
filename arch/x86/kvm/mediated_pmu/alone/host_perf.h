/* SPDX-License-Identifier: GPL-2.0 */
/* What of the host's perf the modules reach; Kbuild says which of the two a kernel has. */
#ifndef __KVM_X86_MEDIATED_PMU_HOST_PERF_H
#define __KVM_X86_MEDIATED_PMU_HOST_PERF_H

#include <linux/percpu.h>
#include <linux/perf_event.h>

/* The core PMU, which perf_check_mediated_pmu() has found. */
extern struct pmu *host_pmu;

#ifdef CPU_PMU_CONTEXT
#define host_cpu_context()	this_cpu_ptr(host_pmu->cpu_pmu_context)
#define host_cpu_lists(cpu)	(&(cpu)->epc)
#define host_task_lists(cpu)	((cpu)->task_epc)
#else
#define host_cpu_context()	this_cpu_ptr(host_pmu->pmu_cpu_context)
#define host_cpu_lists(cpu)	(&(cpu)->ctx)
#define host_task_lists(cpu)	((cpu)->task_ctx)
#endif

/* perf_pmu_disable() and perf_pmu_enable(), which are not exported.  They nest. */
static inline void host_pmu_stop(void)
{
	/* One instruction, because an NMI's handlers may stop it, too. */
	if (this_cpu_inc_return(*host_pmu->pmu_disable_count) == 1)
		host_pmu->pmu_disable(host_pmu);
}

static inline void host_pmu_start(void)
{
	if (!this_cpu_dec_return(*host_pmu->pmu_disable_count))
		host_pmu->pmu_enable(host_pmu);
}

#endif /* __KVM_X86_MEDIATED_PMU_HOST_PERF_H */
