#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: whatever its machine does, the runner ends in time, with a verdict for each test or with
one line and the next command.

Run tests/runner/run.py on a list of two tests and a program that plays a machine and misbehaves in
its first boot.  Then run a configuration of a matrix, which must affect the machine and its CD
image.  Print results in KTAP; exit status 1 if any is bad.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "tests/runner"), os.path.join(TOP, "scripts/lib")]

from choose import SHARES           # noqa: E402
from kvmpmu import built_bases      # noqa: E402
from ktap import Results            # noqa: E402

RUN = os.path.join(TOP, "tests/runner/run.py")

# The first argument names what it does in its first boot; in later ones it runs the second test.
MACHINE = r'''#!/usr/bin/env python3
import os, signal, sys, time
mode = sys.argv[1]
verdict = open(sys.argv[sys.argv.index("--verdict") + 1], "w")
def say(text):
    verdict.write(text)
    verdict.flush()
print(os.getpid(), file=open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "pids"), "a"))
def test(name):
    say("begin %s\nok 1 - fine\n1..1\nend %s 0\n" % (name, name))
if not os.path.dirname(verdict.name).endswith("-1"):
    say("boot host\n")
    test("host/second")
    say("done\n")
    sys.exit(0)
if mode in ("works", "slow"):
    say("boot host\n")
    time.sleep(1.4 * (mode == "slow"))
    test("host/first")
    test("host/second")
    say("done\n")
    sys.exit(0)
if mode == "nostart":
    print("machine: the machine is not built", file=sys.stderr)
    sys.exit(125)
if mode == "stops":
    say("boot host\nbegin host/first\n")
    sys.exit(126)
if mode == "resists":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode != "sleeps":
    say("boot host\nbegin host/first\nok 1 - as ye")
time.sleep(1000)
'''
LIST = """name: host/first
file: tests/rootfs/mark.c
limit: 2

name: host/second
file: tests/rootfs/mark.c
limit: 2
"""

MATRIX = """
matrix: wide
levels: host
bases: *
perfmon: version=5, fixed=4
kargs: nmi_watchdog=1 quiet
env: COLOUR=red
"""

results_so_far = Results()
check = results_so_far.check


def base():
    """Return the base of the tests: any one whose kernel is built."""
    return built_bases()[0]


def alive(place):
    with open(os.path.join(place, "pids")) as pids:
        return [pid for pid in pids.read().split() if os.path.exists("/proc/%s" % pid)]


def command(place, mode, *more):
    machine = "%s %s" % (os.path.join(place, "machine"), mode)
    return [RUN, "--list", os.path.join(place, "list"), "--logs", os.path.join(place, "logs"), "--machine", machine,
            "--vendor", "intel", "--base", base()] + list(more)


