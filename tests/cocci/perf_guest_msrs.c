// SPDX-License-Identifier: GPL-2.0
/* For scripts/coccinelle/perf_guest_msrs.cocci: what it finds is marked. */

static int nothing_of_a_guest(void)
{
	int nr;

	perf_guest_get_msrs(&nr, NULL); /* bad */
	return nr;
}

static int of_a_guest(struct kvm_pmu *pmu)
{
	int nr;

	perf_guest_get_msrs(&nr, pmu);
	perf_guest_get_msrs(&nr, (void *)pmu);
	return nr;
}
