#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Boot a base on the machine, and give this terminal a shell there.

perf and QEMU are there, and "start-guest" boots a guest that has a shell, too.  "exit" ends the
guest, or the machine; Ctrl-] ends the machine at once.

Exit status: 0 after exit or Ctrl-], else the machine's (tools/machine/machine --help); 2 wrong
usage or something is missing (one line, and the next command).
"""

import os
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../../scripts/lib")]

import iso                      # noqa: E402
import watch                    # noqa: E402
from boot import log_directory, shown                                           # noqa: E402
from kvmpmu import (Failed, Parser, VENDORS, call, check_base, check_vendor,    # noqa: E402
                    known_bases)
from variants import kvm_params, variant                                        # noqa: E402


def arguments():
    """Return the options, or raise Failed."""
    parser = Parser("tests/runner/shell.py", __doc__)
    add = parser.add_argument
    add("--vendor", metavar="VENDOR", default=VENDORS[0],
        help="the host's CPU: intel or amd (default: intel)")
    add("--base", metavar="BASE", default=known_bases()[0],
        help="a base or a variant, such as 6.12-mediated (default: %(default)s)")
    add("--cpus", metavar="N", type=int, default=1, help="1 (default) or 2")
    add("--memory", metavar="MiB", type=int, default=1024, help="(default: 1024)")
    add("--kargs", metavar="WORDS", default="", help="more arguments for the host's kernel")
    add("--logs", metavar="DIR", help="put logs there, not in build/BASE/logs")
    options = parser.parse_args()
    check_vendor(options.vendor, "shell")
    check_base(options.base, "shell")
    if "all" in (options.vendor, options.base):
        raise Failed("a shell is on one machine, not on all", "make help")
    return options


def run(options):
    """Boot and wait; return the exit status."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failed("a shell needs a terminal", "make test")
    logs = log_directory(options, options.base, "shell-" + options.vendor)
    image = os.path.join(logs, "boot.iso")
    model = watch.launcher.DEFAULT_CPU[options.vendor]
    size = shutil.get_terminal_size()
    environment = {"VENDOR": options.vendor, "BASE": variant(options.base).base,
                   "VARIANT": options.base, "CPUS": options.cpus, "MODEL": model, "PERFMON": "",
                   "GUEST_KARGS": iso.guest_kargs(options.base), "KVM_PARAMS": kvm_params(options.base, options.vendor),
                   "SHELL_ROLES": "host guest", "SHELL_TERM": os.environ.get("TERM", "dumb"),
                   "SHELL_SIZE": "cols %d rows %d" % size}
    iso.boot(image, options.base, [], environment, options.kargs, guest=True)
    print("A machine with %s boots %s, logs in %s; Ctrl-] ends it."
          % (model, options.base, shown(logs)), flush=True)
    command = watch.LAUNCHER + ["--vendor", options.vendor, "--model", model, "--cpus",
                                str(options.cpus), "--memory", str(options.memory), "--terminal",
                                "--iso", image]
    for name in ("verdict", "truth", "log"):
        command += ["--" + name, os.path.join(logs, name)]
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        os.unlink(image)


if __name__ == "__main__":
    sys.exit(call("shell", lambda: run(arguments()), "make shell"))
