// SPDX-License-Identifier: GPL-2.0
/* Events of the host's perf, compared with the machine's count of the host's user mode. */
#include "vm.h"

uint64_t vm_event_read(int fd)
{
	uint64_t value[3];

	must(read(fd, value, sizeof(value)) >= (ssize_t)sizeof(value[0]), "the event can be read");
	return value[0];
}

/* The event's count between two readings of the machine's count, which are @width apart. */
struct reading {
	uint64_t truth, count, width;
};

static struct reading __attribute__((noinline)) take_reading(int fd)
{
	struct reading r;

	r.truth = mark_read(TRUTH_INSNS_HOST_USER);
	r.count = vm_event_read(fd);
	r.width = mark_read(TRUTH_INSNS_HOST_USER) - r.truth;
	return r;
}

int64_t vm_host_event_delta(int fd, void (*run)(void))
{
	struct reading before, after;
	unsigned int i, tries = 0;
	uint64_t width = -1;

	/* The first reading has page faults.  The narrowest has neither these nor interrupts. */
	for (i = 0; i < 5; i++) {
		before = take_reading(fd);
		if (before.width < width)
			width = before.width;
	}
	do {
		before = take_reading(fd);
		run();
		after = take_reading(fd);
		must(++tries < VM_TRIES, "readings without a tick of the host");
	} while (before.width != width || after.width != width);
	return (after.count - before.count) - (after.truth - before.truth);
}
