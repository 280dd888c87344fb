// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a counter of user mode counts exactly what was executed there.
 *
 * Each row is a piece of code with a known number of instructions and branches.  The counter must
 * agree exactly with the machine's count, and the machine's count with the known number, except
 * that each interrupt may add an IRET to both counts.
 */
#include "perf.h"

#define N	100000

static uint64_t __attribute__((used)) buffer[512];
static int fd;
static uint64_t which;

static void nothing(struct measured *s)
{
	MEASURE(s, fd, which, "");
}

static void loop(struct measured *s)
{
	MEASURE(s, fd, which, "mov $100000, %%ecx\n1: dec %%ecx\n\tjnz 1b");
}

static void nops(struct measured *s)
{
	MEASURE(s, fd, which, "mov $1000, %%ecx\n1: .rept 97\n\tnop\n\t.endr\n\tdec %%ecx\n\tjnz 1b");
}

static void calls(struct measured *s)
{
	MEASURE(s, fd, which, "mov $10000, %%ecx\n1: call 2f\n\tdec %%ecx\n\tjnz 1b\n\tjmp 3f\n2: ret\n3:");
}

static void repeats(struct measured *s)
{
	MEASURE(s, fd, which, "mov $1000, %%edx\n1: lea buffer(%%rip), %%rdi\n\tmov $512, %%ecx\n\t"
		"xor %%eax, %%eax\n\trep stosq\n\tdec %%edx\n\tjnz 1b");
}

static void syscalls(struct measured *s)
{
	MEASURE(s, fd, which, "mov $1000, %%r12d\n1: mov $39, %%eax\n\tsyscall\n\tdec %%r12d\n\tjnz 1b");
}

static const struct {
	const char *name;
	void (*run)(struct measured *s);
	unsigned int insns, branches;
	const char *why;
} rows[] = {
	{ "nothing", nothing, 0, 0,
	  "only the frame is between two readings: 9, with SYSRET as the only branch" },
	{ "loop", loop, 1 + 2 * N, N,
	  "mov; dec and jnz each time, taken or not" },
	{ "nops", nops, 1 + 99 * 1000, 1000,
	  "mov; 97 nops, dec, jnz" },
	{ "calls", calls, 1 + 4 * 10000 + 1, 3 * 10000 + 1,
	  "mov; call, ret, dec, jnz; jmp" },
	{ "repeats", repeats, 1 + 6 * 1000, 1000,
	  "rep stosq of 512 words is one instruction and not a branch" },
	{ "syscalls", syscalls, 1 + 5 * 1000 - 1000, 3000 - 1000,
	  "mov, SYSRET, dec, jnz: SYSCALL counts in the kernel, where it leads, and SYSRET here" },
};

#define MOST_IRETS	100

/*
 * Count one row by one event: compare perf with the machine, and the machine with the known number.
 */
static void count(unsigned int row, const char *event, __u64 config, unsigned int index, const char *ends, unsigned int known)
{
	struct perf_event_attr attr = perf_attr(config, USER);
	struct measured s;
	char what[64];

	fd = perf_open(&attr, 0, -1, -1);
	snprintf(what, sizeof(what), "%s:u can be opened", event);
	must(fd >= 0, what);
	which = truth_index(index, USER);
	TWICE {
		ioctl(fd, PERF_EVENT_IOC_RESET, 0);
		rows[row].run(&s);
	}
	snprintf(what, sizeof(what), "%s: %s", rows[row].name, event);
	check_equal(what, perf_read(fd), s.after - s.before, ends);
	snprintf(what, sizeof(what), "%s: %s known", rows[row].name, event);
	check_between(what, s.after - s.before, known, known + MOST_IRETS, rows[row].why);
	close(fd);
}

int main(void)
{
	unsigned int i;

	buffer[0] = 1;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		count(i, "instructions", PERF_COUNT_HW_INSTRUCTIONS, TRUTH_INSNS_HOST_KERNEL,
		      "the machine's count: each misses as much at one end as the other does",
		      rows[i].insns + MEASURE_INSNS);
		count(i, "branches", PERF_COUNT_HW_BRANCH_INSTRUCTIONS, TRUTH_BRANCHES_HOST_KERNEL,
		      "the machine's count: there is no branch at the ends",
		      rows[i].branches + MEASURE_BRANCHES);
	}
	return check_done();
}
