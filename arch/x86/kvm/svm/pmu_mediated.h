/* SPDX-License-Identifier: GPL-2.0 */
/* What SVM has to do for a mediated vPMU; see pmu_mediated.c. */
#ifndef __KVM_X86_SVM_PMU_MEDIATED_H
#define __KVM_X86_SVM_PMU_MEDIATED_H

#include "../pmu_mediated.h"

/* The MSRs that a guest may access without an exit, for direct_access_msrs[]. */
#define SVM_MEDIATED_PMU_MSRS						\
	{ .index = MSR_K7_PERFCTR0,			.always = false },	\
	{ .index = MSR_K7_PERFCTR1,			.always = false },	\
	{ .index = MSR_K7_PERFCTR2,			.always = false },	\
	{ .index = MSR_K7_PERFCTR3,			.always = false },	\
	{ .index = MSR_F15H_PERF_CTR0,			.always = false },	\
	{ .index = MSR_F15H_PERF_CTR1,			.always = false },	\
	{ .index = MSR_F15H_PERF_CTR2,			.always = false },	\
	{ .index = MSR_F15H_PERF_CTR3,			.always = false },	\
	{ .index = MSR_F15H_PERF_CTR4,			.always = false },	\
	{ .index = MSR_F15H_PERF_CTR5,			.always = false },	\
	{ .index = MSR_AMD64_PERF_CNTR_GLOBAL_STATUS,		.always = false },	\
	{ .index = MSR_AMD64_PERF_CNTR_GLOBAL_CTL,		.always = false },	\
	{ .index = MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR,	.always = false },
#define SVM_MEDIATED_PMU_NR_MSRS	13

extern const struct kvm_mediated_pmu_regs svm_mediated_pmu_regs;

void svm_mediated_pmu_set_intercepts(struct kvm_vcpu *vcpu);

#endif /* __KVM_X86_SVM_PMU_MEDIATED_H */
