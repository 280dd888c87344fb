# SPDX-License-Identifier: GPL-2.0
"""Choose what of a list of tests runs, and in which order."""

import collections
import fnmatch
import hashlib
import re
import zlib

from kvmpmu import Failed, VENDORS, commit, known_bases
from testlist import LEVELS, SETTINGS, joined, level
from variants import MEDIATED, is_debian, is_ours, is_watched, on_host
from watch import launcher

SHARES = 32         # the whole matrix takes two hours on two cores; a run takes one share of it
STAGES = LEVELS + ("slow", "matrix")    # slow: hosts that check themselves, and tools' long tests
QUICK = 180         # seconds: a tool's test with a higher limit takes minutes


def puts_together(stanza):
    """Return whether the stanza assembles a CPU by perfmon settings that a model includes."""
    said = re.findall(r"(\w+)=", stanza.get("perfmon", ""))
    return bool(set(said) - set(launcher.NOT_ITS_OWN))


def default_model(stanza, vendor):
    """Return the CPU of a test that boots an OS and neither names nor assembles a CPU."""
    if level(stanza) in ("bare", "tool") or puts_together(stanza):
        return ""
    return launcher.DEFAULT_CPU[vendor]


class Case:
    """A test on one vendor and base, as its stanza has it or in a configuration of the matrix.

    vendor and base are "" if the test has none.  groups are the test's groups that have this base,
    or no bases at all.  limit is in seconds, memory in MiB, ips in instructions per second (0: the
    machine's default).
    """

    def __init__(self, stanza, vendor, base, configuration="", groups=()):
        self.stanza, self.configuration, self.groups = stanza, configuration, groups
        self.name, self.level, self.file = stanza["name"], level(stanza), stanza["file"]
        self.vendor, self.base = vendor, base
        self.limit = float(stanza.get("limit", 60))
        self.cpus = int(stanza.get("cpus", 1))
        self.model = stanza.get("model", "") or default_model(stanza, vendor)
        self.perfmon = re.sub(r",\s*", ",", stanza.get("perfmon", ""))
        self.kargs = stanza.get("kargs", "")
        self.kvm, self.memory = stanza.get("kvm", ""), int(stanza.get("memory", 1024))
        self.env = stanza.get("env", "")
        self.vcpus, self.ips = int(stanza.get("vcpus", 1)), int(stanza.get("ips", 0))
        self.guest = stanza.get("guest", "")
        self.selftest = stanza.get("selftest", "")
        self.programs = stanza.get("programs", "").split()
        if is_watched(base):
            # A kernel that checks itself needs more time and memory.
            self.limit, self.memory = 5 * self.limit, 2 * self.memory
        elif is_debian(base):
            # It has more to boot, as a host and as a guest.
            self.limit *= 3
        place = base + "+" * bool(configuration) + configuration
        self.title = "/".join(part for part in (vendor, place, self.name) if part)

    def setup(self):
        """Return what the case needs of a boot.  Cases with equal setups share one."""
        if self.level == "tool":
            return (self.level, self.name)
        if self.level == "bare":
            return (self.level, self.name, self.vendor)
        return ("boot", self.vendor, self.base, self.configuration, self.cpus, self.model,
                self.perfmon, self.kargs, self.kvm, self.env, self.memory, self.vcpus, self.ips, self.guest)

    def share(self):
        """Return the share of the matrix, from 1, that the case is in, whatever else the list has.

        There are many vm tests on one CPU, and their boots are quick.  These are dealt out, so that
        each share has some of every configuration.  If the boot takes most of the time, cases that
        share it stay together.
        """
        dealt = self.level == "vm" and self.cpus == 1
        key = self.title if dealt else repr(self.setup())
        return zlib.crc32(key.encode()) % SHARES + 1


def configured(case, configuration):
    """Return the Case of the same test in a configuration of the matrix, or None.

    It is None if the configuration is not for the test, if the test gives another value to one of
    the configuration's settings, or if it has all of them already, on the same host.
    """
    if case.vendor not in configuration.get("vendors", " ".join(VENDORS)).split() \
            or case.level not in configuration["levels"].split() \
            or not any(fnmatch.fnmatchcase(case.base, pattern)
                       for pattern in configuration["bases"].split()) \
            or case.name in configuration.get("except", "").split():
        return None
    stanza = dict(case.stanza)
    # A test names its CPU or assembles it, not both.
    model = configuration.get("model")
    if model and (launcher.CPUS[model][0] != case.vendor or puts_together(stanza)
                  or stanza.get("model", model) != model):
        return None
    if stanza.get("model") and puts_together(configuration):
        return None
    for key in SETTINGS:
        stanza[key] = joined(key, stanza.get(key, ""), configuration.get(key, ""))
        if stanza[key] is None:
            return None
    host = configuration.get("host")
    if not host and all(stanza[key] == joined(key, case.stanza.get(key, ""), "") for key in SETTINGS):
        return None
    base = on_host(case.base, host) if host else case.base
    return Case(stanza, case.vendor, base, configuration["matrix"], case.groups)


