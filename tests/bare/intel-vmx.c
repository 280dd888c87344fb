// SPDX-License-Identifier: GPL-2.0
/* Intel: counting across VM-entries and VM-exits. */
#include "shared.h"
#include "vmx.h"

/*
 * The host, by run(), 5 before the entry and 4 after the exit:
 *	WRMSR, CALL, MOV, VMWRITE, VMLAUNCH | RET, MOV, MOV, MOV
 * The guest, GUEST_INSNS more than the code:
 *	CALL, its code, RET, (VMCALL exits)
 */
#define HOST_BEFORE	5
#define HOST_AFTER	4
#define GUEST		(GUEST_INSNS + 10)	/* ten NOPs */
#define VMCALL		18

/* Run a guest with this value of GLOBAL_CTRL in the host.  Counter 0 counts in any ring. */
static void enter(u64 host_ctrl, void *code)
{
	measure(MSR_CORE_PERF_GLOBAL_CTRL, host_ctrl, 0, vmx_launch, (u64)code);
}

static void prepare(void)
{
	pmu_clear();
	pmu_set(0, event(INSNS) | ALL);
	vmx_new();
}

/* Prepare for counting in the guest only. */
static void guest_only(void)
{
	prepare();
	vmx_set(ENTRY_CONTROLS, ENTRY_LOAD_GLOBAL_CTRL);
	vmx_set(EXIT_CONTROLS, EXIT_LOAD_GLOBAL_CTRL);
	vmwrite(GUEST_GLOBAL_CTRL, 1);
	vmwrite(HOST_GLOBAL_CTRL, 0);
}

static u64 reason(void) { return vmread(EXIT_REASON); }

static void controls(void)
{
	static const struct {
		const char *rule;
		u64 host;		/* GLOBAL_CTRL before */
		int guest, after;	/* loaded on entry, on exit; -1: not loaded */
		u64 want;
	} rows[] = {
		{ "nothing loaded: host and guest count", 1, -1, -1, HOST_BEFORE + GUEST + HOST_AFTER },
		{ "entry loads 1, exit 0: only the guest counts", 0, 1, 0, GUEST },
		{ "entry loads 0, exit 1: only the host counts, VMLAUNCH included", 1, 0, 1,
		  HOST_BEFORE + HOST_AFTER },
		{ "entry loads 0, exit nothing: it stays 0", 1, 0, -1, HOST_BEFORE },
		{ "entry loads 1, exit nothing: it stays 1", 0, 1, -1, GUEST + HOST_AFTER },
		{ "entry nothing, exit loads 0", 1, -1, 0, HOST_BEFORE + GUEST },
		{ "entry nothing, exit loads 1", 0, -1, 1, HOST_AFTER },
	};

	for (u64 i = 0; i < ARRAY_SIZE(rows); i++) {
		u64 guest = mark_read(TRUTH_INSNS_GUEST_KERNEL), exits = mark_read(TRUTH_EXITS);
		u64 calls = mark_read(TRUTH_EXITS_BY_REASON + VMCALL);

		prepare();
		if (rows[i].guest >= 0) {
			vmx_set(ENTRY_CONTROLS, ENTRY_LOAD_GLOBAL_CTRL);
			vmwrite(GUEST_GLOBAL_CTRL, rows[i].guest);
		}
		if (rows[i].after >= 0) {
			vmx_set(EXIT_CONTROLS, EXIT_LOAD_GLOBAL_CTRL);
			vmwrite(HOST_GLOBAL_CTRL, rows[i].after);
		}
		enter(rows[i].host, ten_nops);
		is(ctr_read(0), rows[i].want, "%s: instructions", rows[i].rule);
		is(reason(), VMCALL, "%s: exit by VMCALL", rows[i].rule);
		is(mark_read(TRUTH_INSNS_GUEST_KERNEL) - guest, GUEST, "%s: truth of the guest", rows[i].rule);
		is(mark_read(TRUTH_EXITS) - exits, 1, "%s: truth counts the exit", rows[i].rule);
		is(mark_read(TRUTH_EXITS_BY_REASON + VMCALL) - calls, 1, "%s: truth counts it by reason", rows[i].rule);
	}

	/* Branches: CALL and RET of each side.  VM-entry and VM-exit are not branches. */
	pmu_clear();
	pmu_set(0, event(BRANCHES) | ALL);
	vmx_new();
	enter(1, ten_nops);
	is(ctr_read(0), RUN_BRANCHES + GUEST_BRANCHES, "VM-entry and VM-exit are not branches");

	guest_only();
	pmu_set(1, event(CYCLES) | ALL);
	vmwrite(GUEST_GLOBAL_CTRL, 2);
	enter(0, ten_nops);
	check(ctr_read(1) >= 2 * GUEST && ctr_read(1) <= 2 * (GUEST + 1),
	      "the guest's cycles: two per instruction, the exiting one at most");

	/* The host's counter does not distinguish host and guest; its GLOBAL_CTRL bit does. */
	prepare();
	pmu_set(FIXED(0), ALL);
	vmx_set(ENTRY_CONTROLS, ENTRY_LOAD_GLOBAL_CTRL);
	vmx_set(EXIT_CONTROLS, EXIT_LOAD_GLOBAL_CTRL);
	vmwrite(GUEST_GLOBAL_CTRL, 1);
	vmwrite(HOST_GLOBAL_CTRL, BIT(32));
	enter(BIT(32), ten_nops);
	is(ctr_read(0), GUEST, "one counter in the guest");
	is(ctr_read(FIXED(0)), HOST_BEFORE + HOST_AFTER, "another one in the host, over the same entry and exit");
}

