/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The smallest VMX guest.  It shares the host's page tables, descriptor tables and code, and has
 * its own block (stack, TSS).  It starts at guest_vmx with the host's RDI: CALL *RDI, VMCALL.
 */
#ifndef VMX_H
#define VMX_H

#include "pmu.h"
#include "vmcs.h"

/* What the host adds to run(): MOV and VMWRITE of its stack pointer, VMLAUNCH or VMRESUME. */
#define ENTER_INSNS		3

void vmx_on(void);		/* once */
void vmx_new(void);		/* a new VMCS: only what always exits does */
void vmx_set(u32 field, u64 bits);	/* set a control: mandatory bits, and these */
bool vmx_may(u32 field, u64 bits);	/* does the control allow these bits? */

/*
 * Code for run() and measure(); the argument is the guest's code.  vmx_failed: flags of a refused
 * entry.
 */
extern char vmx_launch[], vmx_resume[];
extern struct vmx_failed { u8 invalid, valid; } vmx_failed;
extern u8 vmx_msr_bitmap[4096];

#endif
