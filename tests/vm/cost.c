// SPDX-License-Identifier: GPL-2.0
/*
 * What a VM-exit costs: instructions of the host and accesses to the PMU's registers, for each of
 * 1000 CPUIDs of the guest:
 *
 *	idle	with no counter enabled
 *	active	with counters of instructions, branches and cycles, all far from overflow, as perf
 *		stat sets them
 *	beside	the same, while perf record -a counts cycles of the host: an event that excludes
 *		guests
 *	near	the same, 2^20 events from overflow, as for a sampling period
 *
 * What else a guest does with a counter costs:
 *
 *	rdpmc	read a counter by RDPMC, where that exits
 *	control	write the global control, where that exits; only with a global control
 *	event	enable an event on a counter, read it, and disable it, with the accesses of Linux's
 *		driver
 *	sample	let a counter overflow, take its PMI, read and set the counter, with the accesses of
 *		that driver
 *	pmi	let a counter overflow and take its PMI: a measured region with it minus the same
 *		region without it
 *
 * What it costs to take the three counters off, exit so many times, and put them on again, while
 * perf record -a counts cycles of the host, to which each exit hands the registers back:
 *
 *	rotate	ten times, as when perf in the guest multiplexes or switches tasks
 *	wake	a hundred times: a mediated vPMU has given up the registers meanwhile
 *
 * What else a guest does while the three counters count costs:
 *
 *	ipi	an IPI to itself, taken
 *	timer	the timer set, and its interrupt taken
 *	switch	KVM_RUN of another vCPU on the same CPU, which does nothing
 *
 * With COST_PROFILE=WORK in the environment, the machine counts the host kernel's instructions of that
 * work by address, and the kernel's symbols are reported: tools/bench/functions.py reads both.
 *
 * With COST_WORK=WORK,WORK in the environment only these are measured.
 *
 * With COST_NO_PMU in the environment the guest has no PMU, and does nothing but exit.
 *
 * The number of instructions is that of the exit, event or measured region that has the fewest:
 * all that no interrupt of the host disturbs have the same.  The number of accesses is that of the
 * best of three turns: if the host puts and loads the guest's PMU meanwhile, that adds eighty.  Of
 * near it is that of the exit with the fewest instructions: exits for interrupts of the host have
 * fewer accesses, and how many come depends on the image.
 */
#include <sched.h>

#include "perf.h"
#include "vm.h"

#define N	1000
/* Of rotate and wake, which have many exits each. */
#define TURNS	100

/* More than the largest basic reason of VMX and exit code of SVM. */
#define REASONS	0x410

static struct reading {
	/* As the machine numbers them, from TRUTH_INSNS_HOST_KERNEL and TRUTH_HOST_RDMSR on. */
	uint64_t insns[4], host[3];
	uint64_t guest, exits;
	uint64_t by_reason[REASONS];
} seen[2];

static uint64_t fewest;

/* The accesses between two readings. */
static uint64_t host_accesses(const struct reading r[2])
{
	return r[1].host[0] - r[0].host[0] + r[1].host[1] - r[0].host[1] + r[1].host[2] - r[0].host[2];
}

/* Of this work, or of none. */
static const char *profile = "";
static bool profiling;

/* The host's accesses by kind, in the order of the machine's numbers. */
static void read_accesses(uint64_t accesses[3])
{
	unsigned int i;

	for (i = 0; i < 3; i++)
		accesses[i] = mark_read(TRUTH_HOST_RDMSR + i);
}

static void read_insns(unsigned int at)
{
	unsigned int i;

	for (i = 0; i < 4; i++)
		seen[at].insns[i] = mark_read(TRUTH_INSNS_HOST_KERNEL + i);
}

static void read_all(unsigned int at)
{
	struct reading *r = &seen[at];
	unsigned int i;

	if (profiling && at)
		mark_op(MARK_OP_PROFILE, 0, 0);
	/* What this function executes is not part of the work. */
	if (at)
		read_insns(at);
	read_accesses(r->host);
	r->exits = mark_read(TRUTH_EXITS);
	for (i = 0; i < REASONS; i++)
		r->by_reason[i] = mark_read(TRUTH_EXITS_BY_REASON + i);
	r->guest = mark_read(TRUTH_GUEST_RDMSR) + mark_read(TRUTH_GUEST_WRMSR) + mark_read(TRUTH_GUEST_RDPMC);
	if (!at)
		read_insns(at);
	if (profiling && !at)
		mark_op(MARK_OP_PROFILE, 1, 0);
}

