// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a counter that is narrower than the machine's interrupts when it overflows, also if KVM
 * emulates an instruction in a fast path before that.
 */
#include "vm.h"

#define WIDTH	40

static void set_model(struct kvm_cpuid_entry2 *e)
{
	if (e->function == 0xa)
		e->eax = (e->eax & ~0xff0000U) | WIDTH << 16;
}

static struct {
	bool fast;
	uint64_t status, value, pmis;
} g;

static void guest(void *unused)
{
	uint32_t n = 2000;

	(void)unused;
	vm_seen.pmis = 0;
	wrmsr(MSR_X2APIC_LVTPC, APIC_DM_NMI);
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
	wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, rdmsr(MSR_CORE_PERF_GLOBAL_STATUS));
	wrmsr(MSR_P6_EVNTSEL0, 0xc0 | 1 << 17 | 1 << 20 | 1 << 22);
	wrmsr(MSR_IA32_PMC0, (1ULL << WIDTH) - 500);
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 1);
	if (g.fast)
		asm volatile("wrmsr" : : "c" (MSR_X2APIC_ICR), "a" (0x41), "d" (5) : "memory");
	asm volatile("1: dec %0\n\tjnz 1b" : "+r" (n));
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
	g.status = rdmsr(MSR_CORE_PERF_GLOBAL_STATUS);
	g.value = rdmsr(MSR_IA32_PMC0);
	g.pmis = vm_seen.pmis;
	wrmsr(MSR_P6_EVNTSEL0, 0);
}

int main(void)
{
	static struct vm vm;

	must(!on_amd(), "Intel");
	vm_model = set_model;
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, guest, NULL);
	vm_call(&vm, guest, NULL);
	note("value %#llx status %#llx", (unsigned long long)g.value, (unsigned long long)g.status);
	check_equal("without a fast path: PMIs", g.pmis, 1, "one");
	g.fast = true;
	vm_call(&vm, guest, NULL);
	note("value %#llx status %#llx", (unsigned long long)g.value, (unsigned long long)g.status);
	check_equal("with a fast path on the way: PMIs", g.pmis, 1, "one");
	check(g.value < 1 << 20, "it has overflowed: %#llx", (unsigned long long)g.value);
	vm_close(&vm);
	return check_done();
}
