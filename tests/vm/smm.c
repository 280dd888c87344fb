// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a guest does not count what the host's firmware executes in SMM, if the CPU can leave it
 * out.
 *
 * An SMI enters SMM from the guest and RSM returns to it, without a VM-exit.  AMD's guest-only
 * counters do not count there.  Intel's are frozen by DEBUGCTL.FREEZE_IN_SMM, which KVM has to set
 * for the guest, whatever the guest's own DEBUGCTL says (SDM, volume 3, "Loading Host Control
 * Registers, Debug Registers, MSRs": VM-exit clears it, VM-entry loads the guest's).  With a
 * perf-based vPMU it is as the host has it (perf's freeze_on_smi); with a mediated one it is always
 * set.
 */
#include "vm.h"

#define FREEZE_IN_SMM	(1 << 14)
#define SETTING		"/sys/bus/event_source/devices/cpu/freeze_on_smi"

static struct vm vm;
static struct vm_body body;
static struct vm_region s;

static const struct {
	const char *what, *code;
	unsigned int smis;
} rows[] = {
	{ "one", "nop*5 smi nop*9", 1 },
	{ "ten in the kernel, ten in user mode",
	  "(smi nop*3 jmp)*10 user{(smi nop*3 jmp)*10} nop*9", 20 },
	{ "between exits", "(nop smi nop cpuid nop*9)*5", 5 },
	{ "while the guest exits to KVM", "(nop smi cpuid nop*9)*5", 5 },
};

static const struct vm_counter counters[] = {
	{ .name = "general, instructions", .index = 0, .event = VM_INSNS, .privilege = VM_BOTH },
	{ .name = "general, branches", .index = 1, .event = VM_BRANCHES, .privilege = VM_BOTH },
	{ .name = "fixed, instructions", .fixed = true, .index = 0, .event = VM_INSNS, .privilege = VM_BOTH },
};

static void set(char value)
{
	int fd = open(SETTING, O_WRONLY | O_CLOEXEC);

	must(fd >= 0 && write(fd, &value, 1) == 1, "freeze_on_smi can be set");
	close(fd);
}

static uint64_t host_debugctl(void)
{
	int fd = open("/dev/cpu/0/msr", O_RDONLY | O_CLOEXEC);
	uint64_t value;

	must(fd >= 0 && pread(fd, &value, sizeof(value), MSR_IA32_DEBUGCTLMSR) == sizeof(value),
	     "the host's DEBUGCTL");
	close(fd);
	return value;
}

static uint64_t guest_debugctl;

static void write_debugctl(void *unused)
{
	(void)unused;
	wrmsr(MSR_IA32_DEBUGCTLMSR, 1);
	wrmsr(MSR_IA32_DEBUGCTLMSR, 0);
	guest_debugctl = rdmsr(MSR_IA32_DEBUGCTLMSR);
}

static void all(const char *when)
{
	unsigned int row, i;
	char what[160];

	for (row = 0; row < ARRAY_SIZE(rows); row++) {
		vm_body(&body, rows[row].code);
		s.body = &body;
		for (i = 0; i < ARRAY_SIZE(counters); i++) {
			uint64_t smis = mark_read(TRUTH_SMIS), insns = mark_read(TRUTH_SMM_INSNS);

			if (counters[i].fixed && vm_seen.amd)
				continue;
			s.n = 1;
			s.counter[0] = counters[i];
			vm_measure(&vm, &s);
			smis = mark_read(TRUTH_SMIS) - smis;
			insns = mark_read(TRUTH_SMM_INSNS) - insns;
			snprintf(what, sizeof(what), "%s, %s: %s", when, rows[row].what, counters[i].name);
			check(smis >= rows[row].smis && insns >= 2 * smis, "%s: %llu SMIs, %llu instructions in SMM", what,
			      (unsigned long long)smis, (unsigned long long)insns);
			check_equal(what, s.counter[0].value, vm_expected(&s, 0),
				    "the machine's count, without SMM's, and what KVM emulated");
		}
	}
}

int main(void)
{
	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	all("as it is");
	if (!vm_seen.amd) {
		check_equal("the host's DEBUGCTL", host_debugctl(), FREEZE_IN_SMM, "as perf sets it");
		vm_call(&vm, write_debugctl, NULL);
		check_equal("the guest's DEBUGCTL", guest_debugctl, 0, "its own");
		all("the guest has written DEBUGCTL");
		check_equal("userspace's reading of it", vm_get_msr(&vm, MSR_IA32_DEBUGCTLMSR), 0,
			    "the guest's own");
	}
	if (!vm_seen.amd && vm_seen.mediated) {
		set('0');
		all("the host counts its own SMM");
		check_equal("the host's DEBUGCTL then", host_debugctl(), 0, "as perf sets it");
		set('1');
		all("the host does not count it any more");
		check_equal("the host's DEBUGCTL at the end", host_debugctl(), FREEZE_IN_SMM, "as perf sets it");
	}
	vm_close(&vm);
	return check_done();
}
