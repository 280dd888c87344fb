/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small hypervisor and its guest, to test what KVM's PMU does with instructions that KVM
 * emulates.
 *
 * The guest's memory is that of this program, at the same addresses.  So a function of the test can
 * run in the guest, and both sides see the same variables.  Such a function cannot use the C
 * library.
 *
 * A measured region is a piece of the guest's code whose events are known in three ways: from the
 * guest's counters, from the machine, and from the code itself.  The machine does not count what
 * KVM emulates, because an instruction that causes a VM-exit does not retire.  So a counter must
 * hold, exactly,
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

unsigned int vm_fixed(void);	/* fixed counters; a mediated vPMU can have four, any other three */
unsigned int vm_general(void);	/* general counters of a guest that has all */

/*
 * The number of general counters that guests of this test get if it is lower than the CPU's; 0
 * means all.  With fewer counters, RDPMC and accesses to the global registers cause VM-exits.
 */
unsigned int vm_fewer(void);

/*
 * Does RDPMC reach counters beyond those of the core?  AMD's northbridge and last level cache have
 * such counters, which a guest must not read.
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
uint64_t vm_bit(const struct vm_counter *c);	/* in the global control and the global status */

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
 * Are both ends free of VM-exits that the host caused?  Such an exit would not cancel between the
 * ends, and on AMD the VM-entry after it counts.
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

/* Called for each entry of the guest's CPUID before it is set, to change the entry. */
extern void (*vm_model)(struct kvm_cpuid_entry2 *entry);
/* Set to give AMD guests PerfMonV2, where KVM offers it. */
extern bool vm_perfmon_v2;
/* Set if the vCPU will have no PMU: KVM then refuses IA32_PERF_CAPABILITIES. */
extern bool vm_without_pmu;
/* A vm_model() with no leaf 0AH, no AMD extended counters and no PerfMonV2, as QEMU's pmu=off. */
void vm_hide_pmu(struct kvm_cpuid_entry2 *e);
/* Before vm_open(): hide the PMU, and do not set IA32_PERF_CAPABILITIES, which is then refused. */
void vm_give_no_pmu(void);
/* Set for a VM without an interrupt controller in the kernel. */
extern bool vm_without_irqchip;
/* Called when the VM and its interrupt controller exist, but no vCPU. */
extern void (*vm_created)(struct vm *vm);

void vm_open(struct vm *vm);
void vm_close(struct vm *vm);

/* Run a function of this program in the guest. */
void vm_call(struct vm *vm, void (*function)(void *argument), void *argument);

/* Run the vCPU to the end of a call; any VM-exit that is not expected ends the test. */
void vm_continue(struct vm *vm);

/* Run a measured region until no tick of the host has interrupted its ends. */
void vm_measure(struct vm *vm, struct vm_region *s);

/* Set an entry of the IDT; @stack is its number in the TSS.  User mode may call VM_LEAVE. */
void vm_gate(unsigned int vector, const char *handler, unsigned int stack);

/* After vm_open(): let the guest skip an instruction that faults. */
static inline void skip_faults(void)
{
	vm_gate(13, guest_gp_entry, 2);
}

/* An MSR as userspace reads and writes it. */
struct vm_msr_list {
	struct kvm_msr_list head;
	uint32_t index[2048];
};

/* Get the MSRs that KVM lists for saving and restoring; KVM is a descriptor of /dev/kvm. */
void vm_msr_list(int kvm, struct vm_msr_list *list);

/* Whether an MSR is a counter, or controls counters or has their status, on either vendor. */
bool vm_msr_counts(uint32_t msr);

struct vm_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

uint64_t vm_get_msr(struct vm *vm, uint32_t index);
bool vm_try_set_msr(struct vm *vm, uint32_t index, uint64_t value);
void vm_set_msr(struct vm *vm, uint32_t index, uint64_t value);

/* The vCPU's statistic of this name; all ones if it does not exist. */
uint64_t vm_stat(struct vm *vm, const char *name);

/* Bits of IA32_PERF_CAPABILITIES, and the value that KVM offers. */
#define VM_FULL_WIDTH	(1U << 13)
#define VM_METRICS	(1U << 15)
uint64_t vm_capabilities(struct vm *vm);

/* Set the CPUID that KVM supports, changed by the test's environment and by vm_model(). */
void vm_set_cpuid(struct vm *vm);

/* ---- what must have been counted (expect.c) */

/* A place of a measured region: the number of a point, or one of the ends. */
#define VM_BEGIN	-1
#define VM_END		-2

/* The events of emulated instructions that end at an address above @after and not above @to. */
uint64_t vm_emulated(const struct vm_body *body, const struct vm_counter *c, uint64_t after,
		     uint64_t to);

/* The number of vm_switch's write for counter number @i.  Intel has one write for all counters. */
unsigned int vm_write(unsigned int i);

/*
 * The machine's count of counter number @i's event: at a point right before its emulated
 * instruction, at the ends right before the WRMSR that enables or disables the counter.
 */
uint64_t vm_truth(const struct vm_region *s, unsigned int i, int place);

/*
 * The events that counter number @i counts from one place to another, including the emulated
 * instruction of the first place, without that of the second.
 */
uint64_t vm_events(const struct vm_region *s, unsigned int i, int from, int to);

/* What counter number @i must hold after the region. */
uint64_t vm_expected(const struct vm_region *s, unsigned int i);

/* The events of counter number @i since a place when PMI number @p came, the first after it. */
uint64_t vm_pmi_events(const struct vm_region *s, unsigned int i, int from, unsigned int p);

/*
 * By how many events PMI number @p, the first after a place, is late; 0 if that is allowed.  A tick
 * of the host can cut short a VM-entry that injects the PMI, and the entry is repeated.  AMD counts
 * both.
 */
uint64_t vm_pmi_late(const struct vm_region *s, unsigned int i, int from, unsigned int p,
		     uint64_t to);

/* Did PMI number @p come within the code?  At the ends it is not known how late a PMI is. */
bool vm_pmi_in_code(const struct vm_region *s, unsigned int p);

/* A counter's value as a signed number. */
long long vm_signed(uint64_t value);

/*
 * Check the only counter of a region whose points set and read it: each value read and the last
 * one, the number of PMIs, one for each overflow, and their time, and the status that each PMI
 * finds and clears.
 */
void vm_check(const struct vm_region *s, const char *what);

/* ---- events of the host (host.c) */

/* The event's count: the first word that read() returns. */
uint64_t vm_event_read(int fd);

/*
 * The user-mode instructions that an event of the host counts while run() runs, minus the machine's
 * count.  If an interrupt comes within a reading, only one of both counts its return to user mode.
 * Such a reading is wider than others; then repeat everything, including run().
 */
int64_t vm_host_event_delta(int fd, void (*run)(void));

#endif /* VM_H */
