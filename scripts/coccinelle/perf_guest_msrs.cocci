// SPDX-License-Identifier: GPL-2.0
/// Give perf_guest_get_msrs() a vPMU: where guests can have PEBS, perf dereferences it.
// Comments: such hosts are Ice Lake servers and later; the machine of the tests has no PEBS.
virtual report

@null@
expression nr;
position p;
@@
perf_guest_get_msrs@p(nr, NULL)

@script:python depends on report@
p << null.p;
@@
print("%s:%s: perf_guest_get_msrs() without a vPMU" % (p[0].file, p[0].line))
