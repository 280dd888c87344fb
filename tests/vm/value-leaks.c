// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a guest with a mediated vPMU never sees a value of the host in a counter or in the status,
 * whatever it has exited for, and no process of the host sees a value of the guest.
 *
 *	the guest	reads all its counters, by RDPMC and RDMSR, its status and its global
 *			control right after each VM-exit: they hold exactly what it has written
 *	the host	reads all counters of the CPU by RDPMC, which any process may do that has
 *			mapped an event: this program between two KVM_RUNs, and a process that takes
 *			the CPU whenever it can; a counter is 0 or an event's
 *
 * That holds while the host has no event on the CPU (the guest's registers stay there until perf
 * wants the PMU), one event, or one on each counter.  Those are pinned, and have brought their
 * counters to a value that no other side has.
 */
#include <sched.h>
#include <sys/wait.h>

#include "perf.h"
#include "vm.h"

/*
 * Bits 47 to 36 of a counter, which do not change here.  An event without sampling begins in the
 * middle.
 */
#define TAG_SHIFT	36
#define HOST_TAG	0xc3cULL
#define HOST_MIDDLE	0x800ULL
#define GUEST_TAG	0x5a5ULL
#define TIMES		3
#define TOGGLES		200
#define USER_INSNS	0x4100c0		/* a selector */
#define COUNTERS	16
#define FIXED_INDEX	0x40000000		/* of RDPMC */


static struct vm vm;
static unsigned int general, fixed, counters;

/* ---- in the guest */

enum { ANYWHERE, FRESH, TICK, TIMER, SELECT };

static const struct way {
	const char *what, *code;
	bool user;
	int special;
} ways[] = {
	{ "nothing", "nop", 0, ANYWHERE },
	{ "CPUID", "cpuid", 0, ANYWHERE },
	{ "CPUID in user mode", "user{cpuid}", 1, ANYWHERE },
	{ "RDMSR", "rdmsr", 0, ANYWHERE },
	{ "WRMSR", "wrmsr", 0, ANYWHERE },
	{ "IN, to KVM", "in-pic", 0, ANYWHERE },
	{ "OUT, to KVM", "out-pic", 0, ANYWHERE },
	{ "IN, to userspace", "in-vmm", 0, ANYWHERE },
	{ "OUT, to userspace", "out-vmm", 0, ANYWHERE },
	{ "OUT in user mode", "user{out-vmm}", 1, ANYWHERE },
	{ "userspace, which looks", "hook", 0, ANYWHERE },
	{ "a write to where there is no memory", "mmio-write", 0, ANYWHERE },
	{ "a read from where there is no memory", "mmio-read", 0, ANYWHERE },
	{ "the same in user mode", "user{mmio-read}", 1, ANYWHERE },
	{ "hypercall", "hypercall", 0, ANYWHERE },
	{ "WBINVD", "wbinvd", 0, ANYWHERE },
	{ "forced emulation", "fep-nop", 0, ANYWHERE },
	{ "a branch, forced emulation, in user mode", "user{fep-jmp}", 1, ANYWHERE },
	{ "an IPI to no CPU", "ipi", 0, ANYWHERE },
	{ "timer's deadline", "deadline", 0, ANYWHERE },
	{ "HLT and an interrupt", "ipi-hlt", 0, ANYWHERE },
	{ "memory for the first time", "nop", 0, FRESH },
	{ "a tick of the host", "nop", 0, TICK },
	{ "the guest's timer", "nop", 0, TIMER },
	{ "a selector, enabled and disabled", "nop", 0, SELECT },
};

static struct vm_body body[ARRAY_SIZE(ways)];
static char fresh[64][VM_PAGE] __attribute__((aligned(VM_PAGE)));

static struct {
	bool amd;
	unsigned int general, counters, page;
	uint64_t value[COUNTERS], select, status, global;
	/* How this call exits, and its first wrong value. */
	const struct way *way;
	void (*code)(void);
	uint64_t wrong, host, got, want, waited, exits;
	unsigned int counter;
	const char *how;
} g;

