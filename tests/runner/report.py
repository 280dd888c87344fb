# SPDX-License-Identifier: GPL-2.0
"""Report results of tests: KTAP on standard output, progress on standard error."""

import collections
import os
import shutil
import sys
import threading

import judge
from kvmpmu import TOP

_speaking = threading.Lock()


def progress(text):
    """Print TEXT as one piece on standard error, from any thread."""
    with _speaking:
        print(text, file=sys.stderr, flush=True)


class Report:
    """KTAP as results come in; each result is written as one piece.

    failed      titles of tests that have failed, with the directories of their logs
    reported    titles of all tests that have a result
    results     pass, fail or skip by title
    near        "SECONDS of LIMIT s" by title of a test that took more than half of its limit
    """

    def __init__(self, count, said):
        """Print the plan for COUNT tests, and SAID as a comment."""
        self.count = collections.Counter()
        self.number = 0
        self.failed = {}
        self.reported = set()
        self.results = {}
        self.near = {}
        print("KTAP version 1\n1..%d%s" % (count, "\n# %s" % said if said else ""), flush=True)

    def __call__(self, case, verdict, logs):
        """Print the verdict of a case, whose logs are in the directory LOGS."""
        with _speaking:
            self.number += 1
            self.count[verdict.how] += 1
            self.reported.add(case.title)
            how = {judge.PASS: "pass", judge.FAIL: "fail"}.get(verdict.how, "skip")
            self.results[case.title] = how
            lines = ["    # Subtest: %s" % case.title] + judge.ktap(verdict, logs)
            lines.append(judge.result_line(self.number, case.title, verdict, logs))
            print("\n".join(lines), flush=True)
            if verdict.how == judge.FAIL:
                self.failed[case.title] = logs

    def took(self, case, seconds, limit):
        """Note that a case took so many of the seconds that it had.

        A computer half as fast would end one that took more than half of them: it is told before
        that happens.
        """
        if seconds > limit / 2:
            self.near[case.title] = "%.0f of %.0f s" % (seconds, limit)

    def keep(self, titles):
        """Keep the last result of each test for scripts/cmd/supported, as "pass|fail|skip TITLE".

        TITLES are the tests that exist.  Leave out the matrix: how much of it has run is chance,
        and does not show what a kernel supports.
        """
        path = os.path.join(TOP, "build/results")
        results = {}
        if os.path.exists(path):
            with open(path) as old:
                results = {title: how for how, title in (line.split() for line in old)}
        results.update(self.results)
        with open(path + ".new", "w") as out:
            out.writelines("%s %s\n" % (results[title], title)
                           for title in sorted(titles) if title in results)
        os.replace(path + ".new", path)

    def keep_logs(self, fresh):
        """Keep the logs of failed tests in build/failed, because the next run removes them.

        With FRESH, first remove what is there.  Return whether this call has kept any.
        """
        kept = os.path.join(TOP, "build/failed")
        if fresh:
            shutil.rmtree(kept, ignore_errors=True)
        some = sorted({logs for logs in self.failed.values() if logs})
        for logs in some:
            place = os.path.join(kept, logs.removeprefix("build/").replace("/logs/", "/"))
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(os.path.join(TOP, logs), place)
        return bool(some)

    def last_line(self):
        """Return "N passed, N failed", with ", N skipped" if any were."""
        skipped = self.count[judge.SKIP]
        return "%d passed, %d failed%s" % (self.count[judge.PASS], self.count[judge.FAIL],
                                           ", %d skipped" % skipped if skipped else "")
