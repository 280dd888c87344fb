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
  Documentation/virt/kvm/x86/mediated-pmu-modules.rst
                            has what is measured, within 5 %

Run tests/vm/cost.c, which describes this work, on one base, which the commit chooses, as
for the other tests on Debian's kernel (tests/runner/choose.py).  Print a result
for each limit in KTAP; exit status 1 if any is exceeded.
"""

import os
import re
import sys

sys.dont_write_bytecode = True

from cost import MEDIATED, TOP, check_documents, judge, measure, number   # noqa: E402
from choose import debian_base              # noqa: E402

WORK = ("idle", "active", "event", "rotate", "wake", "sample")
PATH = "Documentation/virt/kvm/x86/mediated-pmu-modules.rst"
# The rows of the document's table that have figures: the work, and what is added to the variant's name.
ROWS = {"exit, no counter enabled": ("idle", "-watchdog"), "exit, counting, ``nmi_watchdog=0``": ("active", ""),
        "exit, counting": ("active", "-watchdog"), "sample": ("sample", "-watchdog")}
COLUMNS = ("SPR, 6.1", "intel", "6.1"), ("SPR, 6.12", "intel", "6.12"), ("Zen 4, 6.1", "amd", "6.1"), ("Zen 4, 6.12", "amd", "6.12")


def told_by_table(base, stock, ours):
    """Yield (vendor, variant, work, instructions) of each figure of a base's in the document's table.

    A row "Debian's" is of the work of the row before it, with Debian's own KVM.
    """
    columns, work = [], None
    with open(os.path.join(TOP, PATH)) as lines:
        for line in lines:
            label, *cells = re.split(r"\s{2,}", line.strip())
            if cells == [name for name, _, _ in COLUMNS]:
                columns = COLUMNS
            if label in ROWS:
                variant, (work, kind) = ours, ROWS[label]
            elif label == "Debian's":
                variant = stock
            else:
                continue
            for (_, vendor, of), cell in zip(columns, cells):
                if of == base:
                    yield vendor, variant + kind, work, number(cell.partition(" / ")[0])


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

    told = {PATH: list(told_by_table(base, stock, ours))}
    return judge(limits, [base], lambda check: check_documents(told, found, check))


if __name__ == "__main__":
    sys.exit(main())