def run(place, mode, *more):
    began = time.monotonic()
    done = subprocess.run(command(place, mode, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout, done.stderr, time.monotonic() - began


def results(text):
    """Return the result lines, without the directories of logs."""
    return [re.sub(r" \(log: .*\)$", "", line) for line in text.splitlines() if re.match(r"(not )?ok ", line)]


def main():
    if not built_bases():
        print("1..0 # SKIP no kernel is built")
        return 0
    place = tempfile.mkdtemp(prefix="runner.")
    try:
        with open(os.path.join(place, "machine"), "w") as out:
            out.write(MACHINE)
        os.chmod(os.path.join(place, "machine"), 0o755)
        with open(os.path.join(place, "list"), "w") as out:
            out.write(LIST)
        first, second = ("intel/%s/host/%s" % (base(), name) for name in ("first", "second"))
        for mode, verdicts, last in (
                ("works", ["ok 1 - " + first, "ok 2 - " + second], "2 passed, 0 failed"),
                ("hangs", ["not ok 1 - %s # TIMEOUT" % first, "ok 2 - " + second], "1 passed, 1 failed"),
                ("resists", ["not ok 1 - %s # TIMEOUT" % first, "ok 2 - " + second], "1 passed, 1 failed"),
                ("stops", ["not ok 1 - %s # ERROR the machine stopped" % first, "ok 2 - " + second], "1 passed, 1 failed"),
                ("sleeps", ["not ok 1 - %s # TIMEOUT the machine does not come up" % first,
                           "not ok 2 - %s # TIMEOUT the machine does not come up" % second], "0 passed, 2 failed")):
            status, out, err, took = run(place, mode)
            check(results(out) == verdicts, "a machine that %s: verdicts" % mode, out, err)
            check(out.splitlines()[-1:] == [last] and status == (last != "2 passed, 0 failed"),
                  "a machine that %s: last line and exit status" % mode, out, status)
            check(took < 40 and not alive(place), "a machine that %s: in time, and it is gone" % mode, took, alive(place))
            named = [line for line in out.splitlines() if "# TIMEOUT" in line or "# ERROR" in line]
            check(all(os.path.isdir(re.search(r"\(log: (.*)\)$", line).group(1)) for line in named),
                  "a machine that %s: logs are named and there" % mode, out)
        status, out, err, _ = run(place, "slow")
        near = re.search(r"^took more than half .*: (\S+) [12] of 2 s$", err, re.M)
        check(not status and near and near.group(1) == first, "a test that needs most of its limit is named at the end", out, err)
        check("more than half" not in run(place, "works")[2], "one that does not is not")
        status, out, err, _ = run(place, "nostart")
        check(status == 2 and "not built" in err and err.splitlines()[-1].startswith("next: "),
              "a machine that does not start: one line and the next command", status, err)

        with open(os.path.join(place, "list"), "a") as out:
            out.write(MATRIX)
        wide = [title.replace("/host/", "+wide/host/") for title in (first, second)]
        status, out, err, _ = run(place, "works", "--matrix", "wide", "--jobs", "1", "--keep", "--verbose")
        check(not status and results(out) == ["ok %d - %s" % pair for pair in enumerate([first, second] + wide, 1)],
              "a configuration of the matrix: its tests run too, after the others", out, err)
        check(out.splitlines()[2] == "# matrix: wide, 2 of 2 tests" and "matrix: wide, 2 of 2 tests; all: " in err,
              "a configuration of the matrix: both outputs name the part of it that runs", out, err)
        machines = re.findall(r"(--perfmon \S+)? --verdict (\S+)/verdict", err)
        check([perfmon for perfmon, _ in machines] == ["", "--perfmon version=5,fixed=4"], "its machine", err)
        for (_, logs), wanted in zip(machines, (False, True)):
            with open(os.path.join(logs, "boot.iso"), "rb") as image:
                content = image.read()
            # The last one takes effect, and the runner's own nmi_watchdog=0 comes first.
            kargs = re.search(rb" APPEND (.*)", content).group(1).split()
            check(b"export COLOUR='red'\n" in content and kargs[-2:] == [b"nmi_watchdog=1", b"quiet"] if wanted else
                  b"COLOUR" not in content and b"nmi_watchdog=1" not in kargs,
                  "%s environment and kernel's arguments" % ("its" if wanted else "not the others'"), kargs)
        status, out, err, _ = run(place, "works", "--matrix", "none")
        check(results(out) == ["ok 1 - " + first, "ok 2 - " + second] and out.splitlines()[2] == "# matrix: none, 0 of 2 tests",
              "none of the matrix: the output says so", out, err)
        status, out, err, _ = run(place, "works")
        named = re.search(r"^# matrix: share (\d+) of (\d+) \((?:commit ([0-9a-f]{12})|no commit)\), [02] of 2 tests$", out, re.M)
        head = subprocess.run(["git", "-C", TOP, "rev-parse", "-q", "--verify", "HEAD"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
        check(not status and named is not None and int(named[2]) == SHARES and (named[3] or "") == head[:12]
              and int(named[1]) == int(head or "0", 16) % SHARES + 1,
              "a share of the matrix: the output says which", out, err)

        with open(os.path.join(place, "list"), "w") as out:
            out.write(LIST)
        for what, more in (("test", ["--tests", "nonsense"]), ("vendor", ["--vendor", "via"]), ("base", ["--base", "2.4"]),
                           ("option", ["--colour"])):
            status, out, err, _ = run(place, "works", *more)
            lines = err.splitlines()
            check(status == 2 and len(lines) == 2 and lines[1].startswith("next: ") and not results(out),
                  "an unknown %s: one line and the next command" % what, status, out, err)
        with open(os.path.join(place, "list"), "a") as out:
            out.write("\nname: host/third\nlevel: guest\nfile: tests/rootfs/mark.c\n")
        status, out, err, _ = run(place, "works")
        check(status == 2 and re.search(r"list:10: .*\nnext: edit ", err) is not None, "a wrong stanza: its line", err)

        with open(os.path.join(place, "list"), "w") as out:
            out.write(LIST.replace("limit: 2", "limit: 100"))
        # A process that a shell starts in the background ignores the signal, and so do its
        # children.
        process = subprocess.Popen(command(place, "hangs"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   start_new_session=True,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        verdict = os.path.join(place, "logs", base(), "intel-1", "verdict")
        os.path.exists(verdict) and os.unlink(verdict)
        until = time.monotonic() + 30
        while time.monotonic() < until and not (os.path.exists(verdict) and os.path.getsize(verdict)):
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        check(process.returncode == 130 and out.splitlines()[-1].startswith("Bail out!") and
              err.splitlines()[-1].startswith("next: "),
              "Ctrl-C: the output says so", process.returncode, out, err)
        check(not alive(place), "Ctrl-C: no machine is left", alive(place))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return results_so_far.done()


if __name__ == "__main__":
    sys.exit(main())
