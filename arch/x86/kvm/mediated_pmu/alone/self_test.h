/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Whether the host's perf behaves as host_perf.c assumes.  Each check is made on each CPU,
 * with an event of the kernel's own there.
 *
 * Nothing is written but registers of the PMU, which perf writes again when the event is
 * released.  Others may use perf meanwhile.
 *
 * tests/kunit/assume_perf.c includes this file, and defines SELF_TEST_WRONG as the number
 * of a check that must fail, since what it checks is prevented.
 */
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/irqflags.h>
#include <linux/kvm_host.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/workqueue.h>

#include <asm/apic.h>
#include <asm/hardirq.h>
#include <asm/msr.h>
#include <asm/nmi.h>
#include <asm/perf_event.h>

#include "host_perf.h"

#ifndef SELF_TEST_WRONG
#define SELF_TEST_WRONG	0
#endif
#define wrong	SELF_TEST_WRONG

enum {
	ACTIVE = 1, FOUND, CTRL, ENABLES, CALL, STOPS, STARTS, NMI_STOPPED, NMI_FIRST, LVTPC,
	TICK, GUEST_ONLY, CHECKS
};

static const char * const self_test_texts[CHECKS] = {
	[ACTIVE]	= "perf miscounts the active events of a CPU",
	[FOUND]		= "an active event is not on perf's lists",
	[CTRL]		= "the global control is not what perf says",
	[ENABLES]	= "perf programs an event and leaves the global control",
	[CALL]		= "perf programs an event without a call of its CPU",
	[STOPS]		= "perf's stop does not clear the global control",
	[STARTS]	= "perf's start does not set the global control",
	[NMI_STOPPED]	= "an NMI starts a PMU that perf has stopped",
	[NMI_FIRST]	= "perf sees the status of an NMI first",
	[LVTPC]		= "PMIs of the host are not NMIs",
	[TICK]		= "timer interrupts are not counted",
	[GUEST_ONLY]	= "a counter for guests counts in the host",
};

static bool bad[CHECKS], made[CHECKS];

static bool amd;
static u32 ctrl_msr, status_msr, set_msr, clear_msr;
static struct perf_event *event;

static void verdict(unsigned int check, bool good)
{
	made[check] = true;
	bad[check] |= !good;
}

/* ---- what perf has */

struct found {
	bool	ours;
	int	nr;
};

static void count_event(struct perf_event *active, void *data)
{
	struct found *found = data;

	found->ours |= active == event;
	found->nr++;
}

static u64 expected_ctrl(void)
{
	struct perf_guest_switch_msr *msrs;
	struct x86_pmu_capability cap;
	int n = 0;

	if (amd) {
		perf_get_x86_pmu_capability(&cap);
		return BIT_ULL(cap.num_counters_gp) - 1;
	}
	msrs = host_guest_msrs(&n);
	return n ? msrs[0].host : 0;
}

static u64 rd(u32 msr)
{
	u64 value = 0;

	rdmsrl_safe(msr, &value);
	return value;
}

/* Whether the event's selector is on. */
static bool selector_on(void)
{
	struct hw_perf_event *hw = &event->hw;

	if (hw->idx >= INTEL_PMC_IDX_FIXED)
		return rd(MSR_ARCH_PERFMON_FIXED_CTR_CTRL) >>
		       4 * (hw->idx - INTEL_PMC_IDX_FIXED) & 3;
	return hw->idx >= 0 && rd(hw->config_base) & ARCH_PERFMON_EVENTSEL_ENABLE;
}

/* ---- NMIs */

static DEFINE_PER_CPU(unsigned int, nmis);
static DEFINE_PER_CPU(u64, nmi_status);
static int expected = -1;	/* the CPU that one is sent to */

static int on_nmi(unsigned int type, struct pt_regs *regs)
{
	u64 status;

	if (READ_ONCE(expected) != smp_processor_id())
		return NMI_DONE;
	status = rd(status_msr) & BIT_ULL(event->hw.idx);
	this_cpu_or(nmi_status, status);
	if (status)
		wrmsrl(clear_msr, status);
	this_cpu_inc(nmis);
	return NMI_HANDLED;
}

