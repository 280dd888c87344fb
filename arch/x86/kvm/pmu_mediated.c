// SPDX-License-Identifier: GPL-2.0
/*
 * A vPMU that is the CPU's own PMU for as long as the vCPU runs.
 *
 * The guest reads and writes counters and the global control without an exit;
 * selectors exit, so that the event filter is KVM's.  Who has a CPU's PMU is
 * perf's affair, see include/linux/perf_mediated.h; here is what is done about
 * it.  A vCPU's counters and overflow status are either
 *
 *	loaded	in the registers of the CPU that the vCPU is on, or
 *	put	in struct kvm_pmu.
 *
 * Its selectors and its global control are always in struct kvm_pmu, for KVM needs
 * them to count what it emulates.  The guest writes the latter without an exit,
 * so it has to be brought up to date behind each VM-exit: VMX does so at once, on
 * SVM it is read when somebody asks, see @ctrl_stale.
 *
 * In the host the guest's counters stand: a VM-exit of VMX clears the global
 * control, and selectors of SVM count in guest mode only.  So at an exit they
 * can stay where they are, if perf has no use for the PMU, which perf says in
 * perf_load_guest_context().  It may come to have one whenever IRQs are on, and
 * calls back then.  Who looks at registers does so with IRQs off.
 *
 * A guest that has no selector on needs nothing in registers.  Such a vCPU is
 * dormant: it begins as that, and becomes it again where the switch has been made
 * in vain, see IDLE_PUTS.  It has none of the CPU's registers, and exits for each.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>
#include <linux/perf_mediated.h>

#include <asm/apic.h>
#include <asm/hardirq.h>
#include <asm/msr.h>
#include <asm/perf_event.h>
#include <asm/perf_mediated.h>

#include "x86.h"
#include "cpuid.h"
#include "irq.h"
#include "lapic.h"
#include "pmu.h"
#include "pmu_mediated.h"
#include "trace.h"

#define CREATE_TRACE_POINTS
#include "pmu_mediated_trace.h"

bool __read_mostly enable_mediated_pmu;
EXPORT_SYMBOL_GPL(enable_mediated_pmu);

DEFINE_STATIC_KEY_FALSE(kvm_mediated_pmu_used);
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_used);

struct kvm_mediated_pmu_host __read_mostly kvm_mediated_pmu_host;
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_host);

static struct kvm_mediated_pmu_regs regs __read_mostly;

/*
 * Whose PMIs this CPU's are: the vCPU that was loaded last, until it leaves the
 * CPU.  A PMI may arrive when the registers have been put, but not later than
 * IRQs are on behind the VM-exit.
 */
static DEFINE_PER_CPU(struct kvm_vcpu *, pmi_vcpu);

/*
 * A vCPU becomes dormant when its registers have been put so many times in a row
 * without a selector that is on.  To become that, and to be woken, costs about as
 * much as two puts and the loads behind them.
 */
#define IDLE_PUTS	4

static_assert(KVM_MEDIATED_PMU_MAX_GP >= KVM_MAX_NR_GP_COUNTERS);
static_assert(KVM_MEDIATED_PMU_FIXED == KVM_FIXED_PMC_BASE_IDX);

/* The counter of slots, of which PERF_METRICS are shares, in the global control. */
#define SLOTS_IDX	(KVM_FIXED_PMC_BASE_IDX + 3)

static u32 gp_counter_msr(unsigned int i)
{
	return regs.counter + i * regs.stride;
}

static u32 selector_msr(unsigned int i)
{
	return regs.selector + i * regs.stride;
}

static u32 pmc_msr(const struct kvm_pmc *pmc)
{
	if (pmc->type == KVM_PMC_GP)
		return gp_counter_msr(pmc->idx);

	return regs.fixed_counter + pmc->idx - KVM_FIXED_PMC_BASE_IDX;
}

/* @i: as in the global control. */
static __always_inline struct kvm_pmc *counter(struct kvm_pmu *pmu, unsigned int i)
{
	return i < KVM_FIXED_PMC_BASE_IDX ? &pmu->gp_counters[i] :
					    &pmu->fixed_counters[i - KVM_FIXED_PMC_BASE_IDX];
}

/*
 * A counter that the guest takes for narrower than it is has all bits above the
 * guest's set while it is loaded, so that it ends where the guest's does.
 */
