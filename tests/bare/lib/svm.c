// SPDX-License-Identifier: GPL-2.0
/* The smallest SVM guest. */
#include "svm.h"

u8 svm_vmcb[4096] ALIGNED(4096), svm_host[4096] ALIGNED(4096), svm_io_bitmap[3 * 4096] ALIGNED(4096);
u8 svm_msr_bitmap[2 * 4096] ALIGNED(4096);
static u8 save_area[4096] ALIGNED(4096);

/* TR is not VMRUN's: VMLOAD brings the guest's, and the host's again. */
asm(".pushsection .text\n"
    ".globl svm_run, svm_after_stgi\n"
    "svm_run: mov $svm_vmcb, %eax\n vmload\n vmrun\n"
    "mov $svm_host, %eax\n vmload\n stgi\n"
    "svm_after_stgi: ret\n"
    ".popsection");

static void zero(u8 *p, u64 size)
{
	while (size--)
		*p++ = 0;
}

void svm_on(void)
{
	wrmsr(0xc0000080, rdmsr(0xc0000080) | BIT(12));
	wrmsr(0xc0010117, (u64)save_area);
	asm volatile("vmsave" : : "a"(svm_host) : "memory");
}

static void segment(u64 offset, u16 selector, u16 attributes, u32 limit, u64 base)
{
	VMCB(u16, offset) = selector;
	VMCB(u16, offset + 2) = attributes;
	VMCB(u32, offset + 4) = limit;
	VMCB(u64, offset + 8) = base;
}

void svm_new(void)
{
	struct { u16 limit; u64 base; } __attribute__((packed)) gdtr, idtr;

	zero(svm_vmcb, sizeof(svm_vmcb));
	zero(svm_io_bitmap, sizeof(svm_io_bitmap));
	zero(svm_msr_bitmap, sizeof(svm_msr_bitmap));
	asm volatile("sgdt %0\n sidt %1\n vmsave" : "=m"(gdtr), "=m"(idtr) : "a"(svm_vmcb) : "memory");

	VMCB(u32, VMCB_INTERCEPT1) = I_IO | I_MSR;	/* by bitmaps, which are empty */
	VMCB(u32, VMCB_INTERCEPT2) = 3;			/* VMRUN, which must be, and VMMCALL */
	VMCB(u64, 0x40) = (u64)svm_io_bitmap;
	VMCB(u64, 0x48) = (u64)svm_msr_bitmap;
	VMCB(u32, 0x58) = 1;				/* ASID */
	segment(0x410, KCODE, 0xa9b, ~0u, 0);		/* CS */
	segment(0x420, KDATA, 0xc93, ~0u, 0);		/* SS */
	segment(0x460, 0, 0, gdtr.limit, gdtr.base);
	segment(0x480, 0, 0, idtr.limit, idtr.base);
	segment(0x490, TSS0 + 16 * GUEST_BLOCK, 0x8b, 103, (u64)block(GUEST_BLOCK)->tss);
	VMCB(u64, 0x4d0) = rdmsr(0xc0000080);		/* EFER, with SVME */
	VMCB(u64, 0x548) = read_cr4();
	VMCB(u64, 0x550) = read_cr3();
	VMCB(u64, 0x558) = read_cr0();
	VMCB(u64, 0x560) = 0x400;			/* DR7 */
	VMCB(u64, 0x568) = 0xffff0ff0;			/* DR6 */
	VMCB(u64, VMCB_RFLAGS) = 2;
	VMCB(u64, VMCB_RIP) = (u64)guest_svm;
	VMCB(u64, 0x5d8) = (u64)block(GUEST_BLOCK) + KERNEL_TOP;
}

u8 *svm_msr_byte(u32 msr, int *shift)
{
	*shift = 2 * (msr & 3);
	return svm_msr_bitmap + (msr >= 0xc0010000 ? 0x1000 : msr >= 0xc0000000 ? 0x800 : 0) + (msr & 0x1fff) / 4;
}
