# SPDX-License-Identifier: GPL-2.0
"""Run the two checkers on a copy of pmc_count.h: what the tests of the proof share.

A header is named by its directory.  Both checkers return a dictionary from the name of each
property to None if it holds, or to a line with the case in which it does not.
"""

import collections
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/lib"))

from ktap import Results            # noqa: E402
from kvmpmu import Failed, TOP      # noqa: E402

PROOF = os.path.join(TOP, "tests/proof")
HEADER = os.path.join(TOP, "arch/x86/kvm/pmc_count.h")
CBMC = os.path.join(TOP, "build/proof/bin/cbmc")
MODELS = ("prove_reference", "prove_stretch", "prove_history")


def run_test(body):
    """Run a test's BODY(results), and return its exit status."""
    results = Results()
    try:
        body(results)
    except Failed as failed:
        results.say(False, str(failed), ["next: " + failed.following])
    return results.done()


def properties():
    """Return the properties: name to meaning, in the order of the headers."""
    found = collections.OrderedDict()
    for name in ("properties.h", "history.h"):
        with open(os.path.join(PROOF, name)) as text:
            found.update(re.findall(r'^\tPROPERTY\((\w+), "(.*)"\)', text.read(), re.M))
    return found


def include(place):
    return ["-I", os.path.join(PROOF, "include"), "-I", place]


def exhaustive(place, aside):
    """Check all properties for small counters; build the program in the directory ASIDE."""
    program = os.path.join(aside, "exhaustive")
    # A mutant may leave something unused.
    warnings = ["-Wall", "-Wextra", "-Werror"] if place == os.path.dirname(HEADER) else []
    built = subprocess.run(["gcc", "-std=gnu11", "-O2", *warnings, *include(place),
                            os.path.join(PROOF, "exhaustive.c"), "-o", program],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if built.returncode:
        errors = [line for line in built.stdout.splitlines() if "error: " in line]
        raise Failed("exhaustive.c does not compile: " + (errors or ["?"])[0], "tests/tool/proof-exhaustive.py")
    ran = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=False)
    found, cases = {}, {}
    for line in ran.stdout.splitlines():
        result = re.match(r"(not )?ok \d+ - (\w+): .* \((\d+) cases\)$", line)
        if result:
            last = result[2]
            found[last] = "?" if result[1] else None
            cases[last] = int(result[3])
        elif line.startswith("# "):
            found[last] = line[2:]
    if set(found) != set(properties()) or ran.returncode != any(found.values()):
        raise Failed("exhaustive ended with status %d and %d results" % (ran.returncode, len(found)),
                     "tests/tool/proof-exhaustive.py")
    return found, cases


def cbmc(arguments):
    if not os.access(CBMC, os.X_OK):
        raise Failed("there is no model checker", "tests/proof/build")
    ran = subprocess.run([CBMC, "--z3", "--no-standard-checks", "--json-ui", *arguments],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    try:
        said = json.loads(ran.stdout)
    except ValueError:
        said = []
    # 10: something does not hold.
    if ran.returncode not in (0, 10) or not said:
        words = [part["messageText"] for part in said if part.get("messageType") == "ERROR"]
        raise Failed("cbmc ended with status %d: %s" % (ran.returncode, (words + ran.stderr.splitlines() + ["?"])[0]),
                     "tests/tool/proof-model.py")
    return said


def part_of(said, key):
    for part in said:
        if key in part:
            return part[key]
    raise Failed("cbmc has given no %s" % key, "tests/tool/proof-model.py")


def counterexample(said, function):
    """The last values of the parts of an interval or a history, from a trace."""
    wanted = r"n|[cs]\.\w+" if function == "prove_history" else r"s\.\w+"
    values = collections.OrderedDict()
    for result in part_of(said, "result"):
        for step in result.get("trace", ()):
            name = step.get("lhs", "")
            if step.get("stepType") == "assignment" and re.fullmatch(wanted, name):
                values[name] = str(step["value"].get("data", "?")).rstrip("ul")
    return ", ".join("%s=%s" % pair for pair in values.items()) or "?"


def model(place, function, only=None, limits=()):
    """Check the properties of one function of model.c, or ONLY one, for any counter in a range.

    LIMITS: options for another range.
    """
    arguments = [*include(place), *limits, "--function", function, os.path.join(PROOF, "model.c")]
    ids = collections.defaultdict(list)
    for entry in part_of(cbmc([*arguments, "--show-properties"]), "properties"):
        # Ask a function only for what it or a function that it calls checks.
        if entry["name"].startswith((function + ".", "check_state." if function == "prove_history" else function + ".")):
            ids[entry["description"]].append(entry["name"])
    chosen = [name for what, names in ids.items() for name in names if only in (None, what)]
    if not chosen:
        return {}
    names = {name: what for what, all_of in ids.items() for name in all_of}
    select = [word for name in chosen for word in ("--property", name)]
    found = {}
    for result in part_of(cbmc([*arguments, *select]), "result"):
        what = names[result["property"]]
        found.setdefault(what, None)
        if result["status"] != "SUCCESS":
            found[what] = "%s (%s)" % (result["status"].lower(), result["property"])
            if result["status"] == "FAILURE" and not what.startswith("reachable"):
                trace = cbmc([*arguments, "--property", result["property"], "--trace"])
                found[what] = counterexample(trace, function)
    return found


def copy_of_header(place):
    """Make a new directory with a copy of the header."""
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    shutil.copy(HEADER, place)
    return os.path.join(place, os.path.basename(HEADER))
