// SPDX-License-Identifier: GPL-2.0
/*
 * The properties of properties.h and history.h, for every small counter: all
 * intervals of counters of 1 to 5 bits, with two wraps and more by perf and by
 * emulation each, and all short histories of counters of 1 to 3 bits, against a
 * counter that is incremented one by one.
 *
 * Usage: exhaustive
 *
 * Built with -I tests/proof/include -I DIRECTORY-OF-THE-HEADER.  It prints one
 * result per property to standard output: "ok N - NAME: what holds (cases)", and
 * below a property that does not hold its first case.
 *
 * Exit codes: 0 all hold, 1 some do not.
 */
#include <stdio.h>

#include "history.h"

enum {
#define NUMBER(name, what) P_##name,
	PROPERTIES(NUMBER)
	HISTORY_PROPERTIES(NUMBER)
#undef NUMBER
	P_COUNT
};

static struct {
	const char *name;
	const char *what;
	u64 cases;
	u64 bad;
	char first[256];
} results[] = {
#define RESULT(name, what) { #name, what, 0, 0, "" },
	PROPERTIES(RESULT)
	HISTORY_PROPERTIES(RESULT)
#undef RESULT
};

static void note_bad(int which, const struct stretch *s)
{
	if (!results[which].bad++)
		snprintf(results[which].first, sizeof(results[which].first),
			 "mask %#llx, at %llu with perf at %#llx; then perf %llu, emulated %llu (%llu first), %s, junk %#llx",
			 s->mask, s->value, s->before, s->perf, s->emulated, s->part,
			 s->reported ? "reported" : "not reported", s->junk);
}

