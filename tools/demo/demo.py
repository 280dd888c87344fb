#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Debian's perf in a guest, beside what the machine itself counted; KVM before and after our series; and a mediated vPMU.

Boots the base on the machine, once as an Intel and once as an AMD host (or as the one asked for), starts a guest in each,
runs perf stat and perf record in it on a workload (tests/rootfs/loop.c) that sets a mark where it begins and where it ends, and
prints what perf counted, what the machine counted from mark to mark, and the VM-exits and PMIs in between.  Then a small
guest (accounting.c) does what KVM has to account for, on the host with our series and on one with the base's own KVM.
Where the series has a mediated vPMU, all of it once more with that, and what either kind costs.

What it costs is measured once more with the host's watchdog on and two CPUs, as Debian boots.  The CPUs are the launcher's
default ones: Sapphire Rapids and Zen 4.

Logs: build/BASE/logs/report-VENDOR, and the same with -stock, -mediated, -watchdog, -mediated-watchdog.
Exit status: 1 the guest did not come to its end, 2 wrong usage or something is missing (one line, and the next command),
130 interrupted.
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
                    known_bases)
from programs import program                    # noqa: E402
from variants import kernel_paths, kvm_params   # noqa: E402

LIMIT = 90          # seconds for a step: the boots of host and guest, or all of perf's runs
PERIOD = re.compile(r"(.*)/(\d+)")

NOTES = """
perf counts the process, the machine from its first mark to its last.  Outside the marks are
  :u   12 instructions, 3 of them branches: the returns from execve(), from the first instruction's page fault and from write(),
       and what sets the marks; they are the whole difference
  :k   the end of execve(), where perf's counter starts, and exit(), where it stops
The machine's count is the guest's alone; exits and PMIs are all of them, of host and guest, in the same stretch.
cycles, ref-cycles: the machine counts the cycles of everything, with the host's part of each exit.
samples: perf counts them; the machine's are its instructions divided by the period.
"""

PAIR_NOTES = """
The guest is one program's, so that each of its instructions is known; the machine's own count says what is due.
Rows without a due are what the host executes for it, in instructions.
"""


# What tests/vm/cost.c measures.
COST_OF = {
    "idle": "an exit, no counter on",
    "active": "an exit, three counters on, far from their ends",
    "near": "an exit, three counters on, near their ends",
    "beside": "the same beside perf record -a of the host",
    "rdpmc": "RDPMC",
    "control": "the global control, written",
    "event": "an event, put on a counter and taken off",
    "sample": "a sample",
}
# The host as Debian boots it.
DEBIAN_OWN = " (Debian's own kernel, our KVM modules)"
DEBIAN = {"kargs": "nmi_watchdog=1", "cpus": 2}

COST_NOTES = """
Instructions of the host / its accesses to PMU registers / VM-exits, for each one.  An exit is one of 1,000 CPUIDs; counters are far
from their ends in perf stat, and near with a sampling period.  A sample is a PMI, and the counter read and set again, as Linux's
driver does.  A guest with a mediated PMU reads and writes most of it itself; AMD's has no global control in these guests.
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def difference(begin, end):
    """What one line of the truth has more than the other."""
    if isinstance(end, dict):
        return {key: difference(begin.get(key, 0 if not isinstance(value, dict) else {}), value) for key, value in end.items()}
    return end - begin


def stretches(path):
    """The stretches from mark "begin" to mark "end", in order."""
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
    """The machine's count of a perf event."""
    name, _, privilege = event.partition(":")
    if name in ("cycles", "ref-cycles"):
        return truth["cycles" if name == "cycles" else "ticks"]
    counts = truth["insns" if name == "instructions" else "branches"]
    return sum(counts["guest_" + mode] for mode in ("user", "kernel") if privilege in ("", mode[0]))


def table(vendor, rows, truths):
    """Lines of cells for one vendor."""
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
    """Boot a base or a variant of it and run a plan there: the tests' verdicts, and where the logs are."""
    base, _, kind = variant.partition("-")
    model = watch.launcher.DEFAULT_CPU[vendor]
    name = "-".join(part for part in ("report", vendor, kind, "watchdog" if kargs else "") if part)
    logs = os.path.join(TOP, "build", base, "logs", name)
    shutil.rmtree(logs, ignore_errors=True)
    os.makedirs(logs)
    cd = os.path.join(logs, "boot.iso")
    environment = {"VENDOR": vendor, "BASE": base, "CPUS": cpus, "MODEL": model, "PERFMON": "", "GUEST_KARGS": iso.KARGS,
                   "KVM_PARAMS": kvm_params(variant, vendor)}
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
        if not channel.finished() or verdict is None or any(line.startswith("not ok") for line in verdict.lines) or \
           not any(line.startswith("1..") for line in verdict.lines):
            why = verdict.directive.partition(" ")[2] if verdict and verdict.directive else reason
            raise Failed("%s: %s did not come to its end: %s" % (vendor, name, why),
                         "less %s/console" % where, 1)
    kinds = {"stock": ", stock KVM", "debian-stock": ", stock KVM", "mediated": ", mediated vPMU"}
    say("  %s%s%s: %.1f s, logs in %s" % (vendor, kinds.get(kind, ""), ", " + kargs if kargs else "",
                                          time.monotonic() - began, where))
    return verdicts, logs


