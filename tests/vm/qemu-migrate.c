// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: QEMU can save a guest in the middle of counting and sampling, and the guest continues under
 * the other kind of vPMU with nothing lost.  On AMD, QEMU does not save the PMU; there perf in the
 * guest counts again from when it programs the PMU.
 *
 *	this test, on the host				the guest, which runs this program, too
 *
 *							"begin 1", a round of the loop begins
 *	stop at a quarter of it				.
 *	migrate "exec:cat > FILE", quit			in the file
 *	load KVM's module again, with the other vPMU
 *	-incoming "exec:cat FILE", cont			the round's other part
 *							"round 1" and its counts
 *
 * The guest has only this program, as its first process.  It counts a loop, round by round, in user
 * mode: instructions, instructions with a period, and branches, as a group that is enabled for the
 * loop, and instructions by a counter that always runs.  After each round it writes to its console
 * all that perf has counted so far, and the machine's counts.  The machine distinguishes modes, not
 * time: while the guest is in a file, nothing is counted.
 *
 * Intel: QEMU saves counters, selectors, controls and status.  LVTPC is in the local APIC's state.
 * When KVM_RUN ends, KVM has reported all pending overflows.  No count and no sample may be lost or
 * appear twice.
 *
 * If a mediated vPMU has more counters than a perf-based one, a host with the latter refuses the
 * guest, and the guest continues under its own kind.
 *
 * AMD: QEMU (7.2, and still 10.0) takes the number of counters from CPUID 0AH, and AMD has no such
 * leaf.  So the guest finds its selectors and counters at zero, in the middle of the round.  perf
 * starts a counter as far below zero as it may run, 2^47-1 if it has no period, and takes a counter
 * at zero for one that has run that far: a jump.  Then the counter is stopped until perf programs
 * it, because the task is scheduled or the event is enabled.  From there on all is exact again.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

#include "perf.h"

#define QEMU		"/usr/bin/qemu-system-x86_64"
#define ARCHIVE		"migrate.cpio"
#define STATE		"migrate.state"
#define PERIOD		20011
#define LOOP		8000000		/* instructions of a round */
#define PAGES		64
#define ROUNDS		5		/* the guest moves in every other one */
#define JUMP		((1LL << 47) - 1)	/* how far perf lets a counter of AMD run, without a period */

enum { COUNT, SAMPLE, BRANCHES, ALWAYS, EVENTS };

/*
 * What the guest reports of a round: from, to and accesses are of this round alone, the others are
 * sums since the beginning.
 */
struct round {
	unsigned int number;
	unsigned long long count[EVENTS], insns, branches, samples, lost;
	unsigned long long from, to;		/* the machine's count at the round's ends */
	unsigned long long always;		/* the machine's count that belongs to count[ALWAYS] */
	unsigned long long accesses;		/* to the PMU in this round, without a VM-exit */
};

/* ---- in the guest */

static int fds[EVENTS], leader;
static uint64_t insns_index, branches_index;

struct both {
	uint64_t before, after, branches_before, branches_after;
};

#define READ_BRANCHES									\
	"mov %[ask], %%rax\n\t"								\
	"mov %[branches], %%rcx\n\t"							\
	MARK_INSN "\n\t"

/*
 * As MEASURE(), but for two of the machine's counts.  The second readings add the same at both
 * ends.
 */
