// SPDX-License-Identifier: GPL-2.0
/// perf's functions take mutexes: do not call them with IRQs off, nor in a fastpath, which
/// may run with IRQs off.  In a fastpath, defer the call by requesting KVM_REQ_PMU.
virtual report

@irqs_off exists@
identifier perf = { perf_event_pause, perf_event_period, perf_event_enable, perf_event_disable, perf_event_read_value,
	perf_event_release_kernel, perf_event_create_kernel_counter, pmc_pause_counter, pmc_resume_counter,
	pmc_reprogram_counter, pmc_release_perf_event, pmc_stop_counter, pmc_read_counter, pmc_write_counter,
	reprogram_counter, kvm_pmu_handle_event, kvm_pmu_flush_pending };
position p;
@@
(
	local_irq_disable(...);
|
	local_irq_save(...);
)
... when != local_irq_enable(...);
    when != local_irq_restore(...);
	perf@p(...)

@fastpath@
identifier fn =~ "fastpath|_irqoff$|_pmu_count_emulated$|_pmu_(instruction|branch)_retired$|^kvm_pmu_incr_counter$";
identifier perf = { perf_event_pause, perf_event_period, perf_event_enable, perf_event_disable, perf_event_read_value,
	perf_event_release_kernel, perf_event_create_kernel_counter, pmc_pause_counter, pmc_resume_counter,
	pmc_reprogram_counter, pmc_release_perf_event, pmc_stop_counter, pmc_read_counter, pmc_write_counter,
	reprogram_counter, kvm_pmu_handle_event, kvm_pmu_flush_pending };
position p;
@@
fn(...)
{
<...
	perf@p(...)
...>
}

@script:python depends on report@
p << irqs_off.p;
perf << irqs_off.perf;
@@
print("%s:%s: %s() with IRQs off" % (p[0].file, p[0].line, perf))

@script:python depends on report@
p << fastpath.p;
fn << fastpath.fn;
perf << fastpath.perf;
@@
print("%s:%s: %s() in %s(), which may run with IRQs off" % (p[0].file, p[0].line, perf, fn))
