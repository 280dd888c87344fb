// SPDX-License-Identifier: GPL-2.0
/// Read and write the parts of a counter in its accessors only: other code would miss what
/// perf has counted, or emulated events that are not consumed yet.
// Comments: pmc_count_*() take and return numbers, so this does not apply to them.
virtual report

@parts@
identifier fn;
struct kvm_pmc *pmc;
position p;
@@
fn(...)
{
<...
(
	pmc->counter@p
|
	pmc->emulated_counter@p
|
	pmc->overflow_reported@p
)
...>
}

@script:python depends on report@
fn << parts.fn;
p << parts.p;
@@
accessors = {
	"pmc_read_counter", "pmc_write_counter", "pmc_reset_counter", "pmc_stop_counter",
	"pmc_pause_counter", "pmc_resume_counter", "pmc_reprogram_counter",
	"kvm_pmu_incr_counter", "kvm_perf_overflow", "kvm_pmu_reset",
	# Of mediated vPMUs, where neither perf nor emulated events are counted apart.
	"kvm_mediated_pmc_read", "kvm_mediated_pmc_write", "increment", "load_counters", "save_counters",
}
if fn not in accessors:
	print("%s:%s: part of a counter used outside of its accessors, in %s()" % (p[0].file, p[0].line, fn))
