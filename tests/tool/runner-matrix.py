#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: groups and the matrix of tests/list have their documented effects, each case of the matrix
runs in one share, and names that do not exist are refused at once.

Ask tests/runner/run.py for titles: of tests/list, and of a list that has one of each kind.  Run no
machine.  Print results in KTAP; exit status 1 if any is bad.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "tests/runner"), os.path.join(TOP, "scripts/lib")]

import choose               # noqa: E402
import testlist             # noqa: E402
from ktap import Results    # noqa: E402

RUN = os.path.join(TOP, "tests/runner/run.py")
LIST = os.path.join(TOP, "tests/list")
# Variables that the run around this one may have set.
OWN = "KVMPMU_MATRIX TESTS BASE VENDOR KVMPMU_TARGET NEXT V MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL KVMPMU_DEPTH".split()

TESTS = """name: vm/plain
file: tests/rootfs/mark.c
bases: 6.12 6.12-mediated 6.12-debug-mediated

name: vm/same
file: tests/rootfs/mark.c
bases: 6.12-mediated
perfmon: version=5, fixed=4

name: vm/part
file: tests/rootfs/mark.c
bases: 6.12-mediated
perfmon: fixed=4

name: vm/other
file: tests/rootfs/mark.c
bases: 6.12-mediated
perfmon: version=1

name: vm/more
file: tests/rootfs/mark.c
bases: 6.12-mediated
vendors: intel
perfmon: save_ctrl=0

name: vm/not
file: tests/rootfs/mark.c
bases: 6.12-mediated

name: host/plain
file: tests/rootfs/mark.c
bases: 6.12-mediated

name: guest/plain
file: tests/rootfs/mark.c
bases: 6.12-mediated

"""
WIDE = """# A comment.
matrix: wide
vendors: intel
levels: vm guest
bases: *[0-9]-mediated
perfmon: version=5, fixed=4
# It makes no sense.
except: vm/not
"""
GROUPS = """group: old
bases: 6.1 6.12

# A comment.
group: new
bases: 6.12
	6.12-mediated

group: prefix
kvm: kvm.a=1
limit: 90

group: slow
bases: 6.12-debug
run: named

name: vm/both
file: tests/rootfs/mark.c
groups: old new
# A comment.
	prefix
kvm: kvm.b=2

name: vm/one
file: tests/rootfs/mark.c
groups: new
bases: 6.1

name: vm/named
file: tests/rootfs/mark.c
groups: slow

name: bare/none
file: tests/bare/mark.c
groups: prefix
"""
# The cases of this configuration: vm/same has all of its settings, and vm/other contradicts them.
CASES = ["vm/plain", "vm/part", "vm/more", "guest/plain"]

results = Results()
check = results.check


