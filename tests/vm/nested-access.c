// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: the guest (L2) of a guest that is a hypervisor itself (L1, under KVM, which is L0) accesses
 * counters as L1 allows.  If L1 intercepts the access, it exits to L1.  Otherwise it does not exit,
 * unless L0 has a reason to intercept it.
 */
#include "nested.h"

static bool is_global(uint32_t msr)
{
	return msr >= MSR_AMD64_PERF_CNTR_GLOBAL_STATUS &&
	       msr <= MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR;
}

static struct {
	enum { RDPMC, RDMSR, WRMSR } kind;
	uint32_t index;
	uint64_t value;
	uint64_t exits, calls;
} acc;

static void l2_access(void)
{
	uint32_t a, d;
	uint64_t exits = mark_read(TRUTH_EXITS);

	switch (acc.kind) {
	case RDPMC:
		asm volatile("rdpmc" : "=a" (a), "=d" (d) : "c" (acc.index));
		acc.value = (uint64_t)d << 32 | a;
		break;
	case RDMSR:
		acc.value = rdmsr(acc.index);
		break;
	case WRMSR:
		wrmsr(acc.index, acc.value);
		break;
	}
	acc.exits = mark_read(TRUTH_EXITS) - exits;
}

static void l1_access(void *unused)
{
	(void)unused;
	nested_hypervisor_for(l2_access);
}

/*
 * Which selectors of L1 are enabled, in no ring, so that they count nothing.  If none is enabled
 * for a while, L0 takes the PMU away.  With one enabled, L0 does not intercept accesses to that
 * counter; with all enabled, to none of the counters.
 */
enum { NONE, ONE, ALL };

static void selectors_on(int on)
{
	unsigned int r;

	for (r = 0; r < vm_seen.general; r++)
		vm_set_msr(&nested.vm,
			   vm_seen.amd ? MSR_F15H_PERF_CTL + 2 * r : MSR_P6_EVNTSEL0 + r,
			   on == ALL || (on == ONE && r == 1) ? 1 << 22 : 0);
	if (!vm_seen.amd)
		vm_set_msr(&nested.vm, MSR_CORE_PERF_FIXED_CTR_CTRL,
			   on == ALL ? 0x8888 & ((1 << 4 * vm_seen.fixed) - 1) : 0);
}

struct access {
	const char *what;
	uint32_t intel, amd;	/* 0: does not exist */
	uint64_t holds;		/* the value that L1 has written; the index of RDPMC is 0 */
	int kinds;		/* a bit for each of RDPMC, RDMSR, WRMSR */
	bool always;		/* L0 always intercepts it */
	bool whole;		/* L0 intercepts it unless L1 has all counters */
};

static uint32_t msr_of(const struct access *a)
{
	uint32_t msr = vm_seen.amd ? a->amd : a->intel;

	return is_global(msr) && !nested.has_control ? 0 : msr;
}

/* Does L0 intercept the access, when these selectors are enabled? */
static bool intercepted(const struct access *a, int kind, int on)
{
	if (!vm_seen.mediated || on == NONE || a->always)
		return true;
	if (!a->whole)
		return on == ONE;
	return kind == RDPMC && !vm_seen.rdpmc;
}

static uint64_t reason_of(int kind)
{
	if (vm_seen.amd)
		return kind == RDPMC ? SVM_RDPMC : SVM_MSR;
	return kind == RDPMC ? VMX_RDPMC : kind == RDMSR ? VMX_RDMSR : VMX_WRMSR;
}

