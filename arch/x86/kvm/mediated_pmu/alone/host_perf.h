/* SPDX-License-Identifier: GPL-2.0 */
/* What of the host's perf the modules reach; Kbuild says which of the two a kernel has. */
#ifndef __KVM_X86_MEDIATED_PMU_HOST_PERF_H
#define __KVM_X86_MEDIATED_PMU_HOST_PERF_H

#include <linux/kvm_host.h>
#include <linux/list.h>
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

typedef void (*host_look_t)(struct perf_event *event, void *data);

static __always_inline void host_look_at(struct perf_event *event, host_look_t look, void *data)
{
	/* A sibling may be another PMU's, or software's. */
	if (event->state == PERF_EVENT_STATE_ACTIVE && event->pmu == host_pmu)
		look(event, data);
}

static __always_inline void host_look_at_list(struct list_head *leaders, host_look_t look,
					      void *data)
{
	struct perf_event *leader, *sibling;

	list_for_each_entry(leader, leaders, active_list) {
		host_look_at(leader, look, data);
		for_each_sibling_event(sibling, leader)
			host_look_at(sibling, look, data);
	}
}

/* Call @look for each event of the PMU that is active on this CPU.  IRQs are disabled. */
static __always_inline void host_look_at_all(host_look_t look, void *data)
{
	typeof(host_cpu_context()) cpu = host_cpu_context();

	host_look_at_list(&host_cpu_lists(cpu)->pinned_active, look, data);
	host_look_at_list(&host_cpu_lists(cpu)->flexible_active, look, data);
	if (host_task_lists(cpu)) {
		host_look_at_list(&host_task_lists(cpu)->pinned_active, look, data);
		host_look_at_list(&host_task_lists(cpu)->flexible_active, look, data);
	}
}

/* What perf switches for a guest without PEBS; the first is Intel's global control. */
static inline struct perf_guest_switch_msr *host_guest_msrs(int *nr)
{
	static struct kvm_pmu no_guest;

	return perf_guest_get_msrs(nr, &no_guest);
}

/* Is an event other than the watchdog's active on this CPU that should count in guests? */
bool host_event_includes_guests(void);

bool host_is_first(void);
bool host_first_ask(void);
void host_first_end(void);

#endif /* __KVM_X86_MEDIATED_PMU_HOST_PERF_H */
