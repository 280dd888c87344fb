// SPDX-License-Identifier: GPL-2.0
/*
 * The performance monitoring interrupt: which instruction it follows, how it is delivered, and when
 * it is not.  The vendors differ in one rule: Intel masks the local APIC's entry on delivery.
 */
#include "pmu.h"
#include "shared.h"

extern char measure_enabled[];	/* the instruction after the WRMSR that enables, in measure() */

CODE(nops_40, ".rept 40\n nop\n .endr");
CODE(sti_nops, "sti\n nop\n nop\n nop\n cli");
/* STI is the first instruction, HLT the second. */
CODE(halt, "sti\n hlt\n nop\n cli");
CODE(halt_nmi, "nop\n hlt\n nop");
CODE(loop_1000, "mov $1000, %ecx\n 1: dec %ecx\n jnz 1b");
extern char rep_1000_insn[];
CODE(rep_1000, "mov $shared_buffer, %edi\n mov $1000, %ecx\n rep_1000_insn: rep stosb");

/* Events before the code: run()'s WRMSR and CALL; in ring 3: IRETQ, three MOVs, CALL. */
#define BEFORE		2
#define USER_BEFORE	5

static volatile struct pmi *seen(void) { return &cpu()->pmi; }

static u32 masked(void) { return pmu.intel ? APIC_LVT_MASKED : 0; }

/* Let counter n overflow after this number of events. */
static void arm(int n, u64 config, u64 events)
{
	pmu_set(n, config | INT);
	ctr_write(n, MINUS(events));
}

static void check_pmi(const char *what, u64 count, u64 vector, void *rip)
{
	is(seen()->count, count, "%s: interrupts", what);
	if (!count)
		return;
	is(seen()->vector, vector, "%s: vector", what);
	is(seen()->rip, (u64)rip, "%s: follows the instruction that overflows", what);
}

static void deliveries(u32 lvt, u64 vector, const char *how)
{
	u64 pmis = mark_read(TRUTH_PMIS);

	note("delivery as %s", how);
	for (int i = 0; i < counters(); i++) {
		int n = counter(i);

		pmu_clear();
		pmi_expect(lvt);
		/* Overflow at the tenth NOP of forty. */
		arm(n, event(INSNS) | ALL, (BEFORE + 10) * (n == FIXED(1) ? 2 : 1));
		sti();
		run(nops_40, 0);
		cli();
		check_pmi("overflow in ring 0", 1, vector, nops_40 + 10);
		is(seen()->cpl, 0, "counter %d: interrupted in ring 0", n);
		is(seen()->status, pmu.global ? BIT(n) : 0, "counter %d: status in the handler", n);
		is(seen()->lvt & APIC_LVT_MASKED, masked(), "counter %d: the local APIC's entry %s",
		   n, pmu.intel ? "was masked by the delivery" : "stays unmasked");
	}
	is(mark_read(TRUTH_PMIS) - pmis, counters(), "truth: interrupts delivered");

	pmu_clear();
	pmi_expect(lvt);
	arm(0, event(INSNS) | USR, USER_BEFORE + 10);
	sti();
	run(in_user, (u64)nops_40);
	cli();
	check_pmi("overflow in ring 3", 1, vector, nops_40 + 10);
	is(seen()->cpl, 3, "overflow in ring 3: interrupted there");
	/* The handler's IRETQ counts in ring 3: one more. */
	is(ctr_read(0), USER_INSNS + 40 + 1 - (USER_BEFORE + 10),
	   "overflow in ring 3: counting continues");

	pmu_clear();
	pmi_expect(lvt);
	arm(0, event(INSNS) | ALL, 1);
	sti();
	run(nops_40, 0);
	cli();
	check_pmi("the WRMSR that enables overflows", 1, vector, measure_enabled);

	pmu_clear();
	pmi_expect(lvt);
	arm(0, event(BRANCHES) | ALL, 1);
	sti();
	run(nops_40, 0);
	cli();
	check_pmi("overflow of branches by a CALL: its target is next", 1, vector, nops_40);
}

