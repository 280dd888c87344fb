/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Registers of the PMU with their owner's tag in them, and the ways in which each side reads them.
 *
 * A planted counter holds its owner's tag three times, in bits 47:36, 35:24 and 23:12.  So the
 * owner can still be recognized after the counter has counted or was cut to fewer bits.  Selectors
 * have the tag in event and unit mask; no event that counts has these.
 *
 * A guest skips instructions that fault: each of its accesses is an instruction of two bytes.
 */
#ifndef PLANTED_H
#define PLANTED_H

#include <sched.h>

#include "nested.h"
#include "perf.h"

#define TAG_HOST	0xc3cULL
#define TAG_GUEST	0x5a5ULL
#define TAG_OTHER	0x696ULL		/* of another VM */

#define MAX_COUNTERS	24			/* general ones, and after them fixed ones */
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

/* PERF_METRICS with a tag: its first two fields, and two that make the sum 255; level 1 only. */
static inline uint64_t planted_metrics(uint64_t tag)
{
	uint64_t a = tag & 0x3f, b = tag >> 6 & 0x3f, c = 7;

	return a | b << 8 | c << 16 | (255 - a - b - c) << 24;
}

/* Does a value have this owner's tag? */
static inline bool shows(uint64_t value, uint64_t tag)
{
	return (value >> 36 & 0xfff) == tag || (value >> 24 & 0xfff) == tag ||
	       ((value >> 24 & 0xff) == (tag & 0xff) && (value >> 12 & 0xfff) == tag);
}

/* ---- the guest's PMU and the CPU's */

struct model {
	const char *what;
	unsigned int version, general, fixed, width;
	bool core;		/* AMD: six counters instead of four */
	bool full_width;	/* Intel: PDCM, and with it full-width writes */
	bool metrics;		/* PERF_METRICS, if the counter of slots is there in full width */
};

static inline bool has_metrics(const struct model *m)
{
	return m->metrics && m->full_width && m->fixed > 3 && m->width == VM_WIDTH && m->version > 1;
}

extern struct cpu {
	bool amd, mediated;
	unsigned int general, fixed;		/* the CPU has */
	struct model offered;			/* what KVM offers a guest */
} cpu;

extern struct planted_cpuid {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[256];
} planted_cpuid;

static inline void supported_cpuid(int kvm)
{
	planted_cpuid.head.nent = ARRAY_SIZE(planted_cpuid.entry);
	must(!ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &planted_cpuid), "CPUID");
}

void cpu_init(void);

/*
 * Set the model's CPUID and IA32_PERF_CAPABILITIES.  Return KVM's status; errno is EINVAL if it no
 * longer accepts changes.
 */
int set_model(struct vm *vm, const struct model *m);

/* ---- exits, in the guest */

/*
 * A VM-exit to KVM, from L2 as well: a read of the APIC's base.  On VMX a CPUID of L2 would exit
 * to L1.
 */
static inline void guest_exit(void)
{
	rdmsr(MSR_IA32_APICBASE);
}

/* An exit to this program, which calls the hook. */
static inline void guest_out(void)
{
	asm volatile("out %%al, %0" : : "i" (VM_HOOK) : "memory");
}

/*
 * Can KVM enter L2 if KVM_SET_CPUID2 comes while the vCPU is in L2?  KVM of all bases then writes
 * L1's execution controls into the current VMCS, which is L2's.  With APIC virtualization the CPU
 * would take interrupts from a page that L2 does not have.
 */
static inline bool l2_may_change_model(void)
{
	return !on_apicv();
}

/*
 * Call KVM_RUN with a signal pending: KVM prepares the VM-entry, but the signal prevents it.
 */
int run_with_signal(struct vm *vm);

/* ---- the host's registers, by /dev/cpu/N/msr */

extern int device[2];

void device_open(unsigned int n);

static inline bool device_read(unsigned int n, uint32_t msr, uint64_t *value)
{
	return pread(device[n], value, 8, msr) == 8;
}

static inline bool device_write(unsigned int n, uint32_t msr, uint64_t value)
{
	return pwrite(device[n], &value, 8, msr) == 8;
}

/* A counter of the CPU; the general ones come first. */
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

/* Move a thread to a CPU; @tid 0 is the caller. */
void on_cpu(pid_t tid, unsigned int n);

/*
 * Write tags to a CPU's registers while nobody uses them: counters, disabled selectors, status.
 * Without @tag, write 0 to all.  The caller runs on that CPU, and so do some counters of its guest
 * if the vPMU is perf-based.  Those have to leave meanwhile, so the caller moves to the other CPU.
 */
void device_plant(unsigned int n, bool tag);

/* ---- events of the host */

static inline int host_event(struct perf_event_attr attr, int on_cpu)
{
	attr.size = sizeof(attr);
	attr.exclude_guest = 1;
	return perf_open(&attr, on_cpu < 0 ? 0 : -1, on_cpu, -1);
}

/*
 * Open an event on each counter.  Its counter begins at the tag, because a counter begins its
 * period below zero.  Return the number of events.
 */
int tagged_events(int fd[MAX_COUNTERS], int on_cpu);

static inline void close_events(int *fd, int n)
{
	while (n)
		close(fd[--n]);
}

#endif /* PLANTED_H */
