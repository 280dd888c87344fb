// SPDX-License-Identifier: GPL-2.0
/*
 * For tests/host/assume-perf.sh: whether the host's perf behaves as a mediated vPMU by KVM's modules
 * alone assumes.  Each check is made on each CPU, with an event of the kernel's own there.
 *
 * What is read of perf is public: the pmu of an event, with its count of stops, and the lists of
 * the events that count on a CPU.  Nothing is written but registers of the PMU, which perf writes
 * again when the event is released.
 *
 * The results are in debugfs, in the file assume_perf: "N 0" or "N 1" for each check.
 */
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/irqflags.h>
#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/perf_event.h>
#include <linux/smp.h>
#include <asm/apic.h>
#include <asm/hardirq.h>
#include <asm/msr.h>
#include <asm/nmi.h>
#include <asm/perf_event.h>

/* The check that must fail, since what it checks is prevented; 0 for none. */
static unsigned int wrong;
module_param(wrong, uint, 0);

enum {
	ACTIVE = 1,	/* perf says how many of its events count on a CPU */
	FOUND,		/* the event is on the lists of those, and its selector is on */
	CTRL,		/* the global control is what perf says */
	ENABLES,	/* perf sets the global control when it programs an event */
	CALL,		/* ... and does that on another CPU by a call, which is counted */
	STOPS,		/* perf's own stop clears the global control */
	STARTS,		/* ... and the last start sets it again */
	NMI_STOPPED,	/* an NMI does not start a PMU that is stopped in this way */
	NMI_FIRST,	/* a handler of ours sees the status before perf acknowledges it */
	LVTPC,		/* PMIs are NMIs */
	TICK,		/* timer interrupts are counted */
	GUEST_ONLY,	/* AMD: a counter for guests does not count in the host */
	CHECKS
};

static bool bad[CHECKS], made[CHECKS];
static char text[CHECKS * 8];
static struct debugfs_blob_wrapper blob = { .data = text };

static bool amd;
static u32 ctrl_msr, status_msr, set_msr, clear_msr;
static struct pmu *pmu;
static struct kvm_pmu *no_guest;
static struct perf_event *event;

static void verdict(unsigned int check, bool good)
{
	made[check] = true;
	bad[check] |= !good;
}

/* ---- what perf has */

/* Kbuild says which of the two a kernel has. */
#ifdef CPU_PMU_CONTEXT
#define cpu_context()		this_cpu_ptr(pmu->cpu_pmu_context)
#define cpu_lists(cpu)		(&(cpu)->epc)
#define task_lists(cpu)		((cpu)->task_epc)
#else
#define cpu_context()		this_cpu_ptr(pmu->pmu_cpu_context)
#define cpu_lists(cpu)		(&(cpu)->ctx)
#define task_lists(cpu)		((cpu)->task_ctx)
#endif

static void look_at(struct perf_event *counting, bool *found, u64 *used)
{
	*found |= counting == event;
	if (counting->hw.idx >= 0)
		*used |= BIT_ULL(counting->hw.idx);
}

static bool list_has(struct list_head *list, u64 *used)
{
	struct perf_event *leader, *sibling;
	bool found = false;

	list_for_each_entry(leader, list, active_list) {
		look_at(leader, &found, used);
		for_each_sibling_event(sibling, leader)
			if (sibling->state == PERF_EVENT_STATE_ACTIVE)
				look_at(sibling, &found, used);
	}
	return found;
}

/* Return whether the event counts on this CPU, and which counters perf uses here. */
static bool walk(u64 *used)
{
	typeof(cpu_context()) cpu = cpu_context();
	bool found;

	*used = 0;
	found = list_has(&cpu_lists(cpu)->pinned_active, used);
	found |= list_has(&cpu_lists(cpu)->flexible_active, used);
	if (task_lists(cpu)) {
		found |= list_has(&task_lists(cpu)->pinned_active, used);
		found |= list_has(&task_lists(cpu)->flexible_active, used);
	}
	return found;
}

static u64 expected_ctrl(void)
{
	struct x86_pmu_capability cap;
	struct perf_guest_switch_msr *msrs;
	int n = 0;

	if (amd) {
		perf_get_x86_pmu_capability(&cap);
		return BIT_ULL(cap.num_counters_gp) - 1;
	}
	msrs = perf_guest_get_msrs(&n, no_guest);
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
		return rd(MSR_ARCH_PERFMON_FIXED_CTR_CTRL) >> 4 * (hw->idx - INTEL_PMC_IDX_FIXED) & 3;
	return hw->idx >= 0 && rd(hw->config_base) & ARCH_PERFMON_EVENTSEL_ENABLE;
}

