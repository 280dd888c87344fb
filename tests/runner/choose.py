# SPDX-License-Identifier: GPL-2.0
"""Choose what of a list of tests runs, and in which order."""

import collections
import fnmatch
import re
import zlib

from kvmpmu import Failed, VENDORS, commit, known_bases
from testlist import LEVELS, SETTINGS
from variants import MEDIATED, is_watched
from watch import launcher

SHARES = 8          # the whole matrix takes 20 minutes on two cores, and a run only its share of it
QUICK = 180         # seconds: a tool's test with a limit above that takes minutes


def puts_together(stanza):
    """Return whether it says by perfmon what the CPU is, which a model has of its own."""
    said = re.findall(r"(\w+)=", stanza.get("perfmon", ""))
    return bool(set(said) - set(launcher.NOT_ITS_OWN))


def default_model(stanza, vendor):
    """Return the CPU of a test that boots an OS, and neither names a CPU nor puts one together."""
    if stanza["level"] in ("bare", "tool") or puts_together(stanza):
        return ""
    return launcher.DEFAULT_CPU[vendor]


class Case:
    """A test on one vendor and base, in a configuration of the matrix or as its stanza has it.

    vendor and base are "" where a test has none.  limit is in seconds, memory in MiB, ips in
    instructions a second (0: the machine's default).
    """

    def __init__(self, stanza, vendor, base, configuration=""):
        self.stanza, self.configuration = stanza, configuration
        self.name, self.level, self.file = stanza["name"], stanza["level"], stanza["file"]
        self.vendor, self.base = vendor, base
        self.limit = float(stanza.get("limit", 60))
        self.cpus = int(stanza.get("cpus", 1))
        self.model = stanza.get("model", "") or default_model(stanza, vendor)
        self.perfmon = re.sub(r",\s*", ",", stanza.get("perfmon", ""))
        self.kargs = stanza.get("kargs", "")
        self.kvm, self.memory = stanza.get("kvm", ""), int(stanza.get("memory", 1024))
        self.env = stanza.get("env", "")
        self.vcpus, self.ips = int(stanza.get("vcpus", 1)), int(stanza.get("ips", 0))
        self.selftest = stanza.get("selftest", "")
        if is_watched(base):
            # A kernel that watches itself needs more of everything.
            self.limit, self.memory = 5 * self.limit, 2 * self.memory
        place = base + "+" * bool(configuration) + configuration
        self.title = "/".join(part for part in (vendor, place, self.name) if part)

    def setup(self):
        """Return what the case wants of a boot; cases with equal setups share one."""
        if self.level == "tool":
            return (self.level, self.name)
        if self.level == "bare":
            return (self.level, self.name, self.vendor)
        return ("boot", self.vendor, self.base, self.configuration, self.cpus, self.model,
                self.perfmon, self.kargs, self.kvm, self.env, self.memory, self.vcpus, self.ips)

    def share(self):
        """Return the share of the matrix, from 1, that it is in, whatever else is in the list.

        Tests of a vm on one CPU are many, and their boot is quick: they are dealt out, so that each
        share has some of every configuration.  Where the boot takes the time, those that share it
        stay together.
        """
        dealt = self.level == "vm" and self.cpus == 1
        key = self.title if dealt else repr(self.setup())
        return zlib.crc32(key.encode()) % SHARES + 1


def _joined(key, own, more):
    """Return the text of a setting OWN with the words of MORE, or None if one contradicts it."""
    between = r"[,\s]+" if key == "perfmon" else r"\s+"
    own, more = (re.split(between, text.strip(), flags=re.A) for text in (own, more))
    has = dict(word.partition("=")[::2] for word in own)
    for word in more:
        name, _, value = word.partition("=")
        if has.get(name, value) != value:
            return None
        if word and name not in has:
            own.append(word)
    return (", " if key == "perfmon" else " ").join(word for word in own if word)


def configured(case, configuration):
    """Return the Case of the same test in a configuration of the matrix, or None.

    None is for a test that the configuration is not for, that sets a setting of it to something
    else, or that has all of its settings already.
    """
    if case.vendor not in configuration.get("vendors", " ".join(VENDORS)).split() \
            or case.level not in configuration["levels"].split() \
            or not any(fnmatch.fnmatchcase(case.base, pattern)
                       for pattern in configuration["bases"].split()) \
            or case.name in configuration.get("except", "").split():
        return None
    stanza = dict(case.stanza)
    # A test has its CPU by its model, or puts it together.
    model = configuration.get("model")
    if model and (launcher.CPUS[model][0] != case.vendor or puts_together(stanza)
                  or stanza.get("model", model) != model):
        return None
    if stanza.get("model") and puts_together(configuration):
        return None
    for key in SETTINGS:
        stanza[key] = _joined(key, stanza.get(key, ""), configuration.get(key, ""))
        if stanza[key] is None:
            return None
    if all(stanza[key] == _joined(key, case.stanza.get(key, ""), "") for key in SETTINGS):
        return None
    return Case(stanza, case.vendor, case.base, configuration["matrix"])


