/* SPDX-License-Identifier: GPL-2.0 */
/*
 * perf_event_open() for tests, and stretches: pieces of code that a counter and the machine measure both.
 *
 * The same program runs in the host and in a guest; truth_index() picks the count that belongs to where it is.
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

/* Of TRUTH_INSNS_HOST_KERNEL and its like: for user or kernel mode, where this program runs. */
static inline uint64_t truth_index(enum mark_index first, enum privilege privilege)
{
	return first + (in_guest() ? 2 : 0) + (privilege == USER ? 1 : 0);
}

static inline struct perf_event_attr perf_attr(uint64_t config, enum privilege privilege)
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

static inline int perf_open(struct perf_event_attr *attr, pid_t pid, int cpu, int group)
{
	return syscall(SYS_perf_event_open, attr, pid, cpu, group, PERF_FLAG_FD_CLOEXEC);
}

static inline uint64_t perf_read(int fd)
{
	uint64_t count;

	must(read(fd, &count, sizeof(count)) == sizeof(count), "the counter can be read");
	return count;
}

/*
 * A stretch: the machine's count is read, a counter enabled, the body executed, the machine's count read again, the counter
 * disabled; nothing else is in between, so both ends are known by heart:
 *
 *	reading		1	sees what is before itself: the machine's stretch begins here
 *	mov x 5		5	keep its answer; ioctl()'s number and arguments
 *	ioctl(ENABLE)	in the kernel; SYSCALL counts there, where it leads
 *	SYSRET, body		the counter begins with SYSRET, which counts where it leads as well
 *	mov, mov		what the second reading is asked with
 *	reading		1	the machine's stretch ends before it
 *	mov x 5		5
 *	ioctl(DISABLE)	in the kernel: the counter ends here
 *
 * The machine sees six instructions before the counter does, and the counter six after the machine does; none of them is a
 * branch.  So in user mode the two must be equal, and nothing is left to correct.  Interrupts are in both, too, also those
 * that wait for the kernel to end ENABLE and then come right behind SYSRET; each adds the one IRET by which it returns.
 */
struct stretch {
	uint64_t before, after;		/* the machine's counts */
};

/* In user mode, what the stretch holds besides its body: 6, SYSRET, and the two movs of the second reading. */
#define STRETCH_INSNS		9
#define STRETCH_BRANCHES	1

#define STRETCH_READ									\
	"mov %[ask], %%rax\n\t"								\
	"mov %[which], %%rcx\n\t"							\
	MARK_INSN "\n\t"

#define STRETCH_IOCTL(argument)								\
	"mov $16, %%eax\n\t"								\
	"mov %[ioctl_fd], %%edi\n\t"							\
	"mov %[" argument "], %%esi\n\t"						\
	"xor %%edx, %%edx\n\t"								\
	"syscall\n\t"

#define STRETCH(s, fd, index, body)							\
	asm volatile(STRETCH_READ							\
		     "mov %%rax, %%r13\n\t"						\
		     STRETCH_IOCTL("enable")						\
		     body "\n\t"							\
		     STRETCH_READ							\
		     "mov %%rax, %%r14\n\t"						\
		     STRETCH_IOCTL("disable")						\
		     "mov %%r13, %[first]\n\t"						\
		     "mov %%r14, %[last]\n\t"						\
		     : [first] "=m" ((s)->before), [last] "=m" ((s)->after)		\
		     : [ioctl_fd] "m" (fd), [enable] "i" (PERF_EVENT_IOC_ENABLE),	\
		       [disable] "i" (PERF_EVENT_IOC_DISABLE),				\
		       [ask] "m" (stretch_ask), [which] "m" (index)			\
		     : "rax", "rcx", "rdx", "rdi", "rsi", "r8", "r9", "r10", "r11",	\
		       "r12", "r13", "r14", "r15", "memory", "cc")

static const uint64_t stretch_ask = MARK_MAGIC | MARK_OP_READ;

/* Pages that a stretch touches for the first time fault: the instruction is executed twice and retires once, and the
 * IRET of the fault counts.  Truth and counter agree on it, but not if it falls between the two; so each runs once before. */
#define TWICE	for (int again_ = 0; again_ < 2; again_++)

#endif /* PERF_H */
