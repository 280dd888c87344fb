// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: on CPUs whose transactions use general counter 3 unless they are made to abort, they abort
 * while a guest has the counters, and while the host has an event on that one; and else they do not.
 *
 * IA32_TSX_FORCE_ABORT says which.  Another CPU reads it while the guest counts.
 */
#include <pthread.h>

#include "perf.h"
#include "planted.h"
#include "vm.h"

#define EXITS	3000

static struct vm vm;
static volatile bool counting, done;
static unsigned int seen[2];

static void guest_counts(void *exits)
{
	uintptr_t i;

	vm_count_begin();
	/* The exit makes KVM load what was written. */
	vm_cpuid();
	counting = true;
	for (i = 0; i < (uintptr_t)exits; i++)
		vm_cpuid();
	counting = false;
	vm_count_end();
}

static bool aborts(void)
{
	uint64_t value = 0;

	must(device_read(0, MSR_TSX_FORCE_ABORT, &value), "IA32_TSX_FORCE_ABORT can be read");
	return value & 1;
}

static void *observe(void *unused)
{
	(void)unused;
	on_cpu(0, 1);
	while (!done) {
		bool now, before = counting;

		now = aborts();
		if (before && counting)
			seen[now]++;
		/* Each reading interrupts the guest.  Let it run. */
		usleep(100);
	}
	return NULL;
}

static void count(void)
{
	pthread_t observer;

	done = false;
	memset(seen, 0, sizeof(seen));
	must(!pthread_create(&observer, NULL, observe, NULL), "a thread");
	vm_call(&vm, guest_counts, (void *)EXITS);
	done = true;
	pthread_join(observer, NULL);
	note("while the guest counts: %u times set, %u times not", seen[1], seen[0]);
}

int main(void)
{
	struct perf_event_attr attr = perf_attr(PERF_COUNT_HW_BRANCH_INSTRUCTIONS, BOTH);
	unsigned int i;
	int fds[4];

	attr.disabled = 0;
	attr.pinned = 1;
	attr.exclude_guest = 1;
	on_cpu(0, 0);
	device_open(1);
	check_equal("before any guest", aborts(), 0, "transactions need not abort");

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	check_equal("with a guest that does not count", aborts(), 0, "nor now");
	count();
	/* When the vCPU is scheduled out, the PMU is perf's. */
	check(seen[1] >= 100 && seen[0] <= seen[1] / 20, "while the guest counts, transactions abort");

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = perf_open(&attr, -1, 0, -1);
		must(fds[i] >= 0, "an event of the host's for each counter");
	}
	check_equal("with the host's event on counter 3", aborts(), 1, "transactions abort");
	count();
	check_equal("after turns of the guest beside it", aborts(), 1, "the host's event has the counter again");
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);

	count();
	vm_close(&vm);
	check_equal("without the event, and without the guest", aborts(), 0, "transactions need not abort any more");
	return check_done();
}
