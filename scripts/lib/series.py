#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A base's series, as it is kept here, as mails, and as commits.

patches/BASE/series lists the patches in order, with comments.  Below a patch, with a blank in front, are the new files that
come with it: their content is below arch/, include/ and kernel/ of this repository, one copy for all bases.  A patch and its
new files are a mail, and a commit of build/BASE/linux.

series.py mails BASE DIR    write the mails, one file each; the same bytes for the same series
series.py new-files BASE    the new files, one a line
"""

import contextlib
import email
import email.policy
import hashlib
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from kvmpmu import known_bases                # noqa: E402
from steps import Failed, TOP, command, run   # noqa: E402

# What git writes depends neither on who runs it, nor on a configuration.
for variable in [name for name in os.environ if name.startswith("GIT_")]:
    del os.environ[variable]
os.environ.update(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null", LC_ALL="C")
GIT = ["git", "-c", "core.abbrev=12", "-c", "gc.auto=0", "-c", "advice.detachedHead=false", "-c", "merge.conflictStyle=diff3",
       "-c", "user.name=kvm-pmu", "-c", "user.email=kvm-pmu@localhost"]
BRANCH, SERIES = "series", "refs/kvm-pmu/series"


def check_base(base):
    """The base, or the error that there is none of this name."""
    if base not in known_bases():
        raise Failed("unknown BASE '%s'; there is: %s" % (base, " ".join(known_bases())),
                     "make %s BASE=%s" % (os.environ.get("KVMPMU_TARGET") or "tree", known_bases()[0]), 2)
    return base


def field(path, key):
    """The value of a "key: value" line of a pin."""
    with open(os.path.join(TOP, path)) as lines:
        found = re.search(r"^%s:[ \t]*(.*)$" % re.escape(key), lines.read(), re.M)
    return found.group(1) if found else ""


class Mail:
    """A patch of a base's series and the new files that come with it."""

    def __init__(self, base, name):
        self.path, self.name, self.files = os.path.join("patches", base, name), name, []

    def text(self):
        """The whole mail, as git am takes it."""
        with open(os.path.join(TOP, self.path), newline="") as patch:
            whole = patch.read()
        if re.search(r"^--- /dev/null", whole, re.M):
            raise Failed("%s adds a file: a new file has its place below arch/, include/ or kernel/" % self.path,
                         "grep -A1 '^--- /dev/null' %s" % self.path)
        added = []
        for name in self.files:
            with open(os.path.join(TOP, name), newline="") as file:
                lines = file.read().splitlines(True)
            added.append("diff --git a/%s b/%s\nnew file mode 100644\n--- /dev/null\n+++ b/%s\n@@ -0,0 +1,%d @@\n%s" %
                         (name, name, name, len(lines), "".join("+" + line for line in lines)))
        return whole.rstrip("\n") + "\n" + "".join(added)

    def touched(self):
        """The files that its patch edits."""
        with open(os.path.join(TOP, self.path), newline="") as patch:
            return sorted(set(re.findall(r"^\+\+\+ [^/\s]*/(\S+)", patch.read(), re.M)))

    def head(self):
        """Author, address, date and message, of which each has to be there."""
        with open(os.path.join(TOP, self.path), newline="") as patch:
            whole = re.sub(r"\A(From [0-9a-f]{40} .*\n)", "", patch.read())
        mail = email.message_from_string(whole, policy=email.policy.default)
        for key in ("From", "Date", "Subject"):
            if not mail[key]:
                raise Failed("%s has no line '%s:'" % (self.path, key), "head %s" % self.path)
        who = re.fullmatch(r"\s*\"?([^<\"]*?)\"?\s*<([^>]+)>\s*", str(mail["From"]))
        if not who:
            raise Failed("%s does not say who it is from" % self.path, "head %s" % self.path)
        subject = re.sub(r"^\[PATCH[^]]*\]\s*", "", str(mail["Subject"]))
        body = re.split(r"^---\s*$", mail.get_content(), maxsplit=1, flags=re.M)[0].strip("\n")
        return who.group(1), who.group(2), str(mail["Date"]), "%s\n\n%s\n" % (subject, body)


def mails(base):
    """The mails of a base's series, in order; raises Failed for one that is not there."""
    path = os.path.join("patches", base, "series")
    found = []
    with open(os.path.join(TOP, path)) as lines:
        for number, line in enumerate(lines, 1):
            line = re.sub(r"\s*#.*", "", line.rstrip("\n"))
            if not line.strip():
                continue
            if not line[0].isspace():
                found.append(Mail(base, line))
            elif not found:
                raise Failed("%s:%d: a new file without a patch" % (path, number), "edit %s" % path)
            else:
                found[-1].files.append(line.strip())
    for mail in found:
        for name in [mail.path] + mail.files:
            if not os.path.exists(os.path.join(TOP, name)):
                raise Failed("%s lists %s, which does not exist" % (path, mail.name if name == mail.path else name),
                             "ls %s" % os.path.dirname(name))
    return found


def new_files(base):
    return [name for mail in mails(base) for name in mail.files]