/* What GLOBAL_CTRL holds after the exit: measure() writes another register here. */
CODE(set_ctrl,
     "mov " MSR_IMM(MSR_CORE_PERF_GLOBAL_CTRL) ", %ecx\n mov $6, %eax\n xor %edx, %edx\n wrmsr");
#define TSC_AUX	0xc0000103

static void afterwards(void)
{
	prepare();
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
	measure(TSC_AUX, 0, 0, vmx_launch, (u64)set_ctrl);
	is(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), 6,
	   "not loaded on exit: the guest's write of GLOBAL_CTRL is kept");
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);

	guest_only();
	vmwrite(HOST_GLOBAL_CTRL, BIT(33) | 8);
	measure(TSC_AUX, 0, 0, vmx_launch, (u64)set_ctrl);
	is(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), BIT(33) | 8, "loaded on exit");
	is(vmread(GUEST_GLOBAL_CTRL), 1, "not saved on exit: the guest's field is unchanged");
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);

	if (!vmx_may(EXIT_CONTROLS, EXIT_SAVE_GLOBAL_CTRL)) {
		check(true, "save on exit # SKIP the capability MSR does not allow it");
		return;
	}
	guest_only();
	vmx_set(EXIT_CONTROLS, EXIT_LOAD_GLOBAL_CTRL | EXIT_SAVE_GLOBAL_CTRL);
	measure(TSC_AUX, 0, 0, vmx_launch, (u64)set_ctrl);
	is(vmread(GUEST_GLOBAL_CTRL), 6, "saved on exit: the guest's value, before the host's is loaded");
	is(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), 0, "saved and loaded on exit");
}

static void bad_fields(void)
{
	guest_only();
	vmwrite(GUEST_GLOBAL_CTRL, BIT(8));
	vmwrite(HOST_GLOBAL_CTRL, 4);
	measure(TSC_AUX, 0, 0, vmx_launch, (u64)ten_nops);
	is(reason(), BIT(31) | 33, "a reserved bit in the guest's field: the entry fails as invalid guest state");
	is(rdmsr(MSR_CORE_PERF_GLOBAL_CTRL), 4, "the entry fails: the host's field is loaded");
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);

	guest_only();
	vmwrite(HOST_GLOBAL_CTRL, BIT(35));
	enter(0, ten_nops);
	is(vmx_failed.valid, 1, "a reserved bit in the host's field: VMLAUNCH fails");
	is(vmread(INSN_ERROR), 8, "a reserved bit in the host's field: invalid host state");
}

