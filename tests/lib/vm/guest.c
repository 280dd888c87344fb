// SPDX-License-Identifier: GPL-2.0
/* What the guest executes besides the code of a measured region, without the C library. */
#include "vm.h"
#include "vm/layout.h"

_Static_assert(offsetof(struct vm_frame, truth[0]) == FRAME_TRUTH_BEGIN, "guest.S");
_Static_assert(offsetof(struct vm_frame, truth[1]) == FRAME_TRUTH_END, "guest.S");
_Static_assert(offsetof(struct vm_frame, body) == FRAME_BODY, "guest.S");
_Static_assert(offsetof(struct vm_frame, on) == FRAME_ON, "guest.S");
_Static_assert(offsetof(struct vm_frame, off) == FRAME_OFF, "guest.S");
_Static_assert(offsetof(struct vm_switch, n) == SWITCH_N, "guest.S");
_Static_assert(offsetof(struct vm_switch, write[0].msr) == SWITCH_MSR, "guest.S");
_Static_assert(offsetof(struct vm_switch, write[0].value) == SWITCH_VALUE, "guest.S");
_Static_assert(offsetof(struct vm_switch, write[1].msr) == SWITCH_MSR + SWITCH_NEXT, "guest.S");
_Static_assert(offsetof(struct vm_pmi, registers) == PMI_REGISTERS, "guest.S");
_Static_assert(TRUTH_INSNS_GUEST_KERNEL == READ_INSNS_KERNEL, "guest.S");
_Static_assert(TRUTH_INSNS_GUEST_USER == READ_INSNS_USER, "guest.S");
_Static_assert(TRUTH_BRANCHES_GUEST_KERNEL == READ_BRANCHES_KERNEL, "guest.S");
_Static_assert(TRUTH_BRANCHES_GUEST_USER == READ_BRANCHES_USER, "guest.S");
_Static_assert(TRUTH_EXITS == READ_EXITS, "guest.S");
_Static_assert(TRUTH_EXITS_BY_REASON + SVM_EXIT_INTR == READ_INTERRUPTS, "guest.S");
_Static_assert(VM_DONE == PORT_DONE && VM_FAULT == PORT_FAULT, "guest.S");

struct vm_shared vm_seen;
struct vm_fault *volatile vm_fault;
volatile uint32_t guest_faults;

const uint64_t vm_ask = MARK_MAGIC | MARK_OP_READ;

/* Called by guest.S. */
void vm_pmi_handler(const struct vm_pmi *now);
void vm_irq_handler(void);

void vm_pmi_handler(const struct vm_pmi *now)
{
	struct vm_pmi *pmi = &vm_seen.pmi[vm_seen.pmis < VM_PMIS ? vm_seen.pmis : VM_PMIS - 1];

	vm_seen.pmis++;
	*pmi = *now;
	pmi->status = 0;
	if (!vm_seen.amd) {
		pmi->status = rdmsr(MSR_CORE_PERF_GLOBAL_STATUS);
		wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, pmi->status);
		/* The CPU masks LVTPC when it delivers a PMI. */
		wrmsr(MSR_X2APIC_LVTPC, vm_seen.fixed_vector ? VM_PMI : APIC_DM_NMI);
	}
	if (vm_seen.fixed_vector)
		wrmsr(MSR_X2APIC_EOI, 0);
}

void vm_irq_handler(void)
{
	vm_seen.irqs++;
	wrmsr(MSR_X2APIC_EOI, 0);
}

void vm_guest_prepare(void *unused)
{
	volatile uint8_t *stack = vm_stack[0];
	unsigned int i;

	(void)unused;
	for (i = 0; i < sizeof(vm_stack); i += VM_PAGE)
		stack[i] = 0;
	for (i = 0; i < ARRAY_SIZE(vm_idt); i++)
		*(volatile uint64_t *)&vm_idt[i].low;
	*(volatile uint64_t *)vm_gdt;
	*(volatile uint32_t *)vm_tss;
	wrmsr(MSR_X2APIC_SVR, 0x1ff);
	wrmsr(MSR_X2APIC_LVTT, 0x50000);		/* masked, deadline mode */
}

void vm_guest_wake(void)
{
	if (vm_seen.mediated)
		wrmsr(vm_seen.amd ? MSR_F15H_PERF_CTL : MSR_P6_EVNTSEL0, 1 << 22);
}

void vm_guest_exits(void *n)
{
	uintptr_t i;

	vm_guest_wake();
	for (i = 0; i < (uintptr_t)n; i++)
		vm_cpuid();
}

void vm_guest_region(void *argument)
{
	struct vm_region *s = argument;
	unsigned int i;

	vm_seen.pmis = vm_seen.irqs = 0;
	wrmsr(MSR_X2APIC_LVTPC, vm_seen.fixed_vector ? VM_PMI : APIC_DM_NMI);
	if (!vm_seen.amd) {
		uint64_t fixed = 0;

		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
		wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, rdmsr(MSR_CORE_PERF_GLOBAL_STATUS));
		for (i = 0; i < s->n; i++)
			if (s->counter[i].fixed)
				fixed |= vm_selector(&s->counter[i]) << (4 * s->counter[i].index);
			else
				wrmsr(MSR_P6_EVNTSEL0 + s->counter[i].index,
				      vm_selector(&s->counter[i]));
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, fixed);
	}
	for (i = 0; i < s->n; i++)
		wrmsr(vm_counter_msr(&s->counter[i]), s->counter[i].start & VM_MASK);
	vm_region_asm(&s->frame);
	s->irqs = vm_seen.irqs;
	/* Take the interrupts that the region has left pending. */
	asm volatile("sti\n\tnop\n\tcli" : : : "memory");
	for (i = 0; i < s->n; i++)
		s->counter[i].value = rdmsr(vm_counter_msr(&s->counter[i]));
	if (!vm_seen.amd) {
		s->status = rdmsr(MSR_CORE_PERF_GLOBAL_STATUS);
		for (i = 0; i < s->n; i++)
			if (!s->counter[i].fixed)
				wrmsr(MSR_P6_EVNTSEL0 + s->counter[i].index, 0);
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0);
	}
}

struct vm_counted vm_counted;

static uint32_t first_counter(void)
{
	return vm_seen.amd ? MSR_F15H_PERF_CTR : MSR_IA32_PMC0;
}

void vm_count_begin(void)
{
	wrmsr(first_counter(), 0);
	if (vm_seen.amd) {
		wrmsr(MSR_F15H_PERF_CTL, 0xc2 | 1 << 16 | 1 << 17 | 1 << 22);
	} else {
		wrmsr(MSR_P6_EVNTSEL0, 0xc4 | 1 << 16 | 1 << 17 | 1 << 22);
		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 1);
	}
}

uint64_t vm_count(void)
{
	return rdmsr(first_counter());
}

void vm_count_end(void)
{
	if (vm_seen.amd)
		wrmsr(MSR_F15H_PERF_CTL, 0);
	else
		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
}

void vm_guest_counts(void *exits)
{
	uint64_t truth, from;
	uintptr_t i;

	vm_count_begin();
	truth = mark_read(TRUTH_BRANCHES_GUEST_KERNEL);
	from = vm_count();
	for (i = 0; i < (uintptr_t)exits; i++)
		vm_cpuid();
	vm_counted.counted = vm_count() - from;
	vm_counted.truth = mark_read(TRUTH_BRANCHES_GUEST_KERNEL) - truth;
	vm_count_end();
}
