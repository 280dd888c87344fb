// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a guest with a mediated vPMU and the host's perf share a CPU's PMU by turns, and each counts as if it were alone.
 *
 *	refused		an event that would count in guests too, while there is such a guest; the guest, while there is the event
 *	beside		the host's event and the guest's counters are both exact, whichever of them is on
 *	in between	an event that comes while the guest's registers are parked gets the PMU, and the guest loses nothing
 */
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_stretch s;

static int event(bool guest, pid_t pid, int cpu, uint64_t config)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = config, .exclude_kernel = 1, .exclude_hv = 1,
		.exclude_guest = !guest, .read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
	};

	return syscall(SYS_perf_event_open, &attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static uint64_t values[3];

static uint64_t event_read(int fd)
{
	must(read(fd, values, sizeof(values)) == sizeof(values), "the event can be read");
	return values[0];
}

static uint64_t vm_stat(const char *name)
{
	struct kvm_stats_header head;
	int fd = ioctl(vm.vcpu, KVM_GET_STATS_FD, NULL);
	uint64_t value = ~0ULL;
	unsigned int i;

	must(fd >= 0 && pread(fd, &head, sizeof(head), 0) == sizeof(head), "statistics");
	for (i = 0; i < head.num_desc; i++) {
		char text[sizeof(struct kvm_stats_desc) + 256];
		struct kvm_stats_desc *desc = (void *)text;
		size_t size = sizeof(*desc) + head.name_size;

		must(pread(fd, text, size, head.desc_offset + i * size) == (ssize_t)size, "a description");
		if (!strcmp(desc->name, name))
			must(pread(fd, &value, 8, head.data_offset + desc->offset) == 8, "its value");
	}
	close(fd);
	return value;
}

static void refused(void)
{
	int fd, kvm, machine, vcpu;

	fd = event(true, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);
	must(fd >= 0, "an event that counts in guests");
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	machine = ioctl(kvm, KVM_CREATE_VM, 0);
	must(machine >= 0 && !ioctl(machine, KVM_SET_TSS_ADDR, 0xfffbd000UL) && !ioctl(machine, KVM_CREATE_IRQCHIP, 0), "a VM");
	vcpu = ioctl(machine, KVM_CREATE_VCPU, 0);
	check(vcpu < 0 && errno == EBUSY, "a vCPU beside it: refused with EBUSY (%d)", vcpu < 0 ? errno : 0);
	close(fd);
	vcpu = ioctl(machine, KVM_CREATE_VCPU, 0);
	check(vcpu >= 0, "a vCPU when it is gone");
	fd = event(true, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);
	check(fd < 0 && errno == EOPNOTSUPP, "the event beside the vCPU: refused with EOPNOTSUPP (%d)", fd < 0 ? errno : 0);
	fd = event(false, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);
	check(fd >= 0, "one that excludes guests is not");
	close(fd);
	close(vcpu);
	close(machine);
	close(kvm);
	fd = event(true, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);
	check(fd >= 0, "nor the other when the VM is gone");
	close(fd);

	/* An APIC of userspace: there is a VM, but no PMU in it. */
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	machine = ioctl(kvm, KVM_CREATE_VM, 0);
	vcpu = ioctl(machine, KVM_CREATE_VCPU, 0);
	check(vcpu >= 0, "a vCPU without an APIC in the kernel");
	fd = event(true, 0, -1, PERF_COUNT_HW_INSTRUCTIONS);
	check(fd >= 0, "needs nothing of perf");
	close(fd);
	close(vcpu);
	close(machine);
	close(kvm);
}

static void __attribute__((noinline)) nothing(void) { }

static void __attribute__((noinline)) stretch(void)
{
	vm_stretch(&vm, &s);
}

static int64_t __attribute__((noinline)) apart(int fd, void (*run)(void))
{
	uint64_t count = event_read(fd), truth = mark_read(TRUTH_INSNS_HOST_KERNEL + 1);

	run();
	truth = mark_read(TRUTH_INSNS_HOST_KERNEL + 1) - truth;
	count = event_read(fd) - count;
	return count - truth;
}

static const struct vm_counter counters[] = {
	{ .name = "instructions, kernel", .index = 0, .event = VM_INSNS, .privilege = VM_KERNEL },
	{ .name = "instructions, user", .index = 1, .event = VM_INSNS, .privilege = VM_USER },
	{ .name = "branches, both", .index = 2, .event = VM_BRANCHES, .privilege = VM_BOTH },
};

static bool exact(void)
{
	unsigned int i;
	bool good = true;

	for (i = 0; i < s.n; i++)
		good &= s.counter[i].value == vm_expected(&s, i);
	return good;
}

static void beside(bool sampling)
{
	int64_t alone, with;
	unsigned int i, k;
	int fd[3];

	vm_body(&body, "(n3crn2wpjoiOn5IWMfn2Fvb)3 U (n3cpn2ojiOn5IWMn2fFv)3 K n9");
	for (i = 0; i < 3; i++) {
		fd[i] = event(false, 0, -1, i == 0 ? PERF_COUNT_HW_INSTRUCTIONS : i == 1 ? PERF_COUNT_HW_BRANCH_INSTRUCTIONS :
			      PERF_COUNT_HW_CPU_CYCLES);
		must(fd[i] >= 0, "an event of the host");
	}
	memcpy(s.counter, counters, sizeof(counters));
	s.n = ARRAY_SIZE(counters);
	s.body = &body;
	/* An interrupt each time, which the guest takes while the host counts. */
	s.counter[0].interrupt = sampling;
	s.counter[0].start = sampling ? -100 : 0;
	apart(fd[0], nothing);
	alone = apart(fd[0], nothing);
	for (k = 0; k < 10; k++) {
		with = apart(fd[0], stretch);
		check_equal("the host's event", with, alone, "the machine's count of the host's user mode, as without a guest");
		check(exact(), "the guest's counters are exact");
		if (sampling)
			check_equal("PMIs", vm_seen.pmis, 1, "the guest's counter has passed its end once");
	}
	check(values[1] && values[1] == values[2], "enabled %llu, running %llu: nothing to scale",
	      (unsigned long long)values[1], (unsigned long long)values[2]);
	for (i = 0; i < 3; i++)
		close(fd[i]);
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
		counted += event_read(fd) != 0;
		close(fd);
	}
	return unused;
}

