// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a counter overflow causes one PMI, at once, whether perf or KVM has counted the last event.
 *
 * Run the same measured region again and again with a counter that starts one event further from
 * overflow each time.  So it overflows once at each of the region's events, plain or emulated, and
 * when it starts further away there is no PMI.
 *
 *	once	one PMI, or none without an overflow; no second one for an overflow that both perf
 *		and KVM have seen
 *	when	before the next instruction: after as many events as there were to go
 *	status	its bit is set when the PMI comes, and not again after it (Intel)
 *	value	the counter continues after the overflow and is exact
 *
 * The PMI is one event late where perf has one event to go (one_to_go() in tests/lib/vm/expect.c).
 * That is perf's own rule.
 */
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

static const struct {
	const char *what, *code;
	enum vm_event event;
	enum vm_privilege privilege;
	bool fixed, vector;
} rows[] = {
	{ "plain, kernel", "(nop*7 jmp nop*9)*4 nop*9", VM_INSNS, VM_KERNEL, 0, 0 },
	{ "each kind of exit, kernel",
	  "nop*3 cpuid rdmsr nop*2 wrmsr rdpmc jmp*2 out-pic in-pic nop*5 out-vmm in-vmm "
	  "mmio-write mmio-read nop*3 fep-nop fep-jmp hypercall wbinvd nop*9",
	  VM_INSNS, VM_KERNEL, 0, 0 },
	{ "each kind of exit, kernel",
	  "nop*3 cpuid rdmsr nop*2 wrmsr rdpmc jmp*2 out-pic in-pic nop*5 out-vmm in-vmm "
	  "mmio-write mmio-read nop*3 fep-nop fep-jmp hypercall wbinvd nop*9",
	  VM_INSNS, VM_KERNEL, 1, 0 },
	{ "each kind of exit, by a vector",
	  "nop*3 cpuid rdmsr nop*2 wrmsr rdpmc jmp*2 out-pic in-pic nop*5 out-vmm in-vmm "
	  "mmio-write mmio-read nop*3 fep-nop fep-jmp hypercall wbinvd nop*9",
	  VM_INSNS, VM_BOTH, 0, 1 },
	{ "each kind of exit, by a vector",
	  "nop*3 cpuid rdmsr nop*2 wrmsr rdpmc jmp*2 out-pic in-pic nop*5 out-vmm in-vmm "
	  "mmio-write mmio-read nop*3 fep-nop fep-jmp hypercall wbinvd nop*9",
	  VM_INSNS, VM_KERNEL, 1, 1 },
	{ "fast paths",
	  "nop*3 ipi nop*3 deadline nop*5 ipi deadline ipi*2 nop*9", VM_INSNS, VM_KERNEL, 0, 0 },
	{ "each kind of exit, user",
	  "user{nop*3 cpuid nop*2 rdpmc jmp*2 out-pic in-pic nop*5 out-vmm in-vmm mmio-write "
	  "mmio-read nop*3 fep-nop fep-jmp hypercall nop*9 nop*40} nop",
	  VM_INSNS, VM_USER, 0, 0 },
	{ "each kind of exit, user",
	  "user{nop*3 cpuid nop*2 rdpmc jmp*2 out-pic in-pic nop*5 out-vmm in-vmm mmio-write "
	  "mmio-read nop*3 fep-nop fep-jmp hypercall nop*9 nop*40} nop",
	  VM_INSNS, VM_USER, 1, 0 },
	{ "user and kernel",
	  "nop*3 cpuid nop*2 cpuid fep-nop nop*3 user{nop*3 cpuid nop*2 cpuid fep-nop nop*3} nop*3 "
	  "cpuid nop*2 cpuid fep-nop nop*9",
	  VM_INSNS, VM_BOTH, 0, 0 },
	{ "kernel beside user",
	  "nop*3 cpuid nop*2 cpuid fep-nop nop*3 user{nop*3 cpuid nop*2 cpuid fep-nop nop*3} nop*3 "
	  "cpuid nop*2 cpuid fep-nop nop*9",
	  VM_INSNS, VM_KERNEL, 0, 0 },
	{ "branches",
	  "(nop fep-jmp nop*2 jmp fep-jmp cpuid fep-jmp jmp nop)*3 user{(nop fep-jmp nop*2 jmp "
	  "fep-jmp cpuid fep-jmp jmp nop)*3} (nop jmp)*40",
	  VM_BRANCHES, VM_BOTH, 0, 0 },
	{ "a long way",
	  "(nop*5 cpuid nop fep-nop cpuid nop*4 fep-nop*2 nop cpuid*2)*14 nop*9",
	  VM_INSNS, VM_KERNEL, 0, 0 },
};

/* More instructions than vm_region_asm executes after the code. */
#define TAIL	40

/* Describe only the first few that are wrong. */
#define WORDS	4

/* The WRMSR that enables the counter is the one event to go: it causes the PMI. */
static void by_enabling(bool fixed)
{
	vm_seen.fixed_vector = false;
	vm_body(&body, "nop*40");
	s.body = &body;
	s.n = 1;
	s.interrupted = true;
	s.counter[0] = (struct vm_counter) {
		.fixed = fixed, .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true, .start = -1,
	};
	vm_measure(&vm, &s);
	vm_check(&s, fixed ? "the WRMSR that enables it, fixed" : "the WRMSR that enables it, general");
	check(vm_seen.pmis && vm_seen.pmi[0].rip == (uint64_t)vm_switched, "the PMI comes right after the WRMSR");
	s.interrupted = false;
}

