/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The smallest SVM guest: it shares the host's page tables, descriptor tables and code, has a block (stack, TSS) of its own,
 * and starts at guest_svm with RDI as the host has it: CALL *RDI, VMMCALL.
 */
#ifndef SVM_H
#define SVM_H

#include "pmu.h"

/* VMCB: offsets of what tests change or read. */
#define VMCB_CR_WRITES		0x002
#define VMCB_EXCEPTIONS		0x008
#define VMCB_INTERCEPT1		0x00c
#define VMCB_INTERCEPT2		0x010
#define VMCB_INTR_CONTROL	0x060
#define VMCB_EXIT_CODE		0x070
#define VMCB_EXIT_INFO1		0x078
#define VMCB_RFLAGS		0x570
#define VMCB_RIP		0x578

/* Intercepts of the first word. */
#define I_INTR		BIT(0)
#define I_NMI		BIT(1)
#define I_RDTSC		BIT(14)
#define I_RDPMC		BIT(15)
#define I_PUSHF		BIT(16)
#define I_CPUID		BIT(18)
#define I_INT_N		BIT(21)
#define I_INVD		BIT(22)
#define I_PAUSE		BIT(23)
#define I_HLT		BIT(24)
#define I_INVLPG	BIT(25)
#define I_IO		BIT(27)
#define I_MSR		BIT(28)
#define V_INTR_MASKING	BIT(24)			/* of VMCB_INTR_CONTROL */

extern u8 svm_vmcb[4096], svm_io_bitmap[3 * 4096], svm_msr_bitmap[2 * 4096];
#define VMCB(type, offset)	(*(type *)(svm_vmcb + (offset)))

void svm_on(void);			/* EFER.SVME, once */
void svm_new(void);			/* a fresh VMCB: VMMCALL exits, nothing else */
u8 *svm_msr_byte(u32 msr, int *shift);	/* where the MSR's read bit is; the write bit is the next */

extern char svm_run[];			/* code for run() and measure(), the guest's code is the argument */
extern char svm_after_stgi[];		/* in it: where what waited for GIF comes */

#endif
