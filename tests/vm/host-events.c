// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a guest with a mediated vPMU and the host's perf take turns with a CPU's PMU, and each
 * counts as if it were alone.
 *
 *	refused		perf refuses an event that would count in guests while there is such a
 *			guest, and KVM refuses the guest while there is such an event
 *	beside		the host's event and the guest's counters are both exact, whichever is on
 *	sampling	so are the host's samples, one per period of its instructions, while the
 *			guest's counter interrupts, too
 *	in between	an event that comes while the guest's state is PARKED gets the PMU, and the
 *			guest loses nothing
 *	by perf(1)	a user who does not ask for guests gets the host's count; one who does is
 *			told why not
 *
 * Modules alone cannot refuse anything.  There an event that would count in guests stands while one uses
 * its PMU, and the log says so.
 */
#include <pthread.h>
#include <sched.h>

#include "perf.h"
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

static int event(bool guest, pid_t pid, int cpu, uint64_t config)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = config, .exclude_kernel = 1, .exclude_hv = 1,
		.exclude_guest = !guest, .read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
	};

	return perf_open(&attr, pid, cpu, -1);
}

/* A VM with one vCPU and nothing else. */
struct machine {
	int kvm, vm, vcpu;
};

static struct machine machine(bool apic)
{
	struct machine m = { .kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC) };

	m.vm = ioctl(m.kvm, KVM_CREATE_VM, 0);
	must(m.vm >= 0 && !ioctl(m.vm, KVM_SET_TSS_ADDR, 0xfffbd000UL), "a VM");
	must(!apic || !ioctl(m.vm, KVM_CREATE_IRQCHIP, 0), "an APIC");
	m.vcpu = ioctl(m.vm, KVM_CREATE_VCPU, 0);
	must(m.vcpu >= 0, "a vCPU");
	return m;
}

static void end(struct machine m)
{
	close(m.vcpu);
	close(m.vm);
	close(m.kvm);
}

/* Set the model of this CPU, with a PMU or without.  Return 0 or the error. */
static int model(struct machine m, bool pmu)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[256];
	} cpuid;
	unsigned int i;

	cpuid.head.nent = ARRAY_SIZE(cpuid.entry);
	must(!ioctl(m.kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "CPUID");
	for (i = 0; !pmu && i < cpuid.head.nent; i++) {
		if (cpuid.entry[i].function == 0xa || cpuid.entry[i].function == 0x80000022)
			cpuid.entry[i].eax = cpuid.entry[i].ebx = cpuid.entry[i].ecx = cpuid.entry[i].edx = 0;
		if (cpuid.entry[i].function == 0x80000001)
			cpuid.entry[i].ecx &= ~(1U << 23);
	}
	return ioctl(m.vcpu, KVM_SET_CPUID2, &cpuid) ? errno : 0;
}

/* VMs with a PMU and events that would count in their guests exclude each other. */
static void refused(void)
{
	struct machine m;
	int fd, other;

	fd = event(true, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);
	must(fd >= 0, "an event that counts in guests");
	m = machine(true);
	check_equal("a model without a PMU beside it", model(m, false), 0,
		    "it does not use the PMU");
	check_equal("a model with one", model(m, true), EBUSY, "refused");
	check_equal("again", model(m, true), EBUSY, "nothing of the first attempt is left");
	check_equal("and then one without", model(m, false), 0, "as before");
	other = event(true, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);
	check(other >= 0, "another event beside the VM without a PMU");
	close(other);
	close(fd);
	check_equal("a model with a PMU when they are gone", model(m, true), 0,
		    "nothing excludes it");
	fd = event(true, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);
	check(fd < 0 && errno == EOPNOTSUPP, "the event beside the vCPU: refused with EOPNOTSUPP (%d)", fd < 0 ? errno : 0);
	fd = event(false, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);
	check(fd >= 0, "an event that excludes guests is not refused");
	close(fd);
	end(m);
	fd = event(true, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);
	check(fd >= 0, "and the other is not when the VM is gone");
	close(fd);

	/* With an APIC in userspace the VM has no PMU. */
	m = machine(false);
	check_equal("a model with a PMU, without an APIC in the kernel", model(m, true), 0,
		    "accepted, but the vCPU has none");
	fd = event(true, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);
	check(fd >= 0, "so the event is allowed");
	close(fd);
	end(m);
}

/* Under modules alone, perf refuses nothing: an event stands while a guest uses its PMU. */
#define STANDING	"/sys/module/kvm/parameters/mediated_pmu_standing_events"
#define TOLD		"kvm: event 0x1 of perf, type 0, counts nothing while guests use their PMU"

static unsigned long standing(void)
{
	char text[32] = "";
	int fd = open(STANDING, O_RDONLY);

	must(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, STANDING);
	close(fd);
	return strtoul(text, NULL, 10);
}

static void stretch(void);