/* perf_pmu_disable() and perf_pmu_enable(), which are not exported. */
static void stop(void)
{
	if (this_cpu_inc_return(*pmu->pmu_disable_count) == 1)
		pmu->pmu_disable(pmu);
}

static void start(void)
{
	if (!this_cpu_dec_return(*pmu->pmu_disable_count))
		pmu->pmu_enable(pmu);
}

/* ---- NMIs */

static DEFINE_PER_CPU(unsigned int, nmis);
static DEFINE_PER_CPU(u64, nmi_status);
static bool expected;

static int on_nmi(unsigned int type, struct pt_regs *regs)
{
	u64 status;

	if (!READ_ONCE(expected))
		return NMI_DONE;
	status = rd(status_msr) & BIT_ULL(event->hw.idx);
	this_cpu_write(nmi_status, status);
	if (status)
		wrmsrl(clear_msr, status);
	this_cpu_inc(nmis);
	return NMI_HANDLED;
}

static void take_an_nmi(void)
{
	unsigned int before = this_cpu_read(nmis), i;

	WRITE_ONCE(expected, true);
	apic->send_IPI(smp_processor_id(), NMI_VECTOR);
	for (i = 0; i < 10000 && READ_ONCE(*this_cpu_ptr(&nmis)) == before; i++)
		cpu_relax();
	WRITE_ONCE(expected, false);
}

/* ---- the checks of a CPU, on that CPU with IRQs off */

static void note_active(void *active)
{
	*(int *)active = cpu_context()->active_oncpu;
}

static void look(void *active)
{
	u32 selector = event->hw.idx >= INTEL_PMC_IDX_FIXED ? MSR_ARCH_PERFMON_FIXED_CTR_CTRL : event->hw.config_base;
	u64 used, value;

	verdict(ACTIVE, cpu_context()->active_oncpu == *(int *)active + 1);
	if (wrong == ACTIVE)
		return;
	value = rd(selector);
	if (wrong == FOUND)
		wrmsrl(selector, 0);
	verdict(FOUND, walk(&used) && selector_on());
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
		this_cpu_inc(*pmu->pmu_disable_count);
	stop();
	rdmsrl(event->hw.event_base, value);
	stop();
	start();
	verdict(STOPS, !rd(ctrl_msr) && rd(event->hw.event_base) == value);
	if (wrong == STARTS)
		this_cpu_inc(*pmu->pmu_disable_count);
	start();
	if (wrong == STOPS)
		this_cpu_dec(*pmu->pmu_disable_count);
	verdict(STARTS, rd(ctrl_msr) == expected_ctrl());
	if (wrong == STARTS)
		start();
}

static void nmi_while_stopped(void *unused)
{
	u64 value, bit = BIT_ULL(event->hw.idx);
	unsigned int before = this_cpu_read(nmis);

	if (wrong == NMI_STOPPED)
		wrmsrl(ctrl_msr, 0);
	else
		stop();
	value = rd(event->hw.event_base);
	this_cpu_write(nmi_status, 0);
	wrmsrl(set_msr, bit);
	take_an_nmi();
	verdict(NMI_FIRST, this_cpu_read(nmis) == before + 1 && this_cpu_read(nmi_status) == bit);
	verdict(NMI_STOPPED, !rd(ctrl_msr) && selector_on() &&
		(wrong == NMI_FIRST || rd(event->hw.event_base) == value));
	if (wrong != NMI_STOPPED)
		start();
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
	u64 insns = 0xc0 | ARCH_PERFMON_EVENTSEL_OS | ARCH_PERFMON_EVENTSEL_ENABLE, used, efer;
	unsigned int n;

	if (!amd)
		return;
	stop();
	walk(&used);
	n = __ffs(~used);
	rdmsrl(MSR_EFER, efer);
	/* Without this, the CPU takes no notice of whose events are wanted. */
	wrmsrl(MSR_EFER, efer | EFER_SVME);
	verdict(GUEST_ONLY, count_alone(n, insns) > 100 &&
		!count_alone(n, insns | (wrong == GUEST_ONLY ? 0 : AMD64_EVENTSEL_GUESTONLY)));
	wrmsrl(MSR_EFER, efer);
	start();
}

