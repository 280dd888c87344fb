/////////////////////////////////////////////////////////////////////////
// $Id$
/////////////////////////////////////////////////////////////////////////
//
//  Copyright (C) 2026  The kvm-pmu authors
//
//  This library is free software; you can redistribute it and/or
//  modify it under the terms of the GNU Lesser General Public
//  License as published by the Free Software Foundation; either
//  version 2 of the License, or (at your option) any later version.
//
//  This library is distributed in the hope that it will be useful,
//  but WITHOUT ANY WARRANTY; without even the implied warranty of
//  MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
//  Lesser General Public License for more details.
//
//  You should have received a copy of the GNU Lesser General Public
//  License along with this library; if not, write to the Free Software
//  Foundation, Inc., 51 Franklin St, Fifth Floor, Boston, MA B 02110-1301 USA
/////////////////////////////////////////////////////////////////////////


#ifndef BX_CPU_MARK_H
#define BX_CPU_MARK_H

#if BX_SUPPORT_PERFMON

//
// The magic instruction, called mark in the sources: software on the machine
// talks to the outside by it, from the host or a guest, at any privilege and
// without a VM-exit.
//
// In 64-bit mode, XCHG BX,BX with RAX[63:16] = "KVMPMU" is a mark; RAX[15:0]
// is the operation, RCX and RDX are its arguments. The instruction retires like
// any other, and has no effect but that of the operation.
//

const Bit64u BX_MARK_MAGIC = BX_CONST64(0x4b564d504d55);
const unsigned BX_MARK_VERSION = 1;

enum {
  BX_MARK_LABEL = 1,    // RCX: up to 8 characters, RDX: a number; write counts to the truth file
  BX_MARK_READ  = 2,    // RCX: which count; returns the count in RAX
  BX_MARK_SAY   = 3,    // RCX: stream, RDX: up to 8 characters; write lines to the verdict file
  BX_MARK_OFF   = 4,    // RCX: exit status; switch the machine off
  BX_MARK_SAVE  = 5,    // save the machine's state after this instruction
  BX_MARK_SMI   = 6,    // RCX: ticks after this instruction until an SMI reaches this CPU
  BX_MARK_NMI   = 7,    // likewise, an NMI
  BX_MARK_PROFILE = 8   // RCX: 1 begins, 0 ends; count the instructions of the host's kernel by their
                        // addresses, and write these to the truth file
};

// counts of BX_MARK_READ
enum {
  BX_MARK_INSNS      = 0,       // 4: kernel and user of the host, then of the guest
  BX_MARK_BRANCHES   = 4,       // 4: likewise
  BX_MARK_EXITS      = 8,
  BX_MARK_ACCESSES   = 9,       // 6: RDMSR, WRMSR, RDPMC of the host, then of the guest
  BX_MARK_OVERFLOWS  = 15,
  BX_MARK_PMIS       = 16,
  BX_MARK_CYCLES     = 17,
  BX_MARK_CPUS       = 18,
  BX_MARK_GET_VERSION = 19,
  BX_MARK_LIVE       = 20,      // 3: writes to a live PMU: LVT entry, selectors, counters
  BX_MARK_SMIS       = 23,
  BX_MARK_SMM_INSNS  = 24,      // executed in SMM, which is neither host nor guest
  BX_MARK_SMM_BRANCHES = 25,
  BX_MARK_EXIT0      = 0x100,   // 0x800: VM-exits by basic reason or exit code
  BX_MARK_EXIT_LAST  = 0x8ff
};

void bx_mark_init(void);
void bx_mark_exit(void);
bool bx_mark(BX_CPU_C *cpu, unsigned op, Bit64u rcx, Bit64u rdx, Bit64u *rax);
void bx_mark_boundary(void);

// while instructions are counted by address: each is followed by a boundary
extern bool bx_mark_profiling;
// n instructions at this address have retired
void bx_mark_profile(bx_address rip, Bit64u n);

#endif // BX_SUPPORT_PERFMON

#endif // BX_CPU_MARK_H
