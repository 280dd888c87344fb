// SPDX-License-Identifier: GPL-2.0
/*
 * What each event counts, on both vendors: a table of small pieces of code with the number that
 * each event must have.
 *
 * A tick of the machine is one executed instruction, one iteration of a REP, or one instruction
 * that faulted.  A tick is two core cycles and one reference cycle.
 */
#include "pmu.h"

u8 buffer[4096] ALIGNED(4096), other[4096] ALIGNED(4096), big[1 << 20] ALIGNED(4096);
u8 aab[16] = "aab";

/* Handlers.  A fault's handler skips the two bytes of the faulting instruction. */
extern char h_iret[], h_ud[], h_pf[], h_pf_mend[], sys_back[], lcall_target[], ljmp_target[];
asm(".pushsection .text\n"
    "h_iret:	iretq\n"				/* 1 */
    "h_ud:	addq $2, (%rsp)\n iretq\n"		/* 2 */
    "h_pf:	add $8, %rsp\n addq $2, (%rsp)\n iretq\n" /* 3 */
    "h_pf_mend:	mov $image, %esi\n add $8, %rsp\n iretq\n" /* 3 */
    ".popsection");

CODE(empty, "");
CODE(nops, ".rept 10\n nop\n .endr");
CODE(setcc, "xor %eax, %eax\n cmovz %ecx, %edx\n setz %cl");
CODE(locked, "lock xaddl %eax, buffer\n lock cmpxchg %ecx, buffer\n xchg %eax, buffer");
CODE(serial, "xor %eax, %eax\n cpuid\n rdtsc\n pause\n mfence\n lfence\n mov %cr3, %rax\n mov %rax, %cr3\n invlpg buffer\n wbinvd");
CODE(ports, "out %al, $0x80\n in $0x80, %al");
CODE(msrs, "mov $0xc0000102, %ecx\n rdmsr\n wrmsr");
CODE(marks, "xchg %bx, %bx\n movabs $0x4b564d504d550002, %rax\n xor %ecx, %ecx\n xchg %bx, %bx");
CODE(shadow, "sti\n nop\n cli\n mov %ss, %eax\n mov %eax, %ss\n nop");
CODE(jmp_near, "jmp 1f\n 1:");
CODE(jmp_reg, "lea 1f(%rip), %rax\n jmp *%rax\n 1:");
CODE(jmp_mem, "lea 1f(%rip), %rax\n mov %rax, buffer\n jmp *buffer\n 1:");
CODE(jcc_taken, "xor %eax, %eax\n jz 1f\n 1:");
CODE(jcc_not, "xor %eax, %eax\n jnz 1f\n 1:");
CODE(jcc_loop, "mov $10, %ecx\n 1: dec %ecx\n jnz 1b");
CODE(loop, "mov $10, %ecx\n 1: loop 1b");
CODE(jrcxz_both, "xor %ecx, %ecx\n jrcxz 1f\n 1: inc %ecx\n jrcxz 2f\n 2:");
CODE(call_ret, "call 1f\n jmp 2f\n 1: ret\n 2:");
CODE(call_reg, "lea 1f(%rip), %rax\n call *%rax\n jmp 2f\n 1: ret\n 2:");
CODE(ret_n, "sub $8, %rsp\n call 1f\n jmp 2f\n 1: ret $8\n 2:");
CODE(far_call, "lcall *1f\n jmp 2f\n lcall_target: lretl\n 1: .long lcall_target\n .word 0x10\n 2:");
CODE(far_jmp, "ljmp *1f\n 1: .long ljmp_target\n .word 0x10\n ljmp_target:");
CODE(iret_same, "mov %rsp, %rax\n push $0x18\n push %rax\n pushf\n push $0x10\n push $1f\n iretq\n 1:");
CODE(int_n, "int $0x49");
CODE(int_3, "int3");
CODE(fault_ud, "ud2");
CODE(fault_pf, "mov $1 << 33, %rax\n movb (%rax), %al");
CODE(sys, "lea 1f(%rip), %rcx\n mov $2, %r11d\n sysretq\n 1: nop\n nop\n nop\n syscall\n sys_back:");
CODE(rep_movs, "mov $buffer, %esi\n mov $other, %edi\n mov $100, %ecx\n rep movsb");
CODE(rep_none, "xor %ecx, %ecx\n rep movsb");
CODE(rep_one, "mov $other, %edi\n mov $1, %ecx\n rep stosb");
CODE(rep_page, "mov $other, %edi\n xor %eax, %eax\n mov $512, %ecx\n rep stosq");
CODE(rep_found, "mov $'b', %eax\n mov $aab, %edi\n mov $10, %ecx\n repne scasb");
CODE(rep_fault, "mov $0xfffffffc, %esi\n mov $10, %ecx\n rep lodsb");

