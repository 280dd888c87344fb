#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: what pmc_count.h counts and calls an overflow is right for every stretch and every short history of small counters.

Compiles arch/x86/kvm/pmc_count.h as it is into tests/proof/exhaustive.c, and runs that.  Says a result for each property in
KTAP; exit status 1 if any does not hold.
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
        # A property that was hardly ever asked for proves nothing.
        details = [found[name]] if found[name] else []
        results.say(not details and cases[name] > 100000, "%s: %s" % (name, what), details + ["%d cases" % cases[name]])


if __name__ == "__main__":
    sys.exit(proof.run_test(body))