/*
 * An instruction that exits does not retire.  Each piece of code: two instructions, then that one.
 */
CODE(x_cpuid, "nop\n nop\n cpuid");
CODE(x_hlt, "nop\n nop\n hlt");
CODE(x_in, "nop\n nop\n in $0x80, %al");
CODE(x_out, "nop\n nop\n out %al, $0x80");
CODE(x_rdpmc, "xor %ecx, %ecx\n nop\n rdpmc");
CODE(x_rdtsc, "nop\n nop\n rdtsc");
CODE(x_pause, "nop\n nop\n pause");
CODE(x_invlpg, "nop\n nop\n invlpg (%rax)");
CODE(x_invd, "nop\n nop\n invd");
CODE(x_cr3, "nop\n mov %cr3, %rax\n mov %rax, %cr3");
CODE(x_ud, "nop\n nop\n ud2");
CODE(x_vmxoff, "nop\n nop\n vmxoff");

static void exits(void)
{
	static const struct { const char *insn; char *code; u64 cpu, reason; } rows[] = {
		{ "CPUID", x_cpuid, 0, 10 },
		{ "HLT", x_hlt, CPU_HLT_EXIT, 12 },
		{ "INVD", x_invd, 0, 13 },
		{ "INVLPG", x_invlpg, CPU_INVLPG_EXIT, 14 },
		{ "RDPMC", x_rdpmc, CPU_RDPMC_EXIT, 15 },
		{ "RDTSC", x_rdtsc, CPU_RDTSC_EXIT, 16 },
		{ "VMXOFF", x_vmxoff, 0, 26 },
		{ "MOV to CR3", x_cr3, CPU_CR3_LOAD_EXIT, 28 },
		{ "IN", x_in, CPU_IO_EXIT, 30 },
		{ "OUT", x_out, CPU_IO_EXIT, 30 },
		{ "PAUSE", x_pause, CPU_PAUSE_EXIT, 40 },
		{ "UD2 (its exception)", x_ud, 0, 0 },
	};

	for (u64 i = 0; i < ARRAY_SIZE(rows); i++) {
		u64 seen = mark_read(TRUTH_EXITS_BY_REASON + rows[i].reason);

		guest_only();
		vmx_set(CPU_CONTROLS, rows[i].cpu);
		vmwrite(EXCEPTION_BITMAP, BIT(6));
		enter(0, rows[i].code);
		is(reason(), rows[i].reason, "%s exits", rows[i].insn);
		/* CALL and two instructions. */
		is(ctr_read(0), 3, "%s exits: it does not retire", rows[i].insn);
		is(mark_read(TRUTH_EXITS_BY_REASON + rows[i].reason) - seen, 1, "%s exits: truth", rows[i].insn);
	}
}

/* NOP, CPUID, which the host steps over, two NOPs. */
CODE(nop_cpuid, "nop\n cpuid\n nop\n nop");

static void resumes(void)
{
	for (int host = 0; host < 2; host++) {
		guest_only();
		vmwrite(GUEST_GLOBAL_CTRL, !host);
		vmwrite(HOST_GLOBAL_CTRL, host);
		enter(host, nop_cpuid);
		is(reason(), 10, "CPUID exits");
		vmwrite(GUEST_RIP, vmread(GUEST_RIP) + vmread(EXIT_INSN_LENGTH));
		measure(MSR_CORE_PERF_GLOBAL_CTRL, host, 0, vmx_resume, 0);
		is(reason(), VMCALL, "VMRESUME continues to VMCALL");
		/* The guest: CALL, NOP | NOP, NOP, RET.  The host: the same twice. */
		is(ctr_read(0), host ? 2 * (HOST_BEFORE + HOST_AFTER) : 5, host ? "VMRESUME retires in the host" :
		   "VMRESUME: the guest's instructions, without the one stepped over");
	}
}

