/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small hypervisor and its guest, to test what KVM's PMU does with instructions that KVM emulates.
 *
 * The guest's memory is that of this very program, at the same addresses: a function of the test can
 * run in the guest, and both sides see the same variables.  Such a function cannot use the C library.
 *
 * A measured region is a piece of the guest's code that is counted in three ways: by the guest's
 * counters, by the machine, and by knowing the code.  The machine does not count what KVM emulates,
 * because an instruction that causes a VM-exit does not retire.  So a counter must hold, exactly,
 *
 *	where it started + what the machine has counted + what KVM has emulated.
 *
 * With a mediated vPMU, KVM emulates less: accesses to counters, and on Intel to the global
 * registers, are executed by the guest.
 *
 * A test typically is
 *
 *	vm_open(&vm);
 *	vm_call(&vm, vm_guest_prepare, NULL);
 *	vm_body(&body, "(nop*3 cpuid)*10");
 *	region.body = &body; region.n = 1; region.counter[0] = ...;
 *	vm_stretch(&vm, &region);
 *	check_equal("...", region.counter[0].value, vm_expected(&region, 0), "...");
 */
#ifndef VM_H
#define VM_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "env.h"
#include "msr.h"
#include "vm/code.h"

#define VM_PAGE		4096
#define VM_HOLE		0x30000000	/* no memory there */
#define VM_PMI		0x40		/* vectors */
#define VM_IRQ		0x41
#define VM_LEAVE	0x80		/* INT of user code, to return to the kernel */
#define VM_DONE		0xe0		/* ports that end KVM_RUN: end of a call, */
#define VM_FAULT	0xe1		/* exception that is not expected, */
#define VM_NOTHING	0xe2		/* an exit to this program that means nothing, */
#define VM_HOOK		0xe3		/* call the hook */

#define VM_TRIES	30		/* repetitions because of ticks of the host */

#define VM_WIDTH	48		/* bits of a counter */
#define VM_MASK		((1ULL << VM_WIDTH) - 1)

#define METRICS_INDEX	0x20000000	/* of RDPMC */
#define METRICS_BIT	(1ULL << 48)	/* in global control and status */

#define SVM_EXIT_INTR	0x60	/* VMX has no exit reason of this number */

enum { KCODE = 0x08, KDATA = 0x10, UDATA = 0x1b, UCODE = 0x23, TSS = 0x28 };

/* ---- what the CPU has and KVM offers (cpu.c) */

unsigned int vm_fixed(void);	/* fixed counters; a fourth one is for mediated vPMUs only */
unsigned int vm_general(void);	/* general counters, for guests that are given all */

/*
 * The number of general counters that guests of this test get, if these are fewer than the CPU has;
 * 0 means all.  With fewer, RDPMC and accesses of the global registers are VM-exits.
 */
unsigned int vm_fewer(void);

/*
 * Does RDPMC reach counters beyond those of the core, i.e. AMD's of the northbridge and of the last
 * level cache, which a guest must not read?
 */
bool vm_others_behind(void);

