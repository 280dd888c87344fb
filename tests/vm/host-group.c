// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: kvm:kvm_exit counts the same alone and in a group with a hardware event that excludes
 * guests.  The group may not leave the CPU with the hardware event while the guest has the PMU.
 */
#include "perf.h"
#include "vm.h"
#include <sys/mount.h>

static int open_event(uint32_t type, uint64_t config, int group)
{
	struct perf_event_attr attr = { .size = sizeof(attr), .type = type, .config = config, .exclude_guest = 1 };

	return perf_open(&attr, 0, -1, group);
}

int main(void)
{
	static struct vm vm;
	uint64_t alone[2], grouped[2];
	char text[32] = "";
	int fd, a, leader, hw;

	mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	fd = open("/sys/kernel/tracing/events/kvm/kvm_exit/id", O_RDONLY);
	must(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, "the tracepoint");
	a = open_event(PERF_TYPE_TRACEPOINT, strtoull(text, NULL, 10), -1);
	leader = open_event(PERF_TYPE_TRACEPOINT, strtoull(text, NULL, 10), -1);
	hw = open_event(PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS, leader);
	must(a >= 0 && leader >= 0 && hw >= 0, "events");
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	alone[0] = vm_event_read(a), grouped[0] = vm_event_read(leader);
	vm_call(&vm, vm_guest_exits, (void *)200UL);
	alone[1] = vm_event_read(a), grouped[1] = vm_event_read(leader);
	check(alone[1] - alone[0] >= 200, "alone: %llu exits", (unsigned long long)(alone[1] - alone[0]));
	check_equal("in a group: exits", grouped[1] - grouped[0], alone[1] - alone[0], "as alone");
	vm_close(&vm);
	return check_done();
}