static inline uint32_t rdpmc_index(unsigned int i)
{
	return i < g.general ? i : FIXED_INDEX | (i - g.general);
}

static inline uint32_t counter_msr(unsigned int i)
{
	return g.amd	     ? MSR_F15H_PERF_CTR + 2 * i :
	       i < g.general ? MSR_IA32_PMC0 + i :
			       MSR_CORE_PERF_FIXED_CTR0 + i - g.general;
}

static inline void differs(const char *how, unsigned int counter, uint64_t got, uint64_t want)
{
	if (got == want)
		return;
	if (!g.wrong++) {
		g.how = how;
		g.counter = counter;
		g.got = got;
		g.want = want;
	}
	g.host += got >> TAG_SHIFT == HOST_TAG;
}

static void guest_look(void)
{
	unsigned int i;

	for (i = 0; i < g.counters; i++)
		differs("RDPMC", i, rdpmc(rdpmc_index(i)), g.value[i]);
	for (i = 0; i < g.counters; i++)
		differs("RDMSR", i, rdmsr(counter_msr(i)), g.value[i]);
	differs("status", 0,
		rdmsr(g.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS : MSR_CORE_PERF_GLOBAL_STATUS),
		g.status);
	differs("global control", 0,
		rdmsr(g.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL),
		g.global);
}

/* Write all counters, with g.select as their selectors, which count nothing in the kernel. */
static void guest_set(void *unused)
{
	unsigned int i;

	(void)unused;
	wrmsr(g.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL, 0);
	for (i = 0; i < g.general; i++)
		wrmsr(g.amd ? MSR_F15H_PERF_CTL + 2 * i : MSR_P6_EVNTSEL0 + i, g.select);
	if (!g.amd)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, g.select ? 0x222 : 0);
	for (i = 0; i < g.counters; i++)
		wrmsr(counter_msr(i), g.value[i]);
	wrmsr(g.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL, g.global);
}

static void guest_exit(void *unused)
{
	uint32_t tick = TRUTH_EXITS_BY_REASON + (g.amd ? SVM_EXIT_INTR : 1), lo, hi;
	uint64_t before, exits;
	unsigned int n;

	(void)unused;
	guest_look();
	exits = mark_read(TRUTH_EXITS);
	switch (g.way->special) {
	case FRESH:
		*(volatile char *)fresh[g.page++ % ARRAY_SIZE(fresh)] = 1;
		break;
	case TICK:
		before = mark_read(tick);
		while (mark_read(tick) == before)
			g.waited++;
		break;
	case TIMER:
		vm_seen.irqs = 0;
		wrmsr(MSR_X2APIC_LVTT, 0x40000 | VM_IRQ);
		asm volatile("rdtsc" : "=a" (lo), "=d" (hi));
		wrmsr(MSR_IA32_TSC_DEADLINE, ((uint64_t)hi << 32 | lo) + 20000);
		asm volatile("sti");
		while (!*(volatile unsigned int *)&vm_seen.irqs)
			g.waited++;
		asm volatile("cli");
		wrmsr(MSR_X2APIC_LVTT, 0x50000);
		break;
	case SELECT:
		/*
		 * Disable, enable, disable: another task may get the CPU before KVM has loaded the
		 * PMU.
		 */
		for (n = 0; n < TOGGLES; n++) {
			wrmsr(g.amd ? MSR_F15H_PERF_CTL : MSR_P6_EVNTSEL0, USER_INSNS);
			wrmsr(g.amd ? MSR_F15H_PERF_CTL : MSR_P6_EVNTSEL0, 0);
			if (!g.amd) {
				wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0x222);
				wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0);
			}
		}
		wrmsr(g.amd ? MSR_F15H_PERF_CTL : MSR_P6_EVNTSEL0, g.select);
		if (!g.amd)
			wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, g.select ? 0x222 : 0);
		break;
	default:
		g.code();
	}
	guest_look();
	g.exits = mark_read(TRUTH_EXITS) - exits;
}

