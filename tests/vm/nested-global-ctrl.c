// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a guest that is a hypervisor itself (L1) and its guest (L2) share the global control:
 *
 *	WRMSR	of either of them enables or disables counters from there on
 *	VMX	the value that VM-entry loads is in force in L2, the value that VM-exit loads in L1
 *		after it; VM-exit stores that of L2
 */
#include "nested.h"

static struct {
	uint64_t truth[2], value[3], control[2];
	uint32_t selector, counter, global;
	bool by_l2[2];
} toggle;

static void reset_toggle(void)
{
	memset(&toggle, 0, sizeof(toggle));
	toggle.selector = vm_seen.amd ? MSR_F15H_PERF_CTL : MSR_P6_EVNTSEL0;
	toggle.counter = vm_seen.amd ? MSR_F15H_PERF_CTR : MSR_IA32_PMC0;
	toggle.global = vm_seen.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL;
}

/* There are five instructions from the reading to the WRMSR, for enabling and for disabling. */
static void __attribute__((noinline)) toggle_to(uint64_t value)
{
	uint64_t truth;

	asm volatile("mov vm_ask, %%rax\n\tmov $2, %%ecx\n\t" MARK_INSN "\n\tmov %%rax, %0\n\t"
		     "mov %1, %%ecx\n\tmov %2, %%eax\n\txor %%edx, %%edx\n\twrmsr"
		     : "=m" (truth)
		     : "m" (toggle.global), "m" (value)
		     : "rax", "rcx", "rdx", "memory");
	toggle.truth[!value] = truth;
}

static void l2_toggle(void)
{
	if (toggle.by_l2[0])
		toggle_to(1);
	asm volatile(".rept 50\n\tnop\n\t.endr");
	if (toggle.by_l2[1])
		toggle_to(0);
}

static void l1_toggle(void *unused)
{
	(void)unused;
	nested_regs[NESTED_RDI] = (uint64_t)l2_toggle;
	wrmsr(toggle.global, 0);
	wrmsr(toggle.counter, 0);
	wrmsr(toggle.selector, 0x4200c0);
	if (!toggle.by_l2[0])
		toggle_to(1);
	nested_hypervisor();
	toggle.control[0] = rdmsr(toggle.global);
	toggle.value[0] = rdmsr(toggle.counter);
	if (!toggle.by_l2[1])
		toggle_to(0);
	toggle.control[1] = rdmsr(toggle.global);
	toggle.value[1] = rdmsr(toggle.counter);
	asm volatile(".rept 50\n\tnop\n\t.endr");
	toggle.value[2] = rdmsr(toggle.counter);
	wrmsr(toggle.selector, 0);
}

static void global(void)
{
	static const char *const what[] = { "by L1", "by L2" };
	unsigned int on, off;

	for (on = 0; on <= 1; on++)
		for (off = 0; off <= 1; off++) {
			uint64_t want;

			if (!on && !off)
				continue;
			nested_defaults();
			reset_toggle();
			toggle.by_l2[0] = on;
			toggle.by_l2[1] = off;
			vm_call(&nested.vm, nested_prepare, NULL);
			vm_call(&nested.vm, l1_toggle, NULL);
			vm_call(&nested.vm, nested_prepare, NULL);
			vm_call(&nested.vm, l1_toggle, NULL);
			want = toggle.truth[1] - toggle.truth[0];
			/*
			 * KVM emulates in between: the first WRMSR; in L1, what comes before L2,
			 * and VMRUN; in L1, what comes after L2, and RDMSRs of the control and of
			 * the counter.
			 */
			want += NESTED_PMU_MSR;
			if (!on)
				want += l1.before + (vm_seen.amd ? 1 : 0);
			if (!off)
				want += l1.after + NESTED_PMU_MSR + (vm_seen.mediated ? 0 : 1);
			snprintf(nested.name, sizeof(nested.name), "enabled %s, disabled %s%s",
				 what[on], what[off],
				 nested.beside ? ", beside the host's event" : "");
			check_equal(nested.name, toggle.value[1], want,
				    "from one WRMSR to the other");
			check_equal("the control in L1 after the exit", toggle.control[0], !off,
				    "as L2 has left it");
			check_equal("and when it is disabled", toggle.control[1], 0,
				    "by L1 or L2");
			check_equal("the counter is stopped", toggle.value[2], toggle.value[1],
				    "it is disabled");
			if (off)
				check_equal("already after the exit", toggle.value[0],
					    toggle.value[1], "L2 has disabled it");
		}
}

#define L2_FS	0x123456000

static uint64_t l2_fs;

