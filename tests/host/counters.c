// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: Linux's PMU driver has every counter of the machine, and all of them count at the same
 * time.
 *
 * perf schedules a group as a whole or not at all.  The largest group that it accepts has as many
 * members as the PMU has counters for the event.  All members must agree and run all the time.
 */
#include "perf.h"

#define MOST	32

static int leader;
static uint64_t which;

static void __attribute__((noinline)) work(struct measured *s)
{
	MEASURE(s, leader, which, "mov $100000, %%ecx\n1: dec %%ecx\n\tjnz 1b");
}

/* The number of counters that can count the event, by CPUID. */
static unsigned int expected(uint64_t config)
{
	uint32_t r[4], a, d;

	if (on_amd())
		return 6;
	host_cpuid(0xa, r);
	a = r[0];
	d = r[3];
	note("perfmon version %u, %u general counters of %u bits, %u fixed", a & 0xff, a >> 8 & 0xff, a >> 16 & 0xff, d & 0x1f);
	/* One of the fixed counters counts instructions, none counts branches. */
	return (a >> 8 & 0xff) + (config == PERF_COUNT_HW_INSTRUCTIONS && (d & 0x1f));
}

int main(void)
{
	static const struct {
		const char *name;
		uint64_t config;
		enum mark_index truth;
	} rows[] = {
		{ "instructions", PERF_COUNT_HW_INSTRUCTIONS, TRUTH_INSNS_HOST_KERNEL },
		{ "branches", PERF_COUNT_HW_BRANCH_INSTRUCTIONS, TRUTH_BRANCHES_HOST_KERNEL },
	};
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct perf_event_attr attr = perf_attr(rows[i].config, USER);
		unsigned int n = 0, wrong = 0;
		int fds[MOST];
		struct measured s;
		char what[64];

		attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
		which = truth_index(rows[i].truth, USER);
		for (n = 0; n < MOST; n++) {
			attr.disabled = !n;
			attr.pinned = !n;
			fds[n] = perf_open(&attr, 0, -1, n ? fds[0] : -1);
			if (fds[n] < 0)
				break;
		}
		must(n > 0, "a counter can be opened");
		snprintf(what, sizeof(what), "counters of %s", rows[i].name);
		check_equal(what, n, expected(rows[i].config),
			    "what CPUID says, and none is in use");
		leader = fds[0];
		TWICE {
			ioctl(leader, PERF_EVENT_IOC_RESET, PERF_IOC_FLAG_GROUP);
			work(&s);
		}
		for (k = 0; k < n; k++) {
			uint64_t value[3] = { 0 };

			if (read(fds[k], value, sizeof(value)) != sizeof(value) || !value[2] ||
			    value[0] != s.after - s.before) {
				note("counter %u: %llu, enabled %llu, running %llu; want %llu", k, (unsigned long long)value[0],
				     (unsigned long long)value[1], (unsigned long long)value[2],
				     (unsigned long long)(s.after - s.before));
				wrong++;
			}
		}
		/* Close the leader last: members without it would continue alone. */
		while (n)
			close(fds[--n]);
		snprintf(what, sizeof(what), "counters of %s that are wrong", rows[i].name);
		check_equal(what, wrong, 0,
			    "all count the same region, from enabling their group to disabling it");
	}
	return check_done();
}
