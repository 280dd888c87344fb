// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a debugger sees the same as on hardware.
 *
 *	INT3	in pages that have just been written traps with the address after it, each time, in
 *		a task that is sampled
 *	steps	a child that is stepped through system calls stops once at each of its instructions;
 *		a system call causes one stop, after it, and the kernel complains about no trap
 */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "perf.h"

#define PAGES	400
#define CALLS	50
#define TROUBLE	"WARNING|BUG"

static volatile uint64_t trapped_at;
static volatile unsigned int traps;

static void trapped(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	trapped_at = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	traps++;
}

static void int3(void)
{
	struct sigaction action = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO };
	struct perf_event_attr attr = perf_attr(PERF_COUNT_HW_INSTRUCTIONS, USER);
	unsigned int i, wrong = 0;
	int fd;

	attr.disabled = 0;
	attr.sample_period = 997;
	fd = perf_open(&attr, 0, -1, -1);
	must(fd >= 0, "a sampling event");
	must(!sigaction(SIGTRAP, &action, NULL), "a handler");
	for (i = 0; i < PAGES; i++) {
		unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		must(page != MAP_FAILED, "a page");
		/* int3; nop; nop; ret */
		page[0] = 0xcc;
		page[1] = page[2] = 0x90;
		page[3] = 0xc3;
		trapped_at = 0;
		((void (*)(void))page)();
		wrong += trapped_at != (uint64_t)page + 1;
		munmap(page, 4096);
	}
	close(fd);
	check_equal("INT3: traps", traps, PAGES, "one each");
	check_equal("INT3: wrong addresses", wrong, 0,
		    "the address is that of the next instruction");
}

/* The child's loop of getppid(). */
static void __attribute__((noinline)) calls(void)
{
	uint64_t n = CALLS, number;

	asm volatile("nop\n1:\tmov $110, %%eax\n\tsyscall\n\tnop\n\tnop\n\tdec %0\n\tjnz 1b\n\tnop"
		     : "+r" (n), "=a" (number) : : "rcx", "r11", "memory");
}

static void steps(void)
{
	unsigned long total = 0, calls_seen = 0, again = 0;
	uint64_t last = 0;
	pid_t child = fork();
	int status;

	if (!child) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		calls();
		_exit(0);
	}
	must(waitpid(child, &status, 0) == child && WIFSTOPPED(status), "a child to step through");
	while (!ptrace(PTRACE_SINGLESTEP, child, NULL, NULL)) {
		struct user_regs_struct r;
		uint64_t code;

		must(waitpid(child, &status, 0) == child, "a step");
		if (!WIFSTOPPED(status))
			break;
		must(!ptrace(PTRACE_GETREGS, child, NULL, &r), "its registers");
		total++;
		again += r.rip == last;
		last = r.rip;
		code = ptrace(PTRACE_PEEKTEXT, child, (void *)(r.rip - 2), NULL);
		/* After the SYSCALL of the loop: 0f 05 90 90. */
		calls_seen += (code & 0xffffffff) == 0x9090050f;
	}
	check(WIFEXITED(status) && !WEXITSTATUS(status), "the child has ended, after %lu steps",
	      total);
	check_equal("stops after its system calls", calls_seen, CALLS, "one each");
	check_equal("stops where it has just stopped", again, 0, "each step moves on");
}

int main(void)
{
	unsigned int trouble;

	trouble = log_lines(TROUBLE);
	int3();
	steps();
	if (!check_equal("complaints of the kernel", log_lines(TROUBLE) - trouble, 0,
			 "it expects all of these traps"))
		log_say(TROUBLE);
	return check_done();
}