/* ---- in the host */

enum state { NO_EVENT, ONE_EVENT, ALL_COUNTERS };
static const char *const states[] = { "no event of the host", "one", "one on each counter" };

/* What this program and the watcher have seen. */
static struct seen {
	volatile unsigned int looks, bad;
	volatile uint64_t value;
	volatile unsigned int counter;
} *seen;
static volatile enum state *state;

static int event(struct perf_event_attr attr, int cpu)
{
	attr.size = sizeof(attr);
	attr.exclude_guest = 1;
	return perf_open(&attr, cpu < 0 ? 0 : -1, cpu, -1);
}

/* The right to RDPMC, from an event that is never enabled. */
static void may_rdpmc(void)
{
	int fd = event((struct perf_event_attr) {
		.type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS, .disabled = 1 }, -1);
	struct perf_event_mmap_page *page = mmap(NULL, VM_PAGE, PROT_READ, MAP_SHARED, fd, 0);

	must(fd >= 0 && page != MAP_FAILED && page->cap_user_rdpmc, "an event that may be read by RDPMC");
}

/* Each counter has to be 0 or that of an event of the host. */
static void host_look(struct seen *s)
{
	unsigned int i;

	s->looks++;
	for (i = 0; i < counters; i++) {
		uint64_t value = rdpmc(rdpmc_index(i));
		bool good = !value;

		if (*state == ALL_COUNTERS)
			good = value >> TAG_SHIFT == HOST_TAG;
		else if (*state == ONE_EVENT)
			good |= value >> TAG_SHIFT == HOST_MIDDLE;
		if (good)
			continue;
		if (!s->bad++) {
			s->value = value;
			s->counter = i;
		}
	}
}

static void hook(struct vm *unused)
{
	(void)unused;
	host_look(&seen[0]);
}

/* Take the CPU from the vCPU's thread as often as the scheduler allows. */
static pid_t start_watcher(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	may_rdpmc();
	for (;;) {
		host_look(&seen[1]);
		usleep(500);
	}
}

static void ask_guest(const char *what, unsigned int values, enum state now)
{
	uint64_t wrong = 0, host = 0;
	unsigned int i, k, stayed = 0;

	for (i = 0; i < counters; i++)
		g.value[i] = values ? GUEST_TAG << TAG_SHIFT | 0x1000 | i : 0;
	g.select = values == 2 ? USER_INSNS : 0;
	g.status = values ? 5 : 0;
	/* Use different values, so that an outdated one is noticed. */
	g.global = ((1ULL << general) - 1) >> values | ((1ULL << fixed) - 1) << 32;
	vm_call(&vm, guest_set, NULL);
	vm_set_msr(&vm, g.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS : MSR_CORE_PERF_GLOBAL_STATUS,
		   g.status);
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		/* In user mode it counts. */
		if (values == 2 && ways[i].user)
			continue;
		g.way = &ways[i];
		g.code = (void (*)(void))body[i].code;
		for (k = 0; k < TIMES; k++) {
			g.wrong = g.host = 0;
			vm_call(&vm, guest_exit, NULL);
			if (g.wrong && !wrong)
				note("%s: counter %u by %s: %#llx, want %#llx", ways[i].what, g.counter, g.how,
				     (unsigned long long)g.got, (unsigned long long)g.want);
			stayed += i && !g.exits;
			wrong += g.wrong;
			host += g.host;
		}
	}
	note("%s, %s:", what, states[now]);
	check_equal("values that the guest reads and has not written", wrong, 0, "after any exit");
	check_equal("of that, values of the host", host, 0, "none");
	check_equal("ways that did not exit", stayed, 0, "all but the first, which is not to exit");
}

