#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compare Debian's perf in a guest with the ground truth, and KVM with and without our series.

Boot the base on the machine as an Intel and as an AMD host, or as one of them, and start a guest on
each.  Run perf stat and perf record in the guest on a workload (tests/rootfs/loop.c) that executes
a magic instruction where it begins and where it ends.  Print what perf has counted, what the
machine has counted in this measured region, and the VM-exits and PMIs there.  Then a small guest
(accounting.c) does what KVM has to account for, on the host with our series and on one with the
base's own KVM.  If the series has a mediated vPMU, repeat all of that with it, and print what both
kinds of vPMU cost.

If the base also has modules for Debian's own kernel, begin with that kernel, which need not be
built and whose mediated vPMU is by modules alone.  Then build the base's kernel, and repeat all of
it there.

The costs are measured with nmi_watchdog=0, and again with the host's watchdog on and two CPUs, as
Debian boots.  The CPUs are the launcher's default ones: Sapphire Rapids and Zen 4.

Logs: build/BASE/logs/report-VENDOR, and the same with -debian, -stock, -mediated and -watchdog, as
far as they go together.

Exit status: 1 a guest did not finish; 2 wrong usage, or something is missing; 130 interrupted.  An
error is one line, and the next command.
"""

import functools
import json
import os
import re
import shutil
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(TOP, "tests/runner"), os.path.join(TOP, "scripts/lib")]

import iso                                      # noqa: E402
import judge                                    # noqa: E402
import watch                                    # noqa: E402
from kvmpmu import (Failed, Parser, VENDORS, call, check_base, check_vendor,    # noqa: E402
                    has_mediated, known_bases)
from steps import pass_on                       # noqa: E402
from programs import program                    # noqa: E402
from variants import kernel_paths, kvm_params   # noqa: E402

LIMIT = 180         # seconds for a step: booting host and guest, or all runs of perf
PERIOD = re.compile(r"(.*)/(\d+)")

NOTES = """
perf counts the process; the machine counts the measured region, between the process's two magic
instructions.  Outside of the region are
  :u   12 instructions, 3 of them branches: the returns from execve(), from the page fault of the
       first instruction and from write(), and those around the magic instructions; they are the
       whole difference
  :k   the end of execve(), where perf's counter starts, and exit(), where it stops
The machine's count is that of the guest only.  VM-exits and PMIs are all in the measured region, of
host and guest.
cycles, ref-cycles: the machine counts all cycles, including those of the host at each VM-exit.
samples: the machine's figure is its instructions divided by the period.
"""

PAIR_NOTES = """
The guest is one program, each of whose instructions is known.  What is due comes from the ground
truth.  Rows without a due value are the instructions that the host executes.
"""


# The measurements of tests/vm/cost.c, and their names in the table.
COST_OF = {
    "idle": "VM-exit, no counter on",
    "active": "VM-exit, three counters on, far from overflow",
    "near": "VM-exit, three counters on, near overflow",
    "beside": "the same, far from overflow, during perf record -a",
    "rdpmc": "RDPMC",
    "control": "write of the global control",
    "event": "event, put on a counter and taken off",
    "sample": "sample",
}
# The host as Debian boots it.
DEBIAN = {"kargs": "nmi_watchdog=1", "cpus": 2}

COST_NOTES = """
Host instructions / the host's accesses to PMU registers / VM-exits, for one of each.
VM-exit: one of 1,000 CPUIDs.  Counters are far from overflow in perf stat, and near with a sampling
period.
sample: a PMI, and the counter is read and set again, as Linux's driver does.
A guest with a mediated vPMU accesses most of the PMU itself.  AMD's guests here have no global
control.
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def difference(begin, end):
    """Return the difference of two lines of the ground truth, count by count."""
    if isinstance(end, dict):
        return {key: difference(begin.get(key, 0 if not isinstance(value, dict) else {}), value) for key, value in end.items()}
    return end - begin


