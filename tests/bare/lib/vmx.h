/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The smallest VMX guest: it shares the host's page tables, descriptor tables and code, has a block (stack, TSS) of its own,
 * and starts at guest_vmx with RDI as the host has it: CALL *RDI, VMCALL.
 */
#ifndef VMX_H
#define VMX_H

#include "pmu.h"

/* VMCS fields */
#define MSR_BITMAP		0x2004
#define EXIT_STORE_ADDR		0x2006
#define EXIT_LOAD_ADDR		0x2008
#define ENTRY_LOAD_ADDR		0x200a
#define GUEST_DEBUGCTL		0x2802
#define GUEST_GLOBAL_CTRL	0x2808
#define HOST_GLOBAL_CTRL	0x2c04
#define PIN_CONTROLS		0x4000
#define CPU_CONTROLS		0x4002
#define EXCEPTION_BITMAP	0x4004
#define EXIT_CONTROLS		0x400c
#define EXIT_STORE_COUNT	0x400e
#define EXIT_LOAD_COUNT		0x4010
#define ENTRY_CONTROLS		0x4012
#define ENTRY_LOAD_COUNT	0x4014
#define INSN_ERROR		0x4400
#define EXIT_REASON		0x4402
#define EXIT_INTR_INFO		0x4404
#define EXIT_INSN_LENGTH	0x440c
#define EXIT_QUALIFICATION	0x6400
#define GUEST_RIP		0x681e
#define HOST_RSP		0x6c14

/* Controls */
#define PIN_INTR_EXIT		BIT(0)
#define PIN_NMI_EXIT		BIT(3)
#define CPU_HLT_EXIT		BIT(7)
#define CPU_INVLPG_EXIT		BIT(9)
#define CPU_RDPMC_EXIT		BIT(11)
#define CPU_RDTSC_EXIT		BIT(12)
#define CPU_CR3_LOAD_EXIT	BIT(15)
#define CPU_IO_EXIT		BIT(24)
#define CPU_MSR_BITMAP		BIT(28)
#define CPU_PAUSE_EXIT		BIT(30)
#define ENTRY_LOAD_DEBUG	BIT(2)
#define ENTRY_LOAD_GLOBAL_CTRL	BIT(13)
#define EXIT_SAVE_DEBUG		BIT(2)
#define EXIT_LOAD_GLOBAL_CTRL	BIT(12)
#define EXIT_SAVE_GLOBAL_CTRL	BIT(30)

/* What the host adds to run(): MOV and VMWRITE of its stack pointer, VMLAUNCH or VMRESUME. */
#define ENTER_INSNS		3

static inline void vmwrite(u64 field, u64 v) { asm volatile("vmwrite %1, %0" : : "r"(field), "rm"(v) : "cc", "memory"); }
static inline u64 vmread(u64 field)
{
	u64 v;

	asm volatile("vmread %1, %0" : "=rm"(v) : "r"(field) : "cc", "memory");
	return v;
}

void vmx_on(void);		/* once */
void vmx_new(void);		/* a fresh VMCS: nothing exits but what always does */
void vmx_set(u32 field, u64 bits);	/* one of the four controls: what must be, and these bits */
bool vmx_may(u32 field, u64 bits);	/* whether the controls allow them */

/* Code for run() and measure(), the guest's code is the argument; failed: flags of an entry that was refused. */
extern char vmx_launch[], vmx_resume[];
extern struct vmx_failed { u8 invalid, valid; } vmx_failed;
extern u8 vmx_msr_bitmap[4096];

#endif
