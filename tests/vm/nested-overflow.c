// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: if a counter overflows while a guest that is a hypervisor itself (L1) runs its guest (L2),
 * there is one PMI: to L2, or to L1 if L1 intercepts it.  No event is lost, wherever on the way the
 * overflow happens.
 */
#include "nested.h"

/* Did the PMI come once, at this address? */
static bool came_at(bool taken, uint64_t rip)
{
	return taken ? l1.exits == 2 && l1.rip[0] == rip :
		       vm_seen.pmis == 1 && vm_seen.pmi[0].rip == rip;
}

/* Overflow @to events after the entry, and check where the PMI comes. */
static void overflow_row(const char *what, unsigned int to, bool taken, bool vector)
{
	unsigned int tries = 0;
	uint64_t in_front, entry = vm_seen.amd ? 2 : 1;	/* AMD: the VM-entry; both: the call */

	nested_defaults();
	vm_seen.fixed_vector = vector;
	l1.takes_nmi = taken && !vector;
	l1.takes_interrupts = taken && vector;
	vm_body(&nested.l2, "nop*30");
	nested_counter(VM_INSNS, VM_KERNEL, 0, 1);
	do {
		nested.s.counter[0].start = 0;
		nested_measure();
		in_front = nested_events(0) - nested_insns_of_l2(&nested.s.counter[0]) -
			   nested_insns_after_exit(0);
		nested.s.counter[0].start = -(in_front + to);
		vm_measure(&nested.vm, &nested.s);
		must(++tries < VM_TRIES, "two measured regions are alike");
		/* On AMD a tick of the host moves the PMI, because the VM-entry after it counts. */
	} while (vm_seen.amd && tries < 5 &&
		 !came_at(taken, (uint64_t)nested.l2.code + to - entry));
	nested_title(what, vector ? "vector" : "NMI");
	check_equal(nested.name, l1.pmis + vm_seen.pmis, 1, "one PMI");
	check_equal("exits to L1", l1.exits, taken ? 2 : 1,
		    "the PMI, if L1 takes it, and the call");
	check_equal("the count", vm_signed(nested.s.counter[0].value),
		    vm_signed(nested.s.counter[0].start + nested_events(0)),
		    "the PMI loses no event");
	if (taken) {
		check_equal("why", l1.reason[0],
			    vm_seen.amd ? (vector ? SVM_INTR : SVM_NMI) :
					  (vector ? VMX_INTERRUPT : VMX_EXCEPTION_NMI), "the PMI");
		check_equal("where", l1.rip[0] - (uint64_t)nested.l2.code, to - entry,
			    "right after the instruction");
		if (!vm_seen.amd && !vector) {
			check_equal("as", l1.info[0], 0x80000202, "NMI");
			check_equal("status", l1.status, 1, "the counter's");
			check_equal("L1's LVTPC", l1.lvtpc, APIC_DM_NMI | APIC_LVT_MASKED,
				    "masked by the delivery");
		}
	} else if (vm_seen.pmis) {
		check_equal("where", vm_seen.pmi[0].rip - (uint64_t)nested.l2.code, to - entry,
			    "right after the instruction");
		if (!vm_seen.amd)
			check_equal("status", vm_seen.pmi[0].status, 1, "the counter's");
	}
}

/* Let the counter overflow at each event in turn, on the way from L1 through L2 and back. */
static void everywhere(const char *what, const char *code, enum vm_event event, bool taken,
		       bool vector, uint64_t bits)
{
	unsigned int to, first, last, bad = 0, tries;
	uint64_t pmis = 0;

	nested_defaults();
	vm_seen.fixed_vector = vector;
	l1.takes_nmi = taken && !vector;
	l1.takes_interrupts = taken && vector;
	vm_body(&nested.l2, code);
	nested_counter(event, VM_BOTH, 0, 1);
	nested.on_bits[0] = bits;
	/* A tick of the host adds an entry on AMD. */
	for (to = 0, last = ~0U; to < 3; to++) {
		nested_measure();
		last = nested.s.counter[0].value < last ? nested.s.counter[0].value : last;
	}
	/*
	 * Leave out PMIs after the reading of the last end, and on AMD within the first end: it is
	 * not known how much of their handler counts.
	 */
	first = !vm_seen.amd || bits == AMD64_EVENTSEL_GUESTONLY ? 1 : event == VM_INSNS ? 14 : 3;
	last -= event == VM_INSNS && bits != AMD64_EVENTSEL_GUESTONLY ? VM_SWITCH_INSNS(0) + 8 : 0;
	must(last >= first + 10, "there is something to count");
	nested.s.interrupted = !vm_seen.amd;
	for (to = first; to <= last; to++) {
		uint64_t want;

		nested.s.counter[0].start = -(uint64_t)to;
		tries = 0;
		do {
			vm_measure(&nested.vm, &nested.s);
		} while (bits && l1.exits == 1 && !vm_seen.pmis && !nested_undisturbed() &&
			 ++tries < VM_TRIES);
		want = nested.s.counter[0].start + nested_events(0);
		pmis += vm_seen.pmis + l1.pmis;
		/* With mode bits and a PMI in between, it is not known what belongs to L1 or L2. */
		if (vm_seen.pmis + l1.pmis != 1 ||
		    (!bits && ((nested.s.counter[0].value ^ want) & VM_MASK))) {
			if (!bad++)
				note("the first: %u events before its overflow: %u PMIs in the "
				     "handlers, %u as exits; %lld, not %lld", to,
				     vm_seen.pmis, l1.pmis,
				     vm_signed(nested.s.counter[0].value), vm_signed(want));
		}
	}
	snprintf(nested.name, sizeof(nested.name), "%s, %s, %s%s, of %u: PMIs", what,
		 event == VM_INSNS ? "instructions" : "branches", vector ? "vector" : "NMI",
		 nested.beside ? ", beside the host's event" : "", last - first + 1);
	check_equal(nested.name, pmis, last - first + 1, "one each");
	check_equal("incorrect ones", bad, 0, "one PMI, nothing lost");
}

#define ANYWHERE "nop*3 jmp rdmsr nop*2 rdpmc jmp wrmsr nop*3"

static void overflows(void)
{
	unsigned int taken, vector, event;

	for (taken = 0; taken <= 1; taken++)
		for (vector = 0; vector <= 1; vector++) {
			overflow_row(taken ? "L1 takes it" : "L2 gets it", 9, taken, vector);
			overflow_row(taken ? "the last nop, L1 takes it" :
					     "the last nop, L2 gets it",
				     vm_seen.amd ? 32 : 31, taken, vector);
		}
	for (taken = 0; taken <= 1; taken++)
		for (vector = 0; vector <= 1; vector++)
			for (event = 0; event <= 1; event++)
				everywhere(taken ? "anywhere, L1 takes it" : "anywhere, L2 gets it",
					   ANYWHERE, event, taken, vector, 0);
	if (vm_seen.amd) {
		everywhere("anywhere, host-only", ANYWHERE, VM_INSNS, false, false,
			   AMD64_EVENTSEL_HOSTONLY);
		everywhere("anywhere, guest-only", ANYWHERE, VM_INSNS, false, false,
			   AMD64_EVENTSEL_GUESTONLY);
		everywhere("anywhere, guest-only, L1 takes it", ANYWHERE, VM_INSNS, true, false,
			   AMD64_EVENTSEL_GUESTONLY);
	}
}

int main(void)
{
	nested_open();
	nested_run(overflows);
	return nested_close();
}
