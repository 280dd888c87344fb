// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: an instruction that faults does not retire, whichever part finds the fault.  An instruction
 * that is stepped over retires once, whichever side steps.
 *
 * Faults are found by the processor, by the handler of a VM-exit, and by KVM's emulator.  Steps are
 * the guest's own (EFLAGS.TF) or userspace's (KVM_GUESTDBG_SINGLESTEP), over instructions that the
 * guest executes and over those that KVM emulates.  The guest executes its exception handlers, so
 * the machine counts them.
 */
#include "vm.h"

#define TF_ON	"9c 66810c240001 9d"		/* PUSHF, OR WORD [RSP], 0x100, POPF */
#define TF_OFF	"9c 66812424fffe 9d"		/* PUSHF, AND WORD [RSP], ~0x100, POPF */
#define INSNS	"90 eb00> 31c0 0fa2* 90 31c9 0f33# e621* e4e2* 0f0b6b766d90* 0f0b6b766deb00^ 90"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;
static unsigned int calls;

static const struct {
	const char *what, *code;
	unsigned int faults, steps;	/* at least */
	bool by_user;			/* between two hooks */
} rows[] = {
	{ "no fault, no step", INSNS, 0, 0, 0 },
	{ "RDMSR that faults", "b9ffffff0f 0f32 90", 1, 0, 0 },
	{ "WRMSR that faults", "b9ffffff0f 0f30 90", 1, 0, 0 },
	{ "RDPMC that faults", "b9ff000000 0f33 90", 1, 0, 0 },
	{ "forced, RDMSR that faults", "b9ffffff0f 0f0b6b766d0f32 90", 1, 0, 0 },
	{ "forced, a read of an invalid address that faults",
	  "48b80000000000008000 0f0b6b766d8b00 90", 1, 0, 0 },
	{ "a read of an invalid address that faults", "48b80000000000008000 8b00 90", 1, 0, 0 },
	{ "the guest steps", TF_ON " " INSNS " " TF_OFF, 0, 10, 0 },
	{ "the guest steps over a fault", TF_ON " b9ffffff0f 0f32 90 " TF_OFF, 1, 3, 0 },
	{ "userspace steps", INSNS, 0, 10, 1 },
	{ "userspace steps over a fault", "b9ffffff0f 0f32 90 90", 1, 1, 1 },
};

/* #DB in the guest */
static volatile uint32_t __attribute__((used)) guest_steps;
extern char guest_db_entry[];
asm(	".pushsection .text\n"
	"guest_db_entry:\n\t"
	"incl guest_steps\n\t"
	"iretq\n\t"
	".popsection\n");

static void count_steps(void)
{
	vm_gate(1, guest_db_entry, 2);
}

/* Step from the first hook to the second. */
static void step(struct vm *v)
{
	struct kvm_guest_debug debug = { .control = calls++ % 2 ? 0 : KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP };

	must(!ioctl(v->vcpu, KVM_SET_GUEST_DEBUG, &debug), "single steps");
}

static void before(struct vm *v)
{
	v->steps = 0;
	calls = 0;
	guest_faults = guest_steps = 0;
}

static void row(unsigned int r)
{
	char what[96], code[256], *c;

	snprintf(code, sizeof(code), "%s", rows[r].code);
	/* A guest with all counters executes RDPMC itself. */
	c = strchr(code, '#');
	if (c)
		*c = vm_seen.rdpmc ? ' ' : '*';
	vm_clear(&body);
	vm_append(&body, rows[r].by_user ? "nop*3 hook" : "nop*3");
	vm_emit(&body, "%s", code);
	vm_append(&body, rows[r].by_user ? "hook nop*9" : "nop*9");
	vm_emit(&body, "c3>");
	vm.hook = rows[r].by_user ? step : NULL;
	s.body = &body;
	s.n = 2;
	s.counter[0] = (struct vm_counter) { .index = 0, .event = VM_INSNS, .privilege = VM_KERNEL };
	s.counter[1] = (struct vm_counter) { .index = 1, .event = VM_BRANCHES, .privilege = VM_KERNEL };
	vm_measure(&vm, &s);
	snprintf(what, sizeof(what), "%s: instructions", rows[r].what);
	check_equal(what, s.counter[0].value, vm_expected(&s, 0), "the machine's count and what KVM emulates");
	snprintf(what, sizeof(what), "%s: branches", rows[r].what);
	check_equal(what, s.counter[1].value, vm_expected(&s, 1), "the machine's count and what KVM emulates");
	snprintf(what, sizeof(what), "%s: faults", rows[r].what);
	check_equal(what, guest_faults, rows[r].faults, "as many as the row has");
	check(vm.steps + guest_steps >= rows[r].steps && (rows[r].steps || !(vm.steps + guest_steps)), "%s: %u steps",
	      rows[r].what, vm.steps + guest_steps);
}

int main(void)
{
	unsigned int r;

	vm_open(&vm);
	skip_faults();
	count_steps();
	vm.before = before;
	vm_call(&vm, vm_guest_prepare, NULL);
	for (r = 0; r < ARRAY_SIZE(rows); r++)
		row(r);
	vm_close(&vm);
	return check_done();
}