static void take_an_nmi(void)
{
	unsigned int before = this_cpu_read(nmis), i;

	WRITE_ONCE(expected, smp_processor_id());
	apic->send_IPI(smp_processor_id(), NMI_VECTOR);
	for (i = 0; i < 10000 && READ_ONCE(*this_cpu_ptr(&nmis)) == before; i++)
		cpu_relax();
	WRITE_ONCE(expected, -1);
}

/* ---- the checks of a CPU, on that CPU with IRQs off */

static void look(void *unused)
{
	u32 selector = event->hw.idx >= INTEL_PMC_IDX_FIXED ? MSR_ARCH_PERFMON_FIXED_CTR_CTRL :
							      event->hw.config_base;
	struct found found = {};
	u64 value;

	host_look_at_all(count_event, &found);
	/* Events of other PMUs may be counted, too, but not fewer. */
	verdict(ACTIVE, found.ours && host_cpu_context()->active_oncpu >= found.nr);
	if (wrong == ACTIVE)
		return;
	value = rd(selector);
	if (wrong == FOUND)
		wrmsrl(selector, 0);
	verdict(FOUND, found.ours && selector_on());
	wrmsrl(selector, value);

	value = rd(ctrl_msr);
	if (wrong == CTRL)
		wrmsrl(ctrl_msr, value & ~BIT_ULL(event->hw.idx));
	verdict(CTRL, expected_ctrl() && rd(ctrl_msr) == expected_ctrl());
	wrmsrl(ctrl_msr, value);

	if (wrong == LVTPC)
		apic->write(APIC_LVTPC, APIC_DM_NMI | APIC_LVT_MASKED);
	verdict(LVTPC, apic->read(APIC_LVTPC) == APIC_DM_NMI);
	apic->write(APIC_LVTPC, APIC_DM_NMI);
}

static void clear_ctrl(void *unused)
{
	wrmsrl(ctrl_msr, 0);
}

static void ctrl_is_set(void *unused)
{
	verdict(ENABLES, rd(ctrl_msr) == expected_ctrl());
}

static void stop_and_start(void *unused)
{
	u64 value;

	if (wrong == STOPS)
		this_cpu_inc(*host_pmu->pmu_disable_count);
	host_pmu_stop();
	rdmsrl(event->hw.event_base, value);
	host_pmu_stop();
	host_pmu_start();
	verdict(STOPS, !rd(ctrl_msr) && rd(event->hw.event_base) == value);
	if (wrong == STARTS)
		this_cpu_inc(*host_pmu->pmu_disable_count);
	host_pmu_start();
	if (wrong == STOPS)
		this_cpu_dec(*host_pmu->pmu_disable_count);
	verdict(STARTS, rd(ctrl_msr) == expected_ctrl());
	if (wrong == STARTS)
		host_pmu_start();
}

static void nmi_while_stopped(void *unused)
{
	u64 value, bit = BIT_ULL(event->hw.idx);
	unsigned int before = this_cpu_read(nmis);

	if (wrong == NMI_STOPPED)
		wrmsrl(ctrl_msr, 0);
	else
		host_pmu_stop();
	value = rd(event->hw.event_base);
	this_cpu_write(nmi_status, 0);
	wrmsrl(set_msr, bit);
	take_an_nmi();
	verdict(NMI_FIRST, this_cpu_read(nmis) != before && this_cpu_read(nmi_status) == bit);
	verdict(NMI_STOPPED, !rd(ctrl_msr) && selector_on() &&
		(wrong == NMI_FIRST || rd(event->hw.event_base) == value));
	if (wrong != NMI_STOPPED)
		host_pmu_start();
}

static u64 count_alone(unsigned int n, u64 selector)
{
	unsigned int i;

	wrmsrl(MSR_F15H_PERF_CTR + 2 * n, 0);
	wrmsrl(MSR_F15H_PERF_CTL + 2 * n, selector);
	wrmsrl(ctrl_msr, BIT_ULL(n));
	for (i = 0; i < 100; i++)
		barrier();
	wrmsrl(ctrl_msr, 0);
	wrmsrl(MSR_F15H_PERF_CTL + 2 * n, 0);
	return rd(MSR_F15H_PERF_CTR + 2 * n);
}

