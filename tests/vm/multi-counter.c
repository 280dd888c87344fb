// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: several counters of the same events do not disturb each other, and each has what KVM
 * emulates.
 *
 * First all counters are exact next to each other.  Then one emulated instruction makes all that
 * count it overflow: a PMI comes at once and finds all their status bits, and each counter
 * continues after its overflow.
 */
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

static const struct {
	const char *what, *code;
} rows[] = {
	{ "nothing emulated", "nop*9" },
	{ "a few exits", "(nop*3 cpuid fep-nop fep-jmp rdpmc out-pic out-vmm)*9" },
	{ "a mix", "(" VM_MIX_KERNEL ")*3 user{(" VM_MIX_USER ")*3} nop*9" },
};

static const struct vm_counter counters[] = {
	{ .name = "instructions, kernel", .index = 0, .event = VM_INSNS, .privilege = VM_KERNEL },
	{ .name = "instructions, user", .index = 1, .event = VM_INSNS, .privilege = VM_USER },
	{ .name = "instructions, both", .index = 2, .event = VM_INSNS, .privilege = VM_BOTH },
	{ .name = "branches, both", .index = 3, .event = VM_BRANCHES, .privilege = VM_BOTH },
	{ .name = "branches, user", .index = 4, .event = VM_BRANCHES, .privilege = VM_USER },
	{ .name = "the last general one, or a fixed one", .index = 5, .event = VM_INSNS, .privilege = VM_KERNEL },
};

static void prepare(void)
{
	memcpy(s.counter, counters, sizeof(counters));
	s.n = ARRAY_SIZE(counters);
	s.body = &body;
	if (!vm_seen.amd) {
		s.counter[5].fixed = true;
		s.counter[5].index = 0;
	}
	/* The CPU has only four general counters. */
	if (vm_seen.general < 5)
		s.counter[4] = s.counter[--s.n];
}

static void beside(void)
{
	unsigned int row, i;
	char what[128];

	for (row = 0; row < ARRAY_SIZE(rows); row++) {
		vm_body(&body, rows[row].code);
		prepare();
		vm_measure(&vm, &s);
		for (i = 0; i < s.n; i++) {
			snprintf(what, sizeof(what), "%s: %s", rows[row].what, s.counter[i].name);
			check_equal(what, s.counter[i].value, vm_expected(&s, i), "the machine's count and what KVM emulated");
		}
	}
}

/* All counters overflow at the OUT of a point. */
static void at_once(void)
{
	uint64_t to[ARRAY_SIZE(counters)] = { 0 }, bits = 0;
	unsigned int i, tries = 0;
	bool moved;

	vm_body(&body, "nop*9 cpuid fep-nop hook nop*50");
	prepare();
	/*
	 * Repeat until the OUT is as far away for all as the last time: on AMD a tick of the host
	 * counts.
	 */
	do {
		must(++tries < VM_TRIES, "two tries are alike");
		vm_measure(&vm, &s);
		for (i = 0, moved = false; i < s.n; i++) {
			struct vm_counter *c = &s.counter[i];

			if (c->event != VM_INSNS || c->privilege == VM_USER)
				continue;
			moved |= to[i] != vm_events(&s, i, VM_BEGIN, 0) + 1;
			to[i] = vm_events(&s, i, VM_BEGIN, 0) + 1;
			bits |= vm_bit(c);
			if (moved) {
				c->start = -to[i];
				c->interrupt = true;
			}
		}
	} while (moved);
	check(vm_seen.pmis >= 1, "all at once: a PMI");
	check_equal("all at once: where", vm_seen.pmi[0].rip - (uint64_t)body.code, body.point[0].next - (uint64_t)body.code,
		    "right after the OUT");
	if (!vm_seen.amd) {
		check_equal("all at once: PMIs", vm_seen.pmis, 1, "masked by the first, cleared by its handler");
		check_equal("all at once: status", vm_seen.pmi[0].status, bits,
			    "of all that have overflowed");
	}
	for (i = 0; i < s.n; i++)
		check_equal(s.counter[i].name, vm_signed(s.counter[i].value),
			    vm_signed(vm_expected(&s, i)), "after its overflow");
}

int main(void)
{
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	beside();
	at_once();
	vm_close(&vm);
	return check_done();
}
