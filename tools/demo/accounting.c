// SPDX-License-Identifier: GPL-2.0
/*
 * What make run compares between stock and patched KVM: each row is something that a guest's kernel
 * does, what it has to see, and what it has seen.
 *
 * Prints lines "row WHAT|DUE|SEEN" and "cost WHAT|INSTRUCTIONS".  tools/demo/demo.py runs it on
 * both and puts the results side by side.
 */
#include <sys/time.h>

#include "vm.h"

#define TIMES		1000
#define HALTS		5
#define MINUS(n)	((1ULL << VM_WIDTH) - (n))

static struct vm vm;
static struct vm_body body;
static struct vm_region stretch;

static const struct vm_counter counter = {
	.event = VM_INSNS, .privilege = VM_BOTH, .interrupt = true,
};

static void row(const char *what, uint64_t due, uint64_t seen)
{
	sayf("row %s|%llu|%llu", what, (unsigned long long)due, (unsigned long long)seen);
}

/*
 * Run a measured region with one counter.  Its code (vm/code.h) may set the counter to @set, and
 * read it.
 */
static void run(const char *code, enum vm_privilege privilege, uint64_t set)
{
	stretch.body = &body;
	stretch.n = 1;
	stretch.counter[0] = counter;
	stretch.counter[0].privilege = privilege;
	body.get = body.set[0].msr = vm_counter_msr(&counter);
	body.set[0].value = set;
	vm_body(&body, code);
	vm_measure(&vm, &stretch);
}

static void deny(struct vm *vm)
{
	static struct {
		struct kvm_pmu_event_filter head;
		__u64 events[1];
	} filter = {
		.head = { .action = KVM_PMU_EVENT_DENY, .nevents = 1 },
		.events = { 0xc0 },
	};

	must(!ioctl(vm->fd, KVM_SET_PMU_EVENT_FILTER, &filter), "a filter");
}

static void off(void)
{
	if (vm_seen.amd)
		wrmsr(MSR_F15H_PERF_CTL, 0);
	else
		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
}

/* Set up the counter.  Leave out the last write, which starts it. */
static void set_up(uint64_t value)
{
	/* halt() may have ended asleep, and left the counter on. */
	off();
	vm_seen.pmis = 0;
	wrmsr(MSR_X2APIC_LVTPC, APIC_DM_NMI);
	wrmsr(vm_counter_msr(&counter), value & VM_MASK);
	if (vm_seen.amd)
		return;
	wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, rdmsr(MSR_CORE_PERF_GLOBAL_STATUS));
	wrmsr(MSR_P6_EVNTSEL0, vm_selector(&counter));
}

static void on(void)
{
	if (vm_seen.amd)
		wrmsr(MSR_F15H_PERF_CTL, vm_selector(&counter));
	else
		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 1);
}

static void cpuid(uint64_t times)
{
	while (times--) {
		uint32_t a = 0, b, c = 0, d;

		asm volatile("cpuid" : "+a" (a), "=b" (b), "+c" (c), "=d" (d));
	}
}

/*
 * The HLT that halts the guest overflows the counter.  It counts the enabling WRMSR, ten NOPs, STI
 * and HLT, and on AMD the VMRUN with which the host enters the guest again after the WRMSR.
 */
#define TO_HLT		(1 + 10 + 1 + 1 + vm_seen.amd)