static const struct row {
	const char *what;
	char *code;
	u64 arg;		/* RDI */
	void *ud, *pf;		/* handlers */
	u64 insns, more_ticks;	/* ticks beyond one per instruction */
	u64 branches, cond, not_taken, near_taken, calls, returns, far;
} rows[] = {
	{ "nothing", empty },
	{ "ten NOPs", nops, .insns = 10 },
	{ "CMOVcc and SETcc do not branch", setcc, .insns = 3 },
	{ "locked instructions", locked, .insns = 3 },
	{ "serializing instructions, with CPUID and MOV to CR3", serial, .insns = 10 },
	{ "IN and OUT", ports, .insns = 2 },
	{ "RDMSR and WRMSR of another register", msrs, .insns = 3 },
	{ "the magic instruction, plain and as READ", marks, .insns = 4 },
	{ "STI, CLI and MOV SS", shadow, .insns = 6 },
	{ "a near jump", jmp_near, .insns = 1, .branches = 1, .near_taken = 1 },
	{ "a jump through a register", jmp_reg, .insns = 2, .branches = 1, .near_taken = 1 },
	{ "a jump through memory", jmp_mem, .insns = 3, .branches = 1, .near_taken = 1 },
	{ "Jcc taken", jcc_taken, .insns = 2, .branches = 1, .cond = 1, .near_taken = 1 },
	{ "Jcc not taken", jcc_not, .insns = 2, .branches = 1, .cond = 1, .not_taken = 1 },
	/* MOV, then ten times DEC and JNZ, of which the last falls through. */
	{ "a loop by Jcc", jcc_loop, .insns = 21, .branches = 10, .cond = 10, .not_taken = 1, .near_taken = 9 },
	{ "a loop by LOOP", loop, .insns = 11, .branches = 10, .cond = 10, .not_taken = 1, .near_taken = 9 },
	/* XOR, JRCXZ taken, INC, JRCXZ not taken. */
	{ "JRCXZ both ways", jrcxz_both, .insns = 4, .branches = 2, .cond = 2, .not_taken = 1, .near_taken = 1 },
	/* CALL, RET, JMP. */
	{ "CALL and RET", call_ret, .insns = 3, .branches = 3, .near_taken = 3, .calls = 1, .returns = 1 },
	{ "CALL through a register", call_reg, .insns = 4, .branches = 3, .near_taken = 3, .calls = 1, .returns = 1 },
	{ "RET that pops more", ret_n, .insns = 4, .branches = 3, .near_taken = 3, .calls = 1, .returns = 1 },
	/* Far CALL, far RET, near JMP. */
	{ "far CALL and far RET", far_call, .insns = 3, .branches = 3, .near_taken = 1, .far = 2 },
	{ "a far jump", far_jmp, .insns = 1, .branches = 1, .far = 1 },
	/* MOV, five PUSHes, IRETQ. */
	{ "IRETQ to the same ring", iret_same, .insns = 7, .branches = 1, .far = 1 },
	/* INT n retires; the handler is an IRETQ. */
	{ "INT n", int_n, .insns = 2, .branches = 2, .far = 2 },
	{ "INT3", int_3, .insns = 2, .branches = 2, .far = 2 },
	/*
	 * UD2 does not retire but takes a tick; ADD and IRETQ.  IRETQ is a branch, the exception is
	 * not.
	 */
	{ "a faulting instruction: UD2", fault_ud, .ud = h_ud, .insns = 2, .more_ticks = 1, .branches = 1, .far = 1 },
	/* MOV; the faulting load; ADD, ADD, IRETQ. */
	{ "a faulting load", fault_pf, .pf = h_pf, .insns = 4, .more_ticks = 1, .branches = 1, .far = 1 },
	/* LEA, MOV, SYSRET, three NOPs, SYSCALL. */
	{ "SYSRET and SYSCALL", sys, .insns = 7, .branches = 2, .far = 2 },
	/* In ring 3 only a RET.  IRETQ and INT n are far branches. */
	{ "to ring 3 and back", (char *)in_user, (u64)empty, .insns = USER_KERNEL + USER_INSNS,
	  .branches = USER_KBRANCHES + USER_BRANCHES, .near_taken = 2, .calls = 1, .returns = 1, .far = 2 },
	/* One instruction each, one tick per iteration. */
	{ "REP MOVS, 100 iterations", rep_movs, .insns = 4, .more_ticks = 99 },
	{ "REP, no iteration", rep_none, .insns = 2 },
	{ "REP, one iteration", rep_one, .insns = 3 },
	{ "REP STOS of a page, 512 iterations", rep_page, .insns = 4, .more_ticks = 511 },
	{ "REPNE SCAS that matches at its third iteration", rep_found, .insns = 4,
	 .more_ticks = 2 },
	/*
	 * MOV, MOV; four iterations up to 4 GiB, the fifth faults; ADD, ADD, IRETQ.  The REP never
	 * retires.
	 */
	{ "REP that faults and is abandoned", rep_fault, .pf = h_pf, .insns = 5, .more_ticks = 5,
	 .branches = 1, .far = 1 },
	/*
	 * The same, but the handler (three instructions) continues it: six more iterations, and it
	 * retires.
	 */
	{ "REP that faults and continues", rep_fault, .pf = h_pf_mend, .insns = 6, .more_ticks = 10,
	  .branches = 1, .far = 1 },
};