static void l2_begin(void)
{
	wrmsr(MSR_FS_BASE, L2_FS);
}

static void l2_enable(void)
{
	l2_fs = rdmsr(MSR_FS_BASE);
	wrmsr(toggle.global, 1);
}

static void l2_disable(void)
{
	wrmsr(toggle.global, 0);
}

static void l1_begin(void *unused)
{
	unsigned int i;

	(void)unused;
	wrmsr(toggle.global, 0);
	wrmsr(toggle.selector, 0);
	for (i = 0; i < 100; i++)
		vm_cpuid();
	nested_enter(l2_begin);
	wrmsr(toggle.selector, 0x4200c0);
	nested_reenter(l2_enable);
	toggle.control[0] = rdmsr(toggle.global);
	nested_reenter(l2_disable);
	toggle.control[1] = rdmsr(toggle.global);
	wrmsr(toggle.selector, 0);
}

/*
 * The vCPU counts nothing when L1 makes L2, so KVM need not give it the PMU.  L1 then counts, and
 * enters the same L2, of which nothing else may change.
 */
static void begin(void)
{
	nested_defaults();
	reset_toggle();
	vm_call(&nested.vm, nested_prepare, NULL);
	vm_call(&nested.vm, l1_begin, NULL);
	snprintf(nested.name, sizeof(nested.name), "L1 begins to count after its first entry%s",
		 nested.beside ? ", beside the host's event" : "");
	check_equal(nested.name, toggle.control[0], 1, "L2 has enabled it");
	check_equal("L2's base of FS", l2_fs, L2_FS, "as L2 has left it");
	check_equal("and when L2 disables it", toggle.control[1], 0, "in L1, too");
}

/* VMX: counter 0 and the global control. */
static void control(void)
{
	static const struct {
		const char *what;
		bool host;
		int guest, after;
	} rows[] = {
		{ "nothing loaded: both count", 1, -1, -1 },
		{ "entry loads 1, exit 0: only L2 counts", 0, 1, 0 },
		{ "entry loads 0, exit 1: only L1 counts", 1, 0, 1 },
		{ "entry loads 0, exit nothing: it stays 0", 1, 0, -1 },
		{ "entry loads 1, exit nothing: it stays 1", 0, 1, -1 },
		{ "entry nothing, exit loads 0", 1, -1, 0 },
		{ "entry nothing, exit loads 1", 0, -1, 1 },
	};
	unsigned int r, event;

	for (r = 0; r < ARRAY_SIZE(rows); r++) {
		bool in_l2 = rows[r].guest < 0 ? rows[r].host : rows[r].guest;
		bool after = rows[r].after < 0 ? in_l2 : rows[r].after;

		for (event = 0; event <= 1; event++) {
			const struct vm_counter *c = &nested.s.counter[0];
			uint64_t all, part2, part3, want;

			nested_defaults();
			vm_body(&nested.l2, "nop*7 jmp rdmsr nop*5 rdpmc");
			nested_counter(event ? VM_BRANCHES : VM_INSNS, VM_KERNEL, 0, 0);
			l1.load_entry = rows[r].guest;
			l1.load_exit = rows[r].after;
			l1.stores = true;
			nested.off_before = !rows[r].host;
			nested_measure();
			all = nested_events(0);
			if (!event) {
				part2 = nested_insns_of_l2(c);
				part3 = nested_insns_after_exit(0);
			} else {
				/*
				 * L1 has no branch between its readings and L2; VMLAUNCH is one,
				 * before L2.
				 */
				part2 = nested_branches[1] - nested_branches[0] +
					nested_emulated_of_l2(c);
				part3 = vm_truth(&nested.s, 0, VM_END) - nested_branches[1];
			}
			want = (rows[r].host ? all - part2 - part3 : 0) + (in_l2 ? part2 : 0) +
			       (after ? part3 : 0);
			check_equal(nested_title(rows[r].what, event ? "branches" : "instructions"),
				    c->value, want,
				    "in L1 up to the entry, in L2, in L1 from the exit on");
			check_equal("the global control in L1", l1.control, after,
				    "what the exit has loaded or left");
			check_equal("the global control that the exit stores", l1.store[1], in_l2,
				    "that of L2");
		}
	}
}

int main(void)
{
	nested_open();
	check_equal("there is a global control", nested.has_control,
		    !vm_seen.amd || vm_seen.offers_v2, "AMD: if KVM offers PerfMonV2");
	if (nested.has_control) {
		nested_run(begin);
		nested_run(global);
	}
	if (!vm_seen.amd)
		nested_run(control);
	return nested_close();
}
