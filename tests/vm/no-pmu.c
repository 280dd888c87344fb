// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a VM whose owner wants no PMU for it (KVM_PMU_CAP_DISABLE; QEMU's pmu=off, Firecracker) has
 * none, costs the host none, and sees none:
 *
 *	the host	perf may have events that count in guests, before such a VM and while it
 *			exists, whether the vPMU is mediated or not
 *	the guest	RDPMC and RDMSR return 0 or a #GP, never a value of the host; writes change
 *			nothing that the host counts, also if a guest probes for a PMU as Linux does
 *			at boot
 *	the log		does not have a line for each access (AMD's CPUID cannot say that there are
 *			no counters at all, so every guest probes)
 */

#include "perf.h"
#include "vm.h"

#define NOISE	"kvm.*(wrmsr|rdmsr|perfctr|MSR)"	/* in the kernel's log */

static struct vm vm;

/* ---- in the guest */

static struct {
	uint64_t rdpmc[6], rdmsr[6], most;
	uint32_t counter, selector, step, faulted, reads;
} g;

/* Probe as Linux does, and a bit more. */
static void probe(void *unused)
{
	unsigned int i;

	(void)unused;
	g.faulted = g.reads = 0;
	for (i = 0; i < 6; i++) {
		g.faulted += !try_wrmsr(g.counter + i * g.step, 0xabcd);
		g.faulted += !try_wrmsr(g.selector + i * g.step, 0x4300c0);
		/* After a #GP the value is 0. */
		g.faulted += !try_rdmsr(g.counter + i * g.step, &g.rdmsr[i]);
		g.faulted += !try_rdpmc(i, &g.rdpmc[i]);
		g.reads += g.rdmsr[i] || g.rdpmc[i];
	}
	if (vm_seen.amd) {
		wrmsr(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0x3f);
	} else {
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, 0x333);
		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0x7000000ffULL);
	}
	wrmsr(MSR_X2APIC_LVTPC, APIC_DM_NMI);
}

static void clean(void *unused)
{
	unsigned int i;

	(void)unused;
	for (i = 0; i < 6; i++)
		wrmsr(g.selector + i * g.step, 0);
}

/* ---- in the host */

static int no_pmu_cap;

static void disable_pmu(struct vm *v)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_PMU_CAPABILITY, .args[0] = KVM_PMU_CAP_DISABLE };

	no_pmu_cap = ioctl(v->fd, KVM_ENABLE_CAP, &cap);
}

static int event(uint64_t config, bool exclude_guest)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = config, .exclude_kernel = 1, .exclude_hv = 1,
		.exclude_guest = exclude_guest,
	};

	return perf_open(&attr, 0, -1, -1);
}

static void run(void)
{
	vm_call(&vm, probe, NULL);
}

static void all(const char *model)
{
	unsigned int i, noise = log_lines(NOISE);
	int before, beside, fd[3];
	char what[128];

	before = event(PERF_COUNT_HW_INSTRUCTIONS, false);
	check(before >= 0, "%s: an event that counts in guests, before the VM exists", model);
	no_pmu_cap = -1;
	vm_created = disable_pmu;
	vm_open(&vm);
	check(!no_pmu_cap, "%s: the PMU of the VM can be disabled", model);
	skip_faults();
	vm_call(&vm, vm_guest_prepare, NULL);
	beside = event(PERF_COUNT_HW_CPU_CYCLES, false);
	check(beside >= 0, "%s: and one beside it", model);

	for (i = 0; i < 3; i++) {
		fd[i] = event(i == 0 ? PERF_COUNT_HW_INSTRUCTIONS : i == 1 ? PERF_COUNT_HW_BRANCH_INSTRUCTIONS :
			      PERF_COUNT_HW_CPU_CYCLES, true);
		must(fd[i] >= 0, "an event of the host");
	}
	/* The first run has page faults. */
	run();
	snprintf(what, sizeof(what),
		 "%s: the host's event beside a guest that writes to all that might exist", model);
	check_equal(what, vm_host_event_delta(fd[0], run), 0,
		    "difference from the machine's count of the host's user mode");
	snprintf(what, sizeof(what), "%s: counters in which the guest reads something", model);
	check_equal(what, g.reads, 0, "0 or #GP");
	note("%s: %u of 18 accesses are a #GP; RDPMC(0) %#llx, RDMSR %#llx", model, g.faulted, (unsigned long long)g.rdpmc[0],
	     (unsigned long long)g.rdmsr[0]);
	check(!vm_seen.pmis, "%s: no PMI", model);
	vm_call(&vm, clean, NULL);
	for (i = 0; i < 3; i++)
		close(fd[i]);
	close(beside);
	close(before);
	vm_close(&vm);
	noise = log_lines(NOISE) - noise;
	snprintf(what, sizeof(what), "%s: lines in the log", model);
	check_between(what, noise, 0, 2, "not one for each access");
}

int main(void)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		/* It keeps PDCM, as QEMU's pmu=off does: vm_open() sets IA32_PERF_CAPABILITIES. */
		vm_model = i ? vm_hide_pmu : NULL;
		g.counter = !on_amd() ? MSR_IA32_PERFCTR0 : i ? MSR_K7_PERFCTR0 : MSR_F15H_PERF_CTR;
		g.selector = !on_amd() ? MSR_P6_EVNTSEL0 : i ? MSR_K7_EVNTSEL0 : MSR_F15H_PERF_CTL;
		g.step = on_amd() && !i ? 2 : 1;
		all(i ? "no PMU in CPUID either" : "CPUID as offered");
	}
	return check_done();
}