static const char *const names[EVENTS] = {
	"instructions", "cycles", "reference cycles", "branches", "conditional", "taken", "not taken", "calls", "returns",
	"far", "misses", "LLC references", "LLC misses", "slots",
	"loads", "stores", "load-stores",
};

static void table(void)
{
	set_gate(V_TEST, h_iret, 3);
	set_gate(3, h_iret, 3);
	wrmsr(0xc0000081, (u64)(0x18 | 3) << 48 | (u64)KCODE << 32);
	wrmsr(0xc0000082, (u64)sys_back);
	wrmsr(0xc0000084, 0);

	for (u64 i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		u64 ticks = RUN_INSNS + r->insns + r->more_ticks, branches = RUN_BRANCHES + r->branches;
		/* run()'s own CALL and RET are near and taken. */
		u64 taken = RUN_BRANCHES + r->near_taken + (pmu.intel ? 0 : r->far);
		const u64 want[EVENTS] = {
			[INSNS] = RUN_INSNS + r->insns, [CYCLES] = 2 * ticks, [REF_CYCLES] = ticks, [SLOTS] = 8 * ticks,
			[BRANCHES] = branches, [COND] = r->cond, [TAKEN] = taken, [NOT_TAKEN] = r->not_taken,
			[CALLS] = 1 + r->calls, [RETURNS] = 1 + r->returns, [FAR] = r->far,
		};
		bool good = true;

		if (r->ud)
			set_gate(6, r->ud, 0);
		if (r->pf)
			set_gate(14, r->pf, 0);
		for (int e = 0; e < EVENTS; e++) {
			u64 got;

			if (!event(e) || e == MISSES || e >= LLC_REFS && e != SLOTS)
				continue;
			got = count_arg(i % pmu.gp, event(e) | ALL, r->code, r->arg);
			if (got != want[e]) {
				is(got, want[e], "%s: %s", r->what, names[e]);
				good = false;
			}
		}
		if (good)
			check(true, "%s: %lu instructions, %lu ticks, %lu branches", r->what, r->insns, r->insns + r->more_ticks,
			      r->branches);
		reset_gate(6);
		reset_gate(14);
	}
	reset_gate(V_TEST);
	reset_gate(3);
}

