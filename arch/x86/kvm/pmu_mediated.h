/* SPDX-License-Identifier: GPL-2.0 */
/* A vPMU that is the CPU's own while the vCPU runs; see pmu_mediated.c. */
#ifndef __KVM_X86_PMU_MEDIATED_H
#define __KVM_X86_PMU_MEDIATED_H

#include <linux/jump_label.h>
#include <linux/kvm_host.h>
#include <linux/lockdep.h>

#include <asm/perf_event.h>

#include "lapic.h"

struct kvm_pmc;
struct kvm_pmu;

/* Of the fixed counters, those for which perf has an event; the next one counts slots. */
#define KVM_MAX_NR_PERF_FIXED_COUNTERS	3

/**
 * struct kvm_mediated_pmu_regs - where a vendor's PMU has its registers
 * @global_ctrl: one bit for each counter
 * @global_status: the overflows, one bit for each counter
 * @global_status_clear: clears status bits that are written as one
 * @global_status_set: sets them
 * @counter: the first general counter, written in full
 * @selector: its selector
 * @stride: from one general counter, or selector, to the next
 * @fixed_counter: the first fixed counter; 0 if there are none
 * @fixed_ctrl: the selectors of fixed counters, all in one
 * @guest_only: what makes a selector count only between VM-entry and VM-exit.
 *	0 if it is the VM-entry that loads the global control and the VM-exit
 *	that saves and clears it.
 */
struct kvm_mediated_pmu_regs {
	u32	global_ctrl;
	u32	global_status;
	u32	global_status_clear;
	u32	global_status_set;
	u32	counter;
	u32	selector;
	u32	stride;
	u32	fixed_counter;
	u32	fixed_ctrl;
	u64	guest_only;
};

/* What the CPU has, while KVM's own idea of it is what it offers to guests. */
struct kvm_mediated_pmu_host {
	unsigned int	nr_gp;
	unsigned int	nr_fixed;
	u64		gp_mask;
	u64		fixed_mask;
	/* Of PERF_METRICS, what can be written; 0 if there is none. */
	u64		metrics_mask;
};

extern bool enable_mediated_pmu;
extern struct kvm_mediated_pmu_host kvm_mediated_pmu_host;

/* Set while the vendor's module is loaded with its parameter. */
DECLARE_STATIC_KEY_FALSE(kvm_mediated_pmu_used);

/* Has this vCPU the PMU itself while it runs? */
static __always_inline bool kvm_pmu_is_mediated(const struct kvm_pmu *pmu)
{
	return static_branch_unlikely(&kvm_mediated_pmu_used) && pmu->mediated.active;
}

/*
 * Is the PMU handed to it for its turn?  If not, guests exit for all of theirs, and
 * perf keeps its events out of them as it does without a mediated vPMU.
 *
 * Asked at each VM-entry and VM-exit.  A static key in front would make a guest that
 * leaves its PMU alone pay for a jump and the flag, to save others the flag.
 */
static __always_inline bool kvm_mediated_pmu_switches(const struct kvm_pmu *pmu)
{
	return unlikely(pmu->mediated.switches);
}

/*
 * Is PERF_METRICS part of its PMU?  Its enable bit in the global control says so.
 * Only a mediated vPMU can have it: perf has no event for KVM that would be it.
 */
static __always_inline bool kvm_mediated_pmu_has_metrics(const struct kvm_pmu *pmu)
{
	return kvm_pmu_is_mediated(pmu) &&
	       !(pmu->global_ctrl_rsvd & BIT_ULL(GLOBAL_CTRL_EN_PERF_METRICS));
}

/* Can the guest change this counter without an exit?  @i as in the global control. */
static inline bool kvm_mediated_pmc_is_open(const struct kvm_pmu *pmu, unsigned int i)
{
	return pmu->mediated.open & BIT_ULL(i);
}

/* Are its counters in this CPU's registers?  IRQs off. */
static __always_inline bool kvm_mediated_pmu_is_loaded(const struct kvm_vcpu *vcpu)
{
	return kvm_mediated_pmu_switches(&vcpu->arch.pmu) && vcpu->arch.pmu.mediated.loaded;
}

void kvm_mediated_pmu_check(const struct kvm_mediated_pmu_regs *regs);
void kvm_mediated_pmu_unavailable(const char *what);
void kvm_mediated_pmu_start(const struct kvm_mediated_pmu_regs *regs);
void kvm_mediated_pmu_stop(void);

int kvm_mediated_pmu_set_cpuid(struct kvm_vcpu *vcpu, const struct kvm_cpuid_entry2 *entries,
			       int nr);
