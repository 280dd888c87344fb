/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The PMU of either vendor: the addresses of its registers, the encodings of events, and functions
 * to count a piece of code.
 */
#ifndef PMU_H
#define PMU_H

#include "bare.h"
#include "msr.h"

#define MASK48		(BIT(48) - 1)
#define MINUS(n)	((0 - (u64)(n)) & MASK48)	/* n events to go */

/* Selector bits.  The vendor's own tests cover the differences. */
#define USR		BIT(16)
#define OS		BIT(17)
#define EDGE		BIT(18)
#define PIN		BIT(19)
#define INT		BIT(20)
#define ANYTHREAD	BIT(21)
#define EN		BIT(22)
#define INV		BIT(23)
#define CMASK(n)	((u64)(n) << 24)
#define ALL		(OS | USR)

/* Intel */
#define PMC(n)			(MSR_IA32_PERFCTR0 + (n))
#define PERFEVTSEL(n)		(MSR_P6_EVNTSEL0 + (n))
#define FIXED_CTR(n)		(MSR_CORE_PERF_FIXED_CTR0 + (n))
#define RDPMC_METRICS		0x20000000
#define METRICS			BIT(48)			/* in the global registers */
#define A_PMC(n)		(MSR_IA32_PMC0 + (n))
#define FREEZE_ON_PMI		BIT(12)
#define CTR_FRZ			BIT(59)
#define STATUS_OTHERS		(BIT(58) | BIT(59) | BIT(62) | BIT(63))	/* LBR_Frz, CTR_Frz, OvfBuf, CondChgd */
#define FIXED(n)		(32 + (n))	/* a fixed counter's number here, and its bit in the global registers */

/* AMD */
#define PERF_CTL(n)		(MSR_F15H_PERF_CTL + 2 * (n))
#define PERF_CTR(n)		(MSR_F15H_PERF_CTR + 2 * (n))
#define L3_CTL(n) (MSR_F16H_L2I_PERF_CTL + 2 * (n)) /* its counter is the next MSR */
#define NB_CTL(n)		(MSR_F15H_NB_PERF_CTL + 2 * (n))
#define LEGACY_CTL(n)		(MSR_K7_EVNTSEL0 + (n))
#define LEGACY_CTR(n)		(MSR_K7_PERFCTR0 + (n))

/* Event and unit mask; 0 where the vendor has no such event. */
enum event {
	INSNS, CYCLES, REF_CYCLES, BRANCHES, COND, TAKEN, NOT_TAKEN, CALLS, RETURNS, FAR, MISSES, LLC_REFS, LLC_MISSES, SLOTS,
	LOADS, STORES, LOAD_STORES, EVENTS
};
u64 event(enum event e);

struct pmu {
	bool intel;
	int version, gp, fixed;
	u32 global, status, reset, set;	/* MSRs; 0: without PerfMonV2 there are none */
	u64 all;			/* every counter's bit */
};
extern struct pmu pmu;
void pmu_init(void);			/* reads CPUID only */

/* The i-th counter, general then fixed. */
static inline int counters(void) { return pmu.gp + pmu.fixed; }
static inline int counter(int i) { return i < pmu.gp ? i : FIXED(i - pmu.gp); }

void pmu_clear(void);			/* nothing selected, all zero, globally off */
void pmu_set(int n, u64 config);	/* config: event and flags, EN added; of a fixed counter only OS, USR, INT matter */
u32 selector_msr(int n);
u32 counter_msr(int n);		/* the full-width one */
void ctr_write(int n, u64 v);		/* full width */
u64 ctr_read(int n);
u64 status(void);			/* overflow status; 0 without such a register */

/* Let all counters that are set count the code; add RUN_INSNS and RUN_BRANCHES. */
void run(void *code, u64 arg);

/* Clear the PMU, set counter n to config, and return what it counts in the code. */
u64 count_arg(int n, u64 config, void *code, u64 arg);
static inline u64 count(int n, u64 config, void *code) { return count_arg(n, config, code, 0); }

/* Write a register one bit at a time: the bits that cause no #GP, and those that read back. */
u64 writable_bits(u32 msr);
u64 kept_bits(u32 msr);

/* Set the local APIC's entry for PMIs, to V_PMI or NMI, and clear what the handler has recorded. */
void pmi_expect(u32 lvt);

#endif
