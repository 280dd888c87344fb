// SPDX-License-Identifier: GPL-2.0
/*
 * Loading a vCPU's PMU into the registers, and unloading it.
 *
 * The guest accesses counters and the global control without an exit; event selectors
 * exit, so that KVM can apply the event filter.  include/linux/perf_mediated.h defines
 * who owns a CPU's PMU; this file does what follows from that.  A vCPU's counters and
 * overflow status are either
 *
 *	loaded		in the registers of the CPU that the vCPU is on, or
 *	unloaded	in struct kvm_pmu.
 *
 * Its selectors and its global control are always in struct kvm_pmu, because KVM needs
 * them to count emulated events.  The guest writes the global control without an exit,
 * so KVM's copy is brought up to date after VM-exit: by VM-exit itself on VMX, and when
 * it is needed on SVM, see @ctrl_stale.
 *
 * The guest's counters do not count in the host: VM-exit clears the global control on
 * VMX, and selectors count in guest mode only on SVM.  So the registers stay loaded
 * after a VM-exit if perf has no use for the PMU, which perf_give_pmu_to_guest() tells.
 * The guest's state is saved lazily, like that of the FPU: perf calls back when it needs
 * the PMU, whenever IRQs are enabled.  Code that looks at registers disables IRQs.
 *
 * Where perf has a use for the PMU, each VM-exit unloads the state and the next VM-entry
 * loads it.  What this vCPU is going to load again may stay in registers that perf does
 * not use in between: see @kept.  User mode and other vCPUs must not see it, so it is
 * zeroed before the vCPU's thread leaves the CPU or the kernel.
 *
 * A guest with no selector enabled needs nothing in registers.  Its vCPU is dormant: it
 * begins as that, and becomes that again when KVM_MEDIATED_PMU_IDLE_PUTS switches in a
 * row were in vain.  It has none of the CPU's registers, and exits for each access.
 */

#include <linux/irqflags.h>
#include <linux/kvm_host.h>
#include <linux/percpu.h>
#include <linux/perf_mediated.h>

#include <asm/hardirq.h>
#include <asm/perf_mediated.h>

#include "internal.h"
#include "trace.h"

DEFINE_PER_CPU(struct kvm_vcpu *, kvm_mediated_pmu_vcpu);

/* Write the selectors that have changed since the state was loaded. */
static void write_eventsels(struct kvm_mediated_pmu *m)
{
	unsigned long stale = m->eventsel_stale;
	unsigned int i;

	for_each_set_bit(i, &stale, KVM_MEDIATED_PMU_MAX_GP)
		wrmsrl(kvm_mediated_pmu_eventsel_msr(i), m->eventsel_hw[i]);
	if (m->eventsel_stale & BIT_ULL(KVM_MEDIATED_PMU_FIXED))
		wrmsrl(kvm_mediated_pmu_regs.fixed_ctr_ctrl, m->fixed_ctr_ctrl_hw);
	m->eventsel_stale = 0;
}

/*
 * Return the counters that are not 0 any more, as the vCPU's last unload left them, with
 * their selectors.  Perf reports those that it used.  Another writer, like root with the
 * msr driver, does so as another task on this CPU, or by a function call interrupt.
 */
static u64 used_counters(const struct kvm_mediated_pmu *m, u64 used_by_perf)
{
	if (m->clean_on_cpu && m->call_count == this_cpu_read(irq_stat.irq_call_count))
		return used_by_perf;

	return ~0ULL;
}

/* Load the counters that may hold a value of the host's, and those that are not 0. */
static void load_counters(struct kvm_pmu *pmu, u64 used)
{
	struct kvm_mediated_pmu *m = &pmu->mediated;
	struct kvm_pmc *pmc;
	u64 counters;

	/* A narrower counter has bits set above its width when its value is 0. */
	counters = m->narrow_counters ? ~0ULL : used | m->nonzero;
	for (counters &= pmu->all_valid_pmc_idx[0]; counters; counters &= counters - 1) {
		pmc = kvm_mediated_pmu_pmc(pmu, __ffs64(counters));
		kvm_mediated_pmc_write_hw(pmc, pmc->counter);
	}

	/* After the counter of slots: a write of that one changes PERF_METRICS. */
	if (kvm_mediated_pmu_host.metrics_mask &&
	    (m->metrics || used & BIT_ULL(KVM_MEDIATED_PMU_SLOTS_IDX)))
		wrmsrl(MSR_PERF_METRICS, m->metrics);
}

