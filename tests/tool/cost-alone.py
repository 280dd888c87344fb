#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: the costs of a mediated vPMU by KVM's modules alone have limits, in instructions of the host
and accesses to the PMU for the same work in one run, on Debian's own kernel.

  idle                      at most as many instructions as Debian's own KVM, and no more accesses
  active                    three counters, one of which counts the CPUID: on Intel six accesses more
                            than idle, on AMD eight
  active, nmi_watchdog=1    at most 18 accesses on Intel, 15.5 on AMD; at most 1.5 times the
                            instructions of an idle exit of Debian's own KVM
  event, sample             at most 0.6 times Debian's own KVM
  rotate                    at most 0.7 times Debian's own KVM: a guest that takes its counters off and
                            puts them on again does not make KVM look at all MSRs for each
  wake                      at most 0.9 times Debian's own KVM

Run tests/vm/cost.c, which describes this work, on one base, which the commit chooses, as
for the other tests on Debian's kernel (tests/runner/choose.py).  Print a result
for each limit in KTAP; exit status 1 if any is exceeded.
"""

import sys

sys.dont_write_bytecode = True

from cost import MEDIATED, judge, measure   # noqa: E402
from choose import debian_base              # noqa: E402

WORK = ("idle", "active", "event", "rotate", "wake", "sample")


def main():
    base = debian_base(MEDIATED)
    stock, ours = base + "-debian-stock", base + "-debian-mediated"
    found = measure([{"name": "vm/cost", "bases": ours},
                     {"name": "vm/cost-watchdog", "bases": "%s %s" % (stock, ours), "kargs": "nmi_watchdog=1", "cpus": "2"}])

    def limits(vendor, _, check):
        quiet, watched, before = ({how: found[vendor, variant, how] for how in WORK}
                                  for variant in (ours, ours + "-watchdog", stock + "-watchdog"))
        for name, now in (("0", quiet), ("1", watched)):
            check(now["idle"][0] <= before["idle"][0] and now["idle"][1] <= before["idle"][1] + 0.1,
                  "%s, %s, nmi_watchdog=%s, idle: %d instructions, %.2f accesses; Debian's %d, %.2f"
                  % ((vendor, base, name) + now["idle"] + before["idle"]))
        more = quiet["active"][1] - quiet["idle"][1]
        check(more <= (6.1 if vendor == "intel" else 8.1),
              "%s, %s, nmi_watchdog=0, active: %d instructions, %.2f accesses more than idle"
              % (vendor, base, quiet["active"][0], more))
        active = watched["active"]
        check(active[1] <= (18 if vendor == "intel" else 15.5) and active[0] <= 1.5 * before["idle"][0],
              "%s, %s, nmi_watchdog=1, active: %d instructions, %.2f times idle, %.2f accesses"
              % (vendor, base, active[0], active[0] / before["idle"][0], active[1]))
        for how, most in (("event", 0.6), ("sample", 0.6), ("rotate", 0.7), ("wake", 0.9)):
            check(watched[how][0] <= most * before[how][0],
                  "%s, %s, nmi_watchdog=1, %s: %d instructions, %.2f accesses; Debian's %d, %.2f"
                  % ((vendor, base, how) + watched[how] + before[how]))

    return judge(limits, [base])


if __name__ == "__main__":
    sys.exit(main())
