/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small hypervisor and its guest, to test what KVM's PMU does with instructions that KVM
 * emulates.
 *
 * The guest's memory is that of this very program, at the same addresses: a function of the test
 * can run in the guest, and both sides see the same variables.  Such a function cannot use the C
 * library.
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
 *	vm_measure(&vm, &region);
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
#include "vm/guest.h"

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

struct vm_region {
	struct vm_body *body;
	unsigned int n;
	struct vm_counter counter[VM_COUNTERS];
	uint64_t late;			/* events by which a PMI may be late */
	bool interrupted;		/* PMIs may come at the ends */
	struct vm_frame frame;
	uint64_t status;
	unsigned int irqs;		/* interrupts taken in the region */
	uint64_t interrupts;		/* VM-exits for the host's interrupts before it */
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
	unsigned int steps;		/* VM-exits for single steps that userspace wants */
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
void vm_measure(struct vm *vm, struct vm_region *s);

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

/*
 * The events that KVM emulates of instructions that end after one address, but not after another.
 */
uint64_t vm_emulated(const struct vm_body *body, const struct vm_counter *c, uint64_t after,
		     uint64_t to);

/* Which write of vm_switch is counter number @i's: Intel has one for all. */
unsigned int vm_write(unsigned int i);

/*
 * The machine's count of counter number @i's event: at a point right before its emulated
 * instruction, at the ends right before the WRMSR that enables or disables the counter.
 */
uint64_t vm_truth(const struct vm_region *s, unsigned int i, int place);

/*
 * What counter number @i counts from one place to another: with the emulated instruction of the
 * first, without that of the second.
 */
uint64_t vm_events(const struct vm_region *s, unsigned int i, int from, int to);

/* What counter number @i must hold after the region. */
uint64_t vm_expected(const struct vm_region *s, unsigned int i);

/* What counter number @i has counted since a place when PMI number @p came, the first after it. */
uint64_t vm_pmi_events(const struct vm_region *s, unsigned int i, int from, unsigned int p);

/*
 * By how many events PMI number @p, the first after a place, is late; 0 if that is allowed.  A
 * VM-entry that injects it can be cut short by a tick of the host and then be repeated; AMD counts
 * both.
 */
uint64_t vm_pmi_late(const struct vm_region *s, unsigned int i, int from, unsigned int p,
		     uint64_t to);

/* Has PMI number @p come within the code?  How late it is, is not known at the ends. */
bool vm_pmi_in_code(const struct vm_region *s, unsigned int p);

/* A counter's value as a signed number. */
long long vm_signed(uint64_t value);

/*
 * Check all that a region must have done to its only counter, which its points set and read: each
 * value read and the last one, one PMI for each overflow and when it came, the status that each PMI
 * finds and clears.
 */
void vm_check(const struct vm_region *s, const char *what);

/* ---- events of the host (host.c) */

/* The event's count, which is the first word that read() gives. */
uint64_t vm_event_read(int fd);

/*
 * What an event of the host counts of user mode while run() runs, minus what the machine counts.
 * An interrupt within a reading is a return to user mode that only one of both counts; such a
 * reading is wider than others, and then all is repeated, including run().
 */
int64_t vm_host_event_delta(int fd, void (*run)(void));

#endif /* VM_H */