static void load_registers(struct kvm_vcpu *vcpu, u32 lvtpc)
{
	const struct kvm_mediated_pmu_regs *regs = &kvm_mediated_pmu_regs;
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_mediated_pmu *m = &pmu->mediated;
	const u64 fixed = BIT_ULL(KVM_MEDIATED_PMU_FIXED);
	u64 eventsels, written, status, used;
	unsigned int i;

	/*
	 * Perf's driver stops the PMU when it hands the PMU over, but do not rely on the
	 * driver: after reset all general counters are enabled in the global control.  A
	 * selector would then count from the moment it is written, and raise an overflow
	 * while LVTPC is being switched.
	 */
	if (!perf_hands_over_clean_pmu())
		wrmsrl(regs->global_ctrl, 0);
	used = used_counters(m, perf_route_pmi_to_guest(lvtpc));
	m->lvtpc = lvtpc;

	load_counters(pmu, used);

	/* Include the counters that the guest's model of a CPU has not got. */
	written = ~m->kept_eventsels | m->eventsel_stale;
	eventsels = ((m->enabled_gp | m->kept_eventsels) & written) | used;
	eventsels &= GENMASK_ULL(kvm_mediated_pmu_host.nr_gp - 1, 0);
	for (; eventsels; eventsels &= eventsels - 1) {
		i = __ffs64(eventsels);
		wrmsrl(kvm_mediated_pmu_eventsel_msr(i), m->eventsel_hw[i]);
	}
	if (regs->fixed_ctr_ctrl && (written & fixed || used >> INTEL_PMC_IDX_FIXED))
		wrmsrl(regs->fixed_ctr_ctrl, m->fixed_ctr_ctrl_hw);
	m->eventsel_stale = 0;
	m->nonzero |= m->kept;
	m->kept = 0;
	m->kept_eventsels = 0;

	if (!perf_hands_over_clean_pmu()) {
		rdmsrl(regs->global_status, status);
		if (status)
			wrmsrl(regs->global_status_clear, status);
	}
	/* Userspace may have set other bits than those of counters. */
	status = pmu->global_status & ~pmu->global_ctrl_rsvd;
	if (status)
		wrmsrl(regs->global_status_set, status);

	kvm_mediated_pmu_start_hw(pmu);
	m->ctrl_stale = false;
	m->loaded = true;
	__this_cpu_write(kvm_mediated_pmu_vcpu, vcpu);

	++vcpu->stat.pmu_loads;
	trace_kvm_pmu_load(vcpu->vcpu_id, kvm_mediated_pmu_ctrl(pmu), status);
}

/* The registers hold the vCPU's state; bring selectors and LVTPC up to date. */
static void update_registers(struct kvm_vcpu *vcpu, u32 lvtpc)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_mediated_pmu *m = &pmu->mediated;

	kvm_mediated_pmu_stop_hw(pmu);
	if (lvtpc != m->lvtpc) {
		perf_route_pmi_to_guest(lvtpc);
		m->lvtpc = lvtpc;
	}
	write_eventsels(m);
	kvm_mediated_pmu_start_hw(pmu);
}

/* The state is not loaded, or @lvtpc or a selector has changed. */
void __kvm_mediated_pmu_prepare_entry(struct kvm_vcpu *vcpu, u32 lvtpc)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;

	lockdep_assert_irqs_disabled();

	if (likely(m->loaded)) {
		update_registers(vcpu, lvtpc);
		return;
	}

	/*
	 * A narrower counter that has overflowed counts on from 0 at its full width, and
	 * has to be loaded again before the guest's next overflow.
	 */
	m->put_on_exit = !perf_give_pmu_to_guest() || m->narrow_counters;
	load_registers(vcpu, lvtpc);
}

