// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a write to a counter that runs sets it, whatever perf has counted until then, and however much KVM has emulated.
 *
 * What is read behind the write is what was written and the events since, and the counter passes its end as many events
 * behind the write as it then had to go: not later, and not because of what it counted before.
 */
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_stretch s;

#define MINUS(n)	((1ULL << VM_WIDTH) - (n))

/* Where the counter does not count the WRMSR itself, nothing but the write makes KVM look at it. */
static const struct {
	const char *what, *letters;
	uint64_t start, set[2];
	enum vm_event event;
	enum vm_privilege privilege;
} rows[] = {
	{ "set and get", "n9c SGn5Gn5", 0, { 0x1000, 0 }, VM_INSNS, VM_KERNEL },
	{ "set and get amid emulated instructions", "n9cf SccGfnffGn5c", 0, { 0x1000, 0 }, VM_INSNS, VM_KERNEL },
	{ "set to zero", "n30c SGn30G", 0, { 0, 0 }, VM_INSNS, VM_KERNEL },
	{ "a small value behind many events", "n300 S n400 G n9", 0, { 10, 0 }, VM_INSNS, VM_KERNEL },
	{ "a small value behind many, then emulated ones", "n300 S n50 (cn3)9 G n300", 0, { 10, 0 }, VM_INSNS, VM_KERNEL },
	{ "a small value near the end", "n9c S n200 Gn9", MINUS(200), { 10, 0 }, VM_INSNS, VM_KERNEL },
	{ "an end behind many events", "n300 S n100 G n30", 0, { MINUS(60), 0 }, VM_INSNS, VM_KERNEL },
	{ "an end at an emulated one", "n300 S n10 (cn3)9 G n30", 0, { MINUS(40), 0 }, VM_INSNS, VM_KERNEL },
	{ "an end much later than the old one", "n100 S n300 G n30", MINUS(150), { MINUS(280), 0 }, VM_INSNS, VM_KERNEL },
	{ "two ends", "n100 S n100 G S n100 G n30", 0, { MINUS(60), MINUS(70) }, VM_INSNS, VM_KERNEL },
	{ "to the last value", "n100 S n100 G n9", 0, { MINUS(1), 0 }, VM_INSNS, VM_KERNEL },
	{ "behind an end", "n50 S n100 G n9", MINUS(30), { 5, 0 }, VM_INSNS, VM_KERNEL },

	{ "user: a value", "U n300c K GSG U n400f K G", 0, { 0x1000, 0 }, VM_INSNS, VM_USER },
	{ "user: a small value behind many events", "U n300 K S U n400 K G", 0, { 10, 0 }, VM_INSNS, VM_USER },
	{ "user: a small value, then emulated ones", "U n300 K S U n50 (cn3)9 n300 K G", 0, { 10, 0 }, VM_INSNS, VM_USER },
	{ "user: an end behind many events", "U n300 K S U n100 K G U n30 K", 0, { MINUS(60), 0 }, VM_INSNS, VM_USER },
	{ "user: an end at an emulated one", "U n300 K S U n10 (fn3)9 n9 K G", 0, { MINUS(16), 0 }, VM_INSNS, VM_USER },
	{ "user: two ends", "U n100 K S U n100 K S U n100 K G", 0, { MINUS(60), MINUS(70) }, VM_INSNS, VM_USER },
	{ "user: two writes", "U n100 K S U n10 K S U n100 K G", 0, { MINUS(60), MINUS(70) }, VM_INSNS, VM_USER },
	{ "branches: a small value behind many events", "j300 S j400 G", 0, { 10, 0 }, VM_BRANCHES, VM_KERNEL },
	{ "branches: an end behind many events", "j300 S j100 G j30", 0, { MINUS(60), 0 }, VM_BRANCHES, VM_BOTH },
	{ "branches: an end at an emulated one", "j300 S (jnF)20 n9 j9 G", 0, { MINUS(20), 0 }, VM_BRANCHES, VM_KERNEL },
};

int main(void)
{
	unsigned int row, fixed, interrupt, i;
	char what[128];

	must(mark_present(), "this is our machine");
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	for (row = 0; row < ARRAY_SIZE(rows); row++) {
		for (i = 0; i < 4; i++) {
			fixed = i & 1;
			interrupt = !(i & 2);
			if (fixed && (vm_seen.amd || rows[row].event != VM_INSNS))
				continue;
			s.n = 1;
			s.counter[0] = (struct vm_counter) {
				.fixed = fixed, .event = rows[row].event, .privilege = rows[row].privilege, .interrupt = interrupt,
				.start = rows[row].start,
			};
			body.get = body.set[0].msr = body.set[1].msr = vm_counter_msr(&s.counter[0]);
			body.set[0].value = rows[row].set[0];
			body.set[1].value = rows[row].set[1];
			s.body = &body;
			vm_body(&body, rows[row].letters);
			vm_stretch(&vm, &s);
			snprintf(what, sizeof(what), "%s, %s%s", rows[row].what, fixed ? "fixed" : "general", interrupt ? "" : ", no PMI");
			vm_check(&s, what);
		}
	}
	vm_close(&vm);
	return check_done();
}