def run(*arguments, command=RUN, **environment):
    """Return the exit status, the lines of standard output and those of standard error."""
    inherited = {name: value for name, value in os.environ.items() if name not in OWN}
    done = subprocess.run([command] + list(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False, env={**inherited, **environment})
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def titles(*arguments, **environment):
    return run("--show", *arguments, **environment)[1]


def matrix(found):
    return [title for title in found if "+" in title]


def refused(status, out, err):
    return status == 2 and not out and len(err) == 2 and err[1].startswith("next: ")


def put(path, text, mode=0o644):
    with open(path, "w") as out:
        out.write(text)
    os.chmod(path, mode)


def kinds(place):
    """Check which tests are cases of a configuration."""
    path = os.path.join(place, "list")
    put(path, TESTS + WIDE)
    found = matrix(titles("--list", path, "--matrix", "all"))
    check(sorted(found) == sorted("intel/6.12-mediated+wide/" + name for name in CASES),
          "a configuration has its tests, less those that contradict or equal it, or are excepted",
          found)
    found = titles("--list", path, "--matrix", "none")
    check(len(found) == 19 and not matrix(found), "and each test is there as its stanza has it", found)
    for what, line, text in (
            ("a setting that is not known", len(TESTS.splitlines()) + 6, WIDE.replace("perfmon:", "cpus: 2\nperfmon:")),
            ("the name of an option", 0, WIDE.replace("wide", "share")),
            ("a number for a name", 0, WIDE.replace("wide", "2")),
            ("a name twice", 0, WIDE + "\n" + WIDE),
            ("a configuration without levels", 0, WIDE.replace("levels: vm guest\n", "")),
            ("a level without a boot", 0, WIDE.replace("vm guest", "bare")),
            ("a configuration that sets nothing", 0, WIDE.replace("perfmon: version=5, fixed=4\n", "")),
            ("an exception that is no test", 0, WIDE.replace("vm/not", "vm/nothing"))):
        put(path, TESTS + text)
        result = run("--show", "--list", path)
        check(refused(*result) and ("list:%d: " % line if line else "list:") in result[2][0], "%s: one line" % what, result)


def groups(place):
    """Check what groups give to tests, how --tests names them, and which mistakes are found."""
    path = os.path.join(place, "list")
    put(path, GROUPS)

    def intel(*arguments):
        return sorted(title[len("intel/"):] for title in titles("--list", path, "--vendor", "intel", *arguments))

    both = ["6.1/vm/both", "6.12-mediated/vm/both", "6.12/vm/both"]
    mediated = ["6.12-mediated/vm/both", "6.12-mediated/vm/one", "6.12/vm/both", "6.12/vm/one"]
    for what, wanted, arguments in (
            ("bases are united", sorted(both + mediated[1::2] + ["6.1/vm/one", "bare/none"]), []),
            ("a group of bases selects the tests on these", mediated, ["--tests", "@new"]),
            ("another one selects all tests that name it", both + ["bare/none"],
             ["--tests", "@prefix"]),
            ("and one with run: named selects its tests", ["6.12-debug/vm/named"],
             ["--tests", "@slow"]),
            ("a variant of a base is in the base's groups", ["6.1-stock/vm/both"],
             ["--tests", "@old", "--base", "6.1-stock"]),
            ("several words", sorted(both + ["6.12-debug/vm/named", "bare/none"]), ["--tests", "@slow both bare"])):
        found = intel(*arguments)
        check(found == sorted(wanted), "groups: %s" % what, found)
    found = testlist.read(path).tests[0]
    check((found["kvm"], found["limit"]) == ("kvm.a=1 kvm.b=2", "90"), "groups: words are joined", found)
    check(refused(*run("--list", path, "--show", "--tests", "@nonsense")),
          "groups: one that does not exist")

    line = len(GROUPS.splitlines()) + 2
    test = "\nname: vm/more\nfile: tests/rootfs/mark.c\n"
    for what, at, more in (
            ("no such group", line + 2, test + "groups: old nonsense\n"),
            ("two groups that contradict each other", line + 5,
             "\ngroup: short\nlimit: 9\n" + test + "groups: prefix short\n"),
            ("a test that contradicts its group", line + 3, test + "groups: prefix\nlimit: 9\n"),
            ("a word that contradicts a group's", line + 3, test + "groups: prefix\nkvm: kvm.a=2\n"),
            ("a group twice", line, "\ngroup: old\nbases: 6.1\n"),
            ("a base that is not there", line + 1, "\ngroup: older\nbases: 2.4\n"),
            ("a level", line + 2, test + "level: vm\n"),
            ("a name without a level", line, "\nname: more\nfile: tests/rootfs/mark.c\n"),
            ("a file that is not there", line + 1, "\nname: vm/more\nfile: tests/nonsense.c\n"),
            ("a key twice", line + 2, test + "file: tests/rootfs/mark.c\n"),
            ("a line without a key", line + 2, test + "nonsense\n"),
            ("a stanza of no kind", line, "\nfile: tests/rootfs/mark.c\nname: vm/more\n"),
            ("a limit in words", line + 2, test + "limit: long\n"),
            ("a guest that is no base", line + 2, test + "guest: 6.12-debian\n"),
            ("a vendor that is not there", line + 2, test + "vendors: via\n"),
            ("a line that continues nothing", line, "\n\tnonsense\n")):
        put(path, GROUPS + more)
        result = run("--show", "--list", path)
        check(refused(*result) and "list:%d: " % at in result[2][0] and result[2][1].startswith("next: edit "),
              "%s: its line, and the next command" % what, result)
    result = run("--show", "--list", os.path.join(place, "nonsense"))
    check(refused(*result), "a list that is not there: one line and the next command", result)


def real():
    """Check the configurations of tests/list; return the cases of its matrix."""
    everything = testlist.parse(LIST)
    stanzas = [stanza for stanza in everything if stanza.kind() == "matrix"]
    found = matrix(titles("--matrix", "all"))
    check(len(found) == len(set(found)), "no case appears twice")
    for keys in stanzas:
        its = [title for title in found if "+%s/" % keys["matrix"] in title]
        check({title.split("/")[0] for title in its} == set(keys.get("vendors", "intel amd").split()),
              "%s has cases on its vendors: %d" % (keys["matrix"], len(its)), its)
        hosts = {"".join(re.findall(r"-(debian|debug|deb|stock)\b", title.split("/")[1].split("+")[0])) for title in its}
        check(hosts == {keys.get("host", "")}, "%s has no other host than '%s'" % (keys["matrix"], keys.get("host", "")), hosts)
        check(set(titles("--matrix", keys["matrix"])) == set(titles("--matrix", "none")) | set(its), "%s alone" % keys["matrix"])
    with tempfile.NamedTemporaryFile("w", prefix="list.") as path:
        for stanza in everything:
            pairs = [pair for pair in stanza.items() if pair[0] != "except"]
            path.write("".join("%s: %s\n" % pair for pair in pairs) + "\n")
        path.flush()
        more = matrix(titles("--matrix", "all", "--list", path.name))
    needless = ["%s: %s" % (stanza["matrix"], name) for stanza in stanzas
                for name in stanza.get("except", "").split()
                if not any(title.endswith("+%s/%s" % (stanza["matrix"], name)) for title in more)]
    check(not needless, "each exception is needed", needless)
    return found


def shares(place, whole):
    parts = []
    for number in range(1, 40):
        result = run("--show", "--matrix", str(number))
        if result[0]:
            break
        parts.append(matrix(result[1]))
    check(refused(*result), "share %d does not exist" % number, result)
    check(sorted(title for part in parts for title in part) == sorted(whole) and len(parts) > 1,
          "the shares are disjoint, and all of the matrix: %s" % " ".join(str(len(part)) for part in parts))
    check(all(len(part) < 2 * len(whole) / len(parts) for part in parts),
          "none has twice its part of the cases")
    for title in matrix(titles("--matrix", "all", "--vendor", "amd")):
        if not any(title in part for part in parts):
            check(False, "%s is in no share" % title)
    check([matrix(titles("--vendor", "amd", "--matrix", str(k + 1))) for k in range(len(parts))] ==
          [[title for title in part if title.startswith("amd/")] for part in parts],
          "whatever other tests run")

    # A commit chooses.
    listed = testlist.read(LIST)
    options = argparse.Namespace(vendor="all", base="all", tests=[], matrix="share")

    def chosen(head):
        choose.commit = lambda: "%040x" % head
        return matrix([case.title for case in choose.choose(listed, options)[0]])

    plain = choose.plain_cases(listed, options)

    def heads(number):
        """Return a commit with share NUMBER for each of Debian's kernels that can have its turn."""
        found = {}
        for head in range(number, 100 * len(parts), len(parts)):
            choose.commit = lambda: "%040x" % head
            if not choose.watched_in_turn(plain):
                found.setdefault(choose.turn("debian", 2), head)
        return found.values()

    got = [[set(chosen(head)) for head in heads(number)] for number in range(len(parts))]
    check(all(set.union(*turns) == set(part) and len(turns) == 2 for turns, part in zip(got, parts)), "each share has its turns")
    check(all({title.split("/")[1].split("-")[0] for title in set(part) - turn} in (set(), {"6.1"}, {"6.12"}) and
              all("-debian" in title for title in set(part) - turn) for turns, part in zip(got, parts) for turn in turns),
          "a commit has one of them, less those on one of Debian's kernels")
    check(any(not chosen(head) for head in range(16)), "or none of them, beside a host that checks itself")
    # A script plays git.
    tools = os.path.join(place, "tools")
    os.makedirs(tools)
    search = tools + ":" + os.environ["PATH"]
    put(os.path.join(tools, "git"), "#!/bin/sh\necho ${HEAD:?}\n", 0o755)
    head = next(iter(heads(2)))
    check(sorted(matrix(titles(PATH=search, HEAD="%040x" % head))) == sorted(chosen(head)) != [], "git says which commit it is")
    choose.commit = lambda: ""
    first = matrix([case.title for case in choose.choose(listed, options)[0]])
    check(sorted(matrix(titles(PATH=search))) == sorted(first) != [] and set(first) <= set(parts[0]),
          "without a commit it is the first")
    check(matrix(titles(KVMPMU_MATRIX="2")) == parts[1] and sorted(matrix(titles(KVMPMU_MATRIX="all"))) == sorted(whole)
          and not matrix(titles(KVMPMU_MATRIX="none")), "KVMPMU_MATRIX chooses")
    check(not matrix(titles("--matrix", "none", KVMPMU_MATRIX="all")),
          "but --matrix takes precedence")


def in_turn(place):
    """Check what runs by turns: each part has its turn in some commit, whole, and nothing else is left out."""
    cases = choose.plain_cases(testlist.read(LIST), argparse.Namespace(tests=[], vendor="all", base="all"))

    def part(head):
        choose.commit = lambda: "%040x" % head
        return choose.part_in_turn(cases)[0]

    def of(found, wanted, name):
        return {name(case) for case in found if wanted(case)}

    parts = [part(head) for head in range(200)]
    for what, wanted, name in (
            ("hosts that check themselves", lambda case: choose.is_watched(case.base), choose.watched_host),
            ("Debian's kernels", lambda case: choose.is_debian(case.base), lambda case: case.base.split("-")[0])):
        there = of(cases, wanted, name)
        turns = [of(found, wanted, name) for found in parts]
        check(len(there) > 1 and all(len(turn) < 2 for turn in turns) and set.union(*turns) == there,
              "%s: one in a run, each in its turn" % what, there, turns)
        check(all(of(found, wanted, lambda case: case.title) ==
                  of(cases, lambda case: wanted(case) and name(case) in turn, lambda case: case.title)
                  for found, turn in zip(parts, turns)), "%s: with all of its tests" % what)

    alternate = {case.title for case in cases if case.stanza.get("run") == "turns"}
    halves = [{case.title for case in found} & alternate for found in parts]
    check(set.union(*halves) == alternate, "run: turns: each has its turn", alternate - set.union(*halves))
    tools = [[title for title in half if title.startswith("tool/")] for half in halves]
    check(len({frozenset(half) for half in tools if half}) == 2 and len({len(half) for half in tools if half}) == 1,
          "half of the tools in a run", tools)
    check(all(bool(half) != any(choose.is_watched(case.base) for case in found) for half, found in zip(tools, parts)),
          "or none, beside a host that checks itself")

    def is_plain(case):
        return case.base and choose.is_ours(case.base) and case.title not in alternate

    def kind(case):
        return case.vendor, case.base.partition("-")[2], case.name

    there = of(cases, is_plain, lambda case: case.title)
    turns = [of(found, is_plain, lambda case: case.title) for found in parts]
    check(set.union(*turns) == there, "our own kernels: each test has its turn on each base", there - set.union(*turns))
    check(all(0.4 < len(turn) / len(there) < 0.6 for turn in turns), "about half of them in a run", [len(turn) for turn in turns])
    bases = {kind(case): set() for case in cases if is_plain(case)}
    for case in cases:
        if is_plain(case):
            bases[kind(case)].add(case.base)
    every = {key for key, its in bases.items() if len(its) > 1}
    check(all(every <= of(found, is_plain, kind) for found in parts), "a test of several bases in every run")
    check(all({case.setup() for case in found if is_plain(case)}.isdisjoint(
        {case.setup() for case in cases if is_plain(case) and case.title not in turn}) for found, turn in zip(parts, turns)),
          "and never a part of a boot")
    rest = [case for case in cases if case.title not in alternate and not is_plain(case)
            and not choose.is_watched(case.base) and not choose.is_debian(case.base)]
    check(all({case.title for case in rest} <= {case.title for case in found} for found in parts), "and all others")
    turns = {(choose.turn("turns", 8), choose.turn("debian", 2)) for choose.commit in
             [lambda head=head: "%040x" % head for head in range(200)]}
    check(len(turns) == 16, "a turn does not depend on another", turns)

    # A commit chooses only in a run of all tests.
    search = os.path.join(place, "tools") + ":" + os.environ["PATH"]       # made by shares()
    count = len(titles("--matrix", "none"))
    check(count == len(cases) and len(titles("--matrix", "1", PATH=search, HEAD="0")) > count,
          "with --matrix all plain tests run")
    check({title for title in titles("--base", "6.1", PATH=search, HEAD="0") if "+" not in title} ==
          set(titles("--base", "6.1", "--matrix", "none")), "with a base, all of that base")


def patterns(whole):
    check(not matrix(titles("--tests", "vm/emulated-insns guest/")),
          "a pattern that other tests match leaves the matrix out")
    names = {title.split("/")[1].split("+")[1] for title in whole}
    # A word matches wherever it occurs in a title: alone matches alone_v2, too.
    name = min(name for name in names if not any(name in other for other in names - {name}))
    its = [title for title in whole if "+%s/" % name in title]
    for pattern in ("+" + name, name, "*+%s/*" % name):
        check(sorted(titles("--tests", pattern)) == sorted(its),
              "'%s' selects all its cases, whatever the share" % pattern)
    check(titles("--tests", whole[-1]) == [whole[-1]]
          == titles("--tests", whole[-1], "--matrix", "1"), "a title selects that case")
    found = titles("--tests", "vm/emulated-insns", "--matrix", name)
    check(len(matrix(found)) and len(found) > len(matrix(found)) and set(matrix(found)) <= set(its),
          "with --matrix it is a pattern for both", found)
    for what, result in (("configuration", run("--matrix", "nonsense")), ("configuration", run(KVMPMU_MATRIX="nonsense")),
                         ("pattern of one", run("--tests", "+nonsense")),
                         ("pattern with --matrix none",
                          run("--tests", "+" + name, "--matrix", "none"))):
        check(refused(*result), "an unknown %s: one line and the next command" % what, result)


def order():
    def stage(title):
        level = re.sub(r"^(intel|amd)/(\d[^/]*/)?", "", title).split("/")[0]
        return "matrix" if "+" in title else "debug" if "-debug" in title else level

    found = [title for title in titles("--matrix", "all") if not title.startswith("tool/")]
    # Guest tests share boots with those of the host.
    begins = {which: next(title for title in found if stage(title) == which) for which in ("bare", "host", "vm", "debug", "matrix")}
    everything = titles("--matrix", "all")
    places = [everything.index(title) for title in ["tool/runner-verdicts"] + list(begins.values())]
    check(places == sorted(places),
          "quick tests of tools come first, then bare, host, vm, debug, and the matrix",
          begins, places)
    check(all("+" in title for title in everything[places[-1]:]) and places[3] < everything.index("tool/mutants") < places[-1],
          "the matrix is last, and long tests of tools come after the plain tests")


def make(place):
    """Run make test in a tree where the step that installs packages only prints that it would."""
    tree = os.path.join(place, "tree")
    for name in ("lib/lib.sh", "lib/kvmpmu.py", "step/setup", "step/chosen", "step/known-tests"):
        os.makedirs(os.path.dirname(os.path.join(tree, "scripts", name)), exist_ok=True)
        shutil.copy(os.path.join(TOP, "scripts", name), os.path.join(tree, "scripts", name))
    for name in ("Makefile", "patches", "tests", "tools"):
        os.symlink(os.path.join(TOP, name), os.path.join(tree, name))
    put(os.path.join(tree, "scripts/step/packages"), "#!/bin/sh\necho installs\nexit 1\n", 0o755)

    def test(tests, **environment):
        return run("--no-print-directory", "-C", tree, "test", "TESTS=" + tests, command="make", **environment)

    status, out, err = test("nonsense")
    said = [line for line in err if not line.startswith("make: ")]
    check(status and "installs" not in out and len(said) == 2 and "'nonsense'" in said[0] and said[1].startswith("next: "),
          "make test of an unknown test: refused before anything is installed", status, out, err)
    status, out, err = test("vm/emulated-insns")
    check("installs" in out, "make test of a test that exists: continues", status, out, err)
    # The programs that scripts/step/setup needs until then.
    bare = os.path.join(place, "bare")
    os.makedirs(bare)
    for name in ("sh", "bash", "make", "dirname", "basename", "sort", "df", "awk", "cat"):
        os.symlink(shutil.which(name), os.path.join(bare, name))
    for tests in ("nonsense", "vm/nonsense* bare/", "@nonsense", "+nonsense", "intel/6.12/bare/nonsense"):
        status, out, err = test(tests, PATH=bare)
        said = [line for line in err if not line.startswith("make: ")]
        check(status and not out and len(said) == 2 and "no test matches '" in said[0] and said[1] == "next: make list",
              "without python3: '%s' is refused, too" % tests, status, out, err)
    for tests in ("vm/emulated-insns", "vm/rep-* amd/6.12-mediated/guest", "@mediated", "+watchdog/guest/",
                  "*+zen3/*", ""):
        status, out, err = test(tests, PATH=bare)
        check("installs" in out, "without python3: '%s' continues" % tests, status, out, err)
    os.symlink(os.path.join(TOP, "scripts/cmd"), os.path.join(tree, "scripts/cmd"))
    status, out, err = run("--no-print-directory", "-C", tree, "list", command="make", PATH=bare)
    check(not status and "vm/emulated-insns" in out,
          "make list without python3: names of tests", status, out[:9], err)
    status, out, err = run("--no-print-directory", "-C", tree, "list", command="make")
    words = next((line.split() for line in out if line.startswith("vm/emulated-insns ")), [])
    check(not status and "@mediated" in words, "make list: names of tests and their groups", status, out[:9], err)


def main():
    place = tempfile.mkdtemp(prefix="matrix.")
    try:
        kinds(place)
        groups(place)
        whole = real()
        shares(place, whole)
        in_turn(place)
        patterns(whole)
        order()
        make(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return results.done()


if __name__ == "__main__":
    sys.exit(main())
