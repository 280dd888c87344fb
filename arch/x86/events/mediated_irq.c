// SPDX-License-Identifier: GPL-2.0
/* The vector of guests' PMIs. */

#include <linux/hardirq.h>
#include <linux/perf_mediated.h>

#include <asm/apic.h>
#include <asm/idtentry.h>

DEFINE_IDTENTRY_SYSVEC(sysvec_perf_guest_mediated_pmi_handler)
{
	apic_eoi();
	inc_irq_stat(perf_guest_mediated_pmis);
	perf_guest_handle_mediated_pmi();
}
