// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a VM without an interrupt controller in the kernel (gVisor's KVM platform, small
 * hypervisors, QEMU with kernel-irqchip=off) works on every host.  With a perf-based vPMU its
 * counters are exact, but they cannot interrupt.  On a host with mediated vPMUs it has no vPMU.
 * Then perf does not treat it as a VM with the PMU either: the host's events are unchanged, before
 * it and while it exists, and the kernel's log has one line for the VM instead of one for each
 * vCPU.
 */

#include "perf.h"
#include "vm.h"

#define REFUSED	"no vPMU for this VM"	/* in the kernel's log */

#define VCPUS	4

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

/* Like vm_guest_region(), without an APIC. */
static void guest_stretch(void *unused)
{
	struct vm_counter *c = &s.counter[0];

	(void)unused;
	guest_faults = 0;
	if (!vm_seen.amd) {
		wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
		wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, 1);
		wrmsr(MSR_P6_EVNTSEL0 + c->index, vm_selector(c));
	}
	wrmsr(vm_counter_msr(c), c->start & VM_MASK);
	vm_region_asm(&s.frame);
	c->value = 0;
	if (guest_faults)
		return;
	c->value = rdmsr(vm_counter_msr(c));
	if (!vm_seen.amd) {
		s.status = rdmsr(MSR_CORE_PERF_GLOBAL_STATUS);
		wrmsr(MSR_P6_EVNTSEL0 + c->index, 0);
	}
}

static void stretch(void)
{
	struct vm_frame *f = &s.frame;
	unsigned int tries = 0;

	f->body = body.code;
	f->on.n = f->off.n = 1;
	f->on.write[0].msr = f->off.write[0].msr = vm_seen.amd ? MSR_F15H_PERF_CTL :
								 MSR_CORE_PERF_GLOBAL_CTRL;
	f->on.write[0].value = vm_seen.amd ? vm_selector(&s.counter[0]) : vm_bit(&s.counter[0]);
	f->off.write[0].value = 0;
	do {
		vm_call(&vm, guest_stretch, NULL);
		must(++tries < VM_TRIES, "a measured region without a tick of the host");
	} while (!vm_seen.mediated && !vm_ends_are_alike(f));
}

static int event(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_hv = 1,
	};

	return perf_open(&attr, 0, -1, -1);
}

/* Set this CPU's model, as vm_open() does for the first vCPU. */
static int model(int vcpu)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[256];
	} cpuid;

	cpuid.head.nent = ARRAY_SIZE(cpuid.entry);
	must(!ioctl(vm.kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "CPUID");
	return ioctl(vcpu, KVM_SET_CPUID2, &cpuid);
}

int main(void)
{
	unsigned int i, said = log_lines(REFUSED), overflow;
	int before, beside, vcpu[VCPUS];

	before = event();
	check(before >= 0, "an event that counts in guests, before the VM exists");
	vm_without_irqchip = true;
	vm_without_pmu = on_mediated();
	vm_open(&vm);
	for (i = 1; i < VCPUS; i++) {
		vcpu[i] = ioctl(vm.fd, KVM_CREATE_VCPU, i);
		check(vcpu[i] >= 0 && !model(vcpu[i]), "vCPU %u of a VM without an APIC", i);
	}
	beside = event();
	check(beside >= 0, "an event that counts in guests, beside it");
	said = log_lines(REFUSED) - said;
	note("%u lines in the log for %u vCPUs", said, VCPUS);
	check_between("lines in the log that there is no vPMU", said, vm_seen.mediated, vm_seen.mediated, "one for each VM");

	skip_faults();
	vm_body(&body, "(nop*9 cpuid rdmsr jmp wrmsr out-vmm)*9 nop*300");
	s.body = &body;
	s.n = 1;
	for (overflow = 0; overflow <= 1; overflow++) {
		s.counter[0] = (struct vm_counter) {
			.event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = overflow, .start = overflow ? -100 : 0,
		};
		stretch();
		stretch();
		if (vm_seen.mediated) {
			check(guest_faults > 0, "no vPMU: %u accesses are a #GP", guest_faults);
			continue;
		}
		check_equal("the guest's counter", s.counter[0].value, vm_expected(&s, 0), "the machine's count, and KVM's");
		check_equal("PMIs", vm_seen.pmis, 0, "there is no APIC");
		if (!vm_seen.amd)
			check_equal("status", s.status, overflow, "set by the overflow");
	}
	for (i = 1; i < VCPUS; i++)
		close(vcpu[i]);
	vm_close(&vm);
	close(beside);
	close(before);
	return check_done();
}