static void check_access(const struct access *a, int kind, int on, bool taken)
{
	static const char *const kinds[] = { "", "read", "written" };
	uint32_t msr = msr_of(a);
	unsigned int tries = 0, exits = intercepted(a, kind, on);

	nested_defaults();
	l1.takes_rdpmc = taken && kind == RDPMC;
	l1.takes_msr = taken && kind != RDPMC ? msr : 0;
	acc.kind = kind;
	acc.index = kind == RDPMC ? 0 : msr;
	/* A tick of the host is an exit. */
	do {
		vm_set_msr(&nested.vm, msr, a->holds);
		vm_call(&nested.vm, nested_prepare, NULL);
		acc.value = kind == WRMSR ? a->holds + 2 : ~0ULL;
		vm_call(&nested.vm, l1_access, NULL);
	} while (!taken && acc.exits != exits && ++tries < 5);
	nested_title(a->what, kinds[kind]);
	strcat(nested.name, on == NONE ? ", no selector enabled" :
			    on == ONE ? ", another selector enabled" : "");
	if (taken) {
		check(l1.exits == 2 && l1.reason[0] == reason_of(kind),
		      "%s: exits to L1, which intercepts it: %u, %llu", nested.name, l1.exits,
		      (unsigned long long)l1.reason[0]);
		if (kind == WRMSR)
			check_equal("the register", vm_get_msr(&nested.vm, msr), a->holds,
				    "L2's write has not been made");
		return;
	}
	check_equal(nested.name, acc.exits, exits,
		    exits ? "L0 intercepts it" : "neither L0 nor L1 intercepts it");
	check_equal("exits to L1", l1.exits, 1, "the call at the end");
	if (kind != WRMSR)
		check_equal("what L2 has read", acc.value, a->holds, "what L1 has written");
	else if (msr != MSR_CORE_PERF_GLOBAL_OVF_CTRL &&
		 msr != MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR)
		check_equal("the register", vm_get_msr(&nested.vm, msr), a->holds + 2,
			    "what L2 has written");
}

static void accesses_of(int on)
{
	const int both = 1 << RDMSR | 1 << WRMSR;
	const struct access rows[] = {
		{ "RDPMC", MSR_IA32_PMC0, MSR_F15H_PERF_CTR, 0x12345, 1 << RDPMC, 0, 1 },
		{ "the first counter", MSR_IA32_PMC0, MSR_F15H_PERF_CTR, 0x12345, both, 0, 0 },
		{ "the last counter", MSR_IA32_PMC0 + vm_seen.general - 1, MSR_F15H_PERF_CTR + 10,
		  0x23456, both, 0, 0 },
		{ "its legacy MSR", MSR_IA32_PERFCTR0, MSR_K7_PERFCTR0, 0x12345, both, 0, 0 },
		{ "PERF_METRICS", vm_seen.metrics ? MSR_PERF_METRICS : 0, 0, 0x8c301f24, both, 0,
		  0 },
		{ "the last fixed counter", MSR_CORE_PERF_FIXED_CTR0 + vm_seen.fixed - 1, 0,
		  0x34567, both, 0, 0 },
		{ "the global control", MSR_CORE_PERF_GLOBAL_CTRL, MSR_AMD64_PERF_CNTR_GLOBAL_CTL,
		  5, both, 0, 1 },
		{ "the status", MSR_CORE_PERF_GLOBAL_STATUS, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, 0,
		  1 << RDMSR, 0, 1 },
		{ "its reset", MSR_CORE_PERF_GLOBAL_OVF_CTRL, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR,
		  0, 1 << WRMSR, 0, 1 },
		{ "a selector", MSR_P6_EVNTSEL0 + 3, MSR_F15H_PERF_CTL + 6, 0x1200c0, both, 1, 0 },
		{ "the fixed counters' selectors", MSR_CORE_PERF_FIXED_CTR_CTRL, 0, 0x10, both, 1,
		  0 },
	};
	unsigned int r, taken;
	int kind;

	selectors_on(on);
	/* While the counter of slots is 0, PERF_METRICS keeps what is written, whatever its sum. */
	if (vm_seen.metrics)
		vm_set_msr(&nested.vm, MSR_CORE_PERF_FIXED_CTR0 + 3, 0);
	nested_defaults();
	for (r = 0; r < 6; r++)
		vm_call(&nested.vm, nested_prepare, NULL);

	for (r = 0; r < ARRAY_SIZE(rows); r++)
		for (kind = RDPMC; kind <= WRMSR; kind++)
			for (taken = 0; taken <= 1; taken++)
				if (msr_of(&rows[r]) && rows[r].kinds & 1 << kind)
					check_access(&rows[r], kind, on, taken);
	for (r = 0; r < ARRAY_SIZE(rows); r++)
		if (msr_of(&rows[r]))
			vm_set_msr(&nested.vm, msr_of(&rows[r]), 0);
}

static void accesses(void)
{
	accesses_of(NONE);
	accesses_of(ONE);
	accesses_of(ALL);
	selectors_on(NONE);
}

int main(void)
{
	nested_open();
	nested_run(accesses);
	return nested_close();
}
