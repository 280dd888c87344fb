// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: what KVM emulates before it has enabled interrupts again is counted as exactly as everything else, and nothing that
 * may sleep is called there.
 *
 * Such are WRMSRs of the x2APIC's interrupt command and, on Intel, of the timer's deadline.  A counter is only to be told
 * of them; perf, which takes locks, waits.  On a kernel with DEBUG_ATOMIC_SLEEP stock 6.1 complains of itself here, which
 * the runner takes as a failure (6.1-debug-stock).
 *
 * Where a mediated vPMU has RDPMC exit, that is emulated between two VM-entries: an end of the counter there has to be
 * seen before the next one.
 */
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

static const struct {
	const char *what, *code;
	unsigned int emulated;		/* the end of the counter is at this one of those that are emulated; 0: far */
} rows[] = {
	{ "interrupts", "(nop*3 ipi)*9 nop*3", 0 },
	{ "interrupts, one after the other", "nop*3 ipi*9 nop*3", 0 },
	{ "deadlines", "(nop*3 deadline)*9 nop*3", 0 },
	{ "both", "(nop*3 ipi deadline nop*2 deadline ipi ipi deadline)*9 nop*3", 0 },
	{ "readings", "(nop*3 rdpmc)*9 nop*3", 0 },
	{ "readings, one after the other", "nop*3 rdpmc*9 nop*3", 0 },
	{ "all of them",
	  "(nop*3 ipi rdpmc rdpmc deadline rdpmc nop*2 deadline rdpmc ipi ipi rdpmc deadline)*9 "
	  "nop*3",
	  0 },
	{ "an end at an interrupt", "(nop*3 ipi)*9 nop*3", 4 },
	{ "an end at an interrupt, one after the other", "nop*3 ipi*9 nop*3", 4 },
	{ "an end at a deadline", "(nop*3 deadline)*9 nop*3", 4 },
	{ "an end amid both", "(nop*3 ipi deadline nop*2 deadline ipi ipi deadline)*9 nop*3", 7 },
	{ "an end at a reading", "(nop*3 rdpmc)*9 nop*3", 4 },
	{ "an end at a reading, one after the other", "nop*3 rdpmc*9 nop*3", 4 },
	{ "an end amid all of them",
	  "(nop*3 ipi rdpmc rdpmc deadline rdpmc nop*2 deadline rdpmc ipi ipi rdpmc deadline)*9 "
	  "nop*3",
	  8 },
};

int main(void)
{
	unsigned int row, fixed;
	char what[128];

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	for (row = 0; row < ARRAY_SIZE(rows); row++) {
		for (fixed = 0; fixed <= !vm_seen.amd; fixed++) {
			uint64_t next = 0, to;
			unsigned int i, emulated = 0;

			/* The guest itself reads where it can. */
			if (vm_seen.rdpmc && strstr(rows[row].code, "rdpmc"))
				continue;
			vm_body(&body, rows[row].code);
			s.body = &body;
			s.n = 1;
			s.counter[0] = (struct vm_counter) {
				.fixed = fixed, .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true,
			};
			snprintf(what, sizeof(what), "%s, %s", rows[row].what, fixed ? "fixed" : "general");
			if (!rows[row].emulated) {
				vm_measure(&vm, &s);
				vm_check(&s, what);
				continue;
			}
			/* How far it is to that instruction: by making each event the last one, until the PMI comes there. */
			for (i = 0; i < body.insns && emulated < rows[row].emulated; i++) {
				emulated += body.insn[i].emulated;
				next = body.insn[i].next;
			}
			s.interrupted = true;
			for (to = i; to < VM_TRIES * i; to++) {
				s.counter[0].start = -(to % (3 * i) + i);
				vm_measure(&vm, &s);
				if (vm_seen.pmis && vm_seen.pmi[0].rip == next && vm_ends_are_alike(&s.frame))
					break;
			}
			s.interrupted = false;
			check(vm_seen.pmis && vm_seen.pmi[0].rip == next, "%s: the PMI is right after it", what);
			vm_check(&s, what);
		}
	}
	vm_close(&vm);
	return check_done();
}