def matrix_part(whole, names, wanted):
    """Return what of the matrix runs beside the other tests, and in words which part that is.

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


def watched_part(cases, wanted):
    """Return CASES less those of hosts that watch themselves, but for one, and which that is.

    Only where the commit chooses: it goes on to the next host when all shares of the matrix have
    had their turn.  Half of the turns have no host, for each takes a kernel of its own.
    """
    hosts = {re.sub("(-debug).*", r"\1", case.base) for case in cases if is_watched(case.base)}
    hosts = sorted(hosts)
    if wanted != "share" or len(hosts) < 2:
        return cases, ""
    number = int(commit() or "0", 16) // SHARES % (2 * len(hosts))
    turn = hosts[number // 2] if number % 2 else "none"
    return [case for case in cases if not is_watched(case.base) or case.base.startswith(turn)], \
        "%s of %s" % (turn, " ".join(hosts))


def _bases(stanza, asked):
    """Return the bases and variants on which a test runs where --base is ASKED."""
    wanted = stanza.get("bases", " ".join(known_bases())).split()
    base, mediated = asked.partition("-")[0], asked.endswith(MEDIATED)
    if asked not in wanted and {base, base + MEDIATED * mediated} & set(wanted):
        # A variant that was asked for by name gets every test of its base, and of what else it is.
        wanted = [asked]
    return [base for base in wanted if asked in ("all", base, base.partition("-")[0])]


def plain_cases(stanzas, options):
    """Return each test as its stanza has it, where options.vendor and options.base choose it."""
    cases = []
    for stanza in stanzas:
        named = stanza.get("run") != "named" or any(stanza["name"] in pattern
                                                    for pattern in options.tests)
        if stanza["level"] == "tool":
            cases += [Case(stanza, "", "")] if named else []
            continue
        for vendor in stanza.get("vendors", " ".join(VENDORS)).split():
            if options.vendor not in ("all", vendor):
                continue
            if stanza["level"] == "bare":
                cases.append(Case(stanza, vendor, ""))
            elif named or options.base in stanza.get("bases", "").split():
                cases += [Case(stanza, vendor, base) for base in _bases(stanza, options.base)]
    return cases


def _matching(cases, pattern):
    """Return those of CASES that a word of --tests means."""
    plain = not re.search(r"[*?\[]", pattern)
    return [case for case in cases
            if fnmatch.fnmatch(case.title, pattern) or fnmatch.fnmatch(case.name, pattern)
            or (plain and pattern in case.title)]


def choose(stanzas, matrix, options):
    """Return the cases to run, and what to say of the matrix.

    Takes the tests, the matrix's configurations, and of the options: tests, vendor, base, matrix.
    Raises Failed if nothing is meant by one of them.
    """
    cases = plain_cases(stanzas, options)
    whole = [new for configuration in matrix
             for new in (configured(case, configuration) for case in cases) if new]
    wanted = options.matrix or ("none" if options.tests else "share")
    part, said = matrix_part(whole, [configuration["matrix"] for configuration in matrix], wanted)
    said = "matrix: %s, %d of %d tests" % (said, len(part), len(whole))
    if not whole or options.tests and not options.matrix:
        said = ""
    if not options.tests:
        if options.base == "all":
            cases, turn = watched_part(cases, wanted)
            said += "; hosts that watch themselves: %s" % turn if turn else ""
        return cases + part, said
    chosen = set()
    for pattern in options.tests:
        # A pattern that nothing but the matrix can match means just that, whatever the share.
        found = _matching(cases, pattern)
        found += _matching(part if found or options.matrix == "none" else whole, pattern)
        if not found:
            raise Failed("no test matches '%s'" % pattern,
                         "tests/runner/run.py --show%s" % (" --matrix all" * ("+" in pattern)))
        chosen.update(case.title for case in found)
    return [case for case in cases + whole if case.title in chosen], said


def in_order(cases):
    """Return the cases in groups that share a boot, in the order in which these begin.

    What is cheapest, and most often wrong, is first.  Of like cost, the longest is first, and the
    many short boots of the matrix are at the end, so that no machine idles there.
    """
    groups = collections.OrderedDict()
    for case in cases:
        groups.setdefault(case.setup(), []).append(case)

    def stage(group):
        level = min(LEVELS.index(case.level) for case in group)
        if group[0].configuration:
            return len(LEVELS) + 1
        if is_watched(group[0].base) or LEVELS[level] == "tool" and group[0].limit > QUICK:
            return len(LEVELS)
        return level

    return sorted((sorted(group, key=lambda case: LEVELS.index(case.level))
                   for group in groups.values()),
                  key=lambda group: (stage(group), -sum(case.limit for case in group)))
