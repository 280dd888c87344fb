// SPDX-License-Identifier: GPL-2.0
/*
 * What a VM-exit costs: instructions of the host, and accesses to the PMU's registers, for each of 1000 CPUIDs of the guest;
 * idle with no counter on, active with instructions, branches and cycles.  Instructions are those of the exit that has the
 * fewest: without an interrupt of the host, it has always the same.
 */
#include "vm.h"

#define N	1000

static struct {
	uint64_t host, guest, exits;
} seen[2];

static uint64_t fewest;

static uint64_t host_insns(void)
{
	return mark_read(TRUTH_INSNS_HOST_KERNEL) + mark_read(TRUTH_INSNS_HOST_USER);
}

static void read_all(unsigned int at)
{
	seen[at].exits = mark_read(TRUTH_EXITS);
	seen[at].host = mark_read(TRUTH_HOST_RDMSR) + mark_read(TRUTH_HOST_WRMSR) + mark_read(TRUTH_HOST_RDPMC);
	seen[at].guest = mark_read(TRUTH_GUEST_RDMSR) + mark_read(TRUTH_GUEST_WRMSR) + mark_read(TRUTH_GUEST_RDPMC);
}

static void guest(void *argument)
{
	unsigned int i, a, b, c, d, on = (uintptr_t)argument;
	static const uint32_t event[2][3] = { { 0xc0, 0xc4, 0x3c }, { 0xc0, 0xc2, 0x76 } };

	for (i = 0; i < 3; i++) {
		wrmsr(vm_seen.amd ? MSR_AMD_CTR0 + 2 * i : MSR_PERFCTR0 + i, 0);
		wrmsr(vm_seen.amd ? MSR_AMD_CTL0 + 2 * i : MSR_EVNTSEL0 + i, on ? event[vm_seen.amd][i] | 3 << 16 | 1 << 22 : 0);
	}
	if (!vm_seen.amd)
		wrmsr(MSR_GLOBAL_CTRL, 7);
	for (i = 0; i < 10; i++)
		asm volatile("cpuid" : "=a" (a), "=b" (b), "=c" (c), "=d" (d) : "a" (0));
	fewest = ~0ULL;
	read_all(0);
	for (i = 0; i < N; i++) {
		uint64_t before = host_insns(), n;

		asm volatile("cpuid" : "=a" (a), "=b" (b), "=c" (c), "=d" (d) : "a" (0));
		n = host_insns() - before;
		fewest = n < fewest ? n : fewest;
	}
	read_all(1);
	for (i = 0; i < 3; i++)
		wrmsr(vm_seen.amd ? MSR_AMD_CTL0 + 2 * i : MSR_EVNTSEL0 + i, 0);
}

int main(void)
{
	static struct vm vm;
	unsigned int on, k;

	must(mark_present(), "this is our machine");
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	for (on = 0; on < 2; on++) {
		for (k = 0; k < 3; k++)
			vm_call(&vm, guest, (void *)(uintptr_t)on);
		/* For tests/tool/cost and make run: instructions of the host, and accesses of the PMU by host and guest. */
		sayf("cost %s|%llu|%llu|%llu|%llu", on ? "active" : "idle", (unsigned long long)(seen[1].exits - seen[0].exits),
		     (unsigned long long)fewest, (unsigned long long)(seen[1].host - seen[0].host),
		     (unsigned long long)(seen[1].guest - seen[0].guest));
		check(seen[1].exits - seen[0].exits >= N, "it exits");
	}
	vm_close(&vm);
	return check_done();
}
