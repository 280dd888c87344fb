/* SPDX-License-Identifier: GPL-2.0 */
/*
 * perf_event_open() for tests, and regions of code that both a counter and the machine measure.
 *
 * The same program runs in the host and in a guest; truth_index() selects the machine's count for
 * the place where it runs.
 */
#ifndef PERF_H
#define PERF_H

#include <linux/perf_event.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "env.h"

enum privilege { USER = 1, KERNEL = 2, BOTH = 3 };

/*
 * The index of one of the machine's counts for the place where this program runs.  @first is the
 * index for the host's kernel, such as TRUTH_INSNS_HOST_KERNEL.
 */
uint64_t truth_index(enum mark_index first, enum privilege privilege);

/* A hardware event that is disabled and counts in these modes, but not in a hypervisor. */
struct perf_event_attr perf_attr(uint64_t config, enum privilege privilege);

/* perf_event_open().  Ends the test if this is not our machine. */
int perf_open(const struct perf_event_attr *attr, pid_t pid, int cpu, int group);
uint64_t perf_read(int fd);

/*
 * A measured region: read the machine's count, enable a counter, execute the body, read the
 * machine's count again, disable the counter.  Nothing else is in between, so both ends are known:
 *
 *	reading		1	counts what is before it: the machine's region begins
 *	mov x 5		5	keep its result; ioctl()'s number and arguments
 *	ioctl(ENABLE)	in the kernel; SYSCALL counts in the kernel, where it leads
 *	SYSRET, body		the counter's region begins; SYSRET counts in user mode
 *	mov, mov		the arguments of the second reading
 *	reading		1	the machine's region ends before it
 *	mov x 5		5
 *	ioctl(DISABLE)	in the kernel: the counter's region ends here
 *
 * The machine counts six instructions before the counter does, and the counter six after the
 * machine does; none of them is a branch.  So both counts of user mode must be equal, without a
 * correction.  Both counts include interrupts, also those that are blocked during ENABLE and come
 * right after SYSRET: each adds the IRET by which it returns.
 */
struct measured {
	uint64_t before, after;		/* the machine's counts */
};

/*
 * The region's user-mode instructions besides its body: 6, SYSRET, two movs of the second reading.
 */
#define MEASURE_INSNS		9
#define MEASURE_BRANCHES	1

#define MEASURE_READ									\
	"mov %[ask], %%rax\n\t"								\
	"mov %[which], %%rcx\n\t"							\
	MARK_INSN "\n\t"

#define MEASURE_IOCTL(argument)								\
	"mov $16, %%eax\n\t"								\
	"mov %[ioctl_fd], %%edi\n\t"							\
	"mov %[" argument "], %%esi\n\t"						\
	"xor %%edx, %%edx\n\t"								\
	"syscall\n\t"

#define MEASURE(s, fd, index, body)							\
	asm volatile(MEASURE_READ							\
		     "mov %%rax, %%r13\n\t"						\
		     MEASURE_IOCTL("enable")						\
		     body "\n\t"							\
		     MEASURE_READ							\
		     "mov %%rax, %%r14\n\t"						\
		     MEASURE_IOCTL("disable")						\
		     "mov %%r13, %[first]\n\t"						\
		     "mov %%r14, %[last]\n\t"						\
		     : [first] "=m" ((s)->before), [last] "=m" ((s)->after)		\
		     : [ioctl_fd] "m" (fd), [enable] "i" (PERF_EVENT_IOC_ENABLE),	\
		       [disable] "i" (PERF_EVENT_IOC_DISABLE),				\
		       [ask] "m" (measure_ask), [which] "m" (index)			\
		     : "rax", "rcx", "rdx", "rdi", "rsi", "r8", "r9", "r10", "r11",	\
		       "r12", "r13", "r14", "r15", "memory", "cc")

static const uint64_t measure_ask = MARK_MAGIC | MARK_OP_READ;

/*
 * Run a region twice and use the second run.  A page fault of the first run adds its IRET, and if
 * that IRET comes between the two readings of an end, the counts differ.
 */
#define TWICE	for (int again_ = 0; again_ < 2; again_++)

#endif /* PERF_H */
