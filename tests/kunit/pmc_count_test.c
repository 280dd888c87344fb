// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the arithmetic of a virtual counter (arch/x86/kvm/pmc_count.h).
 *
 * The same header is proved in user space (tests/proof); this shows that what
 * was proved is what this kernel's compiler makes of it.
 */
#include <kunit/test.h>
#include <linux/module.h>

#include "pmc_count.h"

/* AMD and most of Intel have 48, older CPUs 40 and 32; 1 and 63 are the header's limits. */
static const unsigned int widths[] = { 1, 31, 32, 40, 48, 63 };

static u64 mask_of(unsigned int i)
{
	return (1ULL << widths[i]) - 1;
}

/* Values near a border of a counter of this width. */
static u64 interesting(unsigned int n, u64 mask)
{
	const u64 values[] = { 0, 1, 2, mask / 2, mask / 2 + 1, mask - 1, mask };

	return values[n] & mask;
}

#define INTERESTING	7

static void read_is_the_sum(struct kunit *test)
{
	unsigned int i, n;
	u64 mask;

	for (i = 0; i < ARRAY_SIZE(widths); i++) {
		mask = mask_of(i);
		for (n = 0; n < INTERESTING; n++) {
			u64 v = interesting(n, mask);

			KUNIT_EXPECT_EQ(test, pmc_count_read(v, 0, 0, mask), v);
			KUNIT_EXPECT_EQ(test, pmc_count_read(v, mask + 1, 0, mask), v);
			KUNIT_EXPECT_EQ(test, pmc_count_read(v, 0, mask + 1, mask), v);
			KUNIT_EXPECT_EQ(test, pmc_count_read(v, 1, 1, mask), (v + 2) & mask);
			KUNIT_EXPECT_EQ(test, pmc_count_read(v, mask, 1, mask), v);
		}
	}
}

static void write_offsets(struct kunit *test)
{
	static const u64 perf[] = { 0, 1, 1000, 1ULL << 31, 1ULL << 47, 1ULL << 62 };
	unsigned int i, n, p;
	u64 mask;

	for (i = 0; i < ARRAY_SIZE(widths); i++) {
		mask = mask_of(i);
		for (n = 0; n < INTERESTING; n++) {
			for (p = 0; p < ARRAY_SIZE(perf); p++) {
				u64 v = interesting(n, mask);
				u64 base = pmc_count_write(v, perf[p], mask);
				struct pmc_count count;

				KUNIT_EXPECT_EQ(test, pmc_count_read(base, perf[p], 0, mask), v);

				/* No event since: nothing wraps, whatever perf had counted. */
				count = pmc_count_consume(base, perf[p], 0, mask);
				KUNIT_EXPECT_EQ(test, count.base, v);
				KUNIT_EXPECT_FALSE(test, pmc_count_owes(count, false));

				/*
				 * The last event before the overflow does not wrap, the next does.
				 */
				count = pmc_count_consume(base, perf[p] + (mask - v), 0, mask);
				KUNIT_EXPECT_EQ(test, count.base, mask);
				KUNIT_EXPECT_FALSE(test, count.perf_wrapped);
				count = pmc_count_consume(base, perf[p] + (mask - v) + 1, 0, mask);
				KUNIT_EXPECT_EQ(test, count.base, 0ULL);
				KUNIT_EXPECT_TRUE(test, count.perf_wrapped);
			}
		}
	}
}

static void write_drops_what_is_too_wide(struct kunit *test)
{
	unsigned int i;
	u64 mask;

	for (i = 0; i < ARRAY_SIZE(widths); i++) {
		mask = mask_of(i);
		KUNIT_EXPECT_EQ(test, pmc_count_write(~0ULL, 0, mask), mask);
	}
}

static void emulated_events_wrap(struct kunit *test)
{
	struct pmc_count count;
	unsigned int i;
	u64 mask;

	for (i = 0; i < ARRAY_SIZE(widths); i++) {
		mask = mask_of(i);
		count = pmc_count_consume(mask, 0, 1, mask);
		KUNIT_EXPECT_EQ(test, count.base, 0ULL);
		KUNIT_EXPECT_TRUE(test, count.emulated_wrapped);
		KUNIT_EXPECT_FALSE(test, count.perf_wrapped);
		KUNIT_EXPECT_TRUE(test, pmc_count_owes(count, false));

		count = pmc_count_consume(mask - 1, 0, 1, mask);
		KUNIT_EXPECT_EQ(test, count.base, mask);
		KUNIT_EXPECT_FALSE(test, pmc_count_owes(count, false));

		/* As many events as there are values: the counter ends where it began. */
		count = pmc_count_consume(mask / 2, 0, mask + 1, mask);
		KUNIT_EXPECT_EQ(test, count.base, mask / 2);
		KUNIT_EXPECT_TRUE(test, pmc_count_owes(count, true));
	}
}

