// SPDX-License-Identifier: GPL-2.0
/*
 * The properties of properties.h and history.h, for any counter, for a bounded
 * model checker (cbmc), which tries all values of what is "any_" at once.
 *
 * There is no loop, so only the range in properties.h bounds the proof.
 * Histories are proved by induction: one operation from any state that a history
 * can reach.  The reference is proved to be one event after the other.
 *
 * Usage: cbmc --function prove_reference|prove_stretch|prove_history
 *	-I tests/proof/include -I DIRECTORY-OF-THE-HEADER [-D WIDTH_MAX=N] [-D COUNT_MAX=N] model.c
 *
 * All assertions must hold except those named "reachable ...", which must all
 * fail: if one holds, the assumptions before it exclude everything.
 */
#include "history.h"

/* Holds any sum of a counter and two counts. */
typedef unsigned __CPROVER_bitvector[66] u66;

u64 any_u64(void);
/* Unlike a function without a body, this cannot return a bool of 2 in cbmc. */
static bool any_bool(void)
{
	return any_u64() & 1;
}
unsigned int any_width(void);

#define assume(what)		__CPROVER_assume(what)
#define check(what, name)	__CPROVER_assert(what, name)
#define reachable(where)	__CPROVER_assert(0, "reachable " where)

static unsigned int width;

static u64 any_mask(void)
{
	width = any_width();
	assume(width >= 1 && width <= WIDTH_MAX);
	return ~0ull >> (64 - width);
}

static u64 any_up_to(u64 most)
{
	u64 value = any_u64();

	assume(value <= most);
	return value;
}

/* The reference after n events, which are too many for a loop. */
static struct plain plain_events(u64 value, u66 n, u64 mask)
{
	u66 sum = value + n;

	return (struct plain) { .value = (u64)sum & mask, .wraps = sum >> width };
}

static void prove_reference(void)
{
	u64 mask = any_mask();
	u64 value = any_up_to(mask);
	u64 n = any_u64(), m = any_u64();
	struct plain none = plain_events(value, 0, mask);
	struct plain some = plain_events(value, n, mask);
	struct plain one_more = plain_events(value, (u66)n + 1, mask);
	struct plain others = plain_events(some.value, m, mask);
	struct plain all = plain_events(value, (u66)n + m, mask);

	check(none.value == value && none.wraps == 0, "reference_start");
	some = plain_event(some, mask);
	check(one_more.value == some.value && one_more.wraps == some.wraps, "reference_step");
	/* So the order of perf's and emulated events does not matter. */
	some = plain_events(value, n, mask);
	check(all.value == others.value && all.wraps == some.wraps + others.wraps, "reference_order");
	reachable("reference");
}

static void prove_stretch(void)
{
	struct stretch s;

	s.mask = any_mask();
	s.value = any_up_to(s.mask);
	s.before = any_u64();
	s.perf = any_up_to(COUNT_MAX);
	s.emulated = any_up_to(COUNT_MAX);
	s.reported = any_bool();
	s.part = any_up_to(s.emulated);
	s.junk = any_u64() & ~s.mask;
	s.by_perf = plain_events(s.value, s.perf, s.mask);
	s.by_emulated = plain_events(s.by_perf.value, s.emulated, s.mask);

#define CHECK(name, what) check(holds_##name(&s), #name);
	PROPERTIES(CHECK)
#undef CHECK
	reachable("stretch");
}

/* Events from the value to the overflow, without the header's functions. */
static u64 period_of(const struct stretch *s)
{
	return s->mask - s->value + 1;
}

/*
 * The invariant of a caller: its interval so far.  A history is a chain of states
 * for which this holds.
 */
static bool is_in(const struct caller *c, const struct stretch *s)
{
	return c->mask == s->mask && s->value <= s->mask &&
	       c->base == base_of(s) && c->perf == s->before + s->perf && c->emulated == s->emulated &&
	       c->reported == s->reported && (!s->reported || s->perf > s->mask - s->value);
}

static void refer(struct stretch *s)
{
	s->by_perf = plain_events(s->value, s->perf, s->mask);
	s->by_emulated = plain_events(s->by_perf.value, s->emulated, s->mask);
}

static void check_state(const struct caller *c, struct stretch *s)
{
	refer(s);
	check(caller_read(c) == s->by_emulated.value, "history_read");
	check(is_in(c, s), "history_told");
	/* Perf's events wrap the counter when perf has counted its period, and not before. */
	check(c->period + c->room == period_of(s) && (s->perf >= c->period + c->room) == (s->by_perf.wraps > 0), "history_period");
	/*
	 * Looking at the counter only after perf's report, or after more was emulated, is enough.
	 */
	check(s->perf >= c->period || s->emulated > c->room || !(s->by_perf.wraps + s->by_emulated.wraps), "history_room");
}

static void prove_history(void)
{
	struct stretch s = { .mask = any_mask() };
	struct caller c = { .mask = s.mask };
	u64 n = any_u64();
	u64 told;

	/* The first state: a counter after a reset and a consume. */
	check(!caller_consume(&c), "history_told");
	check_state(&c, &s);
	reachable("history start");

	/* Any later state. */
	s.value = any_up_to(s.mask);
	s.before = any_u64();
	s.perf = any_up_to(COUNT_MAX);
	s.emulated = any_up_to(COUNT_MAX);
	s.reported = any_bool();
	c.base = base_of(&s);
	c.emulated = s.emulated;
	c.reported = s.reported;
	c.perf = s.before + s.perf;
	caller_arm(&c, s.value);
	assume(is_in(&c, &s));

	switch (any_width()) {
	case 0:
		/* perf counts, and after its period it may report, once. */
		assume(n <= COUNT_MAX - s.perf);
		c.perf += n;
		s.perf += n;
		if (s.perf >= c.period && any_bool()) {
			caller_report(&c);
			s.reported |= s.perf >= period_of(&s);
		}
		check_state(&c, &s);
		reachable("history perf");
		break;
	case 1:
		assume(n <= COUNT_MAX - s.emulated);
		c.emulated += n;
		s.emulated += n;
		check_state(&c, &s);
		reachable("history emulated");
		break;
	case 2:
		caller_write(&c, n);
		s.value = n & s.mask;
		s.before = c.perf;
		s.perf = 0;
		s.emulated = 0;
		s.reported = false;
		check_state(&c, &s);
		reachable("history write");
		break;
	case 3:
		refer(&s);
		told = c.reported;
		told += caller_consume(&c);
		check(told == tellable(s.by_perf.wraps, s.by_emulated.wraps, s.reported), "history_told");
		s.value = s.by_emulated.value;
		s.before = 0;
		s.perf = 0;
		s.emulated = 0;
		s.reported = false;
		check_state(&c, &s);
		reachable("history consume");
		break;
	}
}
