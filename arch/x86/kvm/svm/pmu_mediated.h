/* SPDX-License-Identifier: GPL-2.0 */
/* What SVM has to do for a mediated vPMU; see pmu_mediated.c. */
#ifndef __KVM_X86_SVM_PMU_MEDIATED_H
#define __KVM_X86_SVM_PMU_MEDIATED_H

#include "../pmu_mediated.h"

/* What direct_access_msrs[] has for it: counters by both names, and the global registers. */
#define SVM_MEDIATED_PMU_NR_MSRS	(AMD64_NUM_COUNTERS + KVM_MAX_NR_AMD_GP_COUNTERS + 3)

extern const struct kvm_mediated_pmu_regs svm_mediated_pmu_regs;

/* Of nested.c. */
void nested_svm_refresh_msrpm(struct kvm_vcpu *vcpu);

void svm_mediated_pmu_check(void);
void svm_mediated_pmu_recalc(struct kvm_vcpu *vcpu);
void svm_mediated_pmu_set_rdpmc(struct kvm_vcpu *vcpu);
bool svm_mediated_pmu_rdpmc(struct kvm_vcpu *vcpu);

#endif /* __KVM_X86_SVM_PMU_MEDIATED_H */
