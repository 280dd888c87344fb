/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Registers of the PMU with an owner's mark in them, and everybody's way to look at them.
 *
 * A planted counter holds its owner's tag three times, in bits 47:36, 35:24 and 23:12: it can still be told when the counter
 * has counted, or has been cut to fewer bits.  Selectors have the tag in event and unit mask, which are of no event that counts.
 *
 * A guest skips what faults: all its accesses are instructions of two bytes.
 */
#ifndef PLANTED_H
#define PLANTED_H

#include <sched.h>

#include "nested.h"
#include "perf.h"

#define TAG_HOST	0xc3cULL
#define TAG_GUEST	0x5a5ULL
#define TAG_OTHER	0x696ULL		/* of another VM */

#define MAX_COUNTERS	24			/* general ones, and behind them fixed ones */
#define FIXED_INDEX	0x40000000		/* of RDPMC */

static inline uint64_t planted(uint64_t tag, unsigned int counter)
{
	return tag << 36 | tag << 24 | tag << 12 | counter;
}

/* Event and unit mask of a tag: a5 and 5a, c3 and 3c, 96 and 69. */
static inline uint64_t planted_event(uint64_t tag)
{
	return (tag & 0xff) | (tag >> 4 & 0xff) << 8;
}

/* PERF_METRICS with a tag: its first two fields, and two that make a sum of 255; of level 1 only. */
static inline uint64_t planted_metrics(uint64_t tag)
{
	uint64_t a = tag & 0x3f, b = tag >> 6 & 0x3f, c = 7;

	return a | b << 8 | c << 16 | (255 - a - b - c) << 24;
}

/* Whose a value is: is this tag in it? */
static inline bool shows(uint64_t value, uint64_t tag)
{
	return (value >> 36 & 0xfff) == tag || (value >> 24 & 0xfff) == tag ||
	       ((value >> 24 & 0xff) == (tag & 0xff) && (value >> 12 & 0xfff) == tag);
}

/* ---- what a guest has of a PMU, and what the CPU has */

struct model {
	const char *what;
	unsigned int version, general, fixed, width;
	bool core;		/* AMD: six counters and not four */
	bool full_width;	/* Intel: PDCM, and with it full-width writes */
	bool metrics;		/* and PERF_METRICS, if there is the counter of slots in its full width */
};

static inline bool has_metrics(const struct model *m)
{
	return m->metrics && m->full_width && m->fixed > 3 && m->width == VM_WIDTH && m->version > 1;
}

static struct {
	bool amd, mediated;
	unsigned int general, fixed;		/* of the CPU */
	struct model offered;			/* what KVM offers a guest */
} cpu;

static struct planted_cpuid {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[256];
} planted_cpuid;

static inline void supported_cpuid(int kvm)
{
	planted_cpuid.head.nent = ARRAY_SIZE(planted_cpuid.entry);
	must(!ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &planted_cpuid), "CPUID");
}

static inline void cpu_init(void)
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
	cpu.offered = (struct model) { .what = "all there is", .version = 1, .general = 6, .width = 48, .core = true };
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

/* The model's CPUID and IA32_PERF_CAPABILITIES, for a vCPU.  Return: KVM's, errno is EINVAL where it takes them no more. */
static inline int set_model(struct vm *vm, const struct model *m)
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
	/* Like CPUID, it cannot be changed any more when the vCPU has run. */
	errno = EINVAL;
	return vm_try_set_msr(vm, MSR_IA32_PERF_CAPABILITIES,
			      VM_FULL_WIDTH | (m->metrics ? VM_METRICS : 0)) ?
		       0 :
		       -1;
}

/* ---- exits, in the guest */

/* An exit to KVM, from L2 as well: a read of the APIC's base.  CPUID of L2 would be L1's on VMX. */
static inline void guest_exit(void)
{
	rdmsr(MSR_IA32_APICBASE);
}

/* An exit to this program; with VM_HOOK it calls the hook. */
static inline void guest_out(void)
{
	asm volatile("out %%al, %0" : : "i" (VM_HOOK) : "memory");
}

/*
 * Whether KVM can enter L2 after KVM_SET_CPUID2 while it is there.  KVM of all bases writes L1's execution controls into the
 * VMCS that is in force, which is L2's: with APIC virtualization the CPU then takes interrupts from a page that L2 has not got.
 */
static inline bool l2_may_change_model(void)
{
	return !on_apicv();
}

