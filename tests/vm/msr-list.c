// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: each MSR of the PMU in KVM_GET_MSR_INDEX_LIST can be read from a vCPU and written to
 * another vCPU of the same model, in the order of the list.  The second PMU then is as the first
 * was.  That also holds where the guest, the VM, or all VMs have no PMU.
 *
 * Firecracker, Cloud Hypervisor and crosvm do that.  QEMU has a list of its own, made from the
 * guest's CPUID: it writes 0 to the global registers and what the host offers to
 * IA32_PERF_CAPABILITIES, and aborts if that fails.
 */
#include "vm.h"

enum model { AS_OFFERED, NARROW_WRITES, NO_PMU_IN_CPUID, PMU_OF_VM_OFF, PMU_OF_VM_OFF_CPUID_KEPT, MODELS };

static const char *const names[] = {
	"as offered", "no full-width writes", "no PMU in CPUID", "no PMU for the VM, none in CPUID", "no PMU for the VM, CPUID as offered",
};

struct cpu {
	int fd, vcpu;
};

static int kvm;
static bool amd;
static uint64_t capabilities;		/* full-width writes, and PERF_METRICS where KVM offers them */
static struct {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[256];
} cpuid;
static struct vm_msr_list list;

static bool is_pmu(uint32_t msr)
{
	return vm_msr_counts(msr) || msr == MSR_IA32_PERF_CAPABILITIES ||
	       msr == MSR_IA32_PEBS_ENABLE || msr == MSR_PEBS_DATA_CFG ||
	       (msr >= MSR_IA32_PMC0 && msr < MSR_IA32_PMC0 + 8) || msr == MSR_IA32_DS_AREA;
}

static bool get(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	struct vm_msr msr = { .head.nmsrs = 1, .entry.index = index };
	bool good = ioctl(cpu->vcpu, KVM_GET_MSRS, &msr) == 1;

	*value = msr.entry.data;
	return good;
}

static bool set(struct cpu *cpu, uint32_t index, uint64_t value)
{
	struct vm_msr msr = { .head.nmsrs = 1, .entry = { .index = index, .data = value } };

	return ioctl(cpu->vcpu, KVM_SET_MSRS, &msr) == 1;
}

static void open_cpu(struct cpu *cpu, enum model model)
{
	unsigned int i;

	cpu->fd = ioctl(kvm, KVM_CREATE_VM, 0);
	must(cpu->fd >= 0 && !ioctl(cpu->fd, KVM_SET_TSS_ADDR, 0xfffbd000UL) && !ioctl(cpu->fd, KVM_CREATE_IRQCHIP, 0), "a VM");
	if (model >= PMU_OF_VM_OFF) {
		struct kvm_enable_cap cap = { .cap = KVM_CAP_PMU_CAPABILITY, .args[0] = KVM_PMU_CAP_DISABLE };

		must(!ioctl(cpu->fd, KVM_ENABLE_CAP, &cap), "its PMU can be disabled");
	}
	cpu->vcpu = ioctl(cpu->fd, KVM_CREATE_VCPU, 0);
	must(cpu->vcpu >= 0, "a vCPU");
	cpuid.head.nent = ARRAY_SIZE(cpuid.entry);
	must(!ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "CPUID");
	for (i = 0; i < cpuid.head.nent && (model == NO_PMU_IN_CPUID || model == PMU_OF_VM_OFF); i++) {
		struct kvm_cpuid_entry2 *e = &cpuid.entry[i];

		if (e->function == 1)
			e->ecx &= ~(1U << 15);		/* PDCM */
		if (e->function == 0xa)
			e->eax = e->ebx = e->ecx = e->edx = 0;
		if (e->function == 0x80000001)
			e->ecx &= ~(1U << 23);		/* PerfCtrExtCore */
		if (e->function == 0x80000022)
			e->eax = e->ebx = e->ecx = e->edx = 0;
	}
	must(!ioctl(cpu->vcpu, KVM_SET_CPUID2, &cpuid), "CPUID can be set");
}

static void close_cpu(struct cpu *cpu)
{
	close(cpu->vcpu);
	close(cpu->fd);
}

