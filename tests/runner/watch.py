# SPDX-License-Identifier: GPL-2.0
"""One run of the machine, watched while it runs."""

import concurrent.futures
import contextlib
import ctypes
import fcntl
import importlib.machinery
import importlib.util
import os
import shlex
import signal
import subprocess
import time

from kvmpmu import TOP

LAUNCHER = [os.path.join(TOP, "tools/machine/machine")]


def _end_with_parent():
    """End with the parent: a runner that is killed outright must not leave machines running."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)      # PR_SET_PDEATHSIG


def in_parallel(calls, workers, stopping):
    """Run functions without arguments, WORKERS at a time; return their results in order.

    If one raises an exception, or on Ctrl-C, set the event STOPPING, wait for the others, and raise
    it here.
    """
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        jobs = [pool.submit(call) for call in calls]
        try:
            # Wait for short times, so that Ctrl-C has an effect.
            waiting = set(jobs)
            while waiting:
                done, waiting = concurrent.futures.wait(waiting, timeout=0.2,
                                                        return_when="FIRST_EXCEPTION")
                for job in done:
                    job.result()
        except BaseException:
            stopping.set()
            for job in jobs:
                job.cancel()
            raise
    return [job.result() for job in jobs]


@contextlib.contextmanager
def alone(directory, say):
    """Make a second run wait, because two runs at once would remove each other's logs."""
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, ".lock.boots"), "w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run has the machine's logs in %s, waiting for its end" % os.path.relpath(directory))
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _launcher():
    """Load the launcher as a module, because it has the list of CPUs."""
    loader = importlib.machinery.SourceFileLoader("launcher", LAUNCHER[0])
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("launcher", loader))
    loader.exec_module(module)
    return module


launcher = _launcher()


class Machine:
    """One run of the machine, watched through its verdict file."""

    def __init__(self, command, logs, vendor, image_arguments, cpus=1, model="", perfmon="", memory=1024, ips=0, show=None):
        self.logs = logs
        self.verdict = os.path.join(logs, "verdict")
        self.console = os.path.join(logs, "console")
        command = list(command) + ["--vendor", vendor, "--cpus", str(cpus), "--memory", str(memory)]
        command += ["--model", model] if model else []
        command += ["--perfmon", perfmon] if perfmon else []
        command += ["--ips", str(ips)] if ips else []
        for name in ("verdict", "console", "truth", "log"):
            command += ["--" + name, os.path.join(logs, name)]
        command += image_arguments
        with open(self.verdict, "wb"), open(os.path.join(logs, "machine"), "wb") as said:
            if show:
                show("  " + shlex.join(command))
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
                                            preexec_fn=_end_with_parent)
        self.position = 0

    def news(self):
        """Return what is new in the verdict file."""
        with open(self.verdict, "rb") as data:
            data.seek(self.position)
            new = data.read()
        self.position += len(new)
        return new

    def end(self):
        """Ask the launcher to end its machine; if it does not, kill its whole session."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=8)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def console_text(self):
        try:
            with open(self.console, errors="replace") as text:
                return text.read()
        except OSError:
            return ""

    def complaint(self):
        """Return the launcher's message, if there is one."""
        with open(os.path.join(self.logs, "machine"), errors="replace") as text:
            lines = [line.strip() for line in text if line.strip()]
        return lines[0] if lines else "no word from it"


def watch(machine, feed, limit, stopping):
    """Feed what the machine reports to FEED until it ends.

    limit() returns the seconds for the present step, and a value that changes with each step.  When
    STOPPING is set, end the machine and raise KeyboardInterrupt.

    Return "off", "stopped", "timeout" or "nostart", and the exit status.
    """
    step, since = None, time.monotonic()
    while True:
        ended = machine.process.poll()
        new = machine.news()
        if new:
            feed(new)
        if ended is not None:
            reason = "off" if ended < 120 and ended != 2 else "nostart" if ended in (2, 125) else "stopped"
            if reason == "off" and ended < 0:
                reason = "stopped"
            return reason, ended
        if stopping.is_set():
            machine.end()
            raise KeyboardInterrupt
        seconds, now = limit()
        if now != step:
            step, since = now, time.monotonic()
        if time.monotonic() - since > seconds:
            machine.end()
            feed(machine.news())
            return "timeout", 124
        time.sleep(0.02 if new else 0.05)