static void guest_only(void *unused)
{
	u64 insns = 0xc0 | ARCH_PERFMON_EVENTSEL_OS | ARCH_PERFMON_EVENTSEL_ENABLE;
	u64 efer;
	unsigned int n;

	if (!amd)
		return;
	host_pmu_stop();
	/* One that perf does not use: that of a throttled event is off, but not 0. */
	for (n = 0; n < AMD64_NUM_COUNTERS_CORE; n++)
		if (!rd(MSR_F15H_PERF_CTL + 2 * n))
			break;
	if (n == AMD64_NUM_COUNTERS_CORE)
		goto out;
	rdmsrl(MSR_EFER, efer);
	/* Without this, the CPU takes no notice of whose events are wanted. */
	wrmsrl(MSR_EFER, efer | EFER_SVME);
	verdict(GUEST_ONLY, count_alone(n, insns) > 100 &&
		!count_alone(n, insns | (wrong == GUEST_ONLY ? 0 : AMD64_EVENTSEL_GUESTONLY)));
	wrmsrl(MSR_EFER, efer);
out:
	host_pmu_start();
}

/* ---- the steps */

static void no_overflow(struct perf_event *unused, struct perf_sample_data *data,
			struct pt_regs *regs)
{
}

static struct perf_event *make_event(unsigned int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS,
		.size = sizeof(attr), .pinned = 1, .exclude_guest = 1,
		.disabled = wrong == ACTIVE,
	};

	return perf_event_create_kernel_counter(&attr, cpu, NULL, no_overflow, NULL);
}

static cpumask_var_t allowed;

/* Run on any CPU but this one, if there is another. */
static int leave_cpu(unsigned int cpu)
{
	cpumask_var_t others;
	int error = 0;

	if (!alloc_cpumask_var(&others, GFP_KERNEL))
		return -ENOMEM;

	cpumask_andnot(others, allowed, cpumask_of(cpu));
	if (!cpumask_intersects(others, cpu_online_mask))
		cpumask_andnot(others, cpu_online_mask, cpumask_of(cpu));
	if (cpumask_intersects(others, cpu_online_mask))
		error = set_cpus_allowed_ptr(current, others);
	free_cpumask_var(others);

	return error;
}

/* ---- a CPU that polls in idle takes calls without an interrupt: keep it busy */

static bool busy, stop_spinning;

static void spin(struct work_struct *unused)
{
	WRITE_ONCE(busy, true);
	while (!READ_ONCE(stop_spinning))
		cpu_relax();
}

static DECLARE_WORK(spin_work, spin);

static void keep_busy(unsigned int cpu)
{
	unsigned int tries;

	busy = false;
	stop_spinning = false;
	schedule_work_on(cpu, &spin_work);
	/* If it does not get the CPU, the CPU is busy anyway. */
	for (tries = 0; tries < 10000 && !READ_ONCE(busy); tries++)
		udelay(1);
}

static void end_busy(void)
{
	WRITE_ONCE(stop_spinning, true);
	cancel_work_sync(&spin_work);
}

/* Perf's work in a tick is seen by the interrupt, which is that of all such timers. */
static struct hrtimer timer;

static enum hrtimer_restart no_restart(struct hrtimer *unused)
{
	return HRTIMER_NORESTART;
}

static void start_timer(void *unused)
{
	hrtimer_start(&timer, ms_to_ktime(1), HRTIMER_MODE_REL_PINNED_HARD);
}

static void check_timer(unsigned int cpu)
{
	const unsigned int *count = wrong == TICK ? &per_cpu(irq_stat, cpu).__nmi_count :
						    &per_cpu(irq_stat, cpu).apic_timer_irqs;
	unsigned int before = READ_ONCE(*count), tries;

	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	timer.function = no_restart;
	smp_call_function_single(cpu, start_timer, NULL, 1);
	for (tries = 0; tries < 1000 && READ_ONCE(*count) == before; tries++)
		udelay(9);
	verdict(TICK, tries < 1000);
	hrtimer_cancel(&timer);
}