/* Data accesses.  run() adds its CALL and its RET. */
CODE(reads, ".rept 10\n mov buffer, %eax\n .endr\n tenth_read: nop\n mov buffer, %eax");
CODE(writes, ".rept 10\n mov %eax, buffer\n .endr\n tenth_write: nop\n mov %eax, buffer");
CODE(modifies, ".rept 10\n incl buffer\n .endr\n tenth_modified: nop\n incl buffer");
CODE(across, "mov big + 4094, %eax\n mov %eax, big + 8190\n incl big + 12286");
CODE(stack, "push %rax\n push buffer\n pop %rax\n pop buffer");
CODE(computes, "lea buffer(%rip), %rax\n prefetcht0 buffer\n clflush buffer\n nopl buffer");
CODE(moves, "mov $buffer, %esi\n mov $other, %edi\n mov $100, %ecx\n rep movsb");
extern char tenth_read[], tenth_write[], tenth_modified[];

static void accesses(void)
{
	static const struct {
		const char *what;
		char *code;
		u64 loads, stores, both;
	} rows[] = {
		{ "reads", reads, 11, 0, 0 },
		{ "writes", writes, 0, 11, 0 },
		{ "INC of memory", modifies, 0, 0, 11 },
		{ "across two pages: one access each", across, 1, 1, 1 },
		/* PUSH and POP of memory do one load and one store. */
		{ "PUSH and POP", stack, 3, 3, 0 },
		{ "addresses without access", computes, 0, 0, 0 },
		{ "REP MOVS, one access per iteration", moves, 100, 100, 0 },
	};
	static const struct {
		enum event event;
		char *code, *rip;
		u64 before;		/* run()'s CALL */
	} pmis[] = {
		{ LOADS, reads, tenth_read, 0 },
		{ STORES, writes, tenth_write, 1 },
		{ LOAD_STORES, modifies, tenth_modified, 0 },
	};

	for (u64 i = 0; i < ARRAY_SIZE(rows); i++) {
		u64 loads = 1 + rows[i].loads, stores = 1 + rows[i].stores, both = rows[i].both;

		is(count(0, event(LOADS) | ALL, rows[i].code), pmu.intel ? loads + both : loads, "loads: %s", rows[i].what);
		is(count(1, event(STORES) | ALL, rows[i].code), pmu.intel ? stores + both : stores, "stores: %s", rows[i].what);
		is(count(2, event(LOAD_STORES) | ALL, rows[i].code), pmu.intel ? loads + stores + both : both,
		   "%s: %s", pmu.intel ? "any access" : "load-stores", rows[i].what);
	}
	for (u64 i = 0; i < ARRAY_SIZE(pmis); i++) {
		u64 before = pmis[i].event == LOAD_STORES && pmu.intel ? 1 : pmis[i].before;

		pmu_clear();
		pmi_expect(V_PMI);
		pmu_set(0, event(pmis[i].event) | ALL | INT);
		ctr_write(0, MINUS(before + 10));
		sti();
		run(pmis[i].code, 0);
		cli();
		is(cpu()->pmi.count, 1, "%s: a PMI", names[pmis[i].event]);
		is(cpu()->pmi.rip, (u64)pmis[i].rip, "%s: the PMI follows the access that overflows", names[pmis[i].event]);
	}
}

/* Branch misses: a small two-bit predictor. */
CODE(always, "mov $1000, %ecx\n 1: dec %ecx\n jnz 1b");
CODE(alternate, "mov $1000, %ecx\n 1: test $1, %cl\n jz 2f\n 2: dec %ecx\n jnz 1b");
/* A linear feedback register makes no pattern, but the same sequence each time. */
CODE(scatter, "mov $1000, %ecx\n mov $0xace1, %eax\n 1: shr %eax\n jnc 2f\n xor $0xb400, %eax\n 2: dec %ecx\n jnz 1b");

/* A read of each line of the first RDI bytes. */
CODE(stream, "xor %eax, %eax\n 1: movb big(%rax), %dl\n add $64, %eax\n cmp %edi, %eax\n jb 1b");
CODE(other_lines, "xor %eax, %eax\n 1: movb big(%rax), %dl\n add $128, %eax\n cmp %edi, %eax\n jb 1b");
CODE(flush, "mov $10, %ecx\n 1: clflush buffer\n loop 1b");
CODE(touch, "mov $10, %ecx\n 1: mov buffer, %eax\n clflush buffer\n loop 1b");

