#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Query Debian's archive by scripts/step/apt, and make the text of pins.

Functions raise subprocess.CalledProcessError if the archive cannot be asked.
"""

import functools
import os
import re
import subprocess
import time

from series import field
from steps import Failed, TOP, command, run

# What a kernel's packages have in their names, as a regular expression; metapackages have less.
ABI = r"[0-9]+[.][0-9]+[.][0-9.]+(-[0-9]+)?([+]deb[0-9]+([u.][0-9]+)?)?"
KEYS = ("suite", "type", "package", "version", "file", "sha256")


def apt(suite, *arguments):
    """Run scripts/step/apt for binary packages; return its output."""
    return run([os.path.join(TOP, "scripts/step/apt"), suite, "deb"] + list(arguments), cwd=TOP)


def madison(suite, package):
    """Return the versions of a package that a suite has."""
    return [line.split("|")[1].strip() for line in apt(suite, "cache", "madison", package).splitlines() if "|" in line]


def newer(one, other):
    """Return whether the version ONE of a package is newer than the version OTHER."""
    return subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False).returncode == 0


def _alike(base, package):
    """Return a pattern of the names of packages that are named like this one but for the ABI."""
    # Some have only the base in their names, such as linux-kbuild-6.1.
    return re.sub(r"-%s[.][0-9.]*(-[0-9]+)?([+][a-z0-9.]+)?(-|$)" % re.escape(base),
                  lambda found: "-%s%s" % (ABI, found.group(3)), package)


def successors(base, paths, suite, version="", or_newest=False):
    """Return pins like those at PATHS, of one version, for packages of SUITE: their texts, by path.

    Most packages have the kernel's ABI in their names: find the ones of VERSION.  Without VERSION, or
    with OR_NEWEST if SUITE has not got it, take the newest of which it has them all.

    Raise Failed if there is none.
    """
    if not paths:
        return {}
    names = apt(suite, "cache", "pkgnames", "linux-").split()
    found = []
    for path in paths:
        pattern = _alike(base, field(path, "package"))
        alike = sorted(name for name in names if re.fullmatch(pattern, name))
        rows = apt(suite, "cache", "madison", *alike).splitlines() if alike else []
        found.append({row.split("|")[1].strip(): row.split("|")[0].strip() for row in rows if "|" in row})
    there = set(found[0]).intersection(*found[1:])
    if not there or (version and version not in there and not or_newest):
        raise Failed("Debian's %s has nothing like %s%s" % (suite, " and ".join(field(path, "package") for path in paths),
                                                            " of version " + version if version else ""),
                     "scripts/step/apt %s deb cache pkgnames linux-" % suite)
    if version not in there:
        version = max(there, key=functools.cmp_to_key(lambda a, b: newer(a, b) - newer(b, a)))
    return {path: pin(comments(path), suite, have[version], version) for path, have in zip(paths, found)}


def newest(suite, package):
    """Return the newest version of a package in a suite and its security suite, and which has it.

    Return two empty strings if neither has the package.
    """
    best = where = ""
    for name in (suite + "-security", suite):
        for version in madison(name, package):
            if not best or newer(version, best):
                best, where = version, name
    return best, where


def fresh(suite):
    """Fetch the lists of a suite if they are older than a day."""
    ready = os.path.join(TOP, "build/apt/%s-deb/ready" % suite)
    if not os.path.exists(ready) or time.time() - os.path.getmtime(ready) > 86400:
        apt(suite, "refresh")


def comments(path):
    """Return the comments of a pin."""
    with open(os.path.join(TOP, path)) as old:
        return "".join(line for line in old if line.startswith("#"))


def pin(comment, suite, package, version):
    """Return the text of a pin: the comment, and the archive's data of the package.

    Raise Failed if SUITE does not have that version.
    """
    shown = {}
    for line in apt(suite, "cache", "show", "%s=%s" % (package, version)).splitlines():
        if not line:
            break
        key, colon, value = line.partition(": ")
        if colon:
            shown.setdefault(key, value)
    if "SHA256" not in shown:
        raise Failed("Debian's %s has no %s of version %s" % (suite, package, version),
                     "scripts/step/apt %s deb cache policy %s" % (suite, package))
    values = (suite, "deb", shown["Package"], shown["Version"], os.path.basename(shown["Filename"]), shown["SHA256"])
    return comment + "".join("%s: %s\n" % pair for pair in zip(KEYS, values))


def main(arguments):
    """archive.py BASE SUITE VERSION DIR PIN...: write successors of the pins into DIR.

    They are of VERSION, or if SUITE has not got that, of its newest.
    """
    base, suite, version, place, *paths = arguments
    written = successors(base, paths, suite, version, or_newest=True)
    os.makedirs(place, exist_ok=True)
    for path, text in written.items():
        with open(os.path.join(place, os.path.basename(path)), "w") as out:
            out.write(text)
    return 0


if __name__ == "__main__":
    command(main)
