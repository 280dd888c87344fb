// SPDX-License-Identifier: GPL-2.0
/*
 * AMD under a hypervisor that uses guest-only and host-only itself (guest_only=0): selectors accept
 * these bits and drop them.
 */
#include "shared.h"
#include "svm.h"

void test(void)
{
	svm_on();
	for (int n = 0; n < pmu.gp; n++) {
		is(wrmsr_safe(PERF_CTL(n), event(INSNS) | ALL | AMD64_EVENTSEL_GUESTONLY |
						   AMD64_EVENTSEL_HOSTONLY),
		   0, "PERF_CTL%d: no #GP", n);
		is(rdmsr(PERF_CTL(n)), event(INSNS) | ALL, "PERF_CTL%d: both bits read 0", n);
	}
	wrmsr(LEGACY_CTL(1), AMD64_EVENTSEL_GUESTONLY | 0x76);
	is(rdmsr(PERF_CTL(1)), 0x76, "the legacy address of a selector: the same");
	is(wrmsr_safe(PERF_CTL(0), BIT(42)), 13, "reserved bits stay reserved");
	is(count(0, event(INSNS) | ALL | AMD64_EVENTSEL_GUESTONLY, ten_nops), RUN_INSNS + 10,
	   "guest-only counts in the host");
	is(count(0, event(INSNS) | ALL | AMD64_EVENTSEL_HOSTONLY, ten_nops), RUN_INSNS + 10,
	   "host-only counts in the host");

	pmu_clear();
	pmu_set(0, event(INSNS) | ALL | AMD64_EVENTSEL_GUESTONLY);
	pmu_set(1, event(INSNS) | ALL | AMD64_EVENTSEL_HOSTONLY);
	pmu_set(2, event(INSNS) | ALL);
	svm_new();
	run(svm_run, (u64)ten_nops);
	check(ctr_read(2) > RUN_INSNS + 10, "a guest has run");
	is(ctr_read(0), ctr_read(2), "guest-only counts host and guest");
	is(ctr_read(1), ctr_read(2), "host-only counts host and guest");
}
