// SPDX-License-Identifier: GPL-2.0
#include <stdarg.h>
#include <stdio.h>

#include "check.h"

static unsigned int count, failed;

void sayf(const char *format, ...)
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

int check(int good, const char *format, ...)
{
	char what[400];
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	sayf("%s %u - %s", good ? "ok" : "not ok", ++count, what);
	failed += !good;
	return good;
}

int check_equal(const char *what, long long got, long long want, const char *why)
{
	if (check(got == want, "%s: %lld", what, got))
		return 1;
	note("%s: got %lld, want %lld, that is %+lld too many; %s", what, got, want, got - want,
	     why);
	return 0;
}

int check_between(const char *what, long long got, long long least, long long most,
		  const char *why)
{
	if (check(got >= least && got <= most, "%s: %lld", what, got))
		return 1;
	note("%s: got %lld, want %lld to %lld; %s", what, got, least, most, why);
	return 0;
}

void check_table(const struct expect *table, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		check_equal(table[i].what, table[i].got, table[i].want, table[i].why);
}

int check_done(void)
{
	sayf("1..%u", count);
	return failed != 0;
}

void skip(const char *why)
{
	sayf("1..0 # SKIP %s", why);
	exit(0);
}

void check_die(const char *what, const char *file, int line, const char *condition)
{
	check(0, "%s", what);
	note("%s:%d: %s: %m", file, line, condition);
	exit(check_done());
}

unsigned int log_lines(const char *what)
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

void log_say(const char *what)
{
	char command[240];

	snprintf(command, sizeof(command),
		 "dmesg | grep -A 2 -E '%s' | tail -n 3 | while read -r l; do mark say \"# $l\"; done",
		 what);
	if (system(command))
		check(0, "the kernel's log");
}
