// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: the handler of a breakpoint finds its address.  For INT3, INT 3 and another INT n that is
 * the address after the instruction.  Each trap comes once and none is lost, whatever comes at the
 * same time.  The page of the handler's stack is missing, so that the delivery exits and KVM has to
 * repeat it, as happens with debuggers and replayers of threads.  A PMI comes before, at and after
 * the instruction.  An interrupt is pending.  In between userspace runs, and changes nothing.
 */
#include "vm.h"

#define TIMES	20

enum how { PLAIN, NO_STACK, PMI, IRQ, BOTH, HOWS };
static const char *const hows[] = {
	"plain", "the handler's stack is missing", "a PMI", "an interrupt is pending",
	"a PMI, and the stack is not there",
};

static struct {
	uint64_t found;			/* what the handler found */
	unsigned int told;
} g __attribute__((used));
static uint8_t stack[2 * VM_PAGE] __attribute__((aligned(VM_PAGE)));
extern char int3_entry[], after_int3[], after_int[], after_other[];

asm(	".pushsection .text\n"
	"int3_entry:\n\t"
	"push %rax\n\t"
	"mov 8(%rsp), %rax\n\t"
	"mov %rax, g\n\t"
	"incl g+8\n\t"
	"pop %rax\n\t"
	"iretq\n\t"
	".popsection\n");

static void __attribute__((noinline)) int3(void)
{
	asm volatile("nop\n\tint3\n\t.globl after_int3\nafter_int3:\tnop\n\tnop\n\tnop" : : : "memory");
}

static void __attribute__((noinline)) int_3(void)
{
	asm volatile("nop\n\t.byte 0xcd, 3\n\t.globl after_int\nafter_int:\tnop\n\tnop\n\tnop" : : : "memory");
}

static void __attribute__((noinline)) other(void)
{
	asm volatile("nop\n\tint $0x52\n\t.globl after_other\nafter_other:\tnop\n\tnop\n\tnop" : : : "memory");
}

static const struct {
	const char *what;
	void (*code)(void);
	const char *behind;
} insns[] = {
	{ "INT3", int3, after_int3 }, { "INT 3", int_3, after_int }, { "INT n", other, after_other },
};

static unsigned int insn;
static enum how how;
static uint64_t start;

static void guest(void *unused)
{
	(void)unused;
	g.found = g.told = 0;
	vm_seen.pmis = vm_seen.irqs = 0;
	if (how == PMI || how == BOTH) {
		wrmsr(MSR_X2APIC_LVTPC, APIC_DM_NMI);
		wrmsr(vm_seen.amd ? MSR_F15H_PERF_CTR : MSR_IA32_PERFCTR0, start);
		if (!vm_seen.amd)
			wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 1);
	}
	/* Userspace takes the stack's page away. */
	asm volatile("out %%al, %0" : : "i" (VM_HOOK) : "memory");
	if (how == PMI || how == BOTH)
		wrmsr(vm_seen.amd ? MSR_F15H_PERF_CTL : MSR_P6_EVNTSEL0,
		      0xc0 | 3 << 16 | 1 << 20 | 1 << 22);
	if (how == IRQ) {
		wrmsr(MSR_X2APIC_ICR, VM_IRQ | 1 << 18);
		asm volatile("sti");
	}
	insns[insn].code();
	asm volatile("cli");
	wrmsr(vm_seen.amd ? MSR_F15H_PERF_CTL : MSR_P6_EVNTSEL0, 0);
}

static void hook(struct vm *unused)
{
	(void)unused;
	if (how == NO_STACK || how == BOTH)
		must(!madvise(stack, sizeof(stack), MADV_DONTNEED), "a page can be given back");
}

int main(void)
{
	static struct vm vm;
	unsigned int k, pmis;
	char what[128];

	vm_open(&vm);
	vm.hook = hook;
	memcpy((char *)vm_tss + 0x24 + 8 * 3, &(uint64_t) { (uint64_t)stack + sizeof(stack) }, 8);
	vm_gate(3, int3_entry, 4);
	vm_gate(0x52, int3_entry, 4);
	vm_call(&vm, vm_guest_prepare, NULL);
	for (insn = 0; insn < ARRAY_SIZE(insns); insn++) {
		for (how = PLAIN; how < HOWS; how++) {
			unsigned int wrong = 0, told = 0;
			uint64_t found = 0;

			for (k = pmis = 0; k < TIMES; k++) {
				start = -(uint64_t)k & (vm_seen.amd ? VM_MASK : ~0U);
				vm_call(&vm, guest, NULL);
				told += g.told;
				pmis += vm_seen.pmis;
				if (g.found != (uint64_t)insns[insn].behind && !wrong++)
					found = g.found;
			}
			snprintf(what, sizeof(what), "%s, %s: traps", insns[insn].what, hows[how]);
			check_equal(what, told, TIMES, "one each");
			snprintf(what, sizeof(what), "%s, %s: wrong addresses", insns[insn].what,
				 hows[how]);
			if (!check_equal(what, wrong, 0, "the address after it"))
				note("%lld bytes after the instruction", (long long)(found - (uint64_t)insns[insn].behind));
			if (how == PMI || how == BOTH)
				check(pmis > TIMES / 4, "%s, %s: %u PMIs", insns[insn].what, hows[how], pmis);
		}
	}
	vm_close(&vm);
	return check_done();
}