def stretches(path):
    """Return the ground truth of each measured region, from mark "begin" to mark "end"."""
    found, begin = [], None
    with open(path) as lines:
        for line in lines:
            mark = json.loads(line)
            name = mark.pop("mark").strip()
            if name == "begin":
                begin = mark
            elif name == "end" and begin is not None:
                found.append(difference(begin, mark))
                begin = None
    return found


def machine_count(event, truth):
    """Return the machine's count of a perf event in a measured region."""
    name, _, privilege = event.partition(":")
    if name in ("cycles", "ref-cycles"):
        return truth["cycles" if name == "cycles" else "ticks"]
    counts = truth["insns" if name == "instructions" else "branches"]
    return sum(counts["guest_" + mode] for mode in ("user", "kernel") if privilege in ("", mode[0]))


def table(vendor, rows, truths):
    """Yield the rows of the table for one vendor, as lists of cells."""
    for (kind, event, count), truth in zip(rows, truths):
        shown, machine = event, None
        if kind == "record":
            name, period = PERIOD.fullmatch(event).groups()
            shown = "samples of %s, one in %s" % (name, period)
            machine = machine_count(name, truth) // int(period)
        else:
            machine = machine_count(event, truth)
        counted = int(count) if count.isdigit() else None
        yield [vendor, shown, "{:,}".format(counted) if counted is not None else count.strip("<>"), "{:,}".format(machine),
               "{:+,}".format(counted - machine) if counted is not None else "-",
               "{:,}".format(sum(truth["exits"].values())), "{:,}".format(truth["pmis"])]


def boot(variant, vendor, plan, stopping, cpus=1, kargs=""):
    """Boot a base or a variant of it, and run a plan there.

    Return the tests' verdicts and the directory of the logs; raise Failed if a test did not finish.
    """
    base, _, kind = variant.partition("-")
    model = watch.launcher.DEFAULT_CPU[vendor]
    name = "-".join(part for part in ("report", vendor, kind, "watchdog" if kargs else "") if part)
    logs = os.path.join(TOP, "build", base, "logs", name)
    shutil.rmtree(logs, ignore_errors=True)
    os.makedirs(logs)
    cd = os.path.join(logs, "boot.iso")
    environment = {"VENDOR": vendor, "BASE": base, "CPUS": cpus, "MODEL": model, "PERFMON": "",
                   "GUEST_KARGS": iso.guest_kargs(variant), "KVM_PARAMS": kvm_params(variant, vendor)}
    iso.boot(cd, variant, plan, environment, kargs)
    channel = judge.Channel([name for _, name, _ in plan])
    began = time.monotonic()
    machine = watch.Machine(watch.LAUNCHER, logs, vendor, ["--iso", cd], cpus, model,
                            show=say if os.environ.get("V") == "1" else None)
    try:
        reason, _ = watch.watch(machine, channel.feed, lambda: (LIMIT, channel.progress), stopping)
    finally:
        machine.end()
        os.unlink(cd)
    if reason == "nostart":
        raise Failed(machine.complaint(), "tools/machine/build")
    verdicts = judge.close_boot(channel, reason, machine.console_text())
    where = os.path.relpath(logs, TOP)
    for _, name, _ in plan:
        verdict = verdicts.get(name)
        if verdict is None or any(line.startswith("not ok") for line in verdict.lines) or \
           not any(line.startswith("1..") for line in verdict.lines):
            why = verdict.directive.partition(" ")[2] if verdict and verdict.directive else ""
            raise Failed("%s: %s did not finish: %s" % (vendor, name, why or reason),
                         "less %s/console" % where, 1)
    if not channel.finished():
        raise Failed("%s: the machine did not finish after its tests: %s" % (vendor, reason), "less %s/console" % where, 1)
    kinds = {"stock": ", stock KVM", "debian-stock": ", stock KVM", "mediated": ", mediated vPMU",
             "debian-mediated": ", mediated vPMU"}
    say("  %s%s%s: %.1f s, logs in %s" % (vendor, kinds.get(kind, ""), ", " + kargs if kargs else "",
                                          time.monotonic() - began, where))
    return verdicts, logs