def digest(base):
    """One hash over all that the commits are made of."""
    total = hashlib.sha256()
    for mail in mails(base):
        for name in [mail.path] + mail.files:
            total.update(name.encode() + b"\0")
            with open(os.path.join(TOP, name), "rb") as content:
                total.update(content.read() + b"\0")
    with open(os.path.abspath(__file__), "rb") as me:
        total.update(me.read())
    return total.hexdigest()


class Repository:
    """build/BASE/linux: Debian's source as a commit tagged 'base', and behind it a commit a mail."""

    def __init__(self, base):
        self.base, self.place = base, os.path.join(TOP, "build", base)
        self.tree = os.path.join(self.place, "linux")

    def git(self, *arguments, **more):
        return run(GIT + ["-C", self.tree] + list(arguments), **more).strip("\n")

    def has(self, name):
        return subprocess.run(GIT + ["-C", self.tree, "rev-parse", "--verify", "--quiet", name + "^{commit}"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def exists(self):
        return os.path.isdir(os.path.join(self.tree, ".git"))

    def busy(self):
        """Is a person in the middle of a rebase, or of git am?"""
        return any(os.path.exists(os.path.join(self.tree, ".git", name)) for name in ("rebase-merge", "rebase-apply"))

    @contextlib.contextmanager
    def index(self):
        """The environment of git for an index of its own, so that neither the tree nor its index changes."""
        path = os.path.join(self.tree, ".git", "kvm-pmu.index")
        try:
            yield {**os.environ, "GIT_INDEX_FILE": path}
        finally:
            for name in (path, path + ".lock"):
                if os.path.exists(name):
                    os.unlink(name)

    def record(self, message, source):
        """Commit all that is in the directory source as a kernel without the series."""
        with self.index() as environment:
            # Blobs above the threshold go into one pack as they are read: a minute less than one file each.
            run(GIT + ["--git-dir=" + os.path.join(self.tree, ".git"), "--work-tree=" + source, "-c", "core.bigFileThreshold=1",
                       "-c", "core.compression=1", "add", "-A", "-f", "."], env=environment, cwd=source)
            tree = self.git("write-tree", env=environment)
        return self.git("commit-tree", "-m", message, tree, env=self.who("base", "base@localhost", "@0 +0000"))

    @staticmethod
    def who(name, address, date):
        """The environment of a commit that comes out the same wherever it is made."""
        return {**os.environ, "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": address, "GIT_AUTHOR_DATE": date,
                "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": address, "GIT_COMMITTER_DATE": date}

    def commits(self, series):
        """Commit each mail on top of the base, in no working tree; return the last commit.

        Raises Failed with the mail, the file and the line where one does not apply; git apply knows no fuzz."""
        with self.index() as environment:
            parent = self.git("rev-parse", "base^{commit}")
            self.git("read-tree", parent, env=environment)
            for mail in series:
                try:
                    self.git("apply", "--cached", "--whitespace=nowarn", "-", input=mail.text(), env=environment)
                except subprocess.CalledProcessError as error:
                    raise Failed("%s does not apply at fuzz 0: %s" % (mail.path, rejected(error.stderr)),
                                 "git -C build/%s/linux apply --check %s" % (self.base, os.path.join(TOP, mail.path))) from None
                tree = self.git("write-tree", env=environment)
                name, address, date, message = mail.head()
                parent = self.git("commit-tree", "-p", parent, "-F", "-", tree, input=message, env=self.who(name, address, date))
        return parent

    def dirty(self):
        """What in the tree no commit has, as git status --short says it."""
        return self.git("status", "--porcelain", "--untracked-files=normal")

    def identity(self):
        """What the tree is like, whoever has made it so."""
        total = hashlib.sha256(self.git("rev-parse", "HEAD^{tree}").encode())
        state = self.dirty()
        if state:
            total.update(state.encode() + self.git("diff", "HEAD").encode(errors="surrogateescape"))
            for line in state.splitlines():
                path = os.path.join(self.tree, line[3:])
                if line.startswith("??") and os.path.isfile(path):
                    with open(path, "rb") as content:
                        total.update(content.read())
        return total.hexdigest()


def rejected(said):
    """Of what git apply says: where the first hunk is that does not fit."""
    for pattern, words in ((r"^error: patch failed: (\S+)$", "%s"), (r"^error: (\S+): does not exist.*$", "%s:1 (not there)"),
                           (r"^error: (\S+): No such file.*$", "%s:1 (not there)"),
                           (r"^error: (\S+): already exists.*$", "%s:1 (there already)"), (r"^error: (.*)$", "%s")):
        found = re.search(pattern, said, re.M)
        if found:
            return words % found.group(1)
    return "all of it"


def main(arguments):
    if arguments[:1] == ["mails"] and len(arguments) == 3:
        series = mails(check_base(arguments[1]))
        os.makedirs(arguments[2], exist_ok=True)
        for mail in series:
            with open(os.path.join(arguments[2], mail.name), "w", newline="") as out:
                out.write(mail.text())
        return 0
    if arguments[:1] == ["new-files"] and len(arguments) == 2:
        print("".join(name + "\n" for name in new_files(check_base(arguments[1]))), end="")
        return 0
    raise Failed("usage: scripts/lib/series.py mails BASE DIR | new-files BASE", "sed -n 3,13p scripts/lib/series.py", 2)


if __name__ == "__main__":
    command(main)
