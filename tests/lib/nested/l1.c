// SPDX-License-Identifier: GPL-2.0
/* L1: the hypervisor in the guest. */
#include "nested.h"

#define PAGE_ALIGNED __attribute__((aligned(VM_PAGE)))

struct nested_l1 l1 = { .load_entry = -1, .load_exit = -1 };
uint64_t nested_rsp, nested_failed, nested_regs[15];
uint64_t nested_exits[2], nested_branches[2], nested_insns[2];
uint8_t nested_vmcb[VM_PAGE] PAGE_ALIGNED, nested_save_area[VM_PAGE] PAGE_ALIGNED;

static uint8_t io_bitmap[3 * VM_PAGE] PAGE_ALIGNED, msr_bitmap[2 * VM_PAGE] PAGE_ALIGNED;
static uint8_t stack[16384] PAGE_ALIGNED;
static uint32_t vmxon_region[VM_PAGE / 4] PAGE_ALIGNED, vmcs[VM_PAGE / 4] PAGE_ALIGNED;

extern char nested_back[], nested_svm_l2[];
void nested_launch(void), nested_resume(void), nested_vmrun(void);

/*
 * The instructions of L1 that exit each time and that KVM counts as instructions.  It counts
 * VMLAUNCH and VMRESUME as branches only.
 */
static uint64_t emulated_so_far(void)
{
	if (vm_seen.amd)
		return mark_read(TRUTH_EXITS_BY_REASON + SVM_STGI);
	return mark_read(TRUTH_EXITS_BY_REASON + VMX_READ) +
	       mark_read(TRUTH_EXITS_BY_REASON + VMX_WRITE);
}

void nested_on(void *unused)
{
	uint64_t cr4;

	(void)unused;
	for (unsigned int i = 0; i < sizeof(stack); i += VM_PAGE)
		*(volatile uint8_t *)(stack + i) = 0;
	if (vm_seen.amd) {
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
		wrmsr(MSR_VM_HSAVE_PA, (uint64_t)nested_save_area);
		return;
	}
	asm volatile("mov %%cr4, %0" : "=r" (cr4));
	asm volatile("mov %0, %%cr4" : : "r" (cr4 | 1 << 13));
	vmxon_region[0] = vmcs[0] = rdmsr(MSR_IA32_VMX_BASIC);
	asm volatile("vmxon %0" : : "m" ((uint64_t){ (uint64_t)vmxon_region }) : "cc", "memory");
}

static void intercept(uint32_t msr)
{
	unsigned int bit = msr & 0x1fff;

	if (vm_seen.amd) {
		int shift;
		uint8_t *byte = vmcb_msr_byte(msr_bitmap, msr, &shift);

		*byte |= 3 << shift;
		return;
	}
	msr_bitmap[bit / 8] |= 1 << bit % 8;
	msr_bitmap[0x800 + bit / 8] |= 1 << bit % 8;
}

static void fill_vmcb(void)
{
	unsigned int i;

	for (i = 0; i < sizeof(nested_vmcb); i++)
		*(volatile uint8_t *)(nested_vmcb + i) = 0;
	vmcb_fill(nested_vmcb, &(struct vmcb_world){
				       .code = KCODE,
				       .data = KDATA,
				       .rip = (uint64_t)nested_svm_l2,
				       .rsp = (uint64_t)stack + sizeof(stack),
				       .io_bitmap = io_bitmap,
				       .msr_bitmap = msr_bitmap,
			       });
	VMCB_FIELD(nested_vmcb, uint32_t, VMCB_INTERCEPT1) |=
		(l1.takes_nmi ? I_NMI : 0) | (l1.takes_interrupts ? I_INTR : 0) |
		(l1.takes_rdpmc ? I_RDPMC : 0) | (l1.takes_cpuid ? I_CPUID : 0);
	if (vm_seen.fixed_vector)
		VMCB_FIELD(nested_vmcb, uint64_t, VMCB_RFLAGS) = 0x202;
}

