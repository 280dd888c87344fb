// SPDX-License-Identifier: GPL-2.0
/*
 * When a counter counts: rules that both vendors share.  Counters have the same numbers, selectors
 * the same flags.
 */
#include "pmu.h"
#include "shared.h"

CODE(ten_nops, ".rept 10\n nop\n .endr");
CODE(no_code, "");
CODE(rep_100, "mov $shared_buffer, %edi\n mov $100, %ecx\n rep stosb");
CODE(two_uds, "ud2\n ud2");
/* In ring 3: a fault, and an interrupt to itself (the local APIC is mapped for ring 3). */
CODE(user_ud, "ud2");
CODE(user_ipi, "mov $0xfee00300, %eax\n movl $0x44041, (%rax)\n .rept 5\n nop\n .endr");
CODE(sys_trip, "lea 1f(%rip), %rcx\n mov $2, %r11d\n sysretq\n 1: nop\n nop\n nop\n syscall\n sys_trip_back:");
/* MOV, MOV, MOV, WRMSR of shared_value to the register in EDI, two NOPs. */
CODE(write_msr, "mov %edi, %ecx\n mov shared_value, %eax\n mov shared_value + 4, %edx\n wrmsr\n nop\n nop");
/* The difference of two reads: the first read itself, MOV, five NOPs. */
#define TWO_READS(insn) insn "\n mov %eax, %esi\n .rept 5\n nop\n .endr\n " insn "\n sub %esi, %eax\n mov %rax, shared_value"
CODE(two_rdpmc, "mov %edi, %ecx\n" TWO_READS("rdpmc"));
CODE(two_rdmsr, "mov %edi, %ecx\n" TWO_READS("rdmsr"));
/* UD2's handler: ADD, IRETQ. */
asm(".pushsection .text\n skip_ud: addq $2, (%rsp)\n iretq\n .popsection");
extern char skip_ud[], sys_trip_back[];

u8 shared_buffer[4096];
u64 shared_value;

static void rings(void)
{
	static const struct {
		const char *what;
		bool in_user;
		char *code;
		u64 kernel, kbranches, user, ubranches;	/* beyond run() and in_user() */
	} rows[] = {
		{ "code of the kernel", false, ten_nops, 10, 0, 0, 0 },
		{ "IRETQ to ring 3, ten NOPs, INT n", true, ten_nops, 0, 0, 10, 0 },
		/* Kernel: LEA, MOV, SYSCALL; user: SYSRET and three NOPs. */
		{ "SYSRET to ring 3, three NOPs, SYSCALL", false, sys_trip, 3, 1, 4, 1 },
		/* UD2 does not retire.  ADD counts in the kernel, the IRETQ after it in ring 3. */
		{ "a fault in ring 3", true, user_ud, 1, 0, 1, 1 },
	};

	wrmsr(0xc0000081, (u64)(0x18 | 3) << 48 | (u64)KCODE << 32);
	wrmsr(0xc0000082, (u64)sys_trip_back);
	wrmsr(0xc0000084, 0);
	set_gate(6, skip_ud, 0);
	for (u64 i = 0; i < ARRAY_SIZE(rows); i++) {
		void *code = rows[i].in_user ? (void *)in_user : rows[i].code;
		u64 arg = (u64)rows[i].code;
		u64 kernel = RUN_INSNS + rows[i].kernel, kbranches = RUN_BRANCHES + rows[i].kbranches;
		u64 user = rows[i].user, ubranches = rows[i].ubranches;

		if (rows[i].in_user) {
			kernel += USER_KERNEL;
			kbranches += USER_KBRANCHES;
			user += USER_INSNS;
			ubranches += USER_BRANCHES;
		}
		is(count_arg(0, event(INSNS) | OS, code, arg), kernel, "OS: instructions in ring 0: %s", rows[i].what);
		is(count_arg(1, event(INSNS) | USR, code, arg), user, "USR: instructions in ring 3: %s", rows[i].what);
		is(count_arg(2, event(INSNS) | ALL, code, arg), kernel + user, "OS and USR: instructions: %s", rows[i].what);
		is(count_arg(3, event(INSNS), code, arg), 0, "neither OS nor USR: %s", rows[i].what);
		is(count_arg(0, event(BRANCHES) | OS, code, arg), kbranches, "OS: branches in ring 0: %s", rows[i].what);
		is(count_arg(1, event(BRANCHES) | USR, code, arg), ubranches, "USR: branches in ring 3: %s", rows[i].what);
	}
	reset_gate(6);

	/*
	 * Two MOVs and five NOPs, and the handler's IRETQ, which counts in ring 3.  The interrupt
	 * counts nothing.
	 */
	sti();
	is(count_arg(0, event(INSNS) | USR, in_user, (u64)user_ipi), USER_INSNS + 7 + 1, "USR: an interrupt in ring 3");
	is(count_arg(1, event(BRANCHES) | USR, in_user, (u64)user_ipi), USER_BRANCHES + 1, "USR: branches, an interrupt in ring 3");
	cli();
}

