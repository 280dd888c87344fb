/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of a VMCS that the smallest VMX guest needs, for tests without an OS and for the
 * hypervisor inside a test's guest.  The guest shares the host's page tables, descriptor tables and
 * code.  The file that includes this one provides rdmsr().
 */
#ifndef VMCS_H
#define VMCS_H

#include <stdbool.h>
#include <stdint.h>

#include "msr.h"

#ifndef BIT
#define BIT(n)			(1ul << (n))
#endif

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
#define GUEST_INTERRUPTIBILITY	0x4824
#define EXIT_QUALIFICATION	0x6400
#define GUEST_RSP		0x681c
#define GUEST_RIP		0x681e
#define GUEST_RFLAGS		0x6820
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

static inline void vmwrite(uint64_t field, uint64_t v)
{
	asm volatile("vmwrite %1, %0" : : "r"(field), "rm"(v) : "cc", "memory");
}

static inline uint64_t vmread(uint64_t field)
{
	uint64_t v;

	asm volatile("vmread %1, %0" : "=rm"(v) : "r"(field) : "cc", "memory");
	return v;
}

/* The TRUE capability MSR, which allows 0 for every control bit that can be 0. */
static inline uint64_t vmcs_capability(uint32_t field)
{
	switch (field) {
	case PIN_CONTROLS:	return rdmsr(MSR_IA32_VMX_TRUE_PINBASED_CTLS);
	case CPU_CONTROLS:	return rdmsr(MSR_IA32_VMX_TRUE_PROCBASED_CTLS);
	case EXIT_CONTROLS:	return rdmsr(MSR_IA32_VMX_TRUE_EXIT_CTLS);
	default:		return rdmsr(MSR_IA32_VMX_TRUE_ENTRY_CTLS);
	}
}

/* Always set: a 64-bit host, a 64-bit guest, MSR bitmaps. */
static inline uint64_t vmcs_always(uint32_t field)
{
	return field == PIN_CONTROLS ? 0 : field == CPU_CONTROLS ? CPU_MSR_BITMAP : BIT(9);
}

/* Does one of the four controls allow these bits? */
static inline bool vmcs_may(uint32_t field, uint64_t bits)
{
	return !(bits & ~(vmcs_capability(field) >> 32));
}

/* Set one of the four controls: mandatory bits, and these. */
static inline void vmcs_set(uint32_t field, uint64_t bits)
{
	vmwrite(field, (uint32_t)vmcs_capability(field) | vmcs_always(field) | bits);
}

/* Where host and guest continue. */
struct vmcs_world {
	uint16_t code, data;		/* selectors of both host and guest */
	uint16_t host_tr, guest_tr;
	uint64_t host_tss, guest_tss;
	uint64_t host_rip, guest_rip, guest_rsp;
	void *msr_bitmap;
};

/* Fill the current VMCS, which has just been cleared.  Only what always exits does. */
static inline void vmcs_fill(const struct vmcs_world *w)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) gdtr, idtr;
	const uint64_t unusable = 0x10000;
	uint64_t cr0, cr3, cr4, i;

	asm volatile("sgdt %0\n sidt %1" : "=m"(gdtr), "=m"(idtr));
	asm volatile("mov %%cr0, %0\n mov %%cr3, %1\n mov %%cr4, %2" : "=r"(cr0), "=r"(cr3), "=r"(cr4));

	const struct { uint32_t field; uint64_t value; } fields[] = {
		{ MSR_BITMAP, (uint64_t)w->msr_bitmap }, { 0x2800 /* link pointer */, ~0ul },
		/* Guest segments: selector, limit, rights, base. */
		{ 0x802, w->code }, { 0x4802, ~0u }, { 0x4816, 0xa09b },	/* CS */
		{ 0x804, w->data }, { 0x4804, ~0u }, { 0x4818, 0xc093 },	/* SS */
		{ 0x4814, unusable }, { 0x481a, unusable }, { 0x481c, unusable }, { 0x481e, unusable }, { 0x4820, unusable },
		{ 0x80e, w->guest_tr }, { 0x480e, 103 }, { 0x4822, 0x8b }, { 0x6814, w->guest_tss },
		{ 0x4810, gdtr.limit }, { 0x6816, gdtr.base }, { 0x4812, idtr.limit }, { 0x6818, idtr.base },
		/* Guest registers. */
		{ 0x6800, cr0 }, { 0x6802, cr3 }, { 0x6804, cr4 }, { 0x681a /* DR7 */, 0x400 },
		{ GUEST_RSP, w->guest_rsp }, { GUEST_RIP, w->guest_rip }, { GUEST_RFLAGS, 2 },
		/* Host. */
		{ 0xc02, w->code }, { 0xc04, w->data }, { 0xc0c, w->host_tr }, { 0x6c0a, w->host_tss },
		{ 0x6c0c, gdtr.base }, { 0x6c0e, idtr.base },
		{ 0x6c00, cr0 }, { 0x6c02, cr3 }, { 0x6c04, cr4 }, { 0x6c16, w->host_rip },
	};
	/* All other fields are 0. */
	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		vmwrite(fields[i].field, fields[i].value);
	vmcs_set(PIN_CONTROLS, 0);
	vmcs_set(CPU_CONTROLS, 0);
	vmcs_set(EXIT_CONTROLS, 0);
	vmcs_set(ENTRY_CONTROLS, 0);
}

#endif
