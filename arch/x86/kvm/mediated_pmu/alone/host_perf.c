// SPDX-License-Identifier: GPL-2.0
/*
 * The PMU of a host whose perf knows nothing of mediated vPMUs.
 *
 * KVM's modules are all that is ours here.  What they reach of perf is public: an event's
 * struct pmu, with the callbacks and the count with which perf stops a PMU as often as it
 * likes, and the lists of the events that are active on this CPU.  self_test.h checks, on
 * each CPU when the modules are loaded, that this perf behaves as is assumed here.
 *
 * A guest's turn lasts from before VM-entry until after VM-exit, with IRQs disabled.
 *
 * idle		Perf has no active event on this CPU.  The global control is 0, also after the
 *		turn, and the guest's registers stay as they are as copies.  If the control is
 *		still 0 before the next turn, perf has not programmed anything: whenever perf
 *		programs a counter it writes its control, which is never 0.
 *
 * plain	Perf has events that only count.  The registers of their counters are saved,
 *		and written back at the end of the turn.  Perf is not told: its control is 0
 *		meanwhile.
 *
 * framed	Perf has events that use more than counters.  Perf is stopped as perf itself
 *		does it, and takes off what else there is.
 *
 * Perf's NMI handler would write the control, so an NMI during a turn makes it a framed
 * one: perf's handler leaves a PMU stopped that perf has stopped.
 *
 * Selectors that stay on do not count in the host.  AMD's count in guests only.  Intel's
 * have no bit in the control that the host is left with, until perf writes its own: then
 * they count until the next turn, or until the vCPU's thread leaves the CPU.  Nobody looks
 * at them, and memory has the guest's values.
 *
 * LVTPC stays the host's, so a guest's PMI is an NMI.  The first handler of NMIs hides
 * the guest's PMU from perf's, the last one puts it back: perf, and whoever else is
 * called in between, see a PMU without an overflow.  On Intel, the local APIC has masked
 * LVTPC if the NMI was a PMI.  On AMD the status tells.
 *
 * An event that includes guests stands while a guest has the PMU: nothing can refuse it.
 * host_first.c turns that round.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/kvm_host.h>
#include <linux/moduleparam.h>
#include <linux/perf_event.h>
#include <linux/perf_mediated.h>

#include <asm/apic.h>
#include <asm/hardirq.h>
#include <asm/nmi.h>
#include <asm/perf_mediated.h>

#include "../internal.h"
#include "host_perf.h"

/* An overflow's NMI comes within less, on any CPU of which this is known.  Microseconds. */
#define SETTLE_TIME	50

/* How long an NMI that was announced may take, in jiffies. */
#define LATE_NMI	1

/**
 * struct late_nmi - an NMI that may come when nothing tells any more what it is for
 * @expected: it has not come
 * @end: until when it may, in jiffies
 */
struct late_nmi {
	bool		expected;
	unsigned long	end;
};

static void expect_nmi(struct late_nmi *nmi)
{
	nmi->end = jiffies + LATE_NMI;
	nmi->expected = true;
}

/* Return whether an NMI that has come may be this one. */
static bool take_nmi(struct late_nmi *nmi)
{
	if (!nmi->expected)
		return false;

	nmi->expected = false;
	return time_before_eq(jiffies, nmi->end);
}

struct pmu *host_pmu;

static const struct perf_mediated_ops *host_ops;

/* Guests' turns in which an event of the host's stood that should count in guests, too. */
static atomic_long_t standing;

static int get_standing(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%ld\n", atomic_long_read(&standing));
}

static const struct kernel_param_ops standing_ops = { .get = get_standing };
module_param_cb(mediated_pmu_standing_events, &standing_ops, NULL, 0444);

/* The bits of the overflow status that are counters'; others are PT's, PEBS' and so on. */
static u64 counter_bits;

#define OTHER_PMIS	(GLOBAL_STATUS_TRACE_TOPAPMI | GLOBAL_STATUS_BUFFER_OVF)

