# SPDX-License-Identifier: GPL-2.0
"""Code that all Python programs of this repository share.

A program imports it with

    sys.dont_write_bytecode = True
    sys.path.insert(0, os.path.join(TOP, "scripts/lib"))

where TOP is the top of the repository, found from the program's own path.
"""

import argparse
import errno
import functools
import os
import re
import signal
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VENDORS = ("intel", "amd")
# The name of a kernel that is no base: mainline's newest one, with nothing of ours, for make bench.
PEER = "peer"


class Failed(Exception):
    """An error for the user: one line, and the next command.

    line        what is wrong
    following   the command to run next, which shows more or fixes it
    status      the program's exit status
    """

    def __init__(self, line, following, status=2):
        super().__init__(line)
        self.following, self.status = following, status

    def explain(self, program):
        """Return the two lines that end PROGRAM's output on standard error."""
        return "%s: %s\nnext: %s" % (program, self, self.following)


class Parser(argparse.ArgumentParser):
    """A parser of command lines that raises Failed for a wrong one.

    program     how to call the program, from the top of the repository
    doc         the program's docstring; --help prints the part from "Exit status:" on after the
                options
    """

    def __init__(self, program, doc):
        description, mark, rest = doc.partition("Exit status:")
        super().__init__(prog=program, description=description.strip(), epilog=mark + rest.rstrip(),
                         formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)

    def error(self, message):
        raise Failed(message, "%s --help" % self.prog)


def after(error, again):
    """Return the next command after the OSError ERROR: AGAIN, or df if a disk is full."""
    return "df -h build" if error.errno in (errno.ENOSPC, errno.EDQUOT) else again


def following(command):
    """Return the command to repeat: the call of make, or COMMAND if make was not called."""
    return os.environ.get("NEXT") or command


@functools.cache
def commit():
    """Return the hash of the commit that is checked out, or "" if there is none."""
    try:
        done = subprocess.run(["git", "rev-parse", "--verify", "--quiet", "HEAD"], cwd=TOP,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def version_key(base):
    """Return a base's version as numbers, to compare."""
    return [int(part) for part in base.split(".")]


def known_bases():
    """Return the bases, oldest first: the directories below patches/ are the only list of them."""
    place = os.path.join(TOP, "patches")
    names = os.listdir(place) if os.path.isdir(place) else []
    return sorted((name for name in names if re.fullmatch(r"\d+\.\d+", name)), key=version_key)


def has_mediated(base):
    """Return whether a base's series has a mediated vPMU."""
    with open(os.path.join(TOP, "patches", base, "series")) as series:
        return "arch/x86/kvm/mediated_pmu/" in series.read()


def built_bases():
    """Return the bases whose kernels are built, oldest first."""
    return [name for name in known_bases()
            if os.path.exists(os.path.join(TOP, "build", name, "obj/arch/x86/boot/bzImage"))]


def call(program, function, again):
    """Call function(), and return the exit status of PROGRAM.

    That is what function() returns.  If it raises Failed, OSError or KeyboardInterrupt, print one
    line and the next command, which is AGAIN if the exception has none, and return the status for
    that exception.  SIGTERM raises KeyboardInterrupt, as Ctrl-C does.
    """
    def interrupted(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    try:
        return function()
    except Failed as failed:
        print(failed.explain(program), file=sys.stderr, flush=True)
        return failed.status
    except OSError as error:
        print("%s: %s\nnext: %s" % (program, error, after(error, again)), file=sys.stderr,
              flush=True)
        return 2
    except KeyboardInterrupt:
        print("%s: interrupted\nnext: %s" % (program, again), file=sys.stderr, flush=True)
        return 130


def check_vendor(vendor, target):
    """Raise Failed if VENDOR is neither a vendor nor "all"; TARGET is make's target to repeat."""
    if vendor not in VENDORS + ("all",):
        raise Failed("unknown vendor '%s', there are %s" % (vendor, " and ".join(VENDORS)),
                     "make %s VENDOR=%s" % (target, VENDORS[0]))


def check_base(base, target, more=True):
    """Raise Failed if BASE is not a base; with MORE, accept a variant of a base and "all", too."""
    there = known_bases()
    if base not in there and not (more and (base == "all" or base.partition("-")[0] in there)):
        raise Failed("unknown base '%s', there are: %s" % (base, " ".join(there)),
                     "make %s BASE=%s" % (target, (there or ["6.1"])[0]))
