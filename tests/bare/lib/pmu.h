/* SPDX-License-Identifier: GPL-2.0 */
/* The PMU of either vendor: where its registers are, what an event is called, and how to count a piece of code. */
#ifndef PMU_H
#define PMU_H

#include "bare.h"

#define MASK48		(BIT(48) - 1)
#define MINUS(n)	((0 - (u64)(n)) & MASK48)	/* n before the overflow */

/* Selector bits; where they differ, the test of the vendor says so itself. */
#define USR		BIT(16)
#define OS		BIT(17)
#define EDGE		BIT(18)
#define PIN		BIT(19)
#define INT		BIT(20)
#define ANYTHREAD	BIT(21)
#define EN		BIT(22)
#define INV		BIT(23)
#define CMASK(n)	((u64)(n) << 24)
#define GUEST_ONLY	BIT(40)			/* AMD */
#define HOST_ONLY	BIT(41)
#define ALL		(OS | USR)

/* Intel */
#define PMC(n)			(0xc1 + (n))
#define PERFEVTSEL(n)		(0x186 + (n))
#define FIXED_CTR(n)		(0x309 + (n))
#define PERF_METRICS		0x329
#define RDPMC_METRICS		0x20000000
#define METRICS			BIT(48)			/* in the global registers */
#define PERF_CAPABILITIES	0x345
#define FIXED_CTR_CTRL		0x38d
#define GLOBAL_STATUS		0x38e
#define GLOBAL_CTRL		0x38f
#define GLOBAL_STATUS_RESET	0x390
#define GLOBAL_STATUS_SET	0x391
#define GLOBAL_INUSE		0x392
#define A_PMC(n)		(0x4c1 + (n))
#define DEBUGCTL		0x1d9
#define FREEZE_ON_PMI		BIT(12)
#define CTR_FRZ			BIT(59)
#define STATUS_OTHERS		(BIT(58) | BIT(59) | BIT(62) | BIT(63))	/* LBR_Frz, CTR_Frz, OvfBuf, CondChgd */
#define FIXED(n)		(32 + (n))	/* a fixed counter's number here, and its bit in the global registers */

/* AMD */
#define PERF_CTL(n)		(0xc0010200 + 2 * (n))
#define PERF_CTR(n)		(0xc0010201 + 2 * (n))
#define L3_CTL(n)		(0xc0010230 + 2 * (n))	/* and the counter behind it */
#define NB_CTL(n)		(0xc0010240 + 2 * (n))
#define LEGACY_CTL(n)		(0xc0010000 + (n))
#define LEGACY_CTR(n)		(0xc0010004 + (n))
#define AMD_STATUS		0xc0000300
#define AMD_CTL			0xc0000301
#define AMD_STATUS_CLR		0xc0000302
#define AMD_STATUS_SET		0xc0000303

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
u64 status(void);			/* overflow status; 0 where there is none */

/* Let all that is set count for the code; RUN_INSNS and RUN_BRANCHES come on top. */
void run(void *code, u64 arg);

/* From nothing: what counter n, set to config, counts in the code. */
u64 count_arg(int n, u64 config, void *code, u64 arg);
static inline u64 count(int n, u64 config, void *code) { return count_arg(n, config, code, 0); }

/* Of a register, by writing one bit at a time: which bits WRMSR takes without #GP, which of those read back. */
u64 writable_bits(u32 msr);
u64 kept_bits(u32 msr);

/* PMI: unmask the local APIC's entry, either as vector V_PMI or as NMI; forget what was before. */
void pmi_expect(u32 lvt);

#endif