/* ---- in the guest */

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	asm volatile("rdmsr" : "=a" (lo), "=d" (hi) : "c" (msr) : "memory");
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	asm volatile("wrmsr" : : "c" (msr), "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32)) : "memory");
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

/* A measured region as vm_stretch_asm() sees it; aligned, so that it is in one page. */
struct vm_frame {
	uint64_t truth[2][TRUTHS];
	void *body;
	struct vm_switch on, off;
} __attribute__((aligned(512)));

/*
 * A PMI: the machine's counts when the handler began, the guest's registers, and the global status
 * that the handler found.
 */
struct vm_pmi {
	uint64_t interrupts, branches_user, branches_kernel, insns_user, insns_kernel;
	uint64_t registers[9];
	uint64_t rip, cs, flags, rsp, ss;
	uint64_t status;
};

/* A point of the region's code at which the machine's counts are kept, and the value read there. */
struct vm_point {
	uint64_t branches_user, branches_kernel, insns_user, insns_kernel;
	uint64_t value;
};

#define VM_PMIS		16

/* What both sides share. */
extern struct vm_shared {
	struct vm_pmi pmi[VM_PMIS];
	struct vm_point point[VM_POINTS];
	unsigned int pmis, irqs;
	bool amd;
	bool fixed_vector;	/* PMIs come by VM_PMI and not as NMIs */
	bool mediated;		/* the vPMU is a mediated one */
	bool rdpmc;		/* the guest executes RDPMC itself: there are no counters to hide */
	bool metrics;		/* KVM offers PERF_METRICS */
	bool eoi;		/* the end of an interrupt is no VM-exit */
	bool global;		/* Intel: the guest accesses the global registers itself */
	bool offers_v2;		/* AMD: KVM offers PerfMonV2, and with it global registers */
	unsigned int general;	/* general counters that the guest has */
	unsigned int fewer;	/* the same, if the CPU has more; else 0 */
	unsigned int fixed;	/* fixed counters that KVM offers */
} vm_seen;

/* An exception that is not expected: where the CPU has pushed its frame. */
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

extern uint64_t vm_kernel_rsp;		/* of user code, when it returns to the kernel */
extern const uint64_t vm_ask;		/* RAX of a mark that reads a count */
extern const struct vm_far_pointer {
	uint32_t offset;
	uint16_t selector;
} vm_ss;

/* guest.S */
extern char vm_entry[], vm_vectors[], vm_pmi_entry[], vm_irq_entry[], vm_to_kernel[], vm_switched[];
extern char guest_gp_entry[];
void vm_stretch_asm(struct vm_frame *frame);

/*
 * What KVM emulates of the PMI's handler: reading and clearing the status, unless the guest executes
 * these itself, writing LVTPC, and the end of interrupt.
 */
#define VM_PMI_EMULATED	((vm_seen.amd ? 0 : vm_seen.global ? 1 : 3) +		\
			 (vm_seen.fixed_vector && !vm_seen.eoi ? 1 : 0))

/* What vm_switch executes from its reading of the kernel's instructions to WRMSR number @i. */
#define VM_SWITCH_INSNS(i)	(3 + 3 * 5 + 1 + 3 + 6 * (i))

/*
 * Touch all that the CPU reads when it delivers an event, and set up the APIC.  An event that faults
 * while it is delivered would be delivered again by KVM, which is not the subject of any test.
 */
void vm_guest_prepare(void *unused);

/* Enable a selector that counts in no mode, to have a mediated vCPU's PMU loaded. */
void vm_guest_wake(void);

/* Set the counters of a struct vm_stretch to their start, run its code, read the counters. */
void vm_guest_stretch(void *argument);

/* Instructions that may fault: a #GP is counted, and skips its instruction of two bytes. */
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

/* ---- counters and measured regions (region.c) */

enum vm_event { VM_INSNS, VM_BRANCHES };
enum vm_privilege { VM_USER = 1, VM_KERNEL = 2, VM_BOTH = 3 };

struct vm_counter {
	const char *name;
	bool fixed;
	unsigned int index;
	enum vm_event event;
	enum vm_privilege privilege;
	bool interrupt;
	uint64_t start, value;
};

extern const char *const vm_privileges[];

uint64_t vm_selector(const struct vm_counter *c);
uint32_t vm_counter_msr(const struct vm_counter *c);
uint64_t vm_bit(const struct vm_counter *c);	/* in the global control and status */

#define VM_COUNTERS	6

struct vm_stretch {
	struct vm_body *body;
	unsigned int n;
	struct vm_counter counter[VM_COUNTERS];
	uint64_t late;			/* events by which a PMI may be late */
	bool interrupted;		/* PMIs may come at the ends */
	struct vm_frame frame;
	uint64_t status;
	unsigned int irqs;		/* interrupts taken in the region */
	uint64_t interrupts;		/* VM-exits for the host's interrupts so far, when it begins */
};

/* VM-exits in an end's vm_switch besides those of its WRMSRs. */
int64_t vm_interruptions(const struct vm_frame *f, unsigned int end);

/*
 * Have the ends no VM-exits of the host's making?  Such an exit would not cancel between the ends,
 * and on AMD the VM-entry after it counts.
 */
bool vm_ends_are_alike(const struct vm_frame *f);

/* ---- the host's side (vm.c, cpu.c) */

struct vm {
	int kvm, fd, vcpu;
	struct kvm_run *run;
	size_t run_size;
	void (*before)(struct vm *vm);	/* called before each try of a measured region */
	void (*hook)(struct vm *vm);	/* called by VM_HOOK */
	unsigned int steps;		/* VM-exits because userspace has asked for single steps */
};

