#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: the same run gives the same numbers, to the last one.

Boot the same image twice, host and guest, and compare all results of the tests, with their counts,
and every line of the ground truth.  Do so with one CPU and with two.  Print results in KTAP; exit
status 1 if any is bad.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "tests/runner"), os.path.join(TOP, "scripts/lib")]

import iso                              # noqa: E402
import watch                            # noqa: E402
from kvmpmu import built_bases          # noqa: E402
from programs import program            # noqa: E402
from variants import kvm_params         # noqa: E402


def run(place, number, vendor, cpus, cd):
    """Run the machine once; return its exit status, verdicts and truth, and output."""
    files = {name: os.path.join(place, "%s%d" % (name, number)) for name in ("verdict", "truth")}
    command = watch.LAUNCHER + ["--vendor", vendor, "--cpus", str(cpus), "--timeout", "120", "--iso", cd]
    for name, path in files.items():
        command += ["--" + name, path]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    text = {name: open(path, errors="replace").read() for name, path in files.items()}
    return done.returncode, text, done.stdout


def main():
    bases = built_bases()
    if not bases:
        print("1..0 # SKIP no kernel is built")
        return 0
    place, bad, count = tempfile.mkdtemp(prefix="again."), 0, 0
    try:
        for vendor, cpus in (("intel", 1), ("amd", 2)):
            cd = os.path.join(place, "boot.iso")
            plan = [("host", "host/count", program("tests/host/count.c")),
                    ("guest", "guest/perf-stat", os.path.join(TOP, "tests/host/perf-stat.sh"))]
            environment = {"VENDOR": vendor, "BASE": bases[0], "CPUS": cpus, "PERFMON": "",
                           "KVM_PARAMS": kvm_params(bases[0], vendor),
                           "GUEST_KARGS": iso.guest_kargs(bases[0])}
            iso.boot(cd, bases[0], plan, environment)
            first = run(place, 1, vendor, cpus, cd)
            time.sleep(1.1)     # so that the time of day differs
            second = run(place, 2, vendor, cpus, cd)
            for what, good, more in (
                    ("both runs reach their end",
                     first[0] == second[0] == 0 and "\ndone\n" in first[1]["verdict"],
                     first[2] + second[2]),
                    ("verdicts", first[1]["verdict"] == second[1]["verdict"], first[1]["verdict"] + second[1]["verdict"]),
                    ("truth", first[1]["truth"] and first[1]["truth"] == second[1]["truth"], "")):
                count += 1
                bad += not good
                print("%s %d - %s, %d CPU%s: %s" % ("ok" if good else "not ok", count, vendor, cpus, "s"[:cpus > 1], what))
                if not good:
                    print("\n".join("# " + line for line in more.splitlines()))
        print("1..%d" % count)
        return 1 if bad else 0
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
