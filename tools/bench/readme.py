#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write README's figures and plot from what tools/bench/bench.py has measured, or check them.

Usage: tools/bench/readme.py --write | --check

--write: take build/bench/bench.json, which must have both vendors, and write
  Documentation/bench.json    its figures of the newest base, with Debian's default nmi_watchdog=1
  Documentation/bench.svg     a plot of them
  README                      the tables between the comments "bench:" and "bench: end"
--check: print a line FILE:LINE: WHAT for each of these that does not fit the others; and, if
  build/bench/bench.json is of the same compiler, machine and kernels, if its figures are others.

Exit status: 0 written, or all fits; 1 it does not, or has failed; 2 bad usage.
"""

import hashlib
import json
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "scripts/lib"))

from kvmpmu import Failed, VENDORS, call, known_bases       # noqa: E402
from steps import write                                     # noqa: E402

LAST = os.path.join(TOP, "build/bench/bench.json")
FIGURES, PLOT, README = (os.path.join(TOP, name) for name in ("Documentation/bench.json", "Documentation/bench.svg", "README"))
BEGIN, END = ".. bench: written by tools/bench/readme.py", ".. bench: end"
CPUS = {"sapphire_rapids": "Sapphire Rapids", "zen4": "Zen 4"}
COLUMNS = {"debian": "Debian's own", "perf": "perf-based", "mediated": "mediated", "alone": "by modules",
           "peer-med": "mainline's, 0"}
WORK = ("idle", "active", "near", "beside", "rdpmc", "control", "event", "sample")


def read(path):
    with open(path) as file:
        return file.read()


def shown(results):
    """Return what README needs of all results: of the newest base, with Debian's default."""
    base = known_bases()[-1]
    hosts, without = ([host for host in results["hosts"] if host["base"] == base and host["watchdog"] == watchdog]
                      for watchdog in "10")
    if [host["vendor"] for host in hosts] != list(VENDORS):
        raise Failed("build/bench/bench.json has not both vendors on base %s" % base, "make bench", 1)
    rows = [work for work in results["work"] if work[0] in WORK]
    return {"kernels": {base: results["kernels"][base]}, "peer": results["peer"], "compiler": results["compiler"],
            "machine": results["machine"],
            "modes": [{**mode, "short": COLUMNS[mode["key"]]} for mode in results["modes"] if mode["key"] in COLUMNS],
            "work": rows, "program": results["program"],
            "hosts": [{"cpu": CPUS[host["cpu"]],
                       "figures": {work: _of(other["figures"].get(work, {}), host["figures"].get(work, {})) for work, _ in rows},
                       "programs": {how: _of(of) for how, of in host["programs"].items()}} for host, other in zip(hosts, without)]}


def _of(*figures):
    """Return the figures of README's columns, from the last of the arguments that has them.

    Mainline's mediated vPMU is not there beside the watchdog, and has the figures of nmi_watchdog=0.
    """
    found = {}
    for of in figures:
        found.update((mode, {key: of[mode][key] for key in of[mode] if key != "by"}) for mode in COLUMNS if mode in of)
    return found


def rst_table(rows):
    """Return a simple table of reStructuredText; the first of the rows is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    line = "  ".join("=" * width for width in widths)

    def text(row):
        cells = [cell.rjust(width) if at else cell.ljust(width) for at, (cell, width) in enumerate(zip(row, widths))]
        return "  ".join(cells).rstrip()

    return "\n".join([line, text(rows[0]), line] + [text(row) for row in rows[1:]] + [line])


def cost(figures):
    """Return a cell: the instructions for one of the work, if it costs the host any."""
    if figures is None:
        return "\\-"
    return "{:,}".format(figures["insns"]) if figures["exits"] > 0.5 or figures["insns"] > 20 else "no exit"


def percent(figures):
    """Return a cell: what perf adds to a program."""
    return "%.1f %%" % figures["percent"] if figures else "\\-"


def tables(figures):
    """Return README's tables."""
    keys = [mode["key"] for mode in figures["modes"]]
    heads = [COLUMNS[key] for key in keys]
    found = []
    for host in figures["hosts"]:
        rows = [[host["cpu"]] + heads]
        rows += [[text] + [cost(host["figures"][work].get(key)) for key in keys] for work, text in figures["work"]]
        found.append(rst_table(rows))
    for host in figures["hosts"]:
        rows = [["Under perf, %s" % host["cpu"]] + heads]
        rows += [[text] + [percent(host["programs"][how].get(key)) for key in keys]
                 for how, text in figures["program"] if host["programs"].get(how)]
        found.append(rst_table(rows))
    kernel = next(iter(figures["kernels"].values()))
    kernels = "Kernels: ours of %s, Debian's %s%s." % (kernel["source"], kernel["debian"],
                                                      ", mainline's of %s" % figures["peer"] if figures["peer"] else "")
    return "\n\n".join(found + ["\n".join(re.findall(r".{1,100}(?:\s+|$)", kernels)).replace(" \n", "\n").rstrip()])


def between(readme):
    """Return README's parts before, between and after the comments."""
    before, begin, rest = readme.partition(BEGIN + "\n")
    middle, end, after = rest.partition(END + "\n")
    if not begin or not end:
        raise Failed("README has no comments '%s' and '%s'" % (BEGIN, END), "git diff README", 1)
    return before + begin, middle, end + after


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_all():
    try:
        results = json.loads(read(LAST))
    except OSError:
        raise Failed("there is no build/bench/bench.json", "make bench PEER=1", 1) from None
    figures = shown(results)
    text = json.dumps(figures, indent=1, sort_keys=True) + "\n"
    before, _, after = between(read(README))
    write(FIGURES, text)
    drawn = subprocess.run([os.path.join(TOP, "tools/bench/page.py"), "--plot", FIGURES, PLOT + ".drawn"], check=False)
    if drawn.returncode:
        return 1    # it has said why
    write(PLOT, read(PLOT + ".drawn").replace("<svg ", "<!-- %s -->\n<svg " % digest(text), 1))
    os.unlink(PLOT + ".drawn")
    write(README, before + "\n" + tables(figures) + "\n\n" + after)
    print("README, Documentation/bench.json and Documentation/bench.svg have what was measured last")
    return 0


def complaints():
    """Yield a line for each thing that does not fit."""
    text = read(FIGURES)
    figures = json.loads(text)
    readme = read(README)
    if between(readme)[1].strip() != tables(figures).strip():
        yield "README:%d: the figures are not those of Documentation/bench.json" % (readme[:readme.index(BEGIN)].count("\n") + 1)
    if "<!-- %s -->" % digest(text) not in read(PLOT):
        yield "Documentation/bench.svg:1: it is not drawn from Documentation/bench.json"
    try:
        last = json.loads(read(LAST))
        if last.get("peer") == figures["peer"] or not figures["peer"]:
            last = shown(last)
        else:
            return      # a run without mainline's kernel
    except (OSError, ValueError, Failed):
        return          # there is none, or of one vendor only
    same = all(last[key] == figures[key] for key in ("kernels", "peer", "compiler", "machine"))
    if same and last != figures:
        yield "Documentation/bench.json:1: make bench has measured other figures since: tools/bench/readme.py --write"


def main():
    if sys.argv[1:] == ["--write"]:
        return write_all()
    if sys.argv[1:] == ["--check"]:
        found = list(complaints())
        print("\n".join(found), end="\n" if found else "")
        return 1 if found else 0
    raise Failed("usage: tools/bench/readme.py --write | --check", "tools/bench/readme.py --check")


if __name__ == "__main__":
    sys.exit(call("readme", main, "tools/bench/readme.py --check"))
