#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Print in which functions of the host's kernel the instructions of a kind of work are.

Usage: tools/bench/functions.py VENDOR VARIANT WORK [WATCHDOG]

VENDOR      intel or amd
VARIANT     a base or a variant of it, or peer and peer-mediated
WORK        a kind of work of tests/vm/cost.c: idle, active, event, sample...
WATCHDOG    1: the host has nmi_watchdog=1 and two CPUs, as Debian has it by default

Each function has the instructions of one exit, event or sample on average.  All of them are those
of the whole work: an interrupt of the host makes them more than the figure of make bench.

Exit status: 0 printed; 1 failed; 2 bad usage.
"""

import base64
import bisect
import collections
import glob
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "tests/runner"), os.path.join(TOP, "scripts/lib")]

import testlist                                     # noqa: E402
from kvmpmu import Failed, VENDORS, call            # noqa: E402

MOST = 25           # functions that are printed


def profile(vendor, variant, work, watchdog, model=""):
    """Return {function: instructions for one of the work}, by a boot of tests/vm/cost.c."""
    stanza = {"name": "vm/cost", "file": "tests/vm/cost.c", "bases": variant, "vendors": vendor, "env": "COST_PROFILE=" + work,
              "limit": "1500", **({"kargs": "nmi_watchdog=1", "cpus": "2"} if watchdog else {}),
              **({"model": model} if model else {})}
    with tempfile.TemporaryDirectory(prefix="profile.") as place:
        path = os.path.join(place, "list")
        with open(path, "w") as out:
            out.write(testlist.text(stanza))
        done = subprocess.run([os.path.join(TOP, "tests/runner/run.py"), "--list", path, "--logs", place], stdout=subprocess.PIPE,
                              text=True, check=False)
        counts = re.search(r"# cost %s\|(\d+)\|" % re.escape(work), done.stdout)
        logs = glob.glob(os.path.join(place, variant, vendor + "-*"))
        if not counts or not logs:
            raise Failed("no figures of %s on %s/%s" % (work, vendor, variant), "tools/bench/functions.py --help", 1)
        packed = "".join(re.findall(r"^ *# symbols (\S+)$", done.stdout, re.M))
        kallsyms = gzip.decompress(base64.b64decode(packed)).decode()
        symbols = sorted((int(address, 16), name) for address, _, name in (line.split()[:3] for line in kallsyms.splitlines()))
        with open(os.path.join(logs[0], "truth")) as truth:
            last = [found for found in map(json.loads, truth) if "profile" in found][-1]["profile"]
    addresses = [address for address, _ in symbols]
    found = collections.Counter()
    for address, count in last.items():
        at = bisect.bisect_right(addresses, int(address, 16)) - 1
        found[symbols[at][1] if at >= 0 else address] += count
    return {name: count / int(counts.group(1)) for name, count in found.items()}


def lines(found):
    """Yield (instructions, what) for each line of a profile: all of it, and the most expensive functions."""
    yield sum(found.values()), "instructions in all"
    for name, count in sorted(found.items(), key=lambda item: -item[1])[:MOST]:
        yield count, name


def text(found):
    """Return a profile as text."""
    return "\n".join("%10.1f  %s" % line for line in lines(found))


def main():
    arguments = sys.argv[1:]
    if len(arguments) not in (3, 4) or arguments[0] not in VENDORS:
        raise Failed("usage: tools/bench/functions.py VENDOR VARIANT WORK [WATCHDOG]", "sed -n 3,17p tools/bench/functions.py")
    print(text(profile(*arguments[:3], arguments[3:] == ["1"])))
    return 0


if __name__ == "__main__":
    sys.exit(call("functions", main, "tools/bench/functions.py --help"))
