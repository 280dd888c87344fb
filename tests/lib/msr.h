/* SPDX-License-Identifier: GPL-2.0 */
/*
 * MSRs and their bits, as the kernel's asm/msr-index.h, asm/perf_event.h and asm/apicdef.h spell
 * them.  Usable by C, by assembly and without an OS.
 */
#ifndef MSR_H
#define MSR_H

/* Intel */
#define MSR_IA32_APICBASE		0x1b
#define MSR_IA32_FEAT_CTL		0x3a
#define MSR_IA32_UCODE_REV		0x8b
#define MSR_IA32_PERFCTR0		0xc1
#define MSR_TSX_FORCE_ABORT		0x10f
#define MSR_P6_EVNTSEL0			0x186
#define MSR_IA32_MISC_ENABLE		0x1a0
#define MSR_IA32_DEBUGCTLMSR		0x1d9
#define MSR_CORE_PERF_FIXED_CTR0	0x309
#define MSR_PERF_METRICS		0x329
#define MSR_IA32_PERF_CAPABILITIES	0x345
#define MSR_CORE_PERF_FIXED_CTR_CTRL	0x38d
#define MSR_CORE_PERF_GLOBAL_STATUS	0x38e
#define MSR_CORE_PERF_GLOBAL_CTRL	0x38f
#define MSR_CORE_PERF_GLOBAL_OVF_CTRL	0x390
#define MSR_CORE_PERF_GLOBAL_STATUS_SET	0x391
#define MSR_CORE_PERF_GLOBAL_INUSE	0x392
#define MSR_IA32_PEBS_ENABLE		0x3f1
#define MSR_PEBS_DATA_CFG		0x3f2
#define MSR_IA32_VMX_BASIC		0x480
#define MSR_IA32_VMX_TRUE_PINBASED_CTLS	0x48d
#define MSR_IA32_VMX_TRUE_PROCBASED_CTLS 0x48e
#define MSR_IA32_VMX_TRUE_EXIT_CTLS	0x48f
#define MSR_IA32_VMX_TRUE_ENTRY_CTLS	0x490
#define MSR_IA32_VMX_VMFUNC		0x491
#define MSR_IA32_PMC0			0x4c1
#define MSR_IA32_DS_AREA		0x600
#define MSR_IA32_TSC_DEADLINE		0x6e0

/* The local APIC in x2APIC mode. */
#define MSR_X2APIC_EOI			0x80b
#define MSR_X2APIC_SVR			0x80f
#define MSR_X2APIC_ICR			0x830
#define MSR_X2APIC_LVTT			0x832
#define MSR_X2APIC_LVTPC		0x834

/* AMD */
#define MSR_EFER			0xc0000080
#define MSR_FS_BASE			0xc0000100
#define MSR_AMD64_PERF_CNTR_GLOBAL_STATUS	0xc0000300
#define MSR_AMD64_PERF_CNTR_GLOBAL_CTL		0xc0000301
#define MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR	0xc0000302
#define MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET	0xc0000303
#define MSR_K7_EVNTSEL0			0xc0010000
#define MSR_K7_PERFCTR0			0xc0010004
#define MSR_VM_HSAVE_PA			0xc0010117
#define MSR_F15H_PERF_CTL		0xc0010200	/* and its counter, by turns */
#define MSR_F15H_PERF_CTR		0xc0010201
#define MSR_F16H_L2I_PERF_CTL		0xc0010230	/* of the L3 cache in Zen */
#define MSR_F16H_L2I_PERF_CTR		0xc0010231
#define MSR_F15H_NB_PERF_CTL		0xc0010240
#define MSR_F15H_NB_PERF_CTR		0xc0010241

#define EFER_SVME			0x1000

#define AMD64_EVENTSEL_GUESTONLY	(1ULL << 40)
#define AMD64_EVENTSEL_HOSTONLY		(1ULL << 41)

#define APIC_DM_NMI			0x400
#define APIC_LVT_MASKED			0x10000

/* An MSR's number, or another immediate operand, in the text of an asm(). */
#define MSR_IMM(msr)			MSR_IMM_(msr)
#define MSR_IMM_(msr)			"$" #msr

#endif /* MSR_H */