static void stands(void)
{
	unsigned int said = log_lines(TOLD);
	unsigned long before = standing();
	int fd = event(false, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);

	must(fd >= 0, "an event that excludes guests");
	stretch();
	close(fd);
	check_equal("turns in which an event stood that excludes guests", standing() - before, 0, "it does not count there");
	fd = event(true, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);
	check(fd >= 0, "an event that counts in guests, beside a guest");
	before = standing();
	stretch();
	check(standing() > before, "it has stood in guests' turns: %lu", standing() - before);
	check_equal("lines of the log about it", log_lines(TOLD) - said, 1, "one for an event");
	close(fd);
}

static void __attribute__((noinline)) stretch(void)
{
	vm_measure(&vm, &s);
}

static const struct vm_counter counters[] = {
	{ .name = "instructions, kernel", .index = 0, .event = VM_INSNS, .privilege = VM_KERNEL },
	{ .name = "instructions, user", .index = 1, .event = VM_INSNS, .privilege = VM_USER },
	{ .name = "branches, both", .index = 2, .event = VM_BRANCHES, .privilege = VM_BOTH },
};

/* By how much the counter that is most wrong is wrong. */
static uint64_t wrong(void)
{
	uint64_t most = 0;
	unsigned int i;

	for (i = 0; i < s.n; i++) {
		uint64_t value = s.counter[i].value, want = vm_expected(&s, i), by = value > want ? value - want : want - value;

		most = by > most ? by : most;
	}
	return most;
}

static void beside(bool sampling)
{
	uint64_t values[3];
	unsigned int i, k;
	int fd[3];

	vm_body(&body, "(" VM_MIX_KERNEL ")*3 user{(" VM_MIX_USER ")*3} nop*9");
	for (i = 0; i < 3; i++) {
		fd[i] = event(false, 0, -1, i == 0 ? PERF_COUNT_HW_INSTRUCTIONS : i == 1 ? PERF_COUNT_HW_BRANCH_INSTRUCTIONS :
			      PERF_COUNT_HW_CPU_CYCLES);
		must(fd[i] >= 0, "an event of the host");
	}
	memcpy(s.counter, counters, sizeof(counters));
	s.n = ARRAY_SIZE(counters);
	s.body = &body;
	/* With sampling, the guest takes an interrupt each time while the host counts. */
	s.counter[0].interrupt = sampling;
	for (k = 0; k < 10; k++) {
		/*
		 * At an instruction that KVM emulates or that the guest executes, depending on k.
		 */
		s.counter[0].start = sampling ? -100 - (int)k : 0;
		check_equal("the host's event", vm_host_event_delta(fd[0], stretch), 0,
			    "difference from the machine's count of the host's user mode");
		check_equal("the guest's counter that is most wrong", wrong(), 0, "all are exact");
		if (sampling)
			check_equal("PMIs", vm_seen.pmis, 1,
				    "the guest's counter has overflowed once");
	}
	must(read(fd[0], values, sizeof(values)) == sizeof(values), "the event's times can be read");
	check(values[1] && values[1] == values[2], "enabled %llu, running %llu: nothing to scale",
	      (unsigned long long)values[1], (unsigned long long)values[2]);
	for (i = 0; i < 3; i++)
		close(fd[i]);
}

#define PERIOD	5000
#define PAGES	8

/* Count the samples in an event's ring.  Each has to have an address in user mode. */
static unsigned int samples(struct perf_event_mmap_page *ring, unsigned int *odd)
{
	uint64_t head = __atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE), at;
	struct perf_event_header *record;
	unsigned int n = 0;

	for (at = ring->data_tail; at < head; at += record->size) {
		record = (void *)((char *)ring + VM_PAGE + at % (PAGES * VM_PAGE));
		if (record->type == PERF_RECORD_SAMPLE)
			n++;
		else
			(*odd)++;
		*odd += (record->misc & PERF_RECORD_MISC_CPUMODE_MASK) != PERF_RECORD_MISC_USER;
	}
	ring->data_tail = head;
	return n;
}

static void sampling(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_kernel = 1,
		.exclude_hv = 1, .exclude_guest = 1, .sample_period = PERIOD, .sample_type = PERF_SAMPLE_IP,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
	};
	struct perf_event_mmap_page *ring;
	unsigned int k, n, odd = 0, bad = 0;
	uint64_t count;
	int fd;

	fd = perf_open(&attr, 0, -1, -1);
	must(fd >= 0, "a sampling event of the host");
	ring = mmap(NULL, (1 + PAGES) * VM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(ring != MAP_FAILED, "its ring");
	vm_body(&body, "(" VM_MIX_KERNEL ")*3 user{(" VM_MIX_USER ")*3} nop*9");
	memcpy(s.counter, counters, sizeof(counters));
	s.counter[0].interrupt = true;
	s.counter[0].start = -100;
	s.n = ARRAY_SIZE(counters);
	s.body = &body;
	for (k = n = 0; k < 60; k++) {
		bad += vm_host_event_delta(fd, stretch) || wrong() || vm_seen.pmis != 1;
		n += samples(ring, &odd);
	}
	check_equal("sampling: measured regions with a wrong count or PMI", bad, 0, "of 60, the host's and the guest's");
	/* Add the samples since then.  Stop the event, so that none comes after its count. */
	must(!ioctl(fd, PERF_EVENT_IOC_DISABLE, 0), "the event stops");
	count = vm_event_read(fd);
	n += samples(ring, &odd);
	check_equal("sampling: samples of the host", n, count / PERIOD, "its count by the period");
	check_equal("sampling: other records, or of another mode", odd, 0, "user mode of the host only");
	munmap(ring, (1 + PAGES) * VM_PAGE);
	close(fd);
}

