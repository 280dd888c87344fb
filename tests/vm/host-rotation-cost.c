// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: the cost of a VM-exit depends on how many events of the host are counting, not on how many
 * more wait for their turn.  It is measured in instructions of the host.
 */
#include "perf.h"
#include "vm.h"

#define EXITS	2000
#define FEW	4
#define MANY	24

static uint64_t host(void)
{
	return mark_read(TRUTH_INSNS_HOST_KERNEL) + mark_read(TRUTH_INSNS_HOST_USER);
}

/* The host's instructions of an exit. */
static uint64_t exits(struct vm *vm)
{
	uint64_t before, least = -1;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		before = host();
		vm_call(vm, vm_guest_exits, (void *)EXITS);
		before = host() - before;
		least = before < least ? before : least;
	}
	return least / EXITS;
}

static int event(unsigned int i)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_HARDWARE, .exclude_guest = 1,
		.config = i & 1 ? PERF_COUNT_HW_BRANCH_INSTRUCTIONS : PERF_COUNT_HW_BRANCH_MISSES,
	};

	return perf_open(&attr, 0, -1, -1);
}

int main(void)
{
	static struct vm vm;
	uint64_t none, few, full, many;
	unsigned int i, counters = vm_general();

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, vm_guest_exits, (void *)EXITS);
	none = exits(&vm);
	for (i = 0; i < FEW; i++)
		must(event(i) >= 0, "an event");
	few = exits(&vm);
	for (; i < counters; i++)
		must(event(i) >= 0, "an event");
	full = exits(&vm);
	for (; i < MANY; i++)
		must(event(i) >= 0, "an event");
	many = exits(&vm);
	note("instructions of an exit: %llu; %llu with %u events, %llu with %u on all counters, %llu with %u that take turns",
	     (unsigned long long)none, (unsigned long long)few, FEW, (unsigned long long)full, counters,
	     (unsigned long long)many, MANY);
	/* The turns themselves depend on time, not on exits, and cost a tenth. */
	check(many <= full + full / 4,
	      "events that wait cost an exit nothing: %llu; %llu with all counters in use",
	      (unsigned long long)many, (unsigned long long)full);
	vm_close(&vm);
	return check_done();
}
