// SPDX-License-Identifier: GPL-2.0
/*
 * Rules, for an event of the host that is throttled while a vCPU exits all the time:
 *
 *	The limit of samples per tick holds.  A VM-exit must not unthrottle the event: it stays off
 *	until the next tick, as with a perf-based vPMU.
 *
 *	A throttled event does not count, whoever has its counter meanwhile: its count before a
 *	guest's turn and the one after it are equal, by read() and by RDPMC.
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

static struct vm vm;

static struct {
	int fd;
	struct perf_event_mmap_page *page;
	uint64_t tail;
	uint64_t samples, throttled, unthrottled, lost;
	bool is_throttled;
} event;

static void open_event(void)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_guest = 1,
		.sample_period = 100, .sample_type = PERF_SAMPLE_IP, .wakeup_events = 1000000,
	};

	event.fd = perf_open(&attr, 0, -1, -1);
	must(event.fd >= 0, "an event");
	event.page = mmap(NULL, (1 + PAGES) * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, event.fd, 0);
	must(event.page != MAP_FAILED, "its buffer");
}

/* Account what is in the buffer. */
static void drain(void)
{
	char *data = (char *)event.page + 4096;
	uint64_t head = __atomic_load_n(&event.page->data_head, __ATOMIC_ACQUIRE);

	while (event.tail < head) {
		struct perf_event_header *h = (void *)(data + event.tail % (PAGES * 4096));

		event.samples += h->type == PERF_RECORD_SAMPLE;
		event.throttled += h->type == PERF_RECORD_THROTTLE;
		event.unthrottled += h->type == PERF_RECORD_UNTHROTTLE;
		if (h->type == PERF_RECORD_LOST)
			event.lost += *(uint64_t *)(data + (event.tail + 16) % (PAGES * 4096));
		if (h->type == PERF_RECORD_THROTTLE || h->type == PERF_RECORD_UNTHROTTLE)
			event.is_throttled = h->type == PERF_RECORD_THROTTLE;
		event.tail += h->size;
	}
	event.page->data_tail = event.tail;
}

static void limit(void)
{
	uint64_t began, took, ticks;
	int i;

	began = now();
	for (i = 0; i < 10; i++) {
		vm_call(&vm, vm_guest_exits, (void *)(EXITS / 10));
		drain();
	}
	took = now() - began;
	ticks = took / (1000000000 / HZ) + 1;
	note("%llu ticks: samples %llu + lost %llu, throttled %llu, unthrottled %llu", (unsigned long long)ticks,
	     (unsigned long long)event.samples, (unsigned long long)event.lost, (unsigned long long)event.throttled,
	     (unsigned long long)event.unthrottled);
	check(event.throttled > 0, "the event is throttled");
	/* After each tick the event may take as many samples as the limit, and one more. */
	check(event.samples + event.lost <= (ticks + 1) * (rate() / HZ + 1), "samples: %llu, at most the limit in each tick",
	      (unsigned long long)(event.samples + event.lost));
	check(event.unthrottled <= ticks + 1, "a tick unthrottles it, a VM-exit does not: %llu times",
	      (unsigned long long)event.unthrottled);
}

/* The count as a task reads it without the kernel; by read() if the event has no counter. */
static uint64_t read_page(void)
{
	struct perf_event_mmap_page *p = event.page;
	unsigned int shift = 64 - p->pmc_width, index;
	uint64_t count;
	uint32_t lock;

	do {
		lock = __atomic_load_n(&p->lock, __ATOMIC_ACQUIRE);
		index = p->index;
		count = p->offset;
		if (index)
			count += (int64_t)(rdpmc(index - 1) << shift) >> shift;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (__atomic_load_n(&p->lock, __ATOMIC_RELAXED) != lock);

	return index ? count : perf_read(event.fd);
}

static void count(void)
{
	unsigned int compared = 0, grown = 0, grown_page = 0;
	uint64_t longest = 0, first = event.throttled, seen = first;

	while (compared < 20 && seen < first + 200) {
		uint64_t value, page, after, page_after, tail;

		/* Execute until it is throttled anew: no guest has had the counter since. */
		drain();
		if (!event.is_throttled || event.throttled == seen)
			continue;
		seen = event.throttled;
		tail = event.tail;
		value = perf_read(event.fd);
		page = read_page();
		vm_call(&vm, vm_guest_counts, (void *)2);
		page_after = read_page();
		after = perf_read(event.fd);
		drain();
		if (event.tail != tail)
			continue;
		compared++;
		grown += after != value;
		grown_page += page_after != page;
		longest = after - value > longest ? after - value : longest;
	}
	check(compared == 20, "it is throttled before and after guests' turns: %u times", compared);
	check_equal("turns that have changed its count", grown, 0, "a throttled event does not count");
	check_equal("turns that have changed what RDPMC shows", grown_page, 0, "nor for a task that has its page");
	if (longest)
		note("by %llu at most", (unsigned long long)longest);
}

int main(void)
{
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	open_event();
	limit();
	/* With a perf-based vPMU nobody else has its counter, and the guest's turns are too long. */
	if (vm_seen.mediated)
		count();
	vm_close(&vm);
	return check_done();
}
