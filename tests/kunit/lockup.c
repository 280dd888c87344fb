// SPDX-License-Identifier: GPL-2.0
/* For tests/vm/watchdog.c: loading it keeps a CPU in the kernel with IRQs off, for so many ticks of its TSC. */
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/processor.h>
#include <linux/timex.h>

static unsigned long ticks;
module_param(ticks, ulong, 0);

static int __init lockup_init(void)
{
	cycles_t end = get_cycles() + ticks;
	unsigned long flags;

	local_irq_save(flags);
	while (get_cycles() < end)
		cpu_relax();
	local_irq_restore(flags);

	return 0;
}

static void __exit lockup_exit(void)
{
}

module_init(lockup_init);
module_exit(lockup_exit);
MODULE_DESCRIPTION("A CPU that is stuck in the kernel for a while");
MODULE_LICENSE("GPL");
