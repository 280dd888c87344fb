#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: the checkers find each wrong version of pmc_count.h, by the property that it breaks.

Make every mutant of tests/proof/mutants from arch/x86/kvm/pmc_count.h, and check it with
tests/proof/exhaustive.c and, by cbmc, with tests/proof/model.c.  Also check that each property has
a mutant that breaks it, and that the header as it is passes in the same way.

proof-mutants.py NAME... runs only these mutants.  Print a result for each mutant in KTAP; exit
status 1 if any survives.
"""

import os
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, "tests/proof"))

import proof    # noqa: E402

LIST = "tests/proof/mutants"
CHECKERS = ("exhaustive", "model")


def stanzas():
    with open(os.path.join(TOP, LIST)) as text:
        parts = "".join(line for line in text if not line.startswith("#")).split("\n\n")
    found = [dict(line.split(": ", 1) for line in part.splitlines() if line) for part in parts]
    found = [stanza for stanza in found if stanza]
    for stanza in found:
        missing = {"name", "was", "is", "breaks"} - set(stanza)
        unknown = set(stanza) - {"name", "was", "is", "breaks", "by"}
        if missing or unknown or stanza.get("by", "model") not in CHECKERS or stanza["breaks"] not in proof.properties():
            raise proof.Failed("%s: a bad stanza: %s" % (LIST, stanza), "sed -n 1,9p " + LIST)
    return found


def ask(place, aside, checker, name):
    """Return the case in which NAME breaks, or None, and a text about others that break."""
    if checker == "exhaustive":
        found, _ = proof.exhaustive(place, aside)
        also = [other for other, case in found.items() if case and other != name]
        return found[name], "; also " + " ".join(also) if also else ""
    function = "prove_history" if name.startswith("history_") else "prove_stretch"
    return proof.model(place, function, name)[name], ""


def body(results):
    listed = stanzas()
    wanted = sys.argv[1:] or [stanza["name"] for stanza in listed]
    with tempfile.TemporaryDirectory(prefix="proof.") as aside:
        place = os.path.join(aside, "header")
        header = proof.copy_of_header(place)
        with open(header) as text:
            right = text.read()
        found, _ = proof.exhaustive(place, aside)
        results.say(not any(found.values()), "the header as it is passes",
                    ["%s: %s" % pair for pair in found.items() if pair[1]])
        for stanza in listed:
            if stanza["name"] not in wanted:
                continue
            what = "%s breaks %s" % (stanza["name"], stanza["breaks"])
            if right.count(stanza["was"]) != 1:
                results.say(False, what, ["pmc_count.h has this %d times: %s" % (right.count(stanza["was"]), stanza["was"]),
                                          "next: edit " + LIST])
                continue
            with open(header, "w") as text:
                text.write(right.replace(stanza["was"], stanza["is"]))
            details, caught = [], True
            for checker in (stanza["by"],) if "by" in stanza else CHECKERS:
                case, also = ask(place, aside, checker, stanza["breaks"])
                details.append("%s: %s%s" % (checker, case or "survives", also))
                caught = caught and case is not None
            results.say(caught, what, details)
    broken = {stanza["breaks"] for stanza in listed}
    idle = [name for name in proof.properties() if name not in broken]
    results.say(not idle, "every property can be broken", ["no mutant breaks %s" % name for name in idle])


if __name__ == "__main__":
    sys.exit(proof.run_test(body))
