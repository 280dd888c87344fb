/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Properties of arch/x86/kvm/pmc_count.h, one function each.
 *
 * exhaustive.c checks each of them for every interval of small counters, model.c
 * for any interval of counters of any width.  The include path selects the
 * directory of the header, or of a mutant of it.
 *
 * The range in which all of them are proved, and beyond which they are false:
 *
 *  - a counter is 1 to 63 bits wide (WIDTH_MAX);
 *  - in one interval, perf counts at most COUNT_MAX events, and KVM emulates at
 *    most as many: 2^63, so that no sum of 64 bits with a counter in it wraps;
 *  - perf's count before the interval is any number of 64 bits.
 *
 * What one consume can report, and what it cannot:
 *
 *  - if perf wraps the counter and the emulated events wrap it again, it reports
 *    both; if one of the two wraps it several times in one interval, which takes
 *    more than 2^width events, it reports one of these;
 *  - two overflows that are both pending are signalled as one, because there is
 *    only one status bit to set.
 */
#ifndef PROOF_PROPERTIES_H
#define PROOF_PROPERTIES_H

#include "pmc_count.h"

#ifndef WIDTH_MAX
#define WIDTH_MAX	63
#endif
#ifndef COUNT_MAX
#define COUNT_MAX	(1ull << 63)
#endif

/* The reference: a counter as in hardware, which also knows how often it has wrapped. */
struct plain {
	u64 value;
	u64 wraps;
};

static inline struct plain plain_event(struct plain c, u64 mask)
{
	if (c.value == mask) {
		c.value = 0;
		c.wraps++;
	} else {
		c.value++;
	}
	return c;
}

/*
 * An interval: what happens to a counter between two of its writes and consumes.
 *
 * @mask: its highest value
 * @value: its value after the write or consume
 * @before: the perf event's count at that time: 0 after a consume
 * @perf: events that perf has counted since
 * @emulated: events that KVM has emulated since
 * @reported: perf has reported an overflow since
 * @part: at most @emulated
 * @junk: bits beyond @mask
 * @by_perf: the reference, after the events of perf
 * @by_emulated: the same after the emulated events, too; with the wraps of these only
 */
struct stretch {
	u64 mask;
	u64 value;
	u64 before;
	u64 perf;
	u64 emulated;
	bool reported;
	u64 part;
	u64 junk;
	struct plain by_perf;
	struct plain by_emulated;
};

/* The base that the header would have, without its functions. */
static inline u64 base_of(const struct stretch *s)
{
	return s->value - s->before;
}

static inline u64 read_of(const struct stretch *s)
{
	return pmc_count_read(base_of(s), s->before + s->perf, s->emulated, s->mask);
}

static inline struct pmc_count consumed(const struct stretch *s)
{
	return pmc_count_consume(base_of(s), s->before + s->perf, s->emulated, s->mask);
}

static inline u64 written(const struct stretch *s)
{
	return pmc_count_write(s->value | s->junk, s->before, s->mask);
}

/*
 * The number of overflows that perf and KVM have to report to the guest for an interval that has
 * been consumed.
 */
static inline u64 tellable(u64 by_perf, u64 by_emulated, bool reported)
{
	if (reported)
		return 1 + (by_emulated > 0);
	return by_perf > 0 || by_emulated > 0;
}

/*
 * perf reports only what it has counted.  The property history_period says that it does so in time.
 */
static inline bool really_reported(const struct stretch *s)
{
	return s->reported && s->by_perf.wraps > 0;
}

static inline u64 told(const struct stretch *s)
{
	return really_reported(s) + pmc_count_owes(consumed(s), really_reported(s));
}

/* PROPERTY(name, what holds) */
#define PROPERTIES(PROPERTY) \
	PROPERTY(read, "the guest reads base + emulated + perf, mod 2^width") \
	PROPERTY(consume_read, "a consume leaves what the guest reads") \
	PROPERTY(consume_width, "a consumed base is within the width") \
	PROPERTY(perf_first, "perf wraps the counter if its events alone overflow it") \
	PROPERTY(emulated_after, "emulated events wrap it if they overflow it after perf's") \
	PROPERTY(reported_once, "an overflow that perf has reported is never signalled again") \
	PROPERTY(unreported_owed, "an overflow by perf that perf has not reported is pending") \
	PROPERTY(emulated_owed, "emulated events' overflow is pending, also after perf's report") \
	PROPERTY(nothing_owed, "a counter that has not overflowed has none pending") \
	PROPERTY(bulk, "emulated events count and wrap alike at once or in two parts") \
	PROPERTY(write_read, "a read after a write returns what was written") \
	PROPERTY(write_width, "a write drops the bits beyond the width") \
	PROPERTY(write_offset, "a write keeps the perf event and continues from its count") \
	PROPERTY(write_quiet, "a write alone is not an overflow, whatever perf had counted") \
	PROPERTY(write_judged, "after a write, the counter wraps by the written value") \
	PROPERTY(zero_perf, "perf's events that bring the counter to exactly zero overflow it") \
	PROPERTY(zero_emulated, "emulated events that bring it to exactly zero overflow it") \
	PROPERTY(period_wraps, "as many events as the period wrap the counter, to zero") \
	PROPERTY(period_least, "fewer do not") \
	PROPERTY(period_range, "a period is 1 to 2^width, whatever bits are beyond the width") \
	PROPERTY(room_safe, "no wrap before perf's period minus room, with at most room emulated") \
	PROPERTY(room_early, "when perf has counted that, room events are left to overflow") \
	PROPERTY(room_near, "no room near overflow: KVM looks at each emulated event") \
	PROPERTY(told, "perf's report and KVM's are all that one consume can report") \
	PROPERTY(told_all, "in at most 2^width events, that is the reference's number")

