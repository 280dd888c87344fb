/* SPDX-License-Identifier: GPL-2.0 */
/* Test bodies that more than one test runs: the rules that the vendors share. */
#ifndef SHARED_H
#define SHARED_H

#include "bare.h"

extern char ten_nops[], no_code[], rep_100[], write_msr[], two_rdpmc[];
extern u64 shared_value;	/* what write_msr writes; what two_rdpmc found */

void rdpmc_encodings(const u32 *outside, int n);	/* outside: what must fault */
void counting(void);
void overflow(void);
void pmis(void);

#endif
