// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: the state that userspace reads after KVM_RUN is complete: restoring it into a new VM
 * resumes the guest with no count, status bit or PMI lost.  What userspace writes to a counter is
 * kept, whatever KVM has not accounted for at that time.
 *
 * The vCPU leaves at an OUT, or at a write to where there is no memory.  Userspace lets KVM
 * complete that first, as it must before it saves anything.  Then KVM has emulated the instruction,
 * and it counts.  In some rows the counter overflows at this event: then value, status and PMI have
 * to be in the saved state, or only the status if the guest wants no PMI.  The order of MSRs is
 * QEMU's.
 */
#include "vm.h"


static bool v2;			/* AMD: with a status, and a global control */
static struct vm vm;
static struct vm_body body;
static struct vm_region s;

static struct saved {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;
	uint64_t counter, selector, fixed_control, status, control;
} saved;

static uint32_t selector_msr(const struct vm_counter *c)
{
	return vm_seen.amd ? MSR_F15H_PERF_CTL + 2 * c->index : MSR_P6_EVNTSEL0 + c->index;
}

/* Userspace uses the legacy MSR of a counter. */
static uint32_t counter_msr(const struct vm_counter *c)
{
	return vm_seen.amd || c->fixed ? vm_counter_msr(c) : MSR_IA32_PERFCTR0 + c->index;
}

static void save(const struct vm_counter *c)
{
	must(!ioctl(vm.vcpu, KVM_GET_MP_STATE, &saved.mp), "state");
	must(!ioctl(vm.vcpu, KVM_GET_REGS, &saved.regs), "registers");
	must(!ioctl(vm.vcpu, KVM_GET_SREGS, &saved.sregs), "registers");
	saved.counter = vm_get_msr(&vm, counter_msr(c));
	if (!c->fixed)
		saved.selector = vm_get_msr(&vm, selector_msr(c));
	if (!vm_seen.amd) {
		saved.fixed_control = vm_get_msr(&vm, MSR_CORE_PERF_FIXED_CTR_CTRL);
		saved.control = vm_get_msr(&vm, MSR_CORE_PERF_GLOBAL_CTRL);
		saved.status = vm_get_msr(&vm, MSR_CORE_PERF_GLOBAL_STATUS);
	} else if (v2) {
		saved.control = vm_get_msr(&vm, MSR_AMD64_PERF_CNTR_GLOBAL_CTL);
		saved.status = vm_get_msr(&vm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS);
	}
	must(!ioctl(vm.vcpu, KVM_GET_LAPIC, &saved.lapic), "local APIC");
	must(!ioctl(vm.vcpu, KVM_GET_VCPU_EVENTS, &saved.events), "events");
}

static void restore(const struct vm_counter *c)
{
	must(!ioctl(vm.vcpu, KVM_SET_REGS, &saved.regs), "registers");
	must(!ioctl(vm.vcpu, KVM_SET_SREGS, &saved.sregs), "registers");
	if (!vm_seen.amd) {
		vm_set_msr(&vm, MSR_CORE_PERF_FIXED_CTR_CTRL, 0);
		vm_set_msr(&vm, MSR_CORE_PERF_GLOBAL_CTRL, 0);
	} else if (v2) {
		vm_set_msr(&vm, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);
	}
	vm_set_msr(&vm, counter_msr(c), saved.counter);
	if (!c->fixed)
		vm_set_msr(&vm, selector_msr(c), saved.selector);
	if (!vm_seen.amd) {
		vm_set_msr(&vm, MSR_CORE_PERF_GLOBAL_STATUS, saved.status);
		vm_set_msr(&vm, MSR_CORE_PERF_GLOBAL_OVF_CTRL, 0);
		vm_set_msr(&vm, MSR_CORE_PERF_FIXED_CTR_CTRL, saved.fixed_control);
		vm_set_msr(&vm, MSR_CORE_PERF_GLOBAL_CTRL, saved.control);
	} else if (v2) {
		vm_set_msr(&vm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, saved.status);
		vm_set_msr(&vm, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, saved.control);
	}
	must(!ioctl(vm.vcpu, KVM_SET_LAPIC, &saved.lapic), "local APIC");
	must(!ioctl(vm.vcpu, KVM_SET_VCPU_EVENTS, &saved.events), "events");
	must(!ioctl(vm.vcpu, KVM_SET_MP_STATE, &saved.mp), "state");
}