static void halt(void *unused)
{
	uint32_t msr = vm_seen.amd ? MSR_F15H_PERF_CTL : MSR_CORE_PERF_GLOBAL_CTRL;
	uint64_t value = vm_seen.amd ? vm_selector(&counter) : 1;

	(void)unused;
	set_up(-TO_HLT);
	asm volatile("wrmsr\n\t.rept 10\n\tnop\n\t.endr\n\tsti\n\thlt\n\tcli"
		     : : "c" (msr), "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32)) : "memory");
	off();
}

static volatile sig_atomic_t sleeps;

static void wake(int number)
{
	(void)number;
	sleeps = 1;
	vm.run->immediate_exit = 1;
}

/* Return 1 if the counter's PMI wakes the guest, 0 if it sleeps until the timer ends KVM_RUN. */
static unsigned int halted(void)
{
	struct kvm_regs regs = { .rip = (uint64_t)vm_entry, .rsp = VM_TOP(0), .rflags = 2, .rdi = (uint64_t)halt };
	struct sigaction action = { .sa_handler = wake }, before;
	struct itimerval timer = { .it_value = { .tv_usec = 100000 } }, never = { };

	struct kvm_mp_state runs = { .mp_state = KVM_MP_STATE_RUNNABLE };

	sigaction(SIGALRM, &action, &before);
	must(!ioctl(vm.vcpu, KVM_SET_MP_STATE, &runs), "it runs");
	must(!ioctl(vm.vcpu, KVM_SET_REGS, &regs), "registers");
	sleeps = 0;
	setitimer(ITIMER_REAL, &timer, NULL);
	while (!sleeps) {
		int status = ioctl(vm.vcpu, KVM_RUN, 0);

		if (!status && vm.run->exit_reason == KVM_EXIT_IO && vm.run->io.port == VM_DONE)
			break;
		must(!status || errno == EINTR, "the guest runs");
	}
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &before, NULL);
	vm.run->immediate_exit = 0;
	must(!ioctl(vm.vcpu, KVM_SET_MP_STATE, &runs), "it runs");
	return !sleeps;
}

static uint64_t host_insns(void)
{
	return mark_read(TRUTH_INSNS_HOST_KERNEL);
}

static uint64_t wrmsr_cost, cpuid_cost;

static void costs(void *unused)
{
	uint64_t begin;
	unsigned int i;

	(void)unused;
	set_up(0);
	on();
	begin = host_insns();
	cpuid(TIMES);
	cpuid_cost = (host_insns() - begin) / TIMES;
	begin = host_insns();
	for (i = 0; i < TIMES; i++) {
		off();
		on();
	}
	wrmsr_cost = (host_insns() - begin) / TIMES;
	off();
}

int main(void)
{
	unsigned int i, woken = 0;

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);

	run("cpuid*1000", VM_BOTH, 0);
	row("counts 1,000 CPUIDs and the code around them", vm_expected(&stretch, 0),
	    stretch.counter[0].value);
	run("nop*300 set nop*50 (cpuid nop*3)*9", VM_KERNEL, 10);
	row("sets a running counter to 10: PMIs", 0, vm_seen.pmis);
	run("user{nop*500} set user{nop*1500} nop", VM_USER, MINUS(100));
	row("sets a running counter to 100 from its end: PMI after", 100, vm_seen.pmis ? vm_pmi_events(&stretch, 0, 0, 0) : 0);

	/*
	 * Use a new VM each time: a guest that was left asleep may have an NMI pending, and would
	 * not take another one.
	 */
	for (i = 0; i < HALTS; i++) {
		woken += halted();
		vm_close(&vm);
		vm_open(&vm);
		vm_call(&vm, vm_guest_prepare, NULL);
	}
	row("halts by the instruction that ends a counter, 5 times: wakes", HALTS, woken);

	vm.hook = deny;
	run("nop*5 hook get cpuid*500", VM_KERNEL, 0);
	for (i = 0; body.point[i].op != VM_OP_GET; i++)
		;
	row("continues after userspace has filtered the event: counts", 0,
	    stretch.counter[0].value - vm_seen.point[i].value);
	vm_close(&vm);

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, costs, NULL);
	sayf("cost a CPUID while a counter counts|%llu", (unsigned long long)cpuid_cost);
	sayf("cost a counter stopped and started|%llu", (unsigned long long)wrmsr_cost);
	vm_close(&vm);
	check(1, "report");
	return check_done();
}
