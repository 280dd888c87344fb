/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A caller of arch/x86/kvm/pmc_count.h that does what the header asks of its
 * callers, and the properties of its whole life: any sequence of perf's events,
 * emulated events, reads, writes and consumes.
 *
 * A write drops what has not been consumed, and pending overflows with it.  A
 * caller that must not lose these consumes first.
 */
#ifndef PROOF_HISTORY_H
#define PROOF_HISTORY_H

#include "properties.h"

#define HISTORY_PROPERTIES(PROPERTY) \
	PROPERTY(history_read, "the guest always reads what counting one by one gives") \
	PROPERTY(history_told, "consume and report give the overflows since the last one") \
	PROPERTY(history_period, "perf, counting from a write or consume, sees the first wrap") \
	PROPERTY(history_room, "none is pending before perf's report, with at most room emulated")

/*
 * @base, @emulated, @reported: state that KVM keeps
 * @perf: state that perf keeps: the event's count
 * @period: events of perf from the last write or consume to its report
 * @room: events from there to the overflow
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

/* perf reports an overflow, early or late. */
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

/* Return true if an overflow is pending. */
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
