# SPDX-License-Identifier: GPL-2.0
"""Results of a test of our tools, in KTAP on standard output."""

import sys


class Results:
    """Results, said as they come.

    number      how many there were
    bad         how many of them were bad
    """

    def __init__(self):
        self.number, self.bad = 0, 0

    def check(self, good, what, *more):
        """Say that WHAT is good or not; if not, MORE as comments too."""
        self.say(good, what, () if good else
                 [line for text in more for line in str(text).splitlines()])

    def say(self, good, what, details=()):
        """Say that WHAT is good or not, and lines of DETAILS as comments."""
        self.number += 1
        self.bad += not good
        print("%s %d - %s" % ("ok" if good else "not ok", self.number, what))
        for line in details:
            print("# " + line)
        sys.stdout.flush()

    def done(self):
        """Say how many results there were; return the exit status."""
        print("1..%d" % self.number)
        return 1 if self.bad or not self.number else 0
