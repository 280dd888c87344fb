// SPDX-License-Identifier: GPL-2.0
/* The smallest VMX guest. */
#include "vmx.h"

u8 vmx_msr_bitmap[4096] ALIGNED(4096);
struct vmx_failed vmx_failed;
static u32 vmxon_region[1024] ALIGNED(4096), vmcs[1024] ALIGNED(4096);
extern char vmx_exit[];

asm(".pushsection .text\n"
    ".globl vmx_launch, vmx_resume, vmx_exit\n"
    "vmx_launch: mov $0x6c14, %eax\n vmwrite %rsp, %rax\n vmlaunch\n jmp 1f\n"
    "vmx_resume: mov $0x6c14, %eax\n vmwrite %rsp, %rax\n vmresume\n"
    "1: setc vmx_failed\n setz vmx_failed + 1\n"
    "vmx_exit: ret\n"
    ".popsection");

void vmx_on(void)
{
	if (!(rdmsr(MSR_IA32_FEAT_CTL) & 1))
		wrmsr(MSR_IA32_FEAT_CTL, 5);
	write_cr4(read_cr4() | BIT(13));
	vmxon_region[0] = vmcs[0] = rdmsr(MSR_IA32_VMX_BASIC);
	asm volatile("vmxon %0" : : "m"((u64){ (u64)vmxon_region }) : "cc", "memory");
}

bool vmx_may(u32 field, u64 bits) { return vmcs_may(field, bits); }

void vmx_set(u32 field, u64 bits)
{
	if (!vmx_may(field, bits | vmcs_always(field)))
		die("VMX control field %x allows %lx", field, bits);
	vmcs_set(field, bits);
}

void vmx_new(void)
{
	u64 region = (u64)vmcs;

	/*
	 * Clear what the last guest has left in the VMCS.  The region belongs to software only
	 * between two VMCLEARs.
	 */
	asm volatile("vmclear %0" : : "m"(region) : "cc", "memory");
	for (u64 i = 0; i < sizeof(vmx_msr_bitmap); i++)
		vmx_msr_bitmap[i] = 0;
	for (u64 i = 1; i < ARRAY_SIZE(vmcs); i++)
		vmcs[i] = 0;
	asm volatile("vmclear %0\n vmptrld %0" : : "m"(region) : "cc", "memory");
	vmcs_fill(&(struct vmcs_world) {
		.code = KCODE, .data = KDATA, .host_tr = TSS0, .guest_tr = TSS0 + 16 * GUEST_BLOCK,
		.host_tss = (u64)block(0)->tss, .guest_tss = (u64)block(GUEST_BLOCK)->tss,
		.host_rip = (u64)vmx_exit, .guest_rip = (u64)guest_vmx, .guest_rsp = (u64)block(GUEST_BLOCK) + KERNEL_TOP,
		.msr_bitmap = vmx_msr_bitmap,
	});
	vmx_failed = (struct vmx_failed){ 0 };
}
