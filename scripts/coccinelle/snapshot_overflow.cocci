// SPDX-License-Identifier: GPL-2.0
/// Detect an overflow by the carry (pmc_count_consume()).  Do not compare the counter with
/// an earlier value: it may have been written since, or have wrapped past that value.
virtual report

@directly@
struct kvm_pmc *pmc;
expression other;
position p;
@@
(
	pmc->counter <@p other
|
	pmc->counter >@p other
|
	other <@p pmc->counter
|
	other >@p pmc->counter
|
	pmc_read_counter(pmc) <@p other
|
	pmc_read_counter(pmc) >@p other
)

@by_snapshot exists@
struct kvm_pmc *pmc;
local idexpression snapshot;
expression other;
position p;
@@
(
	snapshot = pmc->counter
|
	snapshot = pmc_read_counter(pmc)
)
...
(
	other <@p snapshot
|
	snapshot >@p other
)

@script:python depends on report@
p << directly.p;
@@
print("%s:%s: overflow judged by comparing the counter" % (p[0].file, p[0].line))

@script:python depends on report@
p << by_snapshot.p;
@@
print("%s:%s: overflow judged by comparing with a snapshot of the counter" % (p[0].file, p[0].line))