static void __attribute__((noinline)) loop(struct both *s)
{
	asm volatile(MEASURE_READ
		     "mov %%rax, %%r13\n\t"
		     READ_BRANCHES
		     "mov %%rax, %%r15\n\t"
		     MEASURE_IOCTL("enable")
		     "mov $4000000, %%ecx\n"
		     "1: dec %%ecx\n\t"
		     "jnz 1b\n\t"
		     MEASURE_READ
		     "mov %%rax, %%r14\n\t"
		     READ_BRANCHES
		     "mov %%rax, %%r12\n\t"
		     MEASURE_IOCTL("disable")
		     "mov %%r13, %[first]\n\t"
		     "mov %%r14, %[last]\n\t"
		     "mov %%r15, %[first_branch]\n\t"
		     "mov %%r12, %[last_branch]\n\t"
		     : [first] "=m" (s->before), [last] "=m" (s->after),
		       [first_branch] "=m" (s->branches_before), [last_branch] "=m" (s->branches_after)
		     : [ioctl_fd] "m" (leader), [enable] "i" (PERF_EVENT_IOC_ENABLE),
		       [disable] "i" (PERF_EVENT_IOC_DISABLE),
		       [ask] "m" (measure_ask), [which] "m" (insns_index), [branches] "m" (branches_index)
		     : "rax", "rcx", "rdx", "rdi", "rsi", "r8", "r9", "r10", "r11",
		       "r12", "r13", "r14", "r15", "memory", "cc");
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		printf("cannot write %s\n", path);
	close(fd);
}

static void read_ring(struct perf_event_mmap_page *page, struct round *r)
{
	const char *data = (const char *)page + page->data_offset;
	uint64_t at = page->data_tail, end = page->data_head;

	__sync_synchronize();
	while (at < end) {
		const struct perf_event_header *header = (const void *)(data + at % page->data_size);

		if (header->type == PERF_RECORD_SAMPLE)
			r->samples++;
		else
			r->lost++;
		at += header->size;
	}
	page->data_tail = end;
}

static uint64_t accesses(void)
{
	return mark_read(TRUTH_GUEST_WRMSR) + mark_read(TRUTH_GUEST_RDMSR) + mark_read(TRUTH_GUEST_RDPMC);
}

/*
 * Read the counter that is never disabled and the machine's count.  If nothing comes in between,
 * the difference is always the same.
 */
static void read_always(struct round *r)
{
	uint64_t behind, shortest = ~0ULL;
	unsigned int i;

	for (i = 0; i < 16; i++) {
		const uint64_t before = mark_read(TRUTH_INSNS_GUEST_USER), count = perf_read(fds[ALWAYS]);

		behind = mark_read(TRUTH_INSNS_GUEST_USER) - before;
		if (behind >= shortest)
			continue;
		shortest = behind;
		r->count[ALWAYS] = count;
		r->always = before;
	}
}

