// SPDX-License-Identifier: GPL-2.0
/* Overflow of every counter: when it happens, the value after it, and the status. */
#include "pmu.h"
#include "shared.h"

/* run()'s six instructions and ten NOPs. */
#define TICKS	(RUN_INSNS + 10)

static const struct {
	const char *rule;
	u64 before;	/* events to go to 2^48 ... */
	u64 after;	/* ... and the value after TICKS events */
	bool overflows;
} rows[] = {
	{ "from 0", 0, TICKS, false },
	{ "one short of the overflow", TICKS + 1, MASK48, false },
	{ "the last event overflows, to exactly 0", TICKS, 0, true },
	{ "the first event overflows", 1, TICKS - 1, true },
	{ "in the middle", 7, TICKS - 7, true },
};

static u64 overflows(void) { return mark_read(TRUTH_OVERFLOWS); }

static void one(int n)
{
	u64 config = event(INSNS) | ALL, per_tick = n == FIXED(1) ? 2 : 1, bit = pmu.global ? BIT(n) : 0;

	for (u64 i = 0; i < ARRAY_SIZE(rows); i++) {
		u64 seen = overflows();

		pmu_clear();
		pmu_set(n, config);
		ctr_write(n, MINUS(per_tick * rows[i].before));
		run(ten_nops, 0);
		seen = overflows() - seen;
		is(ctr_read(n), rows[i].after == MASK48 ? MINUS(per_tick) : per_tick * rows[i].after, "counter %d %s: value",
		   n, rows[i].rule);
		is(status(), rows[i].overflows ? bit : 0, "counter %d %s: status", n, rows[i].rule);
		is(seen, rows[i].overflows, "counter %d %s: truth counts overflows", n, rows[i].rule);
	}
	if (!pmu.global)
		return;

	/* Still set from the last row. */
	ctr_write(n, 0);
	is(status(), bit, "counter %d: a write to it leaves its status bit", n);
	run(no_code, 0);
	is(status(), bit, "counter %d: more counting leaves its status bit", n);
	wrmsr(pmu.set, pmu.all);
	wrmsr(pmu.reset, bit);
	is(status(), pmu.all & ~bit, "counter %d: its status bit is cleared alone", n);

	/* The WRMSR that writes -1 retires after the write: it is the event that overflows. */
	pmu_clear();
	pmu_set(n, config);
	shared_value = MASK48;
	run(write_msr, counter_msr(n));
	is(status(), bit, "counter %d written as -1 while it counts: that WRMSR overflows it", n);
}

void overflow(void)
{
	for (int i = 0; i < counters(); i++)
		one(counter(i));

	/*
	 * Two events per tick, and an odd number to go: the counter passes 2^48 in the middle of a
	 * tick.
	 */
	pmu_clear();
	pmu_set(0, event(CYCLES) | ALL);
	ctr_write(0, MINUS(2 * TICKS - 1));
	run(ten_nops, 0);
	is(ctr_read(0), 1, "two events in the tick that overflows: the second stays");
	is(status(), pmu.global ? 1 : 0, "two events in the tick that overflows: status");
	if (!pmu.global)
		return;

	pmu_clear();
	for (int i = 0; i < counters(); i++) {
		pmu_set(counter(i), event(INSNS) | ALL);
		ctr_write(counter(i), MINUS(counter(i) == FIXED(1) ? 2 * (i + 1) : i + 1));
	}
	run(ten_nops, 0);
	is(status(), pmu.all, "every counter overflows, one after the other: status");
	for (int i = 0; i < counters(); i++)
		is(ctr_read(counter(i)), (TICKS - i - 1) * (counter(i) == FIXED(1) ? 2 : 1), "every counter overflows: %d", counter(i));

	pmu_clear();
	for (int i = 0; i < counters(); i++)
		pmu_set(counter(i), event(INSNS) | ALL);
	for (int i = 0; i < counters(); i++)
		ctr_write(counter(i), MINUS(counter(i) == FIXED(1) ? 10 : 5));
	run(ten_nops, 0);
	is(status(), pmu.all, "every counter overflows in the same tick: status");

	/* A counter that is not enabled does not change, whatever its value. */
	pmu_clear();
	pmu_set(0, event(INSNS) | ALL);
	ctr_write(0, MASK48);
	ctr_write(1, MASK48);
	run(ten_nops, 0);
	is(status(), 1, "a counter that does not count does not overflow");
	is(ctr_read(1), MASK48, "a counter that does not count stays at -1");
	pmu_clear();
}
