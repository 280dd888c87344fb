// SPDX-License-Identifier: GPL-2.0
/* Whether this host can give guests the PMU, and the counters that it has. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include <asm/perf_event.h>
#include <asm/perf_mediated.h>

#include "../x86.h"
#include "../cpuid.h"
#include "../pmu.h"

bool __read_mostly enable_mediated_pmu;
EXPORT_SYMBOL_GPL(enable_mediated_pmu);

DEFINE_STATIC_KEY_FALSE(kvm_mediated_pmu_used);
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_used);

struct kvm_mediated_pmu_host __read_mostly kvm_mediated_pmu_host;
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_host);

struct kvm_mediated_pmu_regs kvm_mediated_pmu_regs __read_mostly;

static_assert(KVM_MEDIATED_PMU_MAX_GP >= KVM_MAX_NR_GP_COUNTERS);
static_assert(KVM_MEDIATED_PMU_FIXED == KVM_FIXED_PMC_BASE_IDX);

/* Say why guests cannot be given the PMU, and take the request back. */
void kvm_mediated_pmu_unavailable(const char *why)
{
	if (!enable_mediated_pmu)
		return;

	pr_info("no mediated vPMU: %s\n", why);
	enable_mediated_pmu = false;
	kvm_pmu_cap.num_counters_fixed = min(kvm_pmu_cap.num_counters_fixed,
					     KVM_MAX_NR_PERF_FIXED_COUNTERS);
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_unavailable);

/*
 * Check what does not depend on the vendor's module.  Called before anything else looks
 * at enable_mediated_pmu.
 */
void kvm_mediated_pmu_check(const struct kvm_mediated_pmu_regs *regs)
{
	struct x86_pmu_capability cap;
	unsigned int nr_metrics = 0;
	const char *why;

	if (!enable_mediated_pmu)
		return;

	if (!enable_pmu) {
		kvm_mediated_pmu_unavailable("guests have no vPMU at all");
		return;
	}

	/* Perf does not say what the PMUs of a hybrid CPU have, and warns if it is asked. */
	if (cpu_feature_enabled(X86_FEATURE_HYBRID_CPU)) {
		kvm_mediated_pmu_unavailable("the CPU is hybrid");
		return;
	}

	perf_get_x86_pmu_capability(&cap);
	if (cap.num_counters_gp > KVM_MEDIATED_PMU_MAX_GP) {
		kvm_mediated_pmu_unavailable("the CPU has more counters than KVM knows");
		return;
	}

	kvm_mediated_pmu_regs = *regs;
	kvm_mediated_pmu_host.nr_gp = cap.num_counters_gp;
	kvm_mediated_pmu_host.nr_fixed = cap.num_counters_fixed;

	why = perf_check_mediated_pmu(&nr_metrics);
	if (why) {
		kvm_mediated_pmu_unavailable(why);
		return;
	}

	kvm_mediated_pmu_host.gp_mask = GENMASK_ULL(cap.bit_width_gp - 1, 0);
	if (cap.num_counters_fixed)
		kvm_mediated_pmu_host.fixed_mask = GENMASK_ULL(cap.bit_width_fixed - 1, 0);
	if (nr_metrics)
		kvm_mediated_pmu_host.metrics_mask = GENMASK_ULL(8 * nr_metrics - 1, 0);
}