/* Write a different value to each register that exists. */
static void fill(struct cpu *cpu, enum model model)
{
	unsigned int i;

	/* Write it first: if its value changes, KVM resets the PMU's registers. */
	if (!amd)
		set(cpu, MSR_IA32_PERF_CAPABILITIES, model == NARROW_WRITES ? 0 : capabilities);

	for (i = 0; i < 8 && !amd; i++) {
		set(cpu, MSR_IA32_PERFCTR0 + i, 0x1111111111ULL * (i + 1));
		set(cpu, MSR_P6_EVNTSEL0 + i, 0x4300c0 + (i << 8));
	}
	for (i = 0; i < 4 && !amd; i++)
		set(cpu, MSR_CORE_PERF_FIXED_CTR0 + i, 0x2222222222ULL * (i + 1));
	/* This fails where KVM does not offer it. */
	if (!amd)
		set(cpu, MSR_PERF_METRICS, 0x8c301f24);
	for (i = 0; i < 6 && amd; i++) {
		set(cpu, MSR_F15H_PERF_CTR + 2 * i, 0x1111111111ULL * (i + 1));
		set(cpu, MSR_F15H_PERF_CTL + 2 * i, 0x4300c0 + (i << 8));
	}
	if (amd) {
		set(cpu, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0x2a);
		set(cpu, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, 0x15);
		return;
	}
	set(cpu, MSR_CORE_PERF_FIXED_CTR_CTRL, 0x2a2);
	set(cpu, MSR_CORE_PERF_GLOBAL_CTRL, 0x5000000aaULL);
	set(cpu, MSR_CORE_PERF_GLOBAL_STATUS, 0x300000055ULL);
}

static void move(enum model model)
{
	static uint64_t value[ARRAY_SIZE(list.index)];
	static bool there[ARRAY_SIZE(list.index)];
	unsigned int i, n = 0, unreadable = 0, unwritable = 0, others = 0, differ = 0;
	struct cpu from, to;
	char what[128];

	open_cpu(&from, model);
	open_cpu(&to, model);
	fill(&from, model);
	for (i = 0; i < list.head.nmsrs; i++) {
		there[i] = get(&from, list.head.indices[i], &value[i]);
		if (!is_pmu(list.head.indices[i])) {
			others += !there[i];
			continue;
		}
		n++;
		if (!there[i] && !unreadable++)
			note("%s: MSR %#x cannot be read", names[model], list.head.indices[i]);
	}
	for (i = 0; i < list.head.nmsrs; i++)
		if (there[i] && is_pmu(list.head.indices[i]) && !set(&to, list.head.indices[i], value[i]) && !unwritable++)
			note("%s: MSR %#x cannot be written with %#llx, which was read", names[model], list.head.indices[i],
			     (unsigned long long)value[i]);
	for (i = 0; i < list.head.nmsrs; i++) {
		uint64_t now;

		if (!there[i] || !is_pmu(list.head.indices[i]) || (get(&to, list.head.indices[i], &now) && now == value[i]))
			continue;
		if (!differ++)
			note("%s: MSR %#x is %#llx, and was %#llx", names[model], list.head.indices[i], (unsigned long long)now,
			     (unsigned long long)value[i]);
	}
	note("%s: %u MSRs of the PMU in the list of %u; of the others %u cannot be read", names[model], n, list.head.nmsrs, others);
	snprintf(what, sizeof(what), "%s: MSRs of the list that cannot be read", names[model]);
	check_equal(what, unreadable, 0, "KVM lists them");
	snprintf(what, sizeof(what), "%s: that cannot be written with what was read", names[model]);
	check_equal(what, unwritable, 0, "a saved guest has to be restored");
	snprintf(what, sizeof(what), "%s: that differ afterwards", names[model]);
	check_equal(what, differ, 0, "written in the order of the list");
	close_cpu(&from);
	close_cpu(&to);
}

static uint32_t leaf(uint32_t function, char reg)
{
	unsigned int i;

	for (i = 0; i < cpuid.head.nent; i++)
		if (cpuid.entry[i].function == function)
			return reg == 'a' ? cpuid.entry[i].eax : cpuid.entry[i].ecx;
	return 0;
}