def accounting(verdicts):
    """Yield the lines of accounting.c: "row" or "cost", the text, and the numbers."""
    for line in verdicts["vm/accounting"].lines:
        kind, _, rest = line.partition(" ")
        if kind in ("row", "cost"):
            what, *numbers = rest.split("|")
            yield kind, what, [int(number) for number in numbers]


def has_debian(base):
    """Return whether there are modules of ours for Debian's own kernel of the base."""
    return os.path.isdir(os.path.join(TOP, "patches", base, "debian"))


def release(base):
    with open(os.path.join(TOP, "build/debian-" + base, "release")) as text:
        return text.read().strip()


def build(base):
    """Build the kernel of a base, and the modules of its own KVM."""
    pass_on(["scripts/step/kernel", base])
    pass_on(["scripts/cmd/modules", "--stock", "--base", base])


def perf_in_guest(vendor, verdicts, logs):
    """Return what perf has counted in the guest, and the ground truth of the same regions."""
    rows = [line.split(" ", 3)[1:] for line in verdicts["guest/report"].lines if line.startswith("row ")]
    truths = stretches(os.path.join(logs, "truth"))
    if len(rows) != len(truths):
        raise Failed("%s: guest/report did not finish: %d measured regions for %d rows"
                     % (vendor, len(truths), len(rows)),
                     "less %s/console" % os.path.relpath(logs, TOP), 1)
    return rows, truths


def costs(verdicts):
    """Return the results of tests/vm/cost.c: a cell of the table by the measurement's name."""
    found = {}
    for line in verdicts["vm/cost"].lines:
        how, _, numbers = line.partition("|")
        if how.startswith("# cost ") and how[len("# cost "):] in COST_OF:
            times, insns, host, _, exits = (int(number) for number in numbers.split("|"))
            found[COST_OF[how[len("# cost "):]]] = \
                "{:,} / {:.0f} / {:.1f}".format(insns, host / times, exits / times) if exits * 2 > times else "no exit"
    return found


def measure(base, vendor, mediated, stopping):
    """Return four lists of rows.

    What perf counts in a guest with a perf-based vPMU, and with a mediated one; stock KVM and our
    series; costs.
    """
    cost = [("vm", "vm/cost", program("tests/vm/cost.c"))]
    plan = [("vm", "vm/accounting", program("tools/demo/accounting.c"))] + cost
    plan += [("guest", "guest/report", os.path.join(TOP, "tools/demo/guest.sh"))]
    perf_based, logs = boot(base, vendor, plan, stopping)
    first, second, spent = list(table(vendor, *perf_in_guest(vendor, perf_based, logs))), [], []
    stock, _ = boot(base + "-stock", vendor, plan[:1], stopping)
    kinds = [list(accounting(stock)), list(accounting(perf_based))]
    if mediated:
        ours, logs = boot(base + "-mediated", vendor, plan, stopping)
        kinds.append(list(accounting(ours)))
        second = list(table(vendor, *perf_in_guest(vendor, ours, logs)))
        columns = [costs(boot(variant, vendor, cost, stopping, **DEBIAN)[0]) for variant in (base, base + "-mediated")]
        columns += [costs(perf_based), costs(ours)]
        spent = [[vendor, what] + [column[what] for column in columns]
                 for what in COST_OF.values() if all(what in column for column in columns)]
    pairs = []
    for row in zip(*kinds):
        # With a mediated vPMU more of the measured region is counted by the CPU's counters, so
        # that another count may be due than with the perf-based one.
        seen = ["{:,}".format(numbers[-1]) + (" of {:,}".format(numbers[0]) if kind == "row" and numbers[0] != row[1][2][0] else "")
                for kind, _, numbers in row]
        kind, what, numbers = row[1]
        pairs.append([vendor, what, "{:,}".format(numbers[0]) if kind == "row" else ""] + seen)
    return first, second, pairs, spent


