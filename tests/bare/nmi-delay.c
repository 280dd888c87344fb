// SPDX-License-Identifier: GPL-2.0
/*
 * NMIs that come late (nmi_delay=100): that many ticks after the instruction that overflows, as the
 * LVT entry was at the overflow.  And NMIs of the magic instruction.
 */
#include "shared.h"
#include "svm.h"
#include "vmx.h"

#define DELAY	100
#define BEFORE	2			/* WRMSR and CALL of run() */

CODE(nops_300, ".rept 300\n nop\n .endr");
CODE(nops_hlt, ".rept 20\n nop\n .endr\n hlt\n after_hlt: nop");
CODE(late_rep, "mov $shared_buffer, %edi\n mov $1000, %ecx\n late_rep_insn: rep stosb");
extern char after_hlt[], late_rep_insn[];

static void arm(u32 lvt, u64 events)
{
	pmu_clear();
	pmi_expect(lvt);
	pmu_set(0, event(INSNS) | ALL | INT);
	ctr_write(0, MINUS(events));
}

static void wait(void) { asm volatile(".rept 200\n nop\n .endr"); }

static u64 left;
static void note_rcx(struct frame *f) { left = f->rcx; }

static void delays(void)
{
	u64 pmis = mark_read(TRUTH_PMIS);

	arm(APIC_DM_NMI, BEFORE + 10);
	run(nops_300, 0);
	is(cpu()->pmi.count, 1, "an NMI: one");
	is(cpu()->pmi.rip, (u64)nops_300 + 10 + DELAY, "an NMI: after the overflow by its delay");
	is(cpu()->pmi.status, 1, "an NMI: status");
	is(cpu()->pmi.lvt & APIC_LVT_MASKED, pmu.intel ? APIC_LVT_MASKED : 0,
	   "an NMI: the LVT entry");
	is(mark_read(TRUTH_PMIS) - pmis, 1, "an NMI: truth");

	arm(V_PMI, BEFORE + 10);
	sti();
	run(nops_300, 0);
	cli();
	is(cpu()->pmi.count, 1, "a vector: one");
	is(cpu()->pmi.rip, (u64)nops_300 + 10, "a vector: without delay");

	/* A later change of the entry has no effect.  Intel's is masked since the overflow. */
	arm(APIC_DM_NMI, BEFORE + 10);
	run(ten_nops, 0);
	is(cpu()->pmi.count, 0, "under way: it has not come yet");
	is(apic_read(APIC_LVT_PC) & APIC_LVT_MASKED, pmu.intel ? APIC_LVT_MASKED : 0,
	   "under way: the LVT entry is as after a delivery");
	apic_write(APIC_LVT_PC, V_PMI | APIC_LVT_MASKED);
	wait();
	is(cpu()->pmi.count, 1, "under way, the entry written: it comes");
	is(cpu()->pmi.vector, 2, "under way, the entry written: as an NMI, as it was");

	arm(APIC_LVT_MASKED | APIC_DM_NMI, BEFORE + 10);
	run(ten_nops, 0);
	apic_write(APIC_LVT_PC, APIC_DM_NMI);
	wait();
	is(cpu()->pmi.count, 0, "masked at the overflow: none comes");

	/*
	 * Two overflows: AMD does not mask, and the second NMI waits for the end of the first one's
	 * handler.
	 */
	arm(APIC_DM_NMI, BEFORE + 10);
	pmu_set(1, event(INSNS) | ALL | INT);
	ctr_write(1, MINUS(BEFORE + 20));
	run(nops_300, 0);
	is(cpu()->pmi.count, pmu.intel ? 1 : 2, "two overflows, one shortly after the other");

	arm(APIC_DM_NMI, BEFORE + 10);
	run(nops_hlt, 0);
	is(cpu()->pmi.count, 1, "HLT: the NMI comes");
	is(cpu()->pmi.rip, (u64)after_hlt, "HLT: the NMI ends it");

	/* The delay is in ticks: overflow at the second MOV, the NMI a hundred iterations later. */
	arm(APIC_DM_NMI, BEFORE + 2);
	cpu()->pmi_action = note_rcx;
	run(late_rep, 0);
	is(cpu()->pmi.count, 1, "REP: the NMI comes");
	is(cpu()->pmi.rip, (u64)late_rep_insn, "REP: within it");
	is(left, 1000 - DELAY, "REP: one tick per iteration");
}

#define NMI(ticks)	"movabs $0x4b564d504d550007, %rax\n mov $" #ticks ", %ecx\n xchg %bx, %bx\n "
CODE(nmi_0, NMI(0) "nmi_0_end: .rept 10\n nop\n .endr");
CODE(nmi_7, NMI(7) "nmi_7_end: .rept 10\n nop\n .endr");
extern char nmi_0_end[], nmi_7_end[];

