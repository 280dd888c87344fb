// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: the state of a vCPU's PMU that one base's KVM gives to userspace, with either kind of vPMU, is taken by another base's,
 * with either kind, and the guest goes on with it: it reads what was there, and counts and is interrupted from there on.
 *
 * tests/tool/state-across.py runs this on each host for what it has, and gives all of that to each host again:
 *
 *	without STATE	the guest sets its PMU up and leaves; a note for each MSR that KVM lists and gives: "state 38f=700000003"
 *	with it		it is "FROM,MSR=VALUE,MSR=VALUE/FROM,...", defined in front of this: a new VM for each FROM, which gets
 *			these values in the order of the other host's list
 *
 * From a mediated vPMU to a perf-based one, on a CPU with a counter of slots, the bits of that counter are refused, and nothing
 * else.
 */
#include "perf.h"
#include "vm.h"

#ifndef STATE
#define STATE		NULL
#endif

#define GENERAL		4
#define SLOTS_BIT	(1ULL << 35)
/* How far counter 1 is from its end when it is let go. */
#define TO_GO		100

static struct vm_msr_list list;

/* The guest's names of its registers. */
static uint32_t counter(unsigned int i)
{
	return vm_seen.amd ? MSR_F15H_PERF_CTR + 2 * i : MSR_IA32_PERFCTR0 + i;
}

static uint32_t selector(unsigned int i)
{
	return vm_seen.amd ? MSR_F15H_PERF_CTL + 2 * i : MSR_P6_EVNTSEL0 + i;
}

static uint32_t control(void)
{
	return vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL;
}

static uint32_t status(void)
{
	return vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS : MSR_CORE_PERF_GLOBAL_STATUS;
}

static uint32_t status_clear(void)
{
	return vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR : MSR_CORE_PERF_GLOBAL_OVF_CTRL;
}

static uint64_t branches(uint64_t more)
{
	return (vm_seen.amd ? 0xc2 : 0xc4) | 1 << 17 | 1 << 22 | more;
}

#define INTERRUPT	(1 << 20)

static inline __attribute__((always_inline)) void loop(uint32_t n)
{
	asm volatile("1: dec %0\n\tjnz 1b" : "+r" (n));
}

/*
 * Counter 0 has counted, and is on; 1 has passed its end, and its status says so; 2 is off, and has a value that no 32 bits hold.
 * On Intel, fixed counter 0 has counted, and with slots, 3 as well.  Nothing counts when the guest leaves: of the global
 * control, what is left is the bits of counters whose selectors are off.
 */
static void set_up(void *unused)
{
	/* No branch but those of the loop between the control's two writes. */
	uint64_t slots = vm_seen.fixed > 3 ? SLOTS_BIT : 0, on = vm_seen.amd ? 3 : 3 | 1ULL << 32 | slots;
	uint64_t off = vm_seen.amd ? 4 : 4 | 1ULL << 33 | slots;
	uint32_t msr = control();

	(void)unused;
	wrmsr(MSR_X2APIC_LVTPC, APIC_LVT_MASKED | APIC_DM_NMI);
	wrmsr(control(), 0);
	wrmsr(counter(0), 1000);
	wrmsr(selector(0), branches(0));
	/* To Intel's legacy name: 32 bits, sign-extended. */
	wrmsr(counter(1), vm_seen.amd ? VM_MASK - 9 : (uint32_t)-10);
	wrmsr(selector(1), branches(INTERRUPT));
	if (!vm_seen.amd)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, vm_seen.fixed > 3 ? 0x2001 : 0x1);
	wrmsr(msr, on);
	loop(500);
	wrmsr(msr, off);
	/* The counter of slots goes on to be enabled, by the control of user mode only. */
	wrmsr(selector(1), 0);
}

static struct {
	uint64_t value[GENERAL], fixed[3], selector, status, control;
	uint64_t counted, truth, late_status, cleared;
} g;

