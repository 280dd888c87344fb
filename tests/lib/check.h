/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Results of a C test, reported on the verdict channel, in the words that tests/rootfs/check.sh has
 * for shell tests: check, check_equal, check_between, note, skip, must, check_done.  Give each
 * expectation the reason for its number: the reason is printed when the number is wrong.
 *
 *	static const ... = {
 *		{ "what was counted", got, want, "why it must be that number" },
 *	};
 *	check_table(table, ARRAY_SIZE(table));
 *	return check_done();
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mark.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

struct expect {
	const char *what;
	long long got, want;
	const char *why;
};

/* Write a line to the verdict channel and, for people, to the console. */
void __attribute__((format(printf, 1, 2))) sayf(const char *format, ...);

/* Report a diagnostic. */
#define note(format, ...)	sayf("# " format, ##__VA_ARGS__)

/* Report one result.  Return @good. */
int __attribute__((format(printf, 2, 3))) check(int good, const char *format, ...);
int check_equal(const char *what, long long got, long long want, const char *why);
int check_between(const char *what, long long got, long long least, long long most,
		  const char *why);
void check_table(const struct expect *table, unsigned int n);

/*
 * Print the plan and return the exit status.  The plan comes last, so that a test that dies before
 * its end has no plan and thus no verdict.
 */
int check_done(void);

/* End the test as skipped: there is nothing to test here. */
void __attribute__((noreturn)) skip(const char *why);

/* End the test as failed unless @condition holds.  For what the test depends on. */
#define must(condition, what) do {						\
	if (!(condition))							\
		check_die(what, __FILE_NAME__, __LINE__, #condition);		\
} while (0)
void __attribute__((noreturn)) check_die(const char *what, const char *file, int line,
					 const char *condition);

/*
 * Count the lines of the kernel's log that match an extended regular expression.  Compare with an
 * earlier call instead of clearing the log: later tests of the same boot look there for what the
 * kernel said about the PMU when it started.
 */
unsigned int log_lines(const char *what);

/* Report the newest matching line of the kernel's log and the two lines after it. */
void log_say(const char *what);

#endif /* CHECK_H */
