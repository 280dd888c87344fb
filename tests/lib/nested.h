/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest that is a hypervisor itself.  KVM is L0, the guest is L1, and L1's guest is L2.  L2
 * shares L1's page tables, descriptors and code.  It runs a function of this program and then calls
 * L1.
 *
 * There are two ways to use it.  nested_enter() lets L2 run a function and expects nothing in
 * between.  The struct nested_test below is for tests that count: it measures a region of L1 with
 * L2 in the middle, and separates the events of L1 from those of L2.
 */
#ifndef NESTED_H
#define NESTED_H

#include "vm.h"
#include "vmcb.h"
#include "vmcs.h"

/* Exit reasons of VMX, exit codes of SVM. */
enum {
	VMX_EXCEPTION_NMI = 0, VMX_INTERRUPT = 1, VMX_CPUID = 10, VMX_RDPMC = 15, VMX_CALL = 18,
	VMX_READ = 23, VMX_WRITE = 25, VMX_RDMSR = 31, VMX_WRMSR = 32,
	SVM_INTR = 0x60, SVM_NMI = 0x61, SVM_RDPMC = 0x6f, SVM_CPUID = 0x72, SVM_MSR = 0x7c,
	SVM_CALL = 0x81, SVM_STGI = 0x84,
};

/* ---- L1 (nested/l1.c, nested/enter.S); all functions of this part run in the guest */

#define NESTED_EXITS	8

/* What L1 is to do, and what it has seen. */
struct nested_l1 {
	/* Controls of L2.  A test sets them, nested_prepare() applies them. */
	bool takes_nmi, takes_interrupts, takes_rdpmc, takes_cpuid;
	uint32_t takes_msr;
	int load_entry, load_exit;	/* VMX: the global control to load; -1: none */
	bool stores;			/* VMX: VM-exit stores the global control */
	uint64_t store[2] __attribute__((aligned(16)));	/* which MSR, its value */

	unsigned int exits;		/* to L1 */
	unsigned int stepped;		/* instructions of L2 that L1 has stepped over */
	unsigned int pmis;		/* that came as exits */
	uint64_t reason[NESTED_EXITS], rip[NESTED_EXITS], info[NESTED_EXITS];
	uint64_t lvtpc, status;		/* as such a PMI found them */
	uint64_t control;		/* VMX: the global control after the last exit */
	/* Instructions of L1 that KVM has emulated: before the first exit, and after it. */
	uint64_t before, after;
};
extern struct nested_l1 l1;

/* How often an entry has failed. */
extern uint64_t nested_failed;

/* L2's registers at its entry and after its exit, in the order of their numbers. */
extern uint64_t nested_regs[15];
#define NESTED_RDI	5

/* The machine's counts right before the VM-entry and right after the VM-exit. */
extern uint64_t nested_exits[2], nested_branches[2], nested_insns[2];

extern uint8_t nested_vmcb[VM_PAGE], nested_save_area[VM_PAGE];
extern char nested_vmx_l2[];

/* Enable VMX or SVM. */
void nested_on(void *unused);

/* Make a new L2 with the controls in l1, and clear what L1 has seen. */
void nested_prepare(void *unused);

/* Run L2 until it calls L1; step over what L1 intercepts. */
void nested_hypervisor(void);

/* The same, and let L2 run this function. */
void nested_hypervisor_for(void *code);

/*
 * Make an L2 without intercepts and run a function in it.  An exit before L2's call is a failure.
 */
void nested_enter(void (*function)(void));

/* Run another function in the same L2, and change nothing else of it. */
void nested_reenter(void (*function)(void));

/*
 * The number of instructions that KVM emulates for an RDMSR or WRMSR of L1: of a counter or global
 * register, which a guest with a mediated vPMU accesses itself, and of any other MSR.
 */
#define NESTED_PMU_MSR		(vm_seen.mediated ? 0 : 1)
#define NESTED_OTHER_MSR	1

/*
 * Instructions of L1 between its readings of the machine's counts and L2:
 *
 *	before the entry		after the exit
 *	 2 mark, MOV of its result	 1 AMD: the VM-entry into L1
 *	14 registers			15 registers
 *	 1 RAX, AMD: the VMCB's address	 3 RSP, and two MOVs for the mark
 */
#define NESTED_INSNS_BEFORE	17
#define NESTED_INSNS_AFTER	(vm_seen.amd ? 19 : 18)

/* ---- moving a vCPU out of L2 into another VM (nested/move.c) */

/* Save all but the registers of the PMU.  Return whether the vCPU is in L2. */
bool nested_save(struct vm *vm);

/* Restore it in another VM.  Where it is the turn of the PMU, call @registers, unless NULL. */
void nested_restore(struct vm *vm, void (*registers)(struct vm *vm));

/* ---- counting in L1 and L2 (nested/count.c) */

extern struct nested_test {
	struct vm vm;
	struct vm_body l2;		/* the code of L2 */
	struct vm_region s;		/* L1's region, with L2 in the middle */
	uint64_t on_bits[VM_COUNTERS];	/* AMD: bits to set in a selector besides the usual ones */
	bool off_before;		/* Intel: the global control is 0 before the entry */
	bool has_control;		/* the PMU has a global control; AMD's may have none */
	bool beside;			/* an event of the host is open */
	char name[160];			/* written by nested_title() */
} nested;

/* Start a test: open the VM, enable VMX or SVM in L1, run L2 once. */
void nested_open(void);

/*
 * Run a test twice: alone, and while an event of the host wants the PMU, so that L0 switches the
 * PMU at each VM-exit.
 */
void nested_run(void (*test)(void));

/* End the test.  Return its exit status. */
int nested_close(void);

/* Reset to no counters and no controls. */
void nested_defaults(void);

/* Add a counter. */
void nested_counter(enum vm_event event, enum vm_privilege privilege, bool fixed, bool interrupt);

/* Run the region until no tick of the host has interrupted L2. */
void nested_measure(void);

/* Was L2 not interrupted by a tick of the host?  Then the code itself caused every VM-exit. */
bool nested_undisturbed(void);

/* Compose a result's name.  It is in nested.name, too. */
const char *nested_title(const char *what, const char *which);

/* The events that KVM has emulated for L2. */
uint64_t nested_emulated_of_l2(const struct vm_counter *c);

/* The count that counter number @i must have, of L1 and L2. */
uint64_t nested_events(unsigned int i);

/*
 * The kernel instructions of L2 if it was entered once, including those that KVM emulated, and on
 * AMD including the VM-entries after exits to L0.
 */
uint64_t nested_insns_of_l2(const struct vm_counter *c);

/* The instructions of L1 after the VM-exit. */
uint64_t nested_insns_after_exit(unsigned int i);

#endif /* NESTED_H */