/*
 * Return whether the PMI of an overflow with @to events to go finds the interrupt's handler, each
 * time.  A host's interrupt at the VM-entry makes one more, which AMD's counters count, too: once.
 */
static bool after_the_interrupt(uint64_t to)
{
	unsigned int i;

	s.counter[0].start = -to;
	for (i = 0; i < 3; i++) {
		vm_measure(&vm, &s);
		if (!vm_seen.pmis || vm_seen.pmi[0].rip != (uint64_t)vm_irq_entry)
			return false;
	}
	return true;
}

/*
 * An emulated instruction overflows a counter and sends an interrupt: both are due at once.  The NMI
 * goes first, so that its handler finds the instruction after the overflow.  AMD's counters count the
 * VM-entry that injects the interrupt, and overflow there in their turn.
 */
static void with_an_interrupt(void)
{
	unsigned int late = 0, overflows = 0;
	uint64_t to, all;

	vm_seen.fixed_vector = false;
	vm_gate(VM_IRQ, vm_irq_entry, 3);
	vm_body(&body, "nop*9 ipi-self nop*40");
	s.body = &body;
	s.n = 1;
	s.counter[0] = (struct vm_counter) { .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true };
	vm_measure(&vm, &s);
	all = s.counter[0].value;
	for (to = 13; to + TAIL <= all; to++) {
		late += after_the_interrupt(to);
		overflows += vm_seen.pmis;
	}
	check(overflows > 20, "beside an interrupt: %u overflows", overflows);
	check_equal("beside an interrupt: PMIs after it", late, vm_seen.amd && vm_seen.mediated,
		    "only that of the VM-entry with the interrupt");
	vm_gate(VM_IRQ, vm_irq_entry, 1);
}

static void sweep(unsigned int row)
{
	struct vm_counter counter = {
		.event = rows[row].event, .privilege = rows[row].privilege, .fixed = rows[row].fixed, .interrupt = true,
	};
	uint64_t first = (uint64_t)body.code, all, to, begin, late, ends = 0;
	unsigned int once = 0, when = 0, status = 0, value = 0, words = 0, plain = 0;
	char what[128];

	vm_seen.fixed_vector = rows[row].vector;
	vm_body(&body, rows[row].code);
	s.body = &body;
	s.n = 1;
	s.counter[0] = counter;
	vm_measure(&vm, &s);
	all = s.counter[0].value;
	/* The first event that is in the code and not in vm_switch. */
	begin = rows[row].event == VM_BRANCHES ? 5 : rows[row].privilege == VM_USER ? 2 : vm_seen.amd ? 13 : 12;
	for (to = begin; to <= all + 3; to++) {
		const struct vm_pmi *pmi = &vm_seen.pmi[0];
		uint64_t expected;
		bool end;

		/* Leave out vm_switch after the code, which must not be interrupted. */
		if (to + TAIL > all && to <= all)
			continue;
		s.counter[0] = counter;
		s.counter[0].start = -to;
		vm_measure(&vm, &s);
		expected = vm_expected(&s, 0);
		end = !(expected >> (VM_WIDTH - 1));	/* it started below zero */
		ends += end;
		if (vm_seen.pmis != end) {
			once++;
			if (words++ < WORDS)
				note("%llu to go: %u PMIs, want %u; the counter %lld, status %#llx", (unsigned long long)to, vm_seen.pmis,
				     end, (long long)(s.counter[0].value << 16) >> 16, (unsigned long long)s.status);
		}
		if (s.counter[0].value != expected) {
			value++;
			if (words++ < WORDS)
				note("%llu to go: the counter is %lld, want %lld", (unsigned long long)to,
				     (long long)(s.counter[0].value << 16) >> 16, (long long)(expected << 16) >> 16);
		}
		if (!vm_seen.amd && (s.status || (vm_seen.pmis && pmi->status != vm_bit(&s.counter[0])))) {
			status++;
			if (words++ < WORDS)
				note("%llu to go: status %#llx at the PMI, %#llx at the end", (unsigned long long)to,
				     vm_seen.pmis ? (unsigned long long)pmi->status : 0, (unsigned long long)s.status);
		}
		if (!vm_pmi_in_code(&s, 0))
			continue;
		plain += vm_pmi_events(&s, 0, VM_BEGIN, 0) == to;
		late = vm_pmi_late(&s, 0, VM_BEGIN, 0, to);
		if (late) {
			when++;
			if (words++ < WORDS)
				note("%llu to go: PMI %lld too late, at %#llx in the code", (unsigned long long)to, (long long)late,
				     (unsigned long long)(pmi->rip - first));
		}
	}
	snprintf(what, sizeof(what), "%s, %s", rows[row].what, counter.fixed ? "fixed" : "general");
	check(once == 0, "%s: %llu overflows, one PMI each", what, (unsigned long long)ends);
	check(when == 0, "%s: at once", what);
	check(plain > ends / 2, "%s: most without perf's delay", what);
	if (!vm_seen.amd)
		check(status == 0, "%s: status", what);
	check(value == 0, "%s: value", what);
}

int main(void)
{
	unsigned int row;

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	for (row = 0; row < ARRAY_SIZE(rows); row++)
		if (!rows[row].fixed || !vm_seen.amd)
			sweep(row);
	by_enabling(false);
	if (!vm_seen.amd)
		by_enabling(true);
	with_an_interrupt();
	vm_close(&vm);
	return check_done();
}
