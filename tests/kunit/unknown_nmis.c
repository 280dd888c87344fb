// SPDX-License-Identifier: GPL-2.0
/*
 * For tests/vm/turn-sweep.c: take the NMIs that nobody else takes, and count them in the parameter
 * "seen".  The kernel would write lines about each, and from 6.12 on about the first few only.
 */
#include <linux/atomic.h>
#include <linux/module.h>
#include <linux/sysfs.h>

#include <asm/nmi.h>

static atomic_long_t seen;

static int get_seen(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%ld\n", atomic_long_read(&seen));
}

static const struct kernel_param_ops seen_ops = { .get = get_seen };
module_param_cb(seen, &seen_ops, NULL, 0444);

static int take(unsigned int type, struct pt_regs *regs)
{
	atomic_long_inc(&seen);
	return NMI_HANDLED;
}

static int __init unknown_nmis_init(void)
{
	return register_nmi_handler(NMI_UNKNOWN, take, 0, "unknown_nmis");
}

static void __exit unknown_nmis_exit(void)
{
	unregister_nmi_handler(NMI_UNKNOWN, "unknown_nmis");
}

module_init(unknown_nmis_init);
module_exit(unknown_nmis_exit);
MODULE_DESCRIPTION("The number of NMIs that nobody takes");
MODULE_LICENSE("GPL");
