// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a mediated vPMU is correct for every model of a PMU that userspace may give a guest.  RDPMC
 * reads the guest's counters only: it exits unless the guest has all counters of the machine.
 *
 * The count is known.  The WRMSR that enables the counter counts itself, because KVM emulates it,
 * and on AMD so does the VM-entry after it.  Then the code in between counts.  The WRMSR that
 * disables the counter does not count.
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
	{ "all counters", 0, 2, 8, 3, 48, 0, 0, 0, 0 },
	{ "version 1", 0, 1, 8, 0, 48, 0, 1, 0, 1 },
	{ "fewer general counters", 0, 2, 4, 3, 48, 0, 1, 0, 1 },
	{ "fewer fixed counters", 0, 2, 8, 2, 48, 0, 1, 0, 1 },
	{ "narrower counters", 0, 2, 8, 3, 40, 0, 1, 1, 1 },
	{ "PerfMonV2, all counters", 1, 2, 6, 0, 48, 1, 0, 0, 0 },
	{ "PerfMonV2, fewer counters", 1, 2, 4, 0, 48, 1, 1, 0, 1 },
	{ "core counters", 1, 1, 6, 0, 48, 1, 0, 0, 1 },
	{ "four counters", 1, 1, 4, 0, 48, 0, 1, 0, 1 },
};

static const struct model *model;

/* The model's fixed counters, relative to a CPU with three. */
static unsigned int fixed(void)
{
	return model->fixed + vm_seen.fixed >= 3 ? model->fixed + vm_seen.fixed - 3 : 0;
}

/* The model's general counters: all that the guest can have, or fewer than that. */
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
	/* The two WRMSRs always exit. */
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
	/* On AMD another register sets bits of the status. */
	if (g.global != MSR_CORE_PERF_GLOBAL_CTRL) {
		wrmsr(g.status + 3, 2);
		g.set = rdmsr(g.status) & 2;
	}
	wrmsr(g.status + 2, ~0ULL >> 62);
	g.cleared = rdmsr(g.status);
	/* Disable the control last, with no change of a selector after it. */
	wrmsr(g.global, 1);
	wrmsr(g.selector, g.select);
	wrmsr(g.global, 0);
	g.still = rdmsr(g.counter);
	asm volatile(".rept 100\n\tnop\n\t.endr");
	g.still = rdmsr(g.counter) - g.still;
	wrmsr(g.selector, 0);
}

/*
 * A tick of the host in between is an exit, too, and on AMD the VM-entry after it counts.  It does
 * not come at the same place twice in a row.
 */
static void ask(struct vm *vm)
{
	uint64_t last = 0, exits = 0;
	unsigned int tries = 0;

	/* Use another start each time, so that no value of the time before is taken as correct. */
	g.tries = 0;
	do {
		last = exits;
		g.start++;
		g.tries++;
		vm_call(vm, guest, NULL);
		exits = g.exits[3] - g.exits[0];
		must(++tries < VM_TRIES, "the code without a tick of the host");
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
		/* A mediated vPMU takes a guest without core counters as one without a PMU. */
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
		/*
		 * Run it before: page faults of the first run are exits, whose VM-entries AMD
		 * counts.
		 */
		vm_call(&vm, guest, NULL);
		ask(&vm);
		want = START + g.tries + 1 + NOPS + 2 + (model->amd ? 1 : 0);
		note("%s", model->what);
		check_equal("count", g.value, want, "the WRMSR, the NOPs, two more");
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
		/*
		 * Overflow at the guest's width.  The legacy MSRs take a negative number for that.
		 */
		g.start = model->amd ? (1ULL << model->width) - 50 : -50 & 0xffffffff;
		want -= START + g.tries + 50;
		ask(&vm);
		check_equal("count after its overflow", g.value, want + g.tries,
			    "it continues from zero");
		if (g.global)
			check_equal("status after its overflow", g.read_status, 1, "overflow");
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