/*
 * Save the counters, and zero those that are not in @keep: whoever may RDPMC in the host
 * may read any counter.  A counter that the guest cannot have changed still has the value
 * that was loaded.
 */
static void save_counters(struct kvm_pmu *pmu, u64 keep)
{
	struct kvm_mediated_pmu *m = &pmu->mediated;
	u64 changed = m->narrow_counters ? ~0ULL : m->passthrough;
	u64 counters, metrics = m->metrics, value;
	struct kvm_pmc *pmc;
	unsigned int i;

	if (kvm_mediated_pmu_host.metrics_mask && changed & BIT_ULL(KVM_MEDIATED_PMU_SLOTS_IDX))
		rdpmcl(INTEL_PMC_FIXED_RDPMC_METRICS, metrics);

	counters = (changed | m->nonzero) & pmu->all_valid_pmc_idx[0];
	m->nonzero = 0;
	for (; counters; counters &= counters - 1) {
		i = __ffs64(counters);
		pmc = kvm_mediated_pmu_pmc(pmu, i);
		value = changed & BIT_ULL(i) ? kvm_mediated_pmc_read_hw(pmc) : pmc->counter;
		if (!value) {
			pmc->counter = 0;
			continue;
		}
		pmc->counter = value & pmc_bitmask(pmc);
		if (keep & BIT_ULL(i)) {
			m->kept |= BIT_ULL(i);
		} else {
			wrmsrl(kvm_mediated_pmc_msr(pmc), 0);
			m->nonzero |= BIT_ULL(i);
		}
	}

	/* After the counter of slots: a write of that one changes PERF_METRICS. */
	if (metrics)
		wrmsrl(MSR_PERF_METRICS, 0);
	m->metrics = kvm_mediated_pmu_has_metrics(pmu_to_vcpu(pmu)) ? metrics : 0;
}

/* The general counters whose overflow interrupts. */
static u64 interrupting(const struct kvm_pmu *pmu)
{
	const struct kvm_mediated_pmu *m = &pmu->mediated;
	u64 bits = m->enabled_gp, counters = 0;

	for (; bits; bits &= bits - 1)
		if (m->eventsel_hw[__ffs64(bits)] & ARCH_PERFMON_EVENTSEL_INT)
			counters |= bits & -bits;

	return counters;
}

/*
 * @keep: leave in the registers what the next load would write to them again, unless perf
 *	uses them.  For a vCPU whose thread stays in the kernel and on this CPU
 */
static void unload_registers(struct kvm_vcpu *vcpu, bool reclaim, bool keep)
{
	const struct kvm_mediated_pmu_regs *regs = &kvm_mediated_pmu_regs;
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	struct kvm_mediated_pmu *m = &pmu->mediated;
	const u64 fixed = BIT_ULL(KVM_MEDIATED_PMU_FIXED);
	u64 eventsels, status;

	lockdep_assert_irqs_disabled();

	kvm_mediated_pmu_stop_hw(pmu);

	rdmsrl(regs->global_status, status);
	status &= perf_guest_status_bits();
	if (status) {
		perf_expect_pmi(status & ~pmu->global_status & interrupting(pmu));
		wrmsrl(regs->global_status_clear, status);
	}
	pmu->global_status = kvm_mediated_pmu_guest_status(pmu, status);

	/* A selector that the guest has just cleared may still be enabled in its register. */
	eventsels = m->enabled_gp | (m->eventsel_stale & ~fixed);
	if (keep) {
		m->kept_eventsels = perf_selectors_to_stay(eventsels | fixed);
		if (regs->eventsel_guest_only)
			m->kept_eventsels |= eventsels;
		eventsels &= ~m->kept_eventsels;
	}
	for (; eventsels; eventsels &= eventsels - 1)
		wrmsrl(kvm_mediated_pmu_eventsel_msr(__ffs64(eventsels)), 0);
	if (!(m->kept_eventsels & fixed) && !perf_restores_pmu() &&
	    (m->fixed_ctr_ctrl_hw || m->eventsel_stale & fixed))
		wrmsrl(regs->fixed_ctr_ctrl, 0);

	/* PERF_METRICS follows the counter of slots, and is not kept. */
	save_counters(pmu, keep ? ~BIT_ULL(KVM_MEDIATED_PMU_SLOTS_IDX) : 0);

	m->loaded = false;
	m->put_on_exit = false;
	m->clean_on_cpu = true;
	m->call_count = this_cpu_read(irq_stat.irq_call_count);
	if (!m->enabled_gp && !m->fixed_ctr_ctrl_hw &&
	    m->idle_puts < KVM_MEDIATED_PMU_IDLE_PUTS &&
	    ++m->idle_puts == KVM_MEDIATED_PMU_IDLE_PUTS)
		kvm_make_request(KVM_REQ_MEDIATED_PMU, vcpu);
	++vcpu->stat.pmu_puts;
	trace_kvm_pmu_put(vcpu->vcpu_id, kvm_mediated_pmu_ctrl(pmu), pmu->global_status, reclaim);

	perf_route_pmi_to_host();
	perf_take_pmu_from_guest();
}