enum { IDLE, ACTIVE, BESIDE, NEAR };
static const char * const name[] = { "idle", "active", "beside", "near" };

static uint32_t counter_msr(unsigned int i)
{
	return vm_seen.amd ? MSR_F15H_PERF_CTR + 2 * i : MSR_IA32_PERFCTR0 + i;
}

static uint32_t selector_msr(unsigned int i)
{
	return vm_seen.amd ? MSR_F15H_PERF_CTL + 2 * i : MSR_P6_EVNTSEL0 + i;
}

/* The MSR of the global control, or 0: Intel has one, AMD has one with PerfMonV2. */
static uint32_t global_ctrl_msr;

static void global_ctrl(uint64_t value)
{
	if (global_ctrl_msr)
		wrmsr(global_ctrl_msr, value);
}

/* An event as perf record -a opens on each CPU, here on one, on which the vCPU stays. */
static int host_event(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = PERF_COUNT_HW_CPU_CYCLES,
		.freq = 1, .sample_freq = 4000, .sample_type = PERF_SAMPLE_IP, .exclude_guest = 1,
	};
	cpu_set_t one;
	int cpu = sched_getcpu(), fd;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
	fd = perf_open(&attr, -1, cpu, -1);
	must(fd >= 0, "an event of the host");
	return fd;
}

/* Exit N times; ACCESSES, by kind, are those of the exit with the fewest instructions. */
static void exits(uint64_t accesses[3])
{
	unsigned int i, k, a, b, c, d;
	uint64_t first[3];

	for (i = 0; i < 10; i++)
		asm volatile("cpuid" : "=a" (a), "=b" (b), "=c" (c), "=d" (d) : "a" (0));
	fewest = ~0ULL;
	read_all(0);
	for (i = 0; i < N; i++) {
		uint64_t before, n;

		read_accesses(first);
		before = mark_host_insns();
		asm volatile("cpuid" : "=a" (a), "=b" (b), "=c" (c), "=d" (d) : "a" (0));
		n = mark_host_insns() - before;
		if (n < fewest) {
			fewest = n;
			read_accesses(accesses);
			for (k = 0; k < 3; k++)
				accesses[k] -= first[k];
		}
	}
	read_all(1);
}

static void guest_without(void *unused)
{
	uint64_t accesses[3];

	(void)unused;
	exits(accesses);
}

/* Three counters as perf stat sets them, or, with NEAR, for a sampling period. */
static void count(unsigned int how)
{
	static const uint32_t event[2][3] = { { 0xc0, 0xc4, 0x3c }, { 0xc0, 0xc2, 0x76 } };
	unsigned int i;

	for (i = 0; i < 3; i++) {
		wrmsr(counter_msr(i), how == NEAR ? -(1ULL << 20) & (vm_seen.amd ? VM_MASK : ~0U) : 0);
		wrmsr(selector_msr(i), how == IDLE ? 0 : event[vm_seen.amd][i] | 3 << 16 | 1 << 22);
	}
	global_ctrl(7);
}

static void guest(void *argument)
{
	unsigned int i, how = (uintptr_t)argument;
	uint64_t accesses[3];

	count(how);
	exits(accesses);
	for (i = 0; how == NEAR && i < 3; i++)
		seen[1].host[i] = seen[0].host[i] + accesses[i] * (seen[1].exits - seen[0].exits);
	for (i = 0; i < 3; i++)
		wrmsr(selector_msr(i), 0);
}

/* Execute one instruction N times while a counter counts. */
static void guest_insn(void *argument)
{
	unsigned int i, a, d;
	bool control = argument;

	wrmsr(counter_msr(0), 0);
	wrmsr(selector_msr(0), 0xc0 | 3 << 16 | 1 << 22);
	global_ctrl(1);
	fewest = ~0ULL;
	for (i = 0; i < 10; i++)
		asm volatile("cpuid" : "=a" (a), "=d" (d) : "a" (0) : "rbx", "rcx");
	read_all(0);
	for (i = 0; i < N; i++) {
		uint64_t before = mark_host_insns(), n;

		if (control)
			global_ctrl(i & 1);
		else
			asm volatile("rdpmc" : "=a" (a), "=d" (d) : "c" (0));
		n = mark_host_insns() - before;
		fewest = n < fewest ? n : fewest;
	}
	read_all(1);
	wrmsr(selector_msr(0), 0);
}