static void not_delivered(u32 lvt)
{
	pmu_clear();
	pmi_expect(lvt);
	pmu_set(0, event(INSNS) | ALL);
	ctr_write(0, MINUS(5));
	sti();
	run(nops_40, 0);
	is(seen()->count, 0, "without INT in the selector: no interrupt");
	is(status(), pmu.global ? 1 : 0, "without INT in the selector: the status bit is set");

	pmu_clear();
	pmi_expect(lvt | APIC_LVT_MASKED);
	arm(0, event(INSNS) | ALL, 5);
	run(nops_40, 0);
	is(seen()->count, 0, "masked in the local APIC: no interrupt");
	is(status(), pmu.global ? 1 : 0, "masked in the local APIC: the status bit is set");
	apic_write(APIC_LVT_PC, lvt);
	run(no_code, 0);
	is(seen()->count, 0, "unmasked later: the missed interrupt does not come");
	cli();
}

/* A second overflow while the entry is masked by the first, and after it is unmasked. */
static void again(u32 lvt)
{
	pmu_clear();
	pmi_expect(lvt);
	arm(0, event(INSNS) | ALL, 5);
	sti();
	run(nops_40, 0);
	if (pmu.global)
		wrmsr(pmu.reset, 1);
	ctr_write(0, MINUS(5));
	run(nops_40, 0);
	cli();
	is(seen()->count, pmu.intel ? 1 : 2, pmu.intel ? "after a delivery: masked until software unmasks" :
	   "after a delivery: the next one is delivered, nothing to unmask");
	if (!pmu.intel)
		return;
	apic_write(APIC_LVT_PC, lvt);
	wrmsr(pmu.reset, 1);
	ctr_write(0, MINUS(5));
	sti();
	run(nops_40, 0);
	cli();
	is(seen()->count, 2, "after a delivery: unmasked, the next one is delivered");
}

static void two_at_once(u32 lvt)
{
	pmu_clear();
	pmi_expect(lvt);
	arm(1, event(INSNS) | ALL, 9);
	arm(2, event(INSNS) | ALL, 9);
	sti();
	run(nops_40, 0);
	cli();
	is(seen()->count, 1, "two counters overflow at the same instruction: one interrupt");
	is(seen()->status, 6, "two counters overflow at the same instruction: both status bits");
}

static void flags(void)
{
	pmu_clear();
	pmi_expect(V_PMI);
	arm(0, event(INSNS) | ALL, 5);
	run(nops_40, 0);
	is(seen()->count, 0, "IF=0: a fixed interrupt waits");
	sti();
	is(seen()->count, 1, "IF=1 again: it is delivered");
	cli();

	pmu_clear();
	pmi_expect(APIC_DM_NMI);
	arm(0, event(INSNS) | ALL, BEFORE + 10);
	run(nops_40, 0);
	check_pmi("IF=0: an NMI does not wait", 1, 2, nops_40 + 10);

	/* STI itself overflows; the instruction after it runs before the interrupt. */
	pmu_clear();
	pmi_expect(V_PMI);
	arm(0, event(INSNS) | ALL, BEFORE + 1);
	run(sti_nops, 0);
	check_pmi("overflow at STI: one instruction later", 1, V_PMI, sti_nops + 2);
}

static void halted(u32 lvt, u64 vector, char *code, const char *how)
{
	pmu_clear();
	pmi_expect(lvt);
	/* If the interrupt does not come, the timer ends the test. */
	apic_write(APIC_TIMER_DIV, 0xb);
	apic_write(APIC_LVT_TIMER, V_TIMER);
	apic_write(APIC_TIMER_INIT, 2000000);
	arm(0, event(INSNS) | ALL, BEFORE + 2);
	run(code, 0);
	apic_write(APIC_TIMER_INIT, 0);
	check_pmi(how, 1, vector, code + 2);
}

