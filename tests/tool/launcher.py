#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: the launcher refuses what the machine does not have, with one line and the next command,
before anything runs.

Print results in KTAP; exit status 1 if any is bad.
"""

import os
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MACHINE = os.path.join(TOP, "tools/machine/machine")
# Arguments, and text that the line must contain.
REFUSED = (
    ("--vendor via", "unknown vendor 'via'"),
    ("--model zen9 --vendor amd", "unknown model 'zen9'; there are zen3, zen4, zen5"),
    ("--model zen4", "'zen4' is of vendor amd"),
    ("--model sapphire_rapids --vendor amd", "'sapphire_rapids' is of vendor intel"),
    ("--model ryzen", "'ryzen' is of vendor amd"),
    ("--model i386", "has no 64-bit mode"),
    ("--model sapphire_rapids --perfmon fixed=3", "has a fixed of its own"),
    ("--model zen4 --vendor amd --perfmon version=1", "has a version of its own"),
    ("--perfmon l3=1", "l3 is not for CPUs of vendor intel"),
    ("--vendor amd --perfmon fixed=4", "fixed is not for CPUs of vendor amd"),
    ("--perfmon metrics=1", "metrics are of four fixed counters"),
    ("--perfmon pebs=1", "no such option of the PMU: 'pebs'"),
    ("--perfmon fixed", "--perfmon wants K=V"),
    ("--cpus 3", "3 CPUs cannot be had"),
    ("--memory 4096", "4096 MiB of memory cannot be had"),
    ("--gdb 1234 --cpus 2", "has one CPU"),
    ("--terminal", "wants a terminal"),
    ("--iso /nowhere", "no such image: /nowhere"),
)

failed = number = 0
for arguments, wanted in REFUSED:
    words = arguments.split() + ([] if "--iso" in arguments else ["--iso", "/dev/null"])
    done = subprocess.run([sys.executable, MACHINE] + words, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True)
    lines = done.stderr.splitlines()
    good = done.returncode == 2 and not done.stdout and len(lines) == 2 and wanted in lines[0] and lines[1].startswith("next: ")
    number += 1
    failed += not good
    print("%s %d - %s: %s" % ("ok" if good else "not ok", number, arguments, lines[0] if lines else "nothing"))
    if not good:
        print("# exit status %d, %r" % (done.returncode, done.stderr))
print("1..%d" % number)
sys.exit(failed != 0)
