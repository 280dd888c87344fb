// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a guest with a mediated vPMU has the fixed counter of slots and PERF_METRICS as the CPU has
 * them, without VM-exits, and with the same numbers: eight slots per instruction, and the code's
 * are known (tools/machine/README).  They belong to the guest across VM-exits, while another VM
 * runs, and while events of the host count.  The event filter takes them away.  A guest whose CPUID
 * does not have them has none.
 *
 * The loop is DEC and JNZ: half of its slots retire, and two of sixteen are lost to the taken
 * branch.
 */

#include "perf.h"
#include "vm.h"

#define SLOTS_BIT	(1ULL << 35)
#define INSNS_BIT	(1ULL << 32)
#define SLOTS_CTR	(MSR_CORE_PERF_FIXED_CTR0 + 3)
#define ROUNDS		1000
#define TURNS		20

static struct vm vm;

static struct {
	uint64_t control;		/* bits of the global control to set */
	uint64_t start;			/* of the counter of slots */
	bool out;			/* userspace runs after each turn of the loop */
	uint64_t slots, insns, metrics, by_msr, status, exits;
	uint32_t faults;
} g;

static void __attribute__((noinline)) loop(unsigned int n)
{
	asm volatile("1: dec %0\n\tjnz 1b" : "+r" (n) : : "cc");
}

static void guest(void *unused)
{
	unsigned int i;

	(void)unused;
	vm_seen.pmis = 0;
	wrmsr(MSR_X2APIC_LVTPC, APIC_DM_NMI);
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
	wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, METRICS_BIT | SLOTS_BIT | INSNS_BIT);
	wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, (g.start ? 0xb003 : 0x3003));
	wrmsr(MSR_CORE_PERF_FIXED_CTR0, 0);
	wrmsr(SLOTS_CTR, g.start & VM_MASK);
	if (vm_seen.metrics)
		wrmsr(MSR_PERF_METRICS, 0);
	g.exits = mark_read(TRUTH_EXITS);
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, g.control);
	for (i = 0; i < TURNS; i++) {
		loop(ROUNDS);
		if (g.out)
			asm volatile("out %%al, %0" : : "i" (VM_HOOK) : "memory");
	}
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
	g.slots = rdpmc(0x40000003);
	g.insns = rdpmc(0x40000000);
	g.metrics = rdpmc(METRICS_INDEX);
	if (vm_seen.metrics)
		g.by_msr = rdmsr(MSR_PERF_METRICS);
	g.status = rdmsr(MSR_CORE_PERF_GLOBAL_STATUS);
	g.exits = mark_read(TRUTH_EXITS) - g.exits;
	wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0);
}

static unsigned int field(unsigned int n)
{
	return g.metrics >> (8 * n) & 0xff;
}

static void shares(const char *what, unsigned int apart)
{
	char line[96];

	snprintf(line, sizeof(line), "%s: retiring, of 255", what);
	check_between(line, field(0), 124 - apart, 130 + apart, "half");
	snprintf(line, sizeof(line), "%s: bad speculation", what);
	check_between(line, field(1), 0, 3 + apart, "a loop is predicted");
	snprintf(line, sizeof(line), "%s: front end", what);
	check_between(line, field(2), 29 - apart, 34 + apart, "an eighth");
	snprintf(line, sizeof(line), "%s: sum", what);
	check_equal(line, field(0) + field(1) + field(2) + field(3), 255, "all of them");
}

static void run(uint64_t start, bool out)
{
	g.control = SLOTS_BIT | INSNS_BIT | METRICS_BIT;
	g.start = start;
	g.out = out;
	vm_call(&vm, guest, NULL);
}

/* A tick of the host is a VM-exit: try again. */
static void alone(void)
{
	unsigned int tries = 0;

	do {
		run(0, false);
		must(++tries < VM_TRIES, "the loop without a tick of the host");
	} while (g.exits);
	check_equal("slots", g.slots, 8 * g.insns, "eight for an instruction");
	check_equal("PERF_METRICS by its MSR", g.by_msr, g.metrics, "as by RDPMC");
	check_equal("exits", g.exits, 0, "the guest accesses all of it itself");
	shares("alone", 0);
}

static void filter(unsigned int denied)
{
	struct kvm_pmu_event_filter f = { .action = KVM_PMU_EVENT_DENY, .fixed_counter_bitmap = denied };

	must(!ioctl(vm.fd, KVM_SET_PMU_EVENT_FILTER, &f), "the filter can be set");
}

static void filtered(void)
{
	filter(1 << 3);
	run(0, false);
	check_equal("slots that are denied", g.slots, 0, "by the event filter");
	check_equal("their shares", g.metrics, 0, "there are no slots");
	check(g.insns > 2 * ROUNDS * TURNS, "instructions are not denied");
	filter(0);
	run(0, false);
	shares("allowed again", 0);
}

static void overflow(void)
{
	run(-4000, false);
	check_equal("PMIs", vm_seen.pmis, 1, "the counter of slots has overflowed");
	check_equal("status in the PMI", vm_seen.pmi[0].status, SLOTS_BIT | METRICS_BIT,
		    "the metrics' bit comes with it");
	check_equal("status after it", g.status, 0, "cleared");
}

/* ---- by userspace */

static void hook_nothing(struct vm *unused)
{
	(void)unused;
}

