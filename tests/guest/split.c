// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: in a guest, too, user mode and kernel are counted separately.
 *
 * The user's part is exact.  The kernel's cannot be read right next to the machine's count, as
 * tests/host/split.c does: RDPMC exits, and so does enabling a counter.  So compare two measured
 * regions, one with more system calls than the other.  What they have in common, the way into and
 * out of ioctl(), cancels.  What remains are interrupts, of which one region may have more, and
 * with a perf-based vPMU the instructions that KVM emulates and counts itself.  Of several tries
 * use the one with the fewest instructions.
 */
#include "perf.h"

#define FEW	1000
#define MANY	5000

static int fd;
static uint64_t which;

static void __attribute__((noinline)) few(struct measured *s)
{
	MEASURE(s, fd, which, "mov $1000, %%r12d\n1: mov $110, %%eax\n\tsyscall\n\tdec %%r12d\n\tjnz 1b");
}

static void __attribute__((noinline)) many(struct measured *s)
{
	MEASURE(s, fd, which, "mov $5000, %%r12d\n1: mov $110, %%eax\n\tsyscall\n\tdec %%r12d\n\tjnz 1b");
}

static uint64_t measure(enum privilege privilege, void (*run)(struct measured *s), uint64_t *truth)
{
	struct perf_event_attr attr = perf_attr(PERF_COUNT_HW_INSTRUCTIONS, privilege);
	struct measured s;
	uint64_t count = 0;
	unsigned int i;

	fd = perf_open(&attr, 0, -1, -1);
	must(fd >= 0, "a counter can be opened");
	which = truth_index(TRUTH_INSNS_HOST_KERNEL, privilege == USER ? USER : KERNEL);
	/*
	 * The first run has page faults.  In some runs the kernel runs another task in between,
	 * which the event does not count.
	 */
	for (i = 0; i < 6; i++) {
		ioctl(fd, PERF_EVENT_IOC_RESET, 0);
		run(&s);
		if (i && s.after - s.before >= *truth)
			continue;
		count = perf_read(fd);
		*truth = s.after - s.before;
	}
	close(fd);
	return count;
}

int main(void)
{
	const unsigned int part = on_slow_host() ? 5 : 20;
	uint64_t counted[2], truth[2], difference;

	counted[0] = measure(USER, few, &truth[0]);
	check_equal("user", counted[0], truth[0], "the machine's count");
	check_between("user, known", truth[0], MEASURE_INSNS + 1 + 4 * FEW, MEASURE_INSNS + 1 + 4 * FEW + 100,
		      "mov, SYSRET, dec, jnz each time");

	counted[0] = measure(KERNEL, few, &truth[0]);
	counted[1] = measure(KERNEL, many, &truth[1]);
	note("kernel: counted %llu and %llu, the machine %llu and %llu", (unsigned long long)counted[0],
	     (unsigned long long)counted[1], (unsigned long long)truth[0], (unsigned long long)truth[1]);
	difference = truth[1] - truth[0];
	check_between("kernel", counted[1] - counted[0], difference - difference / part, difference + difference / part,
		      "the machine's difference, within five percent, or a fifth on a slow host");
	check(difference > (MANY - FEW) * 10, "kernel: a system call is more than ten instructions");
	return check_done();
}
