// SPDX-License-Identifier: GPL-2.0
/* The smallest SVM guest. */
#include "svm.h"

u8 svm_vmcb[4096] ALIGNED(4096), svm_host[4096] ALIGNED(4096), svm_io_bitmap[3 * 4096] ALIGNED(4096);
u8 svm_msr_bitmap[2 * 4096] ALIGNED(4096);
static u8 save_area[4096] ALIGNED(4096);

/* VMRUN does not load TR: VMLOAD loads the guest's, and later the host's. */
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
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, (u64)save_area);
	asm volatile("vmsave" : : "a"(svm_host) : "memory");
}

void svm_new(void)
{
	zero(svm_vmcb, sizeof(svm_vmcb));
	zero(svm_io_bitmap, sizeof(svm_io_bitmap));
	zero(svm_msr_bitmap, sizeof(svm_msr_bitmap));
	asm volatile("vmsave" : : "a"(svm_vmcb) : "memory");
	vmcb_fill(svm_vmcb, &(struct vmcb_world) {
		.code = KCODE, .data = KDATA, .rip = (u64)guest_svm, .rsp = (u64)block(GUEST_BLOCK) + KERNEL_TOP,
		.io_bitmap = svm_io_bitmap, .msr_bitmap = svm_msr_bitmap,
	});
	vmcb_segment(svm_vmcb, VMCB_TR, TSS0 + 16 * GUEST_BLOCK, 0x8b, 103, (u64)block(GUEST_BLOCK)->tss);
}

u8 *svm_msr_byte(u32 msr, int *shift) { return vmcb_msr_byte(svm_msr_bitmap, msr, shift); }