static void guest_event(void *unused)
{
	unsigned int i, a, d;

	(void)unused;
	fewest = ~0ULL;
	read_all(0);
	for (i = 0; i < N; i++) {
		uint64_t before = mark_host_insns(), n;

		global_ctrl(0);
		wrmsr(counter_msr(0), vm_seen.amd ? 1ULL << 47 : 1U << 31);
		wrmsr(selector_msr(0), 0xc0 | 3 << 16 | 1 << 22);
		global_ctrl(7);
		asm volatile("rdpmc" : "=a" (a), "=d" (d) : "c" (0));
		global_ctrl(0);
		wrmsr(selector_msr(0), 0);
		asm volatile("rdpmc" : "=a" (a), "=d" (d) : "c" (0));
		global_ctrl(7);
		n = mark_host_insns() - before;
		fewest = n < fewest ? n : fewest;
	}
	read_all(1);
}

/* @n: how many exits without a counter */
static void guest_pauses(void *n)
{
	unsigned int i, k, a, b, c, d;

	count(ACTIVE);
	fewest = ~0ULL;
	read_all(0);
	for (i = 0; i < TURNS; i++) {
		uint64_t before = mark_host_insns(), spent;

		count(IDLE);
		for (k = 0; k < (uintptr_t)n; k++)
			asm volatile("cpuid" : "=a" (a), "=b" (b), "=c" (c), "=d" (d) : "a" (0));
		count(ACTIVE);
		spent = mark_host_insns() - before;
		fewest = spent < fewest ? spent : fewest;
	}
	read_all(1);
	count(IDLE);
}

/* From one PMI of a counter to the next: in each turn the counter overflows once. */
static void guest_sample(void *unused)
{
	unsigned int i, a, d;

	(void)unused;
	vm_seen.pmis = 0;
	wrmsr(MSR_X2APIC_LVTPC, APIC_DM_NMI);
	global_ctrl(0);
	wrmsr(counter_msr(0), -200 & (vm_seen.amd ? VM_MASK : ~0U));
	fewest = ~0ULL;
	/* While the counter is off: this executes more than a period. */
	read_all(0);
	wrmsr(selector_msr(0), 0xc0 | 3 << 16 | 1 << 20 | 1 << 22);
	global_ctrl(1);
	for (i = 0; i < N; i++) {
		uint64_t before = mark_host_insns(), n;

		asm volatile(".rept 400\n\tnop\n\t.endr");
		global_ctrl(0);
		if (vm_seen.amd)
			wrmsr(MSR_X2APIC_LVTPC, APIC_DM_NMI);
		asm volatile("rdpmc" : "=a" (a), "=d" (d) : "c" (0));
		wrmsr(counter_msr(0), -200 & (vm_seen.amd ? VM_MASK : ~0U));
		global_ctrl(1);
		n = mark_host_insns() - before;
		fewest = n < fewest ? n : fewest;
	}
	wrmsr(selector_msr(0), 0);
	read_all(1);
}

static void guest_interrupts(void *timer)
{
	volatile unsigned int *taken = &vm_seen.irqs;
	unsigned int i;

	count(ACTIVE);
	wrmsr(MSR_X2APIC_LVTT, 0x40000 | VM_IRQ);	/* deadline mode */
	fewest = ~0ULL;
	read_all(0);
	for (i = 0; i < N; i++) {
		uint64_t before = mark_host_insns(), n;
		unsigned int seen_before = *taken;

		if (timer)
			wrmsr(MSR_IA32_TSC_DEADLINE, __builtin_ia32_rdtsc() + 4000);
		else
			wrmsr(MSR_X2APIC_ICR, 1 << 18 | VM_IRQ);	/* to itself */
		asm volatile("sti" : : : "memory");
		while (*taken == seen_before)
			asm volatile("nop");
		asm volatile("cli" : : : "memory");
		n = mark_host_insns() - before;
		fewest = n < fewest ? n : fewest;
	}
	read_all(1);
	wrmsr(MSR_X2APIC_LVTT, 0x50000);
	for (i = 0; i < 3; i++)
		wrmsr(selector_msr(i), 0);
}

