// SPDX-License-Identifier: GPL-2.0
/*
 * System management mode, on both vendors: the SMI operation of the magic instruction, what
 * counters and the ground truth count of what SMM executes, Intel's FREEZE_WHILE_SMM, and that a
 * guest continues unchanged after RSM.
 */
#include "shared.h"
#include "svm.h"
#include "vmx.h"

#define SMM_INSNS	16			/* of the machine's own handler: fifteen NOPs and RSM */
#define FREEZE_WHILE_SMM BIT(14)		/* of DEBUGCTL */
#define SAVED_RIP	(*(volatile u64 *)0x3ff78)	/* state save map: where the SMI came */
#define VMCALL		18
#define VMMCALL		0x81

enum { SMIS = 23, IN_SMM = 24, SMM_BRANCHES = 25 };	/* READ */

/* MOV, MOV and the magic instruction: the SMI comes this number of instructions after it. */
#define SMI(ticks)	"movabs $0x4b564d504d550006, %rax\n mov $" #ticks ", %ecx\n xchg %bx, %bx\n "
#define SMI_INSNS	3
#define NOPS(n)		".rept " #n "\n nop\n .endr\n "
CODE(smi_0, SMI(0) "smi_0_end: " NOPS(10));
CODE(smi_7, SMI(7) "smi_7_end: " NOPS(10));
CODE(smi_sti, SMI(1) "sti\n nop\n smi_sti_end: nop\n cli");
CODE(smi_hlt, SMI(100) "hlt\n smi_hlt_end: " NOPS(10));
CODE(smi_rep, "mov $shared_buffer, %edi\n " SMI(50) "mov $1000, %ecx\n smi_rep_insn: rep stosb");
CODE(none, NOPS(13));
extern char smi_0_end[], smi_7_end[], smi_sti_end[], smi_hlt_end[], smi_rep_insn[];

static u64 seen[3];

static void from_here(void)
{
	for (int i = 0; i < 3; i++)
		seen[i] = mark_read(SMIS + i);
}

static void took(u64 smis, void *where, const char *what)
{
	is(mark_read(SMIS) - seen[0], smis, "%s: SMIs", what);
	is(mark_read(IN_SMM) - seen[1], smis * SMM_INSNS, "%s: instructions of SMM", what);
	is(mark_read(SMM_BRANCHES) - seen[2], 0, "%s: branches of SMM", what);
	if (smis)
		is(SAVED_RIP, (u64)where, "%s: where it came", what);
	from_here();
}

static void marks(void)
{
	u64 kernel[2], user;

	is(mark_read(SMIS), 0, "no SMI at power-on");
	from_here();
	run(none, 0);
	took(0, NULL, "without the magic instruction");
	run(smi_0, 0);
	took(1, smi_0_end, "SMI(0)");
	run(smi_7, 0);
	took(1, smi_7_end + 7, "SMI(7)");
	run(in_user, (u64)smi_7);
	took(1, smi_7_end + 7, "SMI(7) in ring 3");
	run(smi_sti, 0);
	took(1, smi_sti_end, "an SMI waits for the instruction after STI");
	run(smi_hlt, 0);
	took(1, smi_hlt_end, "an SMI ends HLT");
	run(smi_rep, 0);
	took(1, smi_rep_insn, "an SMI within a REP");

	/* The same code with and without an SMI. */
	for (int i = 0; i < 2; i++) {
		u64 before = mark_read(TRUTH_INSNS_HOST_KERNEL);

		run(i ? smi_0 : none, 0);
		kernel[i] = mark_read(TRUTH_INSNS_HOST_KERNEL) - before;
	}
	is(kernel[1], kernel[0], "truth: what SMM executes does not count as the kernel's");
	user = mark_read(TRUTH_INSNS_HOST_USER);
	run(in_user, (u64)smi_0);
	is(mark_read(TRUTH_INSNS_HOST_USER) - user, USER_INSNS + 13, "truth: nor as the user's");
}

