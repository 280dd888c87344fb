// SPDX-License-Identifier: GPL-2.0
/* AMD: counting across VMRUN and #VMEXIT. */
#include "shared.h"
#include "svm.h"

/*
 * The host, by run(), 4 before VMRUN and 7 after:
 *	WRMSR, CALL, MOV, VMLOAD | MOV, VMLOAD, STGI, RET, MOV, MOV, MOV
 * The guest, 1 + GUEST_INSNS more than the code:
 *	VMRUN, CALL, its code, RET, (VMMCALL exits)
 */
#define HOST_BEFORE	4
#define HOST_AFTER	7
#define HOST		(HOST_BEFORE + HOST_AFTER)
#define GUEST		(1 + GUEST_INSNS + 10)	/* ten NOPs */
#define VMMCALL		0x81
#define SVME		BIT(12)

static void prepare(u64 flags)
{
	pmu_clear();
	pmu_set(0, event(INSNS) | flags);
	svm_new();
}

static void enter(void *code) { run(svm_run, (u64)code); }
static u64 exit_code(void) { return VMCB(u64, VMCB_EXIT_CODE); }

static void split(void)
{
	static const struct { const char *rule; u64 flags, insns, branches;
	} rows[] = {
		{ "neither host- nor guest-only: both count", ALL, HOST + GUEST,
		  RUN_BRANCHES + GUEST_BRANCHES },
		{ "guest-only: only the guest counts, VMRUN included",
		 ALL | AMD64_EVENTSEL_GUESTONLY,
		  GUEST, GUEST_BRANCHES },
		{ "host-only: only the host counts", ALL | AMD64_EVENTSEL_HOSTONLY, HOST,
		 RUN_BRANCHES },
		{ "host- and guest-only: both count",
		  ALL | AMD64_EVENTSEL_HOSTONLY | AMD64_EVENTSEL_GUESTONLY, HOST + GUEST,
		  RUN_BRANCHES + GUEST_BRANCHES },
		{ "guest-only, ring 3: nothing runs there", USR | AMD64_EVENTSEL_GUESTONLY, 0, 0 },
		{ "host-only, ring 0", OS | AMD64_EVENTSEL_HOSTONLY, HOST, RUN_BRANCHES },
	};

	for (u64 i = 0; i < ARRAY_SIZE(rows); i++) {
		u64 guest = mark_read(TRUTH_INSNS_GUEST_KERNEL), exits = mark_read(TRUTH_EXITS);
		u64 calls = mark_read(TRUTH_EXITS_BY_REASON + VMMCALL);

		prepare(rows[i].flags);
		enter(ten_nops);
		is(ctr_read(0), rows[i].insns, "%s: instructions", rows[i].rule);
		is(exit_code(), VMMCALL, "%s: exit by VMMCALL", rows[i].rule);
		is(mark_read(TRUTH_INSNS_GUEST_KERNEL) - guest, GUEST, "%s: truth of the guest", rows[i].rule);
		is(mark_read(TRUTH_EXITS) - exits, 1, "%s: truth counts the exit", rows[i].rule);
		is(mark_read(TRUTH_EXITS_BY_REASON + VMMCALL) - calls, 1, "%s: truth counts it by code", rows[i].rule);

		pmu_clear();
		pmu_set(1, event(BRANCHES) | rows[i].flags);
		svm_new();
		enter(ten_nops);
		is(ctr_read(1), rows[i].branches,
		   "%s: branches; VMRUN and #VMEXIT are not branches", rows[i].rule);
	}

	/* Six counters over the same entry and exit. */
	pmu_clear();
	for (int n = 0; n < 6; n++)
		pmu_set(n, event(INSNS) | rows[n % 3].flags);
	svm_new();
	enter(ten_nops);
	for (int n = 0; n < 6; n++)
		is(ctr_read(n), rows[n % 3].insns, "six at once, counter %d: %s", n, rows[n % 3].rule);

	pmu_clear();
	pmu_set(0, event(CYCLES) | ALL | AMD64_EVENTSEL_GUESTONLY);
	svm_new();
	enter(ten_nops);
	check(ctr_read(0) >= 2 * GUEST && ctr_read(0) <= 2 * (GUEST + 1),
	      "the guest's cycles: two per instruction, the exiting one at most");

	/* Without a guest. */
	is(count(0, event(INSNS) | ALL | AMD64_EVENTSEL_GUESTONLY, ten_nops), 0,
	   "EFER.SVME=1: guest-only counts nothing in the host");
	is(count(0, event(INSNS) | ALL | AMD64_EVENTSEL_HOSTONLY, ten_nops), RUN_INSNS + 10,
	   "EFER.SVME=1: host-only counts in the host");
	is(count(0, event(INSNS) | ALL | AMD64_EVENTSEL_GUESTONLY | AMD64_EVENTSEL_HOSTONLY,
		 ten_nops),
	   RUN_INSNS + 10, "EFER.SVME=1: both bits count in the host");

	/* Clear EFER.SVME again: selectors with a bit stop counting. */
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~SVME);
	for (int n = 0; n < 4; n++)
		is(count(n,
			 event(INSNS) | ALL | (n & 1 ? AMD64_EVENTSEL_GUESTONLY : 0) |
				 (n & 2 ? AMD64_EVENTSEL_HOSTONLY : 0),
			 ten_nops),
		   n ? 0 : RUN_INSNS + 10, "EFER.SVME=0: %s",
		   n == 0 ? "neither bit counts" :
		   n == 1 ? "guest-only does not" :
		   n == 2 ? "host-only does not" :
			    "both bits do not");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | SVME);
}

