// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: events that KVM emulates before it enables interrupts again count as exactly as all others,
 * and KVM calls nothing there that may sleep.
 *
 * Such events are WRMSRs of the x2APIC's interrupt command and, on Intel, of the timer's deadline.
 * In a fast path KVM only adds them to the counter and leaves perf, which takes locks, for later.
 * On a kernel with DEBUG_ATOMIC_SLEEP, stock 6.1 complains about itself here, and the runner takes
 * that as a failure (6.1-debug-stock).
 *
 * If RDPMC exits with a mediated vPMU, KVM emulates it between two VM-entries.  It has to notice a
 * counter overflow there before the next VM-entry.
 */
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

static const struct {
	const char *what, *code;
	unsigned int emulated;		/* where the counter overflows; 0: far from it */
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
	{ "an overflow at an interrupt", "(nop*3 ipi)*9 nop*3", 4 },
	{ "an overflow at an interrupt, one after the other", "nop*3 ipi*9 nop*3", 4 },
	{ "an overflow at a deadline", "(nop*3 deadline)*9 nop*3", 4 },
	{ "an overflow amid both",
	  "(nop*3 ipi deadline nop*2 deadline ipi ipi deadline)*9 nop*3", 7 },
	{ "an overflow at a reading", "(nop*3 rdpmc)*9 nop*3", 4 },
	{ "an overflow at a reading, one after the other", "nop*3 rdpmc*9 nop*3", 4 },
	{ "an overflow amid all of them",
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

			/* Here the guest executes RDPMC itself, without an exit. */
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
			/*
			 * Find the number of events up to that instruction: let each event be the
			 * last one in turn, until the PMI comes there.
			 */
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
