#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: make shell gives a terminal a shell on the machine's host, and in a guest, until told to
end.

Run tests/runner/shell.py on a pseudo-terminal and type there.  Print results in KTAP; exit status 1
if any is bad.
"""

import os
import pty
import re
import select
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "scripts/lib"))

from kvmpmu import built_bases      # noqa: E402
from ktap import Results            # noqa: E402

LIMIT = 60          # seconds for an answer
# Text to wait for, and what to type then.
SESSION = (("host# ", "perf stat -x, -e instructions:u true\r"),
           (",instructions:u,", "start-guest\r"),
           ("guest# ", "ls -d /sys/fs/*/kvm /dev/kvm; echo in a $ROLE\r"),
           ("in a guest\r", "exit\r"),
           ("host# ", "echo on a $ROLE\r"),
           ("on a host\r", "exit\r"))


def session(arguments, steps):
    """Type what STEPS say; return the text of the terminal, the steps left, and the exit status."""
    process, terminal = pty.fork()
    if not process:
        os.execv(os.path.join(TOP, "tests/runner/shell.py"), ["shell.py"] + arguments)
    shown, seen, steps = b"", 0, list(steps)
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            shown += os.read(terminal, 65536)
        except OSError:
            break           # the other end is closed
        if steps and steps[0][0].encode() in shown[seen:]:
            seen = len(shown)
            os.write(terminal, steps.pop(0)[1].encode())
            until = time.monotonic() + LIMIT
    else:
        os.kill(process, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    os.close(terminal)
    return shown.decode("utf-8", "replace"), steps, status


def main():
    bases = built_bases()
    if not bases:
        print("1..0 # SKIP no kernel is built")
        return 0
    place, results = tempfile.mkdtemp(prefix="shell."), Results()
    check = results.check
    arguments = ["--base", bases[0], "--logs", place]

    try:
        shown, left, status = session(arguments, SESSION)
        check(not left, "commands run, on the host and in a guest", shown)
        check(re.search(r"\n[1-9]\d*,,instructions:u", shown), "perf counts", shown)
        check(status == 0, "exit ends the machine: %d" % status, shown)
        began = time.monotonic()
        shown, left, status = session(arguments, [("host# ", "\x1d")])
        check(not left and status == 0 and time.monotonic() - began < LIMIT,
              "Ctrl-] ends it at once: %d" % status, shown)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return results.done()


if __name__ == "__main__":
    sys.exit(main())
