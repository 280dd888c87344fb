#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rule: with make debug, gdb stops in KVM, knows its functions, and steps; then the test runs to
its end.

Run tests/runner/debug.py and gdb on a test.  Skip this if there is no gdb or no machine for it.
Print results in KTAP; exit status 1 if any is bad.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "scripts/lib"))

from ktap import Results    # noqa: E402

LIMIT = 300         # seconds each for the boot, for gdb, and for the rest of the test
TEST = "vm/msr-list"
COMMANDS = ("break kvm_arch_vcpu_create", "continue", "info symbol $rip", "stepi",
            "info symbol $rip", "delete", "detach")


def main():
    if not shutil.which("gdb") or not os.path.exists(os.path.join(TOP, "build/machine/gdb/bochs")):
        print("1..0 # SKIP no gdb, or no machine for it (make debug TESTS=%s)" % TEST)
        return 0
    place = tempfile.mkdtemp(prefix="debug.")
    out = os.path.join(place, "out")
    with open(out, "w") as said:
        process = subprocess.Popen([os.path.join(TOP, "tests/runner/debug.py"), "--tests", TEST,
                                    "--logs", place], cwd=TOP, stdin=subprocess.DEVNULL,
                                   stdout=said, stderr=said)
    results = Results()
    check = results.check

    def words():
        with open(out) as said:
            return said.read()

    try:
        until = time.monotonic() + LIMIT
        while "gdb -x " not in words() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.2)
        line = next((line.split() for line in words().splitlines() if "  gdb -x " in line), [])
        check(line, "it prints how to call gdb", words())
        if line:
            typed = [word for command in COMMANDS for word in ("-ex", command)]
            command = line[:1] + ["-q", "-batch"] + line[1:3] + typed + line[3:]
            said = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=LIMIT, check=False).stdout
            check("kvm_arch_vcpu_create in section .text" in said, "it stops at a breakpoint", said)
            check("kvm_arch_vcpu_create + " in said, "stepi executes one instruction", said)
            check("detached" in said, "gdb detaches", said)
            process.wait(timeout=LIMIT)
            check(process.returncode == 0 and "\nend %s 0\n" % TEST in words()
                  and "\nnot ok" not in words(), "the test runs to its end", words())
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(place, ignore_errors=True)
    return results.done()


if __name__ == "__main__":
    sys.exit(main())
