#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: the tests of tests/vm fail on the stock kernel and on wrong versions of our series, each
where tests/vm/mutants says so.

Build the modules of tests/vm/mutants: one set per base, in which kvm.mutant=N enables the N-th
wrong version.  On each mutant run the tests that its stanza names, from a temporary list, with a
boot per mutant.  Each of them must fail by its own results, and not because the machine goes down,
unless the stanza has "says".  If nothing is wrong, the named tests must pass, or all tests of the
base.

mutants.py NAME... runs only these mutants.  Without names a share of them runs; the commit chooses
it, as it chooses that of the matrix (tests/runner/run.py).  KVMPMU_MUTANTS=all runs all mutants,
KVMPMU_MUTANTS=K the K-th share.  In a share, a mutant on a host that checks itself has the turn of
that host, whose kernel takes minutes to build.  A mutant that several bases have runs on one of them
in a share, which the commit chooses too, and else on all.  mutants.py --texts BASE... only checks
that the text that each mutant replaces is still there, once, and that both texts are whole.

Print a result for each test in KTAP; exit status 1 if any is bad.
"""

import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "tests/runner"), os.path.join(TOP, "scripts/lib")]

import choose                               # noqa: E402
import testlist                             # noqa: E402
from kvmpmu import Failed, VENDORS, commit, has_mediated, known_bases  # noqa: E402
from variants import MEDIATED               # noqa: E402

LIST = "tests/vm/mutants"
STOCK = ("stock", "debug-stock")
# Where the parameter is defined; patch() declares it after the includes of each header.
DEFINE = ("pmu.c", "static struct kvm_pmu_ops kvm_pmu_ops __read_mostly;\n",
          "int kvm_mutant;\nEXPORT_SYMBOL_GPL(kvm_mutant);\nmodule_param_named(mutant, kvm_mutant, int, 0444);\n\n")
DECLARE = "\nextern int kvm_mutant;\n"


SHARES = 4          # all mutants of a base take about 20 minutes on two cores


def is_piece(was, piece):
    """Return whether PIECE, which stands for WAS or is WAS, is a statement or else an expression.

    This is no parser; it finds a piece that was cut where the line became too long.
    """
    if was.endswith(";"):
        return piece.endswith((";", "}")) and piece.count("{") == piece.count("}")
    return piece.count("(") == piece.count(")") and not re.match(r"(if|for|while|switch|return|goto)\b", piece) \
        and not re.search(r"[-+*/%&|^=<>!~?:,({]$", piece)


def spliced(text, file, was, versions):
    """Return the text with all versions of a piece; kvm_mutant chooses the one that runs."""
    def plain(piece):
        return piece.replace("\\n", "\n").replace("\\t", "\t")

    was = plain(was)
    if text.count(was) != 1:
        raise Failed("%s: '%s' is there %d times, not once" % (file, was, text.count(was)), "edit %s" % LIST)
    for piece in [was] + [plain(version) for _, version in versions]:
        if not is_piece(was, piece):
            raise Failed("%s: '%s' is neither a statement nor an expression" % (file, piece), "edit %s" % LIST)
    if not was.endswith(";"):
        expression = "(%s)" % was
        for number, version in versions:
            expression = "(kvm_mutant == %d ? (%s) : %s)" % (number, plain(version), expression)
        return text.replace(was, expression)
    statement = "{ %s }" % was
    for number, version in versions:
        statement = "if (kvm_mutant == %d) { %s } else %s" % (number, plain(version), statement)
    return text.replace(was, statement)


def patch(base, mutants):
    """Return a patch that adds all mutants to our sources; a mutant is (number, stanza)."""
    files, pieces = {}, {}
    for name in sorted({"pmu.c", "pmu.h"} | {mutant["file"] for _, mutant in mutants if "file" in mutant}):
        path = os.path.join(TOP, "build", base, "linux/arch/x86/kvm", name)
        with open(path) as source:
            files[name] = source.read()
    mutated = dict(files)
    for number, mutant in mutants:
        if "was" in mutant:
            pieces.setdefault((mutant["file"], mutant["was"]), []).append((number, mutant["is"]))
    # Replace the longest first, because it may contain another one.
    for (file, was), versions in sorted(pieces.items(), key=lambda item: -len(item[0][1])):
        mutated[file] = spliced(mutated[file], file, was, versions)
    file, behind, what = DEFINE
    mutated[file] = mutated[file].replace(behind, what + behind, 1)
    for file in mutated:
        if file.endswith(".h"):
            end = list(re.finditer(r"^#include .*\n", mutated[file], re.M))[-1].end()
            mutated[file] = mutated[file][:end] + DECLARE + mutated[file][end:]
    lines = []
    for name, old in files.items():
        where = "arch/x86/kvm/" + name
        lines += difflib.unified_diff(old.splitlines(True), mutated[name].splitlines(True), "a/" + where, "b/" + where)
    return "".join(lines)


def expanded(mutants):
    """Return (number, stanza) of each mutant and base that it is a version of."""
    for number, mutant in enumerate(mutants, 1):
        base = mutant.get("base", "6.1")
        bases = [name + MEDIATED for name in known_bases() if has_mediated(name)] if base == "mediated" else [base]
        for base in bases:
            yield number, {**mutant, "base": base}


def build(base, mutants, chosen):
    """Build the modules with all MUTANTS of a base, and the stock ones that CHOSEN mutants need.

    What is not chosen is not built: debug-stock has a kernel of its own, which takes 12 minutes.
    """
    place = os.path.join("build", base, "mutants/mutants")
    os.makedirs(os.path.join(TOP, place), exist_ok=True)
    changes = os.path.join(TOP, place, "mutants.patch")
    with open(changes + ".new", "w") as out:
        out.write(patch(base, mutants))
    os.replace(changes + ".new", changes)
    commands = [["--with", changes, "--base", base, "--out", os.path.join(place, "modules")]]
    commands += [["--stock", "--base", variant_of(mutant).replace("-stock", "")]
                 for _, mutant in chosen if mutant["name"] in STOCK]
    for command in commands:
        subprocess.run([os.path.join(TOP, "scripts/cmd/modules")] + command, cwd=TOP, stdin=subprocess.DEVNULL,
                       stdout=sys.stderr, check=True)


def variant_of(mutant):
    """Return the variant of its base on which a mutant's tests run.

    For a mutant of 6.12-mediated it is 6.12-mutants-mediated.
    """
    base, dash, kind = mutant["base"].partition("-")
    return "%s-%s%s%s" % (base, mutant["name"] if mutant["name"] in STOCK else "mutants", dash, kind)


def run(variant, cases, logs):
    """Run the tests CASES, pairs of name and stanza; return results by vendor and name."""
    path = os.path.join(logs, "list." + variant)
    with open(path, "w") as out:
        for name, stanza in cases:
            out.write(testlist.text({**stanza, "name": name, "bases": variant}))
    done = subprocess.run([os.path.join(TOP, "tests/runner/run.py"), "--list", path, "--logs", os.path.join(logs, variant),
                           "--base", variant], stdout=subprocess.PIPE, stderr=sys.stderr, text=True, check=False)
    got = {}
    for line in done.stdout.splitlines():
        result = re.fullmatch(r"(not ok|ok) \d+ - (\w+)/[^/]+/(\S+)( # .*?)?(?: \(log: .*\))?", line)
        if result:
            got[result.group(2), result.group(3)] = result.group(1) + (result.group(4) or "")
    return got


def share(mutants):
    """Return the mutants whose turn it is, and a name for the share; a mutant is (number, stanza)."""
    wanted = os.environ.get("KVMPMU_MUTANTS", "share")
    if wanted == "all":
        return mutants, "all"
    turn = int(commit() or "0", 16)
    if wanted == "share":
        wanted = str(turn % SHARES + 1)
    if not wanted.isdigit() or not 1 <= int(wanted) <= SHARES:
        raise Failed("KVMPMU_MUTANTS=%s: there are all share 1...%d" % (wanted, SHARES), "KVMPMU_MUTANTS=all tests/tool/mutants.py")
    everything = argparse.Namespace(vendor="all", base="all", tests=[])
    host = choose.watched_in_turn(choose.plain_cases(testlist.read(os.path.join(TOP, "tests/list")), everything))
    chosen = []
    for number in sorted({number for number, _ in mutants}):
        versions = [mutant for mutant in mutants if mutant[0] == number]
        version = versions[turn // SHARES % len(versions)]
        own = variant_of(version[1]).removesuffix("-stock")
        if own == host if choose.is_watched(own) else number % SHARES == int(wanted) - 1:
            chosen.append(version)
    return chosen, "share %s of %d" % (wanted, SHARES)


def of_base(mutants, base):
    return [(number, mutant) for number, mutant in mutants if variant_of(mutant).partition("-")[0] == base]


def main():
    mutants = list(expanded(testlist.parse(os.path.join(TOP, LIST), joint="")))
    if sys.argv[1:2] == ["--texts"]:
        for base in sys.argv[2:]:
            patch(base, of_base(mutants, base))
        return 0
    unknown = set(sys.argv[1:]) - {mutant["name"] for _, mutant in mutants}
    if unknown:
        raise Failed("no such mutant: %s" % " ".join(sorted(unknown)), "grep ^name: %s" % LIST)
    tests = {test["name"].split("/")[1]: test
             for test in testlist.read(os.path.join(TOP, "tests/list")).tests
             if testlist.level(test) == "vm" and test.get("run") != "named"}
    if sys.argv[1:]:
        chosen, said = [mutant for mutant in mutants if mutant[1]["name"] in sys.argv[1:]], "as named"
    else:
        chosen, said = share(mutants)
    print("# mutants: %s, %d of %d" % (said, len(chosen), len(mutants)))
    for base in sorted({variant_of(mutant).partition("-")[0] for _, mutant in chosen}):
        build(base, of_base(mutants, base), of_base(chosen, base))

    cases, wanted = {}, []
    for number, mutant in chosen:
        variant, base = variant_of(mutant), mutant["base"]
        right = mutant.get("passes", " ".join(name for name in tests if base in tests[name].get("bases", base).split()))
        fails = mutant.get("fails", "")
        for test in (fails or right).split():
            name = "vm/%s/%s" % (mutant["name"], test)
            vendors = mutant.get("vendors", tests[test].get("vendors", " ".join(VENDORS)))
            own = "kvm.mutant=%d" % number if mutant["name"] not in STOCK else ""
            kvm = " ".join((tests[test].get("kvm", ""), mutant.get("kvm", ""), own)).strip()
            cpu = {key: mutant[key] for key in ("model", "perfmon") if key in mutant}
            cases.setdefault(variant, []).append((name, {**tests[test], "kvm": kvm, "vendors": vendors, **cpu}))
            how = "not ok" if fails else "ok"
            wanted += [(variant, vendor, name, how, mutant.get("says", "")) for vendor in vendors.split()]
    logs = tempfile.mkdtemp(prefix="mutants.")
    try:
        got = {variant: run(variant, cases[variant], logs) for variant in cases}
    finally:
        shutil.rmtree(logs, ignore_errors=True)
    bad = 0
    for number, (variant, vendor, name, want, says) in enumerate(wanted, 1):
        have = got[variant].get((vendor, name), "no result")
        good = have.startswith(want + " # ") and says in have if says else have == want
        bad += not good
        print("%s %d - %s/%s: %s: %s" % ("ok" if good else "not ok", number, vendor, variant, name[3:],
                                        have.replace(" # ", ": ")))
    print("1..%d" % len(wanted))
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        print(failed.explain("mutants"), file=sys.stderr)
        sys.exit(failed.status)
    except subprocess.CalledProcessError as failed:
        sys.exit(failed.returncode)