/**
 * struct in_use - what perf uses of a CPU's PMU
 * @counters: its counters, numbered as in the global control
 * @pebs: those whose overflow makes a record, and not a PMI
 * @more: an event uses more than a counter: PEBS, branch records, BTS
 * @standing: an event should count in guests, too; not the watchdog's
 * @type: of that event
 * @config: of that event
 */
struct in_use {
	u64	counters;
	u64	pebs;
	bool	more;
	bool	standing;
	u32	type;
	u64	config;
};

/**
 * struct turn - a guest's turn on a CPU, or what the last one has left
 * @lent: the registers are the guest's
 * @framed: perf is stopped
 * @idle: perf had no active event
 * @left: the global control was left at @ctrl_left
 * @ctrl: perf's own global control
 * @ctrl_left: what the last turn has left there
 * @untouched: perf has not written a register since the last turn
 * @nmi_is_hosts: perf is owed an NMI that came during the turn
 * @use: what perf uses
 * @counter: what its counters held
 * @eventsel: their selectors
 * @fixed_ctr_ctrl: the host's control of fixed counters
 * @metrics: PERF_METRICS, if perf uses the counter of slots
 * @status: overflows that perf has not seen yet
 * @known: interrupts_seen() at the end of the last turn, if @trusted.  Perf has not run since
 *	if that has not changed: the vCPU's thread has not left the CPU
 * @trusted: see @known
 * @aborts: transactions abort for the guest's sake, see keep_counter3()
 * @stay: the counters whose selectors, the guest's, stay on after the turn
 * @guest_status: the status that the first NMI handler has hidden
 * @guest_ctrl: the same for the global control, where the register holds the guest's
 * @was_masked: Intel's LVTPC was masked when the NMI came, so that it is a PMI
 * @seen_status: the status at that time, between two turns
 * @spare_nmi: one that may follow where LVTPC had to be unmasked
 * @told_type: of the event that @tell is to tell of
 * @told_config: of that event
 * @tell: tells of an event that stands
 * @pmi: a PMI of the guest has arrived during the turn
 * @late_pmi: one of AMD's that has yet to arrive
 * @work: tells KVM of a PMI
 */
struct turn {
	bool		lent;
	bool		framed;
	bool		idle;
	bool		left;
	bool		untouched;
	bool		trusted;
	bool		nmi_is_hosts;
	bool		aborts;
	unsigned int	known;
	struct in_use	use;
	u64		ctrl;
	u64		ctrl_left;
	u64		counter[X86_PMC_IDX_MAX];
	u64		eventsel[KVM_MEDIATED_PMU_MAX_GP];
	u64		fixed_ctr_ctrl;
	u64		metrics;
	u64		status;
	u64		stay;
	u64		guest_status;
	u64		guest_ctrl;
	bool		was_masked;
	u64		seen_status;
	struct late_nmi	spare_nmi;
	bool		pmi;
	struct late_nmi	late_pmi;
	struct irq_work	work;
	u32		told_type;
	u64		told_config;
	struct irq_work	tell;
};

static DEFINE_PER_CPU(struct turn, turn);

#define SLOTS	BIT_ULL(KVM_MEDIATED_PMU_SLOTS_IDX)

static bool is_intel(void)
{
	return boot_cpu_data.x86_vendor == X86_VENDOR_INTEL;
}

/*
 * AMD's floating-point operations, of which a clock may retire more than a counter can add.
 * From Zen on, perf merges the counter with the next one, and writes that one, too.
 */
static bool takes_two_counters(const struct perf_event *event)
{
	return !is_intel() && (event->hw.config & AMD64_EVENTSEL_EVENT) == 0x003;
}

