/* SPDX-License-Identifier: GPL-2.0 */
/* What kvm-amd does for a mediated vPMU. */
#ifndef __KVM_X86_MEDIATED_PMU_SVM_H
#define __KVM_X86_MEDIATED_PMU_SVM_H

#include "mediated_pmu.h"

/* Entries of direct_access_msrs[]: counters by both of their names, and global registers. */
#define SVM_MEDIATED_PMU_NR_MSRS	(AMD64_NUM_COUNTERS + KVM_MAX_NR_AMD_GP_COUNTERS + 3)

extern const struct kvm_mediated_pmu_regs svm_mediated_pmu_regs;

/* In svm/nested.c. */
void nested_svm_refresh_msrpm(struct kvm_vcpu *vcpu);

void svm_mediated_pmu_check(void);
void svm_mediated_pmu_recalc(struct kvm_vcpu *vcpu);
void svm_mediated_pmu_set_rdpmc(struct kvm_vcpu *vcpu);
bool svm_mediated_pmu_rdpmc(struct kvm_vcpu *vcpu);

#endif /* __KVM_X86_MEDIATED_PMU_SVM_H */
