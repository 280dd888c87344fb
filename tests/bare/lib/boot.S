/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From the reset vector to C in long mode, for the first CPU and the second; interrupt entry;
 * measured calls.
 *
 * The image is linked at 1 MiB and copies itself there.  Its last 64 KiB are also what real mode
 * sees at F000:0, and its end is the end of the 4 GiB space.  bare.lds defines the few names that
 * the code needs before the copy.
 */
#include "bare.h"
#include "msr.h"

	.section .reset, "ax"
	.code16
	.globl reset16, gdt_pointer
reset16:
	cli
	lgdtl	%cs:gdt_pointer_16		/* from bare.lds: the pointer's offset in the segment */
	mov	$1, %eax
	mov	%eax, %cr0
	ljmpl	$CODE32, $start32_rom		/* from bare.lds: start32 where the ROM is */
	.balign 8
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt_rom
	.org	0x1f0, 0xff
	jmp	reset16
	.org	0x200, 0xff

	.section .entry, "ax"
	.code32
	.globl start32
start32:
	mov	$KDATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss

	mov	$rom_start, %esi
	mov	$image, %edi
	mov	$rom_dwords, %ecx
	rep movsl
	/* A reset keeps memory, so clear what C expects to be zero. */
	xor	%eax, %eax
	mov	$bss_start, %edi
	mov	$bss_dwords, %ecx
	rep stosl

	/* Map 4 GiB in 2 MiB pages for ring 3, too, including the local APIC. */
	movl	$pdpt + 7, pml4
	mov	$pdpt, %edi
	mov	$pd + 7, %eax
1:	mov	%eax, (%edi)
	add	$8, %edi
	add	$0x1000, %eax
	cmp	$pd + 7 + 0x4000, %eax
	jb	1b
	mov	$pd, %edi
	mov	$0x87, %eax
	mov	$2048, %ecx
2:	mov	%eax, (%edi)
	add	$8, %edi
	add	$0x200000, %eax
	loop	2b
	movl	$blocks + KERNEL_TOP, boot_rsp
	mov	$long_mode, %eax
	jmp	*%eax

long_mode:
	mov	$0x620, %eax			/* PAE, SSE */
	mov	%eax, %cr4
	mov	$pml4, %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx		/* EFER: SYSCALL, long mode, NX */
	rdmsr
	or	$0x901, %eax
	wrmsr
	mov	$0x80000033, %eax		/* paging, numeric errors, protection */
	mov	%eax, %cr0
	lgdt	gdt_pointer_64
	ljmp	$KCODE, $start64

	.code64
start64:
	xor	%eax, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %fs
	mov	%eax, %gs
	mov	$KDATA, %eax
	mov	%eax, %ss
	mov	boot_rsp, %rsp
	xor	%ebp, %ebp
	call	cpu_start
	ud2

	/* The second CPU starts here; ap_call() copies it to 8000H. */
	.globl ap_trampoline, ap_trampoline_end
	.code16
ap_trampoline:
	cli
	lgdtl	%cs:1f - ap_trampoline
	mov	$1, %eax
	mov	%eax, %cr0
	ljmpl	$CODE32, $ap_start32
1:	.word	gdt_end - gdt - 1
	.long	gdt
ap_trampoline_end:
	.code32
ap_start32:
	mov	$KDATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	jmp	long_mode

	.code64
	/* measure(rdi = msr, rsi = on, rdx = off, rcx = code, r8 = arg) */
	.globl measure
measure:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rcx, %rbp
	mov	%edi, %r12d
	mov	%edx, %r13d
	mov	%rdx, %r14
	shr	$32, %r14
	mov	%edi, %ecx
	mov	%esi, %eax
	mov	%rsi, %rdx
	shr	$32, %rdx
	mov	%r8, %rdi
	wrmsr					/* counted */
	.globl	measure_enabled
measure_enabled:
	call	*%rbp				/* counted, and its RET */
	mov	%r12d, %ecx			/* counted */
	mov	%r13d, %eax			/* counted */
	mov	%r14d, %edx			/* counted */
	wrmsr
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret

	/*
	 * in_user(rdi = fn, rsi = a, rdx = b).  RSP0 is set to the current stack pointer, so that
	 * an interrupt in ring 3, and the way back, use the stack just below the saved registers.
	 */
	.globl in_user
in_user:					/* kernel: */
	push	%rbp				/* 1 */
	push	%rbx				/* 2 */
	push	%r12				/* 3 */
	push	%r13				/* 4 */
	push	%r14				/* 5 */
	push	%r15				/* 6 */
	mov	%rsp, %rax			/* 7 */
	and	$-BLOCK, %rax			/* 8 */
	mov	%rsp, TSS_RSP0(%rax)		/* 9 */
	add	$USER_TOP, %rax			/* 10 */
	push	$UDATA				/* 11 */
	push	%rax				/* 12 */
	pushf					/* 13 */
	push	$UCODE				/* 14 */
	push	$user_entry			/* 15 */
	iretq					/* user: */
user_entry:
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	call	*%rax
	int	$V_USER_RETURN			/* kernel: */
	.globl user_return
user_return:				/* the frame was aligned: find the registers by RSP0 */
	mov	%rsp, %rbx
	and	$-BLOCK, %rbx
	mov	TSS_RSP0(%rbx), %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret

	/* Guests start here with the host's RDI, and leave by an instruction that always exits. */
	.globl guest_vmx, guest_svm
guest_vmx:
	call	*%rdi
	vmcall
	ud2
guest_svm:
	call	*%rdi
	vmmcall
	ud2

	.balign	16
	.globl	vectors
vectors:
	.set	n, 0
	.rept	VECTORS
	.balign	16
	.if !((n == 8) || (n >= 10 && n <= 14) || (n == 17) || (n == 21))
	push	$0
	.endif
	push	$n
	jmp	interrupt
	.set	n, n + 1
	.endr
interrupt:
	push	%rax
	push	%rbx
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%rbp
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, %rdi
	mov	%rsp, %rbx
	and	$-16, %rsp
	cld
	call	trap
	mov	%rbx, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rbp
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rbx
	pop	%rax
	add	$16, %rsp
	iretq

	.data
	.balign 16
	.globl gdt
gdt:	.quad	0
	.quad	0x00cf9b000000ffff		/* CODE32 */
	.quad	0x00af9b000000ffff		/* KCODE */
	.quad	0x00cf93000000ffff		/* KDATA */
	.quad	0x00cff3000000ffff		/* UDATA */
	.quad	0x00affb000000ffff		/* UCODE */
	.fill	2 * BLOCKS, 8, 0		/* TSS0.. */
gdt_end:
	.balign 8
gdt_pointer_64:
	.word	gdt_end - gdt - 1
	.quad	gdt

	.bss
	.balign 0x1000
pml4:	.skip	0x1000
pdpt:	.skip	0x1000
pd:	.skip	0x4000
	.balign BLOCK
	.globl	blocks
blocks:	.skip	BLOCKS * BLOCK
	.globl	boot_rsp
boot_rsp: .quad	0
