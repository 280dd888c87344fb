/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the kernel's file of this name that arch/x86/kvm/pmc_count.h needs,
 * for compilers of user space: put this directory into the include path.
 */
#ifndef PROOF_LINUX_TYPES_H
#define PROOF_LINUX_TYPES_H

#include <stdbool.h>

typedef unsigned long long u64;
typedef long long s64;
typedef unsigned int u32;

#endif
