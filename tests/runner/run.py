#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run tests on the machine; KTAP on standard output, progress on standard error.

Input: tests/list, the machine, and the kernels of the bases of the tests.  A test's title is
VENDOR/BASE/NAME, VENDOR/NAME for tests without an OS, NAME for tests of our tools.  Tests that need
the same machine share a boot.  The cheapest tests run first.

Tests in a configuration of the list's matrix are VENDOR/BASE+CONFIGURATION/NAME.  A share of these
runs besides the other tests; the commit chooses which.  With --tests alone, the matrix is only for
patterns that no other test matches, such as +NAME: these match in the whole matrix.  If the commit
chooses the share, it also chooses what of the other tests runs: the base of each boot of our own
kernels, one of Debian's kernels, one host that checks itself (BASE-debug) or none, and every second
test with "run: turns".

Each test has its own limit in seconds, which begins when the test before it has ended; the limit of
the first one includes the boot.  A test that reports nothing in that time is TIMEOUT.  A test whose
machine or guest goes down is ERROR, with the cause that the console shows.  The tests after it run
in a new boot.

Tests that took more than half of their limit are named at the end, because a computer half as fast
would end them.  Each failed test names its logs.  The last line is "N passed, N failed", with
", N skipped" if there are any.

Exit status: 0 all passed, 1 some failed, 2 wrong usage or something is missing (one line, and the
next command), 130 interrupted.
"""

import argparse
import os
import shlex
import signal
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../../scripts/lib")]

import boot                     # noqa: E402
import testlist                 # noqa: E402
import watch                    # noqa: E402
from choose import choose, in_order, plain_cases                            # noqa: E402
from kvmpmu import Failed, Parser, TOP, call, check_base, check_vendor      # noqa: E402
from report import Report, progress                                         # noqa: E402
from variants import kernel_paths                                           # noqa: E402

LIST = os.path.join(TOP, "tests/list")


def arguments():
    """Return the options, or raise Failed."""
    parser = Parser("tests/runner/run.py", __doc__)
    add = parser.add_argument
    add("--tests", metavar="PATTERN", action="append", default=[],
        help="run only these: a glob that matches a whole title or name, a plain part of a title, "
             "such as intel/6.1/guest/perf-stat, or @GROUP; several in one word, or several times")
    add("--vendor", metavar="VENDOR", default="all", help="intel, amd or all (default: all)")
    add("--base", metavar="BASE", default="all",
        help="a base, a variant such as 6.1-stock, or all (default: all)")
    add("--matrix", metavar="PART", default=os.environ.get("KVMPMU_MATRIX"),
        help="which part of the matrix: all, none, share, the number of a share or the name of a "
             "configuration (default: share, none with --tests; KVMPMU_MATRIX)")
    add("--jobs", metavar="N", type=int, default=min(2, os.cpu_count() or 1),
        help="run N machines at once (default: %(default)s)")
    add("--slow", metavar="FACTOR", type=float, default=1, help="stretch all limits (default: 1)")
    add("--show", action="store_true",
        help="print the titles in the order in which they would run, and run nothing")
    add("--names", action="store_true",
        help="print the names of tests with their groups, and run nothing")
    add("--selftests", action="store_true",
        help="print the names of the KVM selftests that would run, and run nothing")
    add("--list", metavar="FILE", default=LIST, help="take another list than tests/list")
    add("--logs", metavar="DIR",
        help="put all logs there, not in build/BASE/logs and build/machine/logs")
    add("--keep", action="store_true", help="keep each boot's CD image with its logs: boot.iso")
    add("--machine", metavar="COMMAND", default=shlex.join(watch.LAUNCHER),
        help="take another launcher than tools/machine/machine")
    add("--verbose", action="store_true", default=os.environ.get("V") == "1",
        help="show how each machine is started (or V=1)")
    options = parser.parse_args()
    check_vendor(options.vendor, "test")
    check_base(options.base, "test")
    options.tests = [word for pattern in options.tests for word in pattern.split()]
    if options.logs:
        options.logs = os.path.abspath(options.logs)
    return options


def print_names(listed, names):
    """Print the tests with these names and their groups, then all groups and configurations."""
    tests = [test for test in listed.tests if test["name"] in names]
    width = max([len(test["name"]) for test in tests] + [0])
    for test in tests:
        words = ["@" + name for name in test.get("groups", "").split()]
        words += ["(only by name)"] if test.get("run") == "named" else []
        print(("%-*s  %s" % (width, test["name"], " ".join(words))).rstrip())
    print("\nGroups, and their bases:")
    for name, group in listed.groups.items():
        print(("%-*s  %s" % (width, "@" + name, group.get("bases", ""))).rstrip())
    print("\nConfigurations: %s" % " ".join("+" + stanza["matrix"] for stanza in listed.matrix))


def run(options):
    """Do what the options say; return the exit status."""
    listed = testlist.read(options.list)
    cases, said = choose(listed, options)
    order = in_order(cases)
    if options.names or options.show or options.selftests:
        # The reader may stop early.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if options.names:
        some = options.tests or (options.base, options.vendor) != ("all", "all")
        print_names(listed, {case.name for case in cases} if some else
                    {test["name"] for test in listed.tests})
        return 0
    if options.selftests:
        for name in sorted({case.selftest for case in cases if case.selftest}):
            print(name)
        return 0
    if options.show:
        for case in (case for group in order for case in group):
            print(case.title)
        return 0
    for base, guest in sorted({(case.base, case.guest) for case in cases if case.base}):
        kernel_paths(base, guest)
    if said:
        more = "" if options.matrix == "all" else "; all: tests/runner/run.py --matrix all"
        progress(said + more)
    with watch.alone(options.logs or os.path.join(TOP, "build"), progress):
        report = Report(len(cases), said)
        boot.run_all(options, order, report)
    if report.near:
        progress("took more than half of the time that they had: %s"
                 % ", ".join("%s %s" % item for item in sorted(report.near.items())))
    kept = False
    if not options.logs and os.path.samefile(options.list, LIST):
        everything = argparse.Namespace(vendor="all", base="all", tests=[])
        report.keep(case.title for case in plain_cases(listed, everything))
        kept = report.keep_logs(fresh=not options.tests)
    if report.failed:
        progress("failed: %s%s\nnext: make test TESTS='%s'"
                 % (" ".join(report.failed), "; their logs are kept in build/failed" * kept,
                    next(iter(report.failed))))
    print(report.last_line(), flush=True)
    return 1 if report.failed else 0


def bail_out(options):
    """Do what the options say; report in KTAP if that ends early."""
    try:
        return run(options)
    except Failed as failed:
        if boot.stopping.is_set():
            print("Bail out! %s" % str(failed).splitlines()[0], flush=True)
        raise
    except KeyboardInterrupt:
        print("Bail out! interrupted", flush=True)
        raise


if __name__ == "__main__":
    sys.exit(call("run", lambda: bail_out(arguments()), "make test"))
