/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The smallest SVM guest.  It shares the host's page tables, descriptor tables and code, and has
 * its own block (stack, TSS).  It starts at guest_svm with the host's RDI: CALL *RDI, VMMCALL.
 */
#ifndef SVM_H
#define SVM_H

#include "pmu.h"
#include "vmcb.h"

extern u8 svm_vmcb[4096], svm_io_bitmap[3 * 4096], svm_msr_bitmap[2 * 4096];
#define VMCB(type, offset)	(*(type *)(svm_vmcb + (offset)))

void svm_on(void);			/* EFER.SVME, once */
void svm_new(void);			/* a new VMCB: only VMMCALL exits */
u8 *svm_msr_byte(u32 msr, int *shift);	/* the MSR's read bit; the write bit is the next one */

extern char svm_run[];			/* code for run() and measure(), the guest's code is the argument */
extern char svm_after_stgi[];		/* interrupts that waited for GIF come here */

#endif
