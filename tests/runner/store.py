# SPDX-License-Identifier: GPL-2.0
"""Files that are made once and kept in build/image, each with a stamp of its inputs."""

import contextlib
import fcntl
import hashlib
import os
import threading

from kvmpmu import Failed, TOP

OUT = os.path.join(TOP, "build/image")

_lock = threading.RLock()


def _fingerprint(inputs):
    """Return a hash over files, by name, size and time, and over words."""
    digest = hashlib.sha256()
    for name in inputs:
        if os.path.isabs(name) and os.path.exists(name):
            status = os.stat(name)
            name = "%s %d %d" % (name, status.st_size, status.st_mtime_ns)
        digest.update(name.encode() + b"\n")
    return digest.hexdigest()


@contextlib.contextmanager
def _making():
    """Let one thread make files at a time, of this runner and of others that run now."""
    with _lock:
        os.makedirs(OUT, exist_ok=True)
        with open(os.path.join(OUT, ".lock"), "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield


def kept(name, inputs, make):
    """Return the path of build/image/NAME; make it unless the same inputs have made it already.

    inputs      files, as absolute paths, and words on which the content depends; the source file of
                make() is always one
    make        writes the file to the path that it gets

    The file is written under another name and renamed.  Raise Failed if it cannot be written.
    """
    path, stamp = os.path.join(OUT, name), os.path.join(OUT, name + ".stamp")
    with _making():
        own = [os.path.abspath(__file__), os.path.abspath(make.__code__.co_filename)]
        want = _fingerprint(own + inputs)
        try:
            with open(stamp) as old:
                if old.read() == want and os.path.exists(path):
                    return path
        except OSError:
            pass
        os.makedirs(os.path.dirname(path), exist_ok=True)
        aside = path + ".new"
        try:
            for old in (stamp, path):
                if os.path.exists(old):
                    os.unlink(old)
            make(aside)
            os.replace(aside, path)
            with open(stamp + ".new", "w") as out:
                out.write(want)
            os.replace(stamp + ".new", stamp)
        except OSError as error:
            raise Failed("cannot write %s: %s" % (os.path.relpath(path), error.strerror),
                         "df -h build") from None
        finally:
            for left in (aside, stamp + ".new"):
                if os.path.exists(left):
                    os.unlink(left)
    return path
