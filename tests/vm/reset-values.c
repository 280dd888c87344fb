// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a guest finds the PMU's registers as the manuals say, and they accept what drivers write:
 *
 *	reset		Intel: RESET enables all general counters in IA32_PERF_GLOBAL_CTRL.  So code
 *			that knows only version 1 and never writes it has counters that count
 *			(firmware, small kernels, unikernels)
 *	selectors	AMD: reserved bits and those of another mode are ignored, without a #GP
 *			(Linux's driver writes the host-only bit if a program in the guest excludes
 *			guests, as rr does), and the counter counts
 *	legacy writes	Intel: a write by a counter's legacy MSR takes 32 bits and extends their
 *			sign.  By its other MSR it takes all of the counter's bits; one bit more is
 *			a #GP
 */
#include "vm.h"

static struct vm vm;

static struct {
	uint32_t selector, counter;
	uint64_t select, write;
	uint32_t write_msr;
	uint64_t count, value, faults, disturbed;
	uint64_t selected;
} g;

/* Enable a selector, execute 100 NOPs and two more, disable it; write nothing else. */
static void count(void *unused)
{
	uint32_t lo = g.select, hi = g.select >> 32;
	uint64_t exits;

	(void)unused;
	guest_faults = 0;
	wrmsr(g.selector, 0);
	wrmsr(g.counter, 0);
	exits = mark_read(TRUTH_EXITS);
	asm volatile("wrmsr\n\t.rept 100\n\tnop\n\t.endr\n\txor %%eax, %%eax\n\txor %%edx, %%edx\n\twrmsr"
		     : "+a" (lo), "+d" (hi) : "c" (g.selector) : "memory");
	g.disturbed = mark_read(TRUTH_EXITS) - exits - 2;
	g.count = rdmsr(g.counter);
	/* Read a selector back. */
	wrmsr(g.selector, g.select);
	g.selected = rdmsr(g.selector);
	wrmsr(g.selector, 0);
	g.faults = guest_faults;
}

static void write_and_read(void *unused)
{
	(void)unused;
	guest_faults = 0;
	wrmsr(g.write_msr, g.write);
	g.value = rdmsr(g.counter);
	g.faults = guest_faults;
}

static void ask(void)
{
	unsigned int tries = 0;

	vm_call(&vm, count, NULL);
	do {
		vm_call(&vm, count, NULL);
		must(++tries < VM_TRIES, "the code without a tick of the host");
	} while (g.disturbed);
}

static void intel(void)
{
	static const struct {
		uint32_t msr;
		uint64_t write, want;
		bool fault;
		const char *what;
	} rows[] = {
		{ MSR_IA32_PERFCTR0, 5, 5, 0, "legacy, a small value" },
		{ MSR_IA32_PERFCTR0, 0x80000000, 0xffff80000000, 0, "legacy, a negative value" },
		{ MSR_IA32_PERFCTR0, 0xffffffff, 0xffffffffffff, 0, "legacy, the highest value" },
		{ MSR_IA32_PERFCTR0, 0x1200000034, 0x34, 0, "legacy, more than 32 bits" },
		{ MSR_IA32_PMC0, 0x800000000001, 0x800000000001, 0, "full width" },
		{ MSR_IA32_PMC0, 1ULL << 48, 0x800000000001, 1, "full width, one bit too many" },
		{ MSR_IA32_PMC0, ~0ULL, 0x800000000001, 1, "full width, all bits" },
	};
	unsigned int i;
	char what[128];

	check_equal("IA32_PERF_GLOBAL_CTRL of a new vCPU",
		    vm_get_msr(&vm, MSR_CORE_PERF_GLOBAL_CTRL), (1U << vm_seen.general) - 1,
		    "all general counters, enabled by RESET");
	g.selector = MSR_P6_EVNTSEL0;
	g.counter = MSR_IA32_PERFCTR0;
	g.select = vm_selector(&(struct vm_counter) { .event = VM_INSNS, .privilege = VM_KERNEL });
	ask();
	check_equal("a counter of a guest that uses selectors only", g.count, 1 + 100 + 2,
		    "WRMSR, the NOPs, two more");
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		g.write_msr = rows[i].msr;
		g.write = rows[i].write;
		vm_call(&vm, write_and_read, NULL);
		snprintf(what, sizeof(what), "write, %s", rows[i].what);
		check_equal(what, g.value, rows[i].want, "as hardware does");
		check_equal(what, g.faults, rows[i].fault, "#GP if there is a bit too many");
	}
}

static void amd(void)
{
	static const struct {
		const char *what;
		uint64_t bits;
		bool counts;		/* without SVM the manual does not define a mode's bit */
	} rows[] = {
		{ "no other bit", 0, 1 },
		{ "the host-only bit", 1ULL << 41, 0 },
		{ "the guest-only bit", 1ULL << 40, 0 },
		{ "both", 3ULL << 40, 1 },
		{ "a reserved bit", 1ULL << 21, 1 },
		{ "bit 19, which was pin control", 1ULL << 19, 1 },
		{ "bits 63 to 42", ~0ULL << 42, 1 },
		{ "the host-only bit and an interrupt, as of rr on Zen", 1ULL << 41 | 1 << 20, 0 },
	};
	static const uint32_t selectors[] = { MSR_F15H_PERF_CTL, MSR_F15H_PERF_CTL + 10,
					      MSR_K7_EVNTSEL0, MSR_K7_EVNTSEL0 + 3 };
	static const uint32_t counters[] = { MSR_F15H_PERF_CTR, MSR_F15H_PERF_CTR + 10,
					     MSR_K7_PERFCTR0, MSR_K7_PERFCTR0 + 3 };
	uint64_t plain = vm_selector(&(struct vm_counter) { .event = VM_INSNS, .privilege = VM_KERNEL });
	unsigned int i, k;
	char what[128];

	for (k = 0; k < ARRAY_SIZE(selectors); k++)
		for (i = 0; i < ARRAY_SIZE(rows); i++) {
			g.selector = selectors[k];
			g.counter = counters[k];
			g.select = plain | rows[i].bits;
			ask();
			snprintf(what, sizeof(what), "selector %#x with %s", selectors[k], rows[i].what);
			check_equal(what, g.faults, 0, "no #GP");
			if (rows[i].counts)
				check_equal(what, g.count, 1 + 1 + 100 + 2,
					    "WRMSR, the VM-entry after it, the NOPs, two more");
			else
				note("%s: counts %llu", what, (unsigned long long)g.count);
			check_equal(what, g.selected & 0xffffffffULL & ~0x280000ULL, plain | (rows[i].bits & 1 << 20),
				    "defined bits stay as written");
		}
}

static void without_svm(struct kvm_cpuid_entry2 *e)
{
	if (e->function == 0x80000001)
		e->ecx &= ~4U;		/* SVM: the guest is not a hypervisor */
}

int main(void)
{
	vm_model = without_svm;
	vm_open(&vm);
	skip_faults();
	/* This writes no register of the PMU. */
	vm_call(&vm, vm_guest_prepare, NULL);
	if (vm_seen.amd)
		amd();
	else
		intel();
	vm_close(&vm);
	return check_done();
}
