// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: with nmi_watchdog=1 there are VMs with a mediated vPMU, and a CPU that is stuck in the host's kernel is found, as before.
 *
 * The module that tests/kunit has for it keeps the CPU with interrupts off for some of the watchdog's periods: once before
 * there has been such a VM, and once while there is one whose counters were loaded just before.
 */
#include "vm.h"

/* Of the TSC, of which the machine has fifty million a second: the watchdog's period of a second, several times. */
#define TICKS	"ticks=200000000"

static void stuck(const char *when)
{
	check(system("dmesg -c > /tmp/before; grep -q 'hard LOCKUP' /tmp/before"), "%s: nothing is said before", when);
	must(!system("insmod /lib/kunit/lockup.ko " TICKS " && rmmod lockup"), "the CPU is stuck for a while");
	check(!system("dmesg | grep 'hard LOCKUP' > /tmp/said"), "%s: the watchdog has found it", when);
	system("dmesg -c > /dev/null; head -n 1 /tmp/said | while read -r l; do mark say \"# $l\"; done");
}

int main(void)
{
	static struct vm_stretch s;
	static struct vm_body body;
	static struct vm vm;

	must(mark_present(), "this is our machine");
	must(on_mediated(), "the vPMU is a mediated one");
	must(!system("echo 1 > /proc/sys/kernel/watchdog_thresh"), "a period of a second");
	must(!system("grep -q 1 /proc/sys/kernel/nmi_watchdog"), "the watchdog is on");
	stuck("no VM yet");

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_body(&body, "(n3crn2wj)9");
	s.body = &body;
	s.n = 1;
	s.counter[0] = (struct vm_counter) { .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true, .start = -50 };
	vm_stretch(&vm, &s);
	check(vm_seen.pmis == 1, "a VM with the PMU, and the watchdog on");
	check_equal("its count", s.counter[0].value, vm_expected(&s, 0), "the machine's and KVM's");
	stuck("beside a VM");
	vm_stretch(&vm, &s);
	check_equal("its count behind that", s.counter[0].value, vm_expected(&s, 0), "the machine's and KVM's");
	vm_close(&vm);
	return check_done();
}