def matrix_part(whole, names, wanted):
    """Return the part of the matrix to run besides the other tests, and a name for the part.

    whole       all cases of the matrix
    names       its configurations
    wanted      all, none, share, a share's number or a configuration
    """
    if wanted in ("all", "none"):
        return (whole if wanted == "all" else []), wanted
    if wanted in names:
        return [case for case in whole if case.configuration == wanted], wanted
    if wanted == "share":
        head = commit()
        share = int(head or "0", 16) % SHARES + 1
        why = "commit %s" % head[:12] if head else "no commit"
    elif wanted.isdigit() and 1 <= int(wanted) <= SHARES:
        share, why = int(wanted), "as asked"
    else:
        raise Failed("unknown configuration '%s', there are: all none share 1...%d %s"
                     % (wanted, SHARES, " ".join(names)), "tests/runner/run.py --matrix all --show")
    return [case for case in whole if case.share() == share], \
        "share %d of %d (%s)" % (share, SHARES, why)


def turn(what, among):
    """Return a number below AMONG, which the commit chooses for what WHAT names.

    Choices with different names do not depend on each other, so each combination has its turn.
    """
    return int(hashlib.sha256(("%s %s" % (what, commit())).encode()).hexdigest(), 16) % among


def debian_base(bases):
    """Return the one of BASES whose turn it is to run on Debian's own kernel."""
    return sorted(bases)[turn("debian", len(bases))]


def _plain_base(case):
    return case.base.partition("-")[0]


def watched_host(case):
    """Return the name of the host of a case whose host checks itself: its base without -mediated."""
    return case.base.removesuffix(MEDIATED)


def watched_hosts(cases):
    """Return the names of the hosts of CASES that check themselves, in order."""
    return sorted({watched_host(case) for case in cases if is_watched(case.base)})


