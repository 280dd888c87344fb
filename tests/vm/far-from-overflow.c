// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a counter that was far from overflow overflows as exactly as one that was near.
 *
 * While a counter is far from overflow, KVM does not look at it for each event that it emulates
 * (PMC_COUNT_FAR in arch/x86/kvm/pmc_count.h).  So a counter begins at and around that distance,
 * and some way beyond it, and overflows at each place in a row of plain and emulated instructions.
 * In between KVM has emulated nothing, some events, or more than it may emulate without looking.
 *
 *	PMIs	one, when the counter overflows, before the next instruction
 *	value	as the machine and KVM have counted, to the last event
 *
 * A PMI is one event late if perf has one event to go (one_to_go() in tests/lib/vm/expect.c).  That
 * is perf's own rule.
 */
#include "vm.h"

#define FAR	(1ULL << 24)
#define ROOM	(FAR >> 8)
#define KINDS	"nop*2 cpuid rdmsr nop*2 rdpmc jmp*2 out-pic in-pic nop*3 mmio-write nop*2 " \
		"fep-nop fep-jmp hypercall nop*9"

/*
 * NOPs after the row.  Regions as long as these have ticks of the host in them, and each tick is a
 * VM-entry that AMD counts.  The number of ticks may differ by this much from the run that measures
 * how long the region is.
 */
#define TAIL	99

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

/*
 * What comes before the row: plain instructions, then CPUIDs, then plain instructions.  The numbers
 * are lengths of loops.
 */
static const struct {
	const char *what;
	uint32_t before, cpuids, behind;
	bool fixed;
} rows[] = {
	{ "at the distance", FAR / 2 - 30, 1, 1, 0 },
	{ "beyond it", FAR / 2 + ROOM, 1, 1, 0 },
	{ "beyond it, fixed", FAR / 2 + ROOM, 1, 1, 1 },
	{ "some emulated", FAR / 2, ROOM / 4, ROOM, 0 },
	{ "nearly all the room", FAR / 4, ROOM - 9, FAR / 4, 0 },
	{ "more than the room", FAR / 4, ROOM + 9, FAR / 4, 0 },
	{ "more than the room, then near", FAR / 2 - 2 * ROOM, ROOM + 9, ROOM, 0 },
};

static void distances(unsigned int row)
{
	struct vm_counter counter = {
		.event = VM_INSNS, .privilege = VM_KERNEL, .fixed = rows[row].fixed, .interrupt = true,
	};
	unsigned int ends = 0, judged = 0, once = 0, when = 0, value = 0;
	uint64_t all, to;
	char what[128];

	if (counter.fixed && vm_seen.amd)
		return;
	body.loop[0] = rows[row].before;
	body.loop[1] = rows[row].cpuids;
	body.loop[2] = rows[row].behind;
	vm_body(&body, "loop cpuids loop " KINDS " nop*99");
	s.body = &body;
	s.n = 1;
	s.counter[0] = counter;
	vm_measure(&vm, &s);
	all = s.counter[0].value;
	/* Each row has other places. */
	for (to = all - TAIL - 55 + row; to < all - TAIL; to += 6) {
		uint64_t expected, late = 0;

		s.counter[0] = counter;
		s.counter[0].start = -to;
		vm_measure(&vm, &s);
		expected = vm_expected(&s, 0);
		ends++;
		once += vm_seen.pmis != 1;
		value += s.counter[0].value != expected;
		if (vm_pmi_in_code(&s, 0)) {
			late = vm_pmi_late(&s, 0, VM_BEGIN, 0, to);
			judged++;
		}
		when += !!late;
		if ((vm_seen.pmis != 1 || s.counter[0].value != expected || late) && once + value + when < 6)
			note("%llu to go: %u PMIs, late by %lld; the counter %lld, want %lld", (unsigned long long)to, vm_seen.pmis,
			     (long long)late, vm_signed(s.counter[0].value), vm_signed(expected));
	}
	snprintf(what, sizeof(what), "%s: overflows without exactly one PMI, of %u", rows[row].what,
		 ends);
	check_equal(what, once, 0, "no overflow is lost or reported twice");
	snprintf(what, sizeof(what), "%s: PMIs that are late", rows[row].what);
	check_equal(what, when, 0, "each comes at once");
	check(judged > ends / 2, "most of them come in the row");
	snprintf(what, sizeof(what), "%s: wrong values", rows[row].what);
	check_equal(what, value, 0, "the counter is exact");
}

int main(void)
{
	unsigned int row;

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	for (row = 0; row < ARRAY_SIZE(rows); row++)
		distances(row);
	vm_close(&vm);
	return check_done();
}
