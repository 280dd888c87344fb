#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Boot a test on a machine that waits for gdb, and print how to call gdb.

The test boots twice: first until KVM's modules are loaded, to learn their addresses, then with the
machine stopped before its first instruction.  All runs of a machine are alike, so the modules will
be at the same addresses.  gdb gets a file of commands that loads the symbols of the kernel and of
KVM, and connects.

This machine counts as the other one does, but each instruction takes longer, and there is one CPU.
gdb's software breakpoints work (break, not hbreak), and so do stepi and Ctrl-C; watchpoints do not.
Our kernels have no debug information: gdb knows functions, but no lines.

Exit status: 0 the test has ended, whatever its result; 2 wrong usage or something is missing (one
line, and the next command), 130 interrupted.
"""

import os
import re
import socket
import sys
import threading

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../../scripts/lib")]

import boot                     # noqa: E402
import iso                      # noqa: E402
import testlist                 # noqa: E402
import watch                    # noqa: E402
from choose import choose                                                       # noqa: E402
from kvmpmu import (Failed, Parser, TOP, VENDORS, call, check_base,             # noqa: E402
                    check_vendor, known_bases)
from programs import program, selftest                                          # noqa: E402
from variants import BUILT, variant                                             # noqa: E402

LIMIT = 120         # seconds for the first boot
FOREVER = 10 ** 9


def arguments():
    """Return the options, or raise Failed."""
    parser = Parser("tests/runner/debug.py", __doc__)
    add = parser.add_argument
    add("--tests", metavar="PATTERN", action="append", default=[],
        help="which test (tests/runner/run.py --help); of several, the first is taken")
    add("--vendor", metavar="VENDOR", default=VENDORS[0],
        help="the host's CPU: intel or amd (default: intel)")
    add("--base", metavar="BASE", default=known_bases()[0],
        help="a base or a variant, such as 6.12-mediated (default: %(default)s)")
    add("--port", metavar="PORT", type=int, help="where gdb connects (default: one that is free)")
    add("--logs", metavar="DIR", help="put logs there, not in build/BASE/logs")
    options = parser.parse_args()
    check_vendor(options.vendor, "debug")
    check_base(options.base, "debug")
    options.tests = [word for pattern in options.tests for word in pattern.split()]
    options.matrix = None
    return options


def chosen(options):
    """Return the Case to debug; raise Failed if there is none."""
    cases = choose(testlist.read(os.path.join(TOP, "tests/list")), options)[0]
    cases = [case for case in cases if case.level in ("host", "vm", "guest")]
    if not cases or not options.tests:
        raise Failed("only tests that boot a kernel can be debugged: host, vm and guest",
                     "make debug TESTS=vm/overflow")
    cases = [case for case in cases if case.cpus == 1]
    if not cases:
        raise Failed("a machine with a stub for gdb has one CPU, and this test wants two",
                     "make debug TESTS=vm/overflow")
    if variant(cases[0].base).image != BUILT:
        raise Failed("there are no symbols of the kernel of base %s" % cases[0].base,
                     "make debug TESTS=%s" % cases[0].name)
    return cases[0]


def machine(case, image, logs, *more):
    """Start the machine for a case."""
    return watch.Machine(watch.LAUNCHER + list(more), logs, case.vendor, ["--iso", image], 1,
                         case.model, case.perfmon, case.memory, case.ips)


def sections(case, image, logs):
    """Boot, and return the addresses of the modules' sections: {module: {section: address}}."""
    said, known = bytearray(), threading.Event()

    def feed(data):
        said.extend(data)
        if b"# sections end\n" in said:
            known.set()

    # Use the same Bochs, but do not wait for gdb.
    os.environ["MACHINE_BOCHS"] = os.path.join(TOP, "build/machine/gdb/bochs")
    first = machine(case, image, logs)
    try:
        reason, _ = watch.watch(first, feed, lambda: (LIMIT, 0), known)
    except KeyboardInterrupt:
        if not known.is_set():
            raise
        reason = "known"
    finally:
        first.end()
        del os.environ["MACHINE_BOCHS"]
    if reason == "nostart":
        raise Failed(first.complaint(), "tools/machine/build --gdb")
    if reason != "known":
        raise Failed("KVM was not loaded: %s" % reason, "less %s/console" % boot.shown(logs))
    found = {}
    for line in said.decode().splitlines():
        match = re.fullmatch(r"# section (\S+) (\S+) (0x[0-9a-f]+)", line)
        if match:
            found.setdefault(match[1], {})[match[2]] = match[3]
    return found


def gdb_commands(case, found, port):
    """Return gdb's commands: symbols of the kernel and its modules, and the connection."""
    place = variant(case.base)
    lines = ["set confirm off", "set pagination off",
             "file %s" % os.path.join(TOP, place.kernel, "obj/vmlinux"),
             # The machine's memory is still empty when gdb looks at functions.
             "set trust-readonly-sections on"]
    for module, addresses in found.items():
        path = os.path.join(TOP, place.modules, module.replace("_", "-") + ".ko")
        if os.path.exists(path):
            text = addresses.pop(".text")
            others = "".join(" -s %s %s" % item for item in addresses.items())
            lines.append("add-symbol-file %s %s%s" % (path, text, others))
    lines += ["target remote localhost:%d" % port, "set confirm on"]
    return "".join(line + "\n" for line in lines)


def free_port():
    """Return a free port of localhost."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def run(options):
    """Boot twice; return the exit status."""
    case = chosen(options)
    logs = boot.log_directory(options, case.base, "debug-" + case.vendor)
    image = os.path.join(logs, "boot.iso")
    plan = [(case.level, case.name, program(case.file), case.selftest)]
    files = [("selftests/" + case.selftest, selftest(case.selftest, case.base))] \
        if case.selftest else []
    iso.boot(image, case.base, plan, {**boot.environment(case), "SAY_MODULES": "1"},
             case.kargs, case.ips, files, guest_base=case.guest)
    print("%s: looking where its modules are" % case.title, flush=True)
    found = sections(case, image, logs)
    port = options.port or free_port()
    commands = os.path.join(logs, "gdb")
    with open(commands, "w") as out:
        out.write(gdb_commands(case, found, port))
    second = machine(case, image, logs, "--gdb", str(port))
    print("The machine waits.  In another terminal:\n\n"
          "    gdb -x %s %s\n\n"
          "then, for instance, \"break kvm_emulate_cpuid\" and \"continue\".  Here is what the test "
          "says;\nthe console is in %s/console.\n"
          "Ctrl-C here, or \"kill\" in gdb, ends the machine."
          % (boot.shown(commands), os.path.join(variant(case.base).kernel, "obj/vmlinux"),
             boot.shown(logs)), flush=True)

    def feed(data):
        sys.stdout.buffer.write(data)
        sys.stdout.flush()

    try:
        reason, _ = watch.watch(second, feed, lambda: (FOREVER, 0), threading.Event())
    finally:
        second.end()
        os.unlink(image)
    if reason == "nostart":
        raise Failed(second.complaint(), "tools/machine/build --gdb")
    print("The machine is off." if reason == "off" else "The machine has stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(call("debug", lambda: run(arguments()), "make debug"))