static void masks(void)
{
	static const struct {
		const char *rule;
		enum event event;
		u64 flags;
		char *code;
		u64 want;
	} rows[] = {
		/* run()'s six instructions and ten NOPs: 16 ticks, one instruction each, two cycles each. */
		{ "CMASK=1, instructions: ticks in which an instruction retires", INSNS, CMASK(1),
		 ten_nops, 16 },
		{ "CMASK=2, instructions: never two in a tick", INSNS, CMASK(2), ten_nops, 0 },
		{ "CMASK=255, instructions: never", INSNS, CMASK(255), ten_nops, 0 },
		{ "CMASK=1, cycles: one per tick, not two", CYCLES, CMASK(1), ten_nops, 16 },
		{ "CMASK=2, cycles: still each tick", CYCLES, CMASK(2), ten_nops, 16 },
		{ "CMASK=3, cycles: never three in a tick", CYCLES, CMASK(3), ten_nops, 0 },
		{ "CMASK=3 INV, cycles: each tick has fewer", CYCLES, CMASK(3) | INV, ten_nops, 16 },
		{ "CMASK=1 INV, cycles: no tick has none", CYCLES, CMASK(1) | INV, ten_nops, 0 },
		{ "INV without CMASK is ignored", INSNS, INV, ten_nops, 16 },
		{ "CMASK=2 INV, instructions: each tick has fewer", INSNS, CMASK(2) | INV, ten_nops, 16 },
		/* MOV, MOV, REP with 100 iterations: 99 ticks retire nothing. */
		{ "CMASK=1 INV, instructions: ticks within a REP", INSNS, CMASK(1) | INV, rep_100, 99 },
		{ "CMASK=1 INV, instructions: faulting instructions", INSNS, CMASK(1) | INV, two_uds, 2 },
		{ "CMASK=1 INV EDGE, instructions: a REP is one edge", INSNS, CMASK(1) | INV | EDGE,
		 rep_100, 1 },
		{ "CMASK=1 INV EDGE, instructions: two separate faults are two edges", INSNS,
		 CMASK(1) | INV | EDGE, two_uds, 2 },
		{ "CMASK=1, branches: as without CMASK", BRANCHES, CMASK(1), ten_nops, 2 },
		{ "CMASK=1 EDGE, branches: separate CALL and RET", BRANCHES, CMASK(1) | EDGE,
		 ten_nops, 2 },
		{ "CMASK=1 EDGE, branches: CALL and RET next to each other", BRANCHES, CMASK(1) | EDGE, no_code, 1 },
	};
	u64 straight, broken;

	set_gate(6, skip_ud, 0);
	for (u64 i = 0; i < ARRAY_SIZE(rows); i++)
		is(count(i % pmu.gp, event(rows[i].event) | ALL | rows[i].flags, rows[i].code), rows[i].want, rows[i].rule);
	/* The test does not check whether the very first tick is an edge. */
	straight = count(0, event(INSNS) | ALL | CMASK(1) | EDGE, ten_nops);
	broken = count(0, event(INSNS) | ALL | CMASK(1) | EDGE, two_uds);
	is(broken - straight, 2, "CMASK=1 EDGE, instructions: one more edge per fault");
	reset_gate(6);
}

