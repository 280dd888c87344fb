/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The smallest VMX guest: it shares the host's page tables, descriptor tables and code, has a block (stack, TSS) of its own,
 * and starts at guest_vmx with RDI as the host has it: CALL *RDI, VMCALL.
 */
#ifndef VMX_H
#define VMX_H

#include "pmu.h"
#include "vmcs.h"

/* What the host adds to run(): MOV and VMWRITE of its stack pointer, VMLAUNCH or VMRESUME. */
#define ENTER_INSNS		3

void vmx_on(void);		/* once */
void vmx_new(void);		/* a fresh VMCS: nothing exits but what always does */
void vmx_set(u32 field, u64 bits);	/* one of the four controls: what must be, and these bits */
bool vmx_may(u32 field, u64 bits);	/* whether the controls allow them */

/* Code for run() and measure(), the guest's code is the argument; failed: flags of an entry that was refused. */
extern char vmx_launch[], vmx_resume[];
extern struct vmx_failed { u8 invalid, valid; } vmx_failed;
extern u8 vmx_msr_bitmap[4096];

#endif
