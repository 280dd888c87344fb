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
	if (!(rdmsr(0x3a) & 1))
		wrmsr(0x3a, 5);
	write_cr4(read_cr4() | BIT(13));
	vmxon_region[0] = vmcs[0] = rdmsr(0x480);
	asm volatile("vmxon %0" : : "m"((u64){ (u64)vmxon_region }) : "cc", "memory");
}

/* The capability MSR that lets a control be 0 wherever it can. */
static u64 capability(u32 field)
{
	switch (field) {
	case PIN_CONTROLS:	return rdmsr(0x48d);
	case CPU_CONTROLS:	return rdmsr(0x48e);
	case EXIT_CONTROLS:	return rdmsr(0x48f);
	default:		return rdmsr(0x490);
	}
}

bool vmx_may(u32 field, u64 bits) { return !(bits & ~(capability(field) >> 32)); }

void vmx_set(u32 field, u64 bits)
{
	/* Always: a 64-bit host, a 64-bit guest, MSR bitmaps. */
	const u64 always = field == PIN_CONTROLS ? 0 : field == CPU_CONTROLS ? CPU_MSR_BITMAP : BIT(9);

	if (!vmx_may(field, bits | always))
		die("VMX control field %x allows %lx", field, bits);
	vmwrite(field, (u32)capability(field) | always | bits);
}

void vmx_new(void)
{
	struct { u16 limit; u64 base; } __attribute__((packed)) gdtr, idtr;
	u64 region = (u64)vmcs;
	const u64 unusable = 0x10000;

	/* What the last guest's VMCS held must not stay: only between two VMCLEARs is the region ours. */
	asm volatile("vmclear %0" : : "m"(region) : "cc", "memory");
	for (u64 i = 0; i < sizeof(vmx_msr_bitmap); i++)
		vmx_msr_bitmap[i] = 0;
	for (u64 i = 1; i < ARRAY_SIZE(vmcs); i++)
		vmcs[i] = 0;
	asm volatile("vmclear %0\n vmptrld %0" : : "m"(region) : "cc", "memory");
	asm volatile("sgdt %0\n sidt %1" : "=m"(gdtr), "=m"(idtr));

	const struct { u32 field; u64 value; } fields[] = {
		{ MSR_BITMAP, (u64)vmx_msr_bitmap }, { 0x2800 /* link pointer */, ~0ul },
		/* Guest segments: selector, limit, rights, base. */
		{ 0x802, KCODE }, { 0x4802, ~0u }, { 0x4816, 0xa09b },	/* CS */
		{ 0x804, KDATA }, { 0x4804, ~0u }, { 0x4818, 0xc093 },	/* SS */
		{ 0x4814, unusable }, { 0x481a, unusable }, { 0x481c, unusable }, { 0x481e, unusable }, { 0x4820, unusable },
		{ 0x80e, TSS0 + 16 * GUEST_BLOCK }, { 0x480e, 103 }, { 0x4822, 0x8b }, { 0x6814, (u64)block(GUEST_BLOCK)->tss },
		{ 0x4810, gdtr.limit }, { 0x6816, gdtr.base }, { 0x4812, idtr.limit }, { 0x6818, idtr.base },
		/* Guest registers. */
		{ 0x6800, read_cr0() }, { 0x6802, read_cr3() }, { 0x6804, read_cr4() }, { 0x681a /* DR7 */, 0x400 },
		{ 0x681c, (u64)block(GUEST_BLOCK) + KERNEL_TOP }, { GUEST_RIP, (u64)guest_vmx }, { 0x6820 /* RFLAGS */, 2 },
		/* Host. */
		{ 0xc02, KCODE }, { 0xc04, KDATA }, { 0xc0c, TSS0 }, { 0x6c0a, (u64)block(0)->tss },
		{ 0x6c0c, gdtr.base }, { 0x6c0e, idtr.base },
		{ 0x6c00, read_cr0() }, { 0x6c02, read_cr3() }, { 0x6c04, read_cr4() }, { 0x6c16, (u64)vmx_exit },
	};
	/* All other fields are 0. */
	for (u64 i = 0; i < ARRAY_SIZE(fields); i++)
		vmwrite(fields[i].field, fields[i].value);
	vmx_set(PIN_CONTROLS, 0);
	vmx_set(CPU_CONTROLS, 0);
	vmx_set(EXIT_CONTROLS, 0);
	vmx_set(ENTRY_CONTROLS, 0);
	vmx_failed = (struct vmx_failed){ 0 };
}