static void perf_goes_first(struct kunit *test)
{
	struct pmc_count count;
	unsigned int i;
	u64 mask;

	for (i = 0; i < ARRAY_SIZE(widths); i++) {
		mask = mask_of(i);
		if (mask == 1)
			continue;

		/* perf wraps it and has reported that; two more emulated events wrap nothing. */
		count = pmc_count_consume(mask, 1, 2, mask);
		KUNIT_EXPECT_EQ(test, count.base, 2ULL);
		KUNIT_EXPECT_FALSE(test, count.emulated_wrapped);
		KUNIT_EXPECT_FALSE(test, pmc_count_owes(count, true));
		KUNIT_EXPECT_TRUE(test, pmc_count_owes(count, false));

		/* perf brings it to its highest value, the emulated event beyond. */
		count = pmc_count_consume(mask - 1, 1, 1, mask);
		KUNIT_EXPECT_EQ(test, count.base, 0ULL);
		KUNIT_EXPECT_FALSE(test, count.perf_wrapped);
		KUNIT_EXPECT_TRUE(test, pmc_count_owes(count, false));
		KUNIT_EXPECT_TRUE(test, pmc_count_owes(count, true));
	}
}

static void period_is_what_wraps(struct kunit *test)
{
	unsigned int i, n;
	u64 mask;

	KUNIT_EXPECT_EQ(test, pmc_count_period(0, 0xff), 256ULL);
	KUNIT_EXPECT_EQ(test, pmc_count_period(0xff, 0xff), 1ULL);
	for (i = 0; i < ARRAY_SIZE(widths); i++) {
		mask = mask_of(i);
		for (n = 0; n < INTERESTING; n++) {
			u64 v = interesting(n, mask);
			u64 period = pmc_count_period(v, mask);

			KUNIT_EXPECT_TRUE(test, pmc_count_consume(v, period, 0, mask).perf_wrapped);
			KUNIT_EXPECT_FALSE(test, pmc_count_consume(v, period - 1, 0, mask).perf_wrapped);
		}
	}
}

/* Compare a counter of three bits with one that is incremented event by event. */
static void as_one_by_one(struct kunit *test)
{
	const u64 mask = 7;
	unsigned int n, k;

	/* All combinations of 8 values, 15 counts of perf before, 8 since, 8 emulated events. */
	for (n = 0; n < 8 * 15 * 8 * 8; n++) {
		unsigned int value = n % 8, before = n / 8 % 15, perf = n / 120 % 8, emulated = n / 960;
		u64 base = pmc_count_write(value, before, mask);
		struct pmc_count count = pmc_count_consume(base, before + perf, emulated, mask);
		unsigned int by_perf = 0, by_emulation = 0, v = value;

		for (k = 0; k < perf; k++) {
			v = (v + 1) & mask;
			by_perf += !v;
		}
		for (k = 0; k < emulated; k++) {
			v = (v + 1) & mask;
			by_emulation += !v;
		}
		KUNIT_EXPECT_EQ(test, pmc_count_read(base, before + perf, emulated, mask), (u64)v);
		KUNIT_EXPECT_EQ(test, count.base, (u64)v);
		KUNIT_EXPECT_EQ(test, (unsigned int)count.perf_wrapped, by_perf);
		KUNIT_EXPECT_EQ(test, (unsigned int)count.emulated_wrapped, by_emulation);
	}
}

static struct kunit_case pmc_count_cases[] = {
	KUNIT_CASE(read_is_the_sum),
	KUNIT_CASE(write_offsets),
	KUNIT_CASE(write_drops_what_is_too_wide),
	KUNIT_CASE(emulated_events_wrap),
	KUNIT_CASE(perf_goes_first),
	KUNIT_CASE(period_is_what_wraps),
	KUNIT_CASE(as_one_by_one),
	{}
};

static struct kunit_suite pmc_count_suite = {
	.name = "pmc_count",
	.test_cases = pmc_count_cases,
};

kunit_test_suite(pmc_count_suite);

MODULE_DESCRIPTION("KUnit tests of KVM's counter arithmetic");
MODULE_LICENSE("GPL");
