#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: pmc_count.h is also right for every counter of 1 to 63 bits, any value, any counts up to
2^63, and any history.

Run cbmc (tests/proof/build) to prove tests/proof/model.c with arch/x86/kvm/pmc_count.h as it is.
Also check that the assumptions of the proof leave cases to prove, and that its range is the widest:
beyond it, properties break.  Print a result for each property in KTAP; exit status 1 if any does
not hold.
"""

import os
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, "tests/proof"))

import proof    # noqa: E402

# The reference of the proof, which models a counter that is incremented one by one.
REFERENCE = {
    "reference_start": "the reference begins where the counter does",
    "reference_step": "one more event is one step of a counter that is incremented one by one",
    "reference_order": "events of two kinds add up to the same in any order",
}
BEYOND = (
    ("64 bits", "-DWIDTH_MAX=64", "period_range"),
    ("2^63 + 1 events of perf", "-DCOUNT_MAX=((1ull << 63) + 1)", "perf_first"),
    ("2^63 + 1 emulated events", "-DCOUNT_MAX=((1ull << 63) + 1)", "emulated_after"),
)


def body(results):
    place = os.path.dirname(proof.HEADER)
    proved, reached = {}, {}
    for function in proof.MODELS:
        for name, case in proof.model(place, function).items():
            (reached if name.startswith("reachable ") else proved)[name] = case
    meanings = {**REFERENCE, **proof.properties()}
    for name, what in meanings.items():
        if name in proved:
            results.say(proved[name] is None, "%s: %s" % (name, what), [proved[name]] if proved[name] else [])
        else:
            results.say(False, "%s: %s" % (name, what), ["model.c does not check it"])
    for name, case in reached.items():
        results.say(case is not None, name + ": the assumptions leave cases to prove")
    results.say(len(reached) == 7, "all parts of the proof were reached", ["%d of 7" % len(reached)])
    for what, limit, name in BEYOND:
        case = proof.model(place, "prove_stretch", name, [limit]).get(name)
        results.say(case is not None, "%s is beyond the range: %s breaks" % (what, name), [case] if case else [])


if __name__ == "__main__":
    sys.exit(proof.run_test(body))
