#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run tests on the machine; KTAP on stdout, progress on stderr.

run [--tests PATTERN]... [--vendor intel|amd|all] [--base BASE|all] [--matrix all|none|share|K|NAME] [--jobs N] [--slow FACTOR]
    [--show]

Takes tests/list (or --list FILE), the machine, and the kernels of the bases that the tests want.  A PATTERN is a glob or a
plain part of a test's title, such as intel/6.1/guest/perf-stat; a title is VENDOR/BASE/NAME, VENDOR/NAME for tests without
an OS, NAME for tests of our tools.  Tests that want the same machine share a boot; --jobs machines run at once, what is
cheapest first.  --show prints the titles in that order, and runs nothing.

Tests in a configuration of the list's matrix are VENDOR/BASE+CONFIGURATION/NAME.  Beside the other tests runs a share of them,
which the commit chooses; --matrix, or else KVMPMU_MATRIX, takes all, none, the K-th share or one configuration instead.  With
--tests alone, the matrix is left to patterns that no other test matches, as +NAME: what these match runs whatever the share.
Where the commit chooses, it does so among the hosts that watch themselves (BASE-debug), too: their kernels take minutes.

Each test has its own limit in seconds, which begins when the one before it has ended; the first one's limit holds the boot.
A test that is not heard of in that time is TIMEOUT, one whose machine or guest went down is ERROR with what the console
shows as cause, and the tests behind it go on in a new boot.  --slow stretches all limits.

Logs: build/BASE/logs/..., build/machine/logs/..., named by each failed test.  --logs DIR puts them all there.
The last line is "N passed, N failed", with ", N skipped" if any were.

