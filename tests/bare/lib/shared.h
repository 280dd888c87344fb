/* SPDX-License-Identifier: GPL-2.0 */
/* Parts that more than one test runs: the rules that both vendors share. */
#ifndef SHARED_H
#define SHARED_H

#include "bare.h"

extern char ten_nops[], no_code[], rep_100[], write_msr[], two_rdpmc[];
extern u64 shared_value;	/* written by write_msr; the result of two_rdpmc */

void rdpmc_encodings(const u32 *outside, int n);	/* outside: indices that must fault */
void counting(void);

/*
 * Check the ground truth since @before (READs 0 to 7): a guest called g_user, which went to ring 3
 * and back.
 */
void guest_user_truth(const u64 *before, u64 kernel, u64 user);
void overflow(void);
void pmis(void);

#endif
