# SPDX-License-Identifier: GPL-2.0
"""Print the results of a test of our tools as KTAP on standard output."""

import sys


class Results:
    """The results of a test, printed one by one.

    number      the number of results
    bad         the number of bad ones
    """

    def __init__(self):
        self.number, self.bad = 0, 0

    def check(self, good, what, *more):
        """Print the result WHAT, good or not; if it is not, print MORE as comments."""
        self.say(good, what, () if good else
                 [line for text in more for line in str(text).splitlines()])

    def say(self, good, what, details=()):
        """Print the result WHAT, good or not, and the lines of DETAILS as comments."""
        self.number += 1
        self.bad += not good
        print("%s %d - %s" % ("ok" if good else "not ok", self.number, what))
        for line in details:
            print("# " + line)
        sys.stdout.flush()

    def done(self):
        """Print the plan, which is the number of results; return the exit status."""
        print("1..%d" % self.number)
        return 1 if self.bad or not self.number else 0
