// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: an event of the host's that takes two counters, as AMD's floating-point operations do, has
 * both of them after guests' turns, and guests count beside it.
 *
 * perf writes 0xffff into the second one, and merges it with the first one.
 */
#include "perf.h"
#include "vm.h"

#define MERGED	0xffff

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

static const struct vm_counter kernel_insns = { .event = VM_INSNS, .privilege = VM_KERNEL };

/* Open the event, and return its second counter. */
static unsigned int open_flops(void)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_RAW, .config = 0x003, .pinned = 1, .exclude_guest = 1,
	};
	int fd = perf_open(&attr, 0, -1, -1);
	struct perf_event_mmap_page *page = mmap(NULL, VM_PAGE, PROT_READ, MAP_SHARED, fd, 0);

	must(fd >= 0 && page != MAP_FAILED, "an event of floating-point operations");
	/*
	 * When a task that may use RDPMC gets the CPU, perf zeroes counters whose events are gone.  It takes
	 * the second counter for one of these if it was another event's before: have that behind us.
	 */
	usleep(5000);
	ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
	ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
	must(page->cap_user_rdpmc && page->index, "an event that may be read by RDPMC");
	return page->index;		/* one more than the first counter */
}

int main(void)
{
	unsigned int i, second, k;
	char what[64];

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	second = open_flops();
	check_equal("before: the host's second counter", rdpmc(second), MERGED, "what perf has written");

	vm_body(&body, "(nop*3 cpuid nop*2 rdmsr)*9");
	s.n = vm_seen.general;
	for (i = 0; i < s.n; i++) {
		s.counter[i] = kernel_insns;
		s.counter[i].index = i;
	}
	s.body = &body;
	for (k = 0; k < 3; k++) {
		vm_measure(&vm, &s);
		snprintf(what, sizeof(what), "run %u: the host's second counter", k);
		check_equal(what, rdpmc(second), MERGED, "what perf has written");
		for (i = 0; i < s.n; i++) {
			snprintf(what, sizeof(what), "run %u: the guest's counter %u", k, i);
			check_equal(what, s.counter[i].value, vm_expected(&s, i), "the machine's count and what KVM emulated");
		}
	}
	vm_close(&vm);
	return check_done();
}
