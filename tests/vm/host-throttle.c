// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: the limit of samples per tick holds for an event of the host while a vCPU exits all the
 * time.  A VM-exit must not unthrottle the event: it stays off until the next tick, as with a
 * perf-based vPMU.
 */
#include "perf.h"
#include "vm.h"
#include <time.h>

#define PAGES	64
#define EXITS	5000
#define HZ	250	/* configs/host */

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static unsigned int rate(void)
{
	FILE *file = fopen("/proc/sys/kernel/perf_event_max_sample_rate", "r");
	unsigned int n = 0;

	must(file && fscanf(file, "%u", &n) == 1, "the limit of samples");
	fclose(file);
	return n;
}

int main(void)
{
	static struct vm vm;
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_guest = 1,
		.sample_period = 100, .sample_type = PERF_SAMPLE_IP, .wakeup_events = 1000000,
	};
	uint64_t began, samples = 0, throttled = 0, unthrottled = 0, lost = 0, tail = 0, took, ticks;
	int fd = perf_open(&attr, 0, -1, -1), i;
	struct perf_event_mmap_page *p;
	char *data;

	must(fd >= 0, "an event");
	p = mmap(NULL, (1 + PAGES) * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(p != MAP_FAILED, "its buffer");
	data = (char *)p + 4096;
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	tail = p->data_tail = p->data_head;
	began = now();
	for (i = 0; i < 10; i++) {
		vm_call(&vm, vm_guest_exits, (void *)(EXITS / 10));
		while (tail < p->data_head) {
			struct perf_event_header *h = (void *)(data + tail % (PAGES * 4096));

			samples += h->type == PERF_RECORD_SAMPLE;
			throttled += h->type == PERF_RECORD_THROTTLE;
			unthrottled += h->type == PERF_RECORD_UNTHROTTLE;
			if (h->type == PERF_RECORD_LOST)
				lost += *(uint64_t *)(data + (tail + 16) % (PAGES * 4096));
			tail += h->size;
		}
		p->data_tail = tail;
	}
	took = now() - began;
	ticks = took / (1000000000 / HZ) + 1;
	note("%llu ticks: samples %llu + lost %llu, throttled %llu, unthrottled %llu", (unsigned long long)ticks,
	     (unsigned long long)samples, (unsigned long long)lost, (unsigned long long)throttled, (unsigned long long)unthrottled);
	check(throttled > 0, "the event is throttled");
	/* After each tick the event may take as many samples as the limit, and one more. */
	check(samples + lost <= (ticks + 1) * (rate() / HZ + 1), "samples: %llu, at most the limit in each tick",
	      (unsigned long long)(samples + lost));
	check(unthrottled <= ticks + 1, "a tick unthrottles it, a VM-exit does not: %llu times",
	      (unsigned long long)unthrottled);
	vm_close(&vm);
	return check_done();
}
