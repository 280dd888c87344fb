/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest's code whose instructions have to be known exactly: both ends of a measured region, and
 * the entries of exceptions and interrupts.
 */
#include "layout.h"

/* The magic instruction, MARK_INSN of mark.h. */
.macro mark
	.byte	0x66, 0x87, 0xdb
.endm

/* Store a count of the machine at RBP and advance RBP: five instructions. */
.macro store_count index
	mov	vm_ask, %rax
	mov	$\index, %ecx
	mark
	mov	%rax, (%rbp)
	add	$8, %rbp
.endm

.macro push_count index
	mov	vm_ask, %rax
	mov	$\index, %ecx
	mark
	push	%rax
.endm

.macro push_registers
	.irp	register, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
	push	%\register
	.endr
.endm

.macro pop_registers
	.irp	register, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
	pop	%\register
	.endr
.endm

.macro push_callee_saved
	.irp	register, rbx, rbp, r12, r13, r14, r15
	push	%\register
	.endr
.endm

.macro pop_callee_saved
	.irp	register, r15, r14, r13, r12, rbp, rbx
	pop	%\register
	.endr
.endm

	.text

/*
 * Read the machine's counts, then write MSRs to enable or disable counters.  RSI points to the
 * struct vm_switch, RBP to where the counts go.
 *
 * The same code runs at both ends of a measured region.  At the first end, the machine alone counts
 * what it executes before the WRMSR, and at the last end the counter alone does.  For what it
 * executes after the WRMSR it is the other way round.  So both cancel.  This holds for
 * instructions, branches and AMD's VMRUNs, which count in the guest, and for each of several
 * counters.
 *
 * The n WRMSRs that KVM emulates do not cancel.  At the first end, counter i counts its own and
 * those after it; at the last end it counts those before it.  That is n in total.
 *
 * A page fault is a VM-exit, so touch all pages before reading the first count.  The alignment
 * keeps the code in one page.
 */
	.balign	512
vm_switch:
	mov	vm_ask, %rax
	orq	$0, (%rbp)
	store_count READ_EXITS
	store_count READ_INSNS_KERNEL
	store_count READ_INSNS_USER
	store_count READ_BRANCHES_KERNEL
	store_count READ_BRANCHES_USER
	mov	SWITCH_N(%rsi), %rbx
1:	mov	SWITCH_MSR(%rsi), %ecx
	mov	SWITCH_VALUE(%rsi), %eax
	mov	SWITCH_VALUE + 4(%rsi), %edx
	wrmsr
	.globl	vm_switched
vm_switched:
	add	$SWITCH_NEXT, %rsi
	dec	%rbx
	jnz	1b
	store_count READ_EXITS
	ret

/* void vm_region_asm(struct vm_frame *frame) */
	.globl	vm_region_asm
vm_region_asm:
	push_callee_saved
	mov	%rdi, %r15
	mov	%r15, %rbp
	lea	FRAME_ON(%r15), %rsi
	call	vm_switch
	call	*FRAME_BODY(%r15)
	lea	FRAME_TRUTH_END(%r15), %rbp
	lea	FRAME_OFF(%r15), %rsi
	call	vm_switch
	pop_callee_saved
	ret

/* Start of a call from the host: RDI is the function, RSI its argument. */
	.globl	vm_entry
vm_entry:
	mov	%rdi, %rax
	mov	%rsi, %rdi
	call	*%rax
	out	%al, $PORT_DONE
	ud2

/* A PMI, as an NMI or by a vector.  It pushes a struct vm_pmi, from its end to its start. */
	.globl	vm_pmi_entry
vm_pmi_entry:
	push_registers
	push_count READ_INSNS_KERNEL
	push_count READ_INSNS_USER
	push_count READ_BRANCHES_KERNEL
	push_count READ_BRANCHES_USER
	push_count READ_INTERRUPTS
	mov	%rsp, %rdi
	call	vm_pmi_handler
	add	$PMI_REGISTERS, %rsp
	pop_registers
	iretq

	.globl	vm_irq_entry
vm_irq_entry:
	push_registers
	call	vm_irq_handler
	pop_registers
	iretq

/* The INT that ends user mode: continue after it, in the kernel. */
	.globl	vm_to_kernel
vm_to_kernel:
	pop	%rcx
	mov	vm_kernel_rsp, %rsp
	jmp	*%rcx

/* A #GP: count it and skip its instruction.  RDMSR, WRMSR and RDPMC have two bytes. */
	.globl	guest_gp_entry
guest_gp_entry:
	add	$8, %rsp
	addq	$2, (%rsp)
	incl	guest_faults
	iretq

/* All other exceptions end the test. */
	.balign	VECTOR_SIZE
	.globl	vm_vectors
vm_vectors:
	.set	vector, 0
	.rept	VECTORS
	.balign	VECTOR_SIZE
	.if	!((vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21))
	push	$0		/* the CPU pushes no error code */
	.endif
	push	$vector
	jmp	vm_unexpected
	.set	vector, vector + 1
	.endr
vm_unexpected:
	mov	%rsp, vm_fault
	out	%al, $PORT_FAULT
	ud2

	.section .note.GNU-stack, "", @progbits
