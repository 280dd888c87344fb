#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: also on the real machine, a panic, a hang, a silent test and a hung guest each end in their
own verdict, and the other tests run.

Run tests/runner/run.py on the tests of runner-live.d, which go wrong in these ways.  Print results
in KTAP; exit status 1 if any is bad.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "scripts/lib"))

from kvmpmu import built_bases      # noqa: E402

RUN = os.path.join(TOP, "tests/runner/run.py")
WANT = {
    "host/panic": "not ok # ERROR kernel panic",
    "host/silent": "not ok # ERROR no verdict",
    "host/wrong": "not ok",
    "guest/hang": "not ok # TIMEOUT",
    "guest/panic": "not ok # ERROR guest kernel panic",
    "guest/right": "ok",
}


def main():
    bases = built_bases()
    if not bases:
        print("1..0 # SKIP no kernel is built")
        return 0
    place = tempfile.mkdtemp(prefix="live.")
    try:
        done = subprocess.run([RUN, "--list", os.path.join(TOP, "tests/tool/runner-live.d/list"), "--logs",
                               place, "--vendor", "intel", "--base", bases[0], "--jobs", "1"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        got = {}
        for line in done.stdout.splitlines():
            result = re.fullmatch(r"(not ok|ok) \d+ - intel/[^/]+/(\S+)( # .*?)?(?: \(log: .*\))?", line)
            if result:
                got[result.group(2)] = result.group(1) + (result.group(3) or "")
        for number, (name, want) in enumerate(WANT.items(), 1):
            good = got.get(name) == want
            print("%s %d - %s: %s" % ("ok" if good else "not ok", number, name, got.get(name)))
        print("%s %d - last line" % ("ok" if done.stdout.endswith("1 passed, 5 failed\n") else "not ok", len(WANT) + 1))
        print("1..%d" % (len(WANT) + 1))
        if got != WANT:
            print("\n".join("# " + line for line in (done.stdout + done.stderr).splitlines()))
        return got != WANT
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
