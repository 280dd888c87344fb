// SPDX-License-Identifier: GPL-2.0
/*
 * What `bench` measures: a mix like that of a kernel and its programs (arithmetic on memory,
 * branches that depend on data, calls, string instructions, interrupts into ring 0 and back),
 * executed ROUNDS times.  Then the machine is switched off, by Bochs's own port, because a Bochs
 * without our patches does not have the magic instruction.
 */
#include "pmu.h"

#define WORDS	1024

static u32 data[WORDS], copy[WORDS];

static u32 __attribute__((noinline)) step(u32 x)
{
	x ^= x << 13;
	x ^= x >> 17;
	return x ^ x << 5;
}

/* Hash, sort groups of eight words by insertion, follow indices, and copy. */
static u64 work(u64 seed, u64 unused)
{
	u32 x = seed | 1, sum = unused;
	int i, j;

	for (i = 0; i < WORDS; i++)
		data[i] = x = step(x);
	for (i = 0; i < WORDS; i++) {
		u32 v = data[i];

		for (j = i; j & 7 && data[j - 1] > v; j--)
			data[j] = data[j - 1];
		data[j] = v;
	}
	for (i = 0, j = 0; i < WORDS; i++) {
		j = data[j] % WORDS;
		sum += data[j] & 1 ? j : -i;
	}
	asm volatile("rep movsl" : : "S"(data), "D"(copy), "c"(WORDS) : "memory");
	return sum;
}

static void count_all(void)
{
	static const enum event events[] = { INSNS, BRANCHES, CYCLES, COND };

	pmu_init();
	pmu_clear();
	for (int i = 0; i < counters(); i++)
		pmu_set(counter(i), i < pmu.gp ? event(events[i % ARRAY_SIZE(events)]) | ALL : ALL);
	if (pmu.global)
		wrmsr(pmu.global, pmu.all);
}

void test(void)
{
	if (COUNTING)
		count_all();
	for (u64 n = 0; n < ROUNDS; n++) {
		work(n, 0);
		in_user(work, n, 0);
	}
	for (const char *s = "Shutdown"; *s; s++)
		outb(0x8900, *s);
}