/* Events of PERF_METRICS have indices of their own, which are no counters. */
static u64 counters_of(const struct perf_event *event)
{
	const u64 all = GENMASK_ULL(kvm_mediated_pmu_host.nr_gp - 1, 0);
	int i = event->hw.idx;

	if (i < 0)
		return 0;
	if (i >= INTEL_PMC_IDX_METRIC_BASE && i <= INTEL_PMC_IDX_METRIC_END)
		return SLOTS;
	if (i < INTEL_PMC_IDX_FIXED)
		return (takes_two_counters(event) ? 3ULL : 1ULL) << i & all;

	return i < INTEL_PMC_IDX_FIXED + kvm_mediated_pmu_host.nr_fixed ? BIT_ULL(i) : 0;
}

/*
 * A pinned event of the kernel's own: it guards the host, and need not count in guests.  Its
 * type is what nmi_watchdog=rNNN asks for.
 */
static bool is_watchdog(const struct perf_event *event)
{
	return event->attr.pinned && IS_ERR(event->owner);
}

/*
 * The counter of a stopped event matters until its value has been taken: an event that is
 * throttled goes on from there.
 */
static void add_event(struct perf_event *event, void *data)
{
	const int taken = PERF_HES_STOPPED | PERF_HES_UPTODATE;
	struct in_use *use = data;
	u64 counters;

	if ((event->hw.state & taken) == taken)
		return;

	counters = counters_of(event);
	use->counters |= counters;
	if (event->attr.precise_ip)
		use->pebs |= counters;
	if (!counters || event->attr.precise_ip || event->attr.branch_sample_type)
		use->more = true;
	if (!event->attr.exclude_guest && !is_watchdog(event)) {
		use->standing = true;
		use->type = event->attr.type;
		use->config = event->attr.config;
	}
}

static struct in_use look_at_perf(void)
{
	struct in_use use = {};

	lockdep_assert_irqs_disabled();

	if (host_cpu_context()->active_oncpu)
		host_look_at_all(add_event, &use);

	return use;
}

/**
 * perf_used_counters - the counters that perf's active events have
 *
 * Called with IRQs disabled.
 *
 * Return: the counters on this CPU, numbered as in the global control.
 */
u64 perf_used_counters(void)
{
	return look_at_perf().counters;
}

bool host_event_includes_guests(void)
{
	return look_at_perf().standing;
}

/*
 * An event that should count in guests stands while this one runs.  Nothing can refuse the
 * event, so tell of it: of each kind once, and of the first few kinds.
 */
static void tell_of_standing(struct irq_work *work)
{
	static DEFINE_RAW_SPINLOCK(lock);
	static struct {
		u32	type;
		u64	config;
	} told[8];
	static unsigned int nr_told;
	const struct turn *t = container_of(work, struct turn, tell);
	bool is_new;
	unsigned int i;

	raw_spin_lock(&lock);
	for (i = 0; i < nr_told; i++)
		if (told[i].type == t->told_type && told[i].config == t->told_config)
			break;
	is_new = i == nr_told && nr_told < ARRAY_SIZE(told);
	if (is_new) {
		told[i].type = t->told_type;
		told[i].config = t->told_config;
		nr_told++;
	}
	raw_spin_unlock(&lock);

	if (is_new)
		pr_info("event %#llx of perf, type %u, %s\n", t->told_config, t->told_type,
			host_is_first() ? "counts in guests, whose PMU stands" :
					  "counts nothing while guests use their PMU");
}

static void tell_of_event(struct turn *t)
{
	if (t->told_type == t->use.type && t->told_config == t->use.config)
		return;

	t->told_type = t->use.type;
	t->told_config = t->use.config;
	irq_work_queue(&t->tell);
}

/* Perf runs on this CPU in an interrupt, or in a task that is switched to. */
static unsigned int interrupts_seen(void)
{
	const irq_cpustat_t *seen = this_cpu_ptr(&irq_stat);

	return seen->irq_call_count + seen->apic_timer_irqs + seen->apic_irq_work_irqs +
	       seen->__nmi_count;
}

static u64 fixed_bits(void)
{
	return (BIT_ULL(kvm_mediated_pmu_host.nr_fixed) - 1) << INTEL_PMC_IDX_FIXED;
}