static int guest(void)
{
	static const uint64_t config[EVENTS] = {
		PERF_COUNT_HW_INSTRUCTIONS, PERF_COUNT_HW_INSTRUCTIONS, PERF_COUNT_HW_BRANCH_INSTRUCTIONS, PERF_COUNT_HW_INSTRUCTIONS
	};
	struct perf_event_mmap_page *page = NULL;
	struct round r = {};
	unsigned int i;

	mount("proc", "/proc", "proc", 0, NULL);
	put("/proc/sys/kernel/perf_cpu_time_max_percent", "0");
	for (i = 0; i < EVENTS; i++) {
		struct perf_event_attr attr = perf_attr(config[i], USER);

		attr.disabled = i == COUNT || i == ALWAYS;
		if (i == SAMPLE) {
			attr.sample_period = PERIOD;
			attr.sample_type = PERF_SAMPLE_IP;
			attr.wakeup_events = 1 << 30;
		}
		fds[i] = perf_open(&attr, 0, -1, i == COUNT || i == ALWAYS ? -1 : fds[COUNT]);
		if (fds[i] < 0)
			printf("event %u cannot be opened: %m\n", i);
		if (i == SAMPLE)
			page = mmap(NULL, (PAGES + 1) * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
	}
	ioctl(fds[ALWAYS], PERF_EVENT_IOC_ENABLE, 0);
	leader = fds[COUNT];
	insns_index = truth_index(TRUTH_INSNS_HOST_KERNEL, USER);
	branches_index = truth_index(TRUTH_BRANCHES_HOST_KERNEL, USER);
	for (r.number = 0; r.number < ROUNDS; r.number++) {
		struct both s;

		printf("begin %u\n", r.number);
		tcdrain(1);
		r.accesses = accesses();
		loop(&s);
		r.accesses = accesses() - r.accesses;
		r.insns += s.after - s.before;
		r.branches += s.branches_after - s.branches_before;
		r.from = s.before;
		r.to = s.after;
		read_ring(page, &r);
		for (i = 0; i < ALWAYS; i++)
			r.count[i] = perf_read(fds[i]);
		read_always(&r);
		printf("round %u %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu\n", r.number, r.count[COUNT], r.count[SAMPLE],
		       r.count[BRANCHES], r.insns, r.branches, r.samples, r.lost, r.from, r.to, r.accesses, r.count[ALWAYS], r.always);
	}
	printf("done\n");
	tcdrain(1);
	reboot(RB_AUTOBOOT);
	return 1;
}

/* ---- on the host */

static pid_t qemu;
static int monitor = -1, console = -1;
static bool mediated, at_first;
static char line[512];
static unsigned int strange;

/* Write the guest's archive: its only file is its first process. */
static void write_archive(void)
{
	static const char *const names[] = { "init", "proc", "TRAILER!!!" };
	FILE *out = fopen(ARCHIVE, "w");
	unsigned int i;

	must(out, "the guest's archive can be opened");
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		char *content = NULL;
		struct stat st = {};

		if (!i) {
			int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

			must(!fstat(fd, &st) && (content = malloc(st.st_size)) && read(fd, content, st.st_size) == st.st_size,
			     "this program can be read");
			close(fd);
		}
		fprintf(out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s%c", i + 1,
			i ? S_IFDIR | 0755 : S_IFREG | 0755, 0, 0, 1, 0, (unsigned int)st.st_size, 0, 0, 0, 0,
			(unsigned int)strlen(names[i]) + 1, 0, names[i], 0);
		while (ftell(out) % 4)
			fputc(0, out);
		fwrite(content, 1, st.st_size, out);
		while (ftell(out) % 4)
			fputc(0, out);
		free(content);
	}
	must(!fclose(out), "the guest's archive can be written");
}

static const char *parameter(void)
{
	return on_amd() ? "/sys/module/kvm_amd/parameters/enable_mediated_pmu" :
			  "/sys/module/kvm_intel/parameters/enable_mediated_pmu";
}

static bool is_mediated(void)
{
	int fd = open(parameter(), O_RDONLY | O_CLOEXEC);
	char c = 'N';

	if (fd >= 0 && read(fd, &c, 1) != 1)
		c = 'N';
	close(fd);
	return c == 'Y';
}

