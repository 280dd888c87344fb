// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a guest that has no selector enabled does not occupy the CPU's PMU and does not pay for it.
 *
 * In turn no selector is enabled, one is, and none again.  Meanwhile an event of the host counts
 * everything that the host executes, so that there is something to see and to disturb.
 *
 *	reads		RDPMC and RDMSR of each counter, of the global control and of the status
 *			return the guest's values
 *	writes		change these values
 *	the host	its event counts what the host executes, and nothing of a guest that runs
 *			long or exits often
 *	accesses	none for a VM-exit of a guest that had no selector enabled for some exits
 *	awake		what the guest enables counts from its next instruction on, every time
 */

#include "perf.h"
#include "vm.h"

#define EXITS	1000
/* Instructions of the guest, without an exit except for the host's ticks. */
#define LONG	2000000
/* What ticks and the VM-entry add between two counts that are not read at the same time. */
#define TICKS	3000

static struct vm vm;
static unsigned int counters;

static uint32_t counter(unsigned int i)
{
	return vm_seen.amd ? MSR_F15H_PERF_CTR + 2 * i : MSR_IA32_PMC0 + i;
}

static uint64_t planted(unsigned int i, unsigned int turn)
{
	return 0x4b00000ULL + 0x1000 * i + turn;
}

static struct {
	unsigned int turn, wrong, faults;
	uint64_t value;
} seen;

/* Read what is planted, and plant values for the next turn. */
static void look(void *unused)
{
	unsigned int i;

	(void)unused;
	for (i = 0; i < counters; i++) {
		if (!try_rdpmc(i, &seen.value))
			seen.faults++;
		else if (seen.value != planted(i, seen.turn))
			seen.wrong++;
		if (!try_rdmsr(counter(i), &seen.value))
			seen.faults++;
		else if (seen.value != planted(i, seen.turn))
			seen.wrong++;
		if (!try_wrmsr(counter(i), planted(i, seen.turn + 1)))
			seen.faults++;
	}
	if (!vm_seen.amd) {
		seen.faults += !try_wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 5) ||
			       !try_rdmsr(MSR_CORE_PERF_GLOBAL_CTRL, &seen.value);
		seen.wrong += seen.value != 5;
		seen.faults += !try_rdmsr(MSR_CORE_PERF_GLOBAL_STATUS, &seen.value);
		seen.wrong += seen.value != 0;
		seen.faults += !try_wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, (1ULL << vm_seen.general) - 1);
	}
}

static void run_long(void *unused)
{
	unsigned long n = LONG / 2;

	(void)unused;
	asm volatile("1: dec %0; jnz 1b" : "+r" (n));
}

static void exit_often(void *unused)
{
	unsigned int i, a, b, c, d;

	(void)unused;
	for (i = 0; i < EXITS; i++)
		asm volatile("cpuid" : "=a" (a), "=b" (b), "=c" (c), "=d" (d) : "a" (0));
}

static struct {
	uint64_t truth, count, accesses;
} got;

static uint64_t host_accesses(void)
{
	return mark_read(TRUTH_HOST_RDMSR) + mark_read(TRUTH_HOST_WRMSR);
}

/* Measure a run of the guest, or nothing, by the machine's count and the host's event. */
static void __attribute__((noinline)) measure(int fd, void (*what)(void *))
{
	uint64_t truth = mark_host_insns(), count = vm_event_read(fd), accesses = host_accesses();

	if (what)
		vm_call(&vm, what, NULL);
	got.accesses = host_accesses() - accesses;
	got.count = vm_event_read(fd) - count;
	got.truth = mark_host_insns() - truth;
}

/* Return the host's accesses to the PMU. */
static uint64_t beside(int fd, void (*what)(void *), const char *name)
{
	int64_t ends = INT64_MIN, by;
	unsigned int tries;

	/*
	 * Find out what a reading's ends have outside of the event, by readings with nothing in
	 * between.  A tick of the host between a reading's two counts makes them differ by more.
	 * That is not a fault, so read again.
	 */
	for (tries = 0; tries < 5; tries++) {
		measure(fd, NULL);
		ends = (int64_t)(got.count - got.truth) > ends ? (int64_t)(got.count - got.truth) : ends;
	}
	tries = 0;
	do {
		measure(fd, what);
		by = got.count - got.truth - ends;
	} while ((by < -TICKS || by > TICKS) && ++tries < 5);
	note("%s: the host's event %llu, the machine %llu, of which %lld at the ends; %llu accesses", name,
	     (unsigned long long)got.count, (unsigned long long)got.truth, (long long)-ends, (unsigned long long)got.accesses);
	check_between(name, by < 0 ? -by : by, 0, TICKS,
		      "difference from what the host has executed");
	return got.accesses;
}

static int event(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_hv = 1,
		.exclude_guest = 1,
	};
	int fd = perf_open(&attr, -1, 0, -1);

	must(fd >= 0, "an event of the host");
	return fd;
}

/*
 * Can DEBUGCTL freeze the PMU?  On AMD it is a register of the PMU then: CPUID 8000_0022H:EAX[2],
 * LbrAndPmcFreeze.
 */
static unsigned int freezes(void)
{
	uint32_t r[4];

	host_cpuid(0x80000000, r);
	if (r[0] < 0x80000022)
		return 0;
	host_cpuid(0x80000022, r);
	return r[0] >> 2 & 1;
}

int main(void)
{
	static struct vm_region s;
	static struct vm_body body;
	unsigned int i, k;
	int fd;

	must(on_mediated(), "the vPMU is mediated");
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	counters = vm_seen.general;
	fd = event();
	vm_body(&body, "(nop*3 cpuid rdmsr nop*2 wrmsr jmp)*9");
	s.body = &body;
	s.n = 1;
	for (k = 0; k < 4; k++) {
		for (i = 0; i < counters; i++)
			vm_set_msr(&vm, counter(i), planted(i, k));
		seen.turn = k;
		seen.wrong = seen.faults = 0;
		vm_call(&vm, look, NULL);
		check_equal("values that are not the guest's own", seen.wrong, 0, "read by RDPMC and RDMSR");
		check_equal("faults", seen.faults, 0, "its counters exist");
		for (i = 0; i < counters; i++)
			check_equal("a counter that it has written", vm_get_msr(&vm, counter(i)), planted(i, k + 1), "as userspace sees it");
		beside(fd, run_long, "runs long");
		/*
		 * KVM preserves DEBUGCTL for any guest: VMX by a read and a write, SVM by a read.
		 */
		check_between("accesses for exits", beside(fd, exit_often, "exits often"), 0,
			      (vm_seen.amd ? freezes() : 2) * EXITS + EXITS / 10,
			      "accesses of the host in a thousand exits");
		s.counter[0] = (struct vm_counter) { .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true, .start = -50 };
		vm_measure(&vm, &s);
		check_equal("awake: its count", s.counter[0].value, vm_expected(&s, 0), "the machine's and KVM's");
		check_equal("awake: PMIs", vm_seen.pmis, 1, "one overflow");
		/*
		 * The region ends with the selector disabled: after some of these calls KVM puts
		 * the PMU.
		 */
		for (i = 0; i < 6; i++)
			vm_call(&vm, vm_guest_prepare, NULL);
	}
	close(fd);
	vm_close(&vm);
	return check_done();
}
