#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measure what a guest's PMU costs the host, by counts, for each kind of vPMU beside the others.

Usage: tools/bench/bench.py [--base BASE] [--vendor VENDOR] [--model CPU] [--peer] [--again]

--model: another CPU than the vendor's default, of those that tools/machine/machine --help names.  The
results are bench-CPU.json and index-CPU.html then.
--peer: measure mainline's newest kernel as well, perf-based and with its own mediated vPMU.
--again: forget what was measured before.

tests/vm/cost.c does the work, on the machine's default CPU of each vendor: exits of a guest with no
counter enabled and with three, events that are put on a counter and taken off, samples, and so on.
All kinds of vPMU do the same work, on hosts with nmi_watchdog=0 and one CPU, and with Debian's
default, nmi_watchdog=1, and two CPUs.  With the latter, tools/bench/program.sh runs programs in a QEMU
guest, by themselves and under perf.  That guest has our kernel of the base, on whichever host.  All
kernels must be built: make bench does that.

Results, in build/bench:
  bench.json    all figures, the versions of kernel and machine, and the CPU models
  index.html    a page that shows them; it needs nothing else
Standard output has a table, and the targets of the mediated vPMUs with what was measured.  For one that
is missed, it has the functions in which the instructions are (tools/bench/functions.py).

A boot that has ended is not repeated by the next call, unless the sources have changed since: Ctrl-C
loses only what is running.

