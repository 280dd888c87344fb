// SPDX-License-Identifier: GPL-2.0
#include "perf.h"

uint64_t truth_index(enum mark_index first, enum privilege privilege)
{
	return first + (in_guest() ? 2 : 0) + (privilege == USER ? 1 : 0);
}

struct perf_event_attr perf_attr(uint64_t config, enum privilege privilege)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = config,
		.disabled = 1,
		.exclude_user = !(privilege & USER),
		.exclude_kernel = !(privilege & KERNEL),
		.exclude_hv = 1,
	};

	return attr;
}

int perf_open(const struct perf_event_attr *attr, pid_t pid, int cpu, int group)
{
	must(mark_present(), "this is our machine");
	return syscall(SYS_perf_event_open, attr, pid, cpu, group, PERF_FLAG_FD_CLOEXEC);
}

uint64_t perf_read(int fd)
{
	uint64_t count;

	must(read(fd, &count, sizeof(count)) == sizeof(count), "the counter can be read");
	return count;
}
