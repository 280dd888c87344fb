#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: the costs of a guest's PMU have limits, in instructions of the host and accesses to the PMU
for the same work in one run.

  perf-based, compared with the base's own KVM
    idle, event,    at most as many instructions, and no more accesses
    sample
    near, pmi       at most 1 % more instructions, and no more accesses: these tell a report that
                    is late, or early as requested, from an overflow
  perf-based, active
                    at most 1.25 times idle, and no more accesses: counters are far from overflow
  mediated, idle    at most 1.03 times the base's own KVM, and at most 0.1 accesses per exit more;
                    putting and loading the PMU makes thirty
  mediated, active  at most 1.15 times idle, and two more accesses for the one counter that counts
                    what KVM emulates
  mediated, nmi_watchdog=1, two CPUs, compared with a perf-based vPMU of the same kernel
    idle            at most as many instructions, and no more accesses
    active          at most 1.15 times; at most 120 instructions and two accesses more than idle
    near            at most 0.6 times, and no more accesses; compared with idle, as active
    event, sample   at most 0.6 times, and no more accesses
    pmi             at most 0.6 times; at most 1.1 times the instructions without the watchdog, and
                    1.1 times the accesses plus 10
    rdpmc, control  Intel: none.  AMD: RDPMC at most 0.4 times, and three accesses: one, and two
                    that count the RDPMC in the register
    beside          at most 2000 instructions more than idle, and 36 accesses, while an event of
                    the host counts between the exits
    rotate          at most 1.4 times, and wake at most 1.2 times: each exit beside an event of the
                    host hands the registers back, and a perf-based vPMU has nothing to hand back
                    while its guest's counters are off
  mediated, fewer counters than the CPU has, compared with a perf-based vPMU of the same kernel
    rdpmc, control  at most 0.4 times, and three accesses
  the covers of the series and Documentation/virt/kvm/x86/pmu-emulated-events.rst
                    have what is measured, within 5 %

Run tests/vm/cost.c, which describes this work: on each base with stock modules, with ours, and with
a mediated vPMU, and the latter also with the host's watchdog on, as Debian has it, and with fewer
counters.  Print a result for each limit in KTAP; exit status 1 if any is exceeded.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import typing

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "tests/runner"), os.path.join(TOP, "scripts/lib")]

import testlist     # noqa: E402
from kvmpmu import has_mediated, known_bases    # noqa: E402

BASES = known_bases()
MEDIATED = [base for base in BASES if has_mediated(base)]
WORK = ("idle", "active", "beside", "near", "event", "rotate", "wake", "sample", "pmi", "rdpmc")
VARIANTS = [variant for base in BASES for variant in (base + "-stock", base)] + [base + "-mediated" for base in MEDIATED]


def kinds():
    """Return the stanzas of the tests that measure what this file has limits for."""
    both = " ".join(name for base in MEDIATED for name in (base, base + "-mediated"))
    tests = [{"name": "vm/cost", "bases": " ".join(VARIANTS)},
             {"name": "vm/cost-watchdog", "bases": both, "kargs": "nmi_watchdog=1", "cpus": "2"}]
    tests += [{"name": "vm/cost-fewer-" + vendor, "bases": both, "vendors": vendor, "env": "COST_WORK=rdpmc,control " + env}
              for vendor, env in (("intel", "VM_FEWER=4"), ("amd", "VM_FEWER=4 VM_PERFMON_V2=1"))]
    return tests


# The rows of tables in documents that have figures of the work.
ROWS = {"no counter enabled": "idle", "far from overflow": "active", "near overflow": "near",
        "while the host records": "beside", "RDPMC": "rdpmc", "global control, written": "control",
        "event, enabled and disabled": "event", "an event, put on a counter and taken off": "event",
        "sample": "sample", "a sample": "sample", "a PMI alone": "pmi"}
LISTED = "Documentation/virt/kvm/x86/pmu-emulated-events.rst"
PLACES = {"Sapphire Rapids": "intel", "Zen 4": "amd"}


class Cost(typing.NamedTuple):
    """What an exit, an event or a sample costs.

    insns       instructions of the host
    accesses    accesses of the host to the PMU
    guest       accesses of the guest to the PMU that do not exit
    exits       VM-exits
    by          on average: {"insns": {context: n}, "accesses": {kind: n}, "exits": {basic reason or exit code: n}}
    """

    insns: int
    accesses: float
    guest: float
    exits: float
    by: dict


def measure(tests):
    """Return {(vendor, variant, work): (instructions, accesses)}; see measurements()."""
    return {key: (cost.insns, cost.accesses) for key, cost in measurements(tests)}


def measurements(tests):
    """Run tests and yield ((vendor, variant, work), Cost) as each is known.

    tests       stanzas of tests/vm/cost.c

    Variants end in -watchdog if the host has it on, in -fewer if the guest has four counters, and in
    -none if it has no PMU.
    """
    logs = tempfile.mkdtemp(prefix="cost.")
    try:
        yield from _measurements(tests, logs)
    finally:
        shutil.rmtree(logs, ignore_errors=True)


