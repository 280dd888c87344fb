# SPDX-License-Identifier: GPL-2.0
"""Run tests on the machine, with a base's kernel or without an OS, or on this computer.

Each run_*(options, cases, report) runs cases that share a setup, and calls report(case, verdict,
logs) and report.took(case, seconds, limit) for each of them.  It reads the options logs, machine,
slow, keep and verbose.  It raises Failed if the machine cannot be started, and KeyboardInterrupt
once "stopping" is set.
"""

import collections
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time

import iso
import judge
import programs
import watch
from choose import stage
from kvmpmu import Failed, TOP
from report import progress
from variants import kvm_params, variant

ENDING = 20         # seconds for a machine to turn off after the last result

stopping = threading.Event()


def log_directory(options, place, name):
    """Make and return an empty directory for logs: below --logs, or build/PLACE/logs."""
    below = os.path.join(options.logs, place) if options.logs \
        else os.path.join(TOP, "build", place, "logs")
    path = os.path.join(below, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def shown(path):
    """Return PATH in the form for messages."""
    return os.path.relpath(path, TOP) if path.startswith(TOP + os.sep) else path


def setup_name(case):
    """Return the name of a case's setup, for a directory of logs."""
    parts = [case.vendor + "+" * bool(case.configuration) + case.configuration]
    parts += ["%dcpus" % case.cpus] if case.cpus > 1 else []
    parts += ["%dvcpus" % case.vcpus] if case.vcpus > 1 else []
    settings = (case.model, case.perfmon, case.kargs, case.kvm, case.env)
    parts += [re.sub(r"[^\w.=]+", "_", part) for part in settings if part]
    parts += ["%dMiB" % case.memory] if case.memory != 1024 else []
    parts += ["%dips" % case.ips] if case.ips else []
    parts += ["guest-" + case.guest] if case.guest else []
    return "-".join(parts)


def environment(case):
    """Return the environment of the tests that share a case's setup, as a dictionary."""
    found = {"VENDOR": case.vendor, "BASE": variant(case.base).base, "VARIANT": case.base,
             "CPUS": case.cpus, "MODEL": case.model, "PERFMON": case.perfmon,
             "GUEST_KARGS": iso.guest_kargs(case.guest or case.base, case.ips), "GUEST_CPUS": case.vcpus,
             "KVM_PARAMS": kvm_params(case.base, case.vendor) + " " + case.kvm}
    found.update(word.partition("=")[::2] for word in case.env.split())
    return found


def make_iso(path, cases):
    """Write the CD image PATH that boots the setup of CASES and runs them."""
    first = cases[0]
    plan = [(case.level, case.name, programs.program(case.file), case.selftest) for case in cases]
    selftests = sorted({case.selftest for case in cases if case.selftest})
    debian = sorted({path for case in cases for path in case.programs})
    iso.boot(path, first.base, plan, environment(first), first.kargs, first.ips,
             [("selftests/" + name, programs.selftest(name, first.base)) for name in selftests] +
             [(path, iso.initramfs.needed(path, os.path.basename(path))) for path in debian],
             guest_base=first.guest)


def run_boots(options, cases, report):
    """Run the cases of one setup, in as many boots as necessary."""
    first = cases[0]
    for number in range(1, len(cases) + 1):
        logs = log_directory(options, first.base, "%s-%d" % (setup_name(first), number))
        image = os.path.join(logs, "boot.iso")
        make_iso(image, cases)
        channel = judge.Channel([case.name for case in cases])
        limits = {case.name: case.limit * options.slow for case in cases}
        steps = {}

        def limit():
            waiting = channel.waiting()
            step = channel.progress, waiting
            steps.setdefault(step, [time.monotonic()])[1:] = [time.monotonic()]
            return (limits[waiting] if waiting else ENDING), step

        began = time.monotonic()
        name = "boot %s/%s" % (first.base, os.path.basename(logs))
        progress("%s: %d test%s" % (name, len(cases), "s"[:len(cases) != 1]))
        machine = watch.Machine(shlex.split(options.machine), logs, first.vendor, ["--iso", image],
                                first.cpus, first.model, first.perfmon, first.memory, first.ips,
                                progress if options.verbose else None)
        try:
            reason, _ = watch.watch(machine, channel.feed, limit, stopping)
        finally:
            machine.end()
            if not options.keep:
                os.unlink(image)
        if reason == "nostart":
            raise Failed(machine.complaint(), "tools/machine/build")
        verdicts = judge.close_boot(channel, reason, machine.console_text())
        levels = {case.name: case.level for case in cases}
        verdicts = judge.extend_hopeless(channel, verdicts, levels)
        for line in channel.stray:
            progress("  %s" % line)
        progress("%s: %s after %.1f s" % (name, reason, time.monotonic() - began))
        for case in cases:
            if case.name in verdicts:
                longest = max((last - first for (_, name), (first, last) in steps.items() if name == case.name), default=0)
                report.took(case, longest, limits[case.name])
                report(case, verdicts[case.name], shown(logs))
        cases = [case for case in cases if case.name not in verdicts]
        if not cases:
            return


def run_bare(options, cases, report):
    """Run a case that is a test without an OS."""
    case = cases[0]
    logs = log_directory(options, "machine", case.title.replace("/", "-"))
    rom = programs.rom(case.file, os.path.join(logs, "test.rom"))
    said = bytearray()
    began = time.monotonic()
    machine = watch.Machine(shlex.split(options.machine), logs, case.vendor, ["--rom", rom],
                            case.cpus, case.model, case.perfmon, 64,
                            show=progress if options.verbose else None)
    try:
        reason, status = watch.watch(machine, said.extend, lambda: (case.limit * options.slow, 0),
                                     stopping)
    finally:
        machine.end()
    if reason == "nostart":
        raise Failed(machine.complaint(), "tools/machine/build")
    # The image reports the name of its source, which several tests may share.
    report.took(case, time.monotonic() - began, case.limit * options.slow)
    own = "bare/" + os.path.splitext(os.path.basename(case.file))[0]
    report(case, judge.judge_bare(own, bytes(said), reason, status), shown(logs))


def run_tool(options, cases, report):
    """Run a case that tests our own tools: on this computer, with results on its stdout."""
    case = cases[0]
    logs = log_directory(options, "machine", case.title.replace("/", "-"))
    out = os.path.join(logs, "out")
    with open(out, "wb") as said, open(os.path.join(logs, "err"), "wb") as errors:
        process = subprocess.Popen([os.path.join(TOP, case.file)], cwd=TOP,
                                   stdin=subprocess.DEVNULL, stdout=said, stderr=errors,
                                   start_new_session=True)
    began, limit = time.monotonic(), case.limit * options.slow
    try:
        while process.poll() is None and time.monotonic() - began < limit and not stopping.is_set():
            time.sleep(0.05)
    finally:
        late = process.poll() is None
        if late:
            # Only the test and its children are in this session.
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=8)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if stopping.is_set():
        raise KeyboardInterrupt
    with open(out, "rb") as said:
        verdict = judge.judge_bare(case.name, said.read(), "timeout" if late else "off",
                                   process.returncode)
    report.took(case, time.monotonic() - began, limit)
    report(case, verdict, shown(logs))


