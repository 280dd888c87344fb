// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a counter with a period gives one sample per period, none lost and none twice, and counts
 * as without a period.
 *
 * The number of samples is the count divided by the period: perf continues counting from the value
 * at which the counter was stopped, so that events after an overflow belong to the next period.
 */
#include "perf.h"

#define PAGES	64

struct ring {
	struct perf_event_mmap_page *page;
	unsigned int samples, lost, throttled, elsewhere;
};

static uint64_t which;
static int fd;

/* 2 * 1000000 instructions, 1000000 branches. */
static void __attribute__((noinline)) work(struct measured *s)
{
	MEASURE(s, fd, which,
		"mov $1000000, %%ecx\n"
		".globl loop_begin, loop_end\n"
		"loop_begin: dec %%ecx\n\t"
		"jnz loop_begin\n"
		"loop_end:");
}

extern char loop_begin[], loop_end[];

static void read_ring(struct ring *ring)
{
	const char *data = (const char *)ring->page + ring->page->data_offset;
	uint64_t size = ring->page->data_size, at = ring->page->data_tail, end = ring->page->data_head;

	__sync_synchronize();
	while (at < end) {
		/* Records are multiples of eight bytes, so that a header never wraps around. */
		const struct perf_event_header *header = (const void *)(data + at % size);
		uint64_t ip = *(const uint64_t *)(data + (at + sizeof(*header)) % size);

		switch (header->type) {
		case PERF_RECORD_SAMPLE:
			ring->samples++;
			ring->elsewhere += ip < (uintptr_t)loop_begin || ip > (uintptr_t)loop_end;
			break;
		case PERF_RECORD_LOST:
			ring->lost++;
			break;
		case PERF_RECORD_THROTTLE:
			ring->throttled++;
			break;
		}
		at += header->size;
	}
	ring->page->data_tail = end;
}

static const struct {
	const char *name;
	uint64_t config;
	enum mark_index truth;
	unsigned int period;
} rows[] = {
	{ "instructions, period 100000", PERF_COUNT_HW_INSTRUCTIONS, TRUTH_INSNS_HOST_KERNEL, 100000 },
	{ "instructions, period 99991", PERF_COUNT_HW_INSTRUCTIONS, TRUTH_INSNS_HOST_KERNEL, 99991 },
	{ "instructions, period 20011", PERF_COUNT_HW_INSTRUCTIONS, TRUTH_INSNS_HOST_KERNEL, 20011 },
	{ "branches, period 50000", PERF_COUNT_HW_BRANCH_INSTRUCTIONS, TRUTH_BRANCHES_HOST_KERNEL, 50000 },
};

int main(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct perf_event_attr attr = perf_attr(rows[i].config, USER);
		struct ring ring;
		struct measured s;
		uint64_t count;
		char what[64];

		attr.sample_period = rows[i].period;
		attr.sample_type = PERF_SAMPLE_IP;
		attr.wakeup_events = 1 << 30;
		which = truth_index(rows[i].truth, USER);
		/*
		 * The first run brings in pages.  Open a new event for the second, because a reset
		 * does not restart the period.
		 */
		TWICE {
			memset(&ring, 0, sizeof(ring));
			fd = perf_open(&attr, 0, -1, -1);
			must(fd >= 0, "a sampling event can be opened");
			ring.page = mmap(NULL, (PAGES + 1) * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
			must(ring.page != MAP_FAILED, "its ring can be mapped");
			work(&s);
			read_ring(&ring);
			count = perf_read(fd);
			munmap(ring.page, (PAGES + 1) * 4096);
			close(fd);
		}
		snprintf(what, sizeof(what), "%s: count", rows[i].name);
		check_equal(what, count, s.after - s.before, "the machine's count; each PMI adds an IRET to both");
		snprintf(what, sizeof(what), "%s: samples", rows[i].name);
		check_equal(what, ring.samples, count / rows[i].period, "the count, divided by the period");
		snprintf(what, sizeof(what), "%s: lost", rows[i].name);
		check_equal(what, ring.lost, 0, "the ring is large enough");
		snprintf(what, sizeof(what), "%s: throttled", rows[i].name);
		check_equal(what, ring.throttled, 0, "there are too few samples for that");
		/* A guest's PMI may come late, in the kernel: the host's perf has to forward it. */
		snprintf(what, sizeof(what), "%s: samples elsewhere", rows[i].name);
		check_between(what, ring.elsewhere, 0, in_guest() ? ring.samples / 10 : 0,
			      "everything else is far shorter than a period");
	}
	return check_done();
}