/* Debian's perf while there is a guest with the PMU. */
static void by_perf(void)
{
	unsigned int said = log_lines("perf: .*would count in guests");
	int status;

	status = system("perf stat -x , -e instructions:u true 2> /tmp/perf.host");
	check(!status, "perf stat -e instructions:u ends with %d", status);
	check(!system("grep -qE '^[0-9]+,,instructions:u' /tmp/perf.host"), "and has counted");
	if (on_modules_alone())
		return;

	system("perf stat -x , -e instructions:uG true 2> /tmp/perf.guest");
	check(!system("grep -q '^<not supported>,,instructions:uG' /tmp/perf.guest"), "instructions:uG, for guests: not supported");
	status = system("perf record -o /tmp/perf.data -e instructions:uG true 2> /tmp/perf.guest");
	check(status && !system("grep -q '^Error:' /tmp/perf.guest"), "perf record ends with %d, and an error", status);
	check(log_lines("perf: .*would count in guests") > said, "and the kernel's log says why");
	log_say("perf: .*would count in guests");
	system("head -n 3 /tmp/perf.guest | while read -r l; do [ -z \"$l\" ] || mark say \"# $l\"; done");
}

static volatile bool stop;
static unsigned int opened, counted;

static void *other(void *unused)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(1, &set);
	sched_setaffinity(0, sizeof(set), &set);
	while (!stop) {
		int fd = event(false, -1, 0, PERF_COUNT_HW_INSTRUCTIONS);

		if (fd < 0)
			break;
		opened++;
		counted += vm_event_read(fd) != 0;
		close(fd);
	}
	return unused;
}

static void in_between(void)
{
	unsigned int i, bad = 0, off = 0;
	int64_t by;
	pthread_t thread;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	must(!sched_setaffinity(0, sizeof(set), &set), "on the first CPU");
	vm_body(&body,
		"(nop*3 cpuid rdmsr nop*2 wrmsr rdpmc jmp out-pic in-pic nop*5 fep-nop nop*2 "
		"fep-jmp hypercall wbinvd nop*90)*20 user{(nop*3 cpuid rdpmc nop*2 out-pic jmp "
		"in-pic nop*5 fep-nop fep-jmp hypercall nop*90)*10} nop*9");
	memcpy(s.counter, counters, sizeof(counters));
	s.counter[0].interrupt = true;
	s.counter[0].start = -1500;
	s.n = ARRAY_SIZE(counters);
	s.body = &body;
	/* The thread may disturb the ends each time. */
	s.interrupted = true;
	must(!pthread_create(&thread, NULL, other, NULL), "a thread");
	for (i = 0; i < 200; i++) {
		vm_measure(&vm, &s);
		/*
		 * If it comes between an end's reading and WRMSR, AMD's counter misses a VM-entry.
		 */
		by = wrong();
		bad += by > (vm_seen.amd ? vm_interruptions(&s.frame, 0) + vm_interruptions(&s.frame, 1) : 0) || vm_seen.pmis != 1;
		off += by != 0;
	}
	stop = true;
	pthread_join(thread, NULL);
	note("%u events opened, %u counted; loads %llu, puts %llu, of which for perf %llu; PMIs %llu, emulated overflows %llu",
	     opened, counted, (unsigned long long)vm_stat(&vm, "pmu_loads"), (unsigned long long)vm_stat(&vm, "pmu_puts"),
	     (unsigned long long)vm_stat(&vm, "pmu_reclaims"), (unsigned long long)vm_stat(&vm, "pmu_pmis"),
	     (unsigned long long)vm_stat(&vm, "pmu_emulated_overflows"));
	check_equal("measured regions that are not exact, or without their PMI", bad, 0, "of 200");
	/* How many depends on when the thread runs, i.e. on the image.  Above, each was accounted for. */
	check_between("inexact by an interruption of their ends", off, 0, 50, "of 200");
	check(opened > 20, "events of the host came and went");
	check(!vm_stat(&vm, "pmu_reclaims") == on_modules_alone(), "some while the guest's registers were parked, if they ever are");
}

int main(void)
{
	must(on_mediated(), "the vPMU is a mediated one");
	if (!on_modules_alone())
		refused();
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	beside(false);
	beside(true);
	sampling();
	if (on_modules_alone())
		stands();
	by_perf();
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		in_between();
	vm_close(&vm);
	return check_done();
}
