#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Make a page of what tools/bench/bench.py has measured, or a plot for README.

Usage: tools/bench/page.py BENCH.json PAGE.html
       tools/bench/page.py --plot FIGURES.json PLOT.svg

FIGURES.json is Documentation/bench.json; see tools/bench/readme.py.  The page has its plots in itself,
follows the reader's choice of light or dark, and can be read on a phone.  Debian's python3-matplotlib
draws the plots, so this is a program for Debian's own Python.

Exit status: 0 written; 1 failed; 2 bad usage.
"""

import html
import io
import json
import re
import sys

try:
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
except ImportError:
    print("page: matplotlib is not installed\nnext: apt-get install python3-matplotlib", file=sys.stderr)
    sys.exit(1)

import functions

# Each is readable on white and on black.
COLOURS = {"stock": "#8a8f98", "perf": "#3d8fd1", "mediated": "#2a9d6e", "debian": "#b08a5b", "alone": "#d0703c",
           "peer": "#9a7fd1", "peer-med": "#c2569b"}
# Basic exit reasons of VMX (Intel SDM volume 3, appendix C) and exit codes of SVM (AMD APM volume 2,
# appendix C); others are shown by number.
EXITS = {
    "intel": {0: "exception or NMI", 1: "external interrupt", 7: "interrupt window", 8: "NMI window", 10: "CPUID", 12: "HLT",
              15: "RDPMC", 18: "VMCALL", 28: "control register", 30: "I/O", 31: "RDMSR", 32: "WRMSR", 40: "PAUSE",
              44: "APIC access", 45: "virtualized EOI", 48: "EPT violation", 49: "EPT misconfiguration", 52: "preemption timer",
              54: "WBINVD", 55: "XSETBV", 56: "APIC write"},
    "amd": {0x4e: "page fault", 0x60: "interrupt", 0x61: "NMI", 0x64: "virtual interrupt", 0x6f: "RDPMC", 0x72: "CPUID",
            0x74: "IRET", 0x77: "PAUSE", 0x78: "HLT", 0x7b: "I/O", 0x7c: "MSR", 0x81: "VMMCALL", 0x8d: "XSETBV",
            0x400: "nested page fault"},
}
# Drawn in this colour, and then made the page's own.
INK = "#010203"

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --faint: #5b6470; --line: #d9dde3;
        --good: #1a7f4b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171b; --ink: #e6e9ee; --faint: #9aa4b2; --line: #333a44; --good: #5ccf94; --bad: #ff8a80; } }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper); color: var(--ink);
       font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
p, .faint { color: var(--faint); }
figure { margin: 0; } figcaption { font-size: .95rem; } svg { width: 100%; height: auto; display: block; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1rem; }
.key { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none; }
.key b { display: inline-block; width: .9em; height: .9em; margin-right: .4em; border-radius: 2px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 9rem; }
.reached { color: var(--good); } .missed { color: var(--bad); font-weight: bold; }
"""


def cost(figures):
    """Return the instructions of a kind of work, and a label."""
    return figures["insns"], "{:,} / {:.0f}".format(figures["insns"], figures["accesses"])


def percent(figures):
    """Return what perf adds to a program, and a label."""
    return figures["percent"], "{:+.1f} %".format(figures["percent"])


def bars(axes, figures, modes, what):
    """Draw a bar for each kind of vPMU; WHAT is cost or percent."""
    shown = [mode for mode in modes if mode["key"] in figures][::-1]
    values = [what(figures[mode["key"]])[0] for mode in shown]
    axes.barh(range(len(shown)), values, color=[COLOURS[mode["key"]] for mode in shown], height=0.7)
    most = max(values + [1])
    for at, mode in enumerate(shown):
        value, label = what(figures[mode["key"]])
        axes.text(max(value, 0) + most * 0.015, at, label, va="center", size=9, color=INK)
    axes.set_yticks(range(len(shown)), [mode.get("short", mode["key"]) for mode in shown], size=9, color=INK)
    axes.set_xlim(0, most * 1.32)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def plot(figures, modes, what):
    """Return an SVG with a bar for each kind of vPMU; WHAT is cost or percent."""
    fig, axes = pyplot.subplots(figsize=(4.2, 0.1 + 0.36 * sum(mode["key"] in figures for mode in modes)))
    bars(axes, figures, modes, what)
    return svg_of(fig)


