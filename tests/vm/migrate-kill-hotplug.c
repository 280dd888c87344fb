// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: whatever happens to the thread of a vCPU with a mediated vPMU, its counters lose nothing
 * and the host's perf is correct afterwards.  The thread moves between CPUs while it counts, shares
 * its CPU with others, loses its CPU, and is killed.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>

#include "perf.h"
#include "vm.h"

#define VMS	3

static struct {
	volatile unsigned int done, bad, pmis;
} *shared;

static const struct vm_counter counters[] = {
	{ .name = "instructions, kernel", .index = 0, .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true, .start = -700 },
	{ .name = "instructions, user", .index = 1, .event = VM_INSNS, .privilege = VM_USER },
	{ .name = "branches, both", .index = 2, .event = VM_BRANCHES, .privilege = VM_BOTH },
};

/*
 * A VM that counts until it is killed.  The machine's counts are those of all VMs, so check only
 * what the guest knows.
 */
static void __attribute__((noreturn)) child(unsigned int n)
{
	static struct vm vm;
	static struct vm_body body;
	static struct vm_region s;
	uint64_t branches = 0;
	unsigned int i;

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_body(&body,
		"(nop*3 cpuid rdmsr nop*2 wrmsr nop*40 jmp nop*40)*15 user{(nop*3 cpuid nop*2 jmp "
		"nop*40)*10} nop*9");
	s.body = &body;
	s.n = ARRAY_SIZE(counters);
	s.interrupted = true;
	for (i = 0; ; i++) {
		memcpy(s.counter, counters, sizeof(counters));
		vm_measure(&vm, &s);
		/* Without those of interrupts, branches are the same each time. */
		if (i && vm_ends_are_alike(&s.frame)) {
			branches = branches ? branches : s.counter[2].value;
			shared[n].bad += s.counter[2].value != branches;
		}
		if (vm_seen.pmis != 1)
			shared[n].pmis++;
		shared[n].done++;
	}
}

static pid_t start(unsigned int n)
{
	pid_t pid = fork();

	if (!pid)
		child(n);
	return pid;
}

static void on_cpu(pid_t pid, unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(pid, sizeof(set), &set);
}

static bool online(bool on)
{
	int fd = open("/sys/devices/system/cpu/cpu1/online", O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, on ? "1" : "0", 1) == 1;

	if (fd >= 0)
		close(fd);
	return done;
}

static void __attribute__((noinline)) loop(void)
{
	unsigned int n = 5000000;

	asm volatile("1: dec %0\n\tjnz 1b" : "+r" (n));
}

static void host_is_right(const char *when)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_kernel = 1,
		.exclude_guest = 1,
	};
	unsigned int cpu;

	for (cpu = 0; cpu < 2; cpu++) {
		int fd;

		on_cpu(0, cpu);
		fd = perf_open(&attr, 0, -1, -1);
		must(fd >= 0, "an event");
		check_equal(when, vm_host_event_delta(fd, loop), 0,
			    "difference from the machine's count of user mode");
		close(fd);
	}
}

int main(void)
{
	pid_t pid[VMS];
	unsigned int i, k, seed = 1, hotplug = 0;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared != MAP_FAILED, "shared memory");
	for (i = 0; i < VMS; i++)
		pid[i] = start(i);
	for (k = 0; k < 150; k++) {
		seed = seed * 1103515245 + 12345;
		usleep(2000 + (seed >> 16) % 3000);
		on_cpu(pid[(seed >> 20) % VMS], (seed >> 24) & 1);
		if (k % 25 == 24) {
			hotplug += online(false) && online(true);
		}
		if (k % 10 == 9) {
			i = (seed >> 8) % VMS;
			kill(pid[i], SIGKILL);
			waitpid(pid[i], NULL, 0);
			pid[i] = start(i);
		}
	}
	for (i = 0; i < VMS; i++) {
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
	}
	note("measured regions: %u %u %u; CPU 1 away and back: %u times", shared[0].done, shared[1].done, shared[2].done, hotplug);
	for (i = 0; i < VMS; i++) {
		check(shared[i].done > 20, "VM %u has run", i);
		check_equal("measured regions with another count of branches", shared[i].bad, 0, "each has the same");
		check_equal("measured regions without their PMI", shared[i].pmis, 0, "each has one");
	}
	host_is_right("the host's perf afterwards");
	return check_done();
}
