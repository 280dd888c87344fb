#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A base's series: as it is stored here, as mails, and as commits.

patches/BASE/series lists the patches in order, with comments.  The indented lines after a patch are
the new files that come with it; their content is below arch/, include/ and kernel/ of this
repository, one copy for all bases.  A patch and its new files are one mail, and one commit of
build/BASE/linux.

series.py mails BASE DIR    write the mails, one file each; the same series gives the same bytes
series.py new-files BASE    print the new files, one per line
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

# The output of git must depend neither on the user nor on a configuration.
for variable in [name for name in os.environ if name.startswith("GIT_")]:
    del os.environ[variable]
os.environ.update(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null", LC_ALL="C")
GIT = ["git", "-c", "core.abbrev=12", "-c", "gc.auto=0", "-c", "advice.detachedHead=false", "-c", "merge.conflictStyle=diff3",
       "-c", "user.name=kvm-pmu", "-c", "user.email=kvm-pmu@localhost"]
BRANCH, SERIES = "series", "refs/kvm-pmu/series"


def check_base(base):
    """Return the base, or raise Failed if there is none with this name."""
    if base not in known_bases():
        raise Failed("unknown BASE '%s'; there is: %s" % (base, " ".join(known_bases())),
                     "make %s BASE=%s" % (os.environ.get("KVMPMU_TARGET") or "tree", known_bases()[0]), 2)
    return base


def field(path, key):
    """Return the value of a line "key: value" of a pin, or ""."""
    with open(os.path.join(TOP, path)) as lines:
        found = re.search(r"^%s:[ \t]*(.*)$" % re.escape(key), lines.read(), re.M)
    return found.group(1) if found else ""


class Mail:
    """A patch of a base's series and the new files that come with it."""

    def __init__(self, base, name):
        self.path, self.name, self.files = os.path.join("patches", base, name), name, []

    def text(self):
        """Return the whole mail, new files included, as git am takes it."""
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
        """Return the files that its patch edits."""
        with open(os.path.join(TOP, self.path), newline="") as patch:
            return sorted(set(re.findall(r"^\+\+\+ [^/\s]*/(\S+)", patch.read(), re.M)))

    def head(self):
        """Return author, address, date and message; raise Failed if one is missing."""
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


def mails(base, modules=False):
    """Return the mails of a base's series, in order.

    modules     only those that change modules, and so also fit a kernel that exists already; two
                comments of the series enclose the others (mails.sh: module_mail_names)

    Raise Failed if the series lists a file that does not exist.
    """
    path = os.path.join("patches", base, "series")
    found, kernel = [], False
    with open(os.path.join(TOP, path)) as lines:
        for number, line in enumerate(lines, 1):
            if line.startswith("# The modules of a kernel that exists leave out"):
                kernel = True
            elif line.startswith("# ... up to here"):
                kernel = False
            if modules and kernel:
                continue
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
    """Return one hash over everything that the commits are made of, this program included."""
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
    """build/BASE/linux: Debian's source as a commit tagged 'base', then one commit per mail."""

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
        """Return whether the repository is in the middle of a rebase or of git am."""
        return any(os.path.exists(os.path.join(self.tree, ".git", name)) for name in ("rebase-merge", "rebase-apply"))

    @contextlib.contextmanager
    def index(self):
        """Yield an environment in which git uses a temporary index.

        Neither the working tree nor its own index changes.
        """
        path = os.path.join(self.tree, ".git", "kvm-pmu.index")
        try:
            yield {**os.environ, "GIT_INDEX_FILE": path}
        finally:
            for name in (path, path + ".lock"):
                if os.path.exists(name):
                    os.unlink(name)

    def record(self, message, source):
        """Commit all files in the directory SOURCE, which is a kernel without the series.

        Return the commit.
        """
        with self.index() as environment:
            # Blobs above the threshold are streamed into one pack; a file for each of them would
            # take a minute longer.
            run(GIT + ["--git-dir=" + os.path.join(self.tree, ".git"), "--work-tree=" + source, "-c", "core.bigFileThreshold=1",
                       "-c", "core.compression=1", "add", "-A", "-f", "."], env=environment, cwd=source)
            tree = self.git("write-tree", env=environment)
        return self.git("commit-tree", "-m", message, tree, env=self.who("base", "base@localhost", "@0 +0000"))

    @staticmethod
    def who(name, address, date):
        """Return the environment for a commit whose hash is the same wherever it is made."""
        return {**os.environ, "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": address, "GIT_AUTHOR_DATE": date,
                "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": address, "GIT_COMMITTER_DATE": date}

    def commits(self, series):
        """Commit each mail on top of the base, without a working tree; return the last commit.

        Raise Failed with the mail, the file and the line if one does not apply.  git apply has no
        fuzz.
        """
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
        """Return the changes that are not committed, as git status --porcelain prints them."""
        return self.git("status", "--porcelain", "--untracked-files=normal")

    def identity(self):
        """Return a hash of the content of the working tree, however it has come about."""
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
    """Return where the first hunk is that does not fit, from the output of git apply."""
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
    raise Failed("usage: scripts/lib/series.py mails BASE DIR | new-files BASE",
                 "sed -n 3,11p scripts/lib/series.py", 2)


if __name__ == "__main__":
    command(main)
