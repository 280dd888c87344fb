// SPDX-License-Identifier: GPL-2.0
/*
 * For tests/vm/watchdog.c: keep a CPU in the kernel with IRQs off for this number of ticks of its
 * TSC.  That is the CPU that loads this module, or the first one that reaches the named tracepoint
 * of KVM.
 */
#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/timex.h>
#include <linux/tracepoint.h>

static unsigned long ticks;
module_param(ticks, ulong, 0);

static char *at;
module_param(at, charp, 0);

static struct tracepoint *found;
static atomic_t stuck = ATOMIC_INIT(0);

static void stick(void)
{
	cycles_t end = get_cycles() + ticks;
	unsigned long flags;

	local_irq_save(flags);
	/*
	 * Do not use cpu_relax(): at a PAUSE the machine continues with another CPU, and this one's
	 * cycles take long.
	 */
	while (get_cycles() < end)
		barrier();
	local_irq_restore(flags);
}

/* For any tracepoint: its arguments are not used. */
static void probe(void *data)
{
	if (!atomic_xchg(&stuck, 1))
		stick();
}

static int look(struct notifier_block *nb, unsigned long action, void *data)
{
	struct module *mod = ((struct tp_module *)data)->mod;
	unsigned int i;

	if (action != MODULE_STATE_COMING)
		return 0;

	for (i = 0; i < mod->num_tracepoints && !found; i++) {
		struct tracepoint *tp = tracepoint_ptr_deref(&mod->tracepoints_ptrs[i]);

		if (!strcmp(tp->name, at) && !tracepoint_probe_register(tp, probe, NULL))
			found = tp;
	}

	return 0;
}

static struct notifier_block nb = { .notifier_call = look };

static int __init lockup_init(void)
{
	if (!at) {
		stick();
		return 0;
	}

	register_tracepoint_module_notifier(&nb);
	if (found)
		return 0;

	unregister_tracepoint_module_notifier(&nb);
	return -ENOENT;
}

static void __exit lockup_exit(void)
{
	if (!found)
		return;

	unregister_tracepoint_module_notifier(&nb);
	tracepoint_probe_unregister(found, probe, NULL);
	tracepoint_synchronize_unregister();
}

module_init(lockup_init);
module_exit(lockup_exit);
MODULE_DESCRIPTION("A CPU that is stuck in the kernel for a while");
MODULE_LICENSE("GPL");
