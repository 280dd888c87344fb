// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a mediated vPMU is right for every model of a PMU that userspace may give to a guest, and RDPMC reads the guest's
 * counters only: it exits unless the guest has all counters of the machine.
 *
 * The count is known: the WRMSR that enables the counter counts itself, KVM has emulated it; on AMD so does the entry
 * after it; then the code in between.  The selector that is written to disable it is not counted.
 */
#include "vm.h"

enum { ALL = 99 };

static const struct model {
	const char *what;
	bool amd;
	unsigned int version, counters, fixed, width;
	bool core;
	bool rdpmc_exits, msr_exits, global_exits;
} models[] = {
	{ "all there is", 0, 2, 8, 3, 48, 0, 0, 0, 0 },
	{ "version 1", 0, 1, 8, 0, 48, 0, 1, 0, 1 },
	{ "fewer general counters", 0, 2, 4, 3, 48, 0, 1, 0, 1 },
	{ "fewer fixed counters", 0, 2, 8, 2, 48, 0, 1, 0, 1 },
	{ "narrower counters", 0, 2, 8, 3, 40, 0, 1, 1, 1 },
	{ "PerfMonV2, all there is", 1, 2, 6, 0, 48, 1, 0, 0, 0 },
	{ "PerfMonV2, fewer counters", 1, 2, 4, 0, 48, 1, 1, 0, 1 },
	{ "core counters", 1, 1, 6, 0, 48, 1, 0, 0, 1 },
	{ "four counters", 1, 1, 4, 0, 48, 0, 1, 0, 1 },
};

static const struct model *model;

/* Three are all. */
static unsigned int fixed(void)
{
	return model->fixed + vm_seen.fixed >= 3 ? model->fixed + vm_seen.fixed - 3 : 0;
}

/* "All" are those of the CPU, and fewer are fewer than that. */
static unsigned int counters(void)
{
	unsigned int all = model->amd ? 6 : 8, most = vm_seen.general - (model->counters != all);

	return model->counters == all || model->counters > most ? most : model->counters;
}

static void set_model(struct kvm_cpuid_entry2 *e)
{
	switch (e->function) {
	case 0xa:
		e->eax = (e->eax & ~0xffffff) | model->version | counters() << 8 | model->width << 16;
		e->edx = model->version > 1 ? fixed() | model->width << 5 : 0;
		break;
	case 0x80000001:
		e->ecx = model->core ? e->ecx | 1 << 23 : e->ecx & ~(1 << 23);
		break;
	case 0x80000022:
		e->eax = (e->eax & ~1U) | (model->version > 1);
		e->ebx = (e->ebx & ~0xfU) | counters();
		break;
	}
}

#define NOPS	100		/* as in the code */
#define START	1000

static struct {
	uint64_t start;
	uint32_t selector, counter, global, status;
	uint64_t select, value, rdpmc, read_global, read_status, cleared, set, still;
	unsigned int tries;
	uint64_t exits[4], disturbed;
} g;

static void guest(void *unused)
{
	uint32_t lo = g.select, zero = 0, a, d;
	uint64_t before;

	(void)unused;
	wrmsr(g.selector, 0);
	wrmsr(g.counter, g.start);
	if (g.global)
		wrmsr(g.global, 1);
	before = mark_read(TRUTH_EXITS);
	asm volatile("wrmsr\n\t.rept 100\n\tnop\n\t.endr\n\txor %%eax, %%eax\n\txor %%edx, %%edx\n\twrmsr"
		     : "+a" (lo), "+d" (zero) : "c" (g.selector) : "memory");
	g.exits[0] = mark_read(TRUTH_EXITS);
	/* The two WRMSRs are exits in any case. */
	g.disturbed = g.exits[0] - before - 2;
	asm volatile("rdpmc" : "=a" (a), "=d" (d) : "c" (0));
	g.rdpmc = (uint64_t)d << 32 | a;
	g.exits[1] = mark_read(TRUTH_EXITS);
	g.value = rdmsr(g.counter);
	g.exits[2] = mark_read(TRUTH_EXITS);
	if (g.global) {
		g.read_global = rdmsr(g.global);
		g.read_status = rdmsr(g.status);
		wrmsr(g.global, 0);
	}
	g.exits[3] = mark_read(TRUTH_EXITS);
	if (!g.global)
		return;
	/* AMD's can be set, too, by the next register. */
	if (g.global != MSR_CORE_PERF_GLOBAL_CTRL) {
		wrmsr(g.status + 3, 2);
		g.set = rdmsr(g.status) & 2;
	}
	wrmsr(g.status + 2, ~0ULL >> 62);
	g.cleared = rdmsr(g.status);
	/* With no selector changed after the control. */
	wrmsr(g.global, 1);
	wrmsr(g.selector, g.select);
	wrmsr(g.global, 0);
	g.still = rdmsr(g.counter);
	asm volatile(".rept 100\n\tnop\n\t.endr");
	g.still = rdmsr(g.counter) - g.still;
	wrmsr(g.selector, 0);
}