/* What SMM adds to the counters; frozen: nothing, as without an SMI. */
static void counters_in_smm(bool frozen)
{
	const char *how = frozen ? "frozen" : "not frozen";
	u64 smm = frozen ? 0 : SMM_INSNS;

	is(count(0, event(INSNS) | ALL, smi_7), RUN_INSNS + 13 + smm, "instructions, %s", how);
	is(count(1, event(INSNS) | OS, smi_7), RUN_INSNS + 13 + smm, "instructions of ring 0, %s", how);
	is(count(2, event(INSNS) | USR, smi_7), 0, "instructions of ring 3, %s", how);
	is(count(3, event(CYCLES) | ALL, smi_7), count(3, event(CYCLES) | ALL, none) + 2 * smm, "cycles, %s", how);
	is(count(3, event(INSNS) | ALL | CMASK(1), smi_7), RUN_INSNS + 13 + smm, "with a counter mask, %s", how);
	is(count(0, event(BRANCHES) | ALL, smi_7), RUN_BRANCHES, "branches, %s", how);
	is(count_arg(0, event(INSNS) | USR, in_user, (u64)smi_7), USER_INSNS + 13, "SMI in ring 3, of ring 3, %s", how);
	is(count_arg(0, event(INSNS) | OS, in_user, (u64)smi_7), RUN_INSNS + USER_KERNEL + smm, "SMI in ring 3, of ring 0, %s",
	   how);
	if (pmu.fixed) {
		is(count(FIXED(0), ALL, smi_7), RUN_INSNS + 13 + smm, "fixed counter of instructions, %s", how);
		is(count(FIXED(1), ALL, smi_7), count(FIXED(1), ALL, none) + 2 * smm, "fixed counter of cycles, %s", how);
	}

	/*
	 * WRMSR and CALL, MOV, MOV, magic instruction, seven NOPs; then two of SMM, or, if frozen,
	 * of the code.
	 */
	pmu_clear();
	pmi_expect(APIC_DM_NMI);
	pmu_set(0, event(INSNS) | ALL | INT);
	ctr_write(0, MINUS(2 + SMI_INSNS + 7 + 2));
	run(smi_7, 0);
	is(cpu()->pmi.count, 1, "a PMI is an NMI, %s", how);
	is(cpu()->pmi.rip, (u64)smi_7_end + (frozen ? 9 : 7), "a PMI is an NMI: never within SMM, %s", how);
	pmu_clear();
	from_here();
}

static void intel(void)
{
	is(rdmsr(MSR_IA32_PERF_CAPABILITIES) >> 12 & 1, 1,
	   "PERF_CAPABILITIES[12] FREEZE_WHILE_SMM");
	wrmsr(MSR_IA32_DEBUGCTLMSR, FREEZE_WHILE_SMM);
	is(rdmsr(MSR_IA32_DEBUGCTLMSR), FREEZE_WHILE_SMM, "DEBUGCTL[14] can be set");
	counters_in_smm(true);
	is(rdmsr(MSR_IA32_DEBUGCTLMSR), FREEZE_WHILE_SMM, "DEBUGCTL[14] is still set");
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 5);
	asm volatile("call smi_0" : : : "rax", "rcx", "memory");
	is(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), 5, "RSM leaves GLOBAL_CTRL unchanged");
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
	wrmsr(MSR_IA32_DEBUGCTLMSR, 0);
	counters_in_smm(false);
}

#define VIRTUAL_NMI	BIT(5)			/* of the pin controls */
#define NMI_BLOCKED	BIT(3)			/* of GUEST_INTERRUPTIBILITY */

static void vmx_enter(u64 debugctl)
{
	pmu_clear();
	pmu_set(0, event(INSNS) | ALL);
	vmx_new();
	vmx_set(ENTRY_CONTROLS, ENTRY_LOAD_GLOBAL_CTRL | ENTRY_LOAD_DEBUG);
	vmx_set(EXIT_CONTROLS, EXIT_LOAD_GLOBAL_CTRL | EXIT_SAVE_DEBUG);
	vmwrite(GUEST_GLOBAL_CTRL, 1);
	vmwrite(HOST_GLOBAL_CTRL, 0);
	vmwrite(GUEST_DEBUGCTL, debugctl);
	measure(MSR_CORE_PERF_GLOBAL_CTRL, 0, 0, vmx_launch, (u64)smi_7);
}

