// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: INIT does not change the PMU: counters, selectors, global control and status keep their
 * values, and counting continues.  But INIT masks the local APIC's entry for PMIs, so an overflow
 * after it sets the status and does not interrupt.  A new vCPU's PMU is as after RESET: all
 * registers are 0, but the global control enables the general counters.
 *
 * The vCPU is the bootstrap processor.  It continues at the reset vector, where there are three
 * NOPs and an OUT to this program.
 */
#include "vm.h"

#define ICR_INIT	0x500
#define TOP		0xfffff000UL	/* the page with the reset vector */
#define SHOWN		40

static struct vm vm;
static struct kvm_sregs sregs;
static uint8_t top[VM_PAGE] __attribute__((aligned(VM_PAGE)));

/* ---- all MSRs of the PMU */

static struct {
	uint32_t msr;
	const char *what;
	uint64_t new, value[2];
} msrs[SHOWN];
static unsigned int n_msrs;

static void add(uint32_t msr, const char *what, uint64_t new)
{
	msrs[n_msrs].msr = msr;
	msrs[n_msrs].what = what;
	msrs[n_msrs++].new = new;
}

static void add_all(void)
{
	unsigned int i;

	for (i = 0; i < vm_seen.general; i++) {
		add(vm_seen.amd ? MSR_F15H_PERF_CTR + 2 * i : MSR_IA32_PERFCTR0 + i, "counter", 0);
		add(vm_seen.amd ? MSR_F15H_PERF_CTL + 2 * i : MSR_P6_EVNTSEL0 + i, "selector", 0);
	}
	for (i = 0; i < vm_seen.fixed; i++)
		add(MSR_CORE_PERF_FIXED_CTR0 + i, "fixed counter", 0);
	if (vm_seen.metrics)
		add(MSR_PERF_METRICS, "PERF_METRICS", 0);
	if (!vm_seen.amd)
		add(MSR_CORE_PERF_FIXED_CTR_CTRL, "fixed counters' selectors", 0);
	add(vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL,
	    "global control", (1 << vm_seen.general) - 1);
	add(vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS : MSR_CORE_PERF_GLOBAL_STATUS,
	    "global status", 0);
}

static void get_all(unsigned int when)
{
	unsigned int i;

	for (i = 0; i < n_msrs; i++)
		msrs[i].value[when] = vm_get_msr(&vm, msrs[i].msr);
}

static uint64_t lvtpc(void)
{
	struct kvm_lapic_state lapic;

	must(!ioctl(vm.vcpu, KVM_GET_LAPIC, &lapic), "local APIC");
	return *(uint32_t *)((uint8_t *)lapic.regs + 0x340);
}

static void back(void)
{
	must(!ioctl(vm.vcpu, KVM_SET_SREGS, &sregs), "64-bit mode again");
	vm_call(&vm, vm_guest_prepare, NULL);
}

static void is_new(void)
{
	unsigned int i;
	char what[64];

	for (i = 0; i < n_msrs; i++) {
		snprintf(what, sizeof(what), "a new vCPU's %s %#x", msrs[i].what, msrs[i].msr);
		check_equal(what, vm_get_msr(&vm, msrs[i].msr), msrs[i].new, "as after RESET");
	}
}

/* ---- INIT while the vCPU does not run */

static void values(void *unused)
{
	unsigned int i;

	(void)unused;
	wrmsr(vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL, 0);
	for (i = 0; i < vm_seen.general; i++) {
		wrmsr(vm_seen.amd ? MSR_F15H_PERF_CTR + 2 * i : MSR_IA32_PMC0 + i,
		      0x123456789abULL * (i + 1));
		wrmsr(vm_seen.amd ? MSR_F15H_PERF_CTL + 2 * i : MSR_P6_EVNTSEL0 + i, 0x4100c0 + i);
	}
	for (i = 0; i < vm_seen.fixed; i++)
		wrmsr(MSR_CORE_PERF_FIXED_CTR0 + i, 0xba987654321ULL * (i + 1));
	if (vm_seen.metrics)
		wrmsr(MSR_PERF_METRICS, 0x8c301f24);
	if (!vm_seen.amd)
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0x2a2);
	/* From here on user mode counts, in which the guest does not run. */
	wrmsr(vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL,
	      (vm_seen.amd ? 0 : 0x500000000ULL) | (0xaa & ((1 << vm_seen.general) - 1)));
}

