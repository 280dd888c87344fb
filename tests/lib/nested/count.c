// SPDX-License-Identifier: GPL-2.0
/*
 * Counting across a VM-entry of L1 into L2 and the VM-exit.
 *
 * The machine tells L1 and L2 from the host, but not from each other.  So L1 reads the machine's
 * counts right before the entry and right after the exit.  A VM-entry into an AMD guest counts in
 * that guest, here L1 or L2, and so do the entries after exits that only L0 sees.
 *
 * KVM emulates L1's VMX and SVM instructions.  It counts VMLAUNCH and VMRESUME as a branch but not
 * as an instruction; VMREAD, VMWRITE, VMRUN and STGI as an instruction.  VMRUN counts in L2.
 */

#include "nested.h"
#include "perf.h"

struct nested_test nested;

static struct vm_body l1_body;

static void before(struct vm *vm)
{
	unsigned int i;

	vm_call(vm, nested_prepare, NULL);
	if (vm_seen.amd && nested.has_control) {
		vm_set_msr(vm, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, 0);
		vm_set_msr(vm, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0x3f);
	}
	for (i = 0; i < nested.s.n && vm_seen.amd; i++)
		nested.s.frame.on.write[i].value |= nested.on_bits[i];
	if (!vm_seen.amd && nested.off_before)
		nested.s.frame.on.write[0].value = 0;
	nested_regs[NESTED_RDI] = (uint64_t)nested.l2.code;
}

static bool control_is_there(void)
{
	struct vm_msr msr = { .head.nmsrs = 1, .entry.index = MSR_AMD64_PERF_CNTR_GLOBAL_CTL };

	return !vm_seen.amd || ioctl(nested.vm.vcpu, KVM_GET_MSRS, &msr) == 1;
}

void nested_open(void)
{
	/* On AMD, too, the PMU is to have a global control. */
	vm_perfmon_v2 = true;
	vm_open(&nested.vm);
	nested.has_control = control_is_there();
	if (!vm_seen.amd)
		vm_set_msr(&nested.vm, MSR_IA32_FEAT_CTL, 5);
	vm_call(&nested.vm, vm_guest_prepare, NULL);
	vm_call(&nested.vm, nested_on, NULL);
	/* KVM has separate page tables for L1 and for L2.  Fill both. */
	nested_defaults();
	vm_call(&nested.vm, nested_prepare, NULL);
	vm_call(&nested.vm, nested_hypervisor_for, vm_guest_prepare);
	nested.vm.before = before;
	vm_clear(&l1_body);
	vm_emit(&l1_body, "68%08x c3>", VM_WORD(nested_hypervisor));
	nested.s.body = &l1_body;
}

void nested_run(void (*test)(void))
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.exclude_guest = 1,
	};
	int fd;

	test();
	fd = perf_open(&attr, 0, -1, -1);
	must(fd >= 0, "an event of the host");
	nested.beside = true;
	test();
	close(fd);
	nested.beside = false;
}

int nested_close(void)
{
	vm_close(&nested.vm);
	return check_done();
}

void nested_defaults(void)
{
	memset(&l1, 0, sizeof(l1));
	l1.load_entry = l1.load_exit = -1;
	memset(nested.on_bits, 0, sizeof(nested.on_bits));
	nested.off_before = false;
	vm_seen.fixed_vector = false;
	nested.s.n = 0;
	nested.s.interrupted = false;
}

void nested_counter(enum vm_event event, enum vm_privilege privilege, bool fixed, bool interrupt)
{
	struct vm_region *s = &nested.s;

	s->counter[s->n] = (struct vm_counter){
		.event = event,
		.privilege = privilege,
		.fixed = fixed,
		.index = fixed ? 0 : s->n,
		.interrupt = interrupt,
	};
	s->n++;
}

const char *nested_title(const char *what, const char *which)
{
	snprintf(nested.name, sizeof(nested.name), "%s%s%s%s", what, *which ? ", " : "", which,
		 nested.beside ? ", beside the host's event" : "");
	return nested.name;
}

uint64_t nested_emulated_of_l2(const struct vm_counter *c)
{
	uint64_t n = vm_emulated(&nested.l2, c, (uint64_t)nested.l2.code - 1, ~0ULL);

	/* KVM has not emulated the instructions that L1 has stepped over. */
	return n - (c->event == VM_INSNS && c->privilege & VM_KERNEL ? l1.stepped : 0);
}

/* The events that KVM has emulated for L1, without the ends of the region. */
static uint64_t emulated_of_l1(const struct vm_counter *c)
{
	if (!(c->privilege & VM_KERNEL))
		return 0;
	if (c->event == VM_INSNS)
		return l1.before + l1.after + (vm_seen.amd ? l1.exits : 0);
	return vm_seen.amd ? 0 : l1.exits;
}

/* With APIC virtualization L1's end of interrupt does not exit, but L2's does. */
static uint64_t eois_of_l2(const struct vm_counter *c)
{
	uint64_t n = 0;
	unsigned int p;

	if (!vm_seen.eoi || !vm_seen.fixed_vector || c->event != VM_INSNS ||
	    !(c->privilege & VM_KERNEL))
		return 0;
	for (p = 0; p < vm_seen.pmis && p < VM_PMIS; p++) {
		uint64_t rip = vm_seen.pmi[p].rip, code = (uint64_t)nested.l2.code;
		uint64_t call = (uint64_t)nested_vmx_l2;

		/* CALL and VMCALL together have five bytes. */
		n += (rip >= code && rip <= code + nested.l2.length) ||
		     (rip >= call && rip <= call + 5);
	}
	return n;
}

uint64_t nested_events(unsigned int i)
{
	const struct vm_counter *c = &nested.s.counter[i];

	return vm_events(&nested.s, i, VM_BEGIN, VM_END) + emulated_of_l1(c) +
	       nested_emulated_of_l2(c) + eois_of_l2(c);
}

uint64_t nested_insns_of_l2(const struct vm_counter *c)
{
	return nested_insns[1] - nested_insns[0] - NESTED_INSNS_BEFORE - NESTED_INSNS_AFTER +
	       nested_emulated_of_l2(c);
}

uint64_t nested_insns_after_exit(unsigned int i)
{
	return vm_truth(&nested.s, i, VM_END) - nested_insns[1] + NESTED_INSNS_AFTER + l1.after +
	       (vm_seen.amd ? vm_write(i) : 0);
}

bool nested_undisturbed(void)
{
	/* One for L2's VM-entry, one for its call. */
	unsigned int i, exits = 2;

	for (i = 0; i < nested.l2.insns; i++)
		exits += nested.l2.insn[i].emulated;
	return nested_exits[1] - nested_exits[0] == exits;
}

void nested_measure(void)
{
	unsigned int tries = 0;

	/* The first run has page faults. */
	vm_measure(&nested.vm, &nested.s);
	do {
		vm_measure(&nested.vm, &nested.s);
		must(!nested_failed, "L1 enters L2");
		must(++tries < VM_TRIES, "a measured region without a tick of the host");
	} while (l1.exits == 1 && !vm_seen.pmis && !nested_undisturbed());
}