static void ask(const struct stretch *s)
{
#define ASK(name, what)					\
	do {						\
		results[P_##name].cases++;		\
		if (!holds_##name(s))			\
			note_bad(P_##name, s);		\
	} while (0);
	PROPERTIES(ASK)
#undef ASK
}

/* Try this part of @most emulated events?  With @all each, else the ends and the middle. */
static bool chosen(u64 n, u64 most, bool all)
{
	return all || n <= 1 || n == most / 2 || n + 1 >= most;
}

static void parts(struct stretch *s, bool all)
{
	for (s->part = 0; s->part <= s->emulated; s->part++) {
		if (!chosen(s->part, s->emulated, all))
			continue;
		for (int bits = 0; bits < 4; bits++) {
			s->reported = bits & 1;
			s->junk = bits & 2 ? ~s->mask : 0;
			ask(s);
		}
	}
}

static void stretches(unsigned int width)
{
	struct stretch s = { .mask = (1ull << width) - 1 };
	u64 most = 2 * (s.mask + 1) + 2;
	/*
	 * perf's count at the beginning: after a consume, with few events, and on its way past the
	 * highest value of 64 bits.
	 */
	u64 starts[] = { 0, 1, s.mask, s.mask + 1, most, 1ull << 63, -1ull, -s.mask, -most };

	for (unsigned int i = 0; i < sizeof(starts) / sizeof(*starts); i++) {
		for (u64 value = 0; value <= s.mask; value++) {
			s.value = value;
			s.before = starts[i];
			s.by_perf = (struct plain) { .value = value };
			for (s.perf = 0; s.perf <= most; s.perf++) {
				s.by_emulated = (struct plain) { .value = s.by_perf.value };
				for (s.emulated = 0; s.emulated <= most; s.emulated++) {
					parts(&s, width <= 3);
					s.by_emulated = plain_event(s.by_emulated, s.mask);
				}
				s.by_perf = plain_event(s.by_perf, s.mask);
			}
		}
	}
}

/*
 * A history so far: the caller, and the reference to judge it by.
 *
 * @whole: the counter, incremented event by event in the order in which they came
 * @start: its value at the beginning of the interval
 * @perf, @emulated: events since then
 * @left: events of perf until its overflow
 */
struct history {
	struct caller c;
	struct plain whole;
	u64 start;
	u64 perf;
	u64 emulated;
	u64 left;
	char said[48];
	int length;
};

static void judge(int which, const struct history *h, bool good)
{
	results[which].cases++;
	if (!good && !results[which].bad++)
		snprintf(results[which].first, sizeof(results[which].first), "mask %#llx: %.*s", h->c.mask, h->length, h->said);
}

static void say(struct history *h, char c)
{
	h->said[h->length++] = c;
}

static void begin(struct history *h)
{
	h->whole.wraps = 0;
	h->start = h->whole.value;
	h->perf = 0;
	h->emulated = 0;
	h->left = h->c.period;
}

static struct plain after(const struct history *h, u64 value, u64 events)
{
	struct plain p = { .value = value };

	while (events--)
		p = plain_event(p, h->c.mask);
	return p;
}

static void perf_counts(struct history *h, bool heard)
{
	struct plain by_perf;
	bool over;

	h->c.perf++;
	h->perf++;
	h->whole = plain_event(h->whole, h->c.mask);
	by_perf = after(h, h->start, h->perf);
	over = --h->left == 0;
	/*
	 * Later overflows come at perf's own distance and report nothing new.  A counter as small
	 * as this is never far from overflow.
	 */
	if (by_perf.wraps == 0 || (by_perf.wraps == 1 && by_perf.value == 0))
		judge(P_history_period, h, over == (by_perf.wraps == 1));
	if (over) {
		h->left = h->c.period;
		if (heard)
			caller_report(&h->c);
	}
}

static void emulate(struct history *h, u64 events)
{
	h->c.emulated += events;
	h->emulated += events;
	while (events--)
		h->whole = plain_event(h->whole, h->c.mask);
}

static void consume(struct history *h)
{
	struct plain by_perf = after(h, h->start, h->perf);
	struct plain by_emulated = after(h, by_perf.value, h->emulated);
	bool reported = h->c.reported;
	u64 told = reported;

	told += caller_consume(&h->c);
	judge(P_history_told, h, told == tellable(by_perf.wraps, by_emulated.wraps, reported) &&
	      /* The order in which they came does not matter. */
	      h->whole.wraps == by_perf.wraps + by_emulated.wraps && h->whole.value == by_emulated.value &&
	      (h->whole.wraps > 1 || told == h->whole.wraps));
	begin(h);
}

/* Operations for a mask: five, and a write of each value. */
static void operate(struct history *h, u64 operation)
{
	switch (operation) {
	case 0:		/* perf counts; KVM handles its overflow */
		say(h, 'P');
		perf_counts(h, true);
		break;
	case 1:		/* KVM does not: the counter waits to be reprogrammed */
		say(h, 'p');
		perf_counts(h, false);
		break;
	case 2:
		say(h, 'e');
		emulate(h, 1);
		break;
	case 3:		/* many at once, enough to overflow for sure */
		say(h, 'E');
		emulate(h, h->c.mask + 2);
		break;
	case 4:
		say(h, 'C');
		consume(h);
		break;
	default:
		say(h, '0' + (operation - 5));
		caller_write(&h->c, operation - 5);
		h->whole = (struct plain) { .value = operation - 5 };
		begin(h);
	}
	judge(P_history_read, h, caller_read(&h->c) == h->whole.value);
	judge(P_history_room, h, h->perf >= h->c.period || h->emulated > h->c.room || !h->whole.wraps);
}

static void histories(const struct history *so_far, int length)
{
	for (u64 operation = 0; operation < 5 + so_far->c.mask + 1; operation++) {
		struct history h = *so_far;

		operate(&h, operation);
		if (length > 1)
			histories(&h, length - 1);
	}
}

int main(void)
{
	static const int lengths[] = { 0, 8, 7, 6 };
	int bad = 0;

	for (unsigned int width = 1; width <= 5; width++)
		stretches(width);
	for (unsigned int width = 1; width <= 3; width++) {
		struct history h = { .c.mask = (1ull << width) - 1 };

		/* A counter begins with a reset. */
		caller_consume(&h.c);
		begin(&h);
		/* The shortest first, so that the first bad history is easy to follow. */
		for (int length = 1; length <= lengths[width]; length++)
			histories(&h, length);
	}
	for (int i = 0; i < P_COUNT; i++) {
		printf("%s %d - %s: %s (%llu cases)\n", results[i].bad ? "not ok" : "ok", i + 1,
		       results[i].name, results[i].what, results[i].cases);
		if (results[i].bad)
			printf("# %llu bad; the first: %s\n", results[i].bad, results[i].first);
		bad |= results[i].bad > 0;
	}
	printf("1..%d\n", P_COUNT);
	return bad;
}
