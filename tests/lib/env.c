// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "env.h"

bool on_amd(void)
{
	const char *vendor = getenv("VENDOR");

	return vendor && !strcmp(vendor, "amd");
}

bool in_guest(void)
{
	const char *role = getenv("ROLE");

	return role && !strcmp(role, "guest");
}

bool on_slow_host(void)
{
	const char *variant = getenv("VARIANT");

	return variant && strstr(variant, "-debug");
}

/* The first character of a file, or 'N' if there is none. */
static char first_of(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char value = 'N';

	if (fd >= 0) {
		if (read(fd, &value, 1) != 1)
			value = 'N';
		close(fd);
	}
	return value;
}

bool kvm_switch(const char *path)
{
	return first_of(path) == 'Y';
}

bool nmi_watchdog_is_on(void)
{
	return first_of("/proc/sys/kernel/nmi_watchdog") == '1';
}

bool on_mediated(void)
{
	return kvm_switch(on_amd() ? "/sys/module/kvm_amd/parameters/enable_mediated_pmu" :
				     "/sys/module/kvm_intel/parameters/enable_mediated_pmu");
}

bool on_peer(void)
{
	const char *variant = getenv("VARIANT");

	return variant && !strncmp(variant, "peer", 4);
}

bool on_debians_kernel(void)
{
	const char *variant = getenv("VARIANT");

	return variant && strstr(variant, "-debian");
}

bool on_modules_alone(void)
{
	const char *variant = getenv("VARIANT");

	return on_mediated() && variant && (strstr(variant, "-debian") || strstr(variant, "-alone"));
}

bool on_apicv(void)
{
	return !on_amd() && kvm_switch("/sys/module/kvm_intel/parameters/enable_apicv");
}

void host_cpuid(uint32_t leaf, uint32_t r[4])
{
	asm volatile("cpuid" : "=a" (r[0]), "=b" (r[1]), "=c" (r[2]), "=d" (r[3])
		     : "a" (leaf), "c" (0));
}
