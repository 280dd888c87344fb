#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: pmc_count.h counts correctly and reports exactly the overflows, for every interval and
every short history of small counters.

Compile arch/x86/kvm/pmc_count.h as it is into tests/proof/exhaustive.c, and run that.  Print a
result for each property in KTAP; exit status 1 if any does not hold.
"""

import os
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, "tests/proof"))

import proof    # noqa: E402


def body(results):
    with tempfile.TemporaryDirectory(prefix="proof.") as aside:
        found, cases = proof.exhaustive(os.path.dirname(proof.HEADER), aside)
    for name, what in proof.properties().items():
        # A property that was checked in few cases proves nothing.
        details = [found[name]] if found[name] else []
        results.say(not details and cases[name] > 100000, "%s: %s" % (name, what), details + ["%d cases" % cases[name]])


if __name__ == "__main__":
    sys.exit(proof.run_test(body))
