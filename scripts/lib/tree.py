# SPDX-License-Identifier: GPL-2.0
"""Make a base's tree, a git repository, and bring it to the series; see scripts/cmd/tree."""

import os
import shutil
import subprocess

import series
from series import BRANCH, SERIES, Repository
from steps import Failed, note, room, step, write


def read(path):
    try:
        with open(path) as text:
            return text.read().strip()
    except OSError:
        return ""


def unpack(deb, place):
    """Unpack the package linux-source-VERSION into the directory PLACE."""
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    script = ("set -o pipefail; dpkg-deb --fsys-tarfile \"$1\" | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |"
              " tar -x -I 'xz -dT0' -C \"$2\" --strip-components=1")
    subprocess.run(["bash", "-c", script, "unpack", deb, place], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if not os.path.exists(os.path.join(place, "Kbuild")):
        raise Failed("%s has no kernel's source in it" % os.path.basename(deb), "dpkg-deb -c %s" % deb)
    # Debian's .gitignore ignores everything at the top but its packaging, and so new files.
    ignore = os.path.join(place, ".gitignore")
    with open(ignore) as lines:
        text = lines.read()
    with open(ignore, "w") as out:
        out.write("".join(line for line in text.splitlines(True) if line.strip() not in ("/*", "!/debian/")))


def begin(repository, deb):
    """Make the tree of a new source package, and remove what was built from the last one."""
    base, place, name = repository.base, repository.place, os.path.basename(deb)
    if repository.exists() and (repository.busy() or local_work(repository)):
        raise Failed("build/%s/linux has work that is not exported, of another source than %s" % (base, name),
                     "make export BASE=%s   # or: rm -rf build/%s/linux" % (base, base))
    room(5000)
    for what in ("stamp.prepare", "stamp.series", "source"):
        if os.path.exists(os.path.join(place, what)):
            os.unlink(os.path.join(place, what))
    with step("%s: unpack %s" % (base, name)):
        for what in ("linux", "linux.new", "obj"):
            shutil.rmtree(os.path.join(place, what), ignore_errors=True)
        unpack(deb, os.path.join(place, "linux.new"))
    with step("%s: commit it" % base):
        new = Repository(base)
        new.tree += ".new"
        new.git("init", "-q", "-b", BRANCH)
        new.git("tag", "base", new.record(name, new.tree))
        new.git("reset", "-q", "--mixed", "base")
        os.rename(new.tree, repository.tree)
    write(os.path.join(place, "source"), name + "\n")


def local_work(repository):
    """Return whether the tree has edits or commits that the series does not have."""
    return bool(repository.dirty()) or not repository.has(SERIES) or \
        repository.git("rev-parse", "HEAD") != repository.git("rev-parse", SERIES) and \
        repository.git("rev-parse", "HEAD") != repository.git("rev-parse", "base^{commit}")


def adopt(repository, new):
    """Check out the commits of the series; NEW is the last of them."""
    repository.git("checkout", "-q", "-B", BRANCH, new)
    repository.git("update-ref", SERIES, new)


def update(repository):
    """Bring the tree to the series, unless it has work that is not exported."""
    base, stamp = repository.base, os.path.join(repository.place, "stamp.series")
    if repository.busy():
        raise Failed("build/%s/linux is in the middle of a rebase" % base,
                     "cd build/%s/linux   # git rebase --continue, or --abort" % base)
    local = repository.has(SERIES) and local_work(repository)
    want = series.digest(base)
    if not repository.has(SERIES) or read(stamp) != want:
        found = series.mails(base)
        with step("%s: commit %d mails" % (base, len(found))):
            new = repository.commits(found)
        # The digest also covers the program that makes the commits: they may be the same.
        same = repository.has(SERIES) and new == repository.git("rev-parse", SERIES)
        if local and not same:
            if repository.dirty() or repository.git("rev-parse", "HEAD^{tree}") != repository.git("rev-parse", new + "^{tree}"):
                raise Failed("patches/%s and build/%s/linux have both changed" % (base, base),
                             "git -C build/%s/linux reset --hard %s   # or, to keep that: git checkout patches/%s" %
                             (base, SERIES, base))
            local = False
        if not local:
            adopt(repository, new)
        write(stamp, want + "\n")
    if local:
        note("  %s: build/%s/linux has changes that are not exported: these are built" % (base, base))


def hunks(repository):
    """Return FILE:LINE of each conflict at which git has stopped."""
    found = []
    for name in repository.git("diff", "--name-only", "--diff-filter=U").splitlines():
        path = os.path.join(repository.tree, name)
        if not os.path.exists(path):
            found.append("%s:1 (the new kernel has no such file)" % name)
            continue
        with open(path, errors="replace") as text:
            found += ["%s:%d" % (name, number) for number, line in enumerate(text, 1) if line.startswith("<<<<<<< ")]
    return found
