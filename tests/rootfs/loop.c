// SPDX-License-Identifier: GPL-2.0
// Built with -nostdlib: each instruction of this process is known.
/*
 * A workload for perf: loop INDEX ITERATIONS [SYSCALLS]
 *
 * INDEX is the machine's count of instructions in user mode, 1 in a host and 3 in a guest.  Execute
 * dec and jnz ITERATIONS times, then getppid() SYSCALLS times, between the labels "begin" and "end"
 * of the magic instruction, and between two readings of the machine's counts of instructions and
 * branches.  Write the differences of the readings, branches and instructions, to standard output,
 * eight bytes each.
 *
 * What "perf stat" counts of this process in user mode beyond these differences and beyond the
 * labels:
 *
 *				readings  labels
 *	instructions:u		1	  1	the return to user mode out of execve()
 *				1	  1	the return from the page fault of the first instruction
 *				7	  2	instructions before
 *				14	  8	instructions after, with the return from write()
 *	in all			23	  12
 *	branches:u		3	  3	of these, the three returns
 */
#include "mark.h"


static uint64_t number(const char *s)
{
	uint64_t n = 0;

	while (*s >= '0' && *s <= '9')
		n = 10 * n + *s++ - '0';
	return n;
}

static void __attribute__((used)) work(long *stack)
{
	char **argv = (char **)(stack + 1);
	uint64_t n = stack[0] > 2 ? number(argv[2]) : 0;
	uint64_t calls = stack[0] > 3 ? number(argv[3]) : 0;

	if (n)
		asm volatile("1: dec %0\n\tjnz 1b" : "+r" (n) : : "cc");
	while (calls--) {
		long result;

		asm volatile("syscall" : "=a" (result) : "0" (110) : "rcx", "r11", "memory");
	}
}

asm(".pushsection .text\n\t"
    ".p2align 8\n\t"
    ".globl _start\n"
    "_start:\n\t"
    "movabs $0x4b564d504d550001, %rax\n\t"
    "movabs $0x6e69676562, %rcx\n\t"	/* "begin" */
    MARK_INSN "\n\t"			/* the labels' region begins before this */
    "movabs $0x4b564d504d550002, %rax\n\t"
    "mov 16(%rsp), %rcx\n\t"		/* argv[1] */
    "movzbl (%rcx), %ecx\n\t"
    "and $15, %ecx\n\t"
    MARK_INSN "\n\t"			/* the readings' region begins before this: 7 */
    "mov %rax, %r12\n\t"
    "movabs $0x4b564d504d550002, %rax\n\t"
    "add $4, %ecx\n\t"
    MARK_INSN "\n\t"
    "mov %rax, %r13\n\t"
    "mov %rcx, %rbx\n\t"
    "mov %rsp, %rdi\n\t"
    "and $-16, %rsp\n\t"
    "call work\n\t"
    "movabs $0x4b564d504d550002, %rax\n\t"
    "mov %rbx, %rcx\n\t"
    MARK_INSN "\n\t"
    "sub %r13, %rax\n\t"
    "push %rax\n\t"
    "movabs $0x4b564d504d550002, %rax\n\t"
    "lea -4(%rbx), %ecx\n\t"
    MARK_INSN "\n\t"			/* 1: the readings' region ends before this */
    "sub %r12, %rax\n\t"		/* 2 */
    "xchg %rax, (%rsp)\n\t"		/* 3 */
    "push %rax\n\t"			/* 4: branches are below instructions */
    "movabs $0x4b564d504d550001, %rax\n\t"	/* 5 */
    "movabs $0x646e65, %rcx\n\t"	/* 6: "end" */
    MARK_INSN "\n\t"			/* 7, 1: the labels' region ends before this */
    "mov $1, %eax\n\t"			/* 8, 2 */
    "mov $1, %edi\n\t"			/* 9, 3 */
    "mov %rsp, %rsi\n\t"		/* 10, 4 */
    "mov $16, %edx\n\t"		/* 11, 5 */
    "syscall\n\t"			/* 12, 6: its SYSRET */
    "mov $60, %eax\n\t"		/* 13, 7 */
    "xor %edi, %edi\n\t"		/* 14, 8 */
    "syscall\n\t"
    ".popsection");