static void complete(void)
{
	vm.run->immediate_exit = 1;
	must(ioctl(vm.vcpu, KVM_RUN, 0) < 0 && errno == EINTR, "KVM completes an instruction and comes back");
	vm.run->immediate_exit = 0;
}

/* Enable the first two counters only, which is not what a new vCPU has. */
static void prepare(struct vm *v)
{
	vm_set_msr(v, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, 0);
	vm_set_msr(v, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 3);
}

/*
 * Move to a new VM, which continues in place of this one.  Its memory is this program's, so it is
 * already there.
 */
static void move(struct vm *unused)
{
	struct vm next = { .hook = vm.hook, .before = vm.before };

	(void)unused;
	complete();
	save(&s.counter[0]);
	vm_close(&vm);
	vm_open(&vm);
	vm.hook = next.hook;
	vm.before = next.before;
	restore(&s.counter[0]);
}

#define WRITTEN		0x123456

static void set(struct vm *unused)
{
	(void)unused;
	vm_set_msr(&vm, counter_msr(&s.counter[0]), WRITTEN);
}

static void set_completed(struct vm *v)
{
	complete();
	set(v);
}

static const struct {
	const char *what, *code;
	void (*hook)(struct vm *vm);
	int to;			/* events from the instruction to the overflow, or NEVER */
#define NEVER 1000
	int own;		/* the instruction counts after a write before it */
} rows[] = {
	{ "moved", "nop*9 cpuid fep-nop hook nop*30 cpuid fep-nop", move, NEVER, 0 },
	{ "moved at memory", "nop*9 cpuid fep-nop hook-mmio nop*30 cpuid fep-nop", move, NEVER, 0 },
	{ "moved twice",
	  "nop*9 cpuid fep-nop hook nop*30 cpuid fep-nop hook-mmio cpuid fep-nop nop*9",
	  move, NEVER, 0 },
	{ "moved at its overflow", "nop*9 cpuid fep-nop hook nop*30 cpuid fep-nop", move, 0, 0 },
	{ "moved at its overflow, at memory",
	  "nop*9 cpuid fep-nop hook-mmio nop*30 cpuid fep-nop", move, 0, 0 },
	{ "moved before its overflow", "nop*9 cpuid fep-nop hook nop*30 cpuid fep-nop", move, 9,
	 0 },
	{ "moved right before its overflow",
	  "nop*9 cpuid fep-nop hook nop*30 cpuid fep-nop", move, 2, 0 },
	{ "moved after its overflow", "nop*20 hook nop*30 cpuid fep-nop", move, -9, 0 },
	{ "set before the OUT is complete",
	  "nop*50 cpuid fep-nop hook nop*100 cpuid fep-nop", set, NEVER, 1 },
	{ "set after the OUT is complete",
	  "nop*50 cpuid fep-nop hook nop*100 cpuid fep-nop", set_completed, NEVER, 0 },
	{ "set with an event not accounted for",
	  "nop*50 cpuid fep-nop hook-mmio nop*100 cpuid fep-nop", set, NEVER, 0 },
};

static uint32_t saved_lvtpc(void)
{
	return *(uint32_t *)((uint8_t *)saved.lapic.regs + 0x340);
}

