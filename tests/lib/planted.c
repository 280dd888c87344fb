// SPDX-License-Identifier: GPL-2.0
#include "planted.h"

struct cpu cpu;
struct planted_cpuid planted_cpuid;
int device[2] = { -1, -1 };

void cpu_init(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	uint32_t r[4];
	unsigned int i;

	must(kvm >= 0, "KVM is there");
	cpu.amd = on_amd();
	cpu.mediated = on_mediated();
	host_cpuid(0xa, r);
	cpu.general = vm_general();
	cpu.fixed = cpu.amd ? 0 : r[3] & 0x1f;
	cpu.offered = (struct model) { .what = "all of the PMU", .version = 1, .general = 6,
				      .width = 48, .core = true };
	supported_cpuid(kvm);
	if (!cpu.amd)
		cpu.offered.metrics = vm_capabilities(&(struct vm) { .kvm = kvm }) & VM_METRICS;
	close(kvm);
	for (i = 0; i < planted_cpuid.head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &planted_cpuid.entry[i];

		if (cpu.amd && e->function == 0x80000022 && e->eax & 1) {
			cpu.offered.version = 2;
			cpu.offered.general = e->ebx & 0xf;
		}
		if (!cpu.amd && e->function == 0xa) {
			cpu.offered.version = e->eax & 0xff;
			cpu.offered.general = e->eax >> 8 & 0xff;
			cpu.offered.width = e->eax >> 16 & 0xff;
			cpu.offered.fixed = e->edx & 0x1f;
			cpu.offered.full_width = true;
		}
	}
}

int set_model(struct vm *vm, const struct model *m)
{
	unsigned int i;

	supported_cpuid(vm->kvm);
	for (i = 0; i < planted_cpuid.head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &planted_cpuid.entry[i];

		if (e->function == 1) {
			e->ecx |= 1 << 24 | 1 << 21;		/* the timer's deadline mode, x2APIC */
			if (!cpu.amd && !m->full_width)
				e->ecx &= ~(1U << 15);
		}
		if (e->function == 0xa && !cpu.amd) {
			e->eax = (e->eax & 0xff000000) | m->width << 16 | m->general << 8 | m->version;
			e->edx = (e->edx & ~0x1fffU) | m->width << 5 | m->fixed;
			if (!m->version)
				e->eax = e->ebx = e->ecx = e->edx = 0;
		}
		if (e->function == 0x80000001 && cpu.amd && !m->core)
			e->ecx &= ~(1U << 23);
		if (e->function == 0x80000022) {
			e->eax = (e->eax & ~1U) | (m->version > 1);
			e->ebx = (e->ebx & ~0xfU) | m->general;
		}
	}
	if (ioctl(vm->vcpu, KVM_SET_CPUID2, &planted_cpuid))
		return -1;
	if (cpu.amd || !m->version || !m->full_width)
		return 0;
	/* Like CPUID, it cannot change once the vCPU has run. */
	errno = EINVAL;
	return vm_try_set_msr(vm, MSR_IA32_PERF_CAPABILITIES,
			      VM_FULL_WIDTH | (m->metrics ? VM_METRICS : 0)) ?
		       0 :
		       -1;
}

int run_with_signal(struct vm *vm)
{
	/* A struct kvm_signal_mask: the length, and an empty set. */
	static uint32_t mask[3] = { 8 };
	sigset_t set;
	int status, error;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	must(!ioctl(vm->vcpu, KVM_SET_SIGNAL_MASK, mask), "signals that end KVM_RUN");
	raise(SIGUSR1);
	status = ioctl(vm->vcpu, KVM_RUN, 0);
	error = errno;
	sigwaitinfo(&set, NULL);
	ioctl(vm->vcpu, KVM_SET_SIGNAL_MASK, NULL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	errno = error;
	return status;
}

void device_open(unsigned int n)
{
	char path[32];
	unsigned int i;

	for (i = 0; i < n && i < ARRAY_SIZE(device); i++) {
		snprintf(path, sizeof(path), "/dev/cpu/%u/msr", i);
		device[i] = open(path, O_RDWR | O_CLOEXEC);
		must(device[i] >= 0, "MSRs of the CPU can be read by a device");
	}
}

void on_cpu(pid_t tid, unsigned int n)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(n, &set);
	must(!sched_setaffinity(tid, sizeof(set), &set), "a CPU of its own");
}

void device_plant(unsigned int n, bool tag)
{
	uint64_t bits = ((1ULL << cpu.general) - 1) | ((1ULL << cpu.fixed) - 1) << 32, value;
	uint64_t status = HOST_STATUS & bits;
	unsigned int i;
	bool good = true;

	/*
	 * Each time that perf for AMD stops its counters, it waits up to 50 us for the NMI of a
	 * counter of its own whose overflow the status reports.  A written status brings no NMI: on
	 * base 6.1, where perf stops its counters at each switch of tasks, the CPU would do little
	 * else.  The watchdog's event is the first one, and has the first counter.
	 */
	if (cpu.amd && nmi_watchdog_is_on())
		status &= ~1ULL;
	if (!cpu.mediated)
		on_cpu(0, !n);
	for (i = 0; i < cpu.general; i++)
		good &= device_write(n, host_selector(i), tag ? 0x30000 | planted_event(TAG_HOST) : 0);
	for (i = 0; i < cpu.general + cpu.fixed; i++)
		good &= device_write(n, host_counter(i), tag ? planted(TAG_HOST, i) : 0);
	/*
	 * AMD's counters after the core's, which all CPUs share and a guest's RDPMC must not read.
	 */
	for (i = 0; i < 4 && vm_others_behind(); i++)
		good &= device_write(n, MSR_F15H_NB_PERF_CTR + 2 * i,
				     tag ? planted(TAG_HOST, 32 + i) : 0);
	for (i = 0; i < 6 && vm_others_behind(); i++)
		good &= device_write(n, MSR_F16H_L2I_PERF_CTR + 2 * i,
				     tag ? planted(TAG_HOST, 36 + i) : 0);
	if (device_read(n, MSR_PERF_METRICS, &value))
		good &= device_write(n, MSR_PERF_METRICS, tag ? planted_metrics(TAG_HOST) : 0);
	/* These fail on a CPU that has no global status. */
	device_write(
		n, cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR : MSR_CORE_PERF_GLOBAL_OVF_CTRL,
		bits);
	if (tag)
		device_write(n,
			     cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET :
				       MSR_CORE_PERF_GLOBAL_STATUS_SET,
			     status);
	must(good, "the CPU's registers can be written");
	if (!cpu.mediated)
		on_cpu(0, n);
}

int tagged_events(int fd[MAX_COUNTERS], int on_cpu)
{
	static const uint64_t fixed_events[] = {
		PERF_COUNT_HW_INSTRUCTIONS, PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_HW_REF_CPU_CYCLES,
	};
	unsigned int i, n = cpu.general + (cpu.fixed < 3 ? cpu.fixed : 3);

	for (i = 0; i < n; i++) {
		struct perf_event_attr attr = {
			.type = PERF_TYPE_RAW, .config = cpu.amd ? 0xc2 : 0xc4, .pinned = 1,
			.sample_period = (1ULL << 48) - planted(TAG_HOST, 0) - i,
		};

		if (i >= cpu.general) {
			attr.type = PERF_TYPE_HARDWARE;
			attr.config = fixed_events[i - cpu.general];
		}
		fd[i] = host_event(attr, on_cpu);
		if (fd[i] < 0)
			break;
	}
	return i;
}