def show(head, blocks):
    """Print a table with a line before each block of rows; align text left, numbers right."""
    widths = [max(len(row[column]) for block in blocks for row in [head] + block) for column in range(len(head))]
    for row in [line for block in blocks for line in [None] + block]:
        if head:
            print("  ".join(cell.ljust(width) if column < 2 else cell.rjust(width)
                            for column, (cell, width) in enumerate(zip(head, widths))).rstrip())
            head = None
        print("  ".join("-" * width for width in widths) if row is None else
              "  ".join(cell.ljust(width) if column < 2 else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(row, widths))).rstrip())


def arguments():
    """Return the options, or raise Failed."""
    parser = Parser("tools/demo/demo.py", __doc__)
    parser.add_argument("--base", metavar="BASE", default=known_bases()[0],
                        help="the base to boot (default: %(default)s)")
    parser.add_argument("--vendor", metavar="VENDOR", default="all",
                        help="the host's CPU: intel, amd or all (default: all)")
    options = parser.parse_args()
    check_vendor(options.vendor, "run")
    check_base(options.base, "run", more=False)
    return options


def compare(host, title, options, mediated, stopping):
    """Measure on one kernel, and print the tables.

    host        the variant to boot
    title       what the first table is of; "" to leave that table and the notes out
    mediated    whether to do all of it with a mediated vPMU as well
    """
    for variant in (host, host + "-stock"):
        kernel_paths(variant)
    base = options.base
    vendors = VENDORS if options.vendor == "all" else (options.vendor,)
    with watch.alone(os.path.join(TOP, "build", base, "logs"), say):
        results = watch.in_parallel(
            [functools.partial(measure, host, vendor, mediated, stopping) for vendor in vendors],
            min(2, os.cpu_count() or 1), stopping)
    head = ["host", "event", "guest's perf", "the machine", "difference", "VM-exits", "PMIs"]
    if title:
        print("\n%s, host and guest; perf: Debian's, in the guest%s\n"
              % (title, "; perf-based vPMU" if mediated else ""))
        show(head, [first for first, _, _, _ in results])
    if mediated:
        print("\nThe same with a mediated vPMU (enable_mediated_pmu=1)%s\n"
              % (", by the modules alone" if title else ", by a kernel of ours"))
        show(head, [second for _, second, _, _ in results])
    print(NOTES if title else "")
    if mediated:
        print("What it costs the host, as Debian boots it (nmi_watchdog=1, two CPUs), and with nmi_watchdog=0\n")
        show(["host", "", "perf-based", "mediated", "perf-based, 0", "mediated, 0"], [spent for _, _, _, spent in results])
        print(COST_NOTES)
    print("Before and after: a guest kernel's use of its PMU, with KVM of stock %s and with our "
          "series\n" % base)
    show(["host", "the guest", "due", "stock", "series"] + ["mediated"] * mediated, [pairs for _, _, pairs, _ in results])
    print(PAIR_NOTES if title else "", end="", flush=True)


def main():
    """Measure and print; return the exit status."""
    stopping = threading.Event()
    options = arguments()
    base = options.base
    vendors = VENDORS if options.vendor == "all" else (options.vendor,)
    said = "a guest under KVM on the machine, as " + " and as ".join(
        "%s (%s)" % (vendor, watch.launcher.DEFAULT_CPU[vendor]) for vendor in vendors)
    mediated = has_mediated(base)
    if not has_debian(base):
        say("base %s: %s" % (base, said))
        compare(base, "Kernel %s with our series" % base, options, mediated, stopping)
        return 0
    say("base %s, Debian's own kernel, our KVM modules: %s" % (base, said))
    compare(base + "-debian", "Debian's own kernel %s with our KVM modules, built by DKMS" % release(base),
            options, mediated, stopping)
    if mediated:
        say("\nbase %s, a kernel with the whole series: %s" % (base, said))
        build(base)
        compare(base, "", options, True, stopping)
    return 0


if __name__ == "__main__":
    sys.exit(call("report", main, "make run"))
