/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Results of a C test, by the verdict channel: a table of expectations, each with the reason beside the number.
 *
 *	static const ... = {
 *		{ "what was counted", got, want, "why it must be that number" },
 *	};
 *	check_table(table, ARRAY_SIZE(table));
 *	return check_done();
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdarg.h>
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

static unsigned int check_count, check_failed;

/* A line for the verdict channel, and for the console, where people look first. */
static inline void __attribute__((format(printf, 1, 2))) sayf(const char *format, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof(line) - 1, format, ap);
	va_end(ap);
	strcat(line, "\n");
	say(line);
	fputs(line, stdout);
	fflush(stdout);
}

static inline int __attribute__((format(printf, 2, 3))) check(int good, const char *format, ...)
{
	char what[400];
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	sayf("%s %u - %s", good ? "ok" : "not ok", ++check_count, what);
	check_failed += !good;
	return good;
}

/*
 * How many lines of the kernel's log an extended regular expression finds.  A test takes the difference to an earlier call: the log
 * stays whole for the tests behind it, which read there how the PMU was found.
 */
static inline unsigned int log_lines(const char *what)
{
	char command[200];
	unsigned int n = 0;
	FILE *file;

	snprintf(command, sizeof(command), "dmesg | grep -c -E '%s'", what);
	file = popen(command, "r");
	if (!file || fscanf(file, "%u", &n) != 1)
		check(0, "the kernel's log");
	if (file)
		pclose(file);
	return n;
}

/* Says the newest of these lines, with the two behind each. */
static inline void log_say(const char *what)
{
	char command[240];

	snprintf(command, sizeof(command), "dmesg | grep -A 2 -E '%s' | tail -n 3 | while read -r l; do mark say \"# $l\"; done", what);
	if (system(command))
		check(0, "the kernel's log");
}

static inline int check_equal(const char *what, long long got, long long want, const char *why)
{
	if (check(got == want, "%s: %lld", what, got))
		return 1;
	sayf("# %s: got %lld, want %lld, that is %+lld too many; %s", what, got, want, got - want, why);
	return 0;
}

static inline int check_between(const char *what, long long got, long long least, long long most, const char *why)
{
	if (check(got >= least && got <= most, "%s: %lld", what, got))
		return 1;
	sayf("# %s: got %lld, want %lld to %lld; %s", what, got, least, most, why);
	return 0;
}

static inline void check_table(const struct expect *table, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		check_equal(table[i].what, table[i].got, table[i].want, table[i].why);
}

/* The plan comes last: a test that dies on its way has none, and so no verdict either. */
static inline int check_done(void)
{
	sayf("1..%u", check_count);
	return check_failed != 0;
}

static inline void __attribute__((noreturn)) check_skip(const char *why)
{
	sayf("1..0 # SKIP %s", why);
	exit(0);
}

/* What the test cannot do without. */
#define must(condition, what) do {							\
	if (!(condition)) {								\
		check(0, "%s", what);							\
		sayf("# %s:%d: %s: %m", __FILE_NAME__, __LINE__, #condition);		\
		exit(check_done());							\
	}										\
} while (0)

#endif /* CHECK_H */