def run_all(options, order, report):
    """Run the groups of cases in ORDER, options.jobs at a time; report what has not run as ERROR.

    Print how long each stage took, from the start of its first group to the end of its last.
    Stages overlap if several machines run at once.  Raise what a group has raised, or
    KeyboardInterrupt, after all machines have ended.
    """
    began, lock = {}, threading.Lock()
    left = collections.Counter(stage(group) for group in order)
    tests = collections.Counter(stage(group) for group in order for _ in group)
    progress("stages, by tests: %s" % ", ".join("%s %d" % item for item in tests.items()))

    def job(group):
        run = {"tool": run_tool, "bare": run_bare}.get(group[0].level, run_boots)
        name = stage(group)

        def work():
            began.setdefault(name, time.monotonic())
            run(options, group, report)
            with lock:
                left[name] -= 1
                if left[name]:
                    return
            titles = [case.title for each in order if stage(each) == name for case in each]
            failed = sum(title in report.failed for title in titles)
            progress("stage %s: %d test%s, %d failed, %.1f s"
                     % (name, len(titles), "s"[:len(titles) != 1], failed,
                        time.monotonic() - began[name]))

        return work

    watch.in_parallel([job(group) for group in order], options.jobs, stopping)
    for case in (case for group in order for case in group):
        if case.title not in report.reported:
            report(case, judge.Verdict(case.name, judge.FAIL, "ERROR not run"), "")