/* Load the vendor's module again, with all its parameters but this one. */
static bool reload(bool wanted)
{
	const char *module = on_amd() ? "kvm_amd" : "kvm_intel";
	const size_t n = strlen(module);
	char parameters[512] = "", *all = strdup(getenv("KVM_PARAMS") ?: ""), *word, *save;
	int fd;

	for (word = strtok_r(all, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (!strncmp(word, module, n) && word[n] == '.' && strncmp(word + n + 1, "enable_mediated_pmu", 19))
			snprintf(parameters + strlen(parameters), 200, "%.190s ", word + n + 1);
	}
	free(all);
	if (wanted)
		strcat(parameters, "enable_mediated_pmu=1");
	if (syscall(SYS_delete_module, module, O_NONBLOCK))
		return false;
	fd = open(on_amd() ? "/lib/modules/kvm-amd.ko" : "/lib/modules/kvm-intel.ko", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || syscall(SYS_finit_module, fd, parameters, 0))
		return false;
	close(fd);
	mediated = is_mediated();
	return mediated == wanted;
}

/* However the test ends, restore KVM for later tests. */
static void leave(void)
{
	if (qemu > 0) {
		kill(qemu, SIGKILL);
		waitpid(qemu, NULL, 0);
	}
	if (mediated != at_first)
		reload(at_first);
}

static void start(bool incoming)
{
	int both[2], out[2];
	char *append;

	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) && !pipe2(out, O_CLOEXEC),
	     "a socket and a pipe for QEMU");
	must(asprintf(&append, "%s ROLE=guest VENDOR=%s", getenv("GUEST_KARGS") ?: "", getenv("VENDOR")) > 0, "memory");
	qemu = fork();
	must(qemu >= 0, "a process for QEMU");
	if (!qemu) {
		char socket[64];

		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(out[1], 1);
		dup2(out[1], 2);
		fcntl(both[1], F_SETFD, 0);
		snprintf(socket, sizeof(socket), "socket,id=monitor,fd=%d", both[1]);
		execl(QEMU, QEMU, "-accel", "kvm", "-M", "microvm,acpi=on,pit=off,pic=off,rtc=off,isa-serial=on",
		      "-cpu", "host,pmu=on", "-m", on_debians_kernel() ? "128" : "64", "-nodefaults", "-no-user-config", "-no-reboot",
		      "-display", "none", "-serial", "stdio", "-chardev", socket, "-mon", "chardev=monitor,mode=control",
		      "-kernel", "/guest/kernel", "-initrd", ARCHIVE, "-append", append,
		      incoming ? "-incoming" : NULL, "exec:cat " STATE, NULL);
		_exit(127);
	}
	free(append);
	close(both[1]);
	close(out[1]);
	monitor = both[0];
	console = out[0];
}

static void end(void)
{
	int status = -1;

	close(monitor);
	must(waitpid(qemu, &status, 0) == qemu && !status, "QEMU ends, with status 0");
	qemu = 0;
	close(console);
}

/* Send QEMU a command and return its answer; without one, its greeting.  Skip events. */
static const char *ask(const char *command)
{
	static char answer[8192];
	size_t n = 0;
	char *p;

	if (command && write(monitor, command, strlen(command)) < 0)
		return "gone";
	for (;;) {
		if (read(monitor, answer + n, 1) != 1)
			return "gone";
		if (answer[n] != '\n') {
			n += n < sizeof(answer) - 1;
			continue;
		}
		answer[n] = '\0';
		n = 0;
		p = strstr(answer, command ? "\"return\"" : "\"QMP\"") ?: strstr(answer, "\"error\"");
		if (p)
			return p;
	}
}

/* Send a command that QEMU must accept. */
static void tell(const char *what, const char *command)
{
	const char *answer = ask(command);

	if (strncmp(answer, "\"return\"", 8) && strncmp(answer, "\"QMP\"", 5)) {
		note("QEMU: %.300s", answer);
		must(0, what);
	}
}

static void meet(void)
{
	tell("QEMU answers", NULL);
	tell("QEMU takes commands", "{\"execute\":\"qmp_capabilities\"}\n");
}

/* Ask until the answer is not one of @passing.  Then it has to be @last. */
static void await(const char *what, const char *command, const char *const passing[], const char *last)
{
	const char *answer;
	unsigned int i;

	do {
		usleep(10000);
		answer = ask(command);
		for (i = 0; passing[i] && !strstr(answer, passing[i]); i++)
			;
	} while (passing[i]);
	if (!strstr(answer, last)) {
		note("QEMU: %.300s", answer);
		must(0, what);
	}
}

static void to_file(void)
{
	static const char *const passing[] = { "\"setup\"", "\"active\"", "\"device\"", NULL };

	tell("QEMU saves the guest", "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"exec:cat > " STATE "\"}}\n");
	await("the guest is in the file", "{\"execute\":\"query-migrate\"}\n", passing, "\"completed\"");
	tell("QEMU ends", "{\"execute\":\"quit\"}\n");
}

static void from_file(void)
{
	static const char *const passing[] = { "\"inmigrate\"", NULL };

	meet();
	await("the guest is back from the file", "{\"execute\":\"query-status\"}\n", passing, "\"paused\"");
	tell("the guest continues", "{\"execute\":\"cont\"}\n");
}

