#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: make bench prints and shows what was measured, says which target is missed, measures nothing
twice, and README has the figures of a run.

Give tools/bench/bench.py the figures of all boots, so that it boots nothing, and look at what it makes
of them.  Print results in KTAP; exit status 1 if any is bad.
"""

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import xml.dom.minidom

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tools/bench"))

import bench            # noqa: E402
import readme           # noqa: E402

results = []


def check(good, what, seen=""):
    results.append(good)
    print("%s %d - %s" % ("ok" if good else "not ok", len(results), what))
    if not good and seen:
        print("".join("# %s\n" % line for line in str(seen).splitlines()), end="")


def figures(insns):
    return {"insns": insns, "accesses": 2.0, "guest": 0.0, "exits": 1.0,
            "by": {"insns": {}, "exits": {"48": 0.25, "18": 1.0, "1024": 0.001}, "accesses": {"rdmsr": 1.5, "wrmsr": 0.5}}}


def measured():
    """Return figures of all boots, with which each target is reached."""
    found = {}
    modes = bench.MODES + bench.PEERS
    bases = bench.known_bases()
    for name, stanza in bench.boots(bases, bench.VENDORS, modes):
        variant = stanza["bases"]
        cheap = variant.endswith("-mediated")
        ours = cheap and not variant.startswith("peer")
        if stanza["name"].startswith("guest/program"):
            found[name] = {"gz-plain": {"insns": 1000000}, "cc-plain": {"insns": 2000000}}
            for how in bench.PROGRAM:
                if not how.endswith("-td") or cheap:
                    found[name][how] = {"insns": 1012300 if how.startswith("gz") else 2024600, "exits": 3, "accesses": 5,
                                        "by": {"exits": {"96": 3}, "accesses": {"wrmsr": 5}}}
        else:
            found[name] = {work: figures(10000) for work in (*bench.WORK, "pmi") if work != "none"}
            for work in ("idle", "active"):
                found[name][work] = figures(1111 if work == "idle" else 1122)
            if variant.startswith("peer"):
                found[name].update({work: figures(3000) for work in ("idle", "active")}, sample=figures(20000))
            if ours:
                found[name].update({work: figures(1000) for work in bench.WORK if work != "none"}, active=figures(1077))
                found[name]["rdpmc"]["exits"] = 0
                found[name]["event"] = figures(5000)
    return found


def run(*arguments):
    """Call bench's main(); return its status, what it has printed, and what it has said of its steps."""
    sys.argv = ["bench.py", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = bench.call("bench", bench.main, "make bench")
    return status, out.getvalue(), err.getvalue()


def of_a_run(place):
    """Check what a whole run makes of its figures."""
    known = {"sources": bench.sources(), "measured": measured()}
    bench.save("measured.json", known)
    status, out, err = run("--peer")
    check(status == 0 and not err, "all is measured, and all targets are reached", out + err)
    check("MISSED" not in out and "reached" in out, "the targets are listed")
    rows = [line for line in out.splitlines() if bench.WORK["active"] in line]
    check(len(rows) == 8 and all("1,077 / 2 / 1.0 (0.96)" in row for row in rows), "the table has a row's figures and ratio", rows)
    rows = [line for line in out.splitlines() if bench.PROGRAM["gz-dd"] in line]
    check(len(rows) == 4 and all(row.count("+1.23 %") == 7 for row in rows), "and what perf adds to a program", rows)
    with open(os.path.join(place, "index.html")) as file:
        page = file.read()
    plots = page.count("<svg ")
    check(plots >= 8 * (len(bench.WORK) - 1) + 4 * len(bench.PROGRAM), "the page has a plot for each kind of work", plots)
    drawn = page[page.index("<svg "):page.index("</svg>") + 6]
    check("<td>VMCALL 1, EPT violation 0.25</td><td>rdmsr 1.5, wrmsr 0.5</td>" in page, "and the exits by reason")
    check("1,111 / 2" in drawn and xml.dom.minidom.parseString(drawn), "with its figures", drawn)


def of_parts():
    """Check what is measured again, and that each missed target is named."""
    known = {"sources": bench.sources(), "measured": measured()}
    del known["measured"]["amd/%s-watchdog" % bench.known_bases()[-1]]
    bench.save("measured.json", known)
    there = bench.load(False)["measured"]
    left = [name for name, _ in bench.boots(bench.known_bases(), bench.VENDORS, bench.MODES) if name not in there]
    check(left == ["amd/%s-watchdog" % bench.known_bases()[-1]], "only what is missing is measured", left)
    check(not bench.load(True)["measured"], "--again measures all")
    newest = bench.known_bases()[-1]
    guests = {stanza["guest"] for _, stanza in bench.boots([newest], bench.VENDORS, bench.MODES + bench.PEERS) if "guest" in stanza}
    check(guests == {newest}, "programs run in the same guest on all hosts", guests)

    base = bench.known_bases()[0]
    for what, name, work, target in (
            ("idle exit", "intel/%s-mediated", "idle", "idle exit / stock"),
            ("sample by modules alone", "amd/%s-debian-mediated-watchdog", "sample", "sample / debian"),
            ("sample beside mainline's", "intel/%s-mediated", "sample", "sample / mainline's mediated")):
        known = {"sources": bench.sources(), "measured": measured()}
        known["measured"][name % base][work] = figures(6001)
        known["profiles"] = {}
        bench.save("measured.json", known)
        status, out, _ = run("--peer", "--base", base, "--vendor", name.partition("/")[0])
        missed = [line for line in out.splitlines() if "MISSED" in line]
        check(status == 1 and any(target in line for line in missed), "%s: the target is missed" % what, missed)
        check("Where they go: %s" % (name % base).removesuffix("-watchdog") in out and "4.5  a_function" in out,
              "%s: and where they go" % what, out)
    known["measured"]["intel/%s-mediated" % base]["event"]["accesses"] = 3.0
    bench.save("measured.json", known)
    out = run("--peer", "--base", base, "--vendor", "intel")[1]
    missed = [line for line in out.splitlines() if "MISSED" in line and "accesses, event" in line]
    check(len(missed) == 1, "more accesses than mainline's: missed", missed)


def of_readme(place):
    """Check what finds a README that is not what was measured."""
    for name in ("FIGURES", "PLOT", "README"):
        setattr(readme, name, os.path.join(place, os.path.basename(getattr(readme, name))))
    readme.LAST = os.path.join(place, "bench.json")
    # The last run is also FIGURES otherwise.
    readme.FIGURES += ".readme"
    shutil.copy(os.path.join(TOP, "README"), readme.README)
    with contextlib.redirect_stdout(io.StringIO()):
        status = readme.write_all()
    check(status == 0, "README's figures are written")
    check(not list(readme.complaints()), "and fit", list(readme.complaints()))
    check('"by"' not in readme.read(readme.FIGURES), "with nothing that README does not show")
    text = readme.read(readme.README)
    check("1,077" in text and "1.2 %" in text and text.count("mainline's") > 3, "README has them", text)
    readme.write(readme.README, text.replace("1,077", "1,076", 1))
    check([line.partition(":")[0] for line in readme.complaints()] == ["README"], "another figure in README is found")
    readme.write(readme.README, text)
    plot = readme.read(readme.PLOT)
    readme.write(readme.PLOT, plot.replace("<!-- ", "<!-- 0", 1))
    check(["svg" in line for line in readme.complaints()] == [True], "a plot of other figures is found")
    readme.write(readme.PLOT, plot)
    last = json.loads(readme.read(readme.LAST))
    for host in last["hosts"]:
        host["figures"]["active"]["mediated"]["insns"] += 1
    readme.write(readme.LAST, json.dumps(last))
    found = list(readme.complaints())
    check(len(found) == 1 and "since" in found[0], "a run with other figures is found", found)
    last["compiler"] = "another"
    readme.write(readme.LAST, json.dumps(last))
    check(not list(readme.complaints()), "but not that of another compiler")


def of_a_model(place):
    """Check what a CPU that is asked for by name is given."""
    status, _, err = run("--model", "zen9")
    check(status == 2 and "unknown CPU 'zen9'" in err and len(err.splitlines()) == 2, "an unknown CPU is refused", err)
    modes = [mode for mode in bench.MODES if not mode.on("").endswith("-mediated")]
    names = [name for name, _ in bench.boots(bench.known_bases(), ["amd"], modes)]
    figures_of_all = measured()
    bench.save("measured-zen3.json", {"sources": bench.sources(), "measured": {name: figures_of_all[name] for name in names}})
    status, out, err = run("--model", "zen3")
    check(status == 0 and not err and "zen3, base" in out and "alone" not in out,
          "one without a mediated vPMU has the others", out + err)
    check(os.path.exists(os.path.join(place, "index-zen3.html")), "and a page of its own")


def of_a_profile():
    """Check the profile of a real boot: it has what the exits cost, in the functions that all of them call."""
    base = bench.known_bases()[-1]
    found = bench.functions.profile("intel", base + "-mediated", "idle", False)
    whole = sum(found.values())
    check(900 < whole < 1300, "a profile of exits has the instructions of the host's kernel", whole)
    check(found.get("vmx_vcpu_run", 0) > 100 and found.get("kvm_arch_vcpu_ioctl_run", 0) > 100, "in the functions of KVM", found)


def main():
    place = tempfile.mkdtemp(prefix="bench.")
    bench.PLACE = place
    try:
        of_a_profile()
        bench.functions.profile = lambda *_: {"a_function": 4.5}
        of_a_run(place)
        of_readme(place)
        of_parts()
        of_a_model(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print("1..%d" % len(results))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