static __always_inline u64 above_width(const struct kvm_pmc *pmc)
{
	u64 mask = pmc->type == KVM_PMC_GP ? kvm_mediated_pmu_host.gp_mask :
					     kvm_mediated_pmu_host.fixed_mask;

	return mask & ~pmc_bitmask((struct kvm_pmc *)pmc);
}

static __always_inline u64 read_register(const struct kvm_pmc *pmc)
{
	u64 value;

	if (pmc->type == KVM_PMC_GP)
		rdpmcl(pmc->idx, value);
	else
		rdpmcl(INTEL_PMC_FIXED_RDPMC_BASE | (pmc->idx - KVM_FIXED_PMC_BASE_IDX), value);

	return value;
}

static __always_inline void write_register(const struct kvm_pmc *pmc, u64 value)
{
	wrmsrl(pmc_msr(pmc), value | above_width(pmc));
}

/* ---- what is needed */

void kvm_mediated_pmu_unavailable(const char *what)
{
	if (!enable_mediated_pmu)
		return;

	pr_info("no mediated vPMU: %s\n", what);
	enable_mediated_pmu = false;
	kvm_pmu_cap.num_counters_fixed = min(kvm_pmu_cap.num_counters_fixed,
					     KVM_MAX_NR_PERF_FIXED_COUNTERS);
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_unavailable);

/* What does not depend on the vendor's module; before anybody else asks. */
void kvm_mediated_pmu_check(const struct kvm_mediated_pmu_regs *vendor_regs)
{
	struct x86_pmu_capability cap;

	if (!enable_mediated_pmu)
		return;

	if (!enable_pmu) {
		kvm_mediated_pmu_unavailable("guests have no vPMU at all");
		return;
	}

	perf_get_x86_pmu_capability(&cap);
	if (!cap.mediated || !vendor_regs) {
		if (boot_cpu_data.x86_vendor == X86_VENDOR_INTEL)
			kvm_mediated_pmu_unavailable("no PMU of version 4 with full-width writes");
		else
			kvm_mediated_pmu_unavailable("no PMU that is AMD's PerfMonV2");
		return;
	}

	kvm_mediated_pmu_host.nr_gp = cap.num_counters_gp;
	kvm_mediated_pmu_host.nr_fixed = cap.num_counters_fixed;
	kvm_mediated_pmu_host.gp_mask = GENMASK_ULL(cap.bit_width_gp - 1, 0);
	if (cap.num_counters_fixed)
		kvm_mediated_pmu_host.fixed_mask = GENMASK_ULL(cap.bit_width_fixed - 1, 0);
	if (cap.num_metrics)
		kvm_mediated_pmu_host.metrics_mask = GENMASK_ULL(8 * cap.num_metrics - 1, 0);
}

static void mediated_pmi(void);
static void mediated_leave(void);

static const struct perf_mediated_ops mediated_ops = {
	.pmi	= mediated_pmi,
	.leave	= mediated_leave,
};

void kvm_mediated_pmu_start(const struct kvm_mediated_pmu_regs *vendor_regs)
{
	if (!enable_mediated_pmu)
		return;

	regs = *vendor_regs;
	perf_set_mediated_ops(&mediated_ops);
	static_branch_enable(&kvm_mediated_pmu_used);
	pr_info("guests have a mediated vPMU\n");
}

/* With no VM left. */
void kvm_mediated_pmu_stop(void)
{
	if (static_key_enabled(&kvm_mediated_pmu_used)) {
		static_branch_disable(&kvm_mediated_pmu_used);
		perf_set_mediated_ops(NULL);
	}
	/* The parameter is the vendor module's, the variable outlives it. */
	enable_mediated_pmu = false;
}

/* ---- a VM, and its vCPUs */

/* Serializes the first vCPUs of VMs; perf takes cpu_hotplug_lock, so it is not kvm->lock. */
static DEFINE_MUTEX(join_mutex);

/*
 * Does this model of a CPU have a PMU?  AMD's have always had four counters, and
 * no way to say that there are none; a model that has neither the extended
 * counters nor PerfMonV2 is one from which userspace has taken the PMU.
 */
static bool model_has_pmu(const struct kvm_cpuid_entry2 *entries, int nr)
{
	const struct kvm_cpuid_entry2 *e;

	for (e = entries; e < entries + nr; e++) {
		if (!regs.guest_only && e->function == 0xa && (e->eax & 0xff))
			return true;
		if (regs.guest_only && e->function == 0x80000001 &&
		    (e->ecx & feature_bit(PERFCTR_CORE)))
			return true;
		if (regs.guest_only && e->function == 0x80000022 &&
		    (e->eax & feature_bit(PERFMON_V2)))
			return true;
	}

	return false;
}

