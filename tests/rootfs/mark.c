// SPDX-License-Identifier: GPL-2.0
/*
 * The magic instruction for shell scripts.
 *
 * mark say TEXT		write a line to the verdict channel
 * mark label LABEL [N]		write a line to the truth file
 * mark read INDEX		print one of the machine's counts
 * mark off [STATUS]		turn the machine off
 *
 * Exit status: 1 if this is not our machine, 2 on wrong usage.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mark.h"

static int usage(void)
{
	fputs("mark say TEXT | label LABEL [N] | read INDEX | off [STATUS]\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return usage();
	if (!mark_present()) {
		fputs("mark: this is not our machine\n", stderr);
		return 1;
	}
	if (!strcmp(argv[1], "say") && argc == 3) {
		say(argv[2]);
		say("\n");
	} else if (!strcmp(argv[1], "label") && (argc == 3 || argc == 4)) {
		mark_label(argv[2], argc == 4 ? strtoull(argv[3], NULL, 0) : 0);
	} else if (!strcmp(argv[1], "read") && argc == 3) {
		printf("%llu\n", (unsigned long long)mark_read(strtoull(argv[2], NULL, 0)));
	} else if (!strcmp(argv[1], "off") && argc <= 3) {
		machine_off(argc == 3 ? strtoul(argv[2], NULL, 0) : 0);
	} else {
		return usage();
	}
	return 0;
}