static void guest_counts(void *unused)
{
	(void)unused;
	count(ACTIVE);
}

static void guest_nothing(void *unused)
{
	(void)unused;
}

/* Two vCPUs in turns.  Both count. */
static void switches(struct vm *vm)
{
	static struct vm other;
	unsigned int i;

	vm_open(&other);
	vm_call(&other, vm_guest_prepare, NULL);
	vm_call(&other, guest_counts, NULL);
	vm_call(vm, guest_counts, NULL);
	fewest = ~0ULL;
	read_all(0);
	for (i = 0; i < N; i++) {
		uint64_t before = mark_host_insns(), n;

		vm_call(i & 1 ? vm : &other, guest_nothing, NULL);
		n = mark_host_insns() - before;
		fewest = n < fewest ? n : fewest;
	}
	read_all(1);
	vm_close(&other);
}

/*
 * Say what has been added to N counts, without those to which nothing was, in lines that the runner does
 * not cut.
 *
 * @names: theirs, or NULL if they have numbers
 */
static void say_by(const char *what, const char *kind, unsigned int n, const char * const names[], const uint64_t *before,
		   const uint64_t *after)
{
	char line[120], number[8];
	const char *name;
	unsigned int i;
	int len = 0;

	for (i = 0; i < n; i++) {
		if (after[i] == before[i])
			continue;
		if (len > 60) {
			sayf("# by %s|%s%.*s", what, kind, len, line);
			len = 0;
		}
		snprintf(number, sizeof(number), "%u", i);
		name = names ? names[i] : number;
		len += snprintf(line + len, sizeof(line) - len, " %s=%llu", name, (unsigned long long)(after[i] - before[i]));
		must(len < (int)sizeof(line), "a longer line");
	}
	sayf("# by %s|%s%.*s", what, kind, len, line);
}

/*
 * Report a cost to tests/tool/cost.py and tools/demo/demo.py.  First, for all times, what the machine
 * has counted by context, kind of access, and basic reason or exit code.  Then the number of times,
 * or of exits if the code does nothing but exit; the host's instructions for one time; for all times,
 * accesses to the PMU by the host and by the guest, and VM-exits.
 */
static void say_cost(const char *what, uint64_t times, bool exits)
{
	static const char * const contexts[] = { "host_kernel", "host_user", "guest_kernel", "guest_user" };
	static const char * const accesses[] = { "rdmsr", "wrmsr", "rdpmc" };

	say_by(what, "insns", 4, contexts, seen[0].insns, seen[1].insns);
	say_by(what, "accesses", 3, accesses, seen[0].host, seen[1].host);
	say_by(what, "exits", REASONS, NULL, seen[0].by_reason, seen[1].by_reason);
	sayf("# cost %s|%llu|%llu|%llu|%llu|%llu", what, (unsigned long long)(times ?: seen[1].exits - seen[0].exits),
	     (unsigned long long)fewest, (unsigned long long)host_accesses(seen),
	     (unsigned long long)(seen[1].guest - seen[0].guest), (unsigned long long)(seen[1].exits - seen[0].exits));
	check(!exits || seen[1].exits - seen[0].exits >= (times ?: N), "it exits");
}

/* Take three turns and keep the one with the fewest accesses. */
static void turns(struct vm *vm, void (*what)(void *), void *argument)
{
	static struct reading best[2];
	unsigned int k;

	for (k = 0; k < 3; k++) {
		vm_call(vm, what, argument);
		if (!k || host_accesses(seen) < host_accesses(best))
			memcpy(best, seen, sizeof(best));
	}
	memcpy(seen, best, sizeof(seen));
}

static void pauses(struct vm *vm, uintptr_t n)
{
	int fd = host_event();

	turns(vm, guest_pauses, (void *)n);
	close(fd);
}

/* Return whether the work is to be done: all of it, what COST_WORK names, or that of the profile alone. */
static bool begin(const char *work)
{
	const char *named = getenv("COST_WORK");
	size_t length = strlen(work);

	profiling = !strcmp(profile, work);
	if (*profile || !named)
		return profiling || !*profile;
	for (; named; named = strchr(named, ',')) {
		named += *named == ',';
		if (!strncmp(named, work, length) && (!named[length] || named[length] == ','))
			return true;
	}
	return false;
}

