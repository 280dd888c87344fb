// SPDX-License-Identifier: GPL-2.0
/*
 * The magic instruction: what it returns, what it leaves unchanged, and that it is an instruction
 * like any other.
 */
#include "bare.h"

CODE(nops5, ".rept 5\n nop\n .endr");
CODE(plain, "mov $0x1234, %eax\n mov $0xab, %ebx\n xchg %bx, %bx");

static u64 read_in_user(u64 index) { return mark_read(index); }

/*
 * Two READs around straight code.  A READ returns the counts before itself, so the first READ is in
 * the region and the last is not.
 */
#define STRETCH(index, code) ({ \
	u64 _a, _b; \
	asm volatile("mov %[op], %%rax\n xchg %%bx, %%bx\n mov %%rax, %[a]\n" code \
		     "mov %[op], %%rax\n xchg %%bx, %%bx\n mov %%rax, %[b]\n" \
		     : [a] "=&r"(_a), [b] "=&r"(_b) \
		     : [op] "r"(MARK_MAGIC | MARK_OP_READ), "c"(index) : "rax", "memory"); \
	_b - _a; })

void test(void)
{
	u64 a, b;

	is(mark_read(19), 1, "READ 19: version of the magic instruction");
	is(mark_read(18), 1, "READ 18: CPUs");

	/* The first XCHG, MOV, MOV: 3. */
	is(STRETCH(0, ""), 3, "READ 0: host kernel instructions, the first READ counted");
	is(STRETCH(0, ".rept 10\n nop\n .endr\n"), 13, "READ 0: ten more for ten NOPs");
	is(STRETCH(1, "nop\n"), 0, "READ 1: no user instruction in the kernel");
	is(STRETCH(4, ""), 0, "READ 4: no branch in straight code");
	is(STRETCH(4, "jmp 1f\n 1: jz 2f\n 2:\n"), 2, "READ 4: a jump and a conditional jump, taken or not");
	is(STRETCH(17, ".rept 10\n nop\n .endr\n"), 26, "READ 17: two cycles per instruction");

	a = mark_read(1);
	b = mark_read(5);
	in_user(nops5, 0, 0);
	is(mark_read(1) - a, USER_INSNS + 5,
	   "READ 1: user instructions, with IRETQ, without INT n");
	is(mark_read(5) - b, USER_BRANCHES, "READ 5: user branches");
	a = mark_read(1);
	check(in_user(read_in_user, 1, 0) > a, "READ works in ring 3");

	is(mark_read(2) + mark_read(3) + mark_read(6) + mark_read(7), 0, "READ 2 3 6 7: no guest, no guest instruction");
	is(mark_read(8), 0, "READ 8: no exit");

	/* XCHG BX, BX without the magic number is a plain exchange. */
	asm volatile("call plain" : "=a"(a), "=b"(b) : : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
	is(a, 0x1234, "any other XCHG BX, BX leaves RAX");
	is(b, 0xab, "any other XCHG BX, BX leaves RBX");
	a = MARK_MAGIC | 0x7fff;
	b = a;
	asm volatile("xchg %%bx, %%bx" : "+a"(a) : "c"(0), "d"(0));
	is(a, b, "an unknown operation leaves RAX");
	is(mark_op(MARK_OP_LABEL, 0x74736574, 7), MARK_MAGIC | MARK_OP_LABEL, "MARK leaves RAX");
	is(mark_op(MARK_OP_SAY, 0x5a5a, 0), MARK_MAGIC | MARK_OP_SAY, "SAY leaves RAX");
	note("the truth file has a line with mark \"test\" and arg 7");
}
