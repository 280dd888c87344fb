// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: where KVM emulates the guest instruction by instruction, hundreds of them between two looks
 * at its requests, a counter has every one.  What the guest reads is exact at once.  Its PMI may
 * come late, but comes once.
 *
 * Without unrestricted guests, VMX cannot enter a state in which SS and CS disagree about the
 * privilege.  Userspace makes that state while the guest waits for an OUT, and the guest fixes it
 * by LSS.
 */
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

#define MINUS(n)	((1ULL << VM_WIDTH) - (n))

static const struct {
	const char *what, *code;
	enum vm_event event;
	enum vm_privilege privilege;
	uint64_t start, set;
} rows[] = {
	{ "a few", "nop*9 invalid{nop*9 cpuid} nop*30", VM_INSNS, VM_KERNEL, 0, 0 },
	{ "hundreds",
	  "nop*9 invalid{(nop*20 cpuid rdmsr nop*9 jmp wrmsr)*20} nop*30",
	  VM_INSNS, VM_KERNEL, 0, 0 },
	{ "hundreds, user only",
	  "nop*9 invalid{(nop*20 cpuid rdmsr nop*9 jmp wrmsr)*20} nop*30",
	  VM_INSNS, VM_USER, 0, 0 },
	{ "hundreds, both",
	  "nop*9 invalid{(nop*20 cpuid rdmsr nop*9 jmp wrmsr)*20} nop*30 user{nop*9}",
	  VM_INSNS, VM_BOTH, 0, 0 },
	{ "hundreds of branches",
	  "nop*9 invalid{(nop*3 jmp)*150} nop*30", VM_BRANCHES, VM_KERNEL, 0, 0 },
	{ "read meanwhile",
	  "nop*9 invalid{nop*9 get nop*200 get cpuid nop*300 get nop*9} nop*30",
	  VM_INSNS, VM_KERNEL, 0, 0 },
	{ "an overflow soon",
	  "nop*9 invalid{nop*50 get status nop*600 get status} nop*30",
	  VM_INSNS, VM_KERNEL, MINUS(55), 0 },
	{ "an overflow in the middle",
	  "nop*9 invalid{nop*200 get status nop*200 get status nop*200} nop*30",
	  VM_INSNS, VM_KERNEL, MINUS(300), 0 },
	{ "an overflow at a branch",
	  "nop*9 invalid{(nop*3 jmp)*150} nop*30", VM_BRANCHES, VM_KERNEL, MINUS(77), 0 },
	{ "an overflow after it",
	  "nop*9 invalid{nop*200 get status} nop*300", VM_INSNS, VM_KERNEL, MINUS(400), 0 },
	{ "set meanwhile",
	  "nop*9 invalid{nop*100 set nop*50 get status nop*200} nop*30",
	  VM_INSNS, VM_KERNEL, 0, 0x1000 },
	{ "set near overflow",
	  "nop*9 invalid{nop*100 set nop*300 get status nop*9} nop*30",
	  VM_INSNS, VM_KERNEL, 0, MINUS(50) },
	{ "set to zero after many",
	  "nop*300 invalid{nop*300 set nop*9 get status nop*9} nop*30 get nop*300",
	  VM_INSNS, VM_KERNEL, 0, 0 },
	{ "set back near overflow",
	  "nop*9 invalid{nop*100 set nop*50 get status nop*9} nop*30",
	  VM_INSNS, VM_KERNEL, MINUS(200), MINUS(500) },
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
	/* The PMI comes when KVM has looked at its requests, or when the CPU can take it. */
	s.late = 2000;
	body.get = body.set[0].msr = vm_counter_msr(&s.counter[0]);
	body.set[0].value = rows[row].set;
	s.body = &body;
	vm_body(&body, rows[row].code);
	vm_measure(&vm, &s);
	snprintf(what, sizeof(what), "%s, %s, %lld", rows[row].what, fixed ? "fixed" : "general", vm_signed(start));
	vm_check(&s, what);
}

int main(void)
{
	unsigned int row, fixed, i;
	uint64_t emulated;

	vm_open(&vm);
	vm.hook = disagree;
	vm_call(&vm, vm_guest_prepare, NULL);
	for (row = 0; row < ARRAY_SIZE(rows); row++)
		for (fixed = 0; fixed <= (rows[row].event == VM_INSNS); fixed++)
			run(row, fixed, rows[row].start);
	/* Let the counter overflow at places between two looks. */
	for (i = 0; i < 150; i += 7)
		run(1, false, MINUS(50 + i));

	/* Check that KVM has emulated these instructions: the machine has not seen them. */
	run(1, false, 0);
	emulated = vm_emulated(&body, &s.counter[0], 0, -1);
	check(emulated > 600, "hundreds: %llu emulated", (unsigned long long)emulated);
	check_between("hundreds: VM-exits", s.frame.truth[1][EXITS] - s.frame.truth[0][EXITS_AFTER], 1, 20,
		      "an OUT, and the host's own interrupts");
	vm_close(&vm);
	return check_done();
}