u64 guest_msr, guest_value;
CODE(g_rdmsr, "mov guest_msr, %ecx\n rdmsr");
CODE(g_wrmsr, "mov guest_msr, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr");
/* XOR; RDPMC sees CALL and XOR. */
CODE(g_rdpmc, "xor %ecx, %ecx\n rdpmc\n mov %rax, guest_value");

static void bitmap(void)
{
	static const u32 msrs[] = {
		PMC(0),
		PMC(7),
		PERFEVTSEL(0),
		PERFEVTSEL(7),
		FIXED_CTR(0),
		FIXED_CTR(2),
		MSR_CORE_PERF_FIXED_CTR_CTRL,
		MSR_CORE_PERF_GLOBAL_CTRL,
		MSR_CORE_PERF_GLOBAL_OVF_CTRL,
		MSR_CORE_PERF_GLOBAL_STATUS_SET,
		A_PMC(0),
		A_PMC(7),
	};

	for (u64 i = 0; i < ARRAY_SIZE(msrs); i++) {
		u8 *low_read = vmx_msr_bitmap + msrs[i] / 8, *low_write = low_read + 2048, bit = 1 << msrs[i] % 8;

		guest_msr = msrs[i];
		prepare();
		enter(0, g_rdmsr);
		is(reason(), VMCALL, "MSR %x: its read bit clear, the guest reads it", msrs[i]);
		vmx_new();
		enter(0, g_wrmsr);
		is(reason(), VMCALL, "MSR %x: its write bit clear, the guest writes it", msrs[i]);
		vmx_new();
		*low_read |= bit;
		enter(0, g_rdmsr);
		is(reason(), 31, "MSR %x: its read bit set, RDMSR exits", msrs[i]);
		vmx_new();
		*low_write |= bit;
		enter(0, g_wrmsr);
		is(reason(), 32, "MSR %x: its write bit set, WRMSR exits", msrs[i]);
	}

	guest_only();
	guest_value = 0;
	enter(0, g_rdpmc);
	is(reason(), VMCALL, "without RDPMC exiting the guest reads counters");
	is(guest_value, 2, "RDPMC in the guest: CALL and XOR");
}

static u64 list[3][2] ALIGNED(16);

static void set_list(u32 addr, u32 count, int n, u32 msr, u64 value)
{
	list[n][0] = msr;
	list[n][1] = value;
	vmwrite(addr, (u64)list[n]);
	vmwrite(count, 1);
}

static void lists(void)
{
	guest_only();
	set_list(EXIT_STORE_ADDR, EXIT_STORE_COUNT, 0, PMC(0), 0);
	set_list(EXIT_LOAD_ADDR, EXIT_LOAD_COUNT, 1, A_PMC(0), 1000);
	enter(0, ten_nops);
	is(list[0][1], GUEST, "exit store list: the counter as the guest left it");
	is(ctr_read(0), 1000, "exit load list: the counter has the host's value");

	guest_only();
	set_list(ENTRY_LOAD_ADDR, ENTRY_LOAD_COUNT, 2, A_PMC(0), 500);
	enter(0, ten_nops);
	is(ctr_read(0), 500 + GUEST, "entry load list: counting starts at that value");

	/* The host counts, too: VMLAUNCH retires before the list is loaded. */
	guest_only();
	set_list(ENTRY_LOAD_ADDR, ENTRY_LOAD_COUNT, 2, A_PMC(0), 500);
	enter(1, ten_nops);
	is(ctr_read(0), 500 + GUEST, "entry load list: VMLAUNCH has retired before");

	prepare();
	set_list(ENTRY_LOAD_ADDR, ENTRY_LOAD_COUNT, 2, MSR_CORE_PERF_GLOBAL_CTRL, 1);
	set_list(EXIT_LOAD_ADDR, EXIT_LOAD_COUNT, 1, MSR_CORE_PERF_GLOBAL_CTRL, 0);
	set_list(EXIT_STORE_ADDR, EXIT_STORE_COUNT, 0, MSR_CORE_PERF_GLOBAL_CTRL, 7);
	enter(0, ten_nops);
	is(ctr_read(0), GUEST, "GLOBAL_CTRL by the lists: only the guest counts");
	is(list[0][1], 1, "GLOBAL_CTRL by the lists: stored");

	prepare();
	set_list(ENTRY_LOAD_ADDR, ENTRY_LOAD_COUNT, 2, MSR_CORE_PERF_GLOBAL_CTRL, BIT(8));
	enter(0, ten_nops);
	is(reason(), BIT(31) | 34, "entry load list: a reserved bit of GLOBAL_CTRL fails the entry");
	is(vmread(EXIT_QUALIFICATION), 1, "entry load list: its first entry");
}

