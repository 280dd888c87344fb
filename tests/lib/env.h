/* SPDX-License-Identifier: GPL-2.0 */
/* Where a test runs: what the runner's environment, KVM's parameters and CPUID say about it. */
#ifndef ENV_H
#define ENV_H

#include <stdbool.h>
#include <stdint.h>

bool on_amd(void);

/* Does this program run in the guest of a guest test? */
bool in_guest(void);

/*
 * Does the host check itself, with lockdep and KASAN?  VM-exits take so long there that the guest's
 * timer has always expired.
 */
bool on_slow_host(void);

/* Is this boolean parameter of KVM's module set?  False if there is no such parameter. */
bool kvm_switch(const char *path);

/* Does an event of the host's NMI watchdog count on each CPU? */
bool nmi_watchdog_is_on(void);

/* Does KVM give guests a mediated vPMU? */
bool on_mediated(void);

/* Is the host's kernel mainline's, to compare with? */
bool on_peer(void);

/* Is the host's kernel Debian's own? */
bool on_debians_kernel(void);

/*
 * Is the mediated vPMU the work of KVM's modules alone, under a perf that knows nothing of it?  Then LVTPC stays the
 * host's, and perf refuses no event.
 */
bool on_modules_alone(void);

/*
 * Does the CPU complete a guest's end of interrupt without a VM-exit?  AMD's AVIC could do that,
 * but avic=0 is the default of the host's KVM.
 */
bool on_apicv(void);

void host_cpuid(uint32_t leaf, uint32_t r[4]);

#endif /* ENV_H */
