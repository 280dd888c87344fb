// SPDX-License-Identifier: GPL-2.0
/* RDPMC that exits, done between two VM-entries. */

#include <linux/kvm_host.h>

#include "../kvm_cache_regs.h"
#include "../trace.h"
#include "internal.h"

/**
 * kvm_mediated_pmu_rdpmc - read the counter of an RDPMC that has exited
 * @vcpu: the vCPU, with the guest's state as VM-exit has left it
 *
 * RDPMC reads any counter of the CPU.  It exits for a guest that is given fewer counters
 * than the CPU has, and on AMD for every guest if the CPU has counters of the northbridge
 * or of caches.  The guest's own counter is in a register of this CPU.  Reading it takes
 * nothing that KVM does around VM-entries, so the vendor's code calls this between two.
 *
 * A counter that is in no register, a fault, an RDPMC of L2, and any RDPMC while exits
 * are traced take the common way.
 *
 * Return: EXIT_FASTPATH_NONE if nothing was done; EXIT_FASTPATH_REENTER_GUEST if the guest
 * can go on, with RAX, RDX and RIP in @vcpu; another value if there is more to do first.
 */
fastpath_t kvm_mediated_pmu_rdpmc(struct kvm_vcpu *vcpu)
{
	u64 data;

	if (!kvm_mediated_pmu_is_loaded(vcpu) || is_guest_mode(vcpu) ||
	    kvm_request_pending(vcpu) || trace_kvm_exit_enabled() ||
	    kvm_pmu_rdpmc(vcpu, kvm_rcx_read(vcpu), &data))
		return EXIT_FASTPATH_NONE;

	kvm_rax_write(vcpu, (u32)data);
	kvm_rdx_write(vcpu, data >> 32);
	if (!kvm_skip_emulated_instruction(vcpu))
		return EXIT_FASTPATH_EXIT_USERSPACE;

	/* The counter has overflowed, or a trap is due. */
	if (kvm_request_pending(vcpu))
		return EXIT_FASTPATH_EXIT_HANDLED;

	++vcpu->stat.exits;
	return EXIT_FASTPATH_REENTER_GUEST;
}
EXPORT_SYMBOL_GPL(kvm_mediated_pmu_rdpmc);