CODE(g_user, "mov $ten_nops, %edi\n call in_user");

static void rings(void)
{
	/* The guest's CALL and RET, MOV, CALL and RET of in_user(). */
	u64 kernel = GUEST_INSNS + 3 + USER_KERNEL, user = USER_INSNS + 10;
	u64 truth[8];

	for (int flags = 1; flags < 4; flags++) {
		guest_only();
		for (int i = 0; i < 8; i++)
			truth[i] = mark_read(i);
		pmu_set(0, event(INSNS) | (flags & 1 ? OS : 0) | (flags & 2 ? USR : 0));
		enter(0, g_user);
		is(reason(), VMCALL, "ring 3 in the guest and back");
		is(ctr_read(0), (flags & 1 ? kernel : 0) + (flags & 2 ? user : 0), "the guest's instructions:%s%s",
		   flags & 1 ? " OS" : "", flags & 2 ? " USR" : "");
		guest_user_truth(truth, kernel, user);
	}
}

static void accesses(void)
{
	u64 was[6];

	prepare();
	for (int i = 0; i < 6; i++)
		was[i] = mark_read(TRUTH_HOST_RDMSR + i);
	guest_msr = PMC(0);
	enter(0, g_rdmsr);
	is(mark_read(TRUTH_GUEST_RDMSR) - was[3], 1, "truth: the guest's RDMSR");
	vmx_new();
	enter(0, g_wrmsr);
	is(mark_read(TRUTH_GUEST_WRMSR) - was[4], 1, "truth: the guest's WRMSR");
	vmx_new();
	enter(0, g_rdpmc);
	is(mark_read(TRUTH_GUEST_RDPMC) - was[5], 1, "truth: the guest's RDPMC");
	is(mark_read(TRUTH_HOST_RDMSR) - was[0], 0, "truth: no RDMSR of the host");
	/* Each of three runs writes GLOBAL_CTRL twice. */
	is(mark_read(TRUTH_HOST_WRMSR) - was[1], 6, "truth: WRMSRs of the host");
	is(mark_read(TRUTH_HOST_RDPMC) - was[2], 0, "truth: no RDPMC of the host");
}

CODE(nops_30, ".rept 30\n nop\n .endr");

/* Overflow at the tenth NOP; CALL counts before. */
static void arm(u32 lvt, u64 pin)
{
	guest_only();
	pmi_expect(lvt);
	block(GUEST_BLOCK)->pmi.count = 0;
	block(GUEST_BLOCK)->pmi_action = NULL;
	vmx_set(PIN_CONTROLS, pin);
	pmu_set(0, event(INSNS) | ALL | INT);
	ctr_write(0, MINUS(1 + 10));
}

