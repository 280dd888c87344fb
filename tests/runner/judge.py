# SPDX-License-Identifier: GPL-2.0
"""Judge tests by what the verdict channel has reported.

The verdict channel carries one line at a time, each whole or not at all:

    boot host | boot guest      an init has started
    begin NAME                  a test starts
    # TEXT                      its diagnostics
    ok N - WHAT [# SKIP WHY]    its results
    not ok N - WHAT
    1..N                        its plan, first or last: the number of results if it runs to its end
    end NAME STATUS             it has ended, with this exit status
    guest start, done guest, guest end STATUS, done
    report LINE                 a kernel has found something wrong with itself.  The running test
                                fails.  If none runs, the report is the host's and a guest has just
                                ended: all tests of that guest fail

A test passes if it has begun and ended once, with status 0, has given its plan, as many results,
numbered from one, and none of them is "not ok".  Otherwise it fails.  Only silence is an ERROR: it
says nothing about the subject of the test.  The console never decides a verdict; it may only name
the cause of a silence.
"""

import re

PASS, FAIL, SKIP = "ok", "not ok", "skip"
RESULT = re.compile(r"(not ok|ok) (\d+)(?: - | )?(.*)")
PLAN = re.compile(r"1\.\.(\d+)(?:\s*# SKIP\b\s*(.*))?")


class Verdict:
    """The verdict on one test.

    how         PASS, FAIL or SKIP
    directive   "TIMEOUT", "ERROR no verdict", "SKIP why", or ""
    lines       the lines that the test has reported
    """

    def __init__(self, name, how, directive="", lines=()):
        self.name, self.how, self.directive, self.lines = name, how, directive, list(lines)


def judge_lines(name, lines, status):
    """Return the verdict on a test that has ended with STATUS after reporting LINES."""
    results, plan, skip = [], None, None
    problems = []
    for line in lines:
        result, planned = RESULT.fullmatch(line), PLAN.fullmatch(line)
        if result:
            results.append((result.group(1), int(result.group(2)), result.group(3)))
        elif planned:
            if plan is not None:
                problems.append("two plans")
            plan, skip = int(planned.group(1)), planned.group(2)
        elif not line.startswith("#"):
            problems.append("not understood: %s" % printable(line))
    failed = sum(1 for how, _, _ in results if how == FAIL)
    if plan is None and not results:
        problems.insert(0, "no verdict")
    elif plan is None:
        problems.append("no plan: it did not run to its end")
    elif plan != len(results):
        problems.append("%d results of %d" % (len(results), plan))
    if [number for _, number, _ in results] != list(range(1, len(results) + 1)):
        problems.append("results are not numbered from one")
    if status and not failed:
        problems.append("exit status %d" % status)
    if problems:
        return Verdict(name, FAIL, "ERROR " + problems[0], lines)
    if failed:
        return Verdict(name, FAIL, "", lines)
    if plan == 0:
        return Verdict(name, SKIP, "SKIP %s" % (skip or "nothing to test"), lines)
    if all("# SKIP" in what for _, _, what in results):
        return Verdict(name, SKIP, "SKIP %s" % results[0][2].partition("# SKIP")[2].strip(), lines)
    return Verdict(name, PASS, "", lines)


def complained(verdict, who, reports):
    """Return the verdict, or if there are REPORTS a failure that names the first one."""
    if not reports:
        return verdict
    return Verdict(verdict.name, FAIL, "ERROR %s: %s" % (who, printable(reports[0])),
                   verdict.lines + ["# %s: %s" % (who, line) for line in reports])


def printable(line):
    """Return LINE in a form that is safe to print."""
    shown = "".join(c if c.isprintable() and ord(c) < 127 else "?" for c in line)
    return shown if len(shown) <= 120 else shown[:117] + "..."


