// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: user mode and the kernel are counted separately, and an instruction that changes from one
 * to the other counts where it leads.
 *
 * The test reads the counters with RDPMC right next to the machine's count, so that nothing of perf
 * is in between.  Then the kernel's part is as exact as the user's.  RDPMC may exit from a guest,
 * so this is for the host; tests/guest/split.c is its counterpart.
 */
#include "perf.h"

#define CALLS	1000

struct counter {
	int fd;
	const struct perf_event_mmap_page *page;
	uint32_t pmc;
};

static struct counter open_counter(enum privilege privilege)
{
	struct perf_event_attr attr = perf_attr(PERF_COUNT_HW_INSTRUCTIONS, privilege);
	struct counter c;

	attr.disabled = 0;
	attr.pinned = 1;
	/* Count the CPU, not this task: the machine's count includes kernel threads. */
	c.fd = perf_open(&attr, -1, 0, -1);
	must(c.fd >= 0, "a counter can be opened");
	c.page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, c.fd, 0);
	must(c.page != MAP_FAILED, "its page can be mapped");
	must(c.page->cap_user_rdpmc && c.page->index, "user mode may read it by RDPMC");
	c.pmc = c.page->index - 1;
	return c;
}

/*
 * RDPMC; a reading; CALLS times getppid(); RDPMC; a reading.  The counter's delta includes what
 * comes after the first RDPMC, the machine's what comes from the first reading on.  The same six
 * instructions are in between both times, and cancel.
 */
static void __attribute__((noinline)) measure(uint32_t pmc, uint64_t which, uint64_t *counted, uint64_t *truth)
{
	uint64_t c0, c1, t0, t1;

	asm volatile("mov %[pmc], %%ecx\n\t"
		     "rdpmc\n\t"
		     "shl $32, %%rdx\n\t"
		     "or %%rdx, %%rax\n\t"
		     "mov %%rax, %%r12\n\t"
		     "mov %[ask], %%rax\n\t"
		     "mov %[which], %%rcx\n\t"
		     MARK_INSN "\n\t"
		     "mov %%rax, %%r13\n\t"
		     "mov %[calls], %%r15d\n"
		     "1: mov $110, %%eax\n\t"
		     "syscall\n\t"
		     "dec %%r15d\n\t"
		     "jnz 1b\n\t"
		     "mov %[pmc], %%ecx\n\t"
		     "rdpmc\n\t"
		     "shl $32, %%rdx\n\t"
		     "or %%rdx, %%rax\n\t"
		     "mov %%rax, %%r14\n\t"
		     "mov %[ask], %%rax\n\t"
		     "mov %[which], %%rcx\n\t"
		     MARK_INSN "\n\t"
		     "mov %%rax, %[t1]\n\t"
		     "mov %%r12, %[c0]\n\t"
		     "mov %%r13, %[t0]\n\t"
		     "mov %%r14, %[c1]\n\t"
		     : [c0] "=m" (c0), [c1] "=m" (c1), [t0] "=m" (t0), [t1] "=m" (t1)
		     : [pmc] "m" (pmc), [which] "m" (which), [ask] "m" (measure_ask), [calls] "i" (CALLS)
		     : "rax", "rcx", "rdx", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
	*counted = (c1 - c0) & ((1ULL << 48) - 1);
	*truth = t1 - t0;
}

int main(void)
{
	static const struct {
		const char *name;
		enum privilege privilege;
	} rows[] = { { "user", USER }, { "kernel", KERNEL }, { "both", BOTH } };
	uint64_t counted, truth, user = 0, kernel = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct counter c = open_counter(rows[i].privilege);
		uint64_t part;

		TWICE
			measure(c.pmc, truth_index(TRUTH_INSNS_HOST_KERNEL, rows[i].privilege == USER ? USER : KERNEL),
				&counted, &truth);
		switch (rows[i].privilege) {
		case USER:
			check_equal("user", counted, truth,
				    "both deltas have the same instructions");
			/* mov, SYSRET, dec, jnz; and the frame: rdpmc to reading and mov to mov. */
			check_between("user, known", counted, 4 * CALLS + 9, 4 * CALLS + 9 + 20,
				      "per call mov, SYSRET, dec, jnz; 9 of the frame; IRETs");
			user = counted;
			break;
		case KERNEL:
			check_equal("kernel", counted, truth, "nothing of the kernel is between RDPMC and reading");
			check(counted >= 10 * CALLS, "kernel: a system call is more than ten instructions");
			kernel = counted;
			break;
		case BOTH:
			part = counted - truth;
			check_between("both minus kernel", part, 4 * CALLS + 9, 4 * CALLS + 9 + 20,
				      "what is not the kernel's is the user's");
			check_between("both", counted, (user + kernel) / 2, (user + kernel) * 2,
				      "their sum, except interrupts and the tasks that they wake");
			break;
		}
		close(c.fd);
	}
	return check_done();
}