static u32 counter_msr(unsigned int i)
{
	if (i < INTEL_PMC_IDX_FIXED)
		return kvm_mediated_pmu_regs.counter + i * kvm_mediated_pmu_regs.stride;

	return kvm_mediated_pmu_regs.fixed_counter + i - INTEL_PMC_IDX_FIXED;
}

/* Not traced, and not to be intercepted by a hypervisor that takes no KVM. */
static u64 pmu_rdmsr(u32 msr)
{
	return __rdmsr(msr);
}

static void pmu_wrmsr(u32 msr, u64 value)
{
	__wrmsr(msr, (u32)value, value >> 32);
}

static u64 read_counter(unsigned int i)
{
	if (i < INTEL_PMC_IDX_FIXED)
		return native_read_pmc(i);

	return native_read_pmc(INTEL_PMC_FIXED_RDPMC_BASE | (i - INTEL_PMC_IDX_FIXED));
}

/*
 * Find out what perf uses, and its own global control.  What is known of the last turn holds
 * if perf has not run since.
 */
static void look_at_host(struct turn *t)
{
	int nr;

	t->untouched = t->trusted && interrupts_seen() == t->known;

	/* Only tracing can have perf write its control, and nothing else, without an interrupt. */
	if (t->untouched && !kvm_mediated_pmu_regs.ctrl_in_register)
		t->untouched = pmu_rdmsr(kvm_mediated_pmu_regs.global_ctrl) == t->ctrl_left;
	if (!t->untouched) {
		t->use = look_at_perf();
		if (is_intel())
			t->ctrl = host_guest_msrs(&nr)[0].host;
		else
			t->ctrl = counter_bits;
	}
	if (unlikely(t->use.standing)) {
		if (!host_first_ask())
			atomic_long_inc(&standing);
		tell_of_event(t);
	}
}

/* The bits of the overflow status that are perf's. */
static u64 host_status_bits(const struct turn *t)
{
	const u64 metrics = BIT_ULL(GLOBAL_STATUS_PERF_METRICS_OVF_BIT);

	return t->use.counters | (t->use.counters & SLOTS ? metrics & counter_bits : 0);
}

/*
 * No counter counts.  The NMI of an overflow that came just before is on its way.  Perf
 * handles it as ever, and handle_first() that of a copy of the guest's.  Keep one of perf's
 * whose NMI does not come.  The overflow of PEBS is a record, and has no NMI of its own.
 */
static void settle_overflows(struct turn *t, unsigned int nmis)
{
	const u64 hosts = host_status_bits(t);
	const u64 wait = (hosts & ~t->use.pebs) | t->stay | OTHER_PMIS;
	unsigned int tries;
	u64 status = 0;

	for (tries = 0; tries < SETTLE_TIME; tries++) {
		status = pmu_rdmsr(kvm_mediated_pmu_regs.global_status);
		if (!(status & wait))
			break;
		/* The caller looks again. */
		if (this_cpu_read(irq_stat.__nmi_count) != nmis)
			return;
		udelay(1);
	}

	status &= counter_bits;
	t->status |= status & hosts;
	if (status)
		pmu_wrmsr(kvm_mediated_pmu_regs.global_status_clear, status);
}

static void save_host(struct turn *t)
{
	const u64 used = t->use.counters;
	unsigned int i;
	u64 bits;

	for (bits = used; bits; bits &= bits - 1) {
		i = __ffs64(bits);
		t->counter[i] = read_counter(i);
		if (i < INTEL_PMC_IDX_FIXED && !t->untouched)
			t->eventsel[i] = pmu_rdmsr(kvm_mediated_pmu_eventsel_msr(i));
	}
	if (used & SLOTS && kvm_mediated_pmu_host.metrics_mask)
		t->metrics = native_read_pmc(INTEL_PMC_FIXED_RDPMC_METRICS);

	/* Without a fixed counter of perf's, the control may be what a guest has left. */
	if (!(used >> INTEL_PMC_IDX_FIXED))
		t->fixed_ctr_ctrl = 0;
	else if (!t->untouched)
		t->fixed_ctr_ctrl = pmu_rdmsr(kvm_mediated_pmu_regs.fixed_ctr_ctrl);
}

