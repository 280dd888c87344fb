# SPDX-License-Identifier: GPL-2.0
"""What lib.sh is for shell, for commands in Python: how steps are shown, and how errors end."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import kvmpmu                   # noqa: E402
from kvmpmu import TOP          # noqa: E402

# Only the outermost command prints a message after Ctrl-C.
DEPTH = int(os.environ.get("KVMPMU_DEPTH", "0"))
os.environ["KVMPMU_DEPTH"] = str(DEPTH + 1)


class Failed(kvmpmu.Failed):
    """The common Failed with the exit codes of commands: 1 by default, and 2 for bad usage."""

    def __init__(self, line, following="", status=1):
        super().__init__(line, following, status)


def again():
    """Return the command to repeat after an error."""
    return kvmpmu.following(" ".join([os.path.relpath(sys.argv[0], TOP)] + sys.argv[1:]))


def note(text):
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what):
    """Print WHAT, and when the block has ended, the time that it took."""
    began = time.monotonic()
    print("  %s..." % what, end="", file=sys.stderr, flush=True)
    try:
        yield
    except BaseException:
        note("")
        raise
    note(" %.1f s" % (time.monotonic() - began))


def run(command, **more):
    """Run a command; return its output as text.

    Raise subprocess.CalledProcessError, which has its standard error.
    """
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="surrogateescape", stdin=None if "input" in more else subprocess.DEVNULL, **more).stdout


def write(path, text):
    """Write a file, either all of it or nothing."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w", newline="") as out:
        out.write(text)
    os.replace(path + ".new", path)


def pass_on(command):
    """Run a command of ours; return its standard output.

    If it fails, exit with its status: it has explained its failure itself.
    """
    done = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def room(megabytes):
    """Raise Failed if build/ has less than that many MiB free: now, not in ten minutes."""
    os.makedirs(os.path.join(TOP, "build"), exist_ok=True)
    free = shutil.disk_usage(os.path.join(TOP, "build")).free >> 20
    if free < megabytes:
        raise Failed("disk full: build has %d MiB free, about %d MiB are needed" % (free, megabytes),
                     "df -h build   # make room, then: %s" % again())


@contextlib.contextmanager
def hold(name):
    """Hold the lock NAME; wait until no other command holds it."""
    path = os.path.join(TOP, "build", ".lock." + name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("  %s: waiting for another command of this repository" % name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def command(main):
    """Run main() at the top of the repository, and exit with its status.

    Print an error as one line, and the next command as the last line.
    """
    os.chdir(TOP)
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as failed:
        line, following, status = str(failed), failed.following, failed.status
    except subprocess.CalledProcessError as failed:
        said = (failed.stderr or failed.stdout or "").strip().splitlines() or ["status %d" % failed.returncode]
        # A command of ours has printed its cause as "error: ..."; of others take the last line.
        ours = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
        line = ours[-1] if ours else "'%s': %s" % (" ".join(failed.cmd[:6]), said[-1])
        following, status = "", 1
    except KeyboardInterrupt:
        if DEPTH == 0:
            note("\ninterrupted: partial results will not be used\nnext: %s" % again())
        sys.exit(130)
    print("error: %s\nnext: %s" % (line, following or again()), file=sys.stderr)
    sys.exit(status)