/**
 * kvm_mediated_pmu_set_cpuid - a vCPU that has not run yet gets a model
 * @vcpu: the vCPU
 * @entries: the model, which has been checked but is not in force yet
 * @nr: the number of @entries
 *
 * The first of a VM whose model has a PMU makes that one with the PMU for perf.
 * A VM to which userspace gives no PMU, or no local APIC in the kernel, does not
 * take part: its owner gets no error for it, and the host's events no competitor.
 *
 * Return: 0, or the error of perf_create_mediated_pmu().
 */
int kvm_mediated_pmu_set_cpuid(struct kvm_vcpu *vcpu, const struct kvm_cpuid_entry2 *entries,
			       int nr)
{
	struct kvm *kvm = vcpu->kvm;
	int r = 0;

	if (!static_branch_unlikely(&kvm_mediated_pmu_used) || !kvm->arch.enable_pmu ||
	    !model_has_pmu(entries, nr))
		return 0;

	mutex_lock(&join_mutex);
	if (kvm->arch.mediated_pmu) {
		/* Another vCPU was the first. */
	} else if (irqchip_in_kernel(kvm)) {
		r = perf_create_mediated_pmu();
		kvm->arch.mediated_pmu = !r;
	} else if (!kvm->arch.mediated_pmu_refused) {
		/* Its PMIs could not be delivered, nor could their mask be seen. */
		pr_info_ratelimited("%s[%d]: no vPMU for this VM: a mediated one needs the APIC in the kernel\n",
				    current->comm, task_pid_nr(current));
		kvm->arch.mediated_pmu_refused = true;
	}
	mutex_unlock(&join_mutex);

	return r;
}

void kvm_mediated_pmu_destroy_vm(struct kvm *kvm)
{
	if (kvm->arch.mediated_pmu)
		perf_release_mediated_pmu();
}

/* With the parameter, a vPMU is a mediated one or there is none. */
bool kvm_mediated_pmu_allows_pmu(struct kvm_vcpu *vcpu)
{
	if (!static_branch_unlikely(&kvm_mediated_pmu_used))
		return true;

	return vcpu->kvm->arch.mediated_pmu &&
	       model_has_pmu(vcpu->arch.cpuid_entries, vcpu->arch.cpuid_nent);
}

/*
 * In kvm_pmu_refresh(), with the vPMU as it is to be from now on.  The vCPU has
 * not run with that, and controls and intercepts that depend on it are made up
 * before it does, in one place for each vendor.
 */
void kvm_mediated_pmu_refresh(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_mediated_pmu *m = &pmu->mediated;

	if (!static_branch_unlikely(&kvm_mediated_pmu_used))
		return;

	m->active = vcpu->kvm->arch.mediated_pmu && pmu->version && pmu->nr_arch_gp_counters;
	m->narrow = pmu->counter_bitmask[KVM_PMC_GP] != kvm_mediated_pmu_host.gp_mask ||
		    (pmu->nr_arch_fixed_counters &&
		     pmu->counter_bitmask[KVM_PMC_FIXED] != kvm_mediated_pmu_host.fixed_mask);
	m->all_counters = m->active && !m->narrow &&
			  pmu->nr_arch_gp_counters == kvm_mediated_pmu_host.nr_gp &&
			  pmu->nr_arch_fixed_counters == kvm_mediated_pmu_host.nr_fixed;

	m->idle_puts = IDLE_PUTS;
	m->values = ~0ULL;
	m->switches = false;
	kvm_make_request(KVM_REQ_MSR_FILTER_CHANGED, vcpu);
}

void kvm_mediated_pmu_reset(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;

	kvm_mediated_pmu_put(vcpu);
	memset(m->selector, 0, sizeof(m->selector));
	m->on = 0;
	m->fixed_ctrl = 0;
	m->metrics = 0;
}

/*
 * Intercepts and controls are about to be made up anew, for the vCPU that is loaded:
 * is there anything for which the guest needs the PMU?
 */