static void save(void)
{
	uint64_t metrics, slots, control = SLOTS_BIT | METRICS_BIT;

	run(0, false);
	metrics = vm_get_msr(&vm, MSR_PERF_METRICS);
	slots = vm_get_msr(&vm, SLOTS_CTR);
	check_equal("PERF_METRICS as userspace reads it", metrics, g.metrics, "as the guest does");
	check_equal("slots as userspace reads them", slots, g.slots, "as the guest does");
	vm_close(&vm);
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	check_equal("PERF_METRICS of a new vCPU", vm_get_msr(&vm, MSR_PERF_METRICS), 0, "as after RESET");
	vm_set_msr(&vm, SLOTS_CTR, slots);
	vm_set_msr(&vm, MSR_PERF_METRICS, metrics);
	check(vm_try_set_msr(&vm, MSR_CORE_PERF_GLOBAL_CTRL, control),
	      "the metrics' bit in the global control can be written back");
	check(vm_try_set_msr(&vm, MSR_CORE_PERF_GLOBAL_STATUS, METRICS_BIT),
	      "that in the status, too");
	check_equal("global control", vm_get_msr(&vm, MSR_CORE_PERF_GLOBAL_CTRL), control,
		    "as written");
	check_equal("status", vm_get_msr(&vm, MSR_CORE_PERF_GLOBAL_STATUS), METRICS_BIT,
		    "as written");
	check_equal("PERF_METRICS in another VM", vm_get_msr(&vm, MSR_PERF_METRICS), metrics, "as it was");
}

static void guest_tries(void *unused)
{
	uint64_t value;

	(void)unused;
	vm_guest_wake();
	/*
	 * Select slots in no ring.  Then the guest may write their counter itself.
	 */
	wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 8ULL << 12);
	rdmsr(MSR_CORE_PERF_FIXED_CTR0 + 3);
	g.faults = try_wrmsr(MSR_PERF_METRICS, 0) ? 0 : 1;
	g.faults |= try_rdmsr(MSR_PERF_METRICS, &value) ? 0 : 2;
	g.faults |= try_wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0xb000) ? 0 : 4;
	g.faults |= try_wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 1 << 16) ? 0 : 8;
	wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0);
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, METRICS_BIT | 1);
}

/*
 * The guest has all counters, but its CPUID does not have PERF_METRICS: hardware has the metrics'
 * bit, the guest does not.
 */
static void without(void)
{
	vm_close(&vm);
	vm_open(&vm);
	skip_faults();
	vm_set_msr(&vm, MSR_IA32_PERF_CAPABILITIES, VM_FULL_WIDTH);
	vm_seen.metrics = false;
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, guest_tries, NULL);
	check_equal("global control, where it has set the metrics' bit",
		    vm_get_msr(&vm, MSR_CORE_PERF_GLOBAL_CTRL), 1, "that bit is not kept");
	check_equal("what faults", g.faults, 1 | 2 | 8,
		    "PERF_METRICS, and the selector of a fixed counter that does not exist");
	check(!vm_try_set_msr(&vm, MSR_CORE_PERF_GLOBAL_CTRL, METRICS_BIT),
	      "userspace cannot set its bit in the global control");
	check(!vm_try_set_msr(&vm, MSR_CORE_PERF_GLOBAL_STATUS, METRICS_BIT),
	      "nor that in the status");
	vm.hook = hook_nothing;
	run(0, true);
	check_equal("slots are counted, as CPUID says", g.slots > 16 * ROUNDS * TURNS, 1,
		    "eight for an instruction");
	vm_close(&vm);
	vm_open(&vm);
}

/* ---- while the host counts its own */

/* The host's slots and their four parts, read together. */
static int host_group[5];

static void host_begins(void)
{
	static const uint64_t config[] = { 0x400, 0x8000, 0x8100, 0x8200, 0x8300 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(config); i++) {
		struct perf_event_attr attr = {
			.type = PERF_TYPE_RAW, .size = sizeof(attr), .config = config[i], .exclude_guest = 1,
			.read_format = PERF_FORMAT_GROUP, .disabled = !i,
		};

		host_group[i] = perf_open(&attr, 0, -1, i ? host_group[0] : -1);
		must(host_group[i] >= 0, "the host's slots and their parts");
	}
	must(!ioctl(host_group[0], PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP), "they begin together");
}

/* Return the parts per thousand slots. */
static uint64_t host_ends(void)
{
	struct {
		uint64_t nr, value[ARRAY_SIZE(host_group)];
	} r;
	uint64_t sum = 0;
	unsigned int i;

	must(read(host_group[0], &r, sizeof(r)) == sizeof(r), "the group can be read");
	for (i = ARRAY_SIZE(host_group); i; i--)
		close(host_group[i - 1]);
	for (i = 1; i < ARRAY_SIZE(host_group); i++)
		sum += r.value[i];
	note("the host's: %llu slots", (unsigned long long)r.value[0]);
	must(r.value[0], "the host has slots");
	return sum * 1000 / r.value[0];
}

static void beside(void)
{
	vm.hook = hook_nothing;
	run(0, true);
	/* The instructions of each turn of userspace count, too, and each switch rounds. */
	shares("with userspace in each turn", 6);
	host_begins();
	run(0, true);
	shares("beside the host's own", 6);
	check_between("the host's parts, of a thousand", host_ends(), 990, 1000, "perf rounds each down");
}

int main(void)
{
	vm_open(&vm);
	must(vm_seen.metrics, "KVM offers PERF_METRICS");
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, guest, NULL);
	alone();
	overflow();
	filtered();
	beside();
	save();
	vm_call(&vm, guest, NULL);
	without();
	vm_close(&vm);
	return check_done();
}