static void vmx(void)
{
	vmx_on();
	from_here();
	for (int freeze = 0; freeze < 2; freeze++) {
		const char *how = freeze ? "frozen" : "not frozen";
		u64 guest = mark_read(TRUTH_INSNS_GUEST_KERNEL), exits = mark_read(TRUTH_EXITS);

		vmx_enter(freeze ? FREEZE_WHILE_SMM : 0);
		is(vmread(EXIT_REASON), VMCALL,
		   "SMI in VMX non-root operation: the guest continues, %s", how);
		took(1, smi_7_end + 7, "SMI in VMX non-root operation");
		is(mark_read(TRUTH_EXITS) - exits, 1, "SMI in VMX non-root operation: no VM-exit of its own, %s", how);
		is(mark_read(TRUTH_INSNS_GUEST_KERNEL) - guest, GUEST_INSNS + 13, "truth: SMM is not the guest, %s", how);
		is(ctr_read(0), GUEST_INSNS + 13 + (freeze ? 0 : SMM_INSNS), "the guest's counter, %s", how);
		is(vmread(GUEST_DEBUGCTL), freeze ? FREEZE_WHILE_SMM : 0, "VM-exit saves DEBUGCTL[14], %s", how);
		is(rdmsr(MSR_IA32_DEBUGCTLMSR), 0, "VM-exit clears DEBUGCTL, %s", how);
	}
	/* The first VM-exit clears the host's bit. */
	wrmsr(MSR_IA32_DEBUGCTLMSR, FREEZE_WHILE_SMM);
	vmx_enter(0);
	is(rdmsr(MSR_IA32_DEBUGCTLMSR), 0, "VM-exit clears the host's DEBUGCTL[14], too");
	is(ctr_read(0), GUEST_INSNS + 13 + SMM_INSNS, "VM-entry has loaded the guest's: not frozen");
	from_here();

	/* SMM does not unblock NMIs for a guest that has them blocked. */
	for (int blocked = 0; blocked < 2; blocked++) {
		pmu_clear();
		vmx_new();
		vmx_set(PIN_CONTROLS, PIN_NMI_EXIT | VIRTUAL_NMI);
		vmwrite(GUEST_INTERRUPTIBILITY, blocked ? NMI_BLOCKED : 0);
		measure(MSR_CORE_PERF_GLOBAL_CTRL, 0, 0, vmx_launch, (u64)smi_7);
		is(vmread(GUEST_INTERRUPTIBILITY), blocked ? NMI_BLOCKED : 0,
		   "RSM leaves the blocking of virtual NMIs unchanged: %d",
		   blocked);
		took(1, smi_7_end + 7, "virtual NMIs");
	}

	/* An overflow in SMM: the interrupt exits after RSM, whatever the guest's IF. */
	for (int vector = 0; vector < 2; vector++) {
		const char *what = vector ? "an overflow in SMM, a vector" : "an overflow in SMM, NMI";

		pmu_clear();
		pmi_expect(vector ? V_PMI : APIC_DM_NMI);
		pmu_set(0, event(INSNS) | ALL | INT);
		ctr_write(0, MINUS(1 + SMI_INSNS + 7 + 5));
		vmx_new();
		vmx_set(PIN_CONTROLS, vector ? PIN_INTR_EXIT : PIN_NMI_EXIT);
		vmx_set(ENTRY_CONTROLS, ENTRY_LOAD_GLOBAL_CTRL);
		vmx_set(EXIT_CONTROLS, EXIT_LOAD_GLOBAL_CTRL);
		vmwrite(GUEST_GLOBAL_CTRL, 1);
		vmwrite(HOST_GLOBAL_CTRL, 0);
		measure(MSR_CORE_PERF_GLOBAL_CTRL, 0, 0, vmx_launch, (u64)smi_7);
		is(vmread(EXIT_REASON), vector, "%s: it exits", what);
		is(vmread(GUEST_RIP), (u64)smi_7_end + 7, "%s: after RSM", what);
		is(ctr_read(0), SMM_INSNS - 5, "%s: what SMM executed after it", what);
		took(1, smi_7_end + 7, what);
		sti();
		cli();
		is(cpu()->pmi.count, vector, "%s: what waits for the host", what);
	}

	/* An SMI that the host has requested for later. */
	pmu_clear();
	vmx_new();
	asm volatile("xchg %%bx, %%bx" : : "a"(MARK_MAGIC | 6), "c"(300) : "memory");
	measure(MSR_CORE_PERF_GLOBAL_CTRL, 0, 0, vmx_launch, (u64)smi_7);
	is(vmread(EXIT_REASON), VMCALL, "a later magic instruction moves the SMI");
	took(1, smi_7_end + 7, "a later magic instruction moves the SMI");
}

