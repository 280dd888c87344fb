// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: an event of the host's that comes while a guest counts, and overflows again while its first
 * overflow is handled, goes on sampling; and the guest counts.
 *
 * The event is enabled from another CPU, between two turns of a guest that has had the PMU for
 * itself.
 */
#include "perf.h"
#include "vm.h"
#include <sys/wait.h>

#define ROUNDS	25
#define EXITS	2000
#define PAGES	8
/* Instructions: fewer than the way out of an NMI takes. */
#define PERIOD	150

static struct {
	volatile bool done;
	unsigned int silent;
} *shared;

/* Return whether samples come within a tenth of a second. */
static bool samples(volatile struct perf_event_mmap_page *page)
{
	uint64_t head = page->data_head;
	unsigned int i;

	page->data_tail = head;
	for (i = 0; i < 20 && page->data_head == head; i++)
		usleep(5000);
	return page->data_head != head;
}

static void host(void)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS, .sample_period = PERIOD,
		.sample_type = PERF_SAMPLE_IP, .exclude_guest = 1, .disabled = 1,
	};
	cpu_set_t other;
	void *page;
	unsigned int i, k;
	int fd;

	CPU_ZERO(&other);
	CPU_SET(1, &other);
	must(!sched_setaffinity(0, sizeof(other), &other), "CPU 1");
	for (i = 0; i < ROUNDS; i++) {
		bool silent = false;

		fd = perf_open(&attr, -1, 0, -1);
		page = mmap(NULL, (1 + PAGES) * VM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		must(fd >= 0 && page != MAP_FAILED, "an event on CPU 0");
		ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
		for (k = 0; k < 3; k++)
			silent |= !samples(page);
		shared->silent += silent;
		munmap(page, (1 + PAGES) * VM_PAGE);
		close(fd);
	}
	shared->done = true;
	_exit(0);
}

int main(void)
{
	static struct vm vm;
	uint64_t wrong = 0;
	cpu_set_t one;
	int status;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared != MAP_FAILED, "memory");
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	must(!sched_setaffinity(0, sizeof(one), &one), "CPU 0");
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	if (!fork())
		host();
	while (!shared->done) {
		vm_call(&vm, vm_guest_counts, (void *)EXITS);
		wrong += vm_counted.counted != vm_counted.truth;
	}
	must(wait(&status) > 0 && !status, "the other process ends");
	check_equal("rounds in which the event fell silent", shared->silent, 0, "none");
	check_equal("runs in which the guest counts wrongly", wrong, 0, "none");
	vm_close(&vm);
	return check_done();
}
