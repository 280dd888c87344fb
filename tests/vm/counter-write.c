// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a write to a running counter sets it, whatever perf has counted and however many events KVM
 * has emulated before.
 *
 * A read after the write returns the written value plus the events since.  The counter overflows
 * that many events after the write as the value demands: not later, and not because of what it
 * counted before.
 */
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

#define MINUS(n)	((1ULL << VM_WIDTH) - (n))

/* If the counter does not count the WRMSR itself, only the write makes KVM look at it. */
static const struct {
	const char *what, *code;
	uint64_t start, set[2];
	enum vm_event event;
	enum vm_privilege privilege;
} rows[] = {
	{ "set and get",
	  "nop*9 cpuid set get nop*5 get nop*5", 0, { 0x1000, 0 }, VM_INSNS, VM_KERNEL },
	{ "set and get amid emulated instructions",
	  "nop*9 cpuid fep-nop set cpuid cpuid get fep-nop nop fep-nop fep-nop get nop*5 cpuid",
	  0, { 0x1000, 0 }, VM_INSNS, VM_KERNEL },
	{ "set to zero", "nop*30 cpuid set get nop*30 get", 0, { 0, 0 }, VM_INSNS, VM_KERNEL },
	{ "a small value after many events",
	  "nop*300 set nop*400 get nop*9", 0, { 10, 0 }, VM_INSNS, VM_KERNEL },
	{ "a small value after many events, then emulated ones",
	  "nop*300 set nop*50 (cpuid nop*3)*9 get nop*300", 0, { 10, 0 }, VM_INSNS, VM_KERNEL },
	{ "a small value near overflow",
	  "nop*9 cpuid set nop*200 get nop*9", MINUS(200), { 10, 0 }, VM_INSNS, VM_KERNEL },
	{ "an overflow after many events",
	  "nop*300 set nop*100 get nop*30", 0, { MINUS(60), 0 }, VM_INSNS, VM_KERNEL },
	{ "an overflow at an emulated event",
	  "nop*300 set nop*10 (cpuid nop*3)*9 get nop*30",
	  0, { MINUS(40), 0 }, VM_INSNS, VM_KERNEL },
	{ "an overflow much later than before",
	  "nop*100 set nop*300 get nop*30", MINUS(150), { MINUS(280), 0 }, VM_INSNS, VM_KERNEL },
	{ "two overflows",
	  "nop*100 set nop*100 get set nop*100 get nop*30",
	  0, { MINUS(60), MINUS(70) }, VM_INSNS, VM_KERNEL },
	{ "to the last value",
	  "nop*100 set nop*100 get nop*9", 0, { MINUS(1), 0 }, VM_INSNS, VM_KERNEL },
	{ "after an overflow",
	  "nop*50 set nop*100 get nop*9", MINUS(30), { 5, 0 }, VM_INSNS, VM_KERNEL },

	{ "user: a value",
	  "user{nop*300 cpuid} get set get user{nop*400 fep-nop} get",
	  0, { 0x1000, 0 }, VM_INSNS, VM_USER },
	{ "user: a small value after many events",
	  "user{nop*300} set user{nop*400} get", 0, { 10, 0 }, VM_INSNS, VM_USER },
	{ "user: a small value, then emulated ones",
	  "user{nop*300} set user{nop*50 (cpuid nop*3)*9 nop*300} get",
	  0, { 10, 0 }, VM_INSNS, VM_USER },
	{ "user: an overflow after many events",
	  "user{nop*300} set user{nop*100} get user{nop*30}",
	  0, { MINUS(60), 0 }, VM_INSNS, VM_USER },
	{ "user: an overflow at an emulated event",
	  "user{nop*300} set user{nop*10 (fep-nop nop*3)*9 nop*9} get",
	  0, { MINUS(16), 0 }, VM_INSNS, VM_USER },
	{ "user: two overflows",
	  "user{nop*100} set user{nop*100} set user{nop*100} get",
	  0, { MINUS(60), MINUS(70) }, VM_INSNS, VM_USER },
	{ "user: two writes",
	  "user{nop*100} set user{nop*10} set user{nop*100} get",
	  0, { MINUS(60), MINUS(70) }, VM_INSNS, VM_USER },
	{ "branches: a small value after many events",
	  "jmp*300 set jmp*400 get", 0, { 10, 0 }, VM_BRANCHES, VM_KERNEL },
	{ "branches: an overflow after many events",
	  "jmp*300 set jmp*100 get jmp*30", 0, { MINUS(60), 0 }, VM_BRANCHES, VM_BOTH },
	{ "branches: an overflow at an emulated event",
	  "jmp*300 set (jmp nop fep-jmp)*20 nop*9 jmp*9 get",
	  0, { MINUS(20), 0 }, VM_BRANCHES, VM_KERNEL },
};

int main(void)
{
	unsigned int row, fixed, interrupt, i;
	char what[128];

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
			vm_body(&body, rows[row].code);
			vm_measure(&vm, &s);
			snprintf(what, sizeof(what), "%s, %s%s", rows[row].what, fixed ? "fixed" : "general", interrupt ? "" : ", no PMI");
			vm_check(&s, what);
		}
	}
	vm_close(&vm);
	return check_done();
}