/*
 * An instruction that exits does not retire.  Each piece of code: two instructions, then that one.
 */
CODE(x_cpuid, "nop\n nop\n cpuid");
CODE(x_hlt, "nop\n nop\n hlt");
CODE(x_in, "nop\n nop\n in $0x80, %al");
CODE(x_rdpmc, "xor %ecx, %ecx\n nop\n rdpmc");
CODE(x_rdtsc, "nop\n nop\n rdtsc");
CODE(x_pause, "nop\n nop\n pause");
CODE(x_invlpg, "nop\n nop\n invlpg (%rax)");
CODE(x_invd, "nop\n nop\n invd");
CODE(x_pushf, "nop\n nop\n pushf\n popf");
CODE(x_int_n, "nop\n nop\n int $0x49");
CODE(x_cr3, "nop\n mov %cr3, %rax\n mov %rax, %cr3");
CODE(x_ud, "nop\n nop\n ud2");
CODE(x_vmrun, "nop\n nop\n vmrun");

static void exits(void)
{
	static const struct { const char *insn; char *code; u64 intercept, exit; } rows[] = {
		{ "MOV to CR3", x_cr3, 0, 0x13 },
		{ "UD2 (its exception)", x_ud, 0, 0x46 },
		{ "RDTSC", x_rdtsc, I_RDTSC, 0x6e },
		{ "RDPMC", x_rdpmc, I_RDPMC, 0x6f },
		{ "PUSHF", x_pushf, I_PUSHF, 0x70 },
		{ "CPUID", x_cpuid, I_CPUID, 0x72 },
		{ "INT n", x_int_n, I_INT_N, 0x75 },
		{ "INVD", x_invd, I_INVD, 0x76 },
		{ "PAUSE", x_pause, I_PAUSE, 0x77 },
		{ "HLT", x_hlt, I_HLT, 0x78 },
		{ "INVLPG", x_invlpg, I_INVLPG, 0x79 },
		{ "IN", x_in, 0, 0x7b },
		{ "VMRUN", x_vmrun, 0, 0x80 },
	};

	for (u64 i = 0; i < ARRAY_SIZE(rows); i++) {
		u64 seen = mark_read(TRUTH_EXITS_BY_REASON + rows[i].exit);

		prepare(ALL | AMD64_EVENTSEL_GUESTONLY);
		VMCB(u32, VMCB_INTERCEPT1) |= rows[i].intercept;
		VMCB(u16, VMCB_CR_WRITES) = BIT(3);
		VMCB(u32, VMCB_EXCEPTIONS) = BIT(6);
		svm_io_bitmap[0x80 / 8] = 1;
		enter(rows[i].code);
		is(exit_code(), rows[i].exit, "%s exits", rows[i].insn);
		/* VMRUN, CALL and two instructions. */
		is(ctr_read(0), 4, "%s exits: it does not retire", rows[i].insn);
		is(mark_read(TRUTH_EXITS_BY_REASON + rows[i].exit) - seen, 1, "%s exits: truth", rows[i].insn);
	}
}

/* NOP, CPUID, which the host steps over, two NOPs. */
CODE(nop_cpuid, "nop\n cpuid\n nop\n nop");

static void again(void)
{
	prepare(ALL | AMD64_EVENTSEL_GUESTONLY);
	pmu_set(1, event(INSNS) | ALL | AMD64_EVENTSEL_HOSTONLY);
	VMCB(u32, VMCB_INTERCEPT1) |= I_CPUID;
	enter(nop_cpuid);
	is(exit_code(), 0x72, "CPUID exits");
	VMCB(u64, VMCB_RIP) += 2;
	enter(nop_cpuid);
	is(exit_code(), VMMCALL, "the next VMRUN continues to VMMCALL");
	/* VMRUN, CALL, NOP | VMRUN, NOP, NOP, RET. */
	is(ctr_read(0), 7, "two VMRUNs: the guest's instructions, without the one stepped over");
	is(ctr_read(1), 2 * HOST, "two VMRUNs: the host's instructions");
}