/* Does this CPU have the fixed counter of slots?  Only a mediated vPMU offers it. */
static bool has_slots(void)
{
	uint32_t r[4];

	host_cpuid(0xa, r);
	return !on_amd() && (r[3] & 0x1f) > 3;
}

/*
 * The guest has enabled that counter in the global control, as Linux does with all counters.  QEMU
 * names the MSR that cannot be set, and ends.  If it does not end, the read below waits until the
 * test's limit.
 */
static void refuses(void)
{
	char said[4096] = "";
	size_t have = 0;
	int status = 0;
	ssize_t n;

	do {
		n = read(console, said + have, sizeof(said) - 1 - have);
		have += n > 0 ? n : 0;
	} while (n > 0);
	waitpid(qemu, &status, 0);
	check(status && strstr(said, "failed to set MSR 0x38f"),
	      "a host without the counter of slots refuses the guest, and QEMU says so");
	close(monitor);
	close(console);
	qemu = 0;
}

static bool in_user_mode(void)
{
	return strstr(ask("{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info registers\"}}\n"),
		      "CPL=3");
}

/* Move the guest in the middle of a round.  Return the machine's count there. */
static uint64_t move(void)
{
	const uint64_t begin = mark_read(TRUTH_INSNS_GUEST_USER);
	uint64_t stopped;

	while (mark_read(TRUTH_INSNS_GUEST_USER) < begin + LOOP / 4)
		usleep(1000);
	tell("QEMU stops the guest", "{\"execute\":\"stop\"}\n");
	/* In the guest's PMI handler the global control is 0, and no host would refuse it. */
	while (has_slots() && !in_user_mode()) {
		tell("QEMU continues the guest", "{\"execute\":\"cont\"}\n");
		usleep(1000);
		tell("QEMU stops the guest", "{\"execute\":\"stop\"}\n");
	}
	stopped = mark_read(TRUTH_INSNS_GUEST_USER);
	to_file();
	end();
	if (!access(parameter(), F_OK))
		must(reload(!mediated), "KVM's module is loaded again, for the other vPMU");
	start(true);
	if (has_slots() && !mediated) {
		refuses();
		must(reload(true), "KVM's module is loaded again, for the same vPMU");
		start(true);
	}
	from_file();
	return stopped;
}

/*
 * Read the guest's next line of ours into line[].  After the first of these, its kernel has nothing
 * to report.
 */
static bool hear(void)
{
	static char spoken[16384];
	static bool begun;
	static size_t have;

	for (;;) {
		char *newline = memchr(spoken, '\n', have);
		ssize_t n;

		if (newline) {
			const size_t length = newline - spoken;

			snprintf(line, sizeof(line), "%.*s", (int)(length && newline[-1] == '\r' ? length - 1 : length), spoken);
			have -= length + 1;
			memmove(spoken, newline + 1, have);
			printf("guest: %s\n", line);
			if (!strncmp(line, "begin ", 6) || !strncmp(line, "round ", 6) || !strcmp(line, "done")) {
				begun = true;
				return true;
			}
			if (begun) {
				note("guest: %s", line);
				strange++;
			}
			continue;
		}
		n = read(console, spoken + have, sizeof(spoken) - have);
		if (n <= 0)
			return false;
		have += n;
	}
}

static bool read_round(struct round *r)
{
	return sscanf(line, "round %u %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu", &r->number, &r->count[COUNT],
		      &r->count[SAMPLE], &r->count[BRANCHES], &r->insns, &r->branches, &r->samples, &r->lost, &r->from, &r->to,
		      &r->accesses, &r->count[ALWAYS], &r->always) == 13;
}

static char title[64];

static const char *of(const char *what)
{
	static char both[128];

	snprintf(both, sizeof(both), "%s: %s", title, what);
	return both;
}