static void check_calls(unsigned int cpu)
{
	const unsigned int *count = wrong == CALL ? &per_cpu(irq_stat, cpu).__nmi_count :
						    &per_cpu(irq_stat, cpu).irq_call_count;
	/* Alone, a CPU calls itself without an interrupt, and the work would keep it busy. */
	const bool remote = cpu != raw_smp_processor_id();
	unsigned int before;

	if (remote)
		keep_busy(cpu);
	smp_call_function_single(cpu, clear_ctrl, NULL, 1);
	before = READ_ONCE(*count);
	if (wrong != ENABLES) {
		perf_event_disable(event);
		perf_event_enable(event);
		if (remote)
			verdict(CALL, READ_ONCE(*count) != before);
	}
	smp_call_function_single(cpu, ctrl_is_set, NULL, 1);
	if (remote)
		end_busy();
}

static int check_cpu(unsigned int cpu)
{
	int error = leave_cpu(cpu);

	if (error)
		return error;
	event = make_event(cpu);
	if (IS_ERR(event))
		return PTR_ERR(event);
	/* Pinned events of others may have all counters. */
	if (wrong != ACTIVE &&
	    (READ_ONCE(event->state) != PERF_EVENT_STATE_ACTIVE || event->hw.idx < 0)) {
		error = -EBUSY;
		goto out;
	}
	smp_call_function_single(cpu, look, NULL, 1);
	if (wrong == ACTIVE)
		goto out;

	check_calls(cpu);
	smp_call_function_single(cpu, stop_and_start, NULL, 1);
	smp_call_function_single(cpu, nmi_while_stopped, NULL, 1);
	smp_call_function_single(cpu, guest_only, NULL, 1);
	check_timer(cpu);
out:
	perf_event_release_kernel(event);
	return error;
}

/*
 * Return: NULL; the text of a check that has failed on a CPU; or an ERR_PTR() if the checks
 * could not be made.
 */
static const char *self_test(void)
{
	struct perf_event *first;
	unsigned int i;
	int cpu, error;

	amd = boot_cpu_data.x86_vendor == X86_VENDOR_AMD;
	ctrl_msr = amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL;
	status_msr = amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS : MSR_CORE_PERF_GLOBAL_STATUS;
	clear_msr = amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR : MSR_CORE_PERF_GLOBAL_OVF_CTRL;
	/* AMD's manual, volume 2, 13.2; Intel's, volume 3, 20.2.4. */
	set_msr = amd ? 0xc0000303 : 0x391;
	memset(bad, 0, sizeof(bad));

	if (!alloc_cpumask_var(&allowed, GFP_KERNEL))
		return ERR_PTR(-ENOMEM);
	cpumask_copy(allowed, current->cpus_ptr);

	if (wrong == NMI_FIRST)
		error = register_nmi_handler(NMI_LOCAL, on_nmi, 0, "kvm_pmu_self_test");
	else
		error = register_nmi_handler(NMI_LOCAL, on_nmi, NMI_FLAG_FIRST,
					     "kvm_pmu_self_test");
	if (error)
		goto out;

	/* This event only gives its pmu. */
	first = make_event(raw_smp_processor_id());
	error = PTR_ERR_OR_ZERO(first);
	if (!error) {
		host_pmu = first->pmu;
		perf_event_release_kernel(first);
	}
	cpus_read_lock();
	for_each_online_cpu(cpu)
		if (!error)
			error = check_cpu(cpu);
	cpus_read_unlock();
	set_cpus_allowed_ptr(current, allowed);
	unregister_nmi_handler(NMI_LOCAL, "kvm_pmu_self_test");
out:
	free_cpumask_var(allowed);
	if (error)
		return ERR_PTR(error);
	for (i = 1; i < CHECKS; i++)
		if (bad[i])
			return self_test_texts[i];
	return NULL;
}