/*
 * Have the global control at 0, no overflow on its way, and what perf needs saved.
 * @nmis: the number of NMIs before anything was looked at.
 */
static void stop_host(struct turn *t, unsigned int nmis)
{
	/*
	 * An NMI in between may have been perf's, which writes its control at the end, and may
	 * have stopped an event.  Begin again, with what perf has now.
	 */
	for (;;) {
		pmu_wrmsr(kvm_mediated_pmu_regs.global_ctrl, 0);
		settle_overflows(t, nmis);
		if (!t->idle)
			save_host(t);
		/* From here on, an NMI's handlers find perf stopped, or stop it. */
		t->lent = true;
		barrier();
		if (likely(this_cpu_read(irq_stat.__nmi_count) == nmis))
			break;
		t->lent = false;
		barrier();
		nmis = this_cpu_read(irq_stat.__nmi_count);
		barrier();
		t->untouched = false;
		if (!t->idle)
			t->use = look_at_perf();
	}
}

/* Nothing of perf's is in the registers. */
static void begin_idle(struct turn *t)
{
	unsigned int nmis = this_cpu_read(irq_stat.__nmi_count);
	u64 ctrl;

	t->idle = true;
	t->trusted = false;
	t->use = (struct in_use){};
	barrier();

	ctrl = pmu_rdmsr(kvm_mediated_pmu_regs.global_ctrl);
	t->untouched = !ctrl && t->left && !t->ctrl_left;
	t->left = true;
	t->ctrl_left = 0;
	if (t->untouched) {
		t->lent = true;
		barrier();
		if (likely(this_cpu_read(irq_stat.__nmi_count) == nmis))
			return;
		/* The NMI's handler may have been perf's. */
		t->lent = false;
		t->untouched = false;
		barrier();
	}
	stop_host(t, this_cpu_read(irq_stat.__nmi_count));
}

static void begin_beside(struct turn *t)
{
	unsigned int nmis = this_cpu_read(irq_stat.__nmi_count);

	barrier();
	t->idle = false;
	look_at_host(t);
	if (t->use.more) {
		host_pmu_stop();
		t->framed = true;
	}
	stop_host(t, nmis);
}

/*
 * Transactions of some CPUs use general counter 3, unless they are made to abort.  Perf does
 * that while it has an event there.  The counter may hold a guest's value until
 * perf_end_copies().
 */
static void keep_counter3(struct turn *t)
{
	u64 value;

	if (!boot_cpu_has(X86_FEATURE_TSX_FORCE_ABORT))
		return;

	value = pmu_rdmsr(MSR_TSX_FORCE_ABORT);
	if (value & MSR_TFA_RTM_FORCE_ABORT)
		return;

	pmu_wrmsr(MSR_TSX_FORCE_ABORT, value | MSR_TFA_RTM_FORCE_ABORT);
	t->aborts = true;
}

static void let_go_of_counter3(struct turn *t)
{
	if (!t->aborts)
		return;

	t->aborts = false;
	if (!(perf_used_counters() & BIT_ULL(3)))
		pmu_wrmsr(MSR_TSX_FORCE_ABORT,
			  pmu_rdmsr(MSR_TSX_FORCE_ABORT) & ~MSR_TFA_RTM_FORCE_ABORT);
}

/**
 * perf_give_pmu_to_guest - begin a guest's turn on this CPU
 *
 * On return the global control and the overflow status are 0, and perf does not touch the
 * PMU before perf_take_pmu_from_guest().  IRQs stay disabled until then.
 *
 * Return: false: the caller has to save the registers after the next VM-exit.
 */
