// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: each of two CPUs has its own counters, and a task's counter follows the task from one CPU
 * to the other.  That also holds in a guest with two CPUs.
 */
#include <sys/wait.h>

#include "perf.h"

static int fd;
static uint64_t which;

static void __attribute__((noinline)) loop(struct measured *s)
{
	MEASURE(s, fd, which, "mov $100000, %%ecx\n1: dec %%ecx\n\tjnz 1b");
}

static const uint64_t __attribute__((used)) masks[2] = { 1, 2 };

/* 100 times: sched_setaffinity() to the other CPU, and 1000 iterations there. */
static void __attribute__((noinline)) wander(struct measured *s)
{
	MEASURE(s, fd, which,
		"mov $100, %%r12d\n"
		"1: mov $203, %%eax\n\t"
		"xor %%edi, %%edi\n\t"
		"mov $8, %%esi\n\t"
		"mov %%r12d, %%ecx\n\t"
		"and $1, %%ecx\n\t"
		"lea masks(%%rip), %%rdx\n\t"
		"lea (%%rdx,%%rcx,8), %%rdx\n\t"
		"syscall\n\t"
		"mov $1000, %%ecx\n"
		"2: dec %%ecx\n\t"
		"jnz 2b\n\t"
		"dec %%r12d\n\t"
		"jnz 1b");
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(!sched_setaffinity(0, sizeof(set), &set), "this CPU can be chosen");
}

static int open_on(pid_t pid, int cpu)
{
	struct perf_event_attr attr = perf_attr(PERF_COUNT_HW_INSTRUCTIONS, USER);
	int counter = perf_open(&attr, pid, cpu, -1);

	must(counter >= 0, "instructions:u can be opened");
	return counter;
}

int main(void)
{
	struct measured s;
	int cpu, both[2], status;
	uint64_t start[2], n;
	char what[64];
	pid_t child;

	check_equal("CPUs of the machine", mark_read(TRUTH_CPUS), 2, "as tests/list asks");
	check_equal("CPUs of Linux", sysconf(_SC_NPROCESSORS_ONLN), 2, "all of the machine's");
	which = truth_index(TRUTH_INSNS_HOST_KERNEL, USER);

	for (cpu = 0; cpu < 2; cpu++) {
		int other = open_on(-1, !cpu);

		run_on(cpu);
		fd = open_on(-1, cpu);
		ioctl(other, PERF_EVENT_IOC_ENABLE, 0);
		TWICE {
			ioctl(fd, PERF_EVENT_IOC_RESET, 0);
			loop(&s);
		}
		snprintf(what, sizeof(what), "counter of CPU %d, which is busy", cpu);
		check_equal(what, perf_read(fd), s.after - s.before,
			    "the machine's count: no other task is in user mode");
		snprintf(what, sizeof(what), "counter of CPU %d, which is idle", !cpu);
		check_equal(what, perf_read(other), 0, "no task runs there");
		close(fd);
		close(other);
	}

	fd = open_on(0, -1);
	TWICE {
		ioctl(fd, PERF_EVENT_IOC_RESET, 0);
		wander(&s);
	}
	check_equal("a task's counter across moves", perf_read(fd), s.after - s.before,
		    "the machine's count, on either CPU");
	check_between("a task across moves, known", s.after - s.before,
		      MEASURE_INSNS + 1 + 100 * 2011, MEASURE_INSNS + 1 + 100 * 2011 + 400,
		      "100 times 11, with SYSRET, and 2 per iteration; an IRET per interrupt");
	close(fd);

	/*
	 * Both CPUs at the same time, each with its own work: a counter does not count the other
	 * CPU.
	 */
	for (cpu = 0; cpu < 2; cpu++) {
		both[cpu] = open_on(-1, cpu);
		ioctl(both[cpu], PERF_EVENT_IOC_ENABLE, 0);
	}
	child = fork();
	must(child >= 0, "a second task");
	run_on(child ? 0 : 1);
	fd = both[child ? 0 : 1];
	start[!child] = perf_read(fd);
	n = child ? 2000000 : 3000000;
	asm volatile("1: dec %0\n\tjnz 1b" : "+r" (n) : : "cc");
	start[!child] = perf_read(fd) - start[!child];
	if (!child)
		_exit(start[1] < 6000000 || start[1] > 6060000);
	must(waitpid(child, &status, 0) == child, "the second task ends");
	check_between("CPU 0, both busy", start[0], 4000000, 4040000,
		      "two million iterations, and reading the counter");
	check_equal("CPU 1, both busy", status, 0, "six million instructions, at most one percent more");
	return check_done();
}
