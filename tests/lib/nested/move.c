// SPDX-License-Identifier: GPL-2.0
/* Moving a vCPU that is in L2: all state but the registers of its PMU. */
#include "nested.h"

static struct {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;
	union {
		struct kvm_nested_state nested;
		uint8_t room[16384];
	};
} saved;

bool nested_save(struct vm *vm)
{
	vm->run->immediate_exit = 1;
	must(ioctl(vm->vcpu, KVM_RUN, 0) < 0 && errno == EINTR,
	     "KVM completes an instruction and comes back");
	vm->run->immediate_exit = 0;
	memset(saved.room, 0, sizeof(saved.room));
	saved.nested.size = sizeof(saved.room);
	must(!ioctl(vm->vcpu, KVM_GET_NESTED_STATE, &saved.nested), "the state of L1's SVM or VMX");
	must(!ioctl(vm->vcpu, KVM_GET_MP_STATE, &saved.mp) &&
		     !ioctl(vm->vcpu, KVM_GET_REGS, &saved.regs) &&
		     !ioctl(vm->vcpu, KVM_GET_SREGS, &saved.sregs) &&
		     !ioctl(vm->vcpu, KVM_GET_LAPIC, &saved.lapic) &&
		     !ioctl(vm->vcpu, KVM_GET_VCPU_EVENTS, &saved.events),
	     "the vCPU's state");
	return saved.nested.flags & KVM_STATE_NESTED_GUEST_MODE;
}

void nested_restore(struct vm *vm, void (*registers)(struct vm *vm))
{
	if (vm_seen.amd)
		vm_set_msr(vm, MSR_VM_HSAVE_PA, (uint64_t)nested_save_area);
	else
		vm_set_msr(vm, MSR_IA32_FEAT_CTL, 5);
	must(!ioctl(vm->vcpu, KVM_SET_SREGS, &saved.sregs), "registers");
	must(!ioctl(vm->vcpu, KVM_SET_NESTED_STATE, &saved.nested), "the state of L1's SVM or VMX");
	must(!ioctl(vm->vcpu, KVM_SET_REGS, &saved.regs), "registers");
	if (registers)
		registers(vm);
	must(!ioctl(vm->vcpu, KVM_SET_LAPIC, &saved.lapic) &&
		     !ioctl(vm->vcpu, KVM_SET_VCPU_EVENTS, &saved.events) &&
		     !ioctl(vm->vcpu, KVM_SET_MP_STATE, &saved.mp),
	     "the vCPU's state can be set");
}
