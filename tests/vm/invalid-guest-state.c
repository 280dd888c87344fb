// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: where KVM emulates the guest instruction by instruction, hundreds of them between two looks at its requests, a
 * counter has every one; what the guest reads is exact at once, and its PMI may come late, but comes once.
 *
 * Without unrestricted guests VMX cannot enter a state in which SS and CS disagree about the privilege; userspace makes
 * it so while the guest waits for an OUT, and the guest mends it by LSS.
 */
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_stretch s;

#define MINUS(n)	((1ULL << VM_WIDTH) - (n))

static const struct {
	const char *what, *letters;
	enum vm_event event;
	enum vm_privilege privilege;
	uint64_t start, set;
} rows[] = {
	{ "a few", "n9 E n9 c e n30", VM_INSNS, VM_KERNEL, 0, 0 },
	{ "hundreds", "n9 E (n20crn9jw)20 e n30", VM_INSNS, VM_KERNEL, 0, 0 },
	{ "hundreds, user only", "n9 E (n20crn9jw)20 e n30", VM_INSNS, VM_USER, 0, 0 },
	{ "hundreds, both", "n9 E (n20crn9jw)20 e n30 U n9 K", VM_INSNS, VM_BOTH, 0, 0 },
	{ "hundreds of branches", "n9 E (n3j)150 e n30", VM_BRANCHES, VM_KERNEL, 0, 0 },
	{ "read meanwhile", "n9 E n9 G n200 G c n300 G n9 e n30", VM_INSNS, VM_KERNEL, 0, 0 },
	{ "an end soon", "n9 E n50 GZ n600 GZ e n30", VM_INSNS, VM_KERNEL, MINUS(55), 0 },
	{ "an end amidst", "n9 E n200 GZ n200 GZ n200 e n30", VM_INSNS, VM_KERNEL, MINUS(300), 0 },
	{ "an end at a branch", "n9 E (n3j)150 e n30", VM_BRANCHES, VM_KERNEL, MINUS(77), 0 },
	{ "an end behind it", "n9 E n200 GZ e n300", VM_INSNS, VM_KERNEL, MINUS(400), 0 },
	{ "set meanwhile", "n9 E n100 S n50 GZ n200 e n30", VM_INSNS, VM_KERNEL, 0, 0x1000 },
	{ "set near its end", "n9 E n100 S n300 GZ n9 e n30", VM_INSNS, VM_KERNEL, 0, MINUS(50) },
	{ "set to zero behind many", "n300 E n300 S n9 GZ n9 e n30 G n300", VM_INSNS, VM_KERNEL, 0, 0 },
	{ "set back near its end", "n9 E n100 S n50 GZ n9 e n30", VM_INSNS, VM_KERNEL, MINUS(200), MINUS(500) },
};

static void disagree(struct vm *v)
{
	struct kvm_sregs sregs;

	must(!ioctl(v->vcpu, KVM_GET_SREGS, &sregs), "registers");
	sregs.ss.selector |= 3;
	must(!ioctl(v->vcpu, KVM_SET_SREGS, &sregs), "registers");
}

static void run(unsigned int row, bool fixed, uint64_t start)
{
	char what[128];

	s.n = 1;
	s.counter[0] = (struct vm_counter) {
		.fixed = fixed, .event = rows[row].event, .privilege = rows[row].privilege, .interrupt = true, .start = start,
	};
	/* The PMI comes when KVM has looked at its requests, or when the processor can take it. */
	s.late = 2000;
	body.get = body.set[0].msr = vm_counter_msr(&s.counter[0]);
	body.set[0].value = rows[row].set;
	s.body = &body;
	vm_body(&body, rows[row].letters);
	vm_stretch(&vm, &s);
	snprintf(what, sizeof(what), "%s, %s, %lld", rows[row].what, fixed ? "fixed" : "general", vm_signed(start));
	vm_check(&s, what);
}

int main(void)
{
	unsigned int row, fixed, i;
	uint64_t emulated;

	must(mark_present(), "this is our machine");
	vm_open(&vm);
	vm.hook = disagree;
	vm_call(&vm, vm_guest_prepare, NULL);
	for (row = 0; row < ARRAY_SIZE(rows); row++)
		for (fixed = 0; fixed <= (rows[row].event == VM_INSNS); fixed++)
			run(row, fixed, rows[row].start);
	/* The end of the counter at each of the places between two looks. */
	for (i = 0; i < 150; i += 7)
		run(1, false, MINUS(50 + i));

	/* That it was as it was meant to be: the machine has not seen them. */
	run(1, false, 0);
	emulated = vm_emulated(&body, &s.counter[0], 0, -1);
	check(emulated > 600, "hundreds: %llu emulated", (unsigned long long)emulated);
	check_between("hundreds: VM-exits", s.frame.truth[1][EXITS] - s.frame.truth[0][EXITS_AFTER], 1, 20,
		      "an OUT, and what the host itself is interrupted by");
	vm_close(&vm);
	return check_done();
}