static void fill_vmcs(void)
{
	uint64_t region = (uint64_t)vmcs;
	unsigned int i;

	asm volatile("vmclear %0" : : "m" (region) : "cc", "memory");
	for (i = 1; i < ARRAY_SIZE(vmcs); i++)
		*(volatile uint32_t *)&vmcs[i] = 0;
	asm volatile("vmclear %0\n\tvmptrld %0" : : "m" (region) : "cc", "memory");
	vmcs_fill(&(struct vmcs_world){
		.code = KCODE,
		.data = KDATA,
		.host_tr = TSS,
		.guest_tr = TSS,
		.host_tss = (uint64_t)vm_tss,
		.guest_tss = (uint64_t)vm_tss,
		.host_rip = (uint64_t)nested_back,
		.guest_rip = (uint64_t)nested_vmx_l2,
		.guest_rsp = (uint64_t)stack + sizeof(stack),
		.msr_bitmap = msr_bitmap,
	});
	/* A stack for the first instructions; nested_back switches to L1's own. */
	vmwrite(HOST_RSP, VM_TOP(4));
	if (vm_seen.fixed_vector)
		vmwrite(GUEST_RFLAGS, 0x202);
}

static void set_vmcs_controls(void)
{
	vmcs_set(PIN_CONTROLS,
		 (l1.takes_nmi ? PIN_NMI_EXIT : 0) | (l1.takes_interrupts ? PIN_INTR_EXIT : 0));
	vmcs_set(CPU_CONTROLS, l1.takes_rdpmc ? CPU_RDPMC_EXIT : 0);
	vmcs_set(ENTRY_CONTROLS, l1.load_entry >= 0 ? ENTRY_LOAD_GLOBAL_CTRL : 0);
	vmcs_set(EXIT_CONTROLS, l1.load_exit >= 0 ? EXIT_LOAD_GLOBAL_CTRL : 0);
	vmwrite(GUEST_GLOBAL_CTRL, l1.load_entry >= 0 ? l1.load_entry : 0);
	vmwrite(HOST_GLOBAL_CTRL, l1.load_exit >= 0 ? l1.load_exit : 0);
	if (l1.stores) {
		l1.store[0] = MSR_CORE_PERF_GLOBAL_CTRL;
		l1.store[1] = ~0ULL;
		vmwrite(EXIT_STORE_ADDR, (uint64_t)l1.store);
		vmwrite(EXIT_STORE_COUNT, 1);
	}
}

void nested_prepare(void *unused)
{
	unsigned int i;

	(void)unused;
	for (i = 0; i < sizeof(msr_bitmap); i++)
		*(volatile uint8_t *)(msr_bitmap + i) = 0;
	if (l1.takes_msr)
		intercept(l1.takes_msr);
	l1.exits = l1.stepped = l1.pmis = l1.after = 0;
	nested_failed = 0;
	if (vm_seen.amd) {
		fill_vmcb();
	} else {
		fill_vmcs();
		set_vmcs_controls();
	}
}

static void enter(void (*function)(void), void (*vmx)(void))
{
	uint64_t reason;

	nested_regs[NESTED_RDI] = (uint64_t)function;
	if (vm_seen.amd) {
		nested_vmrun();
		reason = VMCB_FIELD(nested_vmcb, uint64_t, VMCB_EXIT_CODE);
		asm volatile("stgi" : : : "memory");
	} else {
		vmx();
		reason = vmread(EXIT_REASON);
	}
	nested_failed += reason != (vm_seen.amd ? SVM_CALL : VMX_CALL);
}

void nested_enter(void (*function)(void))
{
	if (vm_seen.amd)
		fill_vmcb();
	else
		fill_vmcs();
	enter(function, nested_launch);
}