/* The NMI of the magic instruction, which is nobody's overflow. */
static void asked_for(void)
{
	u64 pmis = mark_read(TRUTH_PMIS);

	arm(APIC_DM_NMI, 1000);
	run(nmi_0, 0);
	is(cpu()->pmi.count, 1, "NMI(0): one");
	is(cpu()->pmi.rip, (u64)nmi_0_end, "NMI(0): right after the instruction");
	arm(APIC_DM_NMI, 1000);
	run(nmi_7, 0);
	is(cpu()->pmi.count, 1, "NMI(7): one");
	is(cpu()->pmi.rip, (u64)nmi_7_end + 7, "NMI(7): after seven ticks");
	is(cpu()->pmi.status, 0, "NMI(7): no status");
	is(cpu()->pmi.lvt & APIC_LVT_MASKED, 0, "NMI(7): the LVT entry is not masked");
	is(mark_read(TRUTH_PMIS) - pmis, 0, "NMI(7): no PMI");
}

/* The guest's counter overflows, and the NMI comes in the host. */
static void late(void)
{
	u64 early;

	if (pmu.intel) {
		vmx_on();
		arm(APIC_DM_NMI, 1 + 5);
		vmx_new();
		vmx_set(PIN_CONTROLS, PIN_NMI_EXIT);
		vmx_set(ENTRY_CONTROLS, ENTRY_LOAD_GLOBAL_CTRL);
		vmx_set(EXIT_CONTROLS, EXIT_LOAD_GLOBAL_CTRL);
		vmwrite(GUEST_GLOBAL_CTRL, 1);
		vmwrite(HOST_GLOBAL_CTRL, 0);
		measure(MSR_CORE_PERF_GLOBAL_CTRL, 0, 0, vmx_launch, (u64)ten_nops);
		early = cpu()->pmi.count;
		is(vmread(EXIT_REASON), 18, "a guest that exits in between: its own exit");
	} else {
		svm_on();
		arm(APIC_DM_NMI, 2 + 5);
		pmu_set(0, event(INSNS) | ALL | INT | AMD64_EVENTSEL_GUESTONLY);
		svm_new();
		VMCB(u32, VMCB_INTERCEPT1) |= I_NMI;
		run(svm_run, (u64)ten_nops);
		early = cpu()->pmi.count;
		is(VMCB(u64, VMCB_EXIT_CODE), 0x81, "a guest that exits in between: its own exit");
	}
	is(early, 0, "a guest that exits in between: the NMI is under way");
	wait();
	is(cpu()->pmi.count, 1, "a guest that exits in between: it comes to the host");

	/* If the guest runs for long enough, the NMI comes there. */
	if (pmu.intel) {
		arm(APIC_DM_NMI, 1 + 5);
		vmx_new();
		vmx_set(PIN_CONTROLS, PIN_NMI_EXIT);
		vmx_set(ENTRY_CONTROLS, ENTRY_LOAD_GLOBAL_CTRL);
		vmx_set(EXIT_CONTROLS, EXIT_LOAD_GLOBAL_CTRL);
		vmwrite(GUEST_GLOBAL_CTRL, 1);
		vmwrite(HOST_GLOBAL_CTRL, 0);
		measure(MSR_CORE_PERF_GLOBAL_CTRL, 0, 0, vmx_launch, (u64)nops_300);
		is(vmread(EXIT_REASON), 0, "a guest that runs on: the NMI exits");
		is(vmread(GUEST_RIP), (u64)nops_300 + 5 + DELAY,
		   "a guest that runs on: by the delay after the overflow");
		is(ctr_read(0), DELAY, "a guest that runs on: what was counted since");
	} else {
		arm(APIC_DM_NMI, 2 + 5);
		pmu_set(0, event(INSNS) | ALL | INT | AMD64_EVENTSEL_GUESTONLY);
		svm_new();
		VMCB(u32, VMCB_INTERCEPT1) |= I_NMI;
		run(svm_run, (u64)nops_300);
		is(VMCB(u64, VMCB_EXIT_CODE), 0x61, "a guest that runs on: the NMI exits");
		is(VMCB(u64, VMCB_RIP), (u64)nops_300 + 5 + DELAY,
		   "a guest that runs on: by the delay after the overflow");
		is(ctr_read(0), DELAY, "a guest that runs on: what was counted since");
	}
	pmu_clear();
}

void test(void)
{
	delays();
	asked_for();
	late();
}
