// SPDX-License-Identifier: GPL-2.0
/*
 * For tests/host/assume-perf.sh: the self-test with which KVM's modules alone check the host's perf,
 * with one check made to fail.
 *
 * The results are in debugfs, in the file assume_perf: "N 0" or "N 1" for each check.
 */
#include <linux/debugfs.h>
#include <linux/module.h>

/* The check that must fail, since what it checks is prevented; 0 for none. */
static unsigned int wrong_check;
module_param_named(wrong, wrong_check, uint, 0);
#define SELF_TEST_WRONG	wrong_check

#include "self_test.h"

struct pmu *host_pmu;

static char text[CHECKS * 8];
static struct debugfs_blob_wrapper blob = { .data = text };

static int __init assume_perf_init(void)
{
	const char *why = self_test();
	unsigned int i;

	if (IS_ERR(why))
		return PTR_ERR(why);
	for (i = 1; i < CHECKS; i++)
		if (made[i])
			blob.size += sprintf(text + blob.size, "%u %d\n", i, !bad[i]);
	debugfs_create_blob("assume_perf", 0400, NULL, &blob);
	return 0;
}

static void __exit assume_perf_exit(void)
{
	debugfs_lookup_and_remove("assume_perf", NULL);
}

module_init(assume_perf_init);
module_exit(assume_perf_exit);
MODULE_DESCRIPTION("What a mediated vPMU by KVM's modules alone assumes of the host's perf");
MODULE_LICENSE("GPL");