static void run(unsigned int row, bool fixed, bool vector, bool interrupt)
{
	const struct vm_counter counter = { .fixed = fixed, .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = interrupt };
	bool moves = rows[row].hook == move;
	unsigned int tries = 0;
	uint64_t bit, to;
	char name[128], what[160];

	vm_seen.fixed_vector = vector;
	vm_body(&body, rows[row].code);
	s.body = &body;
	s.n = 1;
	s.counter[0] = counter;
	vm.hook = moves ? NULL : rows[row].hook;
	vm_measure(&vm, &s);
	snprintf(name, sizeof(name), "%s, %s, %s", rows[row].what, fixed ? "fixed" : "general",
		 !interrupt ? "no interrupt" : vector ? "vector" : "NMI");
	if (!moves) {
		check_equal(name, s.counter[0].value, WRITTEN + vm_events(&s, 0, 0, VM_END) - 1 + rows[row].own,
			    "what was written, and the events after it");
		check(!vm_seen.pmis, "%s: no PMI", name);
		return;
	}
	vm.hook = move;
	/*
	 * The new VM's memory is mapped when it is touched.  That causes VM-exits, whose VM-entries
	 * AMD counts, also between a PMI and its handler.
	 */
	s.late = vm_seen.amd ? 8 : 0;
	/*
	 * A tick of the host, which AMD counts, may move the overflow away from the instruction.
	 * If the PMI comes before it, its handler is in between as well, and the place does not
	 * matter.
	 */
	do {
		to = vm_events(&s, 0, VM_BEGIN, 0) + 1 + rows[row].to;
		s.counter[0].start = rows[row].to == NEVER ? 0 : -to;
		vm_measure(&vm, &s);
		must(++tries < VM_TRIES, "two tries are alike");
	} while (rows[row].to >= 0 && rows[row].to != NEVER && vm_events(&s, 0, VM_BEGIN, 0) + 1 + rows[row].to != to);
	vm_check(&s, name);
	if (rows[row].to == 0 && vm_seen.pmis)
		check_equal("where the PMI comes", vm_seen.pmi[0].rip - (uint64_t)body.code, body.point[0].next - (uint64_t)body.code,
			    "right after the instruction");

	if (body.points > 1 || rows[row].to < 0)
		return;
	snprintf(what, sizeof(what), "%s: saved counter", name);
	check_equal(what, vm_signed(saved.counter), vm_signed(s.counter[0].start + vm_events(&s, 0, VM_BEGIN, 0) + 1),
		    "with the instruction at which the vCPU left");
	bit = rows[row].to ? 0 : vm_bit(&s.counter[0]);
	if (!vm_seen.amd || v2) {
		snprintf(what, sizeof(what), "%s: saved status", name);
		check_equal(what, saved.status, bit, "set if that was the overflow");
		snprintf(what, sizeof(what), "%s: saved control", name);
		check_equal(what, saved.control, vm_seen.amd ? 3 : vm_bit(&s.counter[0]), "as the guest has it");
	}
	if (v2) {
		snprintf(what, sizeof(what), "%s: status at the end", name);
		check_equal(what, vm_get_msr(&vm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS),
			    rows[row].to == NEVER ? 0 : 1, "it has overflowed, maybe later");
	}
	snprintf(what, sizeof(what), "%s: saved PMI", name);
	check_equal(what, saved.events.nmi.pending + saved.events.nmi.injected +
		    (((uint8_t *)saved.lapic.regs)[0x200 + 0x10 * (VM_PMI / 32)] >> VM_PMI % 32 & 1), bit && interrupt,
		    "pending");
	snprintf(what, sizeof(what), "%s: saved LVTPC", name);
	check_equal(what, saved_lvtpc(),
		    (vector ? VM_PMI : APIC_DM_NMI) |
			    (!vm_seen.amd && bit && interrupt ? APIC_LVT_MASKED : 0),
		    "a PMI masks Intel's");
}

static void all(void)
{
	unsigned int row, fixed, vector;

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	if (v2)
		vm.before = prepare;
	for (row = 0; row < ARRAY_SIZE(rows); row++)
		for (fixed = 0; fixed <= !vm_seen.amd; fixed++) {
			for (vector = 0; vector <= 1; vector++)
				run(row, fixed, vector, true);
			run(row, fixed, false, false);
		}
	vm_close(&vm);
}

int main(void)
{
	all();
	v2 = vm_perfmon_v2 = vm_seen.offers_v2;
	if (v2)
		all();
	return check_done();
}