bool perf_give_pmu_to_guest(void)
{
	struct turn *t = this_cpu_ptr(&turn);

	lockdep_assert_irqs_disabled();

	t->pmi = false;
	t->status = 0;
	if (host_cpu_context()->active_oncpu)
		begin_beside(t);
	else
		begin_idle(t);
	t->stay = 0;
	keep_counter3(t);

	return false;
}

/**
 * perf_route_pmi_to_guest - tell what has become of the registers
 * @lvtpc: unused: a PMI that the guest has masked is an NMI that KVM does not deliver
 *
 * Return: the counters, numbered as in the global control, that may hold something else
 * than the last turn on this CPU has left there.
 */
u64 perf_route_pmi_to_guest(u32 lvtpc)
{
	const struct turn *t = this_cpu_ptr(&turn);

	return t->untouched ? t->use.counters : ~0ULL;
}

/**
 * perf_selectors_to_stay - may selectors of a guest's stay on after its turn?
 * @eventsels: the selectors, numbered as in kvm_mediated_pmu's eventsel_stale
 *
 * Asked at the end of a turn.  No counter counts, and the status is 0.
 *
 * Return: those that the caller need not clear.  Those that perf uses as well are written
 * when the turn ends.
 */
u64 perf_selectors_to_stay(u64 eventsels)
{
	struct turn *t = this_cpu_ptr(&turn);

	if (t->idle) {
		if (t->framed)
			return 0;
		t->stay = (eventsels & ~BIT_ULL(KVM_MEDIATED_PMU_FIXED)) | fixed_bits();
		return eventsels;
	}

	eventsels &= ~BIT_ULL(KVM_MEDIATED_PMU_FIXED);
	if (t->framed)
		return eventsels & t->use.counters;

	t->stay = eventsels & ~t->use.counters;
	return eventsels;
}

/**
 * perf_restores_pmu - does perf_take_pmu_from_guest() write the fixed control?
 *
 * Where perf has no event, nothing of the host's is written.
 */
bool perf_restores_pmu(void)
{
	return !this_cpu_read(turn.idle);
}

/**
 * perf_guest_status_bits - the bits of the overflow status that are a guest's during its turn
 */
u64 perf_guest_status_bits(void)
{
	return counter_bits;
}

/**
 * perf_expect_pmi - a guest's overflows at the end of its turn, before they are cleared
 * @status: those that have come during the turn, and interrupt
 *
 * The NMI of an overflow may come a little after the VM-exit that follows it, when the status
 * does not show any more what it is for, or shows an overflow of the host's as well.
 */
void perf_expect_pmi(u64 status)
{
	struct turn *t = this_cpu_ptr(&turn);

	if (status && !t->pmi)
		expect_nmi(&t->late_pmi);
}

static void restore_host(struct turn *t)
{
	const u64 used = t->use.counters;
	unsigned int i;
	u64 bits;

	for (bits = used; bits; bits &= bits - 1) {
		i = __ffs64(bits);
		pmu_wrmsr(counter_msr(i), t->counter[i]);
		if (i < INTEL_PMC_IDX_FIXED)
			pmu_wrmsr(kvm_mediated_pmu_eventsel_msr(i), t->eventsel[i]);
	}
	/* After the counter of slots: a write of that one changes PERF_METRICS. */
	if (used & SLOTS && kvm_mediated_pmu_host.metrics_mask)
		pmu_wrmsr(MSR_PERF_METRICS, t->metrics);
	if (kvm_mediated_pmu_regs.fixed_ctr_ctrl)
		pmu_wrmsr(kvm_mediated_pmu_regs.fixed_ctr_ctrl, t->fixed_ctr_ctrl);
}

/**
 * perf_take_pmu_from_guest - end a guest's turn
 *
 * The caller has saved the guest's registers.  No counter counts, and the overflow status is
 * 0.  Perf's events count again on return.
 */
