// SPDX-License-Identifier: GPL-2.0
/* The vCPU's model of a CPU and its registers, as userspace sets and reads them. */
#include "vm.h"

void (*vm_model)(struct kvm_cpuid_entry2 *entry);
bool vm_perfmon_v2;

void vm_hide_pmu(struct kvm_cpuid_entry2 *e)
{
	if (e->function == 0xa || e->function == 0x80000022)
		e->eax = e->ebx = e->ecx = e->edx = 0;
	if (e->function == 0x80000001)
		e->ecx &= ~(1U << 23);
}

void vm_give_no_pmu(void)
{
	vm_model = vm_hide_pmu;
	vm_without_pmu = true;
}

unsigned int vm_fixed(void)
{
	unsigned int most = on_mediated() ? 4 : 3;
	uint32_t r[4];

	host_cpuid(0xa, r);
	return on_amd() ? 0 : (r[3] & 0x1f) < most ? r[3] & 0x1f : most;
}

unsigned int vm_general(void)
{
	uint32_t r[4];

	host_cpuid(0xa, r);
	return on_amd() ? 6 : r[0] >> 8 & 0xff;
}

unsigned int vm_fewer(void)
{
	const char *counters = getenv("VM_FEWER");
	unsigned int n = counters ? atoi(counters) : 0;

	return n < vm_general() ? n : 0;
}

bool vm_others_behind(void)
{
	uint32_t r[4];

	host_cpuid(0x80000001, r);
	return on_amd() && (r[2] & (1 << 24 | 1 << 28));
}

uint64_t vm_get_msr(struct vm *vm, uint32_t index)
{
	struct vm_msr msr = { .head.nmsrs = 1, .entry.index = index };

	must(ioctl(vm->vcpu, KVM_GET_MSRS, &msr) == 1, "KVM_GET_MSRS");
	return msr.entry.data;
}

bool vm_try_set_msr(struct vm *vm, uint32_t index, uint64_t value)
{
	struct vm_msr msr = { .head.nmsrs = 1, .entry = { .index = index, .data = value } };

	return ioctl(vm->vcpu, KVM_SET_MSRS, &msr) == 1;
}

void vm_set_msr(struct vm *vm, uint32_t index, uint64_t value)
{
	must(vm_try_set_msr(vm, index, value), "KVM_SET_MSRS");
}

uint64_t vm_capabilities(struct vm *vm)
{
	struct vm_msr msr = { .head.nmsrs = 1, .entry.index = MSR_IA32_PERF_CAPABILITIES };

	must(ioctl(vm->kvm, KVM_GET_MSRS, &msr) == 1, "KVM says what it offers");
	return msr.entry.data;
}

uint64_t vm_stat(struct vm *vm, const char *name)
{
	struct kvm_stats_header head;
	int fd = ioctl(vm->vcpu, KVM_GET_STATS_FD, NULL);
	uint64_t value = ~0ULL;
	unsigned int i;

	must(fd >= 0 && pread(fd, &head, sizeof(head), 0) == sizeof(head), "statistics");
	for (i = 0; i < head.num_desc; i++) {
		char text[sizeof(struct kvm_stats_desc) + 256];
		struct kvm_stats_desc *desc = (void *)text;
		size_t size = sizeof(*desc) + head.name_size;

		must(pread(fd, text, size, head.desc_offset + i * size) == (ssize_t)size,
		     "a description");
		if (!strcmp(desc->name, name))
			must(pread(fd, &value, 8, head.data_offset + desc->offset) == 8,
			     "its value");
	}
	close(fd);
	return value;
}

void vm_set_cpuid(struct vm *vm)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[256];
	} cpuid;
	unsigned int i;

	cpuid.head.nent = ARRAY_SIZE(cpuid.entry);
	must(!ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "CPUID");
	for (i = 0; i < cpuid.head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid.entry[i];

		if (e->function == 1)
			e->ecx |= 1 << 24 | 1 << 21;	/* the timer's deadline mode, x2APIC */
		if (e->function == 0x80000022) {
			vm_seen.offers_v2 = e->eax & 1;
			/* Without PerfMonV2, the guest's PMU is the same on all bases. */
			if (!vm_perfmon_v2 && !getenv("VM_PERFMON_V2"))
				e->eax &= ~1U;
		}
		if (e->function == 0xa && vm_seen.fewer)
			e->eax = (e->eax & ~0xff00U) | vm_seen.fewer << 8;
		if (e->function == 0x80000022 && vm_seen.fewer)
			e->ebx = (e->ebx & ~0xfU) | vm_seen.fewer;
		if (vm_model)
			vm_model(e);
	}
	must(!ioctl(vm->vcpu, KVM_SET_CPUID2, &cpuid), "CPUID can be set");
}

void vm_msr_list(int kvm, struct vm_msr_list *list)
{
	list->head.nmsrs = ARRAY_SIZE(list->index);
	must(!ioctl(kvm, KVM_GET_MSR_INDEX_LIST, list), "KVM's list of MSRs");
}

bool vm_msr_counts(uint32_t msr)
{
	return (msr >= MSR_IA32_PERFCTR0 && msr < MSR_IA32_PERFCTR0 + 8) ||
	       (msr >= MSR_P6_EVNTSEL0 && msr < MSR_P6_EVNTSEL0 + 8) ||
	       (msr >= MSR_CORE_PERF_FIXED_CTR0 && msr <= MSR_CORE_PERF_FIXED_CTR0 + 3) ||
	       msr == MSR_PERF_METRICS ||
	       (msr >= MSR_CORE_PERF_FIXED_CTR_CTRL && msr <= MSR_CORE_PERF_GLOBAL_OVF_CTRL) ||
	       (msr >= MSR_AMD64_PERF_CNTR_GLOBAL_STATUS &&
		msr <= MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET) ||
	       (msr >= MSR_K7_EVNTSEL0 && msr <= MSR_K7_PERFCTR0 + 3) ||
	       (msr >= MSR_F15H_PERF_CTL && msr <= MSR_F15H_PERF_CTR + 10);
}
