// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a guest's turn with the PMU bears whatever comes, at whichever of its ticks.
 *
 *	NMIs		one that is nobody's, at each tick of a piece of the guest with VM-exits:
 *			the guest's counters are exact, it gets no PMI, and the host is told of one
 *			unknown NMI.  While the host's perf has no event, and while an event counts,
 *			which counts nothing of the guest's
 *	overflows	of an event of the host's, at each of its counts on KVM's way into the guest
 *			and back: one sample, and nothing of it in the guest
 */
#include "perf.h"
#include "vm.h"

#define EXITS		3
#define BRANCHES	40
#define FAR		(1ULL << 40)

/* What handlers of an NMI that nobody knows execute, about. */
static unsigned int nmi_insns = 2500;
/* What an event counts of the last ioctl(), at most. */
static unsigned int last = 100;
/* A host that checks itself executes ten times as much: take some of its places. */
static unsigned int step = 1;

static struct {
	uint64_t counted, truth, status, ticks;
} g;

/* Branches: VM-exits and VM-entries add none, whatever causes them. */
static void guest(void *nmi_after)
{
	const uint32_t counter = vm_seen.amd ? MSR_F15H_PERF_CTR : MSR_IA32_PMC0;
	uint64_t from, truth, ticks;
	unsigned int i, j;

	vm_seen.pmis = 0;
	wrmsr(MSR_X2APIC_LVTPC, VM_PMI);
	if (vm_seen.amd) {
		wrmsr(MSR_F15H_PERF_CTL, 0xc2 | 1 << 16 | 1 << 17 | 1 << 20 | 1 << 22);
	} else {
		wrmsr(MSR_P6_EVNTSEL0, 0xc4 | 1 << 16 | 1 << 17 | 1 << 20 | 1 << 22);
		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 1);
	}
	wrmsr(counter, 0);
	ticks = mark_read(TRUTH_CYCLES);
	if (nmi_after)
		mark_op(MARK_OP_NMI, (uintptr_t)nmi_after, 0);
	truth = mark_read(TRUTH_BRANCHES_GUEST_KERNEL);
	from = rdmsr(counter);
	for (i = 0; i < EXITS; i++) {
		uint32_t a = 0, b, c = 0, d;

		asm volatile("cpuid" : "+a" (a), "=b" (b), "+c" (c), "=d" (d) : : "memory");
		for (j = 0; j < BRANCHES; j++)
			asm volatile("" : : : "memory");
	}
	g.ticks = (mark_read(TRUTH_CYCLES) - ticks) / 2;
	/* For an NMI that comes just now. */
	asm volatile(".rept 300\n\tnop\n\t.endr");
	g.counted = rdmsr(counter) - from;
	g.truth = mark_read(TRUTH_BRANCHES_GUEST_KERNEL) - truth;
	g.status = vm_seen.amd ? 0 : rdmsr(MSR_CORE_PERF_GLOBAL_STATUS);
	if (vm_seen.amd)
		wrmsr(MSR_F15H_PERF_CTL, 0);
	else
		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
}

static unsigned int unknown(void)
{
	FILE *f = fopen("/sys/module/unknown_nmis/parameters/seen", "re");
	unsigned int n;

	must(f && fscanf(f, "%u", &n) == 1, "the number of unknown NMIs");
	fclose(f);
	return n;
}

static struct {
	uint64_t wrong, pmis, status;
} sum;

static void run(struct vm *vm, uint64_t nmi_after)
{
	vm_call(vm, guest, (void *)nmi_after);
	sum.wrong += g.counted != g.truth;
	sum.pmis += vm_seen.pmis;
	sum.status += !!g.status;
}

static void check_guest(const char *what, unsigned int rounds)
{
	char line[96];

	snprintf(line, sizeof(line), "%s: rounds in which the guest counts wrongly", what);
	check_equal(line, sum.wrong, 0, "it counts its branches exactly");
	snprintf(line, sizeof(line), "%s: PMIs of the guest", what);
	check_equal(line, sum.pmis, 0, "its counter is far from overflow");
	snprintf(line, sizeof(line), "%s: rounds with a status in the guest", what);
	check_equal(line, sum.status, 0, "it has no overflow");
	note("%s: %u rounds", what, rounds);
	memset(&sum, 0, sizeof(sum));
}

/*
 * The host's instructions in a run that an event of the host does not see, or 0.  The event is read
 * between the machine's counts, so that an interrupt between two readings makes that more, not less.
 */
static uint64_t unseen(struct vm *vm, int event, uint64_t nmi_after)
{
	uint64_t host = 0, seen = 0;

	if (event >= 0) {
		host = mark_host_insns();
		seen = perf_read(event);
	}
	run(vm, nmi_after);
	if (event >= 0) {
		seen = perf_read(event) - seen;
		host = mark_host_insns() - host;
	}
	return host - seen;
}