/* A KVM_RUN in which everything is made ready for an entry, and a signal that is pending keeps it from being made. */
static inline int run_with_signal(struct vm *vm)
{
	/* A length, and a set that is empty. */
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

/* ---- the host's registers, by /dev/cpu/N/msr */

static int device[2] = { -1, -1 };

static inline void device_open(unsigned int n)
{
	char path[32];
	unsigned int i;

	for (i = 0; i < n && i < ARRAY_SIZE(device); i++) {
		snprintf(path, sizeof(path), "/dev/cpu/%u/msr", i);
		device[i] = open(path, O_RDWR | O_CLOEXEC);
		must(device[i] >= 0, "MSRs of the CPU can be read by a device");
	}
}

static inline bool device_read(unsigned int n, uint32_t msr, uint64_t *value)
{
	return pread(device[n], value, 8, msr) == 8;
}

static inline bool device_write(unsigned int n, uint32_t msr, uint64_t value)
{
	return pwrite(device[n], &value, 8, msr) == 8;
}

/* Of the CPU's counters, first the general ones. */
static inline uint32_t host_counter(unsigned int i)
{
	return cpu.amd	       ? MSR_F15H_PERF_CTR + 2 * i :
	       i < cpu.general ? MSR_IA32_PMC0 + i :
				 MSR_CORE_PERF_FIXED_CTR0 + i - cpu.general;
}

static inline uint32_t host_selector(unsigned int i)
{
	return cpu.amd ? MSR_F15H_PERF_CTL + 2 * i : MSR_P6_EVNTSEL0 + i;
}

static inline uint32_t rdpmc_index(unsigned int i, unsigned int general)
{
	return i < general ? i : FIXED_INDEX | (i - general);
}

#define HOST_STATUS	(cpu.amd ? 0x25ULL : 0x5000000a5ULL)

/* To one CPU; 0 is the caller. */
static inline void on_cpu(pid_t tid, unsigned int n)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(n, &set);
	must(!sched_setaffinity(tid, sizeof(set), &set), "a CPU of its own");
}

/*
 * In a CPU's registers, while nobody uses them: counters, selectors that are off, status; or 0 everywhere.  The caller is on that
 * CPU, and with a perf-based vPMU its guest's counters are too, in part: they have to leave meanwhile.
 */
static inline void device_plant(unsigned int n, bool tag)
{
	uint64_t bits = ((1ULL << cpu.general) - 1) | ((1ULL << cpu.fixed) - 1) << 32, value;
	unsigned int i;
	bool good = true;

	if (!cpu.mediated)
		on_cpu(0, !n);
	for (i = 0; i < cpu.general; i++)
		good &= device_write(n, host_selector(i), tag ? 0x30000 | planted_event(TAG_HOST) : 0);
	for (i = 0; i < cpu.general + cpu.fixed; i++)
		good &= device_write(n, host_counter(i), tag ? planted(TAG_HOST, i) : 0);
	/* Behind the core's, what RDPMC of a guest must not reach: AMD's are of all CPUs. */
	for (i = 0; i < 4 && vm_others_behind(); i++)
		good &= device_write(n, MSR_F15H_NB_PERF_CTR + 2 * i,
				     tag ? planted(TAG_HOST, 32 + i) : 0);
	for (i = 0; i < 6 && vm_others_behind(); i++)
		good &= device_write(n, MSR_F16H_L2I_PERF_CTR + 2 * i,
				     tag ? planted(TAG_HOST, 36 + i) : 0);
	if (device_read(n, MSR_PERF_METRICS, &value))
		good &= device_write(n, MSR_PERF_METRICS, tag ? planted_metrics(TAG_HOST) : 0);
	/* A CPU without a global status has none to set. */
	device_write(
		n, cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR : MSR_CORE_PERF_GLOBAL_OVF_CTRL,
		bits);
	if (tag)
		device_write(n,
			     cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET :
				       MSR_CORE_PERF_GLOBAL_STATUS_SET,
			     HOST_STATUS & bits);
	must(good, "the CPU's registers can be written");
	if (!cpu.mediated)
		on_cpu(0, n);
}

/* ---- events of the host */

static inline int host_event(struct perf_event_attr attr, int on_cpu)
{
	attr.size = sizeof(attr);
	attr.exclude_guest = 1;
	return perf_open(&attr, on_cpu < 0 ? 0 : -1, on_cpu, -1);
}

/* One on each counter, which begins at the tag: a counter begins at its period below zero.  Return: how many. */
static inline int tagged_events(int fd[MAX_COUNTERS], int on_cpu)
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

static inline void close_events(int *fd, int n)
{
	while (n)
		close(fd[--n]);
}

#endif /* PLANTED_H */