/* In HLT, time passes for the timer, but counters count neither instructions nor cycles. */
static void halted_counts_nothing(void)
{
	u64 insns, cycles;

	pmu_clear();
	pmi_expect(APIC_LVT_MASKED);
	pmu_set(0, event(INSNS) | ALL);
	pmu_set(1, event(CYCLES) | ALL);
	apic_write(APIC_TIMER_DIV, 0xb);
	apic_write(APIC_LVT_TIMER, V_TIMER);
	apic_write(APIC_TIMER_INIT, 100000);
	run(halt, 0);
	insns = ctr_read(0);
	cycles = ctr_read(1);
	/* HLT and the timer's handler: nothing faults, and there is no REP. */
	is(cycles, 2 * insns, "cycles stop in HLT");
	check(insns > RUN_INSNS + 4 && insns < 1000, "the timer's handler runs after HLT");
}

/*
 * Sampling: the handler sets the counter again.  Its IRETQ is the first event of the next period.
 */
#define PERIOD	97
static void rearm(struct frame *f)
{
	(void)f;
	ctr_write(0, MINUS(PERIOD));
	if (pmu.global)
		wrmsr(pmu.reset, 1);
	apic_write(APIC_LVT_PC, apic_read(APIC_LVT_PC) & ~APIC_LVT_MASKED);
}

static void sampling(u32 lvt, const char *how)
{
	/* The loop: MOV, then a thousand times DEC and JNZ. */
	u64 insns = USER_INSNS + 2001, samples = 1 + (insns - PERIOD) / (PERIOD - 1);

	pmu_clear();
	pmi_expect(lvt);
	cpu()->pmi_action = rearm;
	arm(0, event(INSNS) | USR, PERIOD);
	sti();
	run(in_user, (u64)loop_1000);
	cli();
	is(seen()->count, samples, "sampling as %s: one interrupt per period", how);
	is(ctr_read(0), MINUS(PERIOD - 1 - (insns - PERIOD) % (PERIOD - 1)), "sampling as %s: what is left of the last period", how);
}

static u64 left;
static void note_rcx(struct frame *f) { left = f->rcx; }

/*
 * Cycles overflow within a REP: it is interrupted between two iterations, continues, and is one
 * instruction.
 */
static void within_rep(u32 lvt, u64 vector)
{
	/* IRETQ, MOVs, CALL; MOV, MOV; a hundred iterations, two cycles each. */
	u64 ticks = USER_BEFORE + 2 + 100;

	pmu_clear();
	pmi_expect(lvt);
	cpu()->pmi_action = note_rcx;
	arm(0, event(CYCLES) | USR, 2 * ticks);
	pmu_set(1, event(INSNS) | USR);
	sti();
	run(in_user, (u64)rep_1000);
	cli();
	check_pmi("cycles overflow within a REP: the REP continues", 1, vector, rep_1000_insn);
	is(left, 900, "cycles overflow within a REP: iterations left");
	/* MOV, MOV, REP; the handler's IRETQ. */
	is(ctr_read(1), USER_INSNS + 3 + 1, "an interrupted REP is one instruction");
	/* All ticks: 1000 iterations instead of one instruction. */
	is(ctr_read(0), 2 * (USER_INSNS + 2 + 1000 + 1 - ticks),
	   "an interrupted REP: one tick per iteration");
}

void pmis(void)
{
	deliveries(V_PMI, V_PMI, "a fixed vector");
	deliveries(APIC_DM_NMI, 2, "NMI");
	not_delivered(V_PMI);
	not_delivered(APIC_DM_NMI);
	again(V_PMI);
	again(APIC_DM_NMI);
	if (pmu.global) {
		two_at_once(V_PMI);
		two_at_once(APIC_DM_NMI);
	}
	flags();
	halted(V_PMI, V_PMI, halt, "HLT overflows, fixed vector: wakes");
	halted(APIC_DM_NMI, 2, halt, "HLT overflows, NMI: wakes");
	halted(APIC_DM_NMI, 2, halt_nmi, "HLT with IF=0 overflows, NMI: wakes");
	sampling(V_PMI, "a fixed vector");
	sampling(APIC_DM_NMI, "NMI");
	if (pmu.global) {
		halted_counts_nothing();
		within_rep(V_PMI, V_PMI);
		within_rep(APIC_DM_NMI, 2);
	}
	pmu_clear();
}