void perf_take_pmu_from_guest(void)
{
	struct turn *t = this_cpu_ptr(&turn);

	lockdep_assert_irqs_disabled();

	if (!t->idle) {
		restore_host(t);
		t->trusted = true;
		t->known = interrupts_seen();
	}
	barrier();
	t->lent = false;
	barrier();

	if (!t->idle && unlikely(t->status)) {
		pmu_wrmsr(kvm_mediated_pmu_regs.global_status_set, t->status);
		t->status = 0;
		if (t->nmi_is_hosts)
			apic->send_IPI(smp_processor_id(), NMI_VECTOR);
		t->nmi_is_hosts = false;
	}

	if (unlikely(READ_ONCE(t->framed))) {
		t->framed = false;
		t->left = false;
		host_pmu_start();
	} else if (!t->idle) {
		t->left = true;
		t->ctrl_left = t->ctrl & ~t->stay;
		pmu_wrmsr(kvm_mediated_pmu_regs.global_ctrl, t->ctrl_left);
	}
}

/**
 * perf_end_copies - nothing of a guest's is left in the registers of this CPU
 *
 * Let perf have its global control again, which it writes whenever it starts.
 */
void perf_end_copies(void)
{
	struct turn *t = this_cpu_ptr(&turn);

	t->trusted = false;
	t->stay = 0;
	let_go_of_counter3(t);
	if (!t->left)
		return;

	t->left = false;
	host_pmu_stop();
	host_pmu_start();
}

/* ---- NMIs */

static bool lvtpc_is_masked(void)
{
	return apic->read(APIC_LVTPC) & APIC_LVT_MASKED;
}

/*
 * COPYS_OVERFLOW: of a counter that is left on, and counts because perf has enabled all.
 */
enum nmi_cause { OTHERS, HOSTS_OVERFLOW, COPYS_OVERFLOW, GUESTS_PMI };

/* Hide the guest's PMU.  Return what the NMI is, as far as the PMU tells. */
static enum nmi_cause hide_guest(struct turn *t)
{
	const u64 status = pmu_rdmsr(kvm_mediated_pmu_regs.global_status);
	const bool intel = is_intel();

	t->guest_status = status & counter_bits;
	if (t->guest_status)
		pmu_wrmsr(kvm_mediated_pmu_regs.global_status_clear, t->guest_status);
	if (kvm_mediated_pmu_regs.ctrl_in_register)
		t->guest_ctrl = pmu_rdmsr(kvm_mediated_pmu_regs.global_ctrl);
	if (!t->framed) {
		host_pmu_stop();
		t->framed = true;
	}

	/* What is left of the status is perf's to see.  One NMI may have several causes. */
	if (intel && (!t->was_masked || (status & OTHER_PMIS && !t->guest_status)))
		return OTHERS;
	/* It did not come in time to be settled.  Perf is going to have one of its own. */
	if (t->status) {
		t->nmi_is_hosts = true;
		if (!t->guest_status)
			return HOSTS_OVERFLOW;
	}

	return intel || t->guest_status || take_nmi(&t->late_pmi) ? GUESTS_PMI : OTHERS;
}

/*
 * After VM-exit the guest's status is KVM's.  What is left tells whose an NMI is: that one is
 * expected and, on Intel, the mask.
 */
static enum nmi_cause look_for_late_pmi(struct turn *t)
{
	u64 status;

	if (!is_intel())
		return take_nmi(&t->late_pmi) ? GUESTS_PMI : OTHERS;

	if (!t->was_masked)
		return OTHERS;

	status = pmu_rdmsr(kvm_mediated_pmu_regs.global_status);
	t->seen_status = status;
	if (!status || take_nmi(&t->late_pmi))
		return GUESTS_PMI;

	/* It may be perf's by now.  Then perf handles it, and clears it in any case. */
	return status & t->stay ? COPYS_OVERFLOW : OTHERS;
}

