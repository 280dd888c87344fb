/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A caller of arch/x86/kvm/pmc_count.h that does what the header asks of its
 * callers, and the properties of its whole life: any sequence of perf's events,
 * emulated events, reads, writes and consumes.
 *
 * A write drops what has not been consumed, overflows that nobody has heard of
 * with it: a caller that must not lose them consumes first.
 */
#ifndef PROOF_HISTORY_H
#define PROOF_HISTORY_H

#include "properties.h"

#define HISTORY_PROPERTIES(PROPERTY) \
	PROPERTY(history_read, "at any time, the guest reads what a counter shows that was incremented one by one") \
	PROPERTY(history_told, "each consume, with the report before it, tells the overflows of that counter since the last") \
	PROPERTY(history_period, "perf, which counts periods from the value written or consumed, sees each first wrap when it is") \
	PROPERTY(history_room, "while perf has not reported, and no more than the room is emulated, no overflow has to be told")

/*
 * @base, @emulated, @reported: what KVM keeps
 * @perf: what perf keeps: the count of the event
 * @period: events of perf from the last write or consume to its report
 * @room: from there to the end
 */
struct caller {
	u64 mask;
	u64 base;
	u64 emulated;
	bool reported;
	u64 perf;
	u64 period;
	u64 room;
};

static inline u64 caller_read(const struct caller *c)
{
	return pmc_count_read(c->base, c->perf, c->emulated, c->mask);
}

static inline void caller_arm(struct caller *c, u64 value)
{
	u64 period = pmc_count_period(value, c->mask);

	c->room = pmc_count_room(period);
	c->period = period - c->room;
}

/* perf reports: it may be early, or late. */
static inline void caller_report(struct caller *c)
{
	if (pmc_count_wrapped(c->base, c->perf, c->mask))
		c->reported = true;
}

static inline void caller_write(struct caller *c, u64 value)
{
	c->base = pmc_count_write(value, c->perf, c->mask);
	c->emulated = 0;
	c->reported = false;
	caller_arm(c, value);
}

/* Returns: an overflow is to be signalled. */
static inline bool caller_consume(struct caller *c)
{
	struct pmc_count count = pmc_count_consume(c->base, c->perf, c->emulated, c->mask);
	bool owes = pmc_count_owes(count, c->reported);

	c->base = count.base;
	c->perf = 0;
	c->emulated = 0;
	c->reported = false;
	caller_arm(c, c->base);
	return owes;
}

#endif