def readme_plot(figures):
    """Return an SVG with a row of plots for each CPU, in a colour that is readable on white and on black.

    A page that shows it may have another scheme of colours than the reader's system.
    """
    work = ("active", "sample", "event")
    program = "gz-dd"
    names = {**dict(figures["work"]), **dict(figures["program"])}
    rows = len(figures["hosts"])
    fig, axes = pyplot.subplots(rows, len(work) + 1, figsize=(15, 0.9 * rows + 0.34 * rows * len(figures["modes"])), squeeze=False)
    for row, host in zip(axes, figures["hosts"]):
        for cell, key in zip(row, work):
            bars(cell, host["figures"][key], figures["modes"], cost)
            cell.set_title("%s: %s" % (host["cpu"], names[key]), size=10, color=INK)
        bars(row[-1], host["programs"][program], figures["modes"], percent)
        row[-1].set_title("%s: %s" % (host["cpu"], names[program]), size=10, color=INK)
    fig.tight_layout()
    style = "<style>svg { color: #7a828e }</style>"
    return re.sub(r"(<svg [^>]*>)", lambda found: found.group(1) + style, svg_of(fig), count=1)


def svg_of(fig):
    """Return a figure as SVG, with the page's own colour instead of INK."""
    out = io.StringIO()
    fig.savefig(out, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(fig)
    svg = out.getvalue()
    svg = svg[svg.index("<svg"):].replace(INK, "currentColor")
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)


def table(host, work, modes):
    """Yield the lines of the table of a host."""
    yield "<div class=scroll><table><tr><th></th>%s</tr>" % "".join("<th>%s</th>" % mode["key"] for mode in modes)
    for key, text in work:
        of = host["figures"].get(key, {})
        cells = []
        for mode in modes:
            figures, reference = of.get(mode["key"]), of.get(mode["reference"])
            if not figures:
                cells.append("<td></td>")
                continue
            ratio = ""
            if reference and reference["insns"]:
                ratio = " <span class=faint>×%.2f</span>" % (figures["insns"] / reference["insns"])
            cells.append("<td>{:,} / {:.0f} / {:.1f}{}</td>".format(figures["insns"], figures["accesses"], figures["exits"],
                                                                    ratio))
        yield "<tr><td>%s</td>%s</tr>" % (html.escape(text), "".join(cells))
    yield "</table></div>"


def named_counts(counts, names):
    """Return counts by name as text, the largest first; those that round to nothing are left out."""
    shown = sorted(((count, names.get(name, name)) for name, count in counts.items() if count >= 0.005), reverse=True)
    return ", ".join("%s %s" % (name, "{:,.2f}".format(count).rstrip("0").rstrip(".")) for count, name in shown) or "none"


def kinds_table(host, results):
    """Yield the lines of the table of what a host's exits and accesses are."""
    exits = {str(number): name for number, name in EXITS[host["vendor"]].items()}
    yield "<div class=scroll><table><tr><th></th><th></th><th>exits by reason</th><th>accesses by kind</th></tr>"
    for key, text in results["work"] + results["program"]:
        of = {**host["figures"].get(key, {}), **host["programs"].get(key, {})}
        for mode in results["modes"]:
            by = of.get(mode["key"], {}).get("by")
            if by:
                cells = (html.escape(text), mode["key"], named_counts(by["exits"], exits), named_counts(by["accesses"], {}))
                yield "<tr>%s</tr>" % "".join("<td>%s</td>" % cell for cell in cells)
                text = ""
    yield "</table></div>"


