/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What guest.S knows of C: offsets in structures and values of enums.  guest.c asserts each of
 * them, so that a change on one side only does not compile.
 */
#ifndef VM_LAYOUT_H
#define VM_LAYOUT_H

/* struct vm_frame */
#define FRAME_TRUTH_BEGIN	0
#define FRAME_TRUTH_END		48
#define FRAME_BODY		96
#define FRAME_ON		104
#define FRAME_OFF		240

/* struct vm_switch */
#define SWITCH_N		0
#define SWITCH_MSR		8
#define SWITCH_VALUE		16
#define SWITCH_NEXT		16	/* from one write to the next */

/* struct vm_pmi: the size of the counts, which come before the registers */
#define PMI_REGISTERS		40

/* enum mark_index */
#define READ_INSNS_KERNEL	2
#define READ_INSNS_USER		3
#define READ_BRANCHES_KERNEL	6
#define READ_BRANCHES_USER	7
#define READ_EXITS		8
#define READ_INTERRUPTS		0x160

/* Ports, and where the exceptions' entries are. */
#define PORT_DONE		0xe0
#define PORT_FAULT		0xe1
#define VECTOR_SIZE		16
#define VECTORS			32

#endif /* VM_LAYOUT_H */
