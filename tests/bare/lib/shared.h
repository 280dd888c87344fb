/* SPDX-License-Identifier: GPL-2.0 */
/* Test bodies that more than one test runs: the rules that the vendors share. */
#ifndef SHARED_H
#define SHARED_H

#include "bare.h"

extern char ten_nops[], no_code[], rep_100[], write_msr[], two_rdpmc[];
extern u64 shared_value;	/* what write_msr writes; what two_rdpmc found */

void rdpmc_encodings(const u32 *outside, int n);	/* outside: what must fault */
void counting(void);

/* What the truth says since READs 0 to 7 were kept in before: a guest called g_user, and was in ring 3 and back. */
void guest_user_truth(const u64 *before, u64 kernel, u64 user);
void overflow(void);
void pmis(void);

#endif
