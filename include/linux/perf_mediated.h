/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A PMU that is the host's or a guest's, in turns: a "mediated" vPMU.
 *
 * While a guest has a CPU's PMU, perf's events of that PMU stand still on that CPU.
 * Who has it is a property of the CPU, and is read and changed with IRQs off on
 * that CPU only:
 *
 *	HOST	perf's; how each CPU begins
 *	GUEST	the vCPU's, from before VM-entry until after VM-exit
 *	PARKED	the vCPU's registers, over VM-exits, but perf takes the PMU when it
 *		needs it
 *
 * Documentation/virt/kvm/x86/mediated-pmu.rst is the long story.
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

/**
 * struct perf_host_clock - another clock's time, less what guests had of it
 * @behind: how far it is behind the other clock, while it goes
 * @frozen: what it shows, while it stands
 * @stands: whether it stands
 *
 * For the times of events that stand still for guests.  Whoever changes it
 * holds the lock of the other clock; an NMI may read it at any moment, which is
 * why a change touches only what nobody looks at before it flips @stands.
 */
struct perf_host_clock {
	u64	behind;
	u64	frozen;
	bool	stands;
};

/**
 * perf_host_clock_read - the time of the host
 * @clk: the clock
 * @time: what the other clock shows
 */
static __always_inline u64 perf_host_clock_read(const struct perf_host_clock *clk, u64 time)
{
	return READ_ONCE(clk->stands) ? READ_ONCE(clk->frozen) : time - READ_ONCE(clk->behind);
}

/**
 * perf_host_clock_set - stop the clock, or let it go on from where it stands
 * @clk: the clock, which is not yet as it shall be
 * @time: what the other clock shows
 * @stop: which of the two
 */
static inline void perf_host_clock_set(struct perf_host_clock *clk, u64 time, bool stop)
{
	if (stop)
		WRITE_ONCE(clk->frozen, time - clk->behind);
	else
		WRITE_ONCE(clk->behind, time - clk->frozen);
	barrier();
	WRITE_ONCE(clk->stands, stop);
}

#ifdef CONFIG_PERF_GUEST_MEDIATED_PMU

/**
 * struct perf_mediated_ops - what perf asks of the hypervisor
 * @pmi: the vector of guests' PMIs has fired on this CPU.  Hard IRQ context.
 * @leave: perf needs this CPU's PMU, which is PARKED.  Save the guest's
 *	registers, stop its counters and call perf_put_guest_context() before
 *	returning.  IRQs are off and perf's context locks are held, maybe a
 *	runqueue's too: neither wake anything nor print.
 */
struct perf_mediated_ops {
	void	(*pmi)(void);
	void	(*leave)(void);
};

/* Since the first VM with a mediated vPMU, and for good. */
DECLARE_STATIC_KEY_FALSE(perf_mediated_used);
/* An enum perf_pmu_owner. */
DECLARE_PER_CPU(u8, perf_pmu_owner);

int perf_create_mediated_pmu(void);
void perf_release_mediated_pmu(void);
void perf_set_mediated_ops(const struct perf_mediated_ops *ops);

bool perf_load_guest_context(void);
void perf_put_guest_context(void);

/* For the architecture's PMU driver. */
void perf_mediated_pmi(void);
bool perf_mediated_host_waits(void);

/* For the watchdog. */
void perf_mediated_watchdog_beat(void);

/* Are the registers of this CPU's PMU a guest's?  With preemption off. */
static __always_inline bool perf_guest_has_pmu(void)
{
	return static_branch_unlikely(&perf_mediated_used) &&
	       __this_cpu_read(perf_pmu_owner) != PERF_PMU_HOST;
}

#else

static __always_inline bool perf_guest_has_pmu(void)
{
	return false;
}

static inline void perf_mediated_watchdog_beat(void) { }

#endif /* CONFIG_PERF_GUEST_MEDIATED_PMU */

#endif /* _LINUX_PERF_MEDIATED_H */
