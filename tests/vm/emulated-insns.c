// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a guest's counter has every instruction that KVM emulates, once, besides those that the
 * guest executed itself.
 *
 * Each row is a measured region of a guest's code with one kind of VM-exit, or a mix.  Each is
 * counted in user mode, in the kernel and in both, as instructions and as branches, by a general
 * counter and, on Intel, by a fixed counter.
 */
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

static const struct {
	const char *what, *code;
} rows[] = {
	{ "nothing", "" },
	{ "nothing emulated", "(nop*9 jmp)*20 user{(nop*9 jmp)*10}" },
	{ "CPUID", "(nop cpuid)*10 user{(nop cpuid)*7} nop" },
	{ "RDMSR", "(nop rdmsr)*10" },
	{ "WRMSR", "(nop wrmsr)*10" },
	{ "RDPMC", "(nop rdpmc)*10 user{(nop rdpmc)*7} nop" },
	{ "I/O in KVM", "(nop out-pic in-pic)*10 user{(nop out-pic in-pic)*7} nop" },
	{ "I/O in user space", "(nop out-vmm in-vmm)*10 user{(nop out-vmm in-vmm)*7} nop" },
	{ "memory that does not exist",
	  "(nop mmio-write mmio-read)*10 user{(nop mmio-write mmio-read)*7} nop" },
	{ "forced", "(nop fep-nop)*10 user{(nop fep-nop)*7} nop" },
	{ "forced branches", "(nop fep-jmp)*10 user{(nop fep-jmp)*7} nop" },
	{ "forced ENTER and LEAVE, which are not branches",
	  "(nop fep-enter-leave)*10 user{(nop fep-enter-leave)*7} nop" },
	{ "hypercall", "(nop hypercall)*10 user{(nop hypercall)*7} nop" },
	{ "WBINVD", "(nop wbinvd)*10" },
	{ "IPIs to no CPU", "(nop ipi nop)*5" },
	{ "deadlines", "(nop deadline)*10" },
	{ "HLT", "(nop ipi-hlt nop)*5" },
	{ "one after the other",
	  "cpuid rdmsr wrmsr rdpmc out-pic in-pic out-vmm in-vmm mmio-write mmio-read fep-nop "
	  "fep-jmp hypercall wbinvd user{cpuid rdpmc out-pic in-pic out-vmm in-vmm mmio-write "
	  "mmio-read fep-nop fep-jmp hypercall}" },
	{ "a mix", "(" VM_MIX_KERNEL ")*5 user{(" VM_MIX_USER ")*5} nop*9" },
};

static const struct vm_counter counters[] = {
	{ .name = "general, instructions", .index = 0, .event = VM_INSNS },
	{ .name = "general, branches", .index = 1, .event = VM_BRANCHES },
	{ .name = "fixed, instructions", .fixed = true, .index = 0, .event = VM_INSNS },
};

int main(void)
{
	unsigned int row, i, privilege;
	char what[128];

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	for (row = 0; row < ARRAY_SIZE(rows); row++) {
		vm_body(&body, rows[row].code);
		s.body = &body;
		for (i = 0; i < ARRAY_SIZE(counters); i++) {
			if (counters[i].fixed && vm_seen.amd)
				continue;
			for (privilege = VM_USER; privilege <= VM_BOTH; privilege++) {
				s.n = 1;
				s.counter[0] = counters[i];
				s.counter[0].privilege = privilege;
				vm_measure(&vm, &s);
				snprintf(what, sizeof(what), "%s: %s, %s", rows[row].what, counters[i].name, vm_privileges[privilege]);
				check_equal(what, s.counter[0].value, vm_expected(&s, 0), "the machine's count and what KVM emulated");
			}
		}
	}
	vm_close(&vm);
	return check_done();
}