static void with_host(enum state now)
{
	int fd[COUNTERS], n = 0, i, bad = 0;
	pid_t watcher;
	uint64_t count = 0;

	memset(seen, 0, 2 * sizeof(*seen));
	*state = now;
	if (now == ONE_EVENT) {
		fd[n++] = event((struct perf_event_attr) { .type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS }, -1);
		must(fd[0] >= 0, "an event");
	} else if (now == ALL_COUNTERS) {
		static const uint64_t fixed_events[] = {
			PERF_COUNT_HW_INSTRUCTIONS, PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_HW_REF_CPU_CYCLES,
		};

		for (; n < (int)counters; n++) {
			/*
			 * A counter begins its period below zero: here at the tag, with all but a
			 * sixteenth of 2^36 to go.
			 */
			struct perf_event_attr attr = {
				.type = PERF_TYPE_RAW, .config = g.amd ? 0xc2 : 0xc4, .pinned = 1,
				.sample_period = ((0x1000 - HOST_TAG) << TAG_SHIFT) - ((0x10ULL - n) << 28),
			};

			if (n >= (int)general) {
				attr.type = PERF_TYPE_HARDWARE;
				attr.config = fixed_events[n - general];
			}
			fd[n] = event(attr, 0);
			must(fd[n] >= 0, "an event on each counter");
		}
	}
	watcher = start_watcher();
	/* A fork takes the guest's pages away, and its stacks must be mapped. */
	vm_call(&vm, vm_guest_prepare, NULL);
	ask_guest("all counters 0", 0, now);
	ask_guest("all counters the guest's", 1, now);
	ask_guest("and selected", 2, now);
	kill(watcher, SIGKILL);
	waitpid(watcher, NULL, 0);
	for (i = 0; i < 2; i++) {
		if (seen[i].bad)
			note("counter %u: %#llx", seen[i].counter, (unsigned long long)seen[i].value);
		note("%s: %u looks", i ? "another process" : "this program, between two KVM_RUNs", seen[i].looks);
		check_equal("counters that are neither 0 nor the host's", seen[i].bad, 0,
			    "no guest's values");
		check(seen[i].looks > 5, "it has looked");
	}
	for (i = 0; i < n; i++) {
		bool good = read(fd[i], &count, sizeof(count)) == sizeof(count) && !(count >> TAG_SHIFT);

		if (!good)
			note("event %d: %#llx", i, (unsigned long long)count);
		bad += !good;
		close(fd[i]);
	}
	check_equal("events of the host with an impossible count", bad, 0,
		    "none has taken over the guest's");
}

int main(void)
{
	cpu_set_t set;
	unsigned int i;

	must(on_mediated(), "the vPMU is mediated");
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	must(!sched_setaffinity(0, sizeof(set), &set), "the first CPU");
	seen = mmap(NULL, VM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(seen != MAP_FAILED, "shared memory");
	state = (void *)(seen + 2);
	g.amd = on_amd();
	general = g.general = vm_general();
	fixed = g.amd ? 0 : 3;
	counters = g.counters = general + fixed;
	vm_perfmon_v2 = true;
	vm_open(&vm);
	vm.hook = hook;
	vm_call(&vm, vm_guest_prepare, NULL);
	for (i = 0; i < ARRAY_SIZE(ways); i++)
		vm_body(&body[i], ways[i].code);
	may_rdpmc();
	with_host(NO_EVENT);
	with_host(ONE_EVENT);
	with_host(ALL_COUNTERS);
	with_host(NO_EVENT);
	note("loads %llu, puts %llu, of which for perf %llu; exits for VMX's timer %llu",
	     (unsigned long long)vm_stat(&vm, "pmu_loads"), (unsigned long long)vm_stat(&vm, "pmu_puts"),
	     (unsigned long long)vm_stat(&vm, "pmu_reclaims"),
	     (unsigned long long)(g.amd ? 0 : mark_read(TRUTH_EXITS_BY_REASON + 52)));
	check(vm_stat(&vm, "pmu_loads") > ARRAY_SIZE(ways) * TIMES, "the PMU has changed hands");
	vm_close(&vm);
	return check_done();
}
