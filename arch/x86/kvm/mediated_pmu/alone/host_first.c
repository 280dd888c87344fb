// SPDX-License-Identifier: GPL-2.0
/*
 * Who has the PMU where an event of the host's should count in guests: the guest, or with the
 * parameter mediated_pmu_host_first, perf.
 *
 * A vCPU that leaves the PMU to perf waits.  It is as if it had no selector enabled: it exits
 * for each access to its PMU, whose counters stand but for what KVM emulates, and perf's events
 * count in guests as without a mediated vPMU.  Nobody tells when the last such event is gone
 * from a CPU, so vCPUs that wait look again every 100 milliseconds.
 */
#include <linux/atomic.h>
#include <linux/irqflags.h>
#include <linux/kvm_host.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/smp.h>
#include <linux/sysfs.h>
#include <linux/workqueue.h>

#include <asm/apic.h>
#include <asm/irq_vectors.h>
#include <asm/perf_mediated.h>

#include "../internal.h"
#include "host_perf.h"

#define LOOK_AGAIN	msecs_to_jiffies(100)

static bool host_first;
module_param_named(mediated_pmu_host_first, host_first, bool, 0644);

/* The number of times that a vCPU has begun to wait. */
static atomic_long_t nr_waits;

static int get_waits(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%ld\n", atomic_long_read(&nr_waits));
}

static const struct kernel_param_ops waits_ops = { .get = get_waits };
module_param_cb(mediated_pmu_waits, &waits_ops, NULL, 0444);

static void look_again(struct work_struct *work);
static DECLARE_DELAYED_WORK(again, look_again);

/*
 * Whether a vCPU with a selector on waits does not matter: one that has just been told to may
 * not have noted it yet, and nobody would ask it again.
 */
static bool may_wait(const struct kvm_vcpu *vcpu)
{
	const struct kvm_mediated_pmu *m = &vcpu->arch.pmu.mediated;

	return READ_ONCE(m->active) && READ_ONCE(m->idle_puts) < KVM_MEDIATED_PMU_IDLE_PUTS;
}

static void look_again(struct work_struct *work)
{
	struct kvm_vcpu *vcpu;
	struct kvm *kvm;
	unsigned long i;

	mutex_lock(&kvm_lock);
	list_for_each_entry(kvm, &vm_list, vm_list) {
		kvm_for_each_vcpu(i, vcpu, kvm) {
			if (!may_wait(vcpu))
				continue;
			kvm_make_request(KVM_REQ_MEDIATED_PMU, vcpu);
			kvm_vcpu_kick(vcpu);
		}
	}
	mutex_unlock(&kvm_lock);
}

bool host_is_first(void)
{
	return READ_ONCE(host_first);
}

/*
 * An event that should count in guests has been found at the beginning of a turn, when it is
 * too late to change what the vCPU exits for.  Have the guest left before it executes anything,
 * and the vCPU wait then.  Return false if the guest is first.
 */
bool host_first_ask(void)
{
	struct kvm_vcpu *vcpu = kvm_get_running_vcpu();

	lockdep_assert_irqs_disabled();

	if (!host_is_first() || !vcpu)
		return false;

	atomic_long_inc(&nr_waits);
	kvm_make_request(KVM_REQ_MEDIATED_PMU, vcpu);
	apic->send_IPI(smp_processor_id(), RESCHEDULE_VECTOR);
	return true;
}

/**
 * perf_keeps_pmu - must the vCPU that is about to run leave the PMU to perf?
 *
 * The vCPU is loaded on this CPU.  Asked again by KVM_REQ_MEDIATED_PMU.
 */
bool perf_keeps_pmu(void)
{
	unsigned long flags;
	bool keeps;

	if (!host_is_first())
		return false;

	local_irq_save(flags);
	keeps = host_event_includes_guests();
	local_irq_restore(flags);
	if (keeps)
		schedule_delayed_work(&again, LOOK_AGAIN);

	return keeps;
}

/* No VM is left. */
void host_first_end(void)
{
	cancel_delayed_work_sync(&again);
}