def watched_in_turn(cases):
    """Return the host whose turn it is to check itself, of those of CASES, or in three of four runs None."""
    hosts = watched_hosts(cases)
    number = turn("watched", 4 * len(hosts))
    return None if number % 4 else hosts[number // 4]


def _boot(case):
    """Return what a case needs of a boot besides the base."""
    return repr((case.vendor, case.base.endswith(MEDIATED)) + case.setup()[4:])


def part_in_turn(cases):
    """Return CASES without what runs in turn and has it not, and words for this.

    A boot of our own kernels that several bases have runs on one of them.  Debian's own kernels have
    their turn together, base by base, so that only one of them has to be there.  At most one host that
    checks itself has its turn, and in most runs none, because each needs another kernel; beside it
    nothing of the matrix runs.  Of the tests with "run: turns" every second one runs, or beside such a
    host none.
    """
    said = []
    watched = watched_hosts(cases)
    if len(watched) > 1:
        host = watched_in_turn(cases)
        cases = [case for case in cases if watched_host(case) == host or not is_watched(case.base) and (
            not host or not case.configuration and case.stanza.get("run") != "turns")]
        said.append("hosts that watch themselves: %s of %s" % (host or "none", " ".join(watched)))
    debian = {_plain_base(case) for case in cases if is_debian(case.base)}
    if len(debian) > 1:
        base = debian_base(debian)
        cases = [case for case in cases if not is_debian(case.base) or _plain_base(case) == base]
        said.append("Debian's kernel: %s of %s" % (base, " ".join(sorted(debian))))
    left_out = set()
    turns = [case.title for case in cases if case.stanza.get("run") == "turns" and not case.configuration]
    if len(turns) > 1:
        which = turn("turns", 2)
        left_out.update(turns[1 - which::2])
        said.append("tests by turns: %s" % " ".join(turns[which::2]))
    boots = {}
    for case in cases:
        if case.base and is_ours(case.base) and not case.configuration:
            boots.setdefault(_boot(case), {}).setdefault(case.base, []).append(case.title)
    for boot, titles in boots.items():
        base = sorted(titles)[turn(boot, len(titles))]
        left_out.update(title for other in titles if other != base for title in titles[other])
    if any(len(titles) > 1 for titles in boots.values()):
        said.append("boots of our own kernels: each on one base")
    return [case for case in cases if case.title not in left_out], said


def _bases(test, asked):
    """Return the bases on which a test runs if --base is ASKED, each with its origins.

    The origins of a base are the bases of the test that it stands for.
    """
    wanted = test.get("bases", " ".join(known_bases())).split()
    base, mediated = asked.partition("-")[0], asked.endswith(MEDIATED)
    origins = {base, base + MEDIATED * mediated} & set(wanted)
    if asked not in wanted and origins:
        # A variant that is asked for by name runs every test of its base and of its -mediated.
        return [(asked, origins)]
    return [(base, {base}) for base in wanted if asked in ("all", base, base.partition("-")[0])]


def _is_named(test, groups, patterns):
    """Return whether a test runs: always, unless "run: named" asks for a pattern that names it.

    If a group has "run: named", the group's name is such a pattern, too.
    """
    if test.get("run") != "named":
        return True
    asked = {"@" + name for name in test.get("groups", "").split() if "run" in groups[name]}
    return any(test["name"] in pattern or pattern in asked for pattern in patterns)


def plain_cases(listed, options):
    """Return each test that options.vendor and options.base choose, as its stanza has it."""
    cases = []

    def add(test, vendor, base="", origins=frozenset()):
        groups = [name for name in test.get("groups", "").split()
                  if "bases" not in listed.groups[name]
                  or origins & set(listed.groups[name]["bases"].split())]
        cases.append(Case(test, vendor, base, groups=groups))

    for test in listed.tests:
        named = _is_named(test, listed.groups, options.tests)
        if level(test) == "tool":
            if named:
                add(test, "")
            continue
        for vendor in test.get("vendors", " ".join(VENDORS)).split():
            if options.vendor not in ("all", vendor):
                continue
            if level(test) == "bare":
                add(test, vendor)
            elif named or options.base in test.get("bases", "").split():
                for base, origins in _bases(test, options.base):
                    add(test, vendor, base, origins)
    return cases


def _matching(cases, pattern):
    """Return the CASES that match a word of --tests."""
    if pattern.startswith("@"):
        return [case for case in cases if pattern[1:] in case.groups]
    plain = not re.search(r"[*?\[]", pattern)
    return [case for case in cases
            if fnmatch.fnmatch(case.title, pattern) or fnmatch.fnmatch(case.name, pattern)
            or (plain and pattern in case.title)]


def _nothing(pattern, groups):
    """Raise Failed: no test matches a word of --tests."""
    if pattern.startswith("@") and pattern[1:] not in groups:
        raise Failed("no such group '%s', there are: %s"
                     % (pattern, " ".join("@" + name for name in groups)), "make list")
    raise Failed("no test matches '%s'" % pattern,
                 "tests/runner/run.py --show --matrix all" if "+" in pattern else "make list")


def choose(listed, options):
    """Return the cases to run, and a line about the matrix.

    Read a TestList, and the options tests, vendor, base and matrix.  Raise Failed if one of them
    matches nothing.
    """
    cases = plain_cases(listed, options)
    whole = [new for configuration in listed.matrix
             for new in (configured(case, configuration) for case in cases) if new]
    wanted = options.matrix or ("none" if options.tests else "share")
    names = [configuration["matrix"] for configuration in listed.matrix]
    part, said = matrix_part(whole, names, wanted)
    turns = []
    # A list without a matrix is not that of all tests.
    if whole and wanted == "share" and not options.tests and options.base == "all":
        cases, turns = part_in_turn(cases + part)
        part = [case for case in cases if case.configuration]
        cases = [case for case in cases if not case.configuration]
    said = "; ".join(["matrix: %s, %d of %d tests" % (said, len(part), len(whole))] + turns)
    if not whole or options.tests and not options.matrix:
        said = ""
    if not options.tests:
        return cases + part, said
    chosen = set()
    for pattern in options.tests:
        # A pattern that only the matrix can match selects from the whole matrix.
        found = _matching(cases, pattern)
        found += _matching(part if found or options.matrix == "none" else whole, pattern)
        if not found:
            _nothing(pattern, listed.groups)
        chosen.update(case.title for case in found)
    return [case for case in cases + whole if case.title in chosen], said


def stage(group):
    """Return the one of STAGES in which a group of cases that share a boot runs."""
    if group[0].configuration:
        return "matrix"
    if is_watched(group[0].base) or group[0].level == "tool" and group[0].limit > QUICK:
        return "slow"
    return min((case.level for case in group), key=LEVELS.index)


def in_order(cases):
    """Return the cases in groups that share a boot, in the order in which the groups begin.

    The cheapest groups come first; they also fail most often.  Within a stage, the longest comes
    first.  The many short boots of the matrix come at the end, so that no machine idles there.
    """
    groups = collections.OrderedDict()
    for case in cases:
        groups.setdefault(case.setup(), []).append(case)
    return sorted((sorted(group, key=lambda case: LEVELS.index(case.level))
                   for group in groups.values()),
                  key=lambda group: (STAGES.index(stage(group)), -sum(case.limit for case in group)))