static void while_running(int n, u32 ctr, u32 sel, u32 index)
{
	/*
	 * The WRMSR of the counter retires after the write: count it, two NOPs, RET, run()'s three
	 * MOVs.
	 */
	shared_value = 1000;
	is(count_arg(n, event(INSNS) | ALL, write_msr, ctr), 1000 + 1 + 2 + 1 + 3, "counter %d written while it counts", n);

	/* First instructions count: run()'s WRMSR and CALL, three MOVs.  Then branches: the RET. */
	shared_value = event(BRANCHES) | ALL | EN;
	is(count_arg(n, event(INSNS) | ALL, write_msr, sel), 5 + 1, "counter %d given another event while it counts", n);
	shared_value = event(INSNS) | ALL;
	is(count_arg(n, event(INSNS) | ALL, write_msr, sel), 5, "counter %d disabled by its selector: that WRMSR is not counted", n);
	/* Nothing counts before; then the WRMSR, two NOPs, RET, three MOVs. */
	shared_value = event(INSNS) | ALL | EN;
	is(count_arg(n, event(FAR) | ALL, write_msr, sel), 1 + 2 + 1 + 3, "counter %d selects instructions: that WRMSR is counted", n);

	count_arg(n, event(INSNS) | ALL, two_rdpmc, index);
	is(shared_value, 7, "RDPMC(%x) twice: the second read sees the first", index);
	count_arg(n, event(INSNS) | ALL, two_rdmsr, ctr);
	is(shared_value, 7, "RDMSR of counter %d twice: the second read sees the first", n);
}

static void together(void)
{
	const u64 want[] = { 16, 32, 2, 16, 32, 2, 16, 32 };	/* insns; cycles; CALL, RET */
	const enum event which[] = { INSNS, CYCLES, BRANCHES };

	pmu_clear();
	for (int i = 0; i < pmu.gp; i++)
		pmu_set(i, event(which[i % 3]) | ALL);
	run(ten_nops, 0);
	for (int i = 0; i < pmu.gp; i++)
		is(ctr_read(i), want[i], "all together: counter %d", i);

	for (int i = 0; i < counters(); i++) {
		u64 others = 0;

		pmu_clear();
		for (int j = 0; j < counters(); j++)
			pmu_set(counter(j), event(INSNS) | ALL);
		measure(pmu.global, BIT(counter(i)), 0, ten_nops, 0);
		for (int j = 0; j < counters(); j++)
			if (j != i)
				others |= ctr_read(counter(j));
		is(others, 0, "global control: only counter %d enabled, no other counts", counter(i));
		check(ctr_read(counter(i)) >= 16, "global control: counter %d counts", counter(i));
	}
}

void counting(void)
{
	for (int i = 0; i < pmu.gp; i++)
		is(count(i, event(INSNS) | ALL, ten_nops), RUN_INSNS + 10, "counter %d: instructions of ten NOPs", i);
	is(count(0, 0xff | ALL, ten_nops), 0, "an event that does not exist counts nothing");
	is(count(0, 0 | ALL, ten_nops), 0, "event 0 counts nothing");
	rings();
	masks();
	for (int i = 0; i < pmu.gp; i++)
		while_running(i, counter_msr(i), selector_msr(i), i);
	if (pmu.global)
		together();
}

void guest_user_truth(const u64 *before, u64 kernel, u64 user)
{
	is(mark_read(TRUTH_INSNS_GUEST_KERNEL) - before[2], kernel, "truth: the guest's kernel");
	is(mark_read(TRUTH_INSNS_GUEST_USER) - before[3], user, "truth: the guest's user");
	is(mark_read(TRUTH_BRANCHES_GUEST_KERNEL) - before[6], GUEST_BRANCHES + 2 + USER_KBRANCHES,
	   "truth: branches of the guest's kernel");
	is(mark_read(TRUTH_BRANCHES_GUEST_USER) - before[7], USER_BRANCHES, "truth: branches of the guest's user");
	is(mark_read(TRUTH_INSNS_HOST_USER) - before[1], 0, "truth: nothing in the host's user");
}
