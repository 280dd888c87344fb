# SPDX-License-Identifier: GPL-2.0
"""Query Debian's archive by scripts/step/apt, and make the text of pins.

Functions raise subprocess.CalledProcessError if the archive cannot be asked.
"""

import os
import subprocess
import time

from steps import Failed, TOP, run

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
