# SPDX-License-Identifier: GPL-2.0
"""Read a list of tests, such as tests/list.

The list is made of stanzas: lines "key: value", with an empty line after each stanza.  A line that
begins with blanks continues the one before it; one that begins with # is a comment.  The first key
tells what a stanza is:

    name: LEVEL/NAME    a test
    group: NAME         what several tests have in common: a test that names it has its keys, too
    matrix: NAME        a configuration in which the tests run once more

Documentation/testing.rst describes the other keys.
"""

import dataclasses
import functools
import os
import re

from kvmpmu import Failed, PEER, TOP, VENDORS, known_bases
from watch import launcher

LEVELS = ("tool", "bare", "host", "vm", "guest")
# Settings are lists of words NAME=VALUE, and these are the separators of the words.
SETTINGS = {"model": " ", "perfmon": ", ", "kargs": " ", "kvm": " ", "env": " "}
COMMON = {"vendors", "bases", "cpus", "limit", "memory", "vcpus", "ips", "run", "programs", "guest"} | set(SETTINGS)
KEYS = {
    "name": {"name", "file", "groups", "selftest"} | COMMON,
    "group": {"group"} | COMMON,
    "matrix": {"matrix", "vendors", "levels", "bases", "host", "except"} | set(SETTINGS),
}
NEEDED = {"name": ("file",), "group": (), "matrix": ("levels", "bases")}
WHAT = {"name": "test", "group": "group", "matrix": "configuration"}
# Values that a key may have: a pattern for each word, and a description for the message.
VALUES = {
    "name": (r"(%s)/[\w./-]+" % "|".join(LEVELS), "LEVEL/NAME, with LEVEL one of " + " ".join(LEVELS)),
    "group": (r"[a-z][\w.-]*", "a word in small letters"),
    "matrix": (r"(?!(?:all|none|share)$)[A-Za-z][\w.-]*", "a word, but not all, none or share"),
    "vendors": ("|".join(VENDORS), "of " + " ".join(VENDORS)),
    "levels": ("host|vm|guest", "of host vm guest"),
    "host": ("debian", "debian"),
    "limit": (r"\d+(\.\d+)?", "a number of seconds"),
    "memory": (r"\d+", "a number of MiB"),
    "ips": (r"\d+", "a number of instructions"),
    "guest": (r"\d+\.\d+", "a base"),
    "cpus": ("[12]", "1 or 2"),
    "vcpus": ("[12]", "1 or 2"),
    "run": ("named|turns", "named or turns"),
    "model": ("|".join(launcher.CPUS), "one of " + " ".join(launcher.CPUS)),
    "programs": (r"(/[\w.+-]+)+", "paths of programs on this computer"),
    "env": (r"[A-Za-z_]\w*=[\w.,/=-]*", "words NAME=VALUE"),
}
LISTS = ("vendors", "levels", "programs", "env")    # more than one word is allowed


class Stanza(dict):
    """The keys and values of a stanza, as text.

    lines       the line number of each key
    """

    def __init__(self, path):
        super().__init__()
        self.path, self.lines = path, {}

    def kind(self):
        """Return the first key, which tells what the stanza is."""
        return next(iter(self))

    def wrong(self, what, key=None):
        """Raise Failed with WHAT, for the line of KEY or for the first one."""
        _wrong(self.path, self.lines[key or self.kind()], what)


@dataclasses.dataclass
class TestList:
    """What a list has: tests, with the keys of their groups, groups by name, and the matrix."""

    tests: list
    groups: dict
    matrix: list


def _wrong(path, line, what):
    path = os.path.relpath(path)
    raise Failed("%s:%d: %s" % (path, line, what), "edit %s" % path)


def level(test):
    """Return a test's level, with which its name begins."""
    return test["name"].partition("/")[0]