/* What QEMU writes by the guest's CPUID, whether there is a PMU or not. */
static void as_qemu(enum model model)
{
	static const struct {
		bool amd;
		uint32_t msr, function;
		char reg;
		uint32_t mask;		/* QEMU writes the MSR if CPUID has one of these bits */
	} rows[] = {
		{ 0, MSR_CORE_PERF_FIXED_CTR_CTRL, 0xa, 'a', 0xfe },
		{ 0, MSR_CORE_PERF_GLOBAL_CTRL, 0xa, 'a', 0xfe },
		{ 0, MSR_CORE_PERF_FIXED_CTR0, 0xa, 'a', 0xfe },
		{ 0, MSR_CORE_PERF_FIXED_CTR0 + 1, 0xa, 'a', 0xfe },
		{ 0, MSR_IA32_PERFCTR0, 0xa, 'a', 0xff },
		{ 0, MSR_P6_EVNTSEL0, 0xa, 'a', 0xff },
		{ 0, MSR_CORE_PERF_GLOBAL_STATUS, 0xa, 'a', 0xfe },
		{ 0, MSR_CORE_PERF_GLOBAL_OVF_CTRL, 0xa, 'a', 0xfe },
		{ 1, MSR_K7_EVNTSEL0, 0x80000001, 'c', ~0U },
		{ 1, MSR_K7_PERFCTR0, 0x80000001, 'c', ~0U },
		{ 1, MSR_F15H_PERF_CTL, 0x80000001, 'c', 1 << 23 },
		{ 1, MSR_F15H_PERF_CTR, 0x80000001, 'c', 1 << 23 },
		{ 1, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0x80000022, 'a', 1 },
		{ 1, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, 0x80000022, 'a', 1 },
		{ 1, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, 0x80000022, 'a', 1 },
	};
	struct vm_msr feature = { .head.nmsrs = 1, .entry.index = MSR_IA32_PERF_CAPABILITIES };
	unsigned int i, bad = 0;
	struct cpu cpu;
	char what[128];

	open_cpu(&cpu, model);
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].amd == amd && leaf(rows[i].function, rows[i].reg) & rows[i].mask && !set(&cpu, rows[i].msr, 0) && !bad++)
			note("%s: MSR %#x cannot be written with 0", names[model], rows[i].msr);
	snprintf(what, sizeof(what), "%s: MSRs that cannot be written with 0", names[model]);
	check_equal(what, bad, 0, "QEMU aborts if one cannot");
	if (leaf(1, 'c') & 1 << 15 && ioctl(kvm, KVM_GET_MSRS, &feature) == 1)
		check(set(&cpu, MSR_IA32_PERF_CAPABILITIES, feature.entry.data),
		      "%s: IA32_PERF_CAPABILITIES can be what KVM offers, %#llx", names[model],
		      (unsigned long long)feature.entry.data);
	close_cpu(&cpu);
}

/* KVM computes these from IA32_VMX_TRUE_* and CPUID, and refuses writes. */
static bool is_made(uint32_t msr)
{
	return (msr >= 0x481 && msr <= 0x484) || msr == 0x487 || msr == 0x489;
}

/*
 * What KVM offers of VMX to a guest that may be a hypervisor.  Some of it depends on the PMU: the
 * controls that load the global control.
 */
static void vmx(enum model model)
{
	static struct {
		struct kvm_msr_list head;
		uint32_t index[512];
	} features;
	unsigned int i, n = 0, bad = 0;
	struct cpu cpu;
	char what[128];

	features.head.nmsrs = ARRAY_SIZE(features.index);
	must(!ioctl(kvm, KVM_GET_MSR_FEATURE_INDEX_LIST, &features), "the list of features");
	open_cpu(&cpu, model);
	for (i = 0; i < features.head.nmsrs; i++) {
		struct vm_msr feature = { .head.nmsrs = 1, .entry.index = features.head.indices[i] };

		if (feature.entry.index < MSR_IA32_VMX_BASIC ||
		    feature.entry.index > MSR_IA32_VMX_VMFUNC || !(leaf(1, 'c') & 1 << 5) ||
		    is_made(feature.entry.index) || ioctl(kvm, KVM_GET_MSRS, &feature) != 1)
			continue;
		n++;
		if (!set(&cpu, feature.entry.index, feature.entry.data) && !bad++)
			note("%s: MSR %#x cannot be written with %#llx, which KVM offers", names[model], feature.entry.index,
			     (unsigned long long)feature.entry.data);
	}
	snprintf(what, sizeof(what), "%s: of %u MSRs of VMX, those that cannot be what KVM offers", names[model], n);
	check_equal(what, bad, 0, "QEMU aborts if one cannot");
	close_cpu(&cpu);
}

int main(void)
{
	unsigned int i, models = MODELS;

	must(mark_present(), "this is our machine");
	amd = on_amd();
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	must(kvm >= 0, "KVM is there");
	capabilities = vm_capabilities(&(struct vm) { .kvm = kvm }) & (VM_FULL_WIDTH | VM_METRICS);
	vm_msr_list(kvm, &list);
	/* If no VM has a PMU, there is no capability to disable that of one. */
	if (!ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_PMU_CAPABILITY))
		models = PMU_OF_VM_OFF;
	for (i = 0; i < models; i++)
		move(i);
	/* Where CPUID has no PMU, QEMU writes nothing of it. */
	as_qemu(AS_OFFERED);
	if (models == MODELS)
		as_qemu(PMU_OF_VM_OFF_CPUID_KEPT);
	for (i = 0; i < models; i++)
		vmx(i);
	close(kvm);
	return check_done();
}
