/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What must hold of arch/x86/kvm/pmc_count.h, one property a function.
 *
 * exhaustive.c asks each of them about every stretch of small counters, model.c
 * about any stretch at all of counters of any width.  The directory of the
 * header (or of a mutant of it) comes by the include path.
 *
 * The range in which all is proved, and beyond which it is false:
 *
 *  - a counter is 1 to 63 bits wide (WIDTH_MAX);
 *  - in one stretch, perf counts at most COUNT_MAX events, and KVM emulates at
 *    most as many: 2^63, so that no sum of 64 bits with a counter in it wraps;
 *  - what perf had counted before the stretch is any number of 64 bits.
 *
 * What one consume can tell, and what it cannot:
 *
 *  - where perf wraps the counter and the emulated events wrap it again, it
 *    tells both apart; where one of the two wraps it several times in one
 *    stretch, which takes more than 2^width events, it tells one;
 *  - two overflows that are both owed are signalled as one, as one status bit is
 *    all there is to set.
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

/* The reference: a counter as it is in hardware, that knows how often it wrapped. */
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
 * A stretch: what happens to a counter between two of its writes and consumes.
 *
 * @mask: its highest value
 * @value: where the write or the consume has left it
 * @before: what the perf event had counted by then: 0 after a consume
 * @perf: what it has counted since
 * @emulated: what KVM has emulated since
 * @reported: perf has reported an overflow since
 * @part: at most @emulated
 * @junk: bits beyond @mask
 * @by_perf: the reference, after the events of perf
 * @by_emulated: the same after those that were emulated too; the wraps are only theirs
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

/* The header's words for it, without its functions. */
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

/* How many overflows a guest should have heard of, by perf and by KVM, when a stretch has been consumed. */
static inline u64 tellable(u64 by_perf, u64 by_emulated, bool reported)
{
	if (reported)
		return 1 + (by_emulated > 0);
	return by_perf > 0 || by_emulated > 0;
}

/* perf reports only what it has counted; that it does so in time, history_period says. */
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
	PROPERTY(perf_first, "perf has wrapped the counter if its events alone pass the end, whatever was emulated") \
	PROPERTY(emulated_after, "the emulated events have wrapped it if they pass the end from where perf has left it") \
	PROPERTY(reported_once, "an overflow that perf has reported is never signalled again") \
	PROPERTY(unreported_owed, "an overflow by perf that perf has not reported is owed") \
	PROPERTY(emulated_owed, "an overflow by emulated events is owed, also when perf has reported one of its own") \
	PROPERTY(nothing_owed, "a counter that has not passed its end owes nothing") \
	PROPERTY(bulk, "emulated events consumed at once, or a part now and the rest later, count and wrap alike") \
	PROPERTY(write_read, "what is read after a write is what was written") \
	PROPERTY(write_width, "a write drops the bits beyond the width") \
	PROPERTY(write_offset, "a write keeps the perf event, from whose count the counter goes on") \
	PROPERTY(write_quiet, "a write alone is no overflow, whatever perf had counted before") \
	PROPERTY(write_judged, "after a write, the counter wraps when it gets from the written value to the end") \
	PROPERTY(zero_perf, "perf's events that bring the counter to exactly zero are an overflow") \
	PROPERTY(zero_emulated, "emulated events that bring it to exactly zero are one") \
	PROPERTY(period_wraps, "as many events as the period wrap the counter, to zero") \
	PROPERTY(period_least, "fewer do not") \
	PROPERTY(period_range, "a period is 1 to 2^width, whatever bits beyond the width the value has") \
	PROPERTY(room_safe, "with less than the period without the room by perf, and no more than the room emulated, it has not wrapped") \
	PROPERTY(room_early, "when perf has counted that, as many events as the room are left to the end") \
	PROPERTY(room_near, "a counter that is not far from its end has no room: each emulated event is looked at") \
	PROPERTY(told, "what perf reported and KVM owes is every overflow that one consume can tell, and no other") \
	PROPERTY(told_all, "in a stretch of at most 2^width events, it is as many as the reference has")

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

/* What perf is asked for. */
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
	/* perf takes no period of 0; and the report is no overflow yet, if it is early. */
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