void nested_reenter(void (*function)(void))
{
	if (vm_seen.amd)
		VMCB_FIELD(nested_vmcb, uint64_t, VMCB_RIP) = (uint64_t)nested_svm_l2;
	else
		vmwrite(GUEST_RIP, (uint64_t)nested_vmx_l2);
	enter(function, nested_resume);
}

/* VMX: an NMI caused a VM-exit.  Do what its handler would; the IRET unblocks NMIs. */
static void take_nmi(void)
{
	l1.pmis++;
	l1.status = rdmsr(MSR_CORE_PERF_GLOBAL_STATUS);
	l1.lvtpc = rdmsr(MSR_X2APIC_LVTPC);
	wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, l1.status);
	wrmsr(MSR_X2APIC_LVTPC, APIC_DM_NMI);
	/* With APIC virtualization, reading an LVT entry does not exit. */
	l1.after += 2 * NESTED_PMU_MSR + (vm_seen.eoi ? 1 : 2) * NESTED_OTHER_MSR;
	asm volatile("mov %%rsp, %%rax\n\tsub $128, %%rsp\n\tpush %0\n\tpush %%rax\n\tpushf\n\t"
		     "push %1\n\tpush $1f\n\tiretq\n1:"
		     :
		     : "i" (KDATA), "i" (KCODE)
		     : "rax", "cc", "memory");
}

void nested_hypervisor(void)
{
	uint64_t start = emulated_so_far(), first = start;
	unsigned int e = 0;

	for (;;) {
		uint64_t reason;

		if (vm_seen.amd)
			nested_vmrun();
		else if (e)
			nested_resume();
		else
			nested_launch();
		if (!e)
			first = emulated_so_far();
		reason = vm_seen.amd ? VMCB_FIELD(nested_vmcb, uint64_t, VMCB_EXIT_CODE) :
				       vmread(EXIT_REASON);
		l1.reason[e] = reason;
		if (reason != (vm_seen.amd ? SVM_CALL : VMX_CALL)) {
			l1.rip[e] = vm_seen.amd ? VMCB_FIELD(nested_vmcb, uint64_t, VMCB_RIP) :
						  vmread(GUEST_RIP);
			l1.info[e] = vm_seen.amd ?
					     VMCB_FIELD(nested_vmcb, uint64_t, VMCB_EXIT_INFO1) :
					     vmread(EXIT_INTR_INFO);
		}
		/* Here the CPU delivers an interrupt that made L2 exit, and on AMD an NMI. */
		if (vm_seen.amd)
			asm volatile("stgi" : : : "memory");
		if (vm_seen.fixed_vector)
			asm volatile("sti\n\tnop" : : : "memory");
		e++;
		if (reason == (vm_seen.amd ? SVM_CALL : VMX_CALL) || nested_failed ||
		    e == NESTED_EXITS)
			break;
		if (reason == (vm_seen.amd ? SVM_NMI : VMX_EXCEPTION_NMI)) {
			if (!vm_seen.amd)
				take_nmi();
		} else if (reason == (vm_seen.amd ? SVM_INTR : VMX_INTERRUPT)) {
			continue;
		} else if (vm_seen.amd) {
			/* CPUID, RDPMC, RDMSR and WRMSR are two bytes long. */
			VMCB_FIELD(nested_vmcb, uint64_t, VMCB_RIP) += 2;
			l1.stepped++;
		} else {
			vmwrite(GUEST_RIP, l1.rip[e - 1] + 2);
			l1.stepped++;
		}
	}
	l1.exits = e;
	if (!vm_seen.amd) {
		l1.control = rdmsr(MSR_CORE_PERF_GLOBAL_CTRL);
		l1.after += NESTED_PMU_MSR;
	}
	l1.before = first - start;
	l1.after += emulated_so_far() - first;
}

void nested_hypervisor_for(void *code)
{
	nested_regs[NESTED_RDI] = (uint64_t)code;
	nested_hypervisor();
}
