# SPDX-License-Identifier: GPL-2.0
"""Read a list of tests, such as tests/list."""

import os
import re

from kvmpmu import Failed, TOP, VENDORS
from watch import launcher

LEVELS = ("tool", "bare", "host", "vm", "guest")
SETTINGS = ("model", "perfmon", "kargs", "kvm", "env")
KEYS = {"name", "level", "file", "vendors", "bases", "cpus", "limit", "memory", "vcpus", "ips", "selftest", "run"} | set(SETTINGS)
MATRIX_KEYS = {"matrix", "vendors", "levels", "bases", "except"} | set(SETTINGS)
MATRIX_LEVELS = ("host", "vm", "guest")


def read_list(path):
    """The stanzas of a list of tests, and those of its matrix, as dictionaries."""
    def wrong(number, what):
        raise Failed("%s:%d: %s" % (os.path.relpath(path), number, what), "edit %s" % os.path.relpath(path))

    def check_test():
        for key in ("name", "level", "file"):
            if key not in stanza:
                wrong(begun, "stanza without '%s:'" % key)
        if any(stanza["name"] == other["name"] for other in stanzas):
            wrong(begun, "'%s' is there twice" % stanza["name"])
        if stanza["level"] not in LEVELS or not stanza["name"].startswith(stanza["level"] + "/"):
            wrong(begun, "level and name do not agree: '%s', '%s'" % (stanza["level"], stanza["name"]))
        if not re.fullmatch(r"[\w./-]+", stanza["name"]):
            wrong(begun, "'%s' is no name for a test" % stanza["name"])
        if not os.path.exists(os.path.join(TOP, stanza["file"])):
            wrong(begun, "no such file: %s" % stanza["file"])

    def check_configuration():
        for key in ("levels", "bases"):
            if key not in stanza:
                wrong(begun, "stanza without '%s:'" % key)
        if not re.fullmatch(r"[A-Za-z][\w.-]*", stanza["matrix"]) or stanza["matrix"] in ("all", "none", "share"):
            wrong(begun, "'%s' is no name for a configuration" % stanza["matrix"])
        if any(stanza["matrix"] == other["matrix"] for other in matrix):
            wrong(begun, "'%s' is there twice" % stanza["matrix"])
        if not any(stanza.get(key) for key in SETTINGS):
            wrong(begun, "a configuration like all others: none of %s" % " ".join(SETTINGS))
        unknown = set(stanza.get("except", "").split()) - {other["name"] for other in stanzas}
        if unknown:
            wrong(begun, "no such test before it: %s" % " ".join(sorted(unknown)))

    stanzas, matrix, stanza, begun = [], [], {}, 0
    try:
        with open(path) as lines:
            text = lines.read().splitlines()
    except OSError as error:
        raise Failed("no list of tests: %s: %s" % (path, error.strerror), "git checkout tests/list") from None
    for number, line in enumerate(text + [""], 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if "matrix" in stanza:
                check_configuration()
                matrix.append(stanza)
            elif stanza:
                check_test()
                stanzas.append(stanza)
            stanza = {}
            continue
        key, colon, value = line.partition(":")
        if key == "except" and key in stanza:
            # One line a reason.
            value = stanza.pop(key) + " " + value
        if not colon or key not in (MATRIX_KEYS if {"matrix"} & {key, *stanza} else KEYS) or key in stanza:
            wrong(number, "not understood: %s" % line)
        if key == "limit" and not re.fullmatch(r"\d+(\.\d+)?", value.strip()) or \
           key == "memory" and not value.strip().isdigit() or \
           key == "run" and value.strip() != "named" or \
           key in ("cpus", "vcpus") and value.strip() not in ("1", "2") or \
           key == "vendors" and not set(value.split()) <= set(VENDORS) or \
           key == "model" and value.strip() not in launcher.CPUS or \
           key == "levels" and not set(value.split()) <= set(MATRIX_LEVELS) or \
           key == "env" and not all(re.fullmatch(r"[A-Za-z_]\w*=[\w.,/=-]*", word) for word in value.split()):
            wrong(number, "not a value for %s: %s" % (key, value.strip()))
        begun = begun if stanza else number
        stanza[key] = value.strip()
    return stanzas, matrix