void kvm_mediated_pmu_destroy_vm(struct kvm *kvm);
bool kvm_mediated_pmu_allows_pmu(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_refresh(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_reset(struct kvm_vcpu *vcpu);
void kvm_mediated_pmu_recalc(struct kvm_vcpu *vcpu);

void __kvm_mediated_pmu_load(struct kvm_vcpu *vcpu, u32 lvtpc);
void __kvm_mediated_pmu_put(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_vcpu_put(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_sync_ctrl(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_sync_status(struct kvm_vcpu *vcpu);
void __kvm_mediated_pmu_change_status(struct kvm_vcpu *vcpu, u64 bits, bool set);
void kvm_mediated_pmu_ctrl_written(struct kvm_vcpu *vcpu);
u64 kvm_mediated_pmu_read_metrics(struct kvm_vcpu *vcpu);
int kvm_mediated_pmu_write_metrics(struct kvm_vcpu *vcpu, u64 value);

u64 kvm_mediated_pmc_read(struct kvm_pmc *pmc);
void kvm_mediated_pmc_write(struct kvm_pmc *pmc, u64 value);
void kvm_mediated_pmc_select(struct kvm_pmc *pmc, bool allowed);
void kvm_mediated_pmu_count_emulated(struct kvm_vcpu *vcpu, enum kvm_pmu_emulated_event event);
fastpath_t kvm_mediated_pmu_rdpmc(struct kvm_vcpu *vcpu);
bool kvm_mediated_pmu_write_global(struct kvm_vcpu *vcpu, u32 msr, u64 data);

/*
 * The global control that makes the guest's counters count as it wants them to.
 * Who may have run the guest since the last look calls
 * __kvm_mediated_pmu_sync_ctrl() first.
 */
static inline u64 kvm_mediated_pmu_ctrl(const struct kvm_pmu *pmu)
{
	lockdep_assert(!pmu->mediated.ctrl_stale || !pmu->mediated.loaded);

	if (pmu->version > 1)
		return pmu->global_ctrl;

	/* Of a PMU without global control, as each counter's selector says. */
	return pmu->all_valid_pmc_idx[0];
}

/*
 * The guest is entered, and may write the global control there: KVM's copy is out of
 * date from the next VM-exit on.  In front of each VM-entry, fast paths between.
 */
static __always_inline void kvm_mediated_pmu_enter(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu->arch.pmu.mediated;

	m->ctrl_stale = m->writes_ctrl;
}

/* Give the PMU to the guest.  IRQs off, and nothing but the guest to follow. */
static __always_inline void kvm_mediated_pmu_load(struct kvm_vcpu *vcpu)
{
	struct kvm_mediated_pmu *m = &vcpu->arch.pmu.mediated;
	u32 lvtpc;

	if (!kvm_mediated_pmu_switches(&vcpu->arch.pmu))
		return;

	lvtpc = kvm_lapic_get_reg(vcpu->arch.apic, APIC_LVTPC) & APIC_LVT_MASKED;
	if (!m->loaded || m->stale || lvtpc != m->lvtpc)
		__kvm_mediated_pmu_load(vcpu, lvtpc);
	kvm_mediated_pmu_enter(vcpu);
}

/* The guest's turn is over: before IRQs, or anything of the host that counts. */
static __always_inline void kvm_mediated_pmu_exit(struct kvm_vcpu *vcpu)
{
	if (unlikely(vcpu->arch.pmu.mediated.leaves))
		__kvm_mediated_pmu_put(vcpu);
}

/* Give the PMU back, and have all of the guest's state in struct kvm_pmu. */
static __always_inline void kvm_mediated_pmu_put(struct kvm_vcpu *vcpu)
{
	if (kvm_pmu_is_mediated(&vcpu->arch.pmu))
		__kvm_mediated_pmu_put(vcpu);
}

/* For accesses to a global register that exit: have it in struct kvm_pmu. */
static __always_inline void kvm_mediated_pmu_sync_ctrl(struct kvm_vcpu *vcpu)
{
	if (kvm_pmu_is_mediated(&vcpu->arch.pmu))
		__kvm_mediated_pmu_sync_ctrl(vcpu);
}

static __always_inline void kvm_mediated_pmu_sync_status(struct kvm_vcpu *vcpu)
{
	if (kvm_pmu_is_mediated(&vcpu->arch.pmu))
		__kvm_mediated_pmu_sync_status(vcpu);
}

/* Set or clear bits of the status in the register, too. */
static __always_inline void kvm_mediated_pmu_change_status(struct kvm_vcpu *vcpu, u64 bits,
							   bool set)
{
	if (kvm_pmu_is_mediated(&vcpu->arch.pmu))
		__kvm_mediated_pmu_change_status(vcpu, bits, set);
}

/* The vCPU leaves this CPU. */
static __always_inline void kvm_mediated_pmu_vcpu_put(struct kvm_vcpu *vcpu)
{
	if (kvm_pmu_is_mediated(&vcpu->arch.pmu))
		__kvm_mediated_pmu_vcpu_put(vcpu);
}

#endif /* __KVM_X86_PMU_MEDIATED_H */
