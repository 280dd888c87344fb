// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: while a CPU's PMI belongs to a guest, the host writes LVTPC, selectors and counters only
 * with the global control at 0.
 *
 * The machine reports this ("live" in tools/machine/README), and counts from power-on, so the first
 * load on each CPU is included.  The guest counts, takes PMIs, masks them, changes selectors while
 * it counts, and exits.  Events of the host come and go on the CPU meanwhile.  What the guest masks
 * is masked in the CPU, too.
 *
 * perf's driver clears the global control whenever it gives the PMU away, even on a CPU that it has
 * never used.  KVM does not rely on that: tests/vm/mutants has versions that leave counters
 * enabled, with KVM's own clearing and without.
 */
#include <sched.h>
#include <sys/wait.h>

#include "perf.h"
#include "vm.h"

#define STRETCHES	40

static struct vm vm;
static struct vm_body body;
static struct vm_region s;
static uint64_t leaves;

static struct {
	bool go;
	unsigned int opened;
} volatile *others;

static const struct vm_counter counters[] = {
	{ .name = "instructions, kernel", .index = 0, .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true, .start = -700 },
	{ .name = "instructions, user", .index = 1, .event = VM_INSNS, .privilege = VM_USER },
	{ .name = "branches, both", .index = 2, .event = VM_BRANCHES, .privilege = VM_BOTH },
	/* Intel */
	{ .name = "instructions, fixed", .index = 0, .event = VM_INSNS, .privilege = VM_BOTH, .fixed = true },
};

static void on_cpu(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(!sched_setaffinity(0, sizeof(set), &set), "the CPU can be chosen");
}

static int event(int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_guest = 1,
	};

	return perf_open(&attr, -1, cpu, -1);
}

/*
 * Another process, which counts on this CPU now and then: while the guest is PARKED, from another
 * CPU if there is one.
 */
static pid_t start_other(unsigned int cpu)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	on_cpu((cpu + 1) % sysconf(_SC_NPROCESSORS_ONLN));
	while (!others->go)
		usleep(1000);
	for (;;) {
		int fd = event(cpu);

		others->opened += fd >= 0;
		usleep(1000);
		close(fd);
		usleep(1000);
	}
}

/* Let a counter overflow after the guest has masked its PMI. */
static void masked(void)
{
	uint64_t pmis;

	body.set[0].msr = MSR_X2APIC_LVTPC;
	body.set[0].value = APIC_DM_NMI | APIC_LVT_MASKED;
	vm_body(&body, "set (nop*3 cpuid nop*90)*15");
	memcpy(s.counter, counters, sizeof(counters));
	s.n = 1;
	pmis = mark_read(TRUTH_PMIS);
	vm_measure(&vm, &s);
	check(s.counter[0].value < 2000, "a counter has overflowed, masked");
	check_equal("PMIs of the guest", vm_seen.pmis, 0, "they are masked");
	check_equal("PMIs of the CPU", mark_read(TRUTH_PMIS) - pmis, on_modules_alone(),
		    "masked there: KVM has none to drop, except where LVTPC stays the host's");
}

static void run(unsigned int cpu, bool v2)
{
	unsigned int i, bad = 0;
	pid_t other;

	on_cpu(cpu);
	/* AMD's VM-exits leave the guest's global control as it is. */
	vm_perfmon_v2 = v2;
	/* Fork first: a fork takes the guest's pages away, and its stacks must be mapped. */
	others->go = false;
	others->opened = 0;
	other = start_other(cpu);
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	for (i = 0; i < 4; i++) {
		bool lvtpc = i == 1 || i == 2;

		body.set[i].msr = lvtpc	      ? MSR_X2APIC_LVTPC :
				  vm_seen.amd ? MSR_F15H_PERF_CTL + 2 :
						MSR_P6_EVNTSEL0 + 1;
		body.set[i].value = i == 1 ? APIC_DM_NMI | APIC_LVT_MASKED :
				    i == 2 ? APIC_DM_NMI :
					     vm_selector(&counters[i ? 1 : 2]);
	}
	/* The kernel counter overflows in the first group; then select, mask, unmask, select. */
	vm_body(&body,
		"(nop*3 cpuid rdmsr nop*2 wrmsr nop*40 jmp nop*40)*15 set nop*9 set nop*9 set "
		"nop*9 set user{(nop*3 cpuid nop*2 jmp nop*40)*10} nop*9");
	/* perf comes after the first load, to a CPU that it has not used. */
	others->go = true;
	s.body = &body;
	s.n = vm_seen.amd ? 3 : 4;
	s.interrupted = true;
	for (i = 0; i < STRETCHES; i++) {
		int fd = i & 1 ? event(cpu) : -1;

		memcpy(s.counter, counters, sizeof(counters));
		vm_measure(&vm, &s);
		bad += vm_seen.pmis != 1;
		if (fd >= 0)
			close(fd);
	}
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	note("CPU %u%s: events of others %u; loads %llu, puts %llu, of which for perf %llu; PMIs %llu", cpu,
	     v2 ? ", PerfMonV2" : "", others->opened,
	     (unsigned long long)vm_stat(&vm, "pmu_loads"), (unsigned long long)vm_stat(&vm, "pmu_puts"),
	     (unsigned long long)vm_stat(&vm, "pmu_reclaims"), (unsigned long long)vm_stat(&vm, "pmu_pmis"));
	check_equal("measured regions without their PMI", bad, 0, "each has one");
	check(others->opened > 5, "events of the host came and went");
	leaves += vm_stat(&vm, "pmu_reclaims");
	masked();
	check(vm_stat(&vm, "pmu_loads") > STRETCHES && vm_stat(&vm, "pmu_puts") > STRETCHES, "the PMU has changed hands");
	vm_close(&vm);
}

int main(void)
{
	unsigned int cpu;

	must(on_mediated(), "the vPMU is mediated");
	others = mmap(NULL, VM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(others != MAP_FAILED, "shared memory");
	for (cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		run(cpu, false);
		if (on_amd())
			run(cpu, true);
	}
	if (cpu > 1)
		check(!leaves == on_modules_alone(), "perf has reclaimed the PMU from a guest that was parked, if any ever is");
	check_equal("writes of LVTPC while the global control is not 0", mark_read(TRUTH_LIVE_LVTPC), 0, "since power-on");
	check_equal("of selectors", mark_read(TRUTH_LIVE_SELECTOR), 0, "since power-on");
	check_equal("of counters", mark_read(TRUTH_LIVE_COUNTER), 0, "since power-on");
	return check_done();
}