void kvm_mediated_pmu_recalc(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;

	m->switches = m->active && m->idle_puts < IDLE_PUTS;
	if (!m->switches) {
		kvm_mediated_pmu_put(vcpu);
		m->open = 0;
	}

	m->writes_ctrl = regs.guest_only && m->switches && m->all_counters &&
			 vcpu_to_pmu(vcpu)->version > 1;
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_recalc);

/* ---- load and put */

static void write_selectors(struct kvm_mediated_pmu *m)
{
	unsigned long stale = m->stale;
	unsigned int i;

	for_each_set_bit(i, &stale, KVM_MEDIATED_PMU_MAX_GP)
		wrmsrl(selector_msr(i), m->selector[i]);
	if (m->stale & BIT_ULL(KVM_MEDIATED_PMU_FIXED))
		wrmsrl(regs.fixed_ctrl, m->fixed_ctrl);
	m->stale = 0;
}

/*
 * The counters that are not as the vCPU's put has left them, i.e. 0, with their
 * selectors.  Perf tells what it has done with them.  Whoever else writes to them, as
 * root can do by the msr driver, does so as another task on this CPU, or by a
 * function call from another one.
 */
static u64 used_counters(const struct kvm_mediated_pmu *m, u64 used_by_perf)
{
	if (m->put_here && m->calls == this_cpu_read(irq_stat.irq_call_count))
		return used_by_perf;

	return ~0ULL;
}

/* Those in @used, in which there may be something of the host's, and those that are not 0. */
static void load_counters(struct kvm_pmu *pmu, u64 used)
{
	struct kvm_mediated_pmu *m = &pmu->mediated;
	struct kvm_pmc *pmc;
	u64 counters;

	/* In narrower ones, 0 is not 0. */
	counters = m->narrow ? ~0ULL : used | m->values;
	for (counters &= pmu->all_valid_pmc_idx[0]; counters; counters &= counters - 1) {
		pmc = counter(pmu, __ffs64(counters));
		write_register(pmc, pmc->counter);
	}

	/* Behind the counter of slots, of which they are shares. */
	if (kvm_mediated_pmu_host.metrics_mask && (m->metrics || used & BIT_ULL(SLOTS_IDX)))
		wrmsrl(MSR_PERF_METRICS, m->metrics);
}

static void load_registers(struct kvm_vcpu *vcpu, u32 lvtpc)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_mediated_pmu *m = &pmu->mediated;
	u64 selectors, status, used;
	unsigned int i;

	/*
	 * Perf's driver has stopped the PMU as it handed it over, but that is
	 * the driver's business: do not rely on it.  After reset the register
	 * has all general counters enabled, and a selector would count from the
	 * moment in which it is written, and raise an overflow by way of an
	 * LVTPC that is half changed.
	 */
	wrmsrl(regs.global_ctrl, 0);
	used = used_counters(m, perf_load_guest_lvtpc(lvtpc));
	m->lvtpc = lvtpc;

	load_counters(pmu, used);

	/* Also of counters that the guest does not know of. */
	selectors = (m->on | used) & GENMASK_ULL(kvm_mediated_pmu_host.nr_gp - 1, 0);
	for (; selectors; selectors &= selectors - 1) {
		i = __ffs64(selectors);
		wrmsrl(selector_msr(i), m->selector[i]);
	}
	if (regs.fixed_ctrl)
		wrmsrl(regs.fixed_ctrl, m->fixed_ctrl);
	m->stale = 0;

	rdmsrl(regs.global_status, status);
	if (status)
		wrmsrl(regs.global_status_clear, status);
	/* Userspace may have set more than an overflow of a counter. */
	status = pmu->global_status & ~pmu->global_ctrl_rsvd;
	if (status)
		wrmsrl(regs.global_status_set, status);

	if (regs.guest_only)
		wrmsrl(regs.global_ctrl, kvm_mediated_pmu_ctrl(pmu));
	m->ctrl_stale = false;
	m->loaded = true;
	__this_cpu_write(pmi_vcpu, vcpu);

	++vcpu->stat.pmu_loads;
	trace_kvm_pmu_load(vcpu->vcpu_id, kvm_mediated_pmu_ctrl(pmu), status);
}