Exit status: 0 all passed, 1 some failed, 2 wrong usage or something is missing (one line, and the next command), 130 interrupted.
"""

import argparse
import collections
import concurrent.futures
import fnmatch
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "scripts/lib"))

import iso                      # noqa: E402
import judge                    # noqa: E402
import programs                 # noqa: E402
import variants                 # noqa: E402
import watch                    # noqa: E402
from watch import launcher      # noqa: E402
from kvmpmu import Failed, VENDORS, after, check_base, check_vendor, commit, known_bases   # noqa: E402

LEVELS = ("tool", "bare", "host", "vm", "guest")
SETTINGS = ("model", "perfmon", "kargs", "kvm", "env")
KEYS = {"name", "level", "file", "vendors", "bases", "cpus", "limit", "memory", "vcpus", "ips", "selftest", "run"} | set(SETTINGS)
MATRIX_KEYS = {"matrix", "vendors", "levels", "bases", "except"} | set(SETTINGS)
MATRIX_LEVELS = ("host", "vm", "guest")
SHARES = 8          # the whole matrix takes some 20 minutes on two cores, and a run should not take much longer for its share
ENDING = 20         # seconds for a machine to go off when everything has been said
QUICK = 180         # a tool's test with a limit above that takes minutes

stopping = threading.Event()
speaking = threading.Lock()


def progress(text):
    with speaking:
        print(text, file=sys.stderr, flush=True)


def puts_together(stanza):
    """Does it say by perfmon what the CPU is, which a model has of its own?"""
    return bool(set(re.findall(r"(\w+)=", stanza.get("perfmon", ""))) - set(launcher.NOT_ITS_OWN))


def default_model(stanza, vendor):
    """The CPU of a test that boots an OS and does not say what CPU it wants, or put one together."""
    if stanza["level"] in ("bare", "tool") or puts_together(stanza):
        return ""
    return launcher.DEFAULT_CPU[vendor]


class Case:
    """A test on one vendor and base, in a configuration of the matrix or as its stanza has it."""

    def __init__(self, stanza, vendor, base, configuration=""):
        self.stanza, self.configuration = stanza, configuration
        self.name, self.level, self.file = stanza["name"], stanza["level"], stanza["file"]
        self.vendor, self.base = vendor, base
        self.limit = float(stanza.get("limit", 60))
        self.cpus = int(stanza.get("cpus", 1))
        self.model = stanza.get("model", "") or default_model(stanza, vendor)
        self.perfmon, self.kargs = re.sub(r",\s*", ",", stanza.get("perfmon", "")), stanza.get("kargs", "")
        self.kvm, self.memory = stanza.get("kvm", ""), int(stanza.get("memory", 1024))
        self.env = stanza.get("env", "")
        self.vcpus, self.ips = int(stanza.get("vcpus", 1)), int(stanza.get("ips", 0))
        self.selftest = stanza.get("selftest", "")
        if "debug" in base:
            # What watches everything needs more of everything.
            self.limit, self.memory = 5 * self.limit, 2 * self.memory
        self.title = "/".join(part for part in (vendor, base + "+" * bool(configuration) + configuration, self.name) if part)

    def setup(self):
        """Cases with equal setups share a boot."""
        if self.level == "tool":
            return (self.level, self.name)
        if self.level == "bare":
            return (self.level, self.name, self.vendor)
        return ("boot", self.vendor, self.base, self.configuration, self.cpus, self.model, self.perfmon, self.kargs, self.kvm,
                self.env, self.memory, self.vcpus, self.ips)

    def share(self):
        """The share of the matrix, from 1, that a case is in, whatever else is in the list.

        Tests of a vm on one CPU are many and their boot is quick: they are dealt out, so that each share has some of every
        configuration.  Where it is the boot that takes the time, those that share it stay together."""
        dealt = self.level == "vm" and self.cpus == 1
        return zlib.crc32(self.title.encode() if dealt else repr(self.setup()).encode()) % SHARES + 1


def read_list(path):
    """The stanzas of a list of tests, and those of its matrix, as dictionaries."""
    def wrong(number, what):
        raise Failed("%s:%d: %s" % (os.path.relpath(path), number, what), "edit %s" % os.path.relpath(path))

    def check_test():
        for key in ("name", "level", "file"):
            if key not in stanza:
                wrong(begun, "stanza without '%s:'" % key)
        if any(stanza["name"] == other["name"] for other in stanzas):
            wrong(begun, "'%s' is there twice" % stanza["name"])
        if stanza["level"] not in LEVELS or not stanza["name"].startswith(stanza["level"] + "/"):
            wrong(begun, "level and name do not agree: '%s', '%s'" % (stanza["level"], stanza["name"]))
        if not re.fullmatch(r"[\w./-]+", stanza["name"]):
            wrong(begun, "'%s' is no name for a test" % stanza["name"])
        if not os.path.exists(os.path.join(TOP, stanza["file"])):
            wrong(begun, "no such file: %s" % stanza["file"])

    def check_configuration():
        for key in ("levels", "bases"):
            if key not in stanza:
                wrong(begun, "stanza without '%s:'" % key)
        if not re.fullmatch(r"[A-Za-z][\w.-]*", stanza["matrix"]) or stanza["matrix"] in ("all", "none", "share"):
            wrong(begun, "'%s' is no name for a configuration" % stanza["matrix"])
        if any(stanza["matrix"] == other["matrix"] for other in matrix):
            wrong(begun, "'%s' is there twice" % stanza["matrix"])
        if not any(stanza.get(key) for key in SETTINGS):
            wrong(begun, "a configuration like all others: none of %s" % " ".join(SETTINGS))
        unknown = set(stanza.get("except", "").split()) - {other["name"] for other in stanzas}
        if unknown:
            wrong(begun, "no such test before it: %s" % " ".join(sorted(unknown)))

    stanzas, matrix, stanza, begun = [], [], {}, 0
    try:
        with open(path) as lines:
            text = lines.read().splitlines()
    except OSError as error:
        raise Failed("no list of tests: %s: %s" % (path, error.strerror), "git checkout tests/list") from None
    for number, line in enumerate(text + [""], 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if "matrix" in stanza:
                check_configuration()
                matrix.append(stanza)
            elif stanza:
                check_test()
                stanzas.append(stanza)
            stanza = {}
            continue
        key, colon, value = line.partition(":")
        if key == "except" and key in stanza:
            # One line a reason.
            value = stanza.pop(key) + " " + value
        if not colon or key not in (MATRIX_KEYS if {"matrix"} & {key, *stanza} else KEYS) or key in stanza:
            wrong(number, "not understood: %s" % line)
        if key == "limit" and not re.fullmatch(r"\d+(\.\d+)?", value.strip()) or \
           key == "memory" and not value.strip().isdigit() or \
           key == "run" and value.strip() != "named" or \
           key in ("cpus", "vcpus") and value.strip() not in ("1", "2") or \
           key == "vendors" and not set(value.split()) <= set(VENDORS) or \
           key == "model" and value.strip() not in launcher.CPUS or \
           key == "levels" and not set(value.split()) <= set(MATRIX_LEVELS) or \
           key == "env" and not all(re.fullmatch(r"[A-Za-z_]\w*=[\w.,/=-]*", word) for word in value.split()):
            wrong(number, "not a value for %s: %s" % (key, value.strip()))
        begun = begun if stanza else number
        stanza[key] = value.strip()
    return stanzas, matrix


def configured(case, configuration):
    """The same test in a configuration of the matrix, or None where that is not for it.

    Not for it is also one that sets what the test's own stanza sets to something else, and one that is its stanza's already."""
    if case.vendor not in configuration.get("vendors", " ".join(VENDORS)).split() \
            or case.level not in configuration["levels"].split() \
            or not any(fnmatch.fnmatchcase(case.base, pattern) for pattern in configuration["bases"].split()) \
            or case.name in configuration.get("except", "").split():
        return None
    stanza, same = dict(case.stanza), True
    # A test has its CPU by its model, or puts it together.
    model = configuration.get("model")
    if model and (launcher.CPUS[model][0] != case.vendor or puts_together(stanza) or stanza.get("model", model) != model):
        return None
    if stanza.get("model") and puts_together(configuration):
        return None
    for key in SETTINGS:
        between = r"[,\s]+" if key == "perfmon" else r"\s+"
        own, more = (re.split(between, where.get(key, "").strip(), flags=re.A) for where in (stanza, configuration))
        has = dict(word.partition("=")[::2] for word in own)
        for word in more:
            name, _, value = word.partition("=")
            if has.get(name, value) != value:
                return None
            if word and name not in has:
                own, same = own + [word], False
        stanza[key] = (", " if key == "perfmon" else " ").join(word for word in own if word)
    return None if same else Case(stanza, case.vendor, case.base, configuration["matrix"])


def matrix_part(whole, names, wanted):
    """What of the matrix runs beside the other tests, and in words which part that is."""
    if wanted in ("all", "none"):
        return (whole if wanted == "all" else []), wanted
    if wanted in names:
        return [case for case in whole if case.configuration == wanted], wanted
    if wanted == "share":
        head = commit()
        share, why = int(head or "0", 16) % SHARES + 1, "commit %s" % head[:12] if head else "no commit"
    elif wanted.isdigit() and 1 <= int(wanted) <= SHARES:
        share, why = int(wanted), "as asked"
    else:
        raise Failed("unknown configuration '%s', there are: all none share 1...%d %s" % (wanted, SHARES, " ".join(names)),
                     "tests/runner/run.py --matrix all --show")
    return [case for case in whole if case.share() == share], "share %d of %d (%s)" % (share, SHARES, why)


def watched_part(cases, wanted):
    """What is not of a host that watches itself, or of the one whose turn it is, and in words which that is.

    Only where the commit chooses: it goes on to the next turn when all shares of the matrix have had theirs.  Half of the turns
    have none, for each takes a kernel of its own."""
    hosts = sorted({re.sub("(-debug).*", r"\1", case.base) for case in cases if "-debug" in case.base})
    if wanted != "share" or len(hosts) < 2:
        return cases, ""
    number = int(commit() or "0", 16) // SHARES % (2 * len(hosts))
    turn = hosts[number // 2] if number % 2 else "none"
    return [case for case in cases if "-debug" not in case.base or case.base.startswith(turn)], "%s of %s" % (turn, " ".join(hosts))


def plain_cases(stanzas, options):
    """Each test as its stanza has it, where vendor and base were chosen."""
    bases = known_bases()
    cases = []

    def named(stanza):
        """What has to be asked for by its whole name, has it been?"""
        return stanza.get("run") != "named" or any(stanza["name"] in pattern for pattern in options.tests)

    for stanza in stanzas:
        if stanza["level"] == "tool":
            if not named(stanza):
                continue
            cases.append(Case(stanza, "", ""))
            continue
        for vendor in stanza.get("vendors", " ".join(VENDORS)).split():
            if options.vendor not in ("all", vendor):
                continue
            if stanza["level"] == "bare":
                cases.append(Case(stanza, vendor, ""))
                continue
            wanted = stanza.get("bases", " ".join(bases)).split()
            if not named(stanza) and options.base not in wanted:
                continue
            base, mediated = options.base.partition("-")[0], options.base.endswith(variants.MEDIATED)
            if options.base not in wanted and {base, base + variants.MEDIATED * mediated} & set(wanted):
                # A variant that was asked for by name gets every test of its base, and of what else it is.
                wanted = [options.base]
            for base in wanted:
                if options.base in ("all", base, base.partition("-")[0]):
                    cases.append(Case(stanza, vendor, base))
    return cases


def select(stanzas, matrix, options):
    """The cases to run, and what to say of the matrix."""
    cases = plain_cases(stanzas, options)
    whole = [new for configuration in matrix for new in (configured(case, configuration) for case in cases) if new]
    wanted = options.matrix or ("none" if options.tests else "share")
    part, said = matrix_part(whole, [configuration["matrix"] for configuration in matrix], wanted)
    said = "matrix: %s, %d of %d tests" % (said, len(part), len(whole)) if whole and (options.matrix or not options.tests) else ""
    if not options.tests:
        if options.base == "all":
            cases, turn = watched_part(cases, wanted)
            said += "; hosts that watch themselves: %s" % turn if turn else ""
        return cases + part, said
    chosen = set()
    for pattern in options.tests:
        def matching(some):
            return [case for case in some if fnmatch.fnmatch(case.title, pattern) or fnmatch.fnmatch(case.name, pattern)
                    or (not re.search(r"[*?\[]", pattern) and pattern in case.title)]

        # A pattern that nothing but the matrix can match means just that, whatever the share.
        found = matching(cases)
        found += matching(part if found or options.matrix == "none" else whole)
        if not found:
            raise Failed("no test matches '%s'" % pattern, "tests/runner/run.py --show%s" % (" --matrix all" * ("+" in pattern)))
        chosen.update(case.title for case in found)
    return [case for case in cases + whole if case.title in chosen], said


def in_order(cases):
    """The cases in groups that share a boot, in the order in which these begin: what is cheapest, and most often wrong, first.

    Of like cost the longest first, and the many short boots of the matrix at the end, so that no machine idles there."""
    groups = collections.OrderedDict()
    for case in cases:
        groups.setdefault(case.setup(), []).append(case)

    def stage(group):
        level = min(LEVELS.index(case.level) for case in group)
        if group[0].configuration:
            return len(LEVELS) + 1
        if "debug" in group[0].base or LEVELS[level] == "tool" and group[0].limit > QUICK:
            return len(LEVELS)
        return level

    return sorted((sorted(group, key=lambda case: LEVELS.index(case.level)) for group in groups.values()),
                  key=lambda group: (stage(group), -sum(case.limit for case in group)))


def log_directory(options, place, name):
    path = os.path.join(options.logs, place, name) if options.logs else os.path.join(TOP, "build", place, "logs", name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def run_boots(options, cases, report):
    """Cases of one setup, in as many boots as it takes."""
    first = cases[0]
    binaries = {case.name: programs.program(case.file) for case in cases}
    selftests = {case.selftest: programs.selftest(case.selftest, case.base) for case in cases if case.selftest}
    environment = {"VENDOR": first.vendor, "BASE": variants.variant(first.base).base, "VARIANT": first.base,
                   "CPUS": first.cpus, "MODEL": first.model, "PERFMON": first.perfmon,
                   "GUEST_KARGS": iso.KARGS + iso.clock_kargs(first.ips), "GUEST_CPUS": first.vcpus,
                   "KVM_PARAMS": variants.kvm_params(first.base, first.vendor) + " " + first.kvm}
    environment.update(word.partition("=")[::2] for word in first.env.split())
    setup = "-".join([first.vendor + "+" * bool(first.configuration) + first.configuration]
                     + (["%dcpus" % first.cpus] if first.cpus > 1 else []) + (["%dvcpus" % first.vcpus] if first.vcpus > 1 else [])
                     + [re.sub(r"[^\w.=]+", "_", part)
                        for part in (first.model, first.perfmon, first.kargs, first.kvm, first.env) if part])
    if first.memory != 1024:
        setup += "-%dMiB" % first.memory
    if first.ips:
        setup += "-%dips" % first.ips
    for number in range(1, len(cases) + 1):
        logs = log_directory(options, first.base, "%s-%d" % (setup, number))
        shown = os.path.relpath(logs, TOP) if logs.startswith(TOP + os.sep) else logs
        cd = os.path.join(logs, "boot.iso")
        plan = [(case.level, case.name, binaries[case.name], case.selftest) for case in cases]
        iso.boot(cd, first.base, plan, environment, first.kargs + iso.clock_kargs(first.ips),
                   [("selftests/" + name, path) for name, path in selftests.items()])
        channel = judge.Channel([case.name for case in cases])
        limits = {case.name: case.limit * options.slow for case in cases}

        def limit():
            waiting = channel.waiting()
            return (limits[waiting] if waiting else ENDING), (channel.progress, waiting)

        began = time.monotonic()
        progress("boot %s/%s: %d test%s" % (first.base, os.path.basename(logs), len(cases), "s"[:len(cases) != 1]))
        machine = watch.Machine(shlex.split(options.machine), logs, first.vendor, ["--iso", cd], first.cpus, first.model,
                                first.perfmon, first.memory, first.ips, progress if options.verbose else None)
        try:
            reason, _ = watch.watch(machine, channel.feed, limit, stopping)
        finally:
            machine.end()
            if not options.keep:
                os.unlink(cd)
        if reason == "nostart":
            raise Failed(machine.complaint(), "tools/machine/build")
        console = machine.console_text()
        verdicts = judge.close_boot(channel, reason, console)
        verdicts = judge.extend_hopeless(channel, verdicts, {case.name: case.level for case in cases})
        for line in channel.stray:
            progress("  %s" % line)
        progress("boot %s/%s: %s after %.1f s" % (first.base, os.path.basename(logs), reason, time.monotonic() - began))
        for case in cases:
            if case.name in verdicts:
                report(case, verdicts[case.name], shown)
        cases = [case for case in cases if case.name not in verdicts]
        if not cases:
            return


def run_bare(options, cases, report):
    case = cases[0]
    logs = log_directory(options, "machine", case.title.replace("/", "-"))
    rom = programs.rom(case.file, os.path.join(logs, "test.rom"))
    said = bytearray()
    machine = watch.Machine(shlex.split(options.machine), logs, case.vendor, ["--rom", rom], case.cpus, case.model,
                            case.perfmon, 64, show=progress if options.verbose else None)
    try:
        reason, status = watch.watch(machine, said.extend, lambda: (case.limit * options.slow, 0), stopping)
    finally:
        machine.end()
    if reason == "nostart":
        raise Failed(machine.complaint(), "tools/machine/build")
    # The image has the name of its source, which may be that of several tests.
    own = "bare/" + os.path.splitext(os.path.basename(case.file))[0]
    report(case, judge.judge_bare(own, bytes(said), reason, status),
           os.path.relpath(logs, TOP) if logs.startswith(TOP + os.sep) else logs)


def run_tool(options, cases, report):
    """A test of our own tools runs right here, and says its results on stdout."""
    case = cases[0]
    logs = log_directory(options, "machine", case.title.replace("/", "-"))
    out = os.path.join(logs, "out")
    with open(out, "wb") as said, open(os.path.join(logs, "err"), "wb") as errors:
        process = subprocess.Popen([os.path.join(TOP, case.file)], cwd=TOP, stdin=subprocess.DEVNULL, stdout=said,
                                   stderr=errors, start_new_session=True)
    until = time.monotonic() + case.limit * options.slow
    try:
        while process.poll() is None and time.monotonic() < until and not stopping.is_set():
            time.sleep(0.05)
    finally:
        late = process.poll() is None
        if late:
            # Its own children are in its session and nothing else is.
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=8)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if stopping.is_set():
        raise KeyboardInterrupt
    with open(out, "rb") as said:
        verdict = judge.judge_bare(case.name, said.read(), "timeout" if late else "off", process.returncode)
    report(case, verdict, os.path.relpath(logs, TOP) if logs.startswith(TOP + os.sep) else logs)


class Report:
    """KTAP as results come in; a result is written whole."""

    def __init__(self, cases, said):
        self.count = collections.Counter()
        self.number = 0
        self.failed = []
        self.reported = set()
        self.results = {}
        print("KTAP version 1\n1..%d%s" % (len(cases), "\n# %s" % said if said else ""), flush=True)

    def __call__(self, case, verdict, logs):
        with speaking:
            self.number += 1
            self.count[verdict.how] += 1
            self.reported.add(case.title)
            self.results[case.title] = {judge.PASS: "pass", judge.FAIL: "fail"}.get(verdict.how, "skip")
            lines = ["    # Subtest: %s" % case.title] + judge.ktap(verdict, logs)
            lines.append(judge.result_line(self.number, case.title, verdict, logs))
            print("\n".join(lines), flush=True)
            if verdict.how == judge.FAIL:
                self.failed.append(case.title)

    def keep(self, titles):
        """For scripts/cmd/supported: the last result of each test that there is, "pass|fail|skip TITLE" a line.

        Without the matrix: how much of it has run is chance, and not what a kernel supports."""
        path = os.path.join(TOP, "build/results")
        results = {}
        if os.path.exists(path):
            with open(path) as old:
                results = {title: how for how, title in (line.split() for line in old)}
        results.update(self.results)
        with open(path + ".new", "w") as out:
            out.writelines("%s %s\n" % (results[title], title) for title in sorted(titles) if title in results)
        os.replace(path + ".new", path)

    def last_line(self):
        skipped = self.count[judge.SKIP]
        return "%d passed, %d failed%s" % (self.count[judge.PASS], self.count[judge.FAIL],
                                           ", %d skipped" % skipped if skipped else "")


def arguments():
    class Parser(argparse.ArgumentParser):
        def error(self, message):
            raise Failed(message, "tests/runner/run.py --help")

    parser = Parser(prog="run", add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--tests", action="append", default=[])
    parser.add_argument("--vendor", default="all")
    parser.add_argument("--base", default="all")
    parser.add_argument("--matrix", default=os.environ.get("KVMPMU_MATRIX"))
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--slow", type=float, default=1)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--list", default=os.path.join(TOP, "tests/list"))
    parser.add_argument("--logs")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--machine", default=shlex.join(watch.LAUNCHER))
    parser.add_argument("--verbose", action="store_true", default=os.environ.get("V") == "1")
    options = parser.parse_args()
    if options.help:
        print(__doc__.strip())
        raise SystemExit(0)
    check_vendor(options.vendor, "test")
    check_base(options.base, "test")
    options.tests = [word for pattern in options.tests for word in pattern.split()]
    if options.logs:
        options.logs = os.path.abspath(options.logs)
    return options


def run(options):
    stanzas, matrix = read_list(options.list)
    cases, said = select(stanzas, matrix, options)
    order = in_order(cases)
    if options.show:
        for case in (case for group in order for case in group):
            print(case.title)
        return 0
    for base in sorted({case.base for case in cases if case.base}):
        variants.kernel_paths(base)
    if said:
        progress(said + ("" if options.matrix == "all" else "; all: tests/runner/run.py --matrix all"))
    with watch.alone(options.logs or os.path.join(TOP, "build"), progress):
        return run_groups(options, cases, order, said)


def run_groups(options, cases, order, said):
    report = Report(cases, said)
    failure = None
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, options.jobs)) as pool:
        workers = {"tool": run_tool, "bare": run_bare}
        jobs = [pool.submit(workers.get(group[0].level, run_boots), options, group, report) for group in order]
        try:
            # Short waits, so that Ctrl-C is heard.
            waiting = set(jobs)
            while waiting:
                done, waiting = concurrent.futures.wait(waiting, timeout=0.2, return_when="FIRST_EXCEPTION")
                failure = failure or next((job.exception() for job in done if job.exception()), None)
                if failure:
                    raise failure
        except BaseException:
            stopping.set()
            for job in jobs:
                job.cancel()
            raise
    missing = [case for case in cases if case.title not in report.reported]
    for case in missing:
        report(case, judge.Verdict(case.name, judge.FAIL, "ERROR not run"), "")
    if not options.logs and os.path.samefile(options.list, os.path.join(TOP, "tests/list")):
        everything = argparse.Namespace(vendor="all", base="all", tests=[])
        report.keep(case.title for case in plain_cases(read_list(options.list)[0], everything))
    if report.failed:
        progress("failed: %s\nnext: make test TESTS='%s'" % (" ".join(report.failed), report.failed[0]))
    print(report.last_line(), flush=True)
    return 1 if report.failed else 0


def main():
    def interrupted(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    try:
        return run(arguments())
    except Failed as failed:
        print("Bail out! %s" % str(failed).splitlines()[0] if stopping.is_set() else "", end="\n" if stopping.is_set() else "",
              flush=True)
        progress("run: %s\nnext: %s" % (failed, failed.following))
        return 2
    except OSError as error:
        progress("run: %s\nnext: %s" % (error, after(error, "make test")))
        return 2
    except KeyboardInterrupt:
        print("Bail out! interrupted", flush=True)
        progress("run: interrupted\nnext: make test")
        return 130


if __name__ == "__main__":
    sys.exit(main())