static void standing(void)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = ICR_INIT };
	struct kvm_mp_state state;
	struct kvm_regs regs;
	unsigned int i;
	char what[64];

	vm_call(&vm, values, NULL);
	vm_set_msr(&vm,
		   vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS : MSR_CORE_PERF_GLOBAL_STATUS,
		   0x5);
	get_all(0);
	must(ioctl(vm.fd, KVM_SIGNAL_MSI, &msi) > 0, "INIT can be sent as a message");
	must(!ioctl(vm.vcpu, KVM_GET_MP_STATE, &state), "the vCPU's state, and with it what INIT does");
	must(!ioctl(vm.vcpu, KVM_GET_REGS, &regs), "registers");
	check(regs.rip == 0xfff0, "the vCPU has taken the INIT: it is at %#llx", (unsigned long long)regs.rip);
	get_all(1);
	for (i = 0; i < n_msrs; i++) {
		snprintf(what, sizeof(what), "%s %#x after INIT", msrs[i].what, msrs[i].msr);
		check_equal(what, msrs[i].value[1], msrs[i].value[0], "as before it");
		if (msrs[i].msr == MSR_CORE_PERF_GLOBAL_STATUS ||
		    msrs[i].msr == MSR_AMD64_PERF_CNTR_GLOBAL_STATUS)
			check_equal("which is", msrs[i].value[0], 0x5, "as it was set");
	}
	check_equal("LVTPC", lvtpc(), APIC_LVT_MASKED, "INIT masks it");
	back();
	get_all(1);
	for (i = 0; i < n_msrs; i++) {
		snprintf(what, sizeof(what), "%s %#x after it has run again", msrs[i].what,
			 msrs[i].msr);
		check_equal(what, msrs[i].value[1], msrs[i].value[0], "as before it");
	}
	vm_set_msr(&vm,
		   vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS : MSR_CORE_PERF_GLOBAL_STATUS,
		   0);
}

/* ---- INIT that the vCPU sends to itself while it counts */

static struct {
	uint64_t truth[2], start, selector;
	uint32_t enable;
	uint64_t on;
} run;

#define NOPS		20	/* as in the code */
/*
 * Events from the enabling WRMSR to that of the ICR, and to the OUT after three NOPs.  On AMD the
 * enabling WRMSR exits, which adds a VM-entry.
 */
#define TO_ICR		(1 + NOPS + 3 + 1)
#define TO_OUT		(TO_ICR + 4)

static void going(void *unused)
{
	(void)unused;
	vm_seen.pmis = 0;
	wrmsr(MSR_X2APIC_LVTPC, APIC_DM_NMI);
	wrmsr(vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL,
	      vm_seen.amd ? 0x3f : 0);
	wrmsr(vm_seen.amd ? MSR_F15H_PERF_CTL : MSR_P6_EVNTSEL0, 0);
	wrmsr(vm_seen.amd ? MSR_F15H_PERF_CTR : MSR_IA32_PMC0, run.start);
	if (!vm_seen.amd)
		wrmsr(MSR_P6_EVNTSEL0, run.selector);
	/* The reading, four more instructions, the WRMSR. */
	asm volatile(
		"mov vm_ask, %%rax\n\tmov $2, %%ecx\n\t" MARK_INSN "\n\tmov %%rax, %0\n\t"
		"mov %1, %%ecx\n\tmov %2, %%eax\n\tmov %3, %%edx\n\twrmsr\n\t"
		".rept 20\n\tnop\n\t.endr\n\t"
		"mov " MSR_IMM(
			MSR_X2APIC_ICR) ", %%ecx\n\tmov $0x500, %%eax\n\txor %%edx, %%edx\n\twrmsr\n\tud2"
		: "=m"(run.truth[0])
		: "m"(run.enable), "m"(run.on), "m"(((uint32_t *)&run.on)[1])
		: "rax", "rcx", "rdx", "memory");
}

/* After it has continued: the reading, four more instructions, the WRMSR. */
static void gone(void *unused)
{
	(void)unused;
	asm volatile("mov vm_ask, %%rax\n\tmov $2, %%ecx\n\t" MARK_INSN "\n\tmov %%rax, %0\n\t"
		     "mov %1, %%ecx\n\txor %%eax, %%eax\n\txor %%edx, %%edx\n\twrmsr"
		     : "=m" (run.truth[1]) : "m" (run.enable) : "rax", "rcx", "rdx", "memory");
}

static void complete(void)
{
	vm.run->immediate_exit = 1;
	must(ioctl(vm.vcpu, KVM_RUN, 0) < 0 && errno == EINTR, "KVM completes an instruction and comes back");
	vm.run->immediate_exit = 0;
}

/*
 * The counter, and the value that it must have: what the machine has counted since it was enabled,
 * and what KVM has emulated.
 */
static uint64_t count(void)
{
	return vm_get_msr(&vm, vm_seen.amd ? MSR_F15H_PERF_CTR : MSR_IA32_PERFCTR0);
}

static uint64_t wanted(uint64_t truth)
{
	/* The enabling WRMSR, where that exits; PMIs; the WRMSR of the ICR, the OUT. */
	return (run.start + truth - run.truth[0] - 5 + !vm_seen.global + vm_seen.pmis * VM_PMI_EMULATED +
		2) & VM_MASK;
}

