// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: while a guest has the PMU, events of the host are stopped, and so are their times.  So an
 * event's count divided by the time for which it says that it was running is the speed of the
 * machine, with a guest that exits all the time as without one.  That holds for events of a CPU, of
 * a task and of a cgroup, and for events that take turns, whose counts perf scales by these times.
 *
 * The machine executes an instruction in a fixed time, so a loop measures the speed.  What is
 * executed between reading a clock and starting the counters may be missing: a few hundred
 * instructions per exit, against some 3,000 that the event cannot see.
 */
#include "vm.h"
#include <linux/perf_event.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define EXITS	2000
/*
 * Instructions of an exit that may be missing: on AMD the driver looks for late overflows after it
 * has stopped the counters.
 */
#define MOST	200
/*
 * Modules alone stop no clock, as KVM does without a vPMU, so the instructions from before VM-entry until
 * after VM-exit are missing as well, and half of those of an exit.
 */
#define MOST_ALONE	1500

struct reading {
	uint64_t count, enabled, running;
};

static struct reading get(int fd)
{
	struct reading r;

	must(read(fd, &r, sizeof(r)) == sizeof(r), "the event can be read");
	return r;
}

static int event(pid_t pid, int cpu, unsigned long flags)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_guest = 1,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
	};

	return syscall(SYS_perf_event_open, &attr, pid, cpu, -1, flags);
}

static int cgroup(void)
{
	char pid[16];
	int fd;

	mkdir("/tmp/cgroup", 0755);
	must(!mount("cgroup", "/tmp/cgroup", "cgroup", 0, "perf_event") || errno == EBUSY, "cgroups");
	must(!mkdir("/tmp/cgroup/vm", 0755) || errno == EEXIST, "a cgroup");
	fd = open("/tmp/cgroup/vm/cgroup.procs", O_WRONLY);
	snprintf(pid, sizeof(pid), "%d", getpid());
	must(fd >= 0 && write(fd, pid, strlen(pid)) > 0, "this program in it");
	close(fd);
	return open("/tmp/cgroup/vm", O_RDONLY | O_DIRECTORY);
}

static void __attribute__((noinline)) loop(void)
{
	uint64_t n = 4000000;

	asm volatile("1: dec %0\n\tjnz 1b" : "+r" (n));
}

static void compare(struct vm *vm, const char *what, int fd)
{
	struct reading r[3];
	uint64_t count, running, enabled;
	double speed, missing;

	must(fd >= 0, "an event");
	/*
	 * If the CPU has other events, such as the watchdog's, the base updates the time of a
	 * running cgroup's event only when the CPU next switches to the cgroup.
	 */
	usleep(20000);
	get(fd);
	r[0] = get(fd);
	loop();
	r[1] = get(fd);
	vm_call(vm, vm_guest_exits, (void *)EXITS);
	r[2] = get(fd);

	speed = (double)(r[1].count - r[0].count) / (r[1].running - r[0].running);
	count = r[2].count - r[1].count;
	running = r[2].running - r[1].running;
	enabled = r[2].enabled - r[1].enabled;
	missing = (running * speed - count) / EXITS;
	note("%s: %.0f instructions an exit in %llu ns, enabled %llu ns; at %.3f a ns, %.0f an exit are missing", what,
	     (double)count / EXITS, (unsigned long long)running / EXITS, (unsigned long long)enabled / EXITS, speed, missing);
	check(missing < (on_modules_alone() ? MOST_ALONE : MOST) && missing > -MOST,
	      "%s: an exit's count agrees with its time to %.0f instructions", what, missing);
	check_equal("it has been running whenever it was enabled", running, enabled, "one event does not take turns");
	close(fd);
}

int main(void)
{
	static struct vm vm;
	static int all[20];
	uint64_t count = 0, running = 0, enabled = 0;
	struct reading r;
	unsigned int i;

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, vm_guest_exits, (void *)EXITS);
	compare(&vm, "an event of the CPU", event(-1, 0, 0));
	compare(&vm, "an event of the task", event(0, -1, 0));
	compare(&vm, "an event of the cgroup", event(cgroup(), 0, PERF_FLAG_PID_CGROUP));

	for (i = 0; i < ARRAY_SIZE(all); i++) {
		all[i] = event(0, -1, 0);
		must(all[i] >= 0, "an event");
	}
	for (i = 0; i < 20; i++)
		vm_call(&vm, vm_guest_exits, (void *)EXITS);
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		r = get(all[i]);
		count += r.count;
		running += r.running;
		enabled += r.enabled;
		close(all[i]);
	}
	note("%zu events that take turns: %.1f %% of the time, %.3f instructions a ns", ARRAY_SIZE(all), 100.0 * running / enabled,
	     (double)count / running);
	check(running < enabled * 0.8, "that many events take turns");
	vm_close(&vm);
	return check_done();
}
