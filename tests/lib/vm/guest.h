/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest: its memory, which both sides see, and its code (guest.S, guest.c).  Functions of the
 * guest cannot use the C library.
 */
#ifndef VM_GUEST_H
#define VM_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "msr.h"
#include "vm/code.h"

#define VM_PAGE		4096
#define VM_HOLE		0x30000000	/* no memory there */
#define VM_PMI		0x40		/* vectors */
#define VM_IRQ		0x41
#define VM_LEAVE	0x80		/* INT of user code, to return to the kernel */
#define VM_DONE		0xe0		/* ports that end KVM_RUN: end of a call, */
#define VM_FAULT	0xe1		/* unexpected exception, */
#define VM_NOTHING	0xe2		/* an exit to this program without effect, */
#define VM_HOOK		0xe3		/* call the hook */

#define VM_TRIES	30		/* repetitions until no tick of the host disturbs */

#define VM_WIDTH	48		/* bits of a counter */
#define VM_MASK		((1ULL << VM_WIDTH) - 1)

#define METRICS_INDEX	0x20000000	/* of RDPMC */
#define METRICS_BIT	(1ULL << 48)	/* in global control and status */

#define SVM_EXIT_INTR	0x60	/* VMX has no exit reason of this number */

enum { KCODE = 0x08, KDATA = 0x10, UDATA = 0x1b, UCODE = 0x23, TSS = 0x28 };

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	asm volatile("rdmsr" : "=a" (lo), "=d" (hi) : "c" (msr) : "memory");
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	asm volatile("wrmsr" : : "c" (msr), "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32))
		     : "memory");
}

static inline uint64_t rdpmc(uint32_t index)
{
	uint32_t lo, hi;

	asm volatile("rdpmc" : "=a" (lo), "=d" (hi) : "c" (index) : "memory");
	return (uint64_t)hi << 32 | lo;
}

/* What the machine has counted, in the order in which vm_switch reads it. */
enum { EXITS, INSNS_KERNEL, INSNS_USER, BRANCHES_KERNEL, BRANCHES_USER, EXITS_AFTER, TRUTHS };

#define VM_MSRS		8

struct vm_switch {
	uint64_t n;
	struct {
		uint64_t msr, value;
	} write[VM_MSRS];
};

/* A measured region as vm_region_asm() sees it; aligned, so that it is in one page. */
struct vm_frame {
	uint64_t truth[2][TRUTHS];
	void *body;
	struct vm_switch on, off;
} __attribute__((aligned(512)));

/*
 * A PMI: the machine's counts at the beginning of the handler, the guest's registers, and the
 * global status that the handler found.
 */
struct vm_pmi {
	uint64_t interrupts, branches_user, branches_kernel, insns_user, insns_kernel;
	uint64_t registers[9];
	uint64_t rip, cs, flags, rsp, ss;
	uint64_t status;
};

/* A point of the region's code: the machine's counts there, and the value that was read. */
struct vm_point {
	uint64_t branches_user, branches_kernel, insns_user, insns_kernel;
	uint64_t value;
};

#define VM_PMIS		16

/* Variables that both sides use. */
extern struct vm_shared {
	struct vm_pmi pmi[VM_PMIS];
	struct vm_point point[VM_POINTS];
	unsigned int pmis, irqs;
	bool amd;
	bool fixed_vector;	/* PMIs come by vector VM_PMI, not as NMIs */
	bool mediated;		/* the vPMU is mediated */
	bool rdpmc;		/* RDPMC does not exit: no counter has to be hidden */
	bool metrics;		/* KVM offers PERF_METRICS */
	bool eoi;		/* the end of an interrupt does not exit */
	bool global;		/* Intel: the guest accesses the global registers itself */
	bool offers_v2;		/* AMD: KVM offers PerfMonV2, which has global registers */
	unsigned int general;	/* general counters that the guest has */
	unsigned int fewer;	/* the same if the CPU has more, else 0 */
	unsigned int fixed;	/* fixed counters that KVM offers */
} vm_seen;