static void go_on(void *unused)
{
	uint64_t truth, from;
	unsigned int i;

	(void)unused;
	for (i = 0; i < GENERAL; i++)
		g.value[i] = rdmsr(counter(i));
	for (i = 0; i < 3 && !vm_seen.amd; i++)
		g.fixed[i] = rdmsr(MSR_CORE_PERF_FIXED_CTR0 + i);
	g.selector = rdmsr(selector(0));
	g.status = rdmsr(status());
	g.control = rdmsr(control());
	wrmsr(status_clear(), g.status);
	g.cleared = rdmsr(status());

	wrmsr(control(), 1);
	truth = mark_read(TRUTH_BRANCHES_GUEST_KERNEL);
	from = rdmsr(counter(0));
	loop(777);
	g.counted = rdmsr(counter(0)) - from;
	g.truth = mark_read(TRUTH_BRANCHES_GUEST_KERNEL) - truth;
	wrmsr(control(), 0);

	vm_seen.pmis = 0;
	wrmsr(MSR_X2APIC_LVTPC, APIC_DM_NMI);
	wrmsr(counter(1), vm_seen.amd ? VM_MASK - TO_GO + 1 : (uint32_t)-TO_GO);
	wrmsr(selector(1), branches(INTERRUPT));
	wrmsr(control(), 2);
	loop(2 * TO_GO);
	wrmsr(control(), 0);
	g.late_status = rdmsr(status());
	wrmsr(selector(1), 0);
}

static bool is_listed(uint32_t msr)
{
	unsigned int i;

	for (i = 0; i < list.head.nmsrs && list.index[i] != msr; i++)
		;
	return i < list.head.nmsrs;
}

static bool get(struct vm *vm, uint32_t index, uint64_t *value)
{
	struct vm_msr msr = { .head.nmsrs = 1, .entry.index = index };
	bool good = ioctl(vm->vcpu, KVM_GET_MSRS, &msr) == 1;

	*value = msr.entry.data;
	return good;
}

static void save(struct vm *vm)
{
	unsigned int i;
	uint64_t value;

	vm_call(vm, set_up, NULL);
	vm_set_msr(vm, counter(2), 0x123456789aULL);
	for (i = 0; i < list.head.nmsrs; i++) {
		if (vm_msr_counts(list.index[i]) && get(vm, list.index[i], &value))
			note("state %x=%llx", list.index[i], (unsigned long long)value);
	}
	value = vm_get_msr(vm, status());
	check_equal("status", value, 2, "counter 1 has passed its end");
	check_equal("counter 0", vm_get_msr(vm, counter(0)), 1000 + 500, "as many branches as rounds of the loop");
	check_equal("counter 2", vm_get_msr(vm, counter(2)), 0x123456789aULL, "as userspace has set it");
	if (!vm_seen.amd)
		check(vm_get_msr(vm, MSR_CORE_PERF_FIXED_CTR0) >= 1000, "fixed counter 0: two instructions a round, or more");
}

static uint64_t given(const char *state, uint32_t index)
{
	while (*state && *state != '/') {
		char *end;
		uint32_t msr = strtoul(state, &end, 16);
		uint64_t value = strtoull(end + 1, &end, 16);

		if (msr == index)
			return value;
		state = end + (*end == ',');
	}
	return 0;
}

/* What a perf-based vPMU has not got: the counter of slots, PERF_METRICS, and their bits. */
static bool may_be_refused(uint32_t msr, bool mediated)
{
	return !mediated && !vm_seen.amd &&
	       (msr == MSR_CORE_PERF_FIXED_CTR0 + 3 || msr == MSR_PERF_METRICS ||
		msr == MSR_CORE_PERF_GLOBAL_CTRL || msr == MSR_CORE_PERF_FIXED_CTR_CTRL);
}

