/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The smallest SVM guest: it shares the host's page tables, descriptor tables and code, has a block (stack, TSS) of its own,
 * and starts at guest_svm with RDI as the host has it: CALL *RDI, VMMCALL.
 */
#ifndef SVM_H
#define SVM_H

#include "pmu.h"
#include "vmcb.h"

extern u8 svm_vmcb[4096], svm_io_bitmap[3 * 4096], svm_msr_bitmap[2 * 4096];
#define VMCB(type, offset)	(*(type *)(svm_vmcb + (offset)))

void svm_on(void);			/* EFER.SVME, once */
void svm_new(void);			/* a fresh VMCB: VMMCALL exits, nothing else */
u8 *svm_msr_byte(u32 msr, int *shift);	/* where the MSR's read bit is; the write bit is the next */

extern char svm_run[];			/* code for run() and measure(), the guest's code is the argument */
extern char svm_after_stgi[];		/* in it: where what waited for GIF comes */

#endif
