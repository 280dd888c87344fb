// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a string instruction with a repeat prefix is one instruction, however many iterations and
 * VM-exits KVM takes to emulate it.  It is one for the machine, and so it has to be one for a
 * guest's counter, and for the place where that counter overflows.
 *
 * KVM's emulator interrupts a repeated instruction: at each iteration that needs userspace, when
 * the data that it has read ahead are used up, after each 1024 iterations, and when nothing is left
 * to do.  Then the guest is entered at the same instruction again, and in the end it executes the
 * instruction itself, with nothing to do: the machine sees it retire.  If KVM counts it each time
 * that it interrupts, it counts too much.  So the test finds out whether the machine has seen the
 * instruction, by comparison with the same code without it.
 */
#include "vm.h"

#define PIECES	50

static struct vm vm;
static struct vm_body body;
static struct vm_region s;
static uint8_t __attribute__((used, aligned(VM_PAGE))) buffer[2 * VM_PAGE];

/* A measured region may use RSI and RDI, and the direction flag is clear. */
static const struct {
	const char *what;
	unsigned int port, times;
	const char *insn;		/* in hexadecimal */
	enum { PORT, FROM_HOLE, TO_HOLE, MEMORY } kind;
} rows[] = {
	{ "OUTSB to this program", VM_NOTHING, 1, "6e", PORT },
	{ "REP OUTSB to this program, once", VM_NOTHING, 1, "f36e", PORT },
	{ "REP OUTSB to this program", VM_NOTHING, PIECES, "f36e", PORT },
	{ "REP OUTSB to KVM's PIC", 0x21, PIECES, "f36e", PORT },
	{ "REP OUTSB to KVM's PIC, long", 0x21, 3000, "f36e", PORT },
	{ "INSB from this program", VM_NOTHING, 1, "6c", PORT },
	{ "REP INSB from this program", VM_NOTHING, PIECES, "f36c", PORT },
	{ "REP INSB from this program, long", VM_NOTHING, 3000, "f36c", PORT },
	{ "REP INSB from KVM's PIC", 0x21, PIECES, "f36c", PORT },
	{ "STOSB where there is no memory", 0, 1, "aa", TO_HOLE },
	{ "REP STOSB where there is no memory", 0, 8, "f3aa", TO_HOLE },
	{ "REP MOVSB to where there is no memory", 0, 8, "f3a4", TO_HOLE },
	{ "REP MOVSB from where there is no memory", 0, 8, "f3a4", FROM_HOLE },
	{ "REP LODSB from where there is no memory", 0, 8, "f3ac", FROM_HOLE },
	{ "STOSB, forced emulation", 0, 1, "0f0b6b766daa", MEMORY },
	{ "REP STOSB, forced emulation", 0, PIECES, "0f0b6b766df3aa", MEMORY },
	{ "REP STOSB, forced emulation, long", 0, 3000, "0f0b6b766df3aa", MEMORY },
	{ "REP OUTSB, nothing to do", VM_NOTHING, 0, "f36e", PORT },
};

static void prepare_body(unsigned int row, bool user, bool with)
{
	uint64_t from = rows[row].kind == FROM_HOLE ? VM_HOLE : (uint64_t)buffer;
	uint64_t to = rows[row].kind == TO_HOLE ? VM_HOLE : (uint64_t)buffer;

	vm_clear(&body);
	vm_emit(&body, "90 90 90");
	if (user)
		vm_emit_user(&body);
	vm_emit(&body, "b8ff000000 ba%08x b9%08x be%08x bf%08x", VM_WORD(rows[row].port), VM_WORD(rows[row].times), VM_WORD(from),
		VM_WORD(to));
	if (with)
		vm_emit(&body, "%s", rows[row].insn);
	vm_emit(&body, "90 90 90");
	if (user)
		vm_emit_kernel(&body);
	vm_emit(&body, "90 c3>");
}

/* What the machine has seen retire, minus the VM-entries that AMD counts. */
static uint64_t retired(void)
{
	uint64_t exits;

	vm_measure(&vm, &s);
	exits = s.frame.truth[1][EXITS] - s.frame.truth[0][EXITS];
	return vm_truth(&s, 0, VM_END) - vm_truth(&s, 0, VM_BEGIN) - (vm_seen.amd ? exits : 0);
}

/* How often the machine has seen the instruction retire. */
static uint64_t seen(unsigned int row, bool user)
{
	uint64_t without;

	prepare_body(row, user, false);
	without = retired();
	prepare_body(row, user, true);
	return retired() - without;
}

static void run(unsigned int row, bool user, bool fixed)
{
	const struct vm_counter counter = { .fixed = fixed, .event = VM_INSNS, .privilege = user ? VM_USER : VM_KERNEL,
					    .interrupt = true };
	unsigned int tries = 0;
	uint64_t own, want;
	char what[128];

	memset(&s.counter, 0, sizeof(s.counter));
	s.body = &body;
	s.n = 1;
	s.counter[0] = counter;
	/*
	 * A tick of the host in the other mode is a VM-exit, but no VM-entry into this mode.  So
	 * take a result that comes twice.
	 */
	do {
		own = seen(row, user);
		must(++tries < VM_TRIES, "the machine has seen the instruction retire once, or not at all");
	} while (own > 1 || seen(row, user) != own);
	want = vm_events(&s, 0, VM_BEGIN, VM_END) + 1 - own;
	snprintf(what, sizeof(what), "%s, %s, %s", rows[row].what, user ? "user" : "kernel", fixed ? "fixed" : "general");
	check_equal(what, s.counter[0].value, want,
		    own ? "the machine's count, which includes it" : "the machine's count, and it");

	/* Start so that the counter just does not overflow. */
	s.counter[0].start = -(want + 9) & VM_MASK;
	vm_measure(&vm, &s);
	snprintf(what, sizeof(what), "%s, %s, %s: PMIs", rows[row].what, user ? "user" : "kernel", fixed ? "fixed" : "general");
	check_equal(what, vm_seen.pmis, 0, "the counter has nine to go in the end");
}

int main(void)
{
	unsigned int row, user, fixed;

	vm_open(&vm);
	memset(buffer, 0xff, sizeof(buffer));		/* all of the PIC's lines masked */
	vm_call(&vm, vm_guest_prepare, NULL);
	for (row = 0; row < ARRAY_SIZE(rows); row++)
		for (user = 0; user <= 1; user++)
			for (fixed = 0; fixed <= !vm_seen.amd; fixed++)
				run(row, user, fixed);
	vm_close(&vm);
	return check_done();
}