static const char *restore(const char *state)
{
	char from[64], name[128];
	const char *comma = strchr(state, ','), *next;
	unsigned int taken = 0, refused = 0, wrong_refused = 0, differ = 0, expected = 0;
	bool slots;
	struct vm vm;

	must(comma && comma - state < (long)sizeof(from), "a state begins with where it is from");
	snprintf(from, sizeof(from), "%.*s", (int)(comma - state), state);
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	slots = given(comma + 1, MSR_CORE_PERF_GLOBAL_CTRL) & SLOTS_BIT;
	for (next = comma + 1; *next && *next != '/';) {
		char *end;
		uint32_t msr = strtoul(next, &end, 16);
		uint64_t value = strtoull(end + 1, &end, 16), now;

		next = end + (*end == ',');
		/* A register of the other host's alone, in which nothing is: its list names some that its guest has not got. */
		if (!value && !is_listed(msr))
			continue;
		expected += slots && value && may_be_refused(msr, vm_seen.mediated);
		if (!vm_try_set_msr(&vm, msr, value)) {
			refused++;
			wrong_refused += !slots || !may_be_refused(msr, vm_seen.mediated);
			continue;
		}
		taken++;
		/* That it has been taken means nothing if it is not there. */
		if (!get(&vm, msr, &now))
			now = ~value;
		if (now != value)
			note("from %s: MSR %#x: %#llx, given %#llx", from, msr, (unsigned long long)now, (unsigned long long)value);
		differ += now != value;
	}
	snprintf(name, sizeof(name), "from %s: MSRs that are refused", from);
	check_equal(name, refused, expected, "those with bits of slots, where there are none");
	snprintf(name, sizeof(name), "from %s: other MSRs that are refused", from);
	check_equal(name, wrong_refused, 0, "none");
	snprintf(name, sizeof(name), "from %s: MSRs that read otherwise", from);
	check_equal(name, differ, 0, "none");
	check(taken >= 12, "from %s: MSRs that are taken: %u", from, taken);
	if (expected) {
		vm_close(&vm);
		goto out;
	}

	memset(&g, 0, sizeof(g));
	vm_call(&vm, go_on, NULL);
	vm_close(&vm);
	snprintf(name, sizeof(name), "from %s: what the guest finds:", from);
#define FOUND(what, got, msr) do {									\
	char line[160];											\
													\
	snprintf(line, sizeof(line), "%s " what, name);							\
	check_equal(line, got, given(comma + 1, msr), "as it was");					\
} while (0)
	FOUND("counter 0", g.value[0], counter(0));
	FOUND("counter 1", g.value[1], counter(1));
	FOUND("counter 2", g.value[2], counter(2));
	FOUND("selector 0", g.selector, selector(0));
	FOUND("status", g.status, status());
	FOUND("control", g.control, control());
	if (!vm_seen.amd)
		FOUND("fixed counter 0", g.fixed[0], MSR_CORE_PERF_FIXED_CTR0);
	snprintf(name, sizeof(name), "from %s: status that is cleared", from);
	check_equal(name, g.cleared, 0, "by the guest");
	snprintf(name, sizeof(name), "from %s: branches that it counts", from);
	check_equal(name, g.counted, g.truth, "the machine's count");
	snprintf(name, sizeof(name), "from %s: branches of the loop", from);
	check_equal(name, g.truth, 777, "one a round");
	snprintf(name, sizeof(name), "from %s: PMIs", from);
	check_equal(name, vm_seen.pmis, 1, "the counter passes its end once");
	snprintf(name, sizeof(name), "from %s: status behind it", from);
	check_equal(name, g.late_status, vm_seen.amd ? 2 : 0, "Intel's handler has cleared it");
out:
	next = strchr(state, '/');
	return next ? next + 1 : NULL;
}

int main(void)
{
	const char *state = STATE;
	struct vm vm;

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_msr_list(vm.kvm, &list);
	if (!state)
		save(&vm);
	vm_close(&vm);
	while (state)
		state = restore(state);
	return check_done();
}
