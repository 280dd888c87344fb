// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: what a mediated vPMU does is visible in tracepoints, in the vCPU's statistics, and in
 * /proc/interrupts, and all three agree with the machine.
 */
#include "vm.h"

#define TRACING "/sys/kernel/tracing/"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

/* A tracepoint, a text that its line must have, and the statistic that counts it. */
static const struct seen {
	const char *event, *word, *stat;
} all[] = {
	{ "kvm_pmu_load", "", "pmu_loads" },
	{ "kvm_pmu_put", "", "pmu_puts" },
	{ "kvm_pmu_put", "for the host", "pmu_reclaims" },
	{ "kvm_pmu_pmi", "", "pmu_pmis" },
	{ "kvm_pmu_emulated_overflow", "", "pmu_emulated_overflows" },
};

static void write_to(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	must(fd >= 0 && write(fd, what, strlen(what)) == (ssize_t)strlen(what), path);
	close(fd);
}

static void trace(bool on)
{
	char path[120];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(all); i++) {
		snprintf(path, sizeof(path), TRACING "events/kvm/%s/enable", all[i].event);
		write_to(path, on ? "1" : "0");
	}
}

static unsigned int lines_with(const char *event, const char *word)
{
	FILE *file = fopen(TRACING "trace", "r");
	char line[512], name[64];
	unsigned int n = 0;

	must(file, "the trace");
	snprintf(name, sizeof(name), " %s: vcpu 0", event);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, name) && strstr(line, word);
	fclose(file);
	return n;
}

/*
 * A line's sum over all CPUs.  VPMI counts guests' PMIs, NMI includes the host's own.  With modules alone,
 * guests' are NMIs, too.
 */
static uint64_t interrupts(const char *name)
{
	FILE *file = fopen("/proc/interrupts", "r");
	uint64_t sum = ~0ULL;
	char line[512];

	must(file, "/proc/interrupts");
	while (fgets(line, sizeof(line), file)) {
		char *at = strstr(line, name);

		if (!at)
			continue;
		sum = 0;
		for (at += strlen(name); ; ) {
			char *end;
			uint64_t n = strtoull(at, &end, 10);

			if (end == at)
				break;
			sum += n;
			at = end;
		}
	}
	fclose(file);
	return sum;
}

int main(void)
{
	uint64_t stat[ARRAY_SIZE(all)], vpmi, nmi, hardware;
	unsigned int i, k;

	must(on_mediated(), "the vPMU is mediated");
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_body(&body,
		"(nop*3 cpuid rdmsr nop*2 wrmsr rdpmc jmp out-pic fep-nop nop*2 fep-jmp nop*9)*9 "
		"nop*300");
	s.n = 1;
	s.body = &body;
	s.interrupted = true;
	s.counter[0] = (struct vm_counter) { .event = VM_INSNS, .privilege = VM_KERNEL, .interrupt = true };
	/* The first run has page faults; the second one tells how many events there are. */
	vm_measure(&vm, &s);
	vm_measure(&vm, &s);

	for (i = 0; i < ARRAY_SIZE(all); i++)
		stat[i] = vm_stat(&vm, all[i].stat);
	vpmi = interrupts("VPMI:");
	nmi = interrupts("NMI:");
	hardware = mark_read(TRUTH_PMIS);
	write_to(TRACING "trace", "");
	trace(true);
	/* Overflow by hardware after all emulated events, then at each event in a row. */
	for (k = 0; k < 40; k++) {
		s.counter[0].start = k < 10 ? -(s.counter[0].value - 100) : -(uint64_t)(30 + k);
		vm_measure(&vm, &s);
		check(vm_seen.pmis == 1 || k, "a PMI of the guest");
	}
	trace(false);
	hardware = mark_read(TRUTH_PMIS) - hardware;
	vpmi = interrupts("VPMI:") - vpmi;
	nmi = interrupts("NMI:") - nmi;
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		unsigned int lines = lines_with(all[i].event, all[i].word);

		stat[i] = vm_stat(&vm, all[i].stat) - stat[i];
		check_equal(all[i].stat, stat[i], lines, "as many as lines of the tracepoint");
		/* Nothing of the host wants the PMU here. */
		check(!stat[i] == !strcmp(all[i].stat, "pmu_reclaims"), "%s: %llu", all[i].stat, (unsigned long long)stat[i]);
	}
	check_equal("PMIs in /proc/interrupts", vpmi + nmi, hardware,
		    "as many as the machine has delivered, with the watchdog's");
	check_equal("pmu_pmis", stat[3], on_modules_alone() ? nmi : vpmi, "the guest's");
	check_equal("loads and puts", stat[0], stat[1], "in pairs");
	vm_close(&vm);
	return check_done();
}