def _measurements(tests, logs):
    path = os.path.join(logs, "list")
    with open(path, "w") as out:
        out.writelines(testlist.text({**test, "file": "tests/vm/cost.c"}) for test in tests)
    where, by = None, {}
    with subprocess.Popen([os.path.join(TOP, "tests/runner/run.py"), "--list", path, "--logs", logs], stdout=subprocess.PIPE,
                          stderr=sys.stderr, text=True) as runner:
        for line in runner.stdout:
            title = re.match(r" *# Subtest: (\w+)/([^/]+)/vm/cost(-watchdog|-fewer|-none)?(?:-\w+)?$", line)
            cost = re.match(r" *# cost (\w+)\|(\d+)\|(\d+)\|(\d+)\|(\d+)\|(\d+)$", line)
            part = re.match(r" *# by \w+\|(\w+)((?: \w+=\d+)*)$", line)
            if title:
                where = (title.group(1), title.group(2) + (title.group(3) or ""))
            elif part:
                by.setdefault(part.group(1), {}).update(item.split("=") for item in part.group(2).split())
            elif cost and where:
                times, insns, *others = (int(number) for number in cost.groups()[1:])
                yield where + (cost.group(1),), Cost(insns, *(number / times for number in others), {
                    kind: {name: int(number) / times for name, number in counts.items()} for kind, counts in by.items()})
                by = {}


def number(text):
    """Return the number in the text of a table's cell."""
    return int(text.replace(",", ""))


def work_of(label):
    """Return the work of a table's row, or None."""
    return ROWS.get(re.sub(r"^VM-exit, (counters )?", "", label))


def told_by_cover(base):
    """Yield (vendor, variant, work, instructions) of each figure in the cover of a base's series."""
    vendor = None
    with open(os.path.join(TOP, "patches", base, "cover")) as lines:
        for line in lines:
            label, *cells = re.split(r"\s{2,}", re.sub(r"/ +", "/ ", line.strip()))
            if cells == ["perf-based", "mediated"]:
                vendor = PLACES[label]
            elif work_of(label) and len(cells) == 2:
                for cell, kind, place in zip(cells, ("", "-mediated"), PLACES.values()):
                    if " / " in cell:
                        stock, series = cell.split(" / ")
                        yield place, base + "-stock", work_of(label), number(stock)
                        yield place, base, work_of(label), number(series)
                    elif cell != "no exit":
                        yield vendor, base + kind + "-watchdog", work_of(label), number(cell)


def told_by_list(path):
    """Yield (vendor, variant, work, instructions) of each figure in the list-table of a document."""
    columns, rows = [], []
    with open(path) as lines:
        for line in lines:
            cell = re.match(r"   ([* ]) - (.*)", line)
            if cell and cell.group(1) == "*":
                rows.append([])
            if cell and rows:
                rows[-1].append(cell.group(2))
    for label, *cells in rows:
        if label == "stock / with the series":
            columns = [re.match(r"(Intel|AMD), (.*)", cell).groups() for cell in cells]
        for (vendor, base), cell in zip(columns, cells if work_of(label) else []):
            for variant, text in zip((base + "-stock", base), cell.split(" / ")):
                yield vendor.lower(), variant, work_of(label), number(text)


def told_in_documents():
    """Return {path: [(vendor, variant, work, instructions)]} of the figures in documents."""
    told = {"patches/%s/cover" % base: list(told_by_cover(base)) for base in BASES}
    told[LISTED] = list(told_by_list(os.path.join(TOP, LISTED)))
    return told


def check_documents(told, found, check):
    """Check that documents have what was measured, but for a twentieth.

    told        {path: [(vendor, variant, work, instructions)]}
    found       {(vendor, variant, work): (instructions, accesses)}
    check       as of judge()
    """
    for path, figures in told.items():
        wrong = []
        for vendor, variant, work, said in figures:
            measured = found.get((vendor, variant, work), (0,))[0]
            if abs(said - measured) > 0.05 * measured:
                wrong.append("%s/%s, %s: %d, measured %d" % (vendor, variant, work, said, measured))
        check(figures and not wrong, "%s has what is measured, %d figures%s"
              % (path, len(figures), "".join("; " + text for text in wrong)))


def judge(limits, bases, documents):
    """Print a result for each limit, in KTAP; return the exit status.

    limits      a function of a vendor, one of the bases and check(good, what), which it calls for each limit;
                what has not been measured is a KeyError
    documents   a function of check alone, for figures in documents
    """
    results = []

    def check(good, what):
        results.append(good)
        print("%s %d - %s" % ("ok" if good else "not ok", len(results), what))

    for vendor in ("intel", "amd"):
        for base in bases:
            try:
                limits(vendor, base, check)
            except KeyError as missing:
                check(False, "%s: no measurement of %s" % (vendor, "/".join(missing.args[0])))
    documents(check)
    print("1..%d" % len(results))
    return 0 if results and all(results) else 1