/* Registers are the vCPU's from its last turn. */
static void update_registers(struct kvm_vcpu *vcpu, u32 lvtpc)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_mediated_pmu *m = &pmu->mediated;

	if (regs.guest_only) {
		__kvm_mediated_pmu_sync_ctrl(vcpu);
		wrmsrl(regs.global_ctrl, 0);
	}
	if (lvtpc != m->lvtpc) {
		perf_load_guest_lvtpc(lvtpc);
		m->lvtpc = lvtpc;
	}
	write_selectors(m);
	if (regs.guest_only)
		wrmsrl(regs.global_ctrl, kvm_mediated_pmu_ctrl(pmu));
}

/* Not loaded, or something of it has changed: @lvtpc, or a selector. */
void __kvm_mediated_pmu_load(struct kvm_vcpu *vcpu, u32 lvtpc)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;

	lockdep_assert_irqs_disabled();

	if (likely(m->loaded)) {
		update_registers(vcpu, lvtpc);
		return;
	}

	/*
	 * A narrower counter that has ended counts on from 0 at its full width: it has
	 * to be loaded anew before it ends again.
	 */
	m->leaves = !perf_load_guest_context() || m->narrow;
	load_registers(vcpu, lvtpc);
}

/* IRQs off. */
static __always_inline void sync_ctrl(struct kvm_pmu *pmu)
{
	struct kvm_mediated_pmu *m = &pmu->mediated;

	if (m->ctrl_stale && m->loaded) {
		rdmsrl(regs.global_ctrl, pmu->global_ctrl);
		m->ctrl_stale = false;
	}
}

/* Before the guest's global control is replaced, or looked at. */
void __kvm_mediated_pmu_sync_ctrl(struct kvm_vcpu *vcpu)
{
	unsigned long flags;

	local_irq_save(flags);
	sync_ctrl(vcpu_to_pmu(vcpu));
	local_irq_restore(flags);
}

/* Without a status register the guest could never clear what is in it. */
static u64 status_of_guest(const struct kvm_pmu *pmu, u64 status)
{
	return pmu->version > 1 ? status & ~pmu->global_ctrl_rsvd : 0;
}

void __kvm_mediated_pmu_sync_status(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	unsigned long flags;
	u64 status;

	local_irq_save(flags);
	if (pmu->mediated.loaded) {
		rdmsrl(regs.global_status, status);
		pmu->global_status = status_of_guest(pmu, status);
	}
	local_irq_restore(flags);
}

void __kvm_mediated_pmu_change_status(struct kvm_vcpu *vcpu, u64 bits, bool set)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	unsigned long flags;

	bits = status_of_guest(pmu, bits);

	local_irq_save(flags);
	if (bits && pmu->mediated.loaded)
		wrmsrl(set ? regs.global_status_set : regs.global_status_clear, bits);
	local_irq_restore(flags);
}

/* SVM's guests run with what is in the register, those of VMX with what VM-entry loads. */
void kvm_mediated_pmu_ctrl_written(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	unsigned long flags;

	if (!regs.guest_only)
		return;

	local_irq_save(flags);
	if (pmu->mediated.loaded)
		wrmsrl(regs.global_ctrl, kvm_mediated_pmu_ctrl(pmu));
	local_irq_restore(flags);
}

/*
 * What the guest cannot have changed is where it was loaded from.  Those who may
 * RDPMC in the host may read any counter, so none keeps its value.
 */
static void take_counters(struct kvm_pmu *pmu)
{
	struct kvm_mediated_pmu *m = &pmu->mediated;
	u64 open = m->narrow ? ~0ULL : m->open, counters, metrics = m->metrics, value;
	struct kvm_pmc *pmc;
	unsigned int i;

	if (kvm_mediated_pmu_host.metrics_mask && open & BIT_ULL(SLOTS_IDX))
		rdpmcl(INTEL_PMC_FIXED_RDPMC_METRICS, metrics);

	counters = (open | m->values) & pmu->all_valid_pmc_idx[0];
	m->values = 0;
	for (; counters; counters &= counters - 1) {
		i = __ffs64(counters);
		pmc = counter(pmu, i);
		value = open & BIT_ULL(i) ? read_register(pmc) : pmc->counter;
		if (!value) {
			pmc->counter = 0;
			continue;
		}
		wrmsrl(pmc_msr(pmc), 0);
		pmc->counter = value & pmc_bitmask(pmc);
		m->values |= BIT_ULL(i);
	}

	/* Behind the counter of slots, which they would follow. */
	if (metrics)
		wrmsrl(MSR_PERF_METRICS, 0);
	m->metrics = kvm_mediated_pmu_has_metrics(pmu) ? metrics : 0;
}