struct numbers { u64 magic, always, alternate, scatter, refs, misses, insns, cycles; };
/* Outside of the image, so that it survives a reset. */
#define KEPT	((volatile struct numbers *)0x7000)
#define MAGIC	0x6576656e7473

static struct numbers workload(void)
{
	struct numbers n = { .magic = MAGIC };

	n.always = count(0, event(MISSES) | ALL, always);
	n.alternate = count(0, event(MISSES) | ALL, alternate);
	n.scatter = count(0, event(MISSES) | ALL, scatter);
	n.insns = count(0, event(INSNS) | ALL, scatter);
	n.cycles = count(0, event(CYCLES) | ALL, scatter);
	if (event(LLC_REFS)) {
		n.refs = count_arg(0, event(LLC_REFS) | ALL, stream, sizeof(big));
		n.misses = count_arg(0, event(LLC_MISSES) | ALL, stream, sizeof(big));
	}
	return n;
}

static void models(struct numbers n)
{
	u64 refs, misses, lines = sizeof(big) / 64, some = lines / 16;

	note("misses: always %lu, alternating %lu, scattered %lu; LLC %lu of %lu", n.always, n.alternate, n.scatter, n.misses,
	     n.refs);
	check(n.always <= 4,
	      "branch misses: a loop of 1000 misses at most when it is learnt and when it ends");
	check(n.alternate >= 300, "branch misses: an alternating branch misses often");
	check(n.scatter >= 300, "branch misses: an irregular branch misses often");
	check(n.alternate <= 1004 && n.scatter <= 1004, "branch misses: at most one per branch");

	if (!event(LLC_REFS))
		return;
	check(n.refs >= n.misses, "LLC: no more misses than references");
	check(n.refs >= lines && n.refs <= lines + some, "LLC: a pass over 1 MiB refers to each line");
	check(n.misses >= lines / 64 && n.misses <= lines / 64 + some,
	      "LLC: it misses about once per page: each miss fetches the next line, too");
	misses = count_arg(0, event(LLC_MISSES) | ALL, other_lines, sizeof(big));
	check(misses >= lines / 2 && misses <= lines / 2 + some,
	      "LLC: every other line: each one misses");
	pmu_clear();
	pmu_set(0, event(LLC_REFS) | ALL);
	pmu_set(1, event(LLC_MISSES) | ALL);
	run(stream, sizeof(big));
	refs = ctr_read(0);
	misses = ctr_read(1);
	note("LLC: the second pass %lu of %lu, lines %lu", misses, refs, lines);
	check(misses <= refs, "LLC: no more misses than references, counted together");
	count_arg(0, event(LLC_MISSES) | ALL, stream, 4096);
	misses = count_arg(0, event(LLC_MISSES) | ALL, stream, 4096);
	check(misses <= 4, "LLC: reading the same 64 lines again does not miss");

	/* Run it twice, so that nothing else is new in the second run. */
	for (int again = 0; again < 2; again++) {
		refs = count(0, event(LLC_REFS) | ALL, flush);
		misses = count(0, event(LLC_MISSES) | ALL, flush);
	}
	is(refs, 10, "LLC: each CLFLUSH of a line that is in no cache is a reference");
	is(misses, 10, "LLC: and a miss");
	/* CLFLUSH hits the line that the access has fetched. */
	is(count(0, event(LLC_MISSES) | ALL, touch), 10, "LLC: a line that was flushed misses once more");
}

void test(void)
{
	struct numbers n = workload();

	if (KEPT->magic != MAGIC) {
		*KEPT = n;
		outb(0xcf9, 2);
		outb(0xcf9, 6);
		die("a hard reset restarts the machine");
	}
	is(n.always, KEPT->always, "the same after a reset: misses of a loop");
	is(n.alternate, KEPT->alternate, "the same after a reset: misses of an alternating branch");
	is(n.scatter, KEPT->scatter, "the same after a reset: misses of irregular branches");
	is(n.insns, KEPT->insns, "the same after a reset: instructions");
	is(n.cycles, KEPT->cycles, "the same after a reset: cycles");
	is(n.refs, KEPT->refs, "the same after a reset: LLC references");
	is(n.misses, KEPT->misses, "the same after a reset: LLC misses");
	models(n);
	accesses();
	table();
}
