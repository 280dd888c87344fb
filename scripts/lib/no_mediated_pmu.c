// SPDX-License-Identifier: GPL-2.0
/*
 * Joined to kvm-intel and kvm-amd by scripts/step/kvm-tree where these are made for a
 * kernel that exists already.  A mediated vPMU takes changes of the kernel itself, which
 * modules cannot bring along.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kstrtox.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>
#include <linux/sysfs.h>

static int refuse(const char *value, const struct kernel_param *kp)
{
	bool asked = true;
	int ret = value ? kstrtobool(value, &asked) : 0;

	if (!ret && asked)
		pr_info("no mediated vPMU: it needs the kernel of kvm-pmu's packages, not its modules alone\n");
	return ret;
}

static int get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "N\n");
}

static const struct kernel_param_ops ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
	.set = refuse,
	.get = get,
};

/* Who asks for it is told why there is none, and has a vPMU that is based on perf. */
module_param_cb(enable_mediated_pmu, &ops, NULL, 0444);
__MODULE_PARM_TYPE(enable_mediated_pmu, "bool");
