# SPDX-License-Identifier: GPL-2.0
"""The programs of tests: compiled ones, scripts, the bases' selftests, and images without an OS.

Every function returns a path, and raises Failed with one line and the next command.
"""

import glob
import os
import re
import shutil
import subprocess

from kvmpmu import Failed, TOP, following
from store import kept as _kept
from variants import variant

LIB = os.path.join(TOP, "tests/lib")
CFLAGS = "-std=gnu11 -D_GNU_SOURCE -O2 -g0 -Wall -Wextra -Werror -static".split()


def library():
    """Return the C library of the tests, an archive of tests/lib's objects, and its sources."""
    sources = sorted(path for pattern in ("*.[chS]", "*/*.[chS]") for path in glob.glob(os.path.join(LIB, pattern)))

    def make(path):
        objects = path + ".d"
        shutil.rmtree(objects, ignore_errors=True)
        os.makedirs(objects)
        try:
            made = []
            for source in sources:
                if not source.endswith(".h"):
                    made.append(os.path.join(objects, os.path.relpath(source, LIB).replace("/", "-") + ".o"))
                    _compiled(["gcc"] + CFLAGS + ["-I", LIB, "-c", "-o", made[-1], source], os.path.relpath(source, TOP))
            _compiled(["ar", "rcsD", path] + made, "tests/lib")
        finally:
            shutil.rmtree(objects, ignore_errors=True)

    return _kept("bin/tests/lib.a", sources + CFLAGS, make), sources


def _compiled(command, source):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Failed("%s does not compile:\n%s" % (source, done.stdout.rstrip()), "edit %s" % source)


def program(source):
    """Return what to run for a test's file.

    A C source is compiled and linked with tests/lib; any other file runs as it is.
    """
    absolute = os.path.join(TOP, source)
    if not os.path.exists(absolute):
        raise Failed("no such file: %s" % source, "ls %s" % os.path.dirname(source))
    if not source.endswith(".c"):
        return absolute
    with open(absolute) as text:
        nolibc = "-nostdlib" in text.readline() + text.readline()
    archive, inputs = library()
    flags = CFLAGS + (["-nostdlib", "-fno-stack-protector"] if nolibc else [])

    def make(path):
        _compiled(["gcc"] + flags + ["-I", LIB, "-o", path, absolute] + ([] if nolibc else [archive]), source)

    return _kept("bin/" + re.sub(r"\.c$", "", source), [absolute] + inputs + flags, make)


def selftest(name, base):
    """Return the KVM selftest NAME of the kernel of BASE, or of a variant of it."""
    plain = variant(base).base
    path = os.path.join(TOP, "build", plain, "selftests", name)
    if not os.path.exists(path):
        raise Failed("selftest %s of base %s is not built" % (name, plain),
                     following("tests/selftests/build %s" % plain))
    return path


def rom(source, out):
    """Build the image of a test without an OS from SOURCE, into the file OUT; return OUT."""
    build = os.path.join(TOP, "tests/bare/build")
    done = subprocess.run([build, source, out], cwd=TOP, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode or not os.path.exists(out):
        raise Failed("%s does not build:\n%s" % (source, done.stdout.rstrip()),
                     "tests/bare/build %s /dev/null" % source)
    return out