static void put_registers(struct kvm_vcpu *vcpu, bool leave)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_mediated_pmu *m = &pmu->mediated;
	u64 selectors, status;

	lockdep_assert_irqs_disabled();

	if (regs.guest_only) {
		__kvm_mediated_pmu_sync_ctrl(vcpu);
		wrmsrl(regs.global_ctrl, 0);
	}

	rdmsrl(regs.global_status, status);
	if (status)
		wrmsrl(regs.global_status_clear, status);
	pmu->global_status = status_of_guest(pmu, status);

	/* A selector may be on in the register only, if the guest has just cleared it. */
	selectors = m->on | (m->stale & ~BIT_ULL(KVM_MEDIATED_PMU_FIXED));
	for (; selectors; selectors &= selectors - 1)
		wrmsrl(selector_msr(__ffs64(selectors)), 0);
	if (m->fixed_ctrl || (m->stale & BIT_ULL(KVM_MEDIATED_PMU_FIXED)))
		wrmsrl(regs.fixed_ctrl, 0);

	take_counters(pmu);

	m->loaded = false;
	m->leaves = false;
	m->put_here = true;
	m->calls = this_cpu_read(irq_stat.irq_call_count);
	if (!m->on && !m->fixed_ctrl && m->idle_puts < IDLE_PUTS && ++m->idle_puts == IDLE_PUTS)
		kvm_make_request(KVM_REQ_MSR_FILTER_CHANGED, vcpu);
	++vcpu->stat.pmu_puts;
	trace_kvm_pmu_put(vcpu->vcpu_id, kvm_mediated_pmu_ctrl(pmu), pmu->global_status, leave);

	perf_put_guest_lvtpc();
	perf_put_guest_context();
}

void __kvm_mediated_pmu_put(struct kvm_vcpu *vcpu)
{
	unsigned long flags;

	local_irq_save(flags);
	if (vcpu_to_pmu(vcpu)->mediated.loaded)
		put_registers(vcpu, false);
	local_irq_restore(flags);
}

void __kvm_mediated_pmu_vcpu_put(struct kvm_vcpu *vcpu)
{
	__kvm_mediated_pmu_put(vcpu);

	vcpu_to_pmu(vcpu)->mediated.put_here = false;

	/* There was a time with IRQs on since the last VM-exit. */
	if (this_cpu_read(pmi_vcpu) == vcpu)
		this_cpu_write(pmi_vcpu, NULL);
}

/* Perf needs this CPU's PMU, in which a vCPU is parked. */
static void mediated_leave(void)
{
	struct kvm_vcpu *vcpu = __this_cpu_read(pmi_vcpu);

	if (WARN_ON_ONCE(!vcpu || !vcpu_to_pmu(vcpu)->mediated.loaded))
		return;

	++vcpu->stat.pmu_leaves;
	put_registers(vcpu, true);
}

/*
 * Hard IRQ.  The vCPU's thread is on this CPU and not in the guest, so that the
 * request is seen before it is there again.
 */
static void mediated_pmi(void)
{
	struct kvm_vcpu *vcpu = __this_cpu_read(pmi_vcpu);
	struct kvm_pmu *pmu;
	u64 status;

	if (!vcpu)
		return;

	pmu = vcpu_to_pmu(vcpu);

	/* The local APIC of Intel has masked the entry as it delivered it. */
	if (boot_cpu_data.x86_vendor == X86_VENDOR_INTEL)
		pmu->mediated.lvtpc = APIC_LVT_MASKED;

	/* Without a status register the guest cannot do it, and the next one shall be due. */
	if (pmu->version < 2 && pmu->mediated.loaded) {
		rdmsrl(regs.global_status, status);
		wrmsrl(regs.global_status_clear, status);
	}

	++vcpu->stat.pmu_pmis;
	trace_kvm_pmu_pmi(vcpu->vcpu_id, pmu->mediated.loaded);
	kvm_make_request(KVM_REQ_PMI, vcpu);
}

/* ---- counters and selectors, by KVM */

u64 kvm_mediated_pmc_read(struct kvm_pmc *pmc)
{
	unsigned long flags;
	u64 value;

	local_irq_save(flags);
	value = pmc_to_pmu(pmc)->mediated.loaded ? read_register(pmc) : pmc->counter;
	local_irq_restore(flags);

	return value & pmc_bitmask(pmc);
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmc_read);

