/* SPDX-License-Identifier: GPL-2.0 */
/* L1's entry into L2.  NESTED_INSNS_BEFORE and NESTED_INSNS_AFTER count its instructions. */
#include "../vm/layout.h"

.macro mark
	.byte	0x66, 0x87, 0xdb
.endm

.macro keep_count index, to
	mov	vm_ask, %rax
	mov	$\index, %ecx
	mark
	mov	%rax, \to
.endm

/* All registers but RAX and RSP, in the order of their numbers. */
.macro move_registers load
	.set	offset, 8
	.irp	register, rcx, rdx, rbx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	.if	\load
	mov	nested_regs + offset, %\register
	.else
	mov	%\register, nested_regs + offset
	.endif
	.set	offset, offset + 8
	.endr
.endm

.macro begin
	.irp	register, rbx, rbp, r12, r13, r14, r15
	push	%\register
	.endr
	mov	%rsp, nested_rsp
	keep_count READ_EXITS, nested_exits
	keep_count READ_BRANCHES_KERNEL, nested_branches
	keep_count READ_INSNS_KERNEL, nested_insns
	move_registers 1
.endm

.macro end
	mov	%rax, nested_regs
	move_registers 0
	mov	nested_rsp, %rsp
	keep_count READ_INSNS_KERNEL, nested_insns + 8
	keep_count READ_BRANCHES_KERNEL, nested_branches + 8
	keep_count READ_EXITS, nested_exits + 8
	.irp	register, r15, r14, r13, r12, rbp, rbx
	pop	%\register
	.endr
	ret
.endm

	.text
	.balign	512
	.globl	nested_launch, nested_resume, nested_vmrun, nested_back
	.globl	nested_vmx_l2, nested_svm_l2
nested_launch:
	begin
	mov	nested_regs, %rax
	vmlaunch
	jmp	1f
nested_resume:
	begin
	mov	nested_regs, %rax
	vmresume
1:	incq	nested_failed
nested_back:
	end

/* VMRUN takes RAX from the VMCB. */
nested_vmrun:
	begin
	lea	nested_vmcb, %rax
	vmrun
	end

/* L2. */
nested_vmx_l2:
	call	*%rdi
	vmcall
	ud2
nested_svm_l2:
	call	*%rdi
	vmmcall
	ud2

	.section .note.GNU-stack, "", @progbits