def parse(path, joint=" "):
    """Return the stanzas of the file PATH, in order; JOINT separates a line from its continuation.

    Raise Failed if the file cannot be read, or has a line that belongs to no stanza.
    """
    try:
        with open(path) as lines:
            text = lines.read().splitlines()
    except OSError as error:
        raise Failed("no list: %s: %s" % (path, error.strerror),
                     "git checkout %s" % os.path.relpath(path)) from None
    stanzas, stanza, key = [], Stanza(path), None
    for number, line in enumerate(text, 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            stanza, key = Stanza(path), None
        elif line[0].isspace():
            if not key:
                _wrong(path, number, "it continues no line: %s" % line.strip())
            stanza[key] = (stanza[key] + joint + line.strip()).strip()
        else:
            key, colon, value = line.partition(":")
            if not colon or not re.fullmatch(r"\w+", key):
                _wrong(path, number, "not understood: %s" % line)
            if key in stanza:
                _wrong(path, number, "'%s:' is there twice" % key)
            if not stanza:
                stanzas.append(stanza)
            stanza[key], stanza.lines[key] = value.strip(), number
    return stanzas


def text(test):
    """Return a test as a stanza that needs no group, for a separate list."""
    pairs = [pair for pair in test.items() if pair[0] != "groups"]
    return "".join("%s: %s\n" % pair for pair in pairs) + "\n"


@functools.cache
def joined(key, own, more):
    """Return the words of a setting OWN, and those of MORE that are not among them, as text.

    Return None if a word of MORE gives another value to a name that OWN has.
    """
    between = r"[,\s]+" if key == "perfmon" else r"\s+"
    own, more = (re.split(between, words.strip(), flags=re.A) for words in (own, more))
    has = dict(word.partition("=")[::2] for word in own)
    if key == "model" and own[0] and more[0] and own != more:
        return None
    for word in more:
        name, _, value = word.partition("=")
        if has.get(name, value) != value:
            return None
        if word and name not in has:
            own.append(word)
    return SETTINGS[key].join(word for word in own if word)


def _check(stanza):
    """Raise Failed if a stanza has keys or values that its kind does not allow, or lacks one."""
    kind = stanza.kind()
    if kind not in KEYS:
        stanza.wrong("a stanza begins with %s, not '%s:'"
                     % (" or ".join("'%s:'" % key for key in KEYS), kind))
    for key, value in stanza.items():
        if key not in KEYS[kind]:
            stanza.wrong("a %s has no '%s:'; there are: %s"
                         % (WHAT[kind], key, " ".join(sorted(KEYS[kind] - {kind}))), key)
        pattern, should = VALUES.get(key, (r".*", ""))
        words = value.split() if key in LISTS else [value]
        if not all(re.fullmatch(pattern, word) for word in words):
            stanza.wrong("not a value for %s: '%s'; it is %s" % (key, value, should), key)
        if key == "bases" and kind != "matrix":
            unknown = [word for word in value.split()
                       if word.partition("-")[0] not in known_bases() + [PEER]]
            if unknown:
                stanza.wrong("no such base: %s; there are: %s, and variants of them"
                             % (" ".join(unknown), " ".join(known_bases())), key)
    for key in NEEDED[kind]:
        if key not in stanza:
            stanza.wrong("stanza without '%s:'" % key)


def _expanded(test, groups):
    """Return a test with the keys of its groups.

    Bases are united, and so are words of settings; other keys must not contradict each other.
    """
    names = test.get("groups", "").split()
    unknown = [name for name in names if name not in groups]
    if unknown:
        test.wrong("no such group before it: %s; there are: %s"
                   % (" ".join(unknown), " ".join(groups)), "groups")
    found, whose = Stanza(test.path), {}
    found.lines = test.lines
    found["name"] = test["name"]
    for source in [groups[name] for name in names] + [test]:
        own = source is test
        for key, value in source.items():
            if key == "group":
                continue
            if key == "bases":
                words = found.get(key, "").split()
                value = " ".join(words + [word for word in value.split() if word not in words])
            elif key in SETTINGS:
                value = joined(key, found.get(key, ""), value)
            if value is None or key not in ("bases", *SETTINGS) and found.get(key, value) != value:
                test.wrong("'%s' of %s contradicts that of group %s"
                           % (key, "the test" if own else "group " + source["group"], whose[key]),
                           key if own else "groups")
            found[key] = value
            whose.setdefault(key, source.get("group", ""))
    return found


def read(path):
    """Return the TestList in the file PATH.

    Raise Failed, with the line in question, if something is wrong in it.
    """
    found = TestList([], {}, [])
    seen = set()
    for stanza in parse(path):
        _check(stanza)
        kind = stanza.kind()
        if (kind, stanza[kind]) in seen:
            stanza.wrong("%s '%s' is there twice" % (WHAT[kind], stanza[kind]))
        seen.add((kind, stanza[kind]))
        if kind == "group":
            found.groups[stanza["group"]] = stanza
        elif kind == "name":
            if not os.path.exists(os.path.join(TOP, stanza["file"])):
                stanza.wrong("no such file: %s" % stanza["file"], "file")
            found.tests.append(_expanded(stanza, found.groups))
        else:
            if not any(stanza.get(key) for key in ["host", *SETTINGS]):
                stanza.wrong("a configuration like all others: none of host %s" % " ".join(SETTINGS))
            unknown = set(stanza.get("except", "").split()) - {test["name"] for test in found.tests}
            if unknown:
                stanza.wrong("no such test before it: %s" % " ".join(sorted(unknown)), "except")
            found.matrix.append(stanza)
    return found
