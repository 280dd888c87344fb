// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: an NMI of a host's event that is still on its way when a guest gets the PMU is attributed
 * correctly: no unknown NMI in the log, no PMI of the guest, nothing in the guest's counters, and
 * the event continues to sample.
 *
 * The machine's NMIs come some instructions after the overflow (nmi_delay), and the event overflows
 * at various places on KVM's way into the guest.  A second event, of the host's branches, raises
 * NMIs of its own, which may find that an earlier NMI has handled their overflow.
 */
#include "perf.h"
#include "vm.h"

#define ROUNDS	40
#define EXITS	100

static struct {
	uint64_t counted, truth;
} g;

/*
 * Count branches between two readings; VM-exits add none.  The guest runs for longer than an NMI
 * takes: an NMI that is later than several of its turns would find the cause of another one, or
 * leave another NMI without a cause.
 */
static void guest(void *unused)
{
	uint64_t from, to, truth;
	unsigned int i;

	(void)unused;
	vm_seen.pmis = 0;
	wrmsr(MSR_X2APIC_LVTPC, VM_PMI);
	if (vm_seen.amd) {
		wrmsr(MSR_F15H_PERF_CTL, 0xc2 | 1 << 16 | 1 << 17 | 1 << 20 | 1 << 22);
		wrmsr(MSR_F15H_PERF_CTR, 0);
	} else {
		wrmsr(MSR_P6_EVNTSEL0, 0xc4 | 1 << 16 | 1 << 17 | 1 << 20 | 1 << 22);
		wrmsr(MSR_IA32_PMC0, 0);
		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 1);
	}
	truth = mark_read(TRUTH_BRANCHES_GUEST_KERNEL);
	from = rdmsr(vm_seen.amd ? MSR_F15H_PERF_CTR : MSR_IA32_PMC0);
	for (i = 0; i < EXITS; i++) {
		uint32_t a = 0, b, c = 0, d;

		asm volatile("cpuid\n\t.rept 3000\n\tnop\n\t.endr" : "+a" (a), "=b" (b), "+c" (c), "=d" (d) : : "memory");
	}
	to = rdmsr(vm_seen.amd ? MSR_F15H_PERF_CTR : MSR_IA32_PMC0);
	g.truth = mark_read(TRUTH_BRANCHES_GUEST_KERNEL) - truth;
	g.counted = to - from;
	if (vm_seen.amd)
		wrmsr(MSR_F15H_PERF_CTL, 0);
	else
		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
}

/* Lines of the kernel's log about unknown NMIs. */
static unsigned int unknown(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	unsigned int n = 0;
	char line[2048];
	ssize_t size;

	must(fd >= 0, "the log");
	while ((size = read(fd, line, sizeof(line) - 1)) > 0 || (size < 0 && errno == EPIPE)) {
		if (size < 0)
			continue;
		line[size] = '\0';
		n += !!strstr(line, "NMI received for unknown reason");
	}
	close(fd);
	return n;
}

/* The number of VM-exits for NMIs. */
static uint64_t nmi_exits(void)
{
	return mark_read(TRUTH_EXITS_BY_REASON + (on_amd() ? 0x61 : 0));
}

int main(void)
{
	static struct vm vm;
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_guest = 1,
		.sample_type = PERF_SAMPLE_IP, .wakeup_events = 1000000,
	};
	uint64_t pmis = 0, wrong = 0, arrived, samples = 0, before, counted = 0;
	unsigned int round, log, rounds_without = 0;

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, guest, NULL);
	/*
	 * perf does not know late NMIs when there is no event at all, and one may be on its way
	 * when the other events are closed.
	 */
	attr.disabled = 1;
	must(perf_open(&attr, 0, -1, -1) >= 0, "an event that does nothing");
	attr.disabled = 0;
	log = unknown();
	arrived = nmi_exits();
	for (round = 0; round < ROUNDS; round++) {
		struct perf_event_mmap_page *p;
		uint64_t value;
		int fd, other;

		attr.config = PERF_COUNT_HW_BRANCH_INSTRUCTIONS;
		attr.sample_period = 301 + 3 * round;
		other = perf_open(&attr, 0, -1, -1);
		attr.config = PERF_COUNT_HW_INSTRUCTIONS;
		attr.sample_period = 1999 + 7 * round;
		fd = perf_open(&attr, 0, -1, -1);
		must(fd >= 0 && other >= 0, "events");
		p = mmap(NULL, 9 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		must(p != MAP_FAILED, "its buffer");
		before = mark_read(TRUTH_EXITS);
		vm_call(&vm, guest, NULL);
		pmis += vm_seen.pmis;
		wrong += g.counted != g.truth;
		must(read(fd, &value, sizeof(value)) == sizeof(value), "the event can be read");
		counted += value;
		samples += p->data_head / 16;
		rounds_without += !p->data_head;
		must(mark_read(TRUTH_EXITS) - before >= EXITS, "the guest exits");
		munmap(p, 9 * 4096);
		close(fd);
		close(other);
	}
	arrived = nmi_exits() - arrived;
	note("%llu samples of %llu instructions; %llu NMIs came in the guest", (unsigned long long)samples,
	     (unsigned long long)counted, (unsigned long long)arrived);
	/*
	 * Before a guest gets the PMU, a mediated vPMU waits for NMIs for 50 microseconds.  On AMD the
	 * driver does so for each event, and may wait in vain.
	 */
	if (!vm_seen.mediated)
		check(arrived >= 10, "NMIs that come in the guest: %llu", (unsigned long long)arrived);
	else if (!vm_seen.amd)
		check_equal("NMIs that come in the guest", arrived, 0, "they have come before");
	check_equal("rounds without a sample", rounds_without, 0, "the event samples in each");
	check_equal("PMIs of the guest", pmis, 0, "its counter is far from overflow");
	check_equal("rounds in which the guest counts wrongly", wrong, 0,
		    "it counts its branches exactly");
	check_equal("unknown NMIs in the log", unknown() - log, 0, "each is known");
	vm_close(&vm);
	return check_done();
}