void kvm_mediated_pmc_write(struct kvm_pmc *pmc, u64 value)
{
	struct kvm_mediated_pmu *m = &pmc_to_pmu(pmc)->mediated;
	unsigned long flags;

	value &= pmc_bitmask(pmc);

	local_irq_save(flags);
	if (m->loaded)
		write_register(pmc, value);
	pmc->counter = value;
	m->values |= BIT_ULL(pmc->idx);
	local_irq_restore(flags);
}

u64 kvm_mediated_pmu_read_metrics(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;
	unsigned long flags;
	u64 value;

	local_irq_save(flags);
	if (m->loaded)
		rdpmcl(INTEL_PMC_FIXED_RDPMC_METRICS, value);
	else
		value = m->metrics;
	local_irq_restore(flags);

	return value;
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_read_metrics);

/* Return: 0, or 1 if this CPU has fewer fields than @value. */
int kvm_mediated_pmu_write_metrics(struct kvm_vcpu *vcpu, u64 value)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;
	unsigned long flags;

	if (value & ~kvm_mediated_pmu_host.metrics_mask)
		return 1;

	local_irq_save(flags);
	if (m->loaded)
		wrmsrl(MSR_PERF_METRICS, value);
	m->metrics = value;
	local_irq_restore(flags);

	return 0;
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_write_metrics);

static void emulated_overflow(struct kvm_pmu *pmu, struct kvm_pmc *pmc)
{
	if (kvm_pmu_has_perf_global_ctrl(pmu)) {
		if (pmu->mediated.loaded)
			wrmsrl(regs.global_status_set, BIT_ULL(pmc->idx));
		else
			pmu->global_status |= BIT_ULL(pmc->idx);
	}

	++pmc->vcpu->stat.pmu_emulated_overflows;
	trace_kvm_pmu_emulated_overflow(pmc->vcpu->vcpu_id, pmc->idx);
	if (pmc_wants_pmi(pmc))
		kvm_make_request(KVM_REQ_PMI, pmc->vcpu);
}

/* For the guest's next RDPMC to see.  IRQs off. */
static __always_inline void increment(struct kvm_pmu *pmu, struct kvm_pmc *pmc)
{
	u64 value;

	if (pmu->mediated.loaded) {
		value = (read_register(pmc) + 1) & pmc_bitmask(pmc);
		write_register(pmc, value);
	} else {
		value = (pmc->counter + 1) & pmc_bitmask(pmc);
		pmc->counter = value;
		pmu->mediated.values |= BIT_ULL(pmc->idx);
	}

	if (unlikely(!value))
		emulated_overflow(pmu, pmc);
}

/*
 * Count an event that KVM has emulated.  Any context, with IRQs off as well.
 *
 * A selector that waits to be looked at, maybe written by the very instruction,
 * counts already.  For a mediated vPMU to look at it needs nothing of perf.
 */
void kvm_mediated_pmu_count_emulated(struct kvm_vcpu *vcpu, enum kvm_pmu_emulated_event event)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	unsigned long flags;
	u64 counters;

	if (kvm_test_request(KVM_REQ_PMU, vcpu))
		kvm_pmu_reprogram_pending(vcpu);

	counters = *(u64 *)kvm_pmu_emulating(vcpu, event);
	if (!counters)
		return;

	local_irq_save(flags);
	sync_ctrl(pmu);
	counters &= kvm_mediated_pmu_ctrl(pmu);
	for (; counters; counters &= counters - 1)
		increment(pmu, kvm_pmc_idx_to_pmc(pmu, __ffs64(counters)));
	local_irq_restore(flags);
}

/*
 * The guest has selected something else, or may count something else: make up the
 * selector that does it.  It is written at the next VM-entry.
 */