static void counting(void)
{
	struct kvm_regs regs;
	unsigned int to, pmis = 0, bad = 0;
	uint64_t status, machine;

	run.selector = vm_selector(&(struct vm_counter) { .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true });
	run.enable = vm_seen.amd ? MSR_F15H_PERF_CTL : MSR_CORE_PERF_GLOBAL_CTRL;
	run.on = vm_seen.amd ? run.selector : 1;
	/*
	 * 0: far from overflow.  With a perf-based vPMU a counter with one event to go overflows
	 * after two: leave out 1.
	 */
	for (to = 0; to <= TO_OUT; to++) {
		unsigned int icr = TO_ICR + vm_seen.amd, want = to && to < icr, tries = 0;
		bool wrong;

		if (to == 1 && !vm_seen.mediated)
			continue;
		run.start = -(uint64_t)to & VM_MASK;
		/* On AMD, a tick of the host adds a VM-entry, which moves the overflow. */
		do {
			if (tries)
				back();
			machine = mark_read(TRUTH_PMIS);
			vm_set_msr(&vm,
				   vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS :
						 MSR_CORE_PERF_GLOBAL_STATUS,
				   0);
			vm_call(&vm, going, NULL);
		} while (vm_seen.amd && vm_seen.pmis != want && ++tries < 5);
		must(!ioctl(vm.vcpu, KVM_GET_REGS, &regs), "registers");
		must(regs.rip < 0x10000, "it is after the reset vector");
		complete();
		wrong = count() != wanted(mark_read(TRUTH_INSNS_GUEST_KERNEL));
		if (!to || wrong)
			check_equal("the count before and after INIT", vm_signed(count()),
				    vm_signed(wanted(mark_read(TRUTH_INSNS_GUEST_KERNEL))),
				    "the machine's and what KVM has emulated");
		status = vm_get_msr(&vm, vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS :
						       MSR_CORE_PERF_GLOBAL_STATUS);
		if (!to) {
			check_equal("its selector",
				    vm_get_msr(&vm,
					       vm_seen.amd ? MSR_F15H_PERF_CTL : MSR_P6_EVNTSEL0),
				    run.selector, "as before");
			check_equal("PMIs", vm_seen.pmis, 0, "it has not overflowed");
			check_equal("status", status, 0, "it has not overflowed");
			check_equal("LVTPC", lvtpc(), APIC_LVT_MASKED, "INIT masks it");
		}
		if (vm_seen.pmis != want) {
			bad++;
			note("%u events to go: %u PMIs, want %u", to, vm_seen.pmis, want);
		}
		/* When the guest's entry is masked, the machine's has to be masked, too. */
		if (vm_seen.mediated && !on_modules_alone() && !want && mark_read(TRUTH_PMIS) != machine) {
			bad++;
			note("%u events to go: a PMI of the machine", to);
		}
		/* On Intel the PMI's handler clears the status. */
		if (to && (!vm_seen.pmis || vm_seen.amd) && status != 1) {
			bad++;
			note("%u events to go: status %#llx, want 1", to,
			     (unsigned long long)status);
		}
		pmis += vm_seen.pmis;
		back();
		vm_call(&vm, gone, NULL);
		/* In between back() has run, of which KVM emulates two WRMSRs. */
		if (!to || wrong)
			check_equal("and when it continues", vm_signed(count()),
				    vm_signed(wanted(run.truth[1] + 5) + 2),
				    "the machine's, and what KVM has emulated");
		bad += wrong;
	}
	check_equal("wrong PMIs or status", bad, 0,
		    "a PMI up to INIT, none after it; the status is set in any case");
	check(pmis > NOPS, "there were %u PMIs", pmis);
}

/* ---- a model that changes after the vCPU has run */

static bool fewer;

static void set_model(struct kvm_cpuid_entry2 *e)
{
	if (fewer && e->function == 0xa)
		e->eax -= 1 << 8;
	if (fewer && e->function == 0x80000022)
		e->ebx -= 1;
}

static void no_other_model(void)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[256];
	} cpuid;
	unsigned int i;
	int status;

	cpuid.head.nent = ARRAY_SIZE(cpuid.entry);
	must(!ioctl(vm.vcpu, KVM_GET_CPUID2, &cpuid), "the vCPU's CPUID");
	fewer = true;
	for (i = 0; i < cpuid.head.nent; i++)
		set_model(&cpuid.entry[i]);
	status = ioctl(vm.vcpu, KVM_SET_CPUID2, &cpuid);
	check(status < 0 && errno == EINVAL, "another PMU for a vCPU that has run is refused: %d, errno %d", status, errno);
}

int main(void)
{
	struct kvm_userspace_memory_region memory = {
		.slot = 1, .guest_phys_addr = TOP, .memory_size = VM_PAGE, .userspace_addr = (uint64_t)top,
	};

	vm_model = set_model;
	/* On AMD, too, the PMU is to have a global control. */
	vm_perfmon_v2 = true;
	vm_open(&vm);
	memcpy(top + 0xff0, (uint8_t[]) { 0x90, 0x90, 0x90, 0xe6, VM_DONE }, 5);
	must(!ioctl(vm.fd, KVM_SET_USER_MEMORY_REGION, &memory), "memory at the reset vector");
	must(!ioctl(vm.vcpu, KVM_GET_SREGS, &sregs), "registers");
	add_all();
	is_new();
	vm_call(&vm, vm_guest_prepare, NULL);
	standing();
	counting();
	no_other_model();
	vm_close(&vm);
	return check_done();
}
