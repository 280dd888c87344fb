// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a VM to which its owner gives no PMU pays nothing for one.  A VM-exit costs the same as on
 * the same host with the parameter off, whatever else of the host wants to count (here its
 * watchdog), and accesses no register of the PMU except these, which the machine counts.  On Intel
 * the base reads IA32_DEBUGCTL before a VM-entry and writes it after the VM-exit, which clears it,
 * and with it perf's FREEZE_IN_SMM.  On AMD it reads DEBUGCTL, which is a register of the PMU where
 * it can freeze the counters (Zen 4).
 */
#include "vm.h"

#define EXITS	1000

static uint64_t accesses(void)
{
	return mark_read(TRUTH_HOST_RDMSR) + mark_read(TRUTH_HOST_WRMSR) + mark_read(TRUTH_HOST_RDPMC);
}

static struct {
	uint64_t exits, accesses;
} seen;

static void guest(void *unused)
{
	unsigned int i, a, b, c, d;

	(void)unused;
	seen.exits = mark_read(TRUTH_EXITS);
	seen.accesses = accesses();
	for (i = 0; i < EXITS; i++)
		asm volatile("cpuid" : "=a" (a), "=b" (b), "=c" (c), "=d" (d) : "a" (0));
	seen.exits = mark_read(TRUTH_EXITS) - seen.exits;
	seen.accesses = accesses() - seen.accesses;
}

int main(void)
{
	static struct vm vm;
	unsigned int k, each = 2;
	uint32_t r[4];

	if (on_amd()) {
		/* LbrAndPmcFreeze. */
		host_cpuid(0x80000022, r);
		each = r[0] >> 2 & 1;
	}
	vm_give_no_pmu();
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	for (k = 0; k < 3; k++)
		vm_call(&vm, guest, NULL);
	note("%llu exits, %llu accesses of the host to its PMU", (unsigned long long)seen.exits, (unsigned long long)seen.accesses);
	check(seen.exits >= EXITS, "it exits");
	/* The watchdog's own NMI may come meanwhile. */
	check(seen.accesses <= each * seen.exits + 50, "accesses to the PMU: %llu in %llu exits",
	      (unsigned long long)seen.accesses, (unsigned long long)seen.exits);
	vm_close(&vm);
	return check_done();
}
