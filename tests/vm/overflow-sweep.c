// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: with a mediated vPMU each overflow is one PMI of the guest, wherever it happens.
 *
 *	everywhere	a counter overflows at each event of a measured region in turn: at VM-exits,
 *			right before and after these, at events that KVM emulates and at others
 *	in the handler	a second counter overflows at each event in turn from the PMI of the first
 *			one on: with LVTPC masked, with the status read but not yet cleared, by the
 *			write that unmasks LVTPC, while NMIs are blocked
 *
 * The expected PMIs are those that the machine has delivered to the host while the guest had the
 * PMU, and one for each overflow by an emulated instruction.  A PMI that meets a masked LVTPC is
 * lost, as on hardware, but its status bit is not.
 */
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

static const struct vm_counter counters[] = {
	{ .index = 0, .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true },
	{ .index = 1, .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true },
};

static struct {
	unsigned int stretches, wrong_counts, wrong_pmis, late, lost_status, no_status;
	uint64_t pmis, hardware, emulated;
} sum;

static void run(unsigned int overflows)
{
	uint64_t hardware = mark_read(TRUTH_PMIS), seen = vm_stat(&vm, "pmu_pmis"), emulated = vm_stat(&vm, "pmu_emulated_overflows");
	uint64_t bits = 0, due = 0, status;
	unsigned int i, p;

	vm_measure(&vm, &s);
	hardware = mark_read(TRUTH_PMIS) - hardware;
	seen = vm_stat(&vm, "pmu_pmis") - seen;
	emulated = vm_stat(&vm, "pmu_emulated_overflows") - emulated;
	sum.stretches++;
	for (i = 0; i < s.n; i++) {
		sum.wrong_counts += s.counter[i].value != vm_expected(&s, i);
		due |= vm_bit(&s.counter[i]);
	}
	/* A region that ran again because of a tick of the host adds its PMIs to both sides. */
	sum.wrong_pmis += seen != hardware || vm_seen.pmis > hardware + emulated || !vm_seen.pmis || vm_seen.pmis > overflows;
	sum.pmis += vm_seen.pmis;
	sum.hardware += hardware;
	sum.emulated += emulated;
	if (vm_seen.amd)
		return;
	for (p = 0; p < vm_seen.pmis && p < VM_PMIS; p++) {
		status = vm_seen.pmi[p].status;
		sum.no_status += !status;
		/* A bit that is seen twice would be an overflow reported twice. */
		sum.lost_status += !!(bits & status);
		bits |= status;
	}
	sum.lost_status += !!(bits & s.status);
	sum.lost_status += (bits | s.status) != due;
}

static void report(const char *what, unsigned int at_least, bool emulated)
{
	char line[160];
	const struct {
		const char *what;
		uint64_t value;
	} bad[] = {
		{ "counts that are not exact", sum.wrong_counts },
		{ "with more or fewer PMIs than the machine and KVM have raised", sum.wrong_pmis },
		{ "PMIs that come late", sum.late },
		{ "overflows whose status is not reported once", sum.lost_status },
		{ "PMIs that find no status", sum.no_status },
	};
	unsigned int i;

	note("%s: %u measured regions, %llu PMIs; %llu of hardware, %llu of emulated overflows", what, sum.stretches,
	     (unsigned long long)sum.pmis, (unsigned long long)sum.hardware, (unsigned long long)sum.emulated);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(line, sizeof(line), "%s: %s", what, bad[i].what);
		check_equal(line, bad[i].value, 0, "in all measured regions");
	}
	check(sum.stretches >= at_least, "%s: %u measured regions", what, sum.stretches);
	check(sum.hardware && !sum.emulated == !emulated, "%s: some by hardware, %s by emulated instructions", what,
	      emulated ? "some" : "none");
	memset(&sum, 0, sizeof(sum));
}

static void everywhere(void)
{
	uint64_t events, k;

	vm_body(&body,
		"(nop*3 cpuid rdmsr nop*2 jmp wrmsr nop*4 fep-nop ipi nop rdpmc nop out-vmm nop*3 "
		"jmp*2 hypercall fep-jmp in-vmm nop*2)*9 nop*5");
	memcpy(s.counter, counters, sizeof(counters));
	s.n = 1;
	s.body = &body;
	s.counter[0].start = 0;
	vm_measure(&vm, &s);
	events = s.counter[0].value;
	/* Leave out the two ends, whose exits have to be alike. */
	for (k = 20; k < events - 40; k++) {
		s.counter[0].start = -k;
		run(1);
		sum.wrong_pmis += vm_seen.pmis != 1;
		sum.late += vm_seen.pmis && vm_pmi_late(&s, 0, VM_BEGIN, 0, k);
	}
	report(vm_seen.fixed_vector ? "everywhere, by a vector" : "everywhere, by NMI", 300, true);
}

/* More instructions than the first PMI's handler executes. */
#define HANDLER		140

static void in_handler(const char *code, const char *what)
{
	uint64_t k, where;
	char line[80];

	vm_body(&body, code);
	memcpy(s.counter, counters, sizeof(counters));
	s.n = 2;
	s.body = &body;
	for (where = 90; where < 93; where++) {
		for (k = 0; k < HANDLER; k++) {
			s.counter[0].start = -where;
			s.counter[1].start = -(where + k);
			run(2);
			/*
			 * AMD does not mask LVTPC: expect two PMIs, unless one instruction causes
			 * both.
			 */
			if (vm_seen.amd && k > 1)
				sum.wrong_pmis += vm_seen.pmis != 2;
		}
	}
	snprintf(line, sizeof(line), "in the handler, %s, %s", what, vm_seen.fixed_vector ? "by a vector" : "by NMI");
	report(line, 3 * HANDLER, !vm_seen.amd || strstr(code, "cpuid"));
}

int main(void)
{
	must(on_mediated(), "the vPMU is mediated");
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	everywhere();
	in_handler("nop*300", "no exits");
	in_handler("nop*80 (cpuid nop)*80 nop*80", "exits");
	vm_close(&vm);
	vm_seen.fixed_vector = true;
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	everywhere();
	in_handler("nop*80 (cpuid nop)*80 nop*80", "exits");
	vm_close(&vm);
	return check_done();
}