Exit status: 0 all targets are reached; 1 one is not, or something has failed; 2 bad usage;
130 interrupted.
"""

import dataclasses
import glob
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "tests/tool"), os.path.join(TOP, "tests/runner"), os.path.join(TOP, "scripts/lib")]

import cost                                                             # noqa: E402
import functions                                                        # noqa: E402
import steps                                                            # noqa: E402
import testlist                                                         # noqa: E402
import watch                                                            # noqa: E402
from kvmpmu import (Failed, PEER, Parser, VENDORS, call, check_base, check_vendor, known_bases)    # noqa: E402
from variants import MEDIATED, kernel_paths                                       # noqa: E402

PLACE = os.path.join(TOP, "build/bench")


@dataclasses.dataclass(frozen=True)
class Mode:
    """A kind of vPMU.

    key         its name in the results
    variant     the name of the variant, with BASE for the base
    label       its name for people
    reference   the key of the kind that it replaces for a user of that kernel
    watchdog    whether guests can have it while the host's NMI watchdog is on
    """

    key: str
    variant: str
    label: str
    reference: str
    watchdog: bool = True

    def on(self, base):
        """Return the variant of a base."""
        return self.variant.replace("BASE", base)


MODES = (
    Mode("stock", "BASE-stock", "our kernel, its own KVM", ""),
    Mode("perf", "BASE", "our kernel, perf-based", "stock"),
    Mode("mediated", "BASE-mediated", "our kernel, mediated", "stock"),
    Mode("debian", "BASE-debian-stock", "Debian's kernel and KVM", ""),
    Mode("alone", "BASE-debian-mediated", "Debian's kernel, mediated by modules alone", "debian"),
)
# The same configuration and, in programs, the same guest as our newest base.  Mainline's kernel has no
# mediated vPMU for guests while an event of the host's includes them: KVM_CREATE_VCPU is EBUSY then,
# and the watchdog is such an event.
PEERS = (
    Mode("peer", PEER, "mainline's newest kernel, perf-based", ""),
    Mode("peer-med", PEER + MEDIATED, "mainline's newest kernel, mediated; not with nmi_watchdog=1", "peer", watchdog=False),
)
# The work, in the order of tables and pages.
WORK = {
    "none": "VM-exit, the guest has no PMU",
    "idle": "VM-exit, no counter enabled",
    "active": "VM-exit, three counters on",
    "near": "VM-exit, three counters near overflow",
    "beside": "three counters on, perf record -a on the host",
    "rdpmc": "RDPMC",
    "control": "write of the global control",
    "event": "event, put on a counter and taken off",
    "rotate": "three counters off, 10 VM-exits, and on; perf record -a on the host",
    "wake": "three counters off, 100 VM-exits, and on; perf record -a on the host",
    "sample": "sample",
    "ipi": "IPI to itself, three counters on",
    "timer": "timer's interrupt, three counters on",
    "switch": "KVM_RUN of another vCPU, three counters on",
}
HOSTS = {"0": {}, "1": {"kargs": "nmi_watchdog=1", "cpus": "2"}}
# How the program runs under perf, in the order of tables and pages.
PROGRAM = {"%s-%s" % (program, how): "%s under perf %s" % (text, perf)
           for program, text in (("gz", "gzip"), ("cc", "a compiler"))
           for how, perf in (("stat", "stat"), ("dd", "stat -dd"), ("td", "stat --topdown"), ("rec", "record -F 1000"))}
# A clock like that of a real CPU: perf record asks for samples by time.
CLOCK = {"ips": "1000000000", "limit": "300"}
# QEMU leaves PERF_METRICS, which perf stat --topdown takes, out of models that can migrate.
METRICS = {"env": "GUEST_CPU=,migratable=off"}


# The figures depend on these.
SOURCES = """arch include kernel patches configs debian scripts/step scripts/lib tests/lib tests/rootfs tests/runner
             tests/tool/cost.py tests/vm/cost.c tools/machine tools/bench/bench.py tools/bench/peer tools/bench/functions.py
             tools/bench/program.sh""".split()


def sources():
    """Return a hash of what the figures depend on: of the last commit, and of what has changed since."""
    def git(*arguments):
        return subprocess.run(["git", "-C", TOP, *arguments, "--", *SOURCES], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              check=False).stdout

    return hashlib.sha256(git("ls-files", "--stage") + git("diff") + git("ls-files", "--others", "--exclude-standard")).hexdigest()


def load(again, model=""):
    """Return what was measured before with these sources, as {name: {work: figures}}."""
    try:
        with open(os.path.join(PLACE, named("measured.json", model))) as file:
            known = json.load(file)
    except (OSError, ValueError):
        known = {}
    stamp = sources()
    if again or known.get("sources") != stamp:
        known = {"sources": stamp, "measured": {}}
    return {**known, "model": model}


def named(name, model):
    """Return the name of a file for a CPU, "" for the default ones."""
    stem, ext = os.path.splitext(name)
    return stem + ("-" + model if model else "") + ext


def can_mediate(model):
    """Return whether the host's CPU can give a guest its PMU: with global registers, which AMD's first version has not."""
    return "version=1" not in watch.launcher.CPUS[model][2].split(",")


def keep(known):
    """Note what was measured."""
    save(named("measured.json", known["model"]), known)


def save(name, content):
    steps.write(os.path.join(PLACE, name), json.dumps(content, indent=1, sort_keys=True) + "\n")


def boots(bases, vendors, modes, model=""):
    """Yield (name, stanza) for each boot.  The name is VENDOR/VARIANT with -none or -watchdog."""
    for name, stanza in _boots(bases, vendors, modes):
        yield name, {**stanza, "model": model} if model else stanza


def _boots(bases, vendors, modes):
    for vendor in vendors:
        for base in bases:
            for mode in modes:
                for host, more in HOSTS.items():
                    kind = "-watchdog" if host == "1" else ""
                    if host == "1" and not mode.watchdog:
                        continue
                    yield "%s/%s%s" % (vendor, mode.on(base), kind), \
                        {"name": "vm/cost%s-%s" % (kind, vendor), "bases": mode.on(base), "vendors": vendor, **more}
                guest = known_bases()[-1] if mode in PEERS else base
                yield "%s/%s-program" % (vendor, mode.on(base)), \
                    {"name": "guest/program%s-%s-%s" % ("" if mode.watchdog else "-0", guest, vendor), "bases": mode.on(base),
                     "file": "tools/bench/program.sh", "guest": guest, "programs": "/usr/bin/tcc", "vendors": vendor, **CLOCK,
                     **(HOSTS["1"] if mode.watchdog else {"cpus": HOSTS["1"]["cpus"]}), **(METRICS if vendor == "intel" else {})}
            variant = base + "-stock"
            yield "%s/%s-none" % (vendor, variant), {"name": "vm/cost-none-" + vendor, "bases": variant, "vendors": vendor,
                                                     "env": "COST_NO_PMU=1"}


def merged(stanzas):
    """Return the stanzas with those of the same name and settings made one, for several variants."""
    found = {}
    for stanza in stanzas:
        same = found.setdefault(stanza["name"], {**stanza, "bases": ""})
        same["bases"] = (same["bases"] + " " + stanza["bases"]).strip()
    return list(found.values())


def measure(known, bases, vendors, modes):
    """Boot what is not known yet, and note each figure at once."""
    todo = {name: stanza for name, stanza in boots(bases, vendors, modes, known["model"]) if name not in known["measured"]}
    if not todo:
        return
    for stanza in todo.values():
        kernel_paths(stanza["bases"])
    print("  %d boots to measure; those that have ended are kept after Ctrl-C" % len(todo), file=sys.stderr, flush=True)
    exits = [stanza for name, stanza in todo.items() if not name.endswith("-program")]
    part = {}
    for (vendor, variant, work), figures in cost.measurements(merged(exits)) if exits else ():
        name = "%s/%s" % (vendor, variant)
        part.setdefault(name, {})[work] = figures._asdict()
        # The last work of a boot.
        if work == "pmi" or variant.endswith("-none"):
            known["measured"][name] = part.pop(name)
            keep(known)
    programs = [stanza for name, stanza in todo.items() if name.endswith("-program")]
    for name, figures in run_programs(merged(programs)) if programs else ():
        known["measured"][name] = figures
        keep(known)
    missing = [name for name in todo if name not in known["measured"]]
    if missing:
        raise Failed("no figures of %s" % " ".join(missing), "make bench   # measures what is missing", 1)


def run_programs(stanzas):
    """Run tools/bench/program.sh, and yield (name of the boot, figures) as each has ended.

    The figures are {how the program runs: instructions of the host and the guest, exits, accesses};
    "by" has them by context, by basic reason or exit code, and by kind.
    """
    with tempfile.TemporaryDirectory(prefix="bench.") as place:
        path = os.path.join(place, "list")
        with open(path, "w") as out:
            out.writelines(testlist.text(stanza) for stanza in stanzas)
        with subprocess.Popen([os.path.join(TOP, "tests/runner/run.py"), "--list", path, "--logs", place], stdout=subprocess.PIPE,
                              stderr=sys.stderr, text=True) as runner:
            for line in runner.stdout:
                passed = re.match(r"ok \d+ - (\w+)/([^/]+)/guest/program[\w.-]*$", line)
                if passed:
                    vendor, variant = passed.groups()
                    with open(glob.glob(os.path.join(place, variant, vendor + "-*", "truth"))[0]) as truth:
                        yield "%s/%s-program" % (vendor, variant), stretches(json.loads(mark) for mark in truth)


def _less(counts, before):
    """Return what has been added to counts by name, without those to which nothing was."""
    return {name: count - before.get(name, 0) for name, count in counts.items() if count > before.get(name, 0)}


def stretches(marks):
    """Return {name: figures} of the stretches between the marks NAME 0 and NAME 1; the least of each name."""
    found, begun = {}, {}
    for mark in marks:
        name = mark["mark"].strip()
        if not mark["arg"]:
            begun[name] = mark
        elif name in begun:
            insns, exits, accesses = (_less(what(mark), what(begun[name])) for what in (
                lambda mark: mark["insns"], lambda mark: mark["exits"], lambda mark: mark["pmu"]["host"]))
            took = {"insns": sum(insns.values()), "exits": sum(exits.values()), "accesses": sum(accesses.values()),
                    "by": {"insns": insns, "exits": exits, "accesses": accesses}}
            found[name] = min(found.get(name, took), took, key=lambda figures: figures["insns"])
    return found


def programs_of(known, vendor, base, modes):
    """Return {how: {mode's key: figures}} of programs, with the instructions that perf adds, in percent."""
    found = {}
    for mode in modes:
        ran = known["measured"]["%s/%s-program" % (vendor, mode.on(base))]
        for how in PROGRAM:
            if how in ran:
                plain = ran[how.partition("-")[0] + "-plain"]["insns"]
                found.setdefault(how, {})[mode.key] = {**ran[how], "percent": 100 * (ran[how]["insns"] / plain - 1)}
    return found


def figures_of(known, vendor, base, host, modes):
    """Return {work: {mode's key: figures}} of a host."""
    found = {}
    measured = known["measured"]
    for mode in modes:
        if host == "1" and not mode.watchdog:
            continue
        of = measured["%s/%s%s" % (vendor, mode.on(base), "-watchdog" if host == "1" else "")]
        for work in WORK:
            if work in of:
                found.setdefault(work, {})[mode.key] = of[work]
    found["none"] = {"stock": measured["%s/%s-stock-none" % (vendor, base)]["idle"]}
    return found


def targets(vendor, host, of):
    """Yield (kind of vPMU, work, what, what was measured, the most that it may be) for a host's figures."""
    def insns(mode, work):
        return of[work][mode]["insns"]

    if "mediated" not in of["idle"]:
        return
    for mode in ("mediated", "alone"):
        reference = next(m.reference for m in MODES if m.key == mode)
        yield mode, "idle", "idle exit / %s" % reference, insns(mode, "idle") / insns(reference, "idle"), 1
        for work in ("event", "sample"):
            yield mode, work, "%s / %s" % (work, reference), insns(mode, work) / insns(reference, work), 0.6
        for work in ("rotate", "wake"):
            yield mode, work, "%s / %s" % (work, reference), insns(mode, work) / insns(reference, work), 1
    yield "mediated", "active", "active exit / idle exit", insns("mediated", "active") / insns("mediated", "idle"), 1.15
    yield "mediated", "near", "exit near overflow / stock", insns("mediated", "near") / insns("stock", "near"), 0.6
    if vendor == "intel":
        yield "mediated", "rdpmc", "exits of RDPMC", of["rdpmc"]["mediated"]["exits"], 0
    else:
        yield "mediated", "rdpmc", "RDPMC / stock", insns("mediated", "rdpmc") / insns("stock", "rdpmc"), 0.4
    if host == "1":
        yield "alone", "active", "active exit / Debian's idle exit", insns("alone", "active") / insns("debian", "idle"), 1.5
        yield "alone", "active", "accesses of an active exit", of["active"]["alone"]["accesses"], 18 if vendor == "intel" else 15.5
    if "peer-med" in of["idle"]:
        for work, most in (("idle", 0.5), ("active", 0.5), ("sample", 0.25), ("event", 0.75)):
            yield "mediated", work, "%s / mainline's mediated" % work, insns("mediated", work) / insns("peer-med", work), most
        for work in of:
            if "peer-med" in of[work]:
                yield "mediated", work, "accesses, %s, beyond mainline's" % work, \
                    of[work]["mediated"]["accesses"] - of[work]["peer-med"]["accesses"], 0


def profiles(known, hosts):
    """Yield (what, profile) for each missed target's work: where the instructions are, by function."""
    seen = set()
    for host in hosts:
        for target in host["targets"]:
            variant = next(mode for mode in MODES if mode.key == target["mode"]).on(host["base"])
            what = "%s/%s, %s, nmi_watchdog=%s" % (host["vendor"], variant, target["work"], host["watchdog"])
            if target["reached"] or what in seen:
                continue
            seen.add(what)
            if what not in known.setdefault("profiles", {}):
                known["profiles"][what] = functions.profile(host["vendor"], variant, target["work"], host["watchdog"] == "1",
                                                            known["model"])
                keep(known)
            yield what, known["profiles"][what]


def versions(bases, peer):
    """Return what was measured: the kernels, the machine and the CPUs.  PEER: mainline's kernel, too."""
    def first_line(path):
        try:
            with open(os.path.join(TOP, path)) as file:
                return file.readline().strip()
        except OSError:
            return ""

    def source(base):
        return first_line("build/%s/source" % base).removesuffix("_all.deb").replace("_", " ")

    return {"kernels": {base: {"source": source(base), "debian": first_line("build/debian-%s/release" % base)} for base in bases},
            "peer": source(PEER) if peer else "",
            "machine": first_line("build/machine/stamp")[:12],
            "compiler": subprocess.run(["gcc", "--version"], stdout=subprocess.PIPE, text=True,
                                       check=False).stdout.partition("\n")[0],
            "commit": subprocess.run(["git", "-C", TOP, "describe", "--always", "--dirty"], stdout=subprocess.PIPE,
                                     text=True, check=False).stdout.strip()}


def cell(figures, reference):
    """Return a cell of the table: instructions / accesses / exits, and the ratio of the instructions."""
    if figures is None:
        return "-"
    text = "{:,} / {:.0f} / {:.1f}".format(figures["insns"], figures["accesses"], figures["exits"])
    return text + " (%.2f)" % (figures["insns"] / reference["insns"]) if reference and reference["insns"] else text


def print_tables(results):
    """Print a table for each host."""
    for host in results["hosts"]:
        print("\n%s, base %s, nmi_watchdog=%s" % (host["cpu"], host["base"], host["watchdog"]))
        width = max(len(text) for text in WORK.values())
        shown = [*host["figures"].values(), *host["programs"].values()]
        modes = [mode for mode in MODES + PEERS if any(mode.key in of for of in shown)]
        rows = [[""] + [mode.key for mode in modes]]
        for work, text in WORK.items():
            of = host["figures"].get(work, {})
            rows.append([text] + [cell(of.get(mode.key), of.get(mode.reference)) for mode in modes])
        for how, text in PROGRAM.items():
            of = host["programs"].get(how)
            if of:
                rows.append([text] + ["%+.2f %%" % of[mode.key]["percent"] if mode.key in of else "-" for mode in modes])
        widths = [width] + [max(len(row[i]) for row in rows) for i in range(1, len(rows[0]))]
        for row in rows:
            print("  " + "  ".join(row[0].ljust(widths[0]) if not i else text.rjust(widths[i]) for i, text in enumerate(row)))
    print("\nInstructions of the host / its accesses to the PMU / VM-exits, for one of each; in brackets the\n"
          "instructions in proportion to the kind of vPMU that a user of that kernel has otherwise.  The rows of\n"
          "programs have the instructions that perf adds, of host and guest together.")
    for mode in results["modes"]:
        print("  %-9s %s%s" % (mode["key"], mode["label"], ", in proportion to " + mode["reference"] if mode["reference"] else ""))


def print_targets(results):
    """Print the targets; return whether all are reached."""
    good = True
    print("\nTargets")
    for host in results["hosts"]:
        for target in host["targets"]:
            good = good and target["reached"]
            print("  %s %-16s %-5s nmi_watchdog=%s  %-9s %-34s %6.2f, at most %.2f"
                  % ("reached" if target["reached"] else "MISSED ", host["cpu"], host["base"], host["watchdog"], target["mode"],
                     target["what"], target["value"], target["most"]))
    return good


def main():
    parser = Parser("tools/bench/bench.py", __doc__)
    parser.add_argument("--base", default="all")
    parser.add_argument("--vendor", default="all")
    parser.add_argument("--model", default="")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    check_vendor(options.vendor, "bench")
    if options.base != "all":
        check_base(options.base, "bench", more=False)
    bases = known_bases() if options.base == "all" else [options.base]
    vendors = VENDORS if options.vendor == "all" else [options.vendor]
    modes = MODES + PEERS * options.peer
    if options.model:
        if options.model not in watch.launcher.CPUS:
            raise Failed("unknown CPU '%s', there are: %s" % (options.model, " ".join(watch.launcher.CPUS)),
                         "make bench MODEL=zen5")
        vendor = watch.launcher.CPUS[options.model][0]
        if vendor not in vendors:
            raise Failed("%s is of vendor %s" % (options.model, vendor), "make bench MODEL=%s" % options.model)
        vendors = [vendor]
        modes = tuple(mode for mode in modes if can_mediate(options.model) or not mode.on("").endswith(MEDIATED))
    known = load(options.again, options.model)
    measure(known, bases, vendors, modes)
    results = {**versions(bases, options.peer), "modes": [dataclasses.asdict(mode) for mode in modes], "work": list(WORK.items()),
               "program": list(PROGRAM.items()), "hosts": []}
    for vendor in vendors:
        for base in bases:
            for host in HOSTS:
                of = figures_of(known, vendor, base, host, modes)
                results["hosts"].append({
                    "programs": programs_of(known, vendor, base, modes) if host == "1" else {}, "vendor": vendor,
                    "cpu": options.model or watch.launcher.DEFAULT_CPU[vendor], "base": base, "watchdog": host, "figures": of,
                    "targets": [{"mode": mode, "work": work, "what": what, "value": value, "most": most, "reached": value <= most}
                                for mode, work, what, value, most in targets(vendor, host, of)]})
    results["profiles"] = dict(profiles(known, results["hosts"]))
    names = [named(name, options.model) for name in ("bench.json", "index.html")]
    save(names[0], results)
    print_tables(results)
    good = print_targets(results)
    for what, found in results["profiles"].items():
        print("\nWhere they go: %s\n%s" % (what, functions.text(found)))
    sys.stdout.flush()
    page = [os.path.join(PLACE, name) for name in names]
    if subprocess.run([os.path.join(TOP, "tools/bench/page.py"), *page], check=False).returncode:
        return 1    # it has said why
    print("\nbuild/bench/%s shows this; build/bench/%s has all figures" % (names[1], names[0]))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(call("bench", main, "make bench"))