static int handle_first(unsigned int type, struct pt_regs *regs)
{
	struct turn *t = this_cpu_ptr(&turn);
	enum nmi_cause cause = OTHERS;
	bool ours = t->lent || this_cpu_read(kvm_mediated_pmu_vcpu);

	t->was_masked = ours && is_intel() && lvtpc_is_masked();
	if (t->lent)
		cause = hide_guest(t);
	else if (ours)
		cause = look_for_late_pmi(t);
	if (cause == OTHERS)
		return !t->was_masked && take_nmi(&t->spare_nmi) ? NMI_HANDLED : NMI_DONE;

	if (cause == GUESTS_PMI) {
		t->pmi = true;
		t->late_pmi.expected = false;
		irq_work_queue(&t->work);
	}
	return NMI_HANDLED;
}

/*
 * Perf's handler clears all overflows and unmasks LVTPC, but does not run while perf has no
 * event at all.  If it has run, a counter has overflowed since, and has its NMI on the way.
 * It has if perf has an event on this CPU, which may have any of the counters by now.  Else,
 * after an NMI without an overflow, that cannot be told for sure, so that NMI may come, too.
 */
static void unmask_lvtpc(struct turn *t)
{
	u64 status;

	if (!t->lent) {
		if (host_cpu_context()->active_oncpu)
			return;
		status = pmu_rdmsr(kvm_mediated_pmu_regs.global_status);
		if (status & ~t->stay || (t->seen_status && !(status & t->seen_status)))
			return;
		if (status) {
			pmu_wrmsr(kvm_mediated_pmu_regs.global_status_clear, status);
			expect_nmi(&t->spare_nmi);
		}
	}
	apic->write(APIC_LVTPC, APIC_DM_NMI);
}

static int handle_last(unsigned int type, struct pt_regs *regs)
{
	struct turn *t = this_cpu_ptr(&turn);

	if (t->lent) {
		if (t->guest_status)
			pmu_wrmsr(kvm_mediated_pmu_regs.global_status_set, t->guest_status);
		if (kvm_mediated_pmu_regs.ctrl_in_register)
			pmu_wrmsr(kvm_mediated_pmu_regs.global_ctrl, t->guest_ctrl);
	}
	if (t->was_masked && lvtpc_is_masked())
		unmask_lvtpc(t);

	return NMI_DONE;
}

static void tell_of_pmi(struct irq_work *work)
{
	host_ops->pmi();
}

static void init_turn(struct turn *t)
{
	memset(t, 0, sizeof(*t));
	t->told_type = ~0U;
	t->work = IRQ_WORK_INIT_HARD(tell_of_pmi);
	t->tell = IRQ_WORK_INIT_HARD(tell_of_standing);
}

/**
 * perf_set_mediated_ops - begin or end the time in which guests have turns
 * @ops: KVM's callbacks; NULL at the end
 */
void perf_set_mediated_ops(const struct perf_mediated_ops *ops)
{
	unsigned int cpu;

	if (ops) {
		host_ops = ops;
		counter_bits = GENMASK_ULL(kvm_mediated_pmu_host.nr_gp - 1, 0) | fixed_bits();
		if (kvm_mediated_pmu_host.metrics_mask)
			counter_bits |= BIT_ULL(GLOBAL_STATUS_PERF_METRICS_OVF_BIT);
		for_each_possible_cpu(cpu)
			init_turn(&per_cpu(turn, cpu));
		register_nmi_handler(NMI_LOCAL, handle_first, NMI_FLAG_FIRST, "kvm_pmu_first");
		register_nmi_handler(NMI_LOCAL, handle_last, 0, "kvm_pmu_last");
		return;
	}

	unregister_nmi_handler(NMI_LOCAL, "kvm_pmu_first");
	unregister_nmi_handler(NMI_LOCAL, "kvm_pmu_last");
	for_each_possible_cpu(cpu) {
		irq_work_sync(&per_cpu(turn, cpu).work);
		irq_work_sync(&per_cpu(turn, cpu).tell);
	}
	host_first_end();
	host_ops = NULL;
}