#define I_SMI	BIT(2)

static void svm_enter(u64 flags, u64 intercept)
{
	pmu_clear();
	pmu_set(0, event(INSNS) | ALL | flags);
	svm_new();
	VMCB(u32, VMCB_INTERCEPT1) |= intercept;
	run(svm_run, (u64)smi_7);
}

static void svm(void)
{
	/* VMRUN, CALL, MOV, MOV, magic instruction, seven NOPs */
	u64 before = 1 + 1 + SMI_INSNS + 7, guest;

	svm_on();
	from_here();
	guest = mark_read(TRUTH_INSNS_GUEST_KERNEL);
	svm_enter(AMD64_EVENTSEL_GUESTONLY, 0);
	is(VMCB(u64, VMCB_EXIT_CODE), VMMCALL,
	   "SMI in an SVM guest, no intercept: the guest continues");
	took(1, smi_7_end + 7, "SMI in an SVM guest, no intercept");
	is(mark_read(TRUTH_INSNS_GUEST_KERNEL) - guest, 1 + GUEST_INSNS + 13, "truth: SMM is not the guest");
	is(ctr_read(0), 1 + GUEST_INSNS + 13, "guest-only: not what SMM executes");
	svm_enter(AMD64_EVENTSEL_HOSTONLY, 0);
	guest = ctr_read(0);
	pmu_clear();
	pmu_set(0, event(INSNS) | ALL | AMD64_EVENTSEL_HOSTONLY);
	svm_new();
	run(svm_run, (u64)none);
	is(guest, ctr_read(0) + SMM_INSNS, "host-only: what SMM executes as well");
	from_here();

	/*
	 * An interrupt in SMM waits for RSM, although with V_INTR_MASKING the guest's IF does not
	 * matter.
	 */
	pmu_clear();
	pmi_expect(V_PMI);
	pmu_set(0, event(INSNS) | ALL | INT);
	svm_new();
	VMCB(u32, VMCB_INTERCEPT1) |= I_INTR;
	VMCB(u32, VMCB_INTR_CONTROL) = V_INTR_MASKING;
	/* The host's WRMSR, CALL, MOV, VMLOAD; the guest's instructions; five of SMM. */
	ctr_write(0, MINUS(4 + before + 5));
	sti();
	run(svm_run, (u64)smi_7);
	cli();
	is(VMCB(u64, VMCB_EXIT_CODE), 0x60, "an overflow in SMM: the interrupt exits");
	is(VMCB(u64, VMCB_RIP), (u64)smi_7_end + 7, "an overflow in SMM: after RSM");
	is(cpu()->pmi.count, 1, "an overflow in SMM: the interrupt comes to the host");
	took(1, smi_7_end + 7, "an overflow in SMM");

	svm_enter(AMD64_EVENTSEL_GUESTONLY, I_SMI);
	is(VMCB(u64, VMCB_EXIT_CODE), 0x62, "SMI intercept: #VMEXIT");
	is(VMCB(u64, VMCB_RIP), (u64)smi_7_end + 7, "SMI intercept: where the SMI came");
	is(ctr_read(0), before, "SMI intercept: the guest's instructions before");
	took(1, svm_after_stgi, "SMI intercept: the SMI waits for GIF=1");
}

void test(void)
{
	marks();
	counters_in_smm(false);
	if (pmu.intel) {
		intel();
		vmx();
	} else {
		svm();
	}
	pmu_clear();
}
