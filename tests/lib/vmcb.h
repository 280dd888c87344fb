/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of a VMCB that the smallest SVM guest needs, for tests without an OS and for the
 * hypervisor inside a test's guest.  The guest shares the host's page tables, descriptor tables and
 * code.  The file that includes this one provides rdmsr().
 */
#ifndef VMCB_H
#define VMCB_H

#include <stdint.h>

#include "msr.h"

#ifndef BIT
#define BIT(n)			(1ul << (n))
#endif

/* Offsets of fields that tests write or read. */
#define VMCB_CR_WRITES		0x002
#define VMCB_EXCEPTIONS		0x008
#define VMCB_INTERCEPT1		0x00c
#define VMCB_INTERCEPT2		0x010
#define VMCB_IO_BITMAP		0x040
#define VMCB_MSR_BITMAP		0x048
#define VMCB_ASID		0x058
#define VMCB_INTR_CONTROL	0x060
#define VMCB_EXIT_CODE		0x070
#define VMCB_EXIT_INFO1		0x078
#define VMCB_TR			0x490
#define VMCB_RFLAGS		0x570
#define VMCB_RIP		0x578
#define VMCB_RSP		0x5d8

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

#define VMCB_FIELD(vmcb, type, offset)	(*(volatile type *)((uint8_t *)(vmcb) + (offset)))

static inline void vmcb_segment(void *vmcb, unsigned int offset, uint16_t selector, uint16_t attributes, uint32_t limit,
				uint64_t base)
{
	VMCB_FIELD(vmcb, uint16_t, offset) = selector;
	VMCB_FIELD(vmcb, uint16_t, offset + 2) = attributes;
	VMCB_FIELD(vmcb, uint32_t, offset + 4) = limit;
	VMCB_FIELD(vmcb, uint64_t, offset + 8) = base;
}

struct vmcb_world {
	uint16_t code, data;		/* selectors of both host and guest */
	uint64_t rip, rsp;
	void *io_bitmap, *msr_bitmap;
};

/*
 * Fill a VMCB that is all zero.  VMMCALL exits, and so does what the bitmaps select.  TR is not
 * set: VMSAVE has put it there.
 */
static inline void vmcb_fill(void *vmcb, const struct vmcb_world *w)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) gdtr, idtr;
	uint64_t cr0, cr3, cr4;

	asm volatile("sgdt %0\n sidt %1" : "=m"(gdtr), "=m"(idtr));
	asm volatile("mov %%cr0, %0\n mov %%cr3, %1\n mov %%cr4, %2" : "=r"(cr0), "=r"(cr3), "=r"(cr4));
	VMCB_FIELD(vmcb, uint32_t, VMCB_INTERCEPT1) = I_IO | I_MSR;
	VMCB_FIELD(vmcb, uint32_t, VMCB_INTERCEPT2) = 3;		/* VMRUN, which must be, and VMMCALL */
	VMCB_FIELD(vmcb, uint64_t, VMCB_IO_BITMAP) = (uint64_t)w->io_bitmap;
	VMCB_FIELD(vmcb, uint64_t, VMCB_MSR_BITMAP) = (uint64_t)w->msr_bitmap;
	VMCB_FIELD(vmcb, uint32_t, VMCB_ASID) = 1;
	vmcb_segment(vmcb, 0x410, w->code, 0xa9b, ~0u, 0);		/* CS */
	vmcb_segment(vmcb, 0x420, w->data, 0xc93, ~0u, 0);		/* SS */
	vmcb_segment(vmcb, 0x460, 0, 0, gdtr.limit, gdtr.base);
	vmcb_segment(vmcb, 0x480, 0, 0, idtr.limit, idtr.base);
	VMCB_FIELD(vmcb, uint64_t, 0x4d0) = rdmsr(MSR_EFER);	/* with SVME */
	VMCB_FIELD(vmcb, uint64_t, 0x548) = cr4;
	VMCB_FIELD(vmcb, uint64_t, 0x550) = cr3;
	VMCB_FIELD(vmcb, uint64_t, 0x558) = cr0;
	VMCB_FIELD(vmcb, uint64_t, 0x560) = 0x400;		/* DR7 */
	VMCB_FIELD(vmcb, uint64_t, 0x568) = 0xffff0ff0;		/* DR6 */
	VMCB_FIELD(vmcb, uint64_t, VMCB_RFLAGS) = 2;
	VMCB_FIELD(vmcb, uint64_t, VMCB_RIP) = w->rip;
	VMCB_FIELD(vmcb, uint64_t, VMCB_RSP) = w->rsp;
}

/* The byte and bit of an MSR's read intercept; the write intercept is the next bit. */
static inline uint8_t *vmcb_msr_byte(uint8_t *bitmap, uint32_t msr, int *shift)
{
	*shift = 2 * (msr & 3);
	return bitmap +
	       (msr >= MSR_K7_EVNTSEL0 ? 0x1000 :
		msr >= 0xc0000000      ? 0x800 :
					 0) +
	       (msr & 0x1fff) / 4;
}

#endif
