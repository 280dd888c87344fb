/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The code of a measured region: what the guest executes between enabling and disabling its
 * counters.  It is written in words, so that it is known which instructions KVM emulates.
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
 *	rdpmc		of counter 0; emulated only if the guest cannot have all counters
 *	out-pic, in-pic	I/O of a device in KVM
 *	out-vmm, in-vmm	I/O of this program
 *	mmio-write, mmio-read	where no memory is
 *	fep-nop, fep-jmp, fep-enter-leave	with the forced emulation prefix (KVM_FEP)
 *	hypercall
 * Emulated by KVM, kernel only:
 *	rdmsr, wrmsr	of MSRs that KVM always emulates
 *	wbinvd
 *	ipi		an IPI to nobody
 *	deadline	WRMSR of the APIC timer's deadline
 *	ipi-hlt		an IPI to itself, and HLT
 * Loops, whose length is the next of the body's loop[]:
 *	loop		twice as many instructions, and one
 *	cpuids		as many CPUIDs; no PMI may come in between
 *
 * Points, kernel only, at which the machine's counts are kept:
 *	hook		OUT to this program, which calls the hook
 *	hook-mmio	the same by a write to where no memory is
 *	set		WRMSR of the next of the body's set[]
 *	get		RDMSR of the body's get
 *	status		RDMSR of the global status
 *
 * user{} runs its code in user mode.  invalid{} begins with a hook that has to make the guest's
 * state invalid, so that KVM emulates all of its code.
 */
#ifndef VM_CODE_H
#define VM_CODE_H

#include <stdbool.h>
#include <stdint.h>

/* A mix of all exits; two of them, because not all instructions may be executed by user code. */
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
	uint32_t times;		/* that it is executed */
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
		uint64_t next;		/* the address after its emulated instruction */
		uint64_t set;		/* the value that is written */
		unsigned int insns;	/* from the reading of the counts to that instruction */
		unsigned int truth;	/* the point with the counts; of invalid{}: before it */
	} point[VM_POINTS];
	struct vm_insn insn[VM_INSNS_MAX];
	uint8_t code[8 * VM_INSNS_MAX];
};

/* Compile code, and a RET after it.  An unknown word ends the test with a message. */
void vm_body(struct vm_body *body, const char *code);

/* The same in steps: an empty body, pieces of code. */
void vm_clear(struct vm_body *body);
void vm_append(struct vm_body *body, const char *code);

/*
 * Append instructions in hexadecimal: '>' after a branch, '*' after what KVM emulates, '^' after a
 * branch that KVM emulates.  They may use RAX to RDX only.
 */
void __attribute__((format(printf, 2, 3))) vm_emit(struct vm_body *body, const char *format, ...);

/* A 32-bit number as it stands in code; the program is linked low, so that addresses fit. */
#define VM_WORD(n)	__builtin_bswap32((uint32_t)(uint64_t)(n))

/* Append the ways to user mode, which has the right to do I/O there, and back. */
void vm_emit_user(struct vm_body *body);
void vm_emit_kernel(struct vm_body *body);

#endif /* VM_CODE_H */