u64 guest_msr, guest_value;
CODE(g_rdmsr, "mov guest_msr, %ecx\n rdmsr");
CODE(g_wrmsr, "mov guest_msr, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr");
/* XOR; RDPMC sees VMRUN, CALL and XOR. */
CODE(g_rdpmc, "xor %ecx, %ecx\n rdpmc\n mov %rax, guest_value");

static void bitmap(void)
{
	static const u32 msrs[] = {
		PERF_CTL(0),
		PERF_CTL(5),
		PERF_CTR(0),
		PERF_CTR(5),
		LEGACY_CTL(0),
		LEGACY_CTL(3),
		LEGACY_CTR(0),
		LEGACY_CTR(3),
		MSR_AMD64_PERF_CNTR_GLOBAL_CTL,
		MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR,
		MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET,
	};

	for (u64 i = 0; i < ARRAY_SIZE(msrs); i++) {
		int shift;
		u8 *byte = svm_msr_byte(msrs[i], &shift);

		guest_msr = msrs[i];
		prepare(ALL);
		enter(g_wrmsr);
		is(exit_code(), VMMCALL, "MSR %x: its write bit clear, the guest writes it", msrs[i]);
		prepare(ALL);
		*byte = 1 << shift;
		enter(g_rdmsr);
		is(exit_code() | VMCB(u64, VMCB_EXIT_INFO1) << 32, 0x7c, "MSR %x: its read bit set, RDMSR exits", msrs[i]);
		prepare(ALL);
		*byte = 2 << shift;
		enter(g_wrmsr);
		is(exit_code() | VMCB(u64, VMCB_EXIT_INFO1) << 32, 0x10000007c, "MSR %x: its write bit set, WRMSR exits", msrs[i]);
	}

	/* The guest writes the CPU's register. */
	prepare(ALL);
	guest_msr = PERF_CTL(0);
	enter(g_wrmsr);
	is(rdmsr(PERF_CTL(0)), 0, "the guest's write of a selector is kept");

	prepare(ALL | AMD64_EVENTSEL_GUESTONLY);
	guest_value = 0;
	enter(g_rdpmc);
	is(exit_code(), VMMCALL, "without its intercept the guest's RDPMC reads counters");
	is(guest_value, 3, "RDPMC in the guest: VMRUN, CALL and XOR");
}

CODE(g_user, "mov $ten_nops, %edi\n call in_user");

static void rings(void)
{
	/* VMRUN, the guest's CALL and RET, MOV, CALL and RET of in_user(). */
	u64 kernel = 1 + GUEST_INSNS + 3 + USER_KERNEL, user = USER_INSNS + 10;
	u64 truth[8];

	for (int flags = 1; flags < 4; flags++) {
		prepare(AMD64_EVENTSEL_GUESTONLY | (flags & 1 ? OS : 0) | (flags & 2 ? USR : 0));
		for (int i = 0; i < 8; i++)
			truth[i] = mark_read(i);
		enter(g_user);
		is(exit_code(), VMMCALL, "ring 3 in the guest and back");
		is(ctr_read(0), (flags & 1 ? kernel : 0) + (flags & 2 ? user : 0), "the guest's instructions:%s%s",
		   flags & 1 ? " OS" : "", flags & 2 ? " USR" : "");
		guest_user_truth(truth, kernel, user);
	}
}

static void accesses(void)
{
	u64 was[6];

	prepare(ALL);
	for (int i = 0; i < 6; i++)
		was[i] = mark_read(TRUTH_HOST_RDMSR + i);
	guest_msr = PERF_CTR(0);
	enter(g_rdmsr);
	is(mark_read(TRUTH_GUEST_RDMSR) - was[3], 1, "truth: the guest's RDMSR");
	svm_new();
	enter(g_wrmsr);
	is(mark_read(TRUTH_GUEST_WRMSR) - was[4], 1, "truth: the guest's WRMSR");
	svm_new();
	enter(g_rdpmc);
	is(mark_read(TRUTH_GUEST_RDPMC) - was[5], 1, "truth: the guest's RDPMC");
	is(mark_read(TRUTH_HOST_RDMSR) - was[0], 0, "truth: no RDMSR of the host");
	/* Each of three runs writes the global control twice. */
	is(mark_read(TRUTH_HOST_WRMSR) - was[1], 6, "truth: WRMSRs of the host");
	is(mark_read(TRUTH_HOST_RDPMC) - was[2], 0, "truth: no RDPMC of the host");
}

CODE(nops_30, ".rept 30\n nop\n .endr");