static inline bool holds_read(const struct stretch *s)
{
	return read_of(s) == s->by_emulated.value &&
	       read_of(s) == ((s->value + s->emulated + s->perf) & s->mask);
}

static inline bool holds_consume_read(const struct stretch *s)
{
	return pmc_count_read(consumed(s).base, 0, 0, s->mask) == s->by_emulated.value;
}

static inline bool holds_consume_width(const struct stretch *s)
{
	return consumed(s).base <= s->mask;
}

static inline bool holds_perf_first(const struct stretch *s)
{
	return consumed(s).perf_wrapped == (s->by_perf.wraps > 0);
}

static inline bool holds_emulated_after(const struct stretch *s)
{
	return consumed(s).emulated_wrapped == (s->by_emulated.wraps > 0);
}

static inline bool holds_reported_once(const struct stretch *s)
{
	return s->by_emulated.wraps || !pmc_count_owes(consumed(s), true);
}

static inline bool holds_unreported_owed(const struct stretch *s)
{
	return !s->by_perf.wraps || pmc_count_owes(consumed(s), false);
}

static inline bool holds_emulated_owed(const struct stretch *s)
{
	return !s->by_emulated.wraps || pmc_count_owes(consumed(s), s->reported);
}

static inline bool holds_nothing_owed(const struct stretch *s)
{
	return s->by_perf.wraps || s->by_emulated.wraps || !pmc_count_owes(consumed(s), s->reported);
}

static inline bool holds_bulk(const struct stretch *s)
{
	struct pmc_count all = consumed(s);
	struct pmc_count now = pmc_count_consume(base_of(s), s->before + s->perf, s->part, s->mask);
	struct pmc_count later = pmc_count_consume(now.base, 0, s->emulated - s->part, s->mask);

	return all.base == later.base &&
	       all.perf_wrapped == now.perf_wrapped && !later.perf_wrapped &&
	       all.emulated_wrapped == (now.emulated_wrapped || later.emulated_wrapped);
}

static inline bool holds_write_read(const struct stretch *s)
{
	return pmc_count_read(written(s), s->before, 0, s->mask) == s->value;
}

static inline bool holds_write_width(const struct stretch *s)
{
	return written(s) == pmc_count_write(s->value, s->before, s->mask);
}

static inline bool holds_write_offset(const struct stretch *s)
{
	return pmc_count_read(written(s), s->before + s->perf, 0, s->mask) == s->by_perf.value;
}

static inline bool holds_write_quiet(const struct stretch *s)
{
	struct pmc_count c = pmc_count_consume(written(s), s->before, 0, s->mask);

	return c.base == s->value && !c.perf_wrapped && !c.emulated_wrapped;
}

static inline bool holds_write_judged(const struct stretch *s)
{
	struct pmc_count c = pmc_count_consume(written(s), s->before + s->perf, s->emulated, s->mask);

	return c.perf_wrapped == (s->by_perf.wraps > 0) && c.emulated_wrapped == (s->by_emulated.wraps > 0);
}

static inline bool holds_zero_perf(const struct stretch *s)
{
	struct pmc_count c = pmc_count_consume(base_of(s), s->before + s->perf, 0, s->mask);

	if (s->by_perf.wraps != 1 || s->by_perf.value)
		return true;
	return c.base == 0 && c.perf_wrapped && !c.emulated_wrapped && pmc_count_owes(c, false);
}

static inline bool holds_zero_emulated(const struct stretch *s)
{
	if (s->by_emulated.wraps != 1 || s->by_emulated.value)
		return true;
	return consumed(s).base == 0 && consumed(s).emulated_wrapped && pmc_count_owes(consumed(s), s->reported);
}

static inline bool holds_period_wraps(const struct stretch *s)
{
	return s->perf != pmc_count_period(s->value, s->mask) || (s->by_perf.wraps == 1 && s->by_perf.value == 0);
}

static inline bool holds_period_least(const struct stretch *s)
{
	return s->perf >= pmc_count_period(s->value, s->mask) || !s->by_perf.wraps;
}

static inline bool holds_period_range(const struct stretch *s)
{
	u64 period = pmc_count_period(s->value | s->junk, s->mask);

	return period >= 1 && period - 1 <= s->mask && period == pmc_count_period(s->value, s->mask);
}

/* The period that perf is asked for. */
static inline u64 asked_of(const struct stretch *s)
{
	u64 period = pmc_count_period(s->value, s->mask);

	return period - pmc_count_room(period);
}

static inline bool holds_room_safe(const struct stretch *s)
{
	if (s->perf >= asked_of(s) || s->emulated > pmc_count_room(pmc_count_period(s->value, s->mask)))
		return true;
	return s->by_perf.wraps + s->by_emulated.wraps == 0;
}

static inline bool holds_room_early(const struct stretch *s)
{
	u64 room = pmc_count_room(pmc_count_period(s->value, s->mask));

	if (s->perf != asked_of(s))
		return true;
	/* perf accepts no period of 0.  An early report is not an overflow yet. */
	return s->perf && s->by_perf.wraps == !room && (room ? s->mask + 1 - s->by_perf.value : 0) == room;
}

static inline bool holds_room_near(const struct stretch *s)
{
	u64 period = pmc_count_period(s->value, s->mask);

	return period > PMC_COUNT_FAR || pmc_count_room(period) == 0;
}

static inline bool holds_told(const struct stretch *s)
{
	return told(s) == tellable(s->by_perf.wraps, s->by_emulated.wraps, really_reported(s));
}

static inline bool holds_told_all(const struct stretch *s)
{
	if (s->perf > s->mask + 1 || s->emulated > s->mask + 1 - s->perf)
		return true;
	return told(s) == s->by_perf.wraps + s->by_emulated.wraps;
}

#endif