/* Change an entry of the guest's CPUID before the vCPU gets it. */
extern void (*vm_model)(struct kvm_cpuid_entry2 *entry);
/* Set for AMD guests with PerfMonV2, where KVM offers that. */
extern bool vm_perfmon_v2;
/* Set if the vCPU will have no PMU: then KVM takes no IA32_PERF_CAPABILITIES. */
extern bool vm_without_pmu;
/* Set for a VM without an interrupt controller in the kernel. */
extern bool vm_without_irqchip;
/* Called when there is the VM and its interrupt controller, but no vCPU yet. */
extern void (*vm_created)(struct vm *vm);

void vm_open(struct vm *vm);
void vm_close(struct vm *vm);

/* Run a function of this program in the guest. */
void vm_call(struct vm *vm, void (*function)(void *argument), void *argument);

/* Run the vCPU to the end of a call; any VM-exit that is not expected ends the test. */
void vm_continue(struct vm *vm);

/* Run a measured region, until no tick of the host comes at its ends. */
void vm_stretch(struct vm *vm, struct vm_stretch *s);

/* An entry of the IDT with the number of its stack in the TSS.  User mode may call VM_LEAVE. */
void vm_gate(unsigned int vector, const char *handler, unsigned int stack);

/* After vm_open(): let instructions fault. */
static inline void skip_faults(void)
{
	vm_gate(13, guest_gp_entry, 2);
}

/* MSRs as userspace reads and writes them. */
struct vm_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

uint64_t vm_get_msr(struct vm *vm, uint32_t index);
bool vm_try_set_msr(struct vm *vm, uint32_t index, uint64_t value);
void vm_set_msr(struct vm *vm, uint32_t index, uint64_t value);

/* One of the vCPU's statistics, by its name; all ones if there is none. */
uint64_t vm_stat(struct vm *vm, const char *name);

/* IA32_PERF_CAPABILITIES as KVM offers it. */
#define VM_FULL_WIDTH	(1U << 13)
#define VM_METRICS	(1U << 15)
uint64_t vm_capabilities(struct vm *vm);

/* Give the vCPU what KVM supports, changed by the test's environment and by vm_model(). */
void vm_set_cpuid(struct vm *vm);

/* ---- what must have been counted (expect.c) */

/* A place of a measured region: the number of a point, or one of the ends. */
#define VM_BEGIN	-1
#define VM_END		-2

/* The events that KVM emulates of instructions that end after one address, but not after another. */
uint64_t vm_emulated(const struct vm_body *body, const struct vm_counter *c, uint64_t after,
		     uint64_t to);

/* Which write of vm_switch is counter number @i's: Intel has one for all. */
unsigned int vm_write(unsigned int i);

/*
 * The machine's count of counter number @i's event: at a point right before its emulated
 * instruction, at the ends right before the WRMSR that enables or disables the counter.
 */
uint64_t vm_truth(const struct vm_stretch *s, unsigned int i, int place);

/*
 * What counter number @i counts from one place to another: with the emulated instruction of the
 * first, without that of the second.
 */
uint64_t vm_events(const struct vm_stretch *s, unsigned int i, int from, int to);

/* What counter number @i must hold after the region. */
uint64_t vm_expected(const struct vm_stretch *s, unsigned int i);

/* What counter number @i has counted since a place when PMI number @p came, the first after it. */
uint64_t vm_pmi_events(const struct vm_stretch *s, unsigned int i, int from, unsigned int p);

/*
 * By how many events PMI number @p, the first after a place, is late; 0 if that is allowed.  A
 * VM-entry that injects it can be cut short by a tick of the host and then be repeated; AMD counts
 * both.
 */
uint64_t vm_pmi_late(const struct vm_stretch *s, unsigned int i, int from, unsigned int p,
		     uint64_t to);

/* Has PMI number @p come within the code?  How late it is, is not known at the ends. */
bool vm_pmi_in_code(const struct vm_stretch *s, unsigned int p);

/* A counter's value as a signed number. */
long long vm_signed(uint64_t value);

/*
 * Check all that a region must have done to its only counter, which its points set and read: each
 * value read and the last one, one PMI for each overflow and when it came, the status that each PMI
 * finds and clears.
 */
void vm_check(const struct vm_stretch *s, const char *what);

/* ---- events of the host (host.c) */

/* The event's count, which is the first word that read() gives. */
uint64_t vm_event_read(int fd);

/*
 * What an event of the host counts of user mode while run() runs, minus what the machine counts.
 * An interrupt within a reading is a return to user mode that only one of both counts; such a
 * reading is wider than others, and then all is repeated, including run().
 */
int64_t vm_apart(int fd, void (*run)(void));

#endif /* VM_H */
