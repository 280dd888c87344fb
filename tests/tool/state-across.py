#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: the state of a guest's PMU goes from each base to each other one, and from either kind of vPMU to the other.

Has tests/vm/state-across.c save a state on each host, and then gives all these states to each host.  Says the results of all
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
sys.path[:0] = [os.path.join(TOP, "tests/runner"), os.path.join(TOP, "scripts/lib")]

import testlist                         # noqa: E402
from kvmpmu import has_mediated, known_bases    # noqa: E402
from variants import MEDIATED           # noqa: E402

HOSTS = [base + kind for base in known_bases() for kind in ("",) + (MEDIATED,) * has_mediated(base)]
# With as many counters for either kind of vPMU; with one more for a mediated one; with a status and a global control.
CPUS = (("intel", "skylake_sp", ""), ("intel", "sapphire_rapids", ""), ("amd", "zen4", "VM_PERFMON_V2=1"))

SOURCE = "tests/vm/state-across.c"
MADE = "build/state-across"


def taking(model, states):
    """The test that takes these states, a file of its own."""
    path = "%s/%s.c" % (MADE, model)
    with open(os.path.join(TOP, SOURCE)) as source, open(os.path.join(TOP, path), "w") as out:
        out.write("#define STATE \"%s\"\n%s" % ("/".join(states), source.read()))
    return path


def run(logs, tests):
    """{(model, host): lines of the test}, by one run of the runner."""
    path = os.path.join(logs, "list")
    with open(path, "w") as out:
        out.writelines(testlist.text(test) for test in tests)
    done = subprocess.run([os.path.join(TOP, "tests/runner/run.py"), "--list", path, "--logs", logs], stdout=subprocess.PIPE,
                          stderr=sys.stderr, text=True, check=False)
    found, lines = {}, []
    for line in done.stdout.splitlines():
        title = re.match(r" *# Subtest: \w+/([^/]+)/vm/state-\w+-(\w+)$", line)
        end = re.match(r"(ok|not ok) \d+ - \w+/([^/]+)/vm/state-\w+-(\w+)(.*)$", line)
        if title:
            lines = []
        elif end:
            found[end.group(3), end.group(2)] = lines + ([line.strip()] if end.group(1) != "ok" else [])
            lines = []
        else:
            lines.append(line.strip())
    return found


def test(vendor, model, env):
    return {"bases": " ".join(HOSTS), "vendors": vendor, "model": model, **({"env": env} if env else {})}


def main():
    results = []

    def check(good, what):
        results.append(good)
        print("%s %d - %s" % ("ok" if good else "not ok", len(results), what))

    logs = tempfile.mkdtemp(prefix="state.")
    try:
        saved = run(logs, [{"name": "vm/state-save-" + cpu[1], "file": SOURCE, **test(*cpu)} for cpu in CPUS])
        states = {}
        for where, lines in sorted(saved.items()):
            pairs = [found.group(1) for found in (re.match(r"# state ([0-9a-f]+=[0-9a-f]+)$", line) for line in lines) if found]
            states[where] = "%s,%s" % (where[1], ",".join(pairs))
            bad = [line for line in lines if line.startswith("not ok")]
            check(len(pairs) >= 12 and not bad, "%s, %s: saves %d registers" % (*where, len(pairs)))
            print("".join("# %s\n" % line for line in bad), end="")
        check(len(saved) == len(CPUS) * len(HOSTS), "all hosts save: %d of %d" % (len(saved), len(CPUS) * len(HOSTS)))
        os.makedirs(os.path.join(TOP, MADE), exist_ok=True)
        taken = run(logs, [{"name": "vm/state-take-" + cpu[1],
                            "file": taking(cpu[1], [state for where, state in sorted(states.items()) if where[0] == cpu[1]]),
                            **test(*cpu)}
                           for cpu in CPUS])
        check(len(taken) == len(CPUS) * len(HOSTS), "all hosts take: %d of %d" % (len(taken), len(CPUS) * len(HOSTS)))
        for (model, to), lines in sorted(taken.items()):
            for host in HOSTS:
                own = [line for line in lines if re.match(r"(not )?ok \d+ - from %s:" % re.escape(host), line)]
                bad = [line for line in own if line.startswith("not ok")]
                bad += [line for line in lines if bad and line.startswith("# from %s: MSR" % host)]
                # A state that is refused has the results about that only.
                least = 4 if model == "sapphire_rapids" and host.endswith(MEDIATED) and not to.endswith(MEDIATED) else 15
                check(len(own) >= least and not bad, "%s, %s to %s: %d results" % (model, host, to, len(own)))
                print("".join("# %s\n" % line for line in (bad or [] if own else lines)), end="")
            odd = [line for line in lines if line.startswith("not ok") and " - from " not in line]
            check(not odd, "%s, %s: nothing else is wrong" % (model, to))
            print("".join("# %s\n" % line for line in odd), end="")
    finally:
        shutil.rmtree(logs, ignore_errors=True)
    print("1..%d" % len(results))
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