/* ---- the steps */

static void no_overflow(struct perf_event *unused, struct perf_sample_data *data, struct pt_regs *regs)
{
}

static int on_cpu(unsigned int cpu)
{
	return set_cpus_allowed_ptr(current, cpumask_of(cpu));
}

static int check_cpu(unsigned int cpu, unsigned int other)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS, .size = sizeof(attr),
		.pinned = 1, .exclude_guest = 1, .disabled = wrong == ACTIVE,
	};
	int active, error;
	unsigned int n;

	/* The first event only gives its pmu. */
	event = perf_event_create_kernel_counter(&attr, cpu, NULL, no_overflow, NULL);
	if (IS_ERR(event))
		return PTR_ERR(event);
	pmu = event->pmu;
	perf_event_release_kernel(event);

	error = on_cpu(other) ?: smp_call_function_single(cpu, note_active, &active, 1);
	if (error)
		return error;
	event = perf_event_create_kernel_counter(&attr, cpu, NULL, no_overflow, NULL);
	if (IS_ERR(event))
		return PTR_ERR(event);
	smp_call_function_single(cpu, look, &active, 1);
	if (wrong == ACTIVE)
		goto out;

	smp_call_function_single(cpu, clear_ctrl, NULL, 1);
	if (wrong == CALL)
		on_cpu(cpu);
	n = per_cpu(irq_stat, cpu).irq_call_count;
	if (wrong != ENABLES) {
		perf_event_disable(event);
		perf_event_enable(event);
		verdict(CALL, per_cpu(irq_stat, cpu).irq_call_count != n);
	}
	smp_call_function_single(cpu, ctrl_is_set, NULL, 1);

	smp_call_function_single(cpu, stop_and_start, NULL, 1);
	smp_call_function_single(cpu, nmi_while_stopped, NULL, 1);
	smp_call_function_single(cpu, guest_only, NULL, 1);

	/* A CPU that is idle needs no ticks. */
	on_cpu(cpu);
	if (wrong == TICK)
		local_irq_disable();
	n = per_cpu(irq_stat, cpu).apic_timer_irqs;
	mdelay(4 * 1000 / HZ);
	verdict(TICK, per_cpu(irq_stat, cpu).apic_timer_irqs != n);
	if (wrong == TICK)
		local_irq_enable();
out:
	perf_event_release_kernel(event);
	return 0;
}

static int __init assume_perf_init(void)
{
	unsigned int i;
	int error;

	amd = boot_cpu_data.x86_vendor == X86_VENDOR_AMD;
	ctrl_msr = amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL;
	status_msr = amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS : MSR_CORE_PERF_GLOBAL_STATUS;
	clear_msr = amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR : MSR_CORE_PERF_GLOBAL_OVF_CTRL;
	set_msr = amd ? 0xc0000303 : 0x391;	/* AMD's manual, volume 2, 13.2; Intel's, volume 3, 20.2.4 */
	no_guest = kzalloc(sizeof(*no_guest), GFP_KERNEL);
	if (!no_guest)
		return -ENOMEM;
	if (wrong == NMI_FIRST)
		error = register_nmi_handler(NMI_LOCAL, on_nmi, 0, "assume_perf");
	else
		error = register_nmi_handler(NMI_LOCAL, on_nmi, NMI_FLAG_FIRST, "assume_perf");
	if (error)
		goto out;
	error = check_cpu(0, 1) ?: check_cpu(1, 0);
	unregister_nmi_handler(NMI_LOCAL, "assume_perf");
	if (error)
		goto out;
	for (i = 1; i < CHECKS; i++)
		if (made[i])
			blob.size += sprintf(text + blob.size, "%u %d\n", i, !bad[i]);
	debugfs_create_blob("assume_perf", 0400, NULL, &blob);
	return 0;
out:
	kfree(no_guest);
	return error;
}

static void __exit assume_perf_exit(void)
{
	debugfs_lookup_and_remove("assume_perf", NULL);
	kfree(no_guest);
}

module_init(assume_perf_init);
module_exit(assume_perf_exit);
MODULE_DESCRIPTION("What a mediated vPMU by KVM's modules alone assumes of the host's perf");
MODULE_LICENSE("GPL");