/* Check what this round has added: nothing is lost, nothing appears twice. */
static void check_exact(const struct round *r, const struct round *before)
{
	static const char why[] = "the machine's count of this round";

	check_equal(of("instructions"), r->count[COUNT] - before->count[COUNT], r->insns - before->insns, why);
	check_equal(of("branches"), r->count[BRANCHES] - before->count[BRANCHES], r->branches - before->branches, why);
	check_equal(of("instructions, with a period"), r->count[SAMPLE] - before->count[SAMPLE], r->insns - before->insns, why);
	check_equal(of("samples"), r->samples - before->samples, r->count[SAMPLE] / PERIOD - before->count[SAMPLE] / PERIOD,
		    "one per period of what was counted");
	/* Compare with the round before, which the first round does not have. */
	if (r->number)
		check_equal(of("always on"), r->count[ALWAYS] - before->count[ALWAYS], r->always - before->always, why);
}

/* QEMU has not saved the PMU, for the moves-th time. */
static void check_left_behind(const struct round *r, const struct round *before, uint64_t stopped, unsigned int moves)
{
	static const char why[] = "a jump at each move, and at most the rest of this round";
	/* The counters see the end of a measured region some instructions after the machine. */
	const long long jump = JUMP * moves, rest = r->to - stopped + 100;
	const long long counted = r->count[SAMPLE] - before->count[SAMPLE], ended = r->count[SAMPLE] / PERIOD;

	check_between(of("instructions jump"), r->count[COUNT], jump, jump + rest, why);
	check_between(of("branches jump"), r->count[BRANCHES], jump, jump + rest, why);
	check_between(of("always on jumps"), r->count[ALWAYS], jump, jump + (long long)(r->always - stopped) + 100, why);
	check_between(of("instructions, with a period"), counted, stopped - r->from - 100, r->to - r->from + PERIOD,
		      "up to the move, the end of that period, and at most the rest of this round");
	check_between(of("samples that are missing"), ended - before->count[SAMPLE] / PERIOD - (r->samples - before->samples), 0,
		      1 + rest / PERIOD, "that of the period at the move, and at most those of the rest of this round");
}

int main(void)
{
	static const char *const kinds[] = { "perf-based", "mediated" };
	struct round before = {}, r;
	bool moved = false, carried = !on_amd();
	unsigned int rounds = 0, moves = 0;
	uint64_t stopped = 0;

	if (getpid() == 1)
		return guest();
	must(mark_present(), "this is our machine");
	write_archive();
	mediated = at_first = is_mediated();
	atexit(leave);
	start(false);
	meet();
	while (hear() && strcmp(line, "done")) {
		if (sscanf(line, "begin %u", &r.number) == 1) {
			snprintf(title, sizeof(title), "%u, %s", r.number, kinds[mediated]);
			moved = r.number % 2;
			if (moved) {
				stopped = move();
				moves++;
				snprintf(title + strlen(title), 20, " to %s", kinds[mediated]);
			}
			continue;
		}
		if (!read_round(&r))
			must(0, "the guest's line is understood");
		if (moved) {
			check_between(of("in the middle"), stopped - r.from, LOOP / 8, LOOP * 7 / 8,
				      "it was stopped in its loop");
			if (!carried && moves == 1 && r.count[COUNT] == r.insns) {
				note("this QEMU carries AMD's PMU");
				carried = true;
			}
		} else {
			check((r.accesses > 0) == mediated, "%s", of("the vPMU is of that kind"));
		}
		if (moved && !carried)
			check_left_behind(&r, &before, stopped, moves);
		else
			check_exact(&r, &before);
		check_equal(of("neither lost nor throttled"), r.lost, before.lost, "there is nothing but samples in the ring");
		before = r;
		rounds++;
	}
	check_equal("rounds", rounds, ROUNDS, "the guest has continued to its end");
	check_equal("lines of the guest's kernel", strange, 0, "it has noticed nothing");
	end();
	return check_done();
}
