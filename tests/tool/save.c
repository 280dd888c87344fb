// SPDX-License-Identifier: GPL-2.0
/*
 * A bare image for tests/tool/save-restore.sh.  It counts on all counters, on one of them by edges,
 * and one is about to overflow.  It has the state saved in the middle, continues, and reports all
 * counters, the overflow status and the ground truth at the end.
 */
#include "pmu.h"

static volatile u32 sink[4096];

static void work(int rounds)
{
	while (rounds--)
		for (int i = 0; i < ARRAY_SIZE(sink); i += i & 7 ? 3 : 1)
			sink[i] += i & rounds ? i : 1;
}

void test(void)
{
	u64 n = 0;

	pmu_init();
	pmu_clear();
	for (int e = 0; e < EVENTS && n < pmu.gp; e++)
		if (event(e) && e != REF_CYCLES && e != NOT_TAKEN)
			pmu_set(n++, event(e) | ALL | (e == COND ? EDGE | CMASK(1) : 0));
	for (int i = pmu.gp; i < counters(); i++)
		pmu_set(counter(i), ALL);
	ctr_write(0, MINUS(300000));		/* overflows after the save */
	if (pmu.global)
		wrmsr(pmu.global, pmu.all);

	work(20);
	mark_op(MARK_OP_SAVE, 0, 0);
	work(30);

	if (pmu.global)
		wrmsr(pmu.global, 0);
	for (int i = 0; i < counters(); i++)
		note("counter %d: %lx", i, ctr_read(counter(i)));
	note("status %lx", status());
	for (int i = 0; i <= 17; i++)
		note("truth %d: %lu", i, mark_read(i));
	check(ctr_read(counter(0)) < BIT(40), "the first counter has overflowed");
}