def main():
    found = measure(kinds())

    def beside(vendor, base, check):
        ours, stock = [{how: found[vendor, variant, how] for how in WORK} for variant in (base, base + "-stock")]
        for how in ("idle", "active", "near", "event", "sample", "pmi"):
            most = 1.01 if how in ("near", "pmi") else 1
            check(ours[how][0] <= most * stock[how][0] and ours[how][1] <= stock[how][1] + 0.1,
                  "%s, %s, perf-based, %s: %d instructions, %.2f accesses; stock %d, %.2f"
                  % ((vendor, base, how) + ours[how] + stock[how]))
        check(ours["active"][0] <= 1.25 * ours["idle"][0] and ours["active"][1] <= ours["idle"][1] + 0.1,
              "%s, %s, perf-based, active: %.2f times idle" % (vendor, base, ours["active"][0] / ours["idle"][0]))
        if base not in MEDIATED:
            return
        mediated = {how: found[vendor, base + "-mediated", how] for how in WORK}
        check(mediated["idle"][0] <= 1.03 * stock["idle"][0] and mediated["idle"][1] <= stock["idle"][1] + 0.1,
              "%s, %s, mediated, idle: %d instructions, %.2f accesses; stock %d, %.2f"
              % ((vendor, base) + mediated["idle"] + stock["idle"]))
        check(mediated["active"][0] <= 1.15 * mediated["idle"][0] and mediated["active"][1] <= mediated["idle"][1] + 2.05,
              "%s, %s, mediated, active: %.2f times idle, %.2f accesses"
              % (vendor, base, mediated["active"][0] / mediated["idle"][0], mediated["active"][1]))

    def watched(vendor, base, check):
        perf, ours, off = [{how: found[vendor, variant, how] for how in WORK}
                           for variant in (base + "-watchdog", base + "-mediated-watchdog", base + "-mediated")]
        idle = ours["idle"]
        check(idle[0] <= perf["idle"][0] and idle[1] <= perf["idle"][1] + 0.1,
              "%s, %s, mediated, nmi_watchdog=1, idle: %d instructions, %.2f accesses; perf-based %d, %.2f"
              % ((vendor, base) + idle + perf["idle"]))
        for how in ("active", "near"):
            check(ours[how][0] <= idle[0] + 120 and ours[how][1] <= idle[1] + 2.1,
                  "%s, %s, mediated, nmi_watchdog=1, %s: %d instructions more than idle, %.2f accesses"
                  % (vendor, base, how, ours[how][0] - idle[0], ours[how][1]))
        check(ours["pmi"][0] <= 1.1 * off["pmi"][0] and ours["pmi"][1] <= 1.1 * off["pmi"][1] + 10,
              "%s, %s, mediated, nmi_watchdog=1, pmi: %d instructions, %.0f accesses; without the watchdog %d, %.0f"
              % ((vendor, base) + ours["pmi"] + off["pmi"]))
        check(ours["beside"][0] <= idle[0] + 2000 and ours["beside"][1] <= 36,
              "%s, %s, mediated, nmi_watchdog=1, beside an event of the host: %d instructions more than idle, %.2f accesses"
              % (vendor, base, ours["beside"][0] - idle[0], ours["beside"][1]))
        for how, most in (("rotate", 1.4), ("wake", 1.2)):
            check(ours[how][0] <= most * perf[how][0],
                  "%s, %s, nmi_watchdog=1, %s: mediated %d instructions, %.2f accesses; perf-based %d, %.2f"
                  % ((vendor, base, how) + ours[how] + perf[how]))
        for how in ("active", "near", "event", "sample", "pmi", "rdpmc", "control"):
            if how == "control" and vendor == "amd":
                continue
            before, now = (found[vendor, base + kind + "-watchdog", how] for kind in ("", "-mediated"))
            exits = (0, 0) if vendor == "intel" else (0.4, 3.1)
            most, accesses = {"active": (1.15, before[1] + 2.1), "pmi": (0.6, 10 ** 9), "rdpmc": exits,
                              "control": exits}.get(how, (0.6, before[1]))
            check(now[0] <= most * before[0] and now[1] <= accesses,
                  "%s, %s, nmi_watchdog=1, %s: mediated %d instructions, %.2f accesses; perf-based %d, %.2f: %.2f times"
                  % ((vendor, base, how) + now + before + (now[0] / before[0],)))

    def fewer(vendor, base, check):
        for how in ("rdpmc", "control"):
            before, now = (found[vendor, base + kind + "-fewer", how] for kind in ("", "-mediated"))
            check(now[0] <= 0.4 * before[0] and now[1] <= 3.1,
                  "%s, %s, fewer counters, %s: mediated %d instructions, %.2f accesses; perf-based %d, %.2f: %.2f times"
                  % ((vendor, base, how) + now + before + (now[0] / before[0],)))

    def limits(vendor, base, check):
        beside(vendor, base, check)
        if base in MEDIATED:
            watched(vendor, base, check)
            fewer(vendor, base, check)

    return judge(limits, BASES, lambda check: check_documents(told_in_documents(), found, check))


if __name__ == "__main__":
    sys.exit(main())
