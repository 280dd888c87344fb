// SPDX-License-Identifier: GPL-2.0
/* RDPMC: every counter, every other index, and privileges. */
#include "pmu.h"
#include "shared.h"

/* In ring 3: return the vector, or 100H if the value is correct. */
static u64 user_rdpmc(u64 index, u64 want)
{
	u64 v;
	int vector = rdpmc_safe(index, &v);

	return vector ?: 0x100 + (v != want);
}

static u64 user_rdmsr(u64 msr)
{
	u64 v;

	return rdmsr_safe(msr, &v);
}

void rdpmc_encodings(const u32 *outside, int n)
{
	u64 v;

	pmu_clear();
	for (int i = 0; i < counters(); i++) {
		u32 index = i < pmu.gp ? i : (int)BIT(30) + i - pmu.gp;
		u64 want = 0x800000000000 + 0x111111 * i;

		ctr_write(counter(i), want);
		is(rdpmc_safe(index, &v), 0, "RDPMC(%x) exists", index);
		is(v, want, "RDPMC(%x) reads 48 bits", index);
	}
	for (int i = 0; i < n; i++)
		is(rdpmc_safe(outside[i], &v), 13, "RDPMC(%x) is out of range: #GP", outside[i]);

	write_cr4(read_cr4() & ~BIT(8));
	is(rdpmc_safe(0, &v), 0, "RDPMC in ring 0 does not need CR4.PCE");
	is(in_user(user_rdpmc, 0, 0), 13, "RDPMC in ring 3 with CR4.PCE=0: #GP");
	if (pmu.fixed)
		is(in_user(user_rdpmc, BIT(30), 0), 13, "RDPMC of a fixed counter in ring 3 with CR4.PCE=0: #GP");
	write_cr4(read_cr4() | BIT(8));
	is(in_user(user_rdpmc, 0, 0x800000000000), 0x100, "RDPMC in ring 3 with CR4.PCE=1 reads");
	is(in_user(user_rdpmc, pmu.gp, 0), 13, "RDPMC out of range in ring 3: #GP");
	is(in_user(user_rdmsr, counter_msr(0), 0), 13, "RDMSR in ring 3: #GP");
	write_cr4(read_cr4() & ~BIT(8));
}
