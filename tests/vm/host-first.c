// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: with mediated_pmu_host_first, an event of the host's that should count in guests does so,
 * exactly, and guests' counters stand meanwhile.  They count again soon after the event is gone, also
 * in a guest that runs on.  Without the parameter it is the other way round.
 */
#include "perf.h"
#include "vm.h"
#include <sys/wait.h>

#define PARAMETER	"/sys/module/kvm/parameters/mediated_pmu_host_first"
#define STANDING	"/sys/module/kvm/parameters/mediated_pmu_standing_events"
#define WAITS		"/sys/module/kvm/parameters/mediated_pmu_waits"
#define FEW		10
#define MANY		200
/* CPUIDs until a guest gives up to see its counter count: some seconds. */
#define PATIENCE	20000

static unsigned int waited_for;

/* Run until the counter counts. */
static void guest_waits(void *unused)
{
	(void)unused;
	vm_count_begin();
	for (waited_for = 0; waited_for < PATIENCE && !vm_count(); waited_for++)
		vm_cpuid();
	vm_count_end();
}

static void set(char value)
{
	int fd = open(PARAMETER, O_WRONLY | O_CLOEXEC);

	must(fd >= 0 && write(fd, &value, 1) == 1, "the parameter can be set");
	close(fd);
}

static uint64_t statistic(const char *path)
{
	FILE *f = fopen(path, "re");
	unsigned long long n;

	must(f && fscanf(f, "%llu", &n) == 1, "the statistic");
	fclose(f);
	return n;
}

static int event(void)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS,
	};
	int fd = perf_open(&attr, -1, 0, -1);

	must(fd >= 0, "an event that counts in guests, too");
	return fd;
}

/*
 * Instructions of host and guest that the event does not see in a run with so many exits; the least
 * of some runs, because an interrupt between two readings adds to it.
 */
static uint64_t unseen(struct vm *vm, int fd, uintptr_t exits)
{
	uint64_t least = UINT64_MAX;
	unsigned int i, n;

	for (i = 0; i < 5; i++) {
		uint64_t all = 0, seen;

		for (n = 0; n < 4; n++)
			all -= mark_read(TRUTH_INSNS_HOST_KERNEL + n);
		seen = perf_read(fd);
		vm_call(vm, vm_guest_counts, (void *)exits);
		seen = perf_read(fd) - seen;
		for (n = 0; n < 4; n++)
			all += mark_read(TRUTH_INSNS_HOST_KERNEL + n);
		if (all - seen < least)
			least = all - seen;
	}
	return least;
}

int main(void)
{
	static struct vm vm;
	uint64_t few, many, stood, waited;
	int fd, status;

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, vm_guest_counts, (void *)MANY);
	check_equal("no event: the guest", vm_counted.counted, vm_counted.truth, "it counts");

	fd = event();
	few = unseen(&vm, fd, FEW);
	many = unseen(&vm, fd, MANY);
	check_equal("the guest first: the guest", vm_counted.counted, vm_counted.truth, "it counts");
	check(many - few > 100 * (MANY - FEW), "the guest first: the event does not see %llu instructions of an exit",
	      (unsigned long long)(many - few) / (MANY - FEW));

	stood = statistic(STANDING);
	check(stood > MANY, "the guest first: turns in which it stood: %llu", (unsigned long long)stood);
	waited = statistic(WAITS);
	set('Y');
	vm_call(&vm, vm_guest_counts, (void *)FEW);
	few = unseen(&vm, fd, FEW);
	many = unseen(&vm, fd, MANY);
	check_equal("the host first: the guest", vm_counted.counted, 0, "its counter stands");
	check_equal("the host first: what the event does not see of exits", many - few, 0, "nothing");
	check_equal("the host first: turns in which it stood", statistic(STANDING) - stood, 0, "none");
	check_equal("the host first: times that the vCPU has begun to wait", statistic(WAITS) - waited, 1, "once");
	close(fd);
	vm_call(&vm, guest_waits, NULL);
	check(waited_for < PATIENCE, "the event is gone: the guest counts after %u exits", waited_for);
	vm_call(&vm, vm_guest_counts, (void *)MANY);
	check_equal("the event is gone: the guest", vm_counted.counted, vm_counted.truth, "it counts");

	/* An event comes and goes while the guest runs. */
	if (!fork()) {
		fd = event();
		usleep(300000);
		close(fd);
		_exit(0);
	}
	usleep(50000);
	vm_call(&vm, guest_waits, NULL);
	check(waited_for > 100 && waited_for < PATIENCE, "the event ends meanwhile: the guest counts after %u exits", waited_for);
	must(wait(&status) > 0 && !status, "the other process ends");

	/* The parameter changes while the event counts. */
	fd = event();
	vm_call(&vm, vm_guest_counts, (void *)FEW);
	check_equal("the host first again: the guest", vm_counted.counted, 0, "its counter stands");
	set('N');
	vm_call(&vm, guest_waits, NULL);
	check(waited_for < PATIENCE, "the guest first again: it counts after %u exits", waited_for);
	close(fd);
	vm_close(&vm);
	return check_done();
}
