// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a guest's counter has every instruction that KVM emulates, once, beside those that the guest executed itself.
 *
 * Each row is a stretch of a guest's code with one kind of exit, or a mix; each is counted in user mode, in the kernel
 * and in both, as instructions and as branches, by a general and, on Intel, by a fixed counter.
 */
#include "vm.h"

static struct vm vm;
static struct vm_body body;
static struct vm_stretch s;

static const struct {
	const char *what, *letters;
} rows[] = {
	{ "nothing", "" },
	{ "nothing emulated", "(n9j)20 U (n9j)10 K" },
	{ "CPUID", "(nc)10 U (nc)7 K n" },
	{ "RDMSR", "(nr)10" },
	{ "WRMSR", "(nw)10" },
	{ "RDPMC", "(np)10 U (np)7 K n" },
	{ "I/O in KVM", "(noi)10 U (noi)7 K n" },
	{ "I/O in user space", "(nOI)10 U (nOI)7 K n" },
	{ "memory that is not there", "(nWM)10 U (nWM)7 K n" },
	{ "forced", "(nf)10 U (nf)7 K n" },
	{ "forced branches", "(nF)10 U (nF)7 K n" },
	{ "forced ENTER and LEAVE, which are no branches", "(nL)10 U (nL)7 K n" },
	{ "hypercall", "(nv)10 U (nv)7 K n" },
	{ "WBINVD", "(nb)10" },
	{ "interrupts for nobody", "(nxn)5" },
	{ "deadlines", "(nt)10" },
	{ "HLT", "(nhn)5" },
	{ "one behind the other", "crwpoiOIWMfFvb U cpoiOIWMfFv K" },
	{ "a mix", "(n3crn2wpjoiOn5IWMfn2Fvb)5 U (n3cpn2ojiOn5IWMn2fFv)5 K n9" },
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

	must(mark_present(), "this is our machine");
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	for (row = 0; row < ARRAY_SIZE(rows); row++) {
		vm_body(&body, rows[row].letters);
		s.body = &body;
		for (i = 0; i < ARRAY_SIZE(counters); i++) {
			if (counters[i].fixed && vm_seen.amd)
				continue;
			for (privilege = VM_USER; privilege <= VM_BOTH; privilege++) {
				s.n = 1;
				s.counter[0] = counters[i];
				s.counter[0].privilege = privilege;
				vm_stretch(&vm, &s);
				snprintf(what, sizeof(what), "%s: %s, %s", rows[row].what, counters[i].name, vm_privileges[privilege]);
				check_equal(what, s.counter[0].value, vm_expected(&s, 0), "the machine's count and what KVM emulated");
			}
		}
	}
	vm_close(&vm);
	return check_done();
}
