/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __KVM_X86_PMC_COUNT_H
#define __KVM_X86_PMC_COUNT_H

#include <linux/types.h>

/*
 * The arithmetic of a virtual counter that perf and KVM's emulation feed both:
 * numbers in, numbers out, so that whatever can compile this file can prove it.
 *
 * Three numbers make up a counter of @mask + 1 values, 1 to 63 bits wide:
 *
 *  @base      where the counter stood when it was last written or consumed,
 *             less what the perf event had counted by then.  It is kept in 64
 *             bits, not reduced to the width of the counter: only so does
 *             @base + @perf tell a counter that has wrapped from one that was
 *             written to while its event was running.
 *  @perf      what the perf event has counted since it was created or consumed.
 *  @emulated  the events that KVM emulated since then, and perf has not seen.
 *
 * Since the last write or consumption, perf and KVM may each have counted up to
 * 2^63 events; a counter that either has taken past its end more than once in
 * that time is told to have wrapped, and not how often.  A perf event that goes
 * has to be consumed first: @base means nothing without its @perf.
 */

/**
 * pmc_count_read - what the guest would read
 * @base: where the counter stood
 * @perf: what perf has counted
 * @emulated: what KVM has emulated
 * @mask: the width
 *
 * Return: the value of the counter.
 */
static inline u64 pmc_count_read(u64 base, u64 perf, u64 emulated, u64 mask)
{
	return (base + perf + emulated) & mask;
}

/**
 * pmc_count_write - put a counter where the guest wants it
 * @value: the new value; bits beyond the width are dropped
 * @perf: what the event has counted, and will go on from
 * @mask: the width
 *
 * Emulated events that were not consumed precede the write, as does an overflow
 * that perf has reported: both have to be forgotten by the caller.  An overflow
 * that nobody has heard of is lost, unless the counter is consumed first.
 *
 * Return: the new base.
 */
static inline u64 pmc_count_write(u64 value, u64 perf, u64 mask)
{
	return (value & mask) - perf;
}

/**
 * pmc_count_wrapped - has what perf has counted taken the counter past its end?
 * @base: where the counter stood
 * @perf: what perf has counted
 * @mask: the width
 *
 * Return: true if it has, since the counter was last written or consumed.
 */
static inline bool pmc_count_wrapped(u64 base, u64 perf, u64 mask)
{
	return base + perf > mask;
}

/**
 * struct pmc_count - a counter whose event has been stopped and set to zero
 * @base: where it stands, to go on from
 * @perf_wrapped: it passed its end by what perf has counted
 * @emulated_wrapped: it passed its end by what KVM has emulated
 */
struct pmc_count {
	u64 base;
	bool perf_wrapped;
	bool emulated_wrapped;
};

/**
 * pmc_count_consume - make one number of the three
 * @base: where the counter stood
 * @perf: what perf has counted
 * @emulated: what KVM has emulated
 * @mask: the width
 *
 * What perf has counted goes first: it has its own way to report that the
 * counter passed its end, so only what comes on top may be held against the
 * emulated events.  Where both wrap the counter, both are told.
 *
 * Return: the counter, with nothing outstanding; the caller has to forget what
 * it has put in, and whether perf has reported.
 */
static inline struct pmc_count pmc_count_consume(u64 base, u64 perf, u64 emulated, u64 mask)
{
	u64 by_both = ((base + perf) & mask) + emulated;

	return (struct pmc_count) {
		.base = by_both & mask,
		.perf_wrapped = pmc_count_wrapped(base, perf, mask),
		.emulated_wrapped = by_both > mask,
	};
}

/**
 * pmc_count_owes - is there an overflow of which the guest has not heard?
 * @count: the counter, consumed
 * @reported: perf has reported an overflow since the counter was last written
 *	or consumed
 *
 * perf reports by an interrupt, which may come too late: the counter has been
 * stopped, or waits to be reprogrammed and so is not listened to.
 *
 * Return: true if KVM has to signal an overflow now.  It is one signal, even if
 * both are owed: a status bit cannot be set twice.
 */
static inline bool pmc_count_owes(struct pmc_count count, bool reported)
{
	return count.emulated_wrapped || (count.perf_wrapped && !reported);
}

/**
 * pmc_count_period - how far it is to the end of a counter
 * @value: where it stands
 * @mask: the width
 *
 * Return: the number of events that wrap a counter of this @value, 1 to @mask + 1.
 */
static inline u64 pmc_count_period(u64 value, u64 mask)
{
	return mask + 1 - (value & mask);
}

/*
 * A counter is far from its end if more events than these would wrap it.
 *
 * It may then be looked at when perf reports the end less some room, and when
 * that room is used up by emulated events, and need not be at each of them.  The
 * price is one report of perf more on the way to the end, of some 2^14
 * instructions of the host: on 2^24 events of the guest that is a thousandth.
 * A counter that only counts is set to 2^31 or 2^47 events from its end, and
 * most sampling periods are shorter than this, so they are spared that report.
 */
#define PMC_COUNT_FAR	0x1000000ull

/**
 * pmc_count_room - how many emulated events may pass unlooked at
 * @period: how far it is to the end of the counter
 *
 * perf has to be given @period less this.  As long as it has not reported, and no
 * more than this many events were emulated, both together have not wrapped the
 * counter.  Behind a report as many events are left to the end: a report may
 * come that late and the end still be found exactly.
 *
 * Return: the number of events, 0 if each has to be looked at.
 */
static inline u64 pmc_count_room(u64 period)
{
	return period > PMC_COUNT_FAR ? PMC_COUNT_FAR >> 8 : 0;
}

#endif /* __KVM_X86_PMC_COUNT_H */