/* An NMI at each tick of the guest's piece, exits included.  @event: of the host, or -1. */
static void nmis(struct vm *vm, const char *what, int event)
{
	unsigned int from = unknown(), rounds = 0, i;
	uint64_t after, end = UINT64_MAX, without = UINT64_MAX, least = UINT64_MAX, all = 0, lost;
	char line[96];

	for (i = 0; i < 5; i++) {
		lost = unseen(vm, event, 0);
		without = lost < without ? lost : without;
		end = g.ticks < end ? g.ticks : end;
	}
	for (after = 1; after <= end; after += step) {
		lost = unseen(vm, event, after);
		least = lost < least ? lost : least;
		all += lost;
		rounds++;
	}
	snprintf(line, sizeof(line), "NMIs, %s: unknown ones", what);
	check_equal(line, unknown() - from, rounds, "as many as were sent");
	snprintf(line, sizeof(line), "NMIs, %s", what);
	check_guest(line, rounds);
	if (event < 0)
		return;
	snprintf(line, sizeof(line), "NMIs, %s: instructions that it does not see, at least", what);
	check_between(line, least, without, without + nmi_insns, "an NMI makes it miss something, or nothing");
	snprintf(line, sizeof(line), "NMIs, %s: instructions that it does not see, on average", what);
	check_between(line, all / rounds, without, without + nmi_insns, "those of an NMI's handlers in the guest's turn");
}

/*
 * An overflow of an event at each count of one call of the guest.  The event is off after its
 * overflow: at that rate, a guest would come to no end.  It is an event of the CPU: a context switch
 * would take one of a task off its counter, and the base's driver warns if a late NMI comes then.
 */
static void overflows(struct vm *vm, const char *what, uint64_t config)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_HARDWARE, .config = config, .exclude_guest = 1,
		.sample_period = FAR, .sample_type = PERF_SAMPLE_IP, .wakeup_events = 1 << 30, .disabled = 1,
	};
	int fd = perf_open(&attr, -1, 0, -1);
	struct perf_event_mmap_page *p;
	unsigned int from = unknown(), rounds = 0, other = 0;
	uint64_t period, counted = UINT64_MAX, head;
	char line[96];
	int i;

	must(fd >= 0, "an event that samples");
	p = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(p != MAP_FAILED, "its buffer");
	for (i = 0; i < 5; i++) {
		uint64_t now = perf_read(fd), took;

		must(!ioctl(fd, PERF_EVENT_IOC_ENABLE, 0), "an event that counts");
		run(vm, 0);
		must(!ioctl(fd, PERF_EVENT_IOC_DISABLE, 0), "an event that is off");
		took = perf_read(fd) - now;
		counted = took < counted ? took : counted;
	}
	/* One branch is not a period on Intel, but a trace of all branches. */
	for (period = 2; period <= counted - last; period += step) {
		head = p->data_head;
		p->data_tail = head;
		must(!ioctl(fd, PERF_EVENT_IOC_PERIOD, &period), "a period");
		must(!ioctl(fd, PERF_EVENT_IOC_REFRESH, 1), "an event for one overflow");
		run(vm, 0);
		/* The base's driver has no sample of an NMI that comes after its event is off. */
		asm volatile(".rept 600\n\tnop\n\t.endr");
		must(!ioctl(fd, PERF_EVENT_IOC_DISABLE, 0), "an event that is off");
		other += p->data_head - head != 16;
		rounds++;
	}
	snprintf(line, sizeof(line), "overflows of %s: rounds with another number of samples than one", what);
	check_equal(line, other, 0, "each overflow is one sample");
	snprintf(line, sizeof(line), "overflows of %s: unknown NMIs", what);
	check_equal(line, unknown() - from, 0, "each is known");
	snprintf(line, sizeof(line), "overflows of %s", what);
	check_guest(line, rounds);
	munmap(p, 2 * 4096);
	close(fd);
}

int main(void)
{
	static struct vm vm;
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_guest = 1,
	};
	int event;

	if (on_slow_host()) {
		nmi_insns = 25000;
		last = 8000;
		step = 67;
	}
	/*
	 * For 100 ms after a PMI of the host's perf, its driver for AMD claims each NMI that nobody knows.
	 * The watchdog's next PMI is after the test: its period begins anew, and is the longest that there is.
	 */
	if (nmi_watchdog_is_on()) {
		must(!system("echo 60 > /proc/sys/kernel/watchdog_thresh"), "a period of a minute");
		usleep(200000);
	}
	must(!system("insmod /lib/kunit/unknown_nmis.ko"), "the module that counts unknown NMIs");
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	nmis(&vm, "perf without an event", -1);
	event = perf_open(&attr, 0, -1, -1);
	must(event >= 0, "an event");
	nmis(&vm, "beside an event", event);
	close(event);
	overflows(&vm, "instructions", PERF_COUNT_HW_INSTRUCTIONS);
	/* On Intel these need a general counter, like the guest's. */
	overflows(&vm, "branches", PERF_COUNT_HW_BRANCH_INSTRUCTIONS);
	vm_close(&vm);
	must(!system("rmmod unknown_nmis"), "and is not needed any more");
	return check_done();
}
