// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: with nmi_watchdog=1, VMs with a mediated vPMU can exist, and the watchdog finds a CPU that
 * is stuck in the host's kernel as before.
 *
 * A module of tests/kunit keeps a CPU with interrupts off for several of the watchdog's periods:
 * before there is such a VM, while there is one, and in the vCPU's own thread, while it handles a
 * VM-exit with the guest's registers in the PMU.  With two CPUs, one finds the other stuck, also
 * right after the VM-exit, before the fast paths.  With one CPU nothing could find that: the
 * counters are the guest's.
 */
#include <sched.h>

#include "vm.h"

/*
 * In ticks of the TSC, which has fifty million a second: several times the watchdog's second, also
 * if two CPUs share the machine's instructions.
 */
#define TICKS	"ticks=400000000"

static struct vm vm;
static struct vm_region s;

static unsigned int said;

static void found(const char *when)
{
	unsigned int now = log_lines("hard LOCKUP");

	if (check(now > said, "%s: the watchdog has found it", when))
		log_say("hard LOCKUP");
	said = now;
}

static void nothing_yet(const char *when)
{
	unsigned int now = log_lines("hard LOCKUP");

	check(now == said, "%s: nothing is said before", when);
	said = now;
}

static void stuck(const char *when)
{
	nothing_yet(when);
	must(!system("insmod /lib/kunit/lockup.ko " TICKS " && rmmod lockup"), "the CPU is stuck for a while");
	found(when);
}

/*
 * Let the vCPU's thread be stuck where it comes to a tracepoint of KVM, and check that the guest's
 * count is still exact.
 */
static void stuck_at(const char *tracepoint)
{
	char command[128];

	nothing_yet(tracepoint);
	snprintf(command, sizeof(command), "insmod /lib/kunit/lockup.ko " TICKS " at=%s", tracepoint);
	must(!system(command), "the vCPU is going to be stuck");
	vm_measure(&vm, &s);
	must(!system("rmmod lockup"), "and is not any more");
	found(tracepoint);
	check_equal("the guest's count over it", s.counter[0].value, vm_expected(&s, 0), "the machine's and KVM's");
}

int main(void)
{
	static struct vm_body body;
	cpu_set_t cpus;
	int n = sysconf(_SC_NPROCESSORS_ONLN);

	must(on_mediated(), "the vPMU is mediated");
	must(!system("echo 1 > /proc/sys/kernel/watchdog_thresh"), "a period of a second");
	must(nmi_watchdog_is_on(), "the watchdog is on");
	/* The CPU that finds the lockup is another one than the one that is stuck. */
	CPU_ZERO(&cpus);
	CPU_SET(n - 1, &cpus);
	must(!sched_setaffinity(0, sizeof(cpus), &cpus), "one CPU for the vCPU");
	stuck("no VM yet");

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_body(&body, "(nop*3 cpuid rdmsr nop*2 wrmsr jmp)*9");
	s.body = &body;
	s.n = 1;
	s.counter[0] = (struct vm_counter) { .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true, .start = -50 };
	vm_measure(&vm, &s);
	check(vm_seen.pmis == 1, "a VM with the PMU, and the watchdog on");
	check_equal("its count", s.counter[0].value, vm_expected(&s, 0), "the machine's and KVM's");
	stuck("beside a VM");
	vm_measure(&vm, &s);
	check_equal("its count after that", s.counter[0].value, vm_expected(&s, 0), "the machine's and KVM's");
	stuck_at("kvm_cpuid");
	/* Modules alone hand the PMU back only after that. */
	if (n > 1 && !on_modules_alone())
		stuck_at("kvm_exit");
	vm_close(&vm);
	return check_done();
}