/* Zero what was kept, except where perf has written something of its own. */
static void zero_kept(struct kvm_pmu *pmu)
{
	struct kvm_mediated_pmu *m = &pmu->mediated;
	u64 used, bits;

	if (!(m->kept | m->kept_eventsels))
		return;

	used = perf_used_counters();
	bits = m->kept_eventsels & ~used & ~BIT_ULL(KVM_MEDIATED_PMU_FIXED);
	for (; bits; bits &= bits - 1)
		wrmsrl(kvm_mediated_pmu_eventsel_msr(__ffs64(bits)), 0);
	if (m->kept_eventsels & BIT_ULL(KVM_MEDIATED_PMU_FIXED) &&
	    kvm_mediated_pmu_regs.fixed_ctr_ctrl && !(used >> INTEL_PMC_IDX_FIXED))
		wrmsrl(kvm_mediated_pmu_regs.fixed_ctr_ctrl, 0);
	for (bits = m->kept & ~used; bits; bits &= bits - 1)
		wrmsrl(kvm_mediated_pmc_msr(kvm_mediated_pmu_pmc(pmu, __ffs64(bits))), 0);
	m->nonzero |= m->kept;
	m->kept = 0;
	m->kept_eventsels = 0;
}

/* The PMU is perf's from here to the next VM-entry, which is this vCPU's or comes later. */
void __kvm_mediated_pmu_finish_exit(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu_to_pmu(vcpu)->mediated;

	unload_registers(vcpu, false,
			 !m->narrow_counters && (m->enabled_gp || m->fixed_ctr_ctrl_hw));
}

void __kvm_mediated_pmu_unload(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = vcpu_to_pmu(vcpu);
	unsigned long flags;

	local_irq_save(flags);
	if (pmu->mediated.loaded)
		unload_registers(vcpu, false, false);
	zero_kept(pmu);
	perf_end_copies();
	local_irq_restore(flags);
}

void __kvm_mediated_pmu_sched_out(struct kvm_vcpu *vcpu)
{
	__kvm_mediated_pmu_unload(vcpu);

	vcpu_to_pmu(vcpu)->mediated.clean_on_cpu = false;

	/* IRQs were enabled since VM-exit: each PMI of this vCPU has been delivered. */
	if (this_cpu_read(kvm_mediated_pmu_vcpu) == vcpu)
		this_cpu_write(kvm_mediated_pmu_vcpu, NULL);
}

/* Perf needs this CPU's PMU, which holds the state of a vCPU that is not running. */
void kvm_mediated_pmu_reclaim(void)
{
	struct kvm_vcpu *vcpu = __this_cpu_read(kvm_mediated_pmu_vcpu);

	if (WARN_ON_ONCE(!vcpu || !vcpu_to_pmu(vcpu)->mediated.loaded))
		return;

	++vcpu->stat.pmu_reclaims;
	unload_registers(vcpu, true, false);
}
