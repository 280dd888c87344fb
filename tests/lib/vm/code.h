/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The code of a measured region: what the guest executes between enabling and disabling its
 * counters.  It is written in words, so that a test knows which instructions KVM emulates.
 *
 *	code = { item }, separated by blanks
 *	item = ( word | "(" code ")" | "user{" code "}" | "invalid{" code "}" ) [ "*" times ]
 *
 * For instance, three NOPs and a CPUID ten times in the kernel, then seven CPUIDs in user mode:
 *
 *	"(nop*3 cpuid)*10 user{cpuid*7}"
 *
 * Executed by the guest, in any mode:
 *	nop, jmp
 *	smi		request an SMI, which comes three instructions later
 * Emulated by KVM, in any mode:
 *	cpuid
 *	rdpmc		of counter 0; emulated only if the guest does not have all counters
 *	out-pic, in-pic	I/O of a device in KVM
 *	out-vmm, in-vmm	I/O of this program
 *	mmio-write, mmio-read	where there is no memory
 *	fep-nop, fep-jmp, fep-enter-leave	with the forced emulation prefix (KVM_FEP)
 *	hypercall
 * Emulated by KVM, kernel only:
 *	rdmsr, wrmsr	of MSRs that KVM always emulates
 *	wbinvd
 *	ipi		an IPI to a CPU that does not exist
 *	deadline	WRMSR of the APIC timer's deadline
 *	ipi-hlt		an IPI to itself, and HLT
 *	ipi-self	an IPI to itself, with interrupts on until the instruction after it
 * Loops; a loop takes its length from the next element of the body's loop[]:
 *	loop		2 * length + 1 instructions
 *	cpuids		length CPUIDs; no PMI may come in between
 *
 * Points, kernel only, at which the machine's counts are recorded:
 *	hook		OUT to this program, which calls the hook
 *	hook-mmio	the same, by a write to where there is no memory
 *	set		WRMSR of the next element of the body's set[]
 *	get		RDMSR of the MSR in the body's get
 *	status		RDMSR of the global status
 *
 * user{} runs its code in user mode.  invalid{} begins with a hook that must make the guest's state
 * invalid, so that KVM emulates all of its code.
 */
#ifndef VM_CODE_H
#define VM_CODE_H

#include <stdbool.h>
#include <stdint.h>

/* A mix of all kinds of VM-exits.  User mode cannot execute all of them, so it has its own. */
#define VM_MIX_KERNEL								\
	"nop*3 cpuid rdmsr nop*2 wrmsr rdpmc jmp out-pic in-pic out-vmm nop*5 in-vmm "	\
	"mmio-write mmio-read fep-nop nop*2 fep-jmp hypercall wbinvd"
#define VM_MIX_USER								\
	"nop*3 cpuid rdpmc nop*2 out-pic jmp in-pic out-vmm nop*5 in-vmm "		\
	"mmio-write mmio-read nop*2 fep-nop fep-jmp hypercall"

#define VM_POINTS	16
#define VM_INSNS_MAX	4096

enum vm_op {
	VM_OP_NONE,
	/* points */
	VM_OP_HOOK, VM_OP_HOOK_MMIO, VM_OP_SET, VM_OP_GET, VM_OP_STATUS, VM_OP_INVALID,
	/* others that are not just bytes */
	VM_OP_RDPMC, VM_OP_HYPERCALL, VM_OP_LOOP, VM_OP_CPUIDS,
};

struct vm_insn {
	uint64_t next;		/* the address after it */
	bool user, branch, emulated;
	uint32_t times;		/* how often it is executed */
};

struct vm_body {
	unsigned int length, insns, points;
	bool user, emulating;
	struct {
		uint32_t msr;
		uint64_t value;
	} set[VM_POINTS];
	uint32_t get;
	unsigned int sets;
	uint32_t loop[VM_POINTS];
	unsigned int loops;
	struct {
		enum vm_op op;
		uint64_t next;		/* the address after the point's emulated instruction */
		uint64_t set;		/* the value to write */
		unsigned int insns;	/* from reading the counts to that instruction */
		unsigned int truth;	/* point with the counts; in invalid{}: before it */
	} point[VM_POINTS];
	struct vm_insn insn[VM_INSNS_MAX];
	uint8_t code[8 * VM_INSNS_MAX];
};

/* Compile code and append a RET.  An unknown word ends the test with a message. */
void vm_body(struct vm_body *body, const char *code);

/* The same in steps: an empty body, pieces of code. */
void vm_clear(struct vm_body *body);
void vm_append(struct vm_body *body, const char *code);

/*
 * Append instructions in hexadecimal.  '>' follows a branch, '*' an instruction that KVM emulates,
 * '^' a branch that KVM emulates.  They may use RAX to RDX only.
 */
void __attribute__((format(printf, 2, 3))) vm_emit(struct vm_body *body, const char *format, ...);

/* A 32-bit number as it is in code.  Addresses fit, because the program is linked low. */
#define VM_WORD(n)	__builtin_bswap32((uint32_t)(uint64_t)(n))

/* Append the way to user mode, which may do I/O, and the way back. */
void vm_emit_user(struct vm_body *body);
void vm_emit_kernel(struct vm_body *body);

#endif /* VM_CODE_H */