/* Overflow at the tenth NOP; VMRUN and CALL count before. */
static void arm(u32 lvt, u64 intercept)
{
	prepare(ALL | AMD64_EVENTSEL_GUESTONLY | INT);
	pmi_expect(lvt);
	block(GUEST_BLOCK)->pmi.count = 0;
	block(GUEST_BLOCK)->pmi_action = NULL;
	VMCB(u32, VMCB_INTERCEPT1) |= intercept;
	ctr_write(0, MINUS(2 + 10));
}

static void interrupts(void)
{
	arm(APIC_DM_NMI, I_NMI);
	enter(nops_30);
	is(exit_code(), 0x61, "NMI intercept: the PMI exits");
	is(VMCB(u64, VMCB_RIP), (u64)nops_30 + 10, "NMI intercept: after the instruction that overflows");
	is(ctr_read(0), 0, "NMI intercept: guest-only counts nothing after it");
	is(rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS), 1, "NMI intercept: status");
	is(apic_read(APIC_LVT_PC) & APIC_LVT_MASKED, 0,
	   "NMI intercept: the local APIC's entry stays unmasked");
	is(cpu()->pmi.count, 1, "NMI intercept: the NMI waits for the host");
	is(cpu()->pmi.rip, (u64)svm_after_stgi, "NMI intercept: it is taken at GIF=1");

	arm(APIC_DM_NMI, 0);
	enter(nops_30);
	is(exit_code(), VMMCALL, "no NMI intercept: no exit");
	is(block(GUEST_BLOCK)->pmi.count, 1, "no NMI intercept: the guest's own handler");
	is(block(GUEST_BLOCK)->pmi.rip, (u64)nops_30 + 10, "no NMI intercept: after the instruction that overflows");
	is(cpu()->pmi.count, 0, "no NMI intercept: not the host's");

	arm(V_PMI, I_INTR);
	VMCB(u64, VMCB_RFLAGS) |= BIT(9);
	enter(nops_30);
	is(exit_code(), 0x60, "INTR intercept, the guest's IF=1: the PMI exits");
	is(VMCB(u64, VMCB_RIP), (u64)nops_30 + 10, "INTR intercept: after the instruction that overflows");
	is(ctr_read(0), 0, "INTR intercept: guest-only counts nothing after it");
	is(cpu()->pmi.count, 0, "INTR intercept: the interrupt waits for the host's IF");
	sti();
	is(cpu()->pmi.count, 1, "INTR intercept: and is taken then");
	cli();

	/* With V_INTR_MASKING the host's IF decides. */
	arm(V_PMI, I_INTR);
	VMCB(u32, VMCB_INTR_CONTROL) = V_INTR_MASKING;
	sti();
	enter(nops_30);
	cli();
	is(exit_code(), 0x60, "V_INTR_MASKING, IF=0 in the guest, 1 in the host: the PMI exits");
	is(VMCB(u64, VMCB_RIP), (u64)nops_30 + 10, "V_INTR_MASKING: after the instruction that overflows");
	is(cpu()->pmi.rip, (u64)svm_after_stgi, "V_INTR_MASKING: the interrupt waits for GIF=1");

	/* VMRUN is the guest's first event. */
	arm(APIC_DM_NMI, I_NMI);
	ctr_write(0, MINUS(1));
	enter(nops_30);
	is(exit_code(), 0x61, "VMRUN overflows a guest-only counter: the NMI exits");
	is(VMCB(u64, VMCB_RIP), (u64)guest_svm, "VMRUN overflows: before the guest's first instruction");
	is(ctr_read(0), 0, "VMRUN overflows: at exactly 0");

	/* Overflow at the last instruction before an exit: the interrupt comes first. */
	arm(APIC_DM_NMI, I_NMI | I_CPUID);
	ctr_write(0, MINUS(4));
	enter(x_cpuid);
	is(exit_code(), 0x61, "overflow just before an instruction that exits: the NMI exits");
	is(VMCB(u64, VMCB_RIP), (u64)x_cpuid + 2,
	   "overflow just before an instruction that exits: it has not run");

	/* A host-only counter overflows in the host, whatever the guest executes. */
	arm(APIC_DM_NMI, I_NMI);
	pmu_set(0, event(INSNS) | ALL | AMD64_EVENTSEL_HOSTONLY | INT);
	ctr_write(0, MINUS(HOST_BEFORE + 2));
	enter(nops_30);
	is(exit_code(), VMMCALL, "host-only: it does not overflow in the guest");
	is(cpu()->pmi.count, 1, "host-only: it overflows after the exit");
	is(cpu()->pmi.rip, (u64)svm_after_stgi, "host-only: GIF=0 then, the NMI waits for STGI");
	pmu_clear();
}

void test(void)
{
	svm_on();
	split();
	exits();
	again();
	bitmap();
	rings();
	accesses();
	interrupts();
}