/* Packed, because the machine takes a minute to report a hundred thousand names. */
static void report_symbols(void)
{
	FILE *file = popen("grep -i ' [tw] ' /proc/kallsyms | grep -v ' __pfx_' | gzip | base64 -w 100", "re");
	char line[128];

	must(file, "/proc/kallsyms");
	while (fgets(line, sizeof(line), file))
		note("symbols %.*s", (int)strcspn(line, "\n"), line);
	must(!pclose(file), "to pack /proc/kallsyms");
}

/* The measured region with a PMI minus the one without. */
static void pmi_alone(struct vm *vm)
{
	static struct vm_body body;
	static struct vm_region s;
	uint64_t spent[2];
	unsigned int pmi, k;

	vm_body(&body, "nop*400");
	s.body = &body;
	s.n = 1;
	for (pmi = 0; pmi < 2; pmi++) {
		spent[pmi] = ~0ULL;
		for (k = 0; k < VM_TRIES; k++) {
			uint64_t before;

			s.counter[0] = (struct vm_counter) {
				.event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true, .start = pmi ? -200 : -100000,
			};
			read_all(0);
			before = mark_host_insns();
			vm_measure(vm, &s);
			before = mark_host_insns() - before;
			read_all(1);
			spent[pmi] = before < spent[pmi] ? before : spent[pmi];
		}
		check(vm_seen.pmis == pmi, pmi ? "one PMI" : "no PMI");
	}
	fewest = spent[1] - spent[0];
	say_cost("pmi", 1, true);
}

int main(void)
{
	static struct vm vm;
	unsigned int how;

	if (getenv("COST_NO_PMU")) {
		vm_give_no_pmu();
		vm_open(&vm);
		vm_call(&vm, vm_guest_prepare, NULL);
		turns(&vm, guest_without, NULL);
		say_cost(name[IDLE], 0, true);
		vm_close(&vm);
		return check_done();
	}

	if (getenv("COST_PROFILE"))
		profile = getenv("COST_PROFILE");
	vm_open(&vm);
	global_ctrl_msr = !vm_seen.amd		  ? MSR_CORE_PERF_GLOBAL_CTRL :
			  getenv("VM_PERFMON_V2") ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL :
						    0;
	vm_call(&vm, vm_guest_prepare, NULL);
	for (how = IDLE; how <= NEAR; how++) {
		int fd;

		if (!begin(name[how]))
			continue;
		fd = how == BESIDE ? host_event() : -1;
		turns(&vm, guest, (void *)(uintptr_t)how);
		close(fd);
		say_cost(name[how], 0, true);
	}
	if (begin("rdpmc")) {
		turns(&vm, guest_insn, NULL);
		/* Mainline lets guests read counters of the northbridge and of caches as well. */
		say_cost("rdpmc", N, !vm_seen.rdpmc && !(on_peer() && vm_seen.mediated));
	}
	if (global_ctrl_msr && begin("control")) {
		turns(&vm, guest_insn, &vm);
		say_cost("control", N, !vm_seen.mediated || vm_seen.fewer);
	}
	if (begin("event")) {
		turns(&vm, guest_event, NULL);
		say_cost("event", N, true);
	}
	if (begin("rotate")) {
		pauses(&vm, 10);
		say_cost("rotate", TURNS, true);
	}
	if (begin("wake")) {
		pauses(&vm, 100);
		say_cost("wake", TURNS, true);
	}
	if (begin("sample")) {
		turns(&vm, guest_sample, NULL);
		say_cost("sample", N, true);
		check_equal("PMIs of the samples", vm_seen.pmis, N, "one per sample");
	}
	if (begin("ipi")) {
		turns(&vm, guest_interrupts, NULL);
		say_cost("ipi", N, false);
	}
	if (begin("timer")) {
		turns(&vm, guest_interrupts, &vm);
		say_cost("timer", N, true);
	}
	if (begin("switch")) {
		switches(&vm);
		say_cost("switch", N, true);
	}
	if (begin("pmi"))
		pmi_alone(&vm);
	vm_close(&vm);
	if (*profile)
		report_symbols();
	return check_done();
}