def accounting(verdicts):
    """What accounting.c has said: "row" or "cost", the words, and the numbers, a line."""
    for line in verdicts["vm/accounting"].lines:
        kind, _, rest = line.partition(" ")
        if kind in ("row", "cost"):
            what, *numbers = rest.split("|")
            yield kind, what, [int(number) for number in numbers]


def variant_of(base):
    """The host that shows a base: Debian's own kernel where the series is modules only, as a user has it; else our build."""
    return base + "-debian" if os.path.isdir(os.path.join(TOP, "patches", base, "debian")) else base


def release(base):
    with open(os.path.join(TOP, "build/debian-" + base, "release")) as text:
        return text.read().strip()


def has_mediated(base):
    """Is there the parameter in the base's modules?"""
    for path in kernel_paths(base)[2]:
        with open(path, "rb") as module:
            if b"enable_mediated_pmu" in module.read():
                return True
    return False


def perf_in_guest(vendor, verdicts, logs):
    """What perf has counted in the guest, and the machine's truth of the same stretch, in pairs."""
    rows = [line.split(" ", 3)[1:] for line in verdicts["guest/report"].lines if line.startswith("row ")]
    truths = stretches(os.path.join(logs, "truth"))
    if len(rows) != len(truths):
        raise Failed("%s: guest/report did not come to its end: %d marks for %d rows" % (vendor, len(truths), len(rows)),
                     "less %s/console" % os.path.relpath(logs, TOP), 1)
    return rows, truths


def costs(verdicts):
    """Words and a cell for each thing whose cost tests/vm/cost.c has measured."""
    found = {}
    for line in verdicts["vm/cost"].lines:
        how, _, numbers = line.partition("|")
        if how.startswith("cost ") and how[len("cost "):] in COST_OF:
            times, insns, host, _, exits = (int(number) for number in numbers.split("|"))
            found[COST_OF[how[len("cost "):]]] = \
                "{:,} / {:.0f} / {:.1f}".format(insns, host / times, exits / times) if exits * 2 > times else "no exit"
    return found


def measure(base, vendor, mediated, stopping):
    """Rows of perf-based and of mediated guests, of what is before and after, and of costs."""
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
        # With a mediated vPMU more of the stretch is the guest's own: each kind has a due of its own.
        seen = ["{:,}".format(numbers[-1]) + (" of {:,}".format(numbers[0]) if kind == "row" and numbers[0] != row[1][2][0] else "")
                for kind, _, numbers in row]
        kind, what, numbers = row[1]
        pairs.append([vendor, what, "{:,}".format(numbers[0]) if kind == "row" else ""] + seen)
    return first, second, pairs, spent


def show(head, blocks):
    """A table with a line before each block of rows; words to the left, numbers to the right."""
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


def main():
    """Measure and print; return the exit status."""
    stopping = threading.Event()
    options = arguments()
    vendors = VENDORS if options.vendor == "all" else (options.vendor,)
    host = variant_of(options.base)
    for variant in (host, host + "-stock"):
        kernel_paths(variant)
    say("base %s%s: a guest under KVM on the machine, as %s"
        % (options.base, DEBIAN_OWN if host != options.base else "",
           " and as ".join("%s (%s)" % (vendor, watch.launcher.DEFAULT_CPU[vendor]) for vendor in vendors)))
    head = ["host", "event", "guest's perf", "the machine", "difference", "VM-exits", "PMIs"]
    mediated = has_mediated(host)
    with watch.alone(os.path.join(TOP, "build", options.base, "logs"), say):
        results = watch.in_parallel(
            [functools.partial(measure, host, vendor, mediated, stopping)
             for vendor in vendors], min(2, os.cpu_count() or 1), stopping)
    kernel = "Kernel %s with our series" % options.base if host == options.base else \
        "Debian's own kernel %s with our KVM modules, built by DKMS" % release(options.base)
    print("\n%s, host and guest; perf: Debian's, in the guest%s\n"
          % (kernel, "; perf-based vPMU" if mediated else ""))
    show(head, [first for first, _, _, _ in results])
    if mediated:
        print("\nThe same with a mediated vPMU (enable_mediated_pmu=1)\n")
        show(head, [second for _, second, _, _ in results])
    print(NOTES)
    if mediated:
        print("What it costs the host, as Debian boots it (nmi_watchdog=1, two CPUs), and with nmi_watchdog=0\n")
        show(["host", "", "perf-based", "mediated", "perf-based, 0", "mediated, 0"], [spent for _, _, _, spent in results])
        print(COST_NOTES)
    print("Before and after: what a guest's kernel does with its PMU, by KVM of stock %s and with our series\n" % options.base)
    show(["host", "the guest", "due", "stock", "series"] + ["mediated"] * mediated, [pairs for _, _, pairs, _ in results])
    print(PAIR_NOTES, end="", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(call("report", main, "make run"))
