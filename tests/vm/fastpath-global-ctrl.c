// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: an instruction that KVM emulates in a fast path counts by the global control of that
 * moment, not by the one that KVM knows from an earlier VM-exit.  This is about AMD, where VM-exits
 * do not save the control.
 */
#include "vm.h"

#define GLOBAL	MSR_AMD64_PERF_CNTR_GLOBAL_CTL

static void set_model(struct kvm_cpuid_entry2 *e)
{
	if (e->function == 0x80000001)
		e->ecx |= 1 << 23;
	if (e->function == 0x80000022)
		e->ebx = (e->ebx & ~0xfU) | 6;
}

static struct {
	uint64_t enabled_behind_exit, enabled_before_exit, disabled_behind_exit, plain, exits[4];
} g;

/* By how much an instruction increases the counter. */
#define COUNT_OF(what, insn)								\
static uint64_t __attribute__((noinline)) what(uint64_t *exits)			\
{											\
	uint64_t before, after, from = mark_read(TRUTH_EXITS);				\
											\
	before = rdmsr(MSR_F15H_PERF_CTR);							\
	asm volatile(insn : : "c" (MSR_X2APIC_ICR), "a" (0x41), "d" (5) : "memory");		\
	after = rdmsr(MSR_F15H_PERF_CTR);							\
	*exits = mark_read(TRUTH_EXITS) - from;						\
	return after - before;								\
}

/* KVM emulates writes of the interrupt command in a fast path. */
COUNT_OF(one_fastpath, "wrmsr")
COUNT_OF(no_exit, "nop")

static void slow_exit(void)
{
	uint32_t a = 0, b, c = 0, d;

	asm volatile("cpuid" : "+a" (a), "=b" (b), "+c" (c), "=d" (d) : : "memory");
}

static void guest(void *unused)
{
	(void)unused;
	wrmsr(GLOBAL, 0);
	wrmsr(MSR_F15H_PERF_CTL, 0xc0 | 1 << 17 | 1 << 22);
	wrmsr(MSR_F15H_PERF_CTR, 1000);

	slow_exit();
	wrmsr(GLOBAL, 1);				/* does not exit */
	g.enabled_behind_exit = one_fastpath(&g.exits[0]);
	slow_exit();
	g.enabled_before_exit = one_fastpath(&g.exits[1]);
	g.plain = no_exit(&g.exits[3]);
	slow_exit();
	wrmsr(GLOBAL, 0);				/* does not exit */
	g.disabled_behind_exit = one_fastpath(&g.exits[2]);
	wrmsr(MSR_F15H_PERF_CTL, 0);
}

int main(void)
{
	static struct vm vm;
	unsigned int tries = 0;

	must(on_amd(), "AMD");
	vm_model = set_model;
	vm_perfmon_v2 = true;
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, guest, NULL);
	do
		vm_call(&vm, guest, NULL);
	while ((g.exits[0] != 1 || g.exits[1] != 1 || g.exits[2] != 1 || g.exits[3]) && ++tries < VM_TRIES);
	check_equal("enabled before the last slow exit", g.enabled_before_exit, g.plain + 1, "as without the exit, and the VMRUN");
	check_equal("enabled between the last slow exit and the fast path", g.enabled_behind_exit, g.plain + 1, "the same");
	check_equal("disabled between the last slow exit and the fast path", g.disabled_behind_exit, 0, "nothing");
	vm_close(&vm);
	return check_done();
}
