// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: after the host has taken all counters of the CPU and given them back, a guest's counter
 * counts again.  With a mediated vPMU it never stops.  With a perf-based vPMU it stops while there
 * is no counter for it, but no longer.
 *
 * The host takes the counters by pinned events of the CPU, as its watchdog and monitoring do.  perf
 * then puts KVM's event, which is pinned too, into the error state, and only KVM can bring it back.
 * Except in the last row, KVM emulates none of the events that the counter counts, so it has no
 * other reason to look at the counter.
 */

#include "perf.h"
#include "vm.h"

#define EVENTS	16

static struct vm vm;
static struct vm_body body;
static struct vm_region s;
static int fd[EVENTS];
static unsigned int hooks, opened;

static int event(uint64_t config)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = config, .pinned = 1, .exclude_guest = vm_seen.mediated,
	};

	return perf_open(&attr, -1, 0, -1);
}

static void give_back(void)
{
	while (opened)
		close(fd[--opened]);
}

/* Take all counters at the first point, give them back at the second, do nothing at the others. */
static void hook(struct vm *unused)
{
	(void)unused;
	if (++hooks == 1)
		while (opened < EVENTS) {
			fd[opened] = event(PERF_COUNT_HW_BRANCH_INSTRUCTIONS);
			must(fd[opened] >= 0, "a pinned event of the CPU");
			opened++;
		}
	else if (hooks == 2)
		give_back();
}

static void before(struct vm *unused)
{
	(void)unused;
	hooks = 0;
	give_back();
}

static const struct {
	const char *what, *code;
	enum vm_event event;
	bool interrupt;
} rows[] = {
	/* OUT is not a branch: KVM emulates none of the events that are counted. */
	{ "branches",
	  "(nop jmp)*90 hook (nop jmp)*90 hook (nop jmp)*90 hook (nop jmp)*90",
	  VM_BRANCHES, false },
	{ "branches, with an interrupt",
	  "(nop jmp)*90 hook (nop jmp)*90 hook (nop jmp)*90 hook (nop jmp)*90", VM_BRANCHES, true },
	/* Here each OUT makes KVM look at the counter. */
	{ "instructions", "nop*90 hook nop*90 hook nop*90 hook nop*90", VM_INSNS, false },
};

int main(void)
{
	unsigned int row;

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm.hook = hook;
	vm.before = before;
	for (row = 0; row < ARRAY_SIZE(rows); row++) {
		uint64_t all, taken, last, want;

		vm_body(&body, rows[row].code);
		memset(&s.counter, 0, sizeof(s.counter));
		s.body = &body;
		s.n = 1;
		s.counter[0] = (struct vm_counter) {
			.event = rows[row].event, .privilege = VM_KERNEL, .interrupt = rows[row].interrupt,
		};
		vm_measure(&vm, &s);
		all = vm_expected(&s, 0);
		taken = vm_events(&s, 0, 0, 1);
		last = vm_events(&s, 0, 1, VM_END);
		want = vm_seen.mediated ? all : all - taken;
		note("%s: counted %llu of %llu; %llu while the host had all counters, %llu later",
		     rows[row].what, (unsigned long long)s.counter[0].value,
		     (unsigned long long)all, (unsigned long long)taken, (unsigned long long)last);
		/* KVM counts what it emulates in any case. */
		check_between(rows[row].what, s.counter[0].value, want, all,
			      "all but what it may miss");
		/* KVM has to report an overflow after that time. */
		if (!rows[row].interrupt)
			continue;
		s.counter[0].start = -(all - 20) & VM_MASK;
		vm_measure(&vm, &s);
		check_equal("PMIs, the counter has overflowed", vm_seen.pmis,
			    s.counter[0].value < 100, "one if it has");
		if (vm_seen.mediated)
			check_equal("PMIs", vm_seen.pmis, 1, "the counter is the guest's own");
		s.counter[0].start = 0;
	}
	give_back();
	check(vm_seen.mediated == !vm_stat(&vm, "pmu_counters_lost"), "the vCPU's statistic: %llu counters lost",
	      (unsigned long long)vm_stat(&vm, "pmu_counters_lost"));
	vm_close(&vm);
	return check_done();
}