static void in_between(void)
{
	unsigned int i, bad = 0;
	pthread_t thread;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	must(!sched_setaffinity(0, sizeof(set), &set), "on the first CPU");
	vm_body(&body, "(n3crn2wpjoin5fn2Fvbn90)20 U (n3cpn2ojin5fFvn90)10 K n9");
	memcpy(s.counter, counters, sizeof(counters));
	s.counter[0].interrupt = true;
	s.counter[0].start = -1500;
	s.n = ARRAY_SIZE(counters);
	s.body = &body;
	s.interrupted = true;
	must(!pthread_create(&thread, NULL, other, NULL), "a thread");
	for (i = 0; i < 200; i++) {
		vm_stretch(&vm, &s);
		bad += !exact() || vm_seen.pmis != 1;
	}
	stop = true;
	pthread_join(thread, NULL);
	sayf("# %u events opened, %u counted; loads %llu, puts %llu, of which for perf %llu; PMIs %llu, emulated overflows %llu",
	     opened, counted, (unsigned long long)vm_stat("pmu_loads"), (unsigned long long)vm_stat("pmu_puts"),
	     (unsigned long long)vm_stat("pmu_leaves"), (unsigned long long)vm_stat("pmu_pmis"),
	     (unsigned long long)vm_stat("pmu_emulated_overflows"));
	check_equal("stretches that are not exact", bad, 0, "of 200");
	check(opened > 20, "events of the host came and went");
	check(vm_stat("pmu_leaves") > 0, "some while the guest's registers were parked");
}

int main(void)
{
	must(mark_present(), "this is our machine");
	must(on_mediated(), "the vPMU is a mediated one");
	refused();
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	beside(false);
	beside(true);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		in_between();
	vm_close(&vm);
	return check_done();
}