void kvm_mediated_pmc_select(struct kvm_pmc *pmc, bool allowed)
{
	struct kvm_pmu *pmu = pmc_to_pmu(pmc);
	struct kvm_mediated_pmu *m = &pmu->mediated;
	u64 selector, field, on;
	int shift;

	if (pmc_is_gp(pmc)) {
		selector = 0;
		/* Bits of which KVM thinks that they can be ignored are not for hardware. */
		if (allowed && (pmc->eventsel & ARCH_PERFMON_EVENTSEL_ENABLE))
			selector = (pmc->eventsel &
				    (pmu->raw_event_mask | ARCH_PERFMON_EVENTSEL_USR |
				     ARCH_PERFMON_EVENTSEL_OS | ARCH_PERFMON_EVENTSEL_INT |
				     ARCH_PERFMON_EVENTSEL_ENABLE)) | regs.guest_only;
		if (m->selector[pmc->idx] == selector)
			return;

		/* A put may come in between, and has to know what the register holds. */
		m->stale |= BIT_ULL(pmc->idx);
		barrier();
		m->selector[pmc->idx] = selector;
		on = selector;
		if (on)
			m->on |= BIT_ULL(pmc->idx);
		else
			m->on &= ~BIT_ULL(pmc->idx);
	} else {
		shift = (pmc->idx - KVM_FIXED_PMC_BASE_IDX) * INTEL_FIXED_BITS_STRIDE;
		field = (u64)INTEL_FIXED_BITS_MASK << shift;
		selector = m->fixed_ctrl & ~field;
		if (allowed)
			selector |= pmu->fixed_ctr_ctrl & field;
		if (m->fixed_ctrl == selector)
			return;

		m->stale |= BIT_ULL(KVM_MEDIATED_PMU_FIXED);
		barrier();
		m->fixed_ctrl = selector;
		on = selector & field;
	}

	if (!on)
		return;

	m->idle_puts = 0;
	if (!m->switches || !kvm_mediated_pmc_is_open(pmu, pmc->idx)) {
		/* It may be loaded: it holds what KVM has written until the guest can write it. */
		m->open |= BIT_ULL(pmc->idx);
		kvm_make_request(KVM_REQ_MSR_FILTER_CHANGED, pmc->vcpu);
	}
}

/* ---- what exits, and is done before anything of the exit is */

/**
 * kvm_mediated_pmu_rdpmc - RDPMC has exited: read the counter and go back
 * @vcpu: the vCPU, with the guest's state as VM-exit has left it
 *
 * A guest that is given fewer counters than the CPU has must not execute RDPMC: it
 * would read the others, too.  On AMD that is each guest where there are counters of
 * the northbridge and the caches.  The value is in a register of this CPU, and
 * nothing that KVM does around VM-entries is needed to take it from there, so the
 * vendor's code calls this between two of them.
 *
 * What is in no register, what faults, what L2 executes, and all of it while
 * somebody traces exits, goes the long way.
 *
 * Return: EXIT_FASTPATH_NONE if nothing has been done; EXIT_FASTPATH_REENTER_GUEST if
 * the guest can go on, with RAX, RDX and RIP in @vcpu; another if there is something
 * else to do before.
 */
fastpath_t kvm_mediated_pmu_rdpmc(struct kvm_vcpu *vcpu)
{
	u64 data;

	if (!kvm_mediated_pmu_is_loaded(vcpu) || is_guest_mode(vcpu) ||
	    kvm_request_pending(vcpu) || trace_kvm_exit_enabled() ||
	    kvm_pmu_rdpmc(vcpu, kvm_rcx_read(vcpu), &data))
		return EXIT_FASTPATH_NONE;

	kvm_rax_write(vcpu, (u32)data);
	kvm_rdx_write(vcpu, data >> 32);
	/* Without a request there is no filter to be looked at, and so no need of SRCU. */
	if (!kvm_skip_emulated_instruction(vcpu))
		return EXIT_FASTPATH_EXIT_USERSPACE;

	/* The counter has ended, or a trap is due. */
	if (kvm_request_pending(vcpu))
		return EXIT_FASTPATH_EXIT_HANDLED;

	++vcpu->stat.exits;
	return EXIT_FASTPATH_REENTER_GUEST;
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_rdpmc);

/*
 * WRMSR has exited, and IRQs have been off since.  Those of a PMU's global registers that
 * drivers write for each sample and each event need nothing else.
 *
 * Return: whether it has been done.  If not, nothing has been.
 */
bool kvm_mediated_pmu_write_global(struct kvm_vcpu *vcpu, u32 msr, u64 data)
{
	struct msr_data info = { .index = msr, .data = data };

	if (!kvm_mediated_pmu_is_loaded(vcpu) ||
	    (msr != regs.global_ctrl && msr != regs.global_status_clear))
		return false;

	return kvm_pmu_is_valid_msr(vcpu, msr) &&
	       kvm_msr_allowed(vcpu, msr, KVM_MSR_FILTER_WRITE) &&
	       !kvm_pmu_set_msr(vcpu, &info);
}