static void interrupts(void)
{
	arm(APIC_DM_NMI, PIN_NMI_EXIT);
	enter(0, nops_30);
	is(reason(), 0, "NMI exiting: the PMI exits");
	is(vmread(EXIT_INTR_INFO), 0x80000202, "NMI exiting: as NMI");
	is(vmread(GUEST_RIP), (u64)nops_30 + 10, "NMI exiting: after the instruction that overflows");
	is(ctr_read(0), 0, "NMI exiting: nothing is counted after it");
	is(rdmsr(MSR_CORE_PERF_GLOBAL_STATUS), 1, "NMI exiting: status");
	is(apic_read(APIC_LVT_PC) & APIC_LVT_MASKED, APIC_LVT_MASKED,
	   "NMI exiting: the local APIC's entry is masked");
	is(cpu()->pmi.count, 0, "NMI exiting: the host's handler does not run");

	arm(V_PMI, PIN_INTR_EXIT);
	enter(0, nops_30);
	is(reason(), 1, "external-interrupt exiting: the PMI exits, with the guest's IF=0");
	is(vmread(GUEST_RIP), (u64)nops_30 + 10, "external-interrupt exiting: after the instruction that overflows");
	is(ctr_read(0), 0, "external-interrupt exiting: nothing is counted after it");
	sti();
	is(cpu()->pmi.count, 1, "external-interrupt exiting: the interrupt waits for the host");
	cli();

	arm(APIC_DM_NMI, 0);
	enter(0, nops_30);
	is(reason(), VMCALL, "no NMI exiting: no exit");
	is(block(GUEST_BLOCK)->pmi.count, 1, "no NMI exiting: the guest's own handler");
	is(block(GUEST_BLOCK)->pmi.rip, (u64)nops_30 + 10, "no NMI exiting: after the instruction that overflows");
	is(cpu()->pmi.count, 0, "no NMI exiting: not the host's");

	/*
	 * The host's counter overflows at VMLAUNCH: the interrupt comes before the guest's first
	 * instruction.
	 */
	arm(APIC_DM_NMI, PIN_NMI_EXIT);
	vmwrite(GUEST_GLOBAL_CTRL, 0);
	ctr_write(0, MINUS(HOST_BEFORE));
	enter(1, nops_30);
	is(reason(), 0, "VMLAUNCH overflows: the NMI exits");
	is(vmread(GUEST_RIP), (u64)guest_vmx, "VMLAUNCH overflows: before the guest's first instruction");
	is(ctr_read(0), 0, "VMLAUNCH overflows: at exactly 0");

	/* Overflow at the last instruction before an exit: the interrupt comes first. */
	arm(APIC_DM_NMI, PIN_NMI_EXIT);
	ctr_write(0, MINUS(3));
	enter(0, x_cpuid);
	is(reason(), 0, "overflow just before an instruction that exits: the NMI exits");
	is(vmread(GUEST_RIP), (u64)x_cpuid + 2,
	   "overflow just before an instruction that exits: it has not run");

	/* Freezing: the guest's DEBUGCTL is in force until the exit. */
	arm(APIC_DM_NMI, PIN_NMI_EXIT);
	vmx_set(ENTRY_CONTROLS, ENTRY_LOAD_GLOBAL_CTRL | ENTRY_LOAD_DEBUG);
	vmx_set(EXIT_CONTROLS, EXIT_LOAD_GLOBAL_CTRL | EXIT_SAVE_DEBUG);
	vmwrite(GUEST_DEBUGCTL, FREEZE_ON_PMI);
	enter(0, nops_30);
	is(rdmsr(MSR_IA32_DEBUGCTLMSR), 0, "freeze on PMI: DEBUGCTL is 0 after the exit");
	is(vmread(GUEST_DEBUGCTL), FREEZE_ON_PMI, "freeze on PMI: DEBUGCTL of the guest is saved");
	is(rdmsr(MSR_CORE_PERF_GLOBAL_STATUS), 1 | CTR_FRZ, "freeze on PMI: STATUS.CTR_Frz");
	pmu_clear();
}

void test(void)
{
	vmx_on();
	controls();
	afterwards();
	bad_fields();
	exits();
	resumes();
	bitmap();
	lists();
	rings();
	accesses();
	interrupts();
}