/* An unexpected exception: the frame that the CPU has pushed. */
struct vm_fault {
	uint64_t vector, error, rip, cs, flags, rsp, ss;
};
extern struct vm_fault *volatile vm_fault;

struct vm_gate_entry {
	uint64_t low, high;
};
extern uint64_t vm_gdt[8];
extern struct vm_gate_entry vm_idt[256];
extern uint32_t vm_tss[26];
extern uint8_t vm_stack[5][16384];
#define VM_TOP(stack)	((uint64_t)(vm_stack[stack] + sizeof(vm_stack[stack])))

extern uint64_t vm_kernel_rsp;		/* the stack when user mode returns to the kernel */
extern const uint64_t vm_ask;		/* RAX of a magic instruction that reads a count */
extern const struct vm_far_pointer {
	uint32_t offset;
	uint16_t selector;
} vm_ss;

/* guest.S */
extern char vm_entry[], vm_vectors[], vm_pmi_entry[], vm_irq_entry[], vm_to_kernel[], vm_switched[];
extern char guest_gp_entry[];
void vm_region_asm(struct vm_frame *frame);

/*
 * The instructions that KVM emulates in the PMI's handler: reading and clearing the status, unless
 * the guest accesses it itself, writing LVTPC, and the end of interrupt.
 */
#define VM_PMI_EMULATED	((vm_seen.amd ? 0 : vm_seen.global ? 1 : 3) +		\
			 (vm_seen.fixed_vector && !vm_seen.eoi ? 1 : 0))

/* Instructions of vm_switch from reading the kernel's instructions to WRMSR number @i. */
#define VM_SWITCH_INSNS(i)	(3 + 3 * 5 + 1 + 3 + 6 * (i))

/*
 * Touch all memory that the CPU reads when it delivers an event, and set up the APIC.  KVM would
 * repeat the delivery of an event that faults meanwhile, and that is not the subject of any test.
 */
void vm_guest_prepare(void *unused);

/*
 * A guest that counts branches on its first counter, in the kernel.  vm_guest_counts() does so in as
 * many loops with a CPUID as its argument says, and leaves what it has counted and the machine's count.
 */
struct vm_counted {
	uint64_t counted, truth;
};

extern struct vm_counted vm_counted;

void vm_count_begin(void);
uint64_t vm_count(void);
void vm_count_end(void);
void vm_guest_counts(void *exits);

static inline void vm_cpuid(void)
{
	uint32_t a = 0, b, c = 0, d;

	asm volatile("cpuid" : "+a" (a), "=b" (b), "+c" (c), "=d" (d) : : "memory");
}

/* Enable a selector that counts in no mode, so that KVM loads a mediated vCPU's PMU. */
void vm_guest_wake(void);

/* Wake the vCPU's PMU and execute N CPUIDs, which exit. */
void vm_guest_exits(void *n);

/* Set the counters of a struct vm_region to their start, run its code, and read them. */
void vm_guest_region(void *argument);

/* Instructions that may fault.  A #GP is counted and skips the instruction. */
extern volatile uint32_t guest_faults;

static inline bool try_rdmsr(uint32_t msr, uint64_t *value)
{
	uint32_t lo = 0, hi = 0, before = guest_faults;

	asm volatile("rdmsr" : "+a" (lo), "+d" (hi) : "c" (msr) : "memory");
	*value = (uint64_t)hi << 32 | lo;
	return guest_faults == before;
}

static inline bool try_rdpmc(uint32_t index, uint64_t *value)
{
	uint32_t lo = 0, hi = 0, before = guest_faults;

	asm volatile("rdpmc" : "+a" (lo), "+d" (hi) : "c" (index) : "memory");
	*value = (uint64_t)hi << 32 | lo;
	return guest_faults == before;
}

static inline bool try_wrmsr(uint32_t msr, uint64_t value)
{
	uint32_t before = guest_faults;

	wrmsr(msr, value);
	return guest_faults == before;
}

#endif /* VM_GUEST_H */
