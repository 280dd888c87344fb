/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A PMU that the host and guests own in turns: a "mediated" vPMU.
 *
 * While a guest owns a CPU's PMU, perf's events of that PMU are stopped on that CPU.  The
 * owner is a property of the CPU, read and changed with IRQs disabled on that CPU only:
 *
 *	HOST	perf; the initial state
 *	GUEST	a vCPU, from before VM-entry until after VM-exit
 *	PARKED	a vCPU, whose registers stay loaded after VM-exit; perf reclaims the PMU
 *		when perf needs it
 *
 * Documentation/virt/kvm/x86/mediated-pmu.rst describes the design.
 */
#ifndef _LINUX_PERF_MEDIATED_H
#define _LINUX_PERF_MEDIATED_H

#include <linux/compiler.h>
#include <linux/jump_label.h>
#include <linux/percpu.h>
#include <linux/types.h>

enum perf_pmu_owner {
	PERF_PMU_HOST,
	PERF_PMU_GUEST,
	PERF_PMU_PARKED,
};

#ifdef CONFIG_PERF_GUEST_MEDIATED_PMU

/**
 * struct perf_mediated_ops - what perf asks of the hypervisor
 * @pmi: the vector of guests' PMIs has fired on this CPU.  Hard IRQ context.
 * @reclaim: perf needs this CPU's PMU, which is PARKED.  Save the guest's registers, stop
 *	its counters and call perf_take_pmu_from_guest() before returning.  IRQs are
 *	disabled, and perf's context locks are held, possibly a runqueue's as well: do not
 *	wake anything, and do not print.
 */
struct perf_mediated_ops {
	void	(*pmi)(void);
	void	(*reclaim)(void);
};

/* Enabled by the first VM with a mediated vPMU, and never disabled. */
DECLARE_STATIC_KEY_FALSE(perf_mediated_used);
/* An enum perf_pmu_owner. */
DECLARE_PER_CPU(u8, perf_pmu_owner);
/* The number of PMUs that are disabled on this CPU for a guest's turn. */
DECLARE_PER_CPU(u8, perf_pmus_held);

int perf_create_mediated_pmu(void);
void perf_release_mediated_pmu(void);
void perf_set_mediated_ops(const struct perf_mediated_ops *ops);

bool perf_give_pmu_to_guest(void);
void perf_take_pmu_from_guest(void);

/* For the architecture's PMU driver. */
void perf_guest_handle_mediated_pmi(void);
bool perf_mediated_host_waits(void);

/* By the architecture. */
void perf_mediated_wait_for_pmi(void);

/* For the watchdog. */
void perf_mediated_watchdog_beat(void);

/* Does a guest own this CPU's PMU?  Preemption is disabled. */
static __always_inline bool perf_guest_has_pmu(void)
{
	return static_branch_unlikely(&perf_mediated_used) &&
	       __this_cpu_read(perf_pmu_owner) != PERF_PMU_HOST;
}

/*
 * Is this CPU's PMU on its way to a guest, the guest's, or on its way back?  What enables
 * it before perf_take_pmu_from_guest() does would undo what has been done by then.
 */
static __always_inline bool perf_pmu_is_held(void)
{
	return static_branch_unlikely(&perf_mediated_used) && __this_cpu_read(perf_pmus_held);
}

#else

static __always_inline bool perf_guest_has_pmu(void)
{
	return false;
}

static __always_inline bool perf_pmu_is_held(void)
{
	return false;
}

static inline void perf_mediated_watchdog_beat(void) { }

#endif /* CONFIG_PERF_GUEST_MEDIATED_PMU */

#endif /* _LINUX_PERF_MEDIATED_H */
