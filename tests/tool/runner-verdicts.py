#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: whatever a boot leaves in its verdict channel and console, each of its tests gets the right
verdict.

Read every file of corpus/, which describes a good or bad boot:

    a sentence about the boot
    tests: the tests of this boot
    reason: off (if not given), stopped or timeout
    bare: the exit status, for a test without an OS
    --- verdict
    the bytes of the channel; a backslash at the end means a line that breaks off
    --- console
    --- expect
    KTAP's result lines; "again NAME" for a test that another boot must run; "stray TEXT" for lines
    that belong to no test

Print results in KTAP; exit status 1 if any is bad.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, "../runner"))

import judge    # noqa: E402


def sections(path):
    with open(path, "rb") as content:
        parts = content.read().split(b"\n--- ")
    head = dict(line.split(": ", 1) for line in parts[0].decode().splitlines()[1:])
    found = {}
    for part in parts[1:]:
        name, _, text = part.partition(b"\n")
        # The split has removed the end of the last line.
        found[name.decode()] = text if not text or text.endswith(b"\n") else text + b"\n"
    return head, found


def judged(head, found, size):
    """Return the lines that the runner would print, if it reads SIZE bytes at a time."""
    data = found["verdict"]
    if data.endswith(b"\\\n"):
        data = data[:-2]
    names = head["tests"].split()
    reason = head.get("reason", "off")
    lines, stray, left = [], [], []
    if "bare" in head:
        verdicts = {names[0]: judge.judge_bare(names[0], data, reason, int(head["bare"]))}
    else:
        channel = judge.Channel(names)
        for at in range(0, len(data), size):
            channel.feed(data[at:at + size])
        console = found.get("console", b"").decode("utf-8", "replace")
        verdicts = judge.close_boot(channel, reason, console)
        verdicts = judge.extend_hopeless(channel, verdicts, {name: name.split("/")[0] for name in names})
        stray = channel.stray
        left = [name for name in names if name not in verdicts]
    for number, name in enumerate((name for name in names if name in verdicts), 1):
        lines.append(judge.result_line(number, name, verdicts[name]))
    return lines + ["again " + name for name in left] + ["stray " + line for line in stray]


def main():
    bad = 0
    names = sorted(os.listdir(os.path.join(HERE, "corpus")))
    for number, name in enumerate(names, 1):
        head, found = sections(os.path.join(HERE, "corpus", name))
        want = found["expect"].decode().splitlines()
        # Read the bytes in one piece, and in small ones, as a slow machine writes them.
        got = [judged(head, found, size) for size in (1 << 20, 7, 1)]
        good = all(lines == want for lines in got)
        bad += not good
        print("%s %d - %s" % ("ok" if good else "not ok", number, name))
        for lines in got:
            if lines != want:
                print("\n".join("# got:  %s" % line for line in lines))
                print("\n".join("# want: %s" % line for line in want))
                break
    print("1..%d" % len(names))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