class Channel:
    """The verdict channel of one boot, which takes bytes as they come."""

    def __init__(self, names):
        self.names = list(names)
        self.rest = b""
        self.verdicts = {}          # of tests that have ended, by name
        self.current = None         # the test that runs
        self.lines = []             # lines that it has reported
        self.progress = 0           # grows with each step, so that a caller sees progress
        self.events = []            # boot host, boot guest, guest start, guest end N, done, in order
        self.stray = []             # lines that belong to no test
        self.ended_under = None     # the test during which the guest ended
        self.reports = []           # the kernel's reports about itself during the current test
        self.of_guest = []          # tests that ended in the guest

    def feed(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.line(line.decode("utf-8", "replace").rstrip("\r"))

    def line(self, line):
        word, _, rest = line.partition(" ")
        if word == "begin":
            self.begin(rest)
        elif word == "end":
            self.end(rest)
        elif word == "report":
            self.report(rest)
        elif re.fullmatch(r"boot (host|guest)|guest start|guest end -?\d*|done guest|done", line):
            self.event(line)
        elif self.current is not None:
            self.lines.append(line)
        elif line.startswith("#"):
            self.stray.append(line)
        else:
            self.stray.append("# not understood: %s" % printable(line))

    def event(self, line):
        self.progress += 1
        if line in self.events:
            self.stray.append("# again: %s (the machine has restarted)" % line)
        self.events.append(line)
        if self.current is not None:
            # After its begin, a test may only end.
            if line.startswith("guest end"):
                self.ended_under = self.current
            self.fail("ERROR %s" % ("the guest ended under it" if line.startswith("guest end") else
                                    "the machine restarted under it" if line.startswith("boot") else "no end of it"))

    def report(self, what):
        if self.current is not None:
            self.reports.append(what)
            return
        for name in self.of_guest:
            self.verdicts[name] = complained(self.verdicts[name], "the host's kernel", [what])
        if not self.of_guest:
            self.stray.append("# report: %s" % printable(what))

    def fail(self, directive):
        self.verdicts[self.current] = Verdict(self.current, FAIL, directive, self.lines)
        self.current, self.lines = None, []

    def begin(self, name):
        self.progress += 1
        if self.current is not None:
            self.fail("ERROR no end of it")
        if name not in self.names:
            self.stray.append("# begin of an unknown test: %s" % printable(name))
        elif name in self.verdicts:
            self.verdicts[name] = Verdict(name, FAIL, "ERROR it began twice", self.verdicts[name].lines)
        else:
            self.current, self.lines, self.reports = name, [], []

    def end(self, rest):
        self.progress += 1
        name, _, status = rest.rpartition(" ")
        if name != self.current or not re.fullmatch(r"\d+", status):
            if name in self.verdicts:
                self.verdicts[name] = Verdict(name, FAIL, "ERROR it ended twice", self.verdicts[name].lines)
            else:
                self.stray.append("# end without a begin: %s" % printable(rest))
            return
        self.verdicts[name] = complained(judge_lines(name, self.lines, int(status)), "the kernel", self.reports)
        if "boot guest" in self.events:
            self.of_guest.append(name)
        self.current, self.lines = None, []

    def waiting(self):
        """Return the first test without a verdict, which runs or should run."""
        if self.current is not None:
            return self.current
        return next((name for name in self.names if name not in self.verdicts), None)

    def finished(self):
        return "done" in self.events

    def close(self):
        """End the channel; half a line does not count."""
        if self.rest:
            self.stray.append("# cut off: %s" % printable(self.rest.decode("utf-8", "replace")))
            self.rest = b""


def name_silence(console, stopped):
    """Return words for a boot that has ended without its verdicts."""
    # Search backwards: the last catastrophe is the one that has ended the boot.
    for line in reversed(console.splitlines()):
        where = "guest " if line.startswith("guest: ") else ""
        if "Kernel panic" in line:
            return "%skernel panic" % where
        if re.search(r"\bBUG:|\bOops:", line):
            return "%skernel oops" % where
    return stopped


def close_boot(channel, reason, console):
    """Return a boot's verdicts by name, once it has ended, without tests that another boot may run.

    reason      "off" the machine was turned off, "stopped" it went down by itself, "timeout" the
                runner ended it
    """
    channel.close()
    verdicts = dict(channel.verdicts)
    if channel.ended_under:
        # Blame it; the next one can do better in a new guest.
        verdict = verdicts[channel.ended_under]
        verdict.directive = "ERROR %s" % name_silence(console, "the guest ended under it")
        return verdicts
    blamed = channel.waiting()
    if blamed is None:
        if not channel.finished() and reason != "timeout" and channel.names:
            # All tests have ended, and the machine went down afterwards: that is not the last
            # test's failure.
            channel.stray.append("# the machine %s after its last test" % reason)
        return verdicts
    said = channel.lines if channel.current is not None else []
    if reason == "timeout":
        directive = "TIMEOUT" if channel.current is not None else "TIMEOUT %s" % (
            "the guest does not come up" if "guest start" in channel.events and "boot guest" not in channel.events else
            "the machine does not come up" if "boot host" not in channel.events else "the test does not begin")
    elif reason == "stopped":
        directive = "ERROR %s" % name_silence(console, "the machine stopped")
    elif channel.current is None and any(event.startswith("guest end") for event in channel.events):
        directive = "ERROR %s" % name_silence(console, "the guest ended before it")
    else:
        directive = "ERROR no verdict"
    verdicts[blamed] = Verdict(blamed, FAIL, directive, said)
    return verdicts


def extend_hopeless(channel, verdicts, levels):
    """Give tests for which another boot would end in the same way the verdict of this boot."""
    left = [name for name in channel.names if name not in verdicts]
    begun = [name for name in channel.names if name in channel.verdicts]
    blamed = next((name for name in channel.names if name in verdicts and name not in begun), None)
    if not left or blamed is None or channel.ended_under:
        return verdicts
    if channel.finished():
        alike = left
    elif channel.current is None and levels[blamed] == "guest" and "guest start" in channel.events \
            and not any(levels[name] == "guest" for name in begun):
        alike = [name for name in left if levels[name] == "guest"]
    elif channel.current is None and not begun:
        alike = left
    else:
        alike = []
    for name in alike:
        verdicts[name] = Verdict(name, FAIL, verdicts[blamed].directive)
    return verdicts


def judge_bare(name, data, reason, status):
    """Return the verdict on a bare test.

    It has the machine for itself, so it need not report its begin and end.
    """
    channel = Channel([name])
    channel.current = name
    for line in data.split(b"\n")[:-1]:
        channel.lines.append(line.decode("utf-8", "replace").rstrip("\r"))
    cut = data.split(b"\n")[-1]
    if cut:
        channel.lines.append("# cut off: %s" % printable(cut.decode("utf-8", "replace")))
    if reason == "timeout":
        return Verdict(name, FAIL, "TIMEOUT", channel.lines)
    if reason == "stopped":
        return Verdict(name, FAIL, "ERROR the machine stopped", channel.lines)
    begins, ends = ("begin %s" % name, "end %s %d" % (name, status))
    # It may begin again after a reset on purpose.  After an accidental one, its results are not
    # numbered from one.
    return judge_lines(name, [line for line in channel.lines if line not in (begins, ends)], status)


def ktap(verdict, log=None, indent="    "):
    """Return the lines of a test's KTAP block, without its result line."""
    lines = [indent + printable_ktap(line) for line in verdict.lines]
    if verdict.how == FAIL and log:
        lines.append("%s# log: %s" % (indent, log))
    return lines


def printable_ktap(line):
    return line if RESULT.fullmatch(line) or PLAN.fullmatch(line) else "# " + printable(line.lstrip("# "))


def result_line(number, title, verdict, log=None):
    how = FAIL if verdict.how == FAIL else PASS
    directive = " # " + verdict.directive if verdict.directive else ""
    if verdict.how == FAIL and directive and log:
        directive += " (log: %s)" % log
    return "%s %d - %s%s" % (how, number, title, directive)