def section(host, results):
    """Yield the lines of a host: plots, table, targets."""
    modes, work = results["modes"], results["work"]
    kernel = results["kernels"][host["base"]]
    yield "<h2>%s, base %s, nmi_watchdog=%s</h2>" % (html.escape(host["cpu"]), host["base"], host["watchdog"])
    yield "<p>Our kernel: of %s. Debian's: %s.</p>" % (html.escape(kernel["source"]), html.escape(kernel["debian"]))
    yield "<div class=plots>"
    for key, text in work:
        if key != "none" and host["figures"].get(key):
            yield "<figure><figcaption>%s</figcaption>%s</figure>" % (html.escape(text), plot(host["figures"][key], modes, cost))
    for key, text in results["program"]:
        if host["programs"].get(key):
            yield "<figure><figcaption>%s</figcaption>%s</figure>" % (
                html.escape(text), plot(host["programs"][key], modes, percent))
    yield "</div><details><summary>All figures</summary>"
    yield from table(host, work, modes)
    yield "</details><details><summary>Exits by reason, accesses by kind</summary>"
    yield from kinds_table(host, results)
    yield "</details><details><summary>Targets: %d of %d reached</summary><div class=scroll><table>" % (
        sum(target["reached"] for target in host["targets"]), len(host["targets"]))
    for target in host["targets"]:
        yield "<tr><td>%s: %s</td><td class=%s>%.2f</td><td>at most %.2f</td></tr>" % (
            target["mode"], html.escape(target["what"]), "reached" if target["reached"] else "missed", target["value"],
            target["most"])
    yield "</table></div></details>"


HEAD = """<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width, initial-scale=1">
<title>kvm-pmu: what a guest's PMU costs</title><style>%s</style></head><body>
<h1>What a guest's PMU costs its host</h1>
<p>Each bar is the host's instructions for one exit, event or sample of a guest. Behind it stands their number,
and the number of the host's accesses to registers of the PMU. With a program, each bar is the instructions
that perf adds to it, of host and guest together. Less is better. The machine is emulated and counts
instructions, so these are no times.</p>"""

FOOT = """<p>Tables: instructions of the host / its accesses to the PMU / VM-exits, and the instructions in proportion
to the kind of vPMU that a user of that kernel has otherwise. kvm-pmu %s, machine %s.</p>
</body></html>"""


def page(results):
    """Return the page as text."""
    lines = [HEAD % STYLE, "<ul class=key>"]
    lines += ["<li><b style='background:%s'></b>%s: %s</li>" % (COLOURS[mode["key"]], mode["key"], html.escape(mode["label"]))
              for mode in results["modes"]]
    lines.append("</ul>")
    # Debian's default first.
    for host in sorted(results["hosts"], key=lambda host: host["watchdog"] != "1"):
        lines += section(host, results)
    for what, found in results["profiles"].items():
        lines.append("<details><summary>Where they go: %s</summary><div class=scroll><table>" % html.escape(what))
        lines += ["<tr><td>%s</td><td>%.1f</td></tr>" % (html.escape(name), count) for count, name in functions.lines(found)]
        lines.append("</table></div></details>")
    lines.append(FOOT % (html.escape(results["commit"]), html.escape(results["machine"])))
    return "\n".join(lines) + "\n"


def main():
    draw, paths = page, sys.argv[1:]
    if paths[:1] == ["--plot"]:
        draw, paths = readme_plot, paths[1:]
    if len(paths) != 2:
        print("page: usage: tools/bench/page.py [--plot] BENCH.json RESULT\nnext: make bench", file=sys.stderr)
        return 2
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["svg.hashsalt"] = "kvm-pmu"
    matplotlib.rcParams["font.family"] = "sans-serif"
    with open(paths[0]) as file:
        results = json.load(file)
    with open(paths[1], "w") as out:
        out.write(draw(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
