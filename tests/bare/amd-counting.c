// SPDX-License-Identifier: GPL-2.0
/* AMD: when a counter counts; the shared rules, then what is AMD's own. */
#include "pmu.h"
#include "shared.h"

void test(void)
{
	counting();

	is(count(0, event(INSNS) | BIT(32) | ALL, ten_nops), 0, "event select 1C0H is another event than C0H");
	is(count(5, event(BRANCHES) | BIT(35) | ALL, ten_nops), 0, "event select 8C2H is another event than C2H");

	/*
	 * Without SVME there is neither host nor guest.  So Linux drops the host-only bit while no
	 * VM exists.
	 */
	is(!!(rdmsr(MSR_EFER) & EFER_SVME), 0, "EFER.SVME is 0");
	is(count(0, event(INSNS) | ALL | AMD64_EVENTSEL_GUESTONLY, ten_nops), 0,
	   "EFER.SVME=0: a guest-only counter counts nothing");
	is(count(1, event(INSNS) | ALL | AMD64_EVENTSEL_HOSTONLY, ten_nops), 0,
	   "EFER.SVME=0: a host-only counter counts nothing");
	is(count(2, event(INSNS) | ALL | AMD64_EVENTSEL_GUESTONLY | AMD64_EVENTSEL_HOSTONLY,
		 ten_nops),
	   0, "EFER.SVME=0: nor does one with both bits");

	/* The first four counters have a legacy address, too. */
	pmu_clear();
	for (int n = 0; n < 4; n++)
		wrmsr(LEGACY_CTL(n), event(INSNS) | ALL | EN);
	run(ten_nops, 0);
	for (int n = 0; n < 4; n++)
		is(rdmsr(LEGACY_CTR(n)), 16, "counter %d, selected and read at its legacy address",
		   n);
	pmu_clear();
}