/* A tick of the host in between is an exit too, and on AMD its entry counts: two times in a row it does not come at one place. */
static void ask(struct vm *vm)
{
	uint64_t last = 0, exits = 0;
	unsigned int tries = 0;

	/* From another start each time, for no value to be right that is of the time before. */
	g.tries = 0;
	do {
		last = exits;
		g.start++;
		g.tries++;
		vm_call(vm, guest, NULL);
		exits = g.exits[3] - g.exits[0];
		must(++tries < VM_TRIES, "the host's ticks leave the code in peace");
	} while (g.disturbed || tries < 2 || exits != last);
}

int main(void)
{
	static struct vm vm;
	unsigned int i;

	vm_model = set_model;
	for (i = 0; i < ARRAY_SIZE(models); i++) {
		uint64_t want;

		model = &models[i];
		/* Without core counters it is a guest whose owner wants no PMU for it. */
		if (model->amd != on_amd() || (model->amd && !model->core && on_mediated()))
			continue;
		vm_open(&vm);
		vm_call(&vm, vm_guest_prepare, NULL);
		memset(&g, 0, sizeof(g));
		g.start = START;
		g.select = vm_selector(&(struct vm_counter) { .event = VM_INSNS, .privilege = VM_KERNEL });
		g.selector = !model->amd ? MSR_P6_EVNTSEL0 :
			     model->core ? MSR_F15H_PERF_CTL :
					   MSR_K7_EVNTSEL0;
		g.counter = !model->amd ? MSR_IA32_PERFCTR0 :
			    model->core ? MSR_F15H_PERF_CTR :
					  MSR_K7_PERFCTR0;
		if (model->version > 1) {
			g.global = model->amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL :
						MSR_CORE_PERF_GLOBAL_CTRL;
			g.status = model->amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS :
						MSR_CORE_PERF_GLOBAL_STATUS;
		}
		/* Twice: the first time brings in the pages, by exits that AMD counts. */
		vm_call(&vm, guest, NULL);
		ask(&vm);
		want = START + g.tries + 1 + NOPS + 2 + (model->amd ? 1 : 0);
		note("%s", model->what);
		check_equal("count", g.value, want, "the WRMSR, the nops, two more");
		check_equal("RDPMC", g.rdpmc, want, "the same");
		check_equal("exits of RDPMC", g.exits[1] - g.exits[0], vm_seen.mediated ? model->rdpmc_exits || !vm_seen.rdpmc : 1,
			    "one unless the guest has all counters");
		check_equal("exits of RDMSR", g.exits[2] - g.exits[1], vm_seen.mediated ? model->msr_exits : 1,
			    "one unless the counter is as wide as the machine's");
		if (g.global) {
			check_equal("exits of the global registers", g.exits[3] - g.exits[2],
				    vm_seen.mediated ? 3 * model->global_exits : 3, "three unless the guest has all counters");
			check_equal("global control", g.read_global, 1, "as written");
			check_equal("status", g.read_status, 0, "no overflow");
		}
		/* Its end, as the guest knows it; by the legacy MSRs that is a negative number. */
		g.start = model->amd ? (1ULL << model->width) - 50 : -50 & 0xffffffff;
		want -= START + g.tries + 50;
		ask(&vm);
		check_equal("count after its end", g.value, want + g.tries, "it goes on from zero");
		if (g.global)
			check_equal("status after its end", g.read_status, 1, "overflow");
		if (g.global)
			check_equal("status, cleared", g.cleared, 0, "as written to its reset");
		if (g.global)
			check_equal("events with the control off", g.still, 0, "the selector alone does not count");
		if (g.global && model->amd)
			check_equal("status, set", g.set, 2, "as written");
		vm_close(&vm);
	}
	return check_done();
}
