// SPDX-License-Identifier: GPL-2.0
/*
 * Two CPUs: each has its own PMU.
 *
 * Both run at the same time.  What one counts, and where it is interrupted, is as exact as if it
 * were alone.
 */
#include "pmu.h"
#include "shared.h"

CODE(busy, "mov $5000, %ecx\n 1: dec %ecx\n jnz 1b");	/* 10001 instructions, 5000 branches */
CODE(sleep, "sti\n hlt\n cli");
CODE(nops_20, ".rept 20\n nop\n .endr");

static volatile u64 insns[2], branches[2], cycles[2], others[2];
static volatile int arrived;

/* Wait for the other CPU, so that both count at the same time. */
static void meet(int n)
{
	asm volatile("lock incl %0" : "+m"(arrived));
	while (arrived < n)
		pause();
}

static void both_count(void)
{
	u64 me = cpu()->index;

	pmu_clear();
	pmu_set(0, event(INSNS) | ALL);
	pmu_set(1, event(BRANCHES) | ALL);
	pmu_set(2, event(CYCLES) | ALL);
	meet(2);
	run(busy, 0);
	insns[me] = ctr_read(0);
	branches[me] = ctr_read(1);
	cycles[me] = ctr_read(2);
}

static void read_mine(void)
{
	others[0] = others[1] = 0;
	for (int n = 0; n < pmu.gp; n++) {
		others[0] |= rdmsr(selector_msr(n));
		others[1] |= ctr_read(n);
	}
}

static void clear(void) { pmu_clear(); }

static void overflow_here(void)
{
	pmu_clear();
	pmi_expect(V_PMI);
	pmu_set(0, event(INSNS) | ALL | INT);
	ctr_write(0, MINUS(2 + 10));
	sti();
	run(nops_20, 0);
	cli();
}

static void listen(void)
{
	pmu_clear();
	pmi_expect(V_PMI);
	sti();
	meet(2);
	meet(4);	/* when the other CPU's counter has overflowed */
	cli();
}

/* HLT with counters enabled, until the other CPU sends an interrupt. */
static void sleep_here(void)
{
	pmu_clear();
	pmu_set(0, event(INSNS) | ALL);
	pmu_set(1, event(CYCLES) | ALL);
	meet(2);
	run(sleep, 0);
	insns[1] = ctr_read(0);
	cycles[1] = ctr_read(1);
}

static void nmi_here(void)
{
	pmu_clear();
	pmi_expect(APIC_LVT_MASKED);
	meet(2);
	while (!cpu()->pmi.count)
		pause();
}

void test(void)
{
	u64 was;

	is(mark_read(TRUTH_CPUS), 2, "READ 18: two CPUs");

	ap_call(clear);
	ap_wait();
	pmu_clear();
	for (int n = 0; n < pmu.gp; n++) {
		pmu_set(n, event(INSNS) | ALL);
		ctr_write(n, 1000 + n);
	}
	ap_call(read_mine);
	ap_wait();
	is(others[0], 0, "selectors are each CPU's own");
	is(others[1], 0, "counters are each CPU's own");
	is(rdmsr(pmu.global), 0, "the first CPU is globally off");

	arrived = 0;
	ap_call(both_count);
	both_count();
	ap_wait();
	for (int n = 0; n < 2; n++) {
		is(insns[n], RUN_INSNS + 10001, "CPU %d: instructions, while the other one runs",
		   n);
		is(branches[n], RUN_BRANCHES + 5000, "CPU %d: branches, while the other one runs",
		   n);
		is(cycles[n], 2 * (RUN_INSNS + 10001), "CPU %d: cycles, while the other one runs",
		   n);
	}

	/* Both overflow; each gets its own interrupt. */
	was = mark_read(TRUTH_PMIS);
	ap_call(overflow_here);
	overflow_here();
	ap_wait();
	for (int n = 0; n < 2; n++) {
		is(block(n)->pmi.count, 1, "CPU %d: one interrupt, both overflow", n);
		is(block(n)->pmi.rip, (u64)nops_20 + 10, "CPU %d: follows the instruction that overflows", n);
		is(block(n)->pmi.status, 1, "CPU %d: its own status", n);
	}
	is(mark_read(TRUTH_PMIS) - was, 2, "truth: interrupts of all CPUs");

	/* One overflows, the other listens; then the other way round. */
	arrived = 0;
	ap_call(listen);
	meet(2);
	overflow_here();
	meet(4);
	ap_wait();
	is(block(0)->pmi.count, 1, "CPU 0 overflows: it is interrupted");
	is(block(1)->pmi.count, 0, "CPU 0 overflows: CPU 1 is not");
	pmu_clear();
	pmi_expect(V_PMI);
	sti();
	ap_call(overflow_here);
	ap_wait();
	cli();
	is(block(1)->pmi.count, 1, "CPU 1 overflows: it is interrupted");
	is(block(0)->pmi.count, 0, "CPU 1 overflows: CPU 0 is not");

	arrived = 0;
	ap_call(sleep_here);
	meet(2);
	for (int i = 0; i < 20000; i++)
		pause();
	apic_write(APIC_ICR, 0xc4000 | V_IPI);
	ap_wait();
	is(cycles[1], 2 * insns[1], "cycles stop in HLT while the other CPU runs");

	was = mark_read(TRUTH_PMIS);
	arrived = 0;
	ap_call(nmi_here);
	meet(2);
	apic_write(APIC_ICR, 0xc4400);
	ap_wait();
	is(mark_read(TRUTH_PMIS) - was, 0, "truth: an NMI from the other CPU is not a PMI");
}
