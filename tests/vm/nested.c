// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: a guest that is a hypervisor itself (L1, under KVM, which is L0) counts what it and its guest (L2) do, as on a machine
 * of its own:
 *
 *	accesses	L2 accesses counters as L1 lets it: without an exit, if L0 has none of its own; else by an exit to L1
 *	counting	over the entry and the exit, what L2 executes and what KVM emulates of it included
 *	control		VMX: what VM-entry and VM-exit load into the global control holds in L2, and in L1 behind it
 *	modes		SVM: selectors with the host-only bit count in L1, with the guest-only bit in L2
 *	moving		a vCPU that is in L2 when it is saved goes on in another VM as if nothing had been
 *	overflows	one PMI for each: to L2, or to L1 if L1 intercepts it; wherever on the way it happens
 *
 * All of it once more while an event of the host's perf wants the PMU, so that L0 switches it at each exit.
 *
 * The machine tells L1 and L2 from the host, not from each other; so L1 reads its counts in front of the entry and behind the
 * exit.  An entry into an AMD guest counts in that guest, so here in L1 or L2; that goes for all that exits to L0 only.
 * What KVM emulates of L1's VMX is: VMLAUNCH and VMRESUME as a branch, and not as an instruction; VMREAD, VMWRITE as an
 * instruction.  Of SVM: VMRUN and STGI as an instruction,
 * VMRUN in L2.
 */
#include <linux/perf_event.h>
#include <sys/syscall.h>

#include "vm.h"
#include "vmcb.h"
#include "vmcs.h"

enum {
	MSR_FEATURE_CONTROL	= 0x3a,
	MSR_VMX_BASIC		= 0x480,
	MSR_EFER		= 0xc0000080,
	MSR_HSAVE		= 0xc0010117,
};
#define EFER_SVME	0x1000
#define GUEST_ONLY	(1ULL << 40)
#define HOST_ONLY	(1ULL << 41)
#define LVT_MASKED	0x10000

/* Reasons of VMX, and codes of SVM. */
enum {
	VMX_EXCEPTION_NMI = 0, VMX_INTERRUPT = 1, VMX_CPUID = 10, VMX_RDPMC = 15, VMX_CALL = 18, VMX_READ = 23, VMX_WRITE = 25,
	VMX_RDMSR = 31, VMX_WRMSR = 32,
	SVM_INTR = 0x60, SVM_NMI = 0x61, SVM_RDPMC = 0x6f, SVM_CPUID = 0x72, SVM_MSR = 0x7c, SVM_CALL = 0x81, SVM_STGI = 0x84,
};

static struct vm vm;
static struct vm_body body, l2;
static struct vm_stretch s;
static bool beside;		/* an event of the host is there */
static char name[160];

/* ---- L1 and L2 */

static uint8_t __attribute__((used, aligned(VM_PAGE))) nested_vmcb[VM_PAGE];
static uint8_t save_area[VM_PAGE] __attribute__((aligned(VM_PAGE))), io_bitmap[3 * VM_PAGE] __attribute__((aligned(VM_PAGE)));
static uint8_t msr_bitmap[2 * VM_PAGE] __attribute__((aligned(VM_PAGE))), nested_stack[16384] __attribute__((aligned(VM_PAGE)));
static uint32_t vmxon_region[VM_PAGE / 4] __attribute__((aligned(VM_PAGE))), vmcs[VM_PAGE / 4] __attribute__((aligned(VM_PAGE)));

/* Used by name, in assembly: L1's stack pointer, L2's registers, the machine's counts in front of the entry and behind the exit. */
static uint64_t __attribute__((used)) nested_rsp, nested_failed, nested_regs[15];
#define NESTED_RDI	5
static uint64_t __attribute__((used)) nested_exits[2], nested_branches[2], nested_insns[2];
extern char nested_launch[], nested_resume[], nested_run[], nested_back[], nested_vmx_l2[], nested_svm_l2[];

#define NESTED_READ(index, to)	"mov vm_ask, %rax\n\tmov $" #index ", %ecx\n\t" MARK_INSN "\n\tmov %rax, " to "\n\t"
#define NESTED_BEGIN								\
	"push %rbx\n\tpush %rbp\n\tpush %r12\n\tpush %r13\n\tpush %r14\n\tpush %r15\n\t"	\
	"mov %rsp, nested_rsp\n\t"						\
	NESTED_READ(8, "nested_exits") NESTED_READ(6, "nested_branches") NESTED_READ(2, "nested_insns")	\
	"mov nested_regs + 8, %rcx\n\tmov nested_regs + 16, %rdx\n\tmov nested_regs + 24, %rbx\n\t"	\
	"mov nested_regs + 32, %rsi\n\tmov nested_regs + 40, %rdi\n\tmov nested_regs + 48, %rbp\n\t"	\
	"mov nested_regs + 56, %r8\n\tmov nested_regs + 64, %r9\n\tmov nested_regs + 72, %r10\n\t"	\
	"mov nested_regs + 80, %r11\n\tmov nested_regs + 88, %r12\n\tmov nested_regs + 96, %r13\n\t"	\
	"mov nested_regs + 104, %r14\n\tmov nested_regs + 112, %r15\n\t"
#define NESTED_END								\
	"mov %rax, nested_regs\n\t"						\
	"mov %rcx, nested_regs + 8\n\tmov %rdx, nested_regs + 16\n\tmov %rbx, nested_regs + 24\n\t"	\
	"mov %rsi, nested_regs + 32\n\tmov %rdi, nested_regs + 40\n\tmov %rbp, nested_regs + 48\n\t"	\
	"mov %r8, nested_regs + 56\n\tmov %r9, nested_regs + 64\n\tmov %r10, nested_regs + 72\n\t"	\
	"mov %r11, nested_regs + 80\n\tmov %r12, nested_regs + 88\n\tmov %r13, nested_regs + 96\n\t"	\
	"mov %r14, nested_regs + 104\n\tmov %r15, nested_regs + 112\n\t"	\
	"mov nested_rsp, %rsp\n\t"						\
	NESTED_READ(2, "nested_insns + 8") NESTED_READ(6, "nested_branches + 8") NESTED_READ(8, "nested_exits + 8")	\
	"pop %r15\n\tpop %r14\n\tpop %r13\n\tpop %r12\n\tpop %rbp\n\tpop %rbx\n\t"	\
	"ret\n"
asm(	".pushsection .text\n"
	".balign 512\n"
	"nested_launch:\n\t" NESTED_BEGIN "mov nested_regs, %rax\n\tvmlaunch\n\t"
	"jmp 1f\n"
	"nested_resume:\n\t" NESTED_BEGIN "mov nested_regs, %rax\n\tvmresume\n"
	"1: incq nested_failed\n"
	"nested_back:\n\t" NESTED_END
	"nested_run:\n\t" NESTED_BEGIN
	"lea nested_vmcb, %rax\n\t"
	"vmrun\n\t" NESTED_END
	"nested_vmx_l2:\n\tcall *%rdi\n\tvmcall\n\tud2\n"
	"nested_svm_l2:\n\tcall *%rdi\n\tvmmcall\n\tud2\n"
	".popsection");

/*
 * What L1 executes from the reading in front of the entry to that: the reading, a MOV, 15 more; and from the exit to the
 * reading behind it: 18 MOVs, on AMD the entry into L1.  AMD's RAX is in the VMCB, and names that.
 */
#define L1_LAST		17
#define L1_FIRST	(vm_seen.amd ? 19 : 18)

#define NESTED_EXITS	8

/* What L1 does, and has seen. */
static struct {
	/* Controls of its guest. */
	bool takes_nmi, takes_interrupts, takes_rdpmc, takes_cpuid;
	uint32_t takes_msr;
	int load_entry, load_exit;	/* the global control; -1: not */
	uint64_t store[2] __attribute__((aligned(16)));	/* of VM-exit: which MSR, its value */
	bool stores;

	unsigned int exits, stepped, pmis;
	uint64_t reason[NESTED_EXITS], rip[NESTED_EXITS], info[NESTED_EXITS];
	uint64_t lvtpc, control, status, counter;
	uint64_t before, after;		/* what KVM emulated of L1 that is an instruction: up to the first exit's, behind it */
} l1;

/* Of instructions of L1 only, each of which exits: KVM counts it. */
static uint64_t emulated_so_far(void)
{
	if (vm_seen.amd)
		return mark_read(TRUTH_EXITS_BY_REASON + SVM_STGI);
	return mark_read(TRUTH_EXITS_BY_REASON + VMX_READ) + mark_read(TRUTH_EXITS_BY_REASON + VMX_WRITE);
}

/* An RDMSR or WRMSR of L1 that KVM emulates, because of a vPMU or always. */
#define L1_PMU_MSR	(vm_seen.mediated ? 0 : 1)
#define L1_OTHER_MSR	1

static void l1_on(void *unused)
{
	uint64_t cr4;

	(void)unused;
	for (unsigned int i = 0; i < sizeof(nested_stack); i += VM_PAGE)
		*(volatile uint8_t *)(nested_stack + i) = 0;
	if (vm_seen.amd) {
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
		wrmsr(MSR_HSAVE, (uint64_t)save_area);
		return;
	}
	asm volatile("mov %%cr4, %0" : "=r" (cr4));
	asm volatile("mov %0, %%cr4" : : "r" (cr4 | 1 << 13));
	vmxon_region[0] = vmcs[0] = rdmsr(MSR_VMX_BASIC);
	asm volatile("vmxon %0" : : "m" ((uint64_t){ (uint64_t)vmxon_region }) : "cc", "memory");
}

static void intercept(uint32_t msr)
{
	unsigned int bit = msr & 0x1fff;

	if (vm_seen.amd) {
		int shift;
		uint8_t *byte = vmcb_msr_byte(msr_bitmap, msr, &shift);

		*byte |= 3 << shift;
		return;
	}
	msr_bitmap[bit / 8] |= 1 << bit % 8;
	msr_bitmap[0x800 + bit / 8] |= 1 << bit % 8;
}

/* A new L2, which has not run. */
static void l1_prepare(void *unused)
{
	uint64_t region = (uint64_t)vmcs;
	unsigned int i;

	(void)unused;
	for (i = 0; i < sizeof(msr_bitmap); i++)
		*(volatile uint8_t *)(msr_bitmap + i) = 0;
	if (l1.takes_msr)
		intercept(l1.takes_msr);
	l1.exits = l1.stepped = l1.pmis = l1.after = 0;
	nested_failed = 0;
	if (vm_seen.amd) {
		for (i = 0; i < sizeof(nested_vmcb); i++)
			*(volatile uint8_t *)(nested_vmcb + i) = 0;
		vmcb_fill(nested_vmcb, &(struct vmcb_world) {
			.code = KCODE, .data = KDATA, .rip = (uint64_t)nested_svm_l2,
			.rsp = (uint64_t)nested_stack + sizeof(nested_stack), .io_bitmap = io_bitmap, .msr_bitmap = msr_bitmap,
		});
		VMCB_FIELD(nested_vmcb, uint32_t, VMCB_INTERCEPT1) |=
			(l1.takes_nmi ? I_NMI : 0) | (l1.takes_interrupts ? I_INTR : 0) | (l1.takes_rdpmc ? I_RDPMC : 0) |
			(l1.takes_cpuid ? I_CPUID : 0);
		if (vm_seen.fixed_vector)
			VMCB_FIELD(nested_vmcb, uint64_t, VMCB_RFLAGS) = 0x202;
		return;
	}
	asm volatile("vmclear %0" : : "m" (region) : "cc", "memory");
	for (i = 1; i < ARRAY_SIZE(vmcs); i++)
		*(volatile uint32_t *)&vmcs[i] = 0;
	asm volatile("vmclear %0\n\tvmptrld %0" : : "m" (region) : "cc", "memory");
	vmcs_fill(&(struct vmcs_world) {
		.code = KCODE, .data = KDATA, .host_tr = TSS, .guest_tr = TSS,
		.host_tss = (uint64_t)vm_tss, .guest_tss = (uint64_t)vm_tss, .host_rip = (uint64_t)nested_back,
		.guest_rip = (uint64_t)nested_vmx_l2, .guest_rsp = (uint64_t)nested_stack + sizeof(nested_stack),
		.msr_bitmap = msr_bitmap,
	});
	/* A place to begin with; it has its own afterwards. */
	vmwrite(HOST_RSP, VM_TOP(4));
	vmcs_set(PIN_CONTROLS, (l1.takes_nmi ? PIN_NMI_EXIT : 0) | (l1.takes_interrupts ? PIN_INTR_EXIT : 0));
	vmcs_set(CPU_CONTROLS, l1.takes_rdpmc ? CPU_RDPMC_EXIT : 0);
	vmcs_set(ENTRY_CONTROLS, l1.load_entry >= 0 ? ENTRY_LOAD_GLOBAL_CTRL : 0);
	vmcs_set(EXIT_CONTROLS, l1.load_exit >= 0 ? EXIT_LOAD_GLOBAL_CTRL : 0);
	vmwrite(GUEST_GLOBAL_CTRL, l1.load_entry >= 0 ? l1.load_entry : 0);
	vmwrite(HOST_GLOBAL_CTRL, l1.load_exit >= 0 ? l1.load_exit : 0);
	if (l1.stores) {
		l1.store[0] = MSR_GLOBAL_CTRL;
		l1.store[1] = ~0ULL;
		vmwrite(EXIT_STORE_ADDR, (uint64_t)l1.store);
		vmwrite(EXIT_STORE_COUNT, 1);
	}
	if (vm_seen.fixed_vector)
		vmwrite(GUEST_RFLAGS, 0x202);
}

/* An NMI that came as an exit: what else its handler does.  IRET lets the next one come. */
static void l1_nmi(void)
{
	l1.pmis++;
	l1.status = rdmsr(MSR_GLOBAL_STATUS);
	l1.lvtpc = rdmsr(MSR_X2APIC_LVTPC);
	wrmsr(MSR_GLOBAL_OVF_CTRL, l1.status);
	wrmsr(MSR_X2APIC_LVTPC, LVT_NMI);
	/* With APIC virtualization an LVT entry is read without an exit. */
	l1.after += 2 * L1_PMU_MSR + (vm_seen.eoi ? 1 : 2) * L1_OTHER_MSR;
	asm volatile("mov %%rsp, %%rax\n\tsub $128, %%rsp\n\tpush %0\n\tpush %%rax\n\tpushf\n\tpush %1\n\tpush $1f\n\tiretq\n1:"
		     : : "i" (KDATA), "i" (KCODE) : "rax", "cc", "memory");
}

static void l1_hypervisor(void)
{
	uint64_t start = emulated_so_far(), first = start;
	unsigned int e = 0;

	for (;;) {
		uint64_t reason;

		if (vm_seen.amd)
			((void (*)(void))nested_run)();
		else
			((void (*)(void))(e ? nested_resume : nested_launch))();
		if (!e)
			first = emulated_so_far();
		reason = vm_seen.amd ? VMCB_FIELD(nested_vmcb, uint64_t, VMCB_EXIT_CODE) : vmread(EXIT_REASON);
		l1.reason[e] = reason;
		if (reason != (vm_seen.amd ? SVM_CALL : VMX_CALL)) {
			l1.rip[e] = vm_seen.amd ? VMCB_FIELD(nested_vmcb, uint64_t, VMCB_RIP) : vmread(GUEST_RIP);
			l1.info[e] = vm_seen.amd ? VMCB_FIELD(nested_vmcb, uint64_t, VMCB_EXIT_INFO1) : vmread(EXIT_INTR_INFO);
		}
		/* Here an interrupt that has made L2 exit comes, and an NMI on AMD. */
		if (vm_seen.amd)
			asm volatile("stgi" : : : "memory");
		if (vm_seen.fixed_vector)
			asm volatile("sti\n\tnop" : : : "memory");
		e++;
		if (reason == (vm_seen.amd ? SVM_CALL : VMX_CALL) || nested_failed || e == NESTED_EXITS)
			break;
		if (reason == (vm_seen.amd ? SVM_NMI : VMX_EXCEPTION_NMI)) {
			if (!vm_seen.amd)
				l1_nmi();
		} else if (reason == (vm_seen.amd ? SVM_INTR : VMX_INTERRUPT)) {
			continue;
		} else if (vm_seen.amd) {
			/* CPUID, RDPMC, RDMSR and WRMSR have two bytes. */
			VMCB_FIELD(nested_vmcb, uint64_t, VMCB_RIP) += 2;
			l1.stepped++;
		} else {
			vmwrite(GUEST_RIP, l1.rip[e - 1] + 2);
			l1.stepped++;
		}
	}
	l1.exits = e;
	if (!vm_seen.amd) {
		l1.control = rdmsr(MSR_GLOBAL_CTRL);
		l1.after += L1_PMU_MSR;
	}
	l1.before = first - start;
	l1.after += emulated_so_far() - first;
}

static void l1_once(void *code)
{
	nested_regs[NESTED_RDI] = (uint64_t)code;
	l1_hypervisor();
}

/* ---- stretches of L1 with L2 in the middle */

static uint64_t on_bits[VM_COUNTERS];	/* AMD: more bits of a selector */
static bool has_control;		/* the PMU has a global control: AMD's may have none */
static bool off_before;			/* Intel: the global control is 0 in front of the entry */

static void before(struct vm *v)
{
	unsigned int i;

	vm_call(v, l1_prepare, NULL);
	if (vm_seen.amd && has_control) {
		vm_set_msr(v, MSR_AMD_STATUS, 0);
		vm_set_msr(v, MSR_AMD_CONTROL, 0x3f);
	}
	for (i = 0; i < s.n && vm_seen.amd; i++)
		s.frame.on.write[i].value |= on_bits[i];
	if (!vm_seen.amd && off_before)
		s.frame.on.write[0].value = 0;
	nested_regs[NESTED_RDI] = (uint64_t)l2.code;
}

static void defaults(void)
{
	memset(&l1, 0, sizeof(l1));
	l1.load_entry = l1.load_exit = -1;
	memset(on_bits, 0, sizeof(on_bits));
	off_before = false;
	vm_seen.fixed_vector = false;
	s.n = 0;
	s.interrupted = false;
}

/* What KVM has emulated of L2. */
static uint64_t emulated_of_l2(const struct vm_counter *c)
{
	uint64_t n = vm_emulated(&l2, c, (uint64_t)l2.code - 1, ~0ULL);

	/* What L1 has stepped over nobody has executed. */
	return n - (c->event == VM_INSNS && c->privilege & VM_KERNEL ? l1.stepped : 0);
}

/* What KVM has emulated of L1, beside the ends. */
static uint64_t emulated_of_l1(const struct vm_counter *c)
{
	if (!(c->privilege & VM_KERNEL))
		return 0;
	if (c->event == VM_INSNS)
		return l1.before + l1.after + (vm_seen.amd ? l1.exits : 0);
	return vm_seen.amd ? 0 : l1.exits;
}

/* Where the end of an interrupt is the guest's own, that is L1's; L2's exits. */
static uint64_t eois_of_l2(const struct vm_counter *c)
{
	uint64_t n = 0;
	unsigned int p;

	if (!vm_seen.eoi || !vm_seen.fixed_vector || c->event != VM_INSNS || !(c->privilege & VM_KERNEL))
		return 0;
	for (p = 0; p < vm_seen.pmis && p < VM_PMIS; p++) {
		uint64_t rip = vm_seen.pmi[p].rip, code = (uint64_t)l2.code, call = (uint64_t)nested_vmx_l2;

		/* CALL and VMCALL have five bytes. */
		n += (rip >= code && rip <= code + l2.length) || (rip >= call && rip <= call + 5);
	}
	return n;
}

static uint64_t all_of_it(unsigned int i)
{
	const struct vm_counter *c = &s.counter[i];

	return vm_events(&s, i, VM_BEGIN, VM_END) + emulated_of_l1(c) + emulated_of_l2(c) + eois_of_l2(c);
}

/* The instructions in the kernel of L2, if it was entered once: with its entry on AMD, and what KVM emulated. */
static uint64_t insns_of_l2(const struct vm_counter *c)
{
	return nested_insns[1] - nested_insns[0] - L1_LAST - L1_FIRST + emulated_of_l2(c);
}

/* Those of L1 from the exit on. */
static uint64_t insns_behind(unsigned int i)
{
	return vm_truth(&s, i, VM_END) - nested_insns[1] + L1_FIRST + l1.after + (vm_seen.amd ? vm_write(i) : 0);
}

/* An exit that the code does not make is the host's interrupt, and on AMD an entry in L1 or L2, nobody knows. */
static bool undisturbed(void)
{
	unsigned int i, exits = 2;

	for (i = 0; i < l2.insns; i++)
		exits += l2.insn[i].emulated;
	return nested_exits[1] - nested_exits[0] == exits;
}

static void stretch(void)
{
	unsigned int tries = 0;

	/* The first brings in pages. */
	vm_stretch(&vm, &s);
	do {
		vm_stretch(&vm, &s);
		must(!nested_failed, "L1 enters L2");
		must(++tries < VM_TRIES, "the host's ticks leave a stretch in peace");
	} while (l1.exits == 1 && !vm_seen.pmis && !undisturbed());
}

static void counter(enum vm_event event, enum vm_privilege privilege, bool fixed, bool interrupt)
{
	s.counter[s.n] = (struct vm_counter) {
		.event = event, .privilege = privilege, .fixed = fixed, .index = fixed ? 0 : s.n, .interrupt = interrupt,
	};
	s.n++;
}

static const char *title(const char *what, const char *which)
{
	snprintf(name, sizeof(name), "%s%s%s%s", what, *which ? ", " : "", which, beside ? ", beside the host's event" : "");
	return name;
}

static void counting(void)
{
	static const struct {
		const char *what, *code;
		bool cpuid;
	} rows[] = {
		{ "nothing", "", 0 },
		{ "nops and branches", "nop*9 jmp nop*5 jmp*3", 0 },
		{ "RDPMC, and KVM's own MSRs", "nop*3 rdpmc nop*2 rdmsr nop*2 wrmsr", 0 },
		{ "devices",
		  "nop*3 out-pic nop*2 in-pic nop*3 out-vmm nop*2 in-vmm nop*3 mmio-write nop*2 "
		  "mmio-read nop*9",
		  0 },
		{ "WBINVD", "nop*3 wbinvd nop*9", 0 },
		{ "CPUID, of L1", "nop*3 cpuid nop*2 jmp cpuid nop*9", 1 },
		{ "user mode", "nop*3 user{nop*9 jmp*3 nop*2} nop*4", 0 },
		{ "user mode, with exits",
		  "nop*3 user{nop*9 rdpmc jmp*3 out-vmm nop*2} rdmsr nop*4", 0 },
	};
	unsigned int r, i;

	for (r = 0; r < ARRAY_SIZE(rows); r++) {
		defaults();
		l1.takes_cpuid = rows[r].cpuid;
		vm_body(&l2, rows[r].code);
		counter(VM_INSNS, VM_KERNEL, 0, 0);
		counter(VM_BRANCHES, VM_KERNEL, 0, 0);
		counter(VM_INSNS, VM_USER, 0, 0);
		counter(VM_BRANCHES, VM_BOTH, 0, 0);
		if (!vm_seen.amd)
			counter(VM_INSNS, VM_BOTH, 1, 0);
		stretch();
		sayf("# %s", title(rows[r].what, ""));
		check_equal("exits to L1", l1.exits, 1 + 2 * rows[r].cpuid, "the call, and what L1 takes");
		for (i = 0; i < s.n; i++) {
			char what[64];

			snprintf(what, sizeof(what), "%s%s, %s", s.counter[i].fixed ? "fixed: " : "",
				 s.counter[i].event == VM_INSNS ? "instructions" : "branches", vm_privileges[s.counter[i].privilege]);
			check_equal(what, s.counter[i].value, all_of_it(i), "the machine's count of L1 and L2, and KVM's");
		}
		if (l1.exits == 1)
			check(undisturbed(), "L0 has had what it emulates, the entry and the call");
	}
}

/* VMX: counter 0 and the global control. */
static void control(void)
{
	static const struct {
		const char *what;
		bool host;
		int guest, after;
	} rows[] = {
		{ "nothing loaded: both count", 1, -1, -1 },
		{ "entry loads 1, exit 0: L2 alone", 0, 1, 0 },
		{ "entry loads 0, exit 1: L1 alone", 1, 0, 1 },
		{ "entry loads 0, exit nothing: it stays 0", 1, 0, -1 },
		{ "entry loads 1, exit nothing: it stays 1", 0, 1, -1 },
		{ "entry nothing, exit loads 0", 1, -1, 0 },
		{ "entry nothing, exit loads 1", 0, -1, 1 },
	};
	unsigned int r, event;

	for (r = 0; r < ARRAY_SIZE(rows); r++) {
		bool in_l2 = rows[r].guest < 0 ? rows[r].host : rows[r].guest;
		bool behind = rows[r].after < 0 ? in_l2 : rows[r].after;

		for (event = 0; event <= 1; event++) {
			const struct vm_counter *c = &s.counter[0];
			uint64_t all, part2, part3, want;

			defaults();
			vm_body(&l2, "nop*7 jmp rdmsr nop*5 rdpmc");
			counter(event ? VM_BRANCHES : VM_INSNS, VM_KERNEL, 0, 0);
			l1.load_entry = rows[r].guest;
			l1.load_exit = rows[r].after;
			l1.stores = true;
			off_before = !rows[r].host;
			stretch();
			all = all_of_it(0);
			if (!event) {
				part2 = insns_of_l2(c);
				part3 = insns_behind(0);
			} else {
				/* Around the readings there is none in L1. VMLAUNCH is one of L1 in front of L2. */
				part2 = nested_branches[1] - nested_branches[0] + emulated_of_l2(c);
				part3 = vm_truth(&s, 0, VM_END) - nested_branches[1];
			}
			want = (rows[r].host ? all - part2 - part3 : 0) + (in_l2 ? part2 : 0) + (behind ? part3 : 0);
			check_equal(title(rows[r].what, event ? "branches" : "instructions"), c->value, want,
				    "in L1 up to the entry, in L2, in L1 from the exit on");
			check_equal("the global control in L1", l1.control, behind, "what the exit has loaded or left");
			check_equal("the global control that the exit stores", l1.store[1], in_l2, "that of L2");
		}
	}
}

/* SVM: who counts, by the selector. */
static void modes(void)
{
	static const struct {
		const char *what;
		uint64_t bits;
		bool l1, l2;
	} rows[] = {
		{ "neither bit", 0, 1, 1 },
		{ "guest-only", GUEST_ONLY, 0, 1 },
		{ "host-only", HOST_ONLY, 1, 0 },
		{ "both bits", GUEST_ONLY | HOST_ONLY, 1, 1 },
	};
	static const char *const codes[] = {
		"", "nop*9 jmp nop*3", "nop*3 rdmsr nop*2 rdpmc jmp wrmsr nop*2",
		"nop*5 user{nop*7 jmp out-vmm nop*2} rdmsr nop*3",
	};
	unsigned int r, k;

	for (k = 0; k < ARRAY_SIZE(codes); k++) {
		defaults();
		vm_body(&l2, codes[k]);
		for (r = 0; r < ARRAY_SIZE(rows); r++) {
			counter(VM_INSNS, VM_KERNEL, 0, 0);
			on_bits[r] = rows[r].bits;
		}
		stretch();
		for (r = 0; r < ARRAY_SIZE(rows); r++) {
			/* VMRUN retires in the mode that it leads to. */
			uint64_t part2 = insns_of_l2(&s.counter[r]) + 1;

			snprintf(name, sizeof(name), "%s, \"%s\"%s", rows[r].what, codes[k], beside ? ", beside the host's event" : "");
			check_equal(name, s.counter[r].value, (rows[r].l1 ? all_of_it(r) - part2 : 0) + (rows[r].l2 ? part2 : 0),
				    "in L1 without VMRUN, in L2 with that and each entry");
		}
	}
}

/* SVM: without EFER.SVME there is neither host nor guest mode, and a selector with one of the bits, or both, selects nothing. */
static struct {
	uint64_t select[4], value[4], back[4];
	bool enabled;
} svme;

static void svme_guest(void *unused)
{
	unsigned int i;

	(void)unused;
	wrmsr(MSR_EFER, svme.enabled ? rdmsr(MSR_EFER) | EFER_SVME : rdmsr(MSR_EFER) & ~EFER_SVME);
	for (i = 0; i < 4; i++) {
		uint32_t lo = svme.select[i], hi = svme.select[i] >> 32;

		wrmsr(MSR_AMD_CTR0 + 2 * i, 0);
		asm volatile("wrmsr\n\t.rept 100\n\tnop\n\t.endr\n\txor %%eax, %%eax\n\txor %%edx, %%edx\n\twrmsr"
			     : "+a" (lo), "+d" (hi) : "c" (MSR_AMD_CTL0 + 2 * i) : "memory");
		svme.value[i] = rdmsr(MSR_AMD_CTR0 + 2 * i);
	}
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
}

static void svme_off(void)
{
	static const char *const bits[] = { "neither bit", "guest-only", "host-only", "both bits" };
	unsigned int enabled, i;

	for (enabled = 0; enabled <= 1; enabled++) {
		svme.enabled = enabled;
		for (i = 0; i < 4; i++)
			svme.select[i] = 0x4200c0 | (i & 1 ? GUEST_ONLY : 0) | (i & 2 ? HOST_ONLY : 0);
		vm_call(&vm, svme_guest, NULL);
		vm_call(&vm, svme_guest, NULL);
		for (i = 0; i < 4; i++) {
			bool counts = i == 0 || (i & 2 && enabled);

			/* The WRMSR, which is emulated, the entry behind it, 100 nops, two more; a tick of the host is an entry. */
			check_between(title(bits[i], enabled ? "SVME=1, in L1" : "SVME=0"), svme.value[i], counts ? 104 : 0,
				      counts ? 105 : 0, "the WRMSR, the entry, the nops, two more");
		}
	}
}

/* ---- accesses of L2 */

static bool is_global(uint32_t msr)
{
	return msr >= MSR_AMD_STATUS && msr <= MSR_AMD_STATUS_CLEAR;
}

static struct {
	enum { RDPMC, RDMSR, WRMSR } kind;
	uint32_t index;
	uint64_t value;
	uint64_t exits, calls;
} acc;

static void l2_access(void)
{
	uint32_t a, d;
	uint64_t exits = mark_read(TRUTH_EXITS);

	switch (acc.kind) {
	case RDPMC:
		asm volatile("rdpmc" : "=a" (a), "=d" (d) : "c" (acc.index));
		acc.value = (uint64_t)d << 32 | a;
		break;
	case RDMSR:
		acc.value = rdmsr(acc.index);
		break;
	case WRMSR:
		wrmsr(acc.index, acc.value);
		break;
	}
	acc.exits = mark_read(TRUTH_EXITS) - exits;
}

static void l1_access(void *unused)
{
	(void)unused;
	l1_once(l2_access);
}

/*
 * Which selectors of L1 are on, in no ring, so that they count nothing.  With none for a while L0 has taken the PMU away;
 * with one it lets through what concerns that counter, and what concerns all.
 */
enum { NONE, ONE, ALL };

static void selectors_on(int on)
{
	unsigned int r;

	for (r = 0; r < vm_seen.general; r++)
		vm_set_msr(&vm, vm_seen.amd ? MSR_AMD_CTL0 + 2 * r : MSR_EVNTSEL0 + r,
			   on == ALL || (on == ONE && r == 1) ? 1 << 22 : 0);
	if (!vm_seen.amd)
		vm_set_msr(&vm, MSR_FIXED_CTR_CTRL, on == ALL ? 0x8888 & ((1 << 4 * vm_seen.fixed) - 1) : 0);
}

static void accesses_of(int on)
{
	const struct {
		const char *what;
		uint32_t intel, amd;	/* 0: not there */
		uint64_t holds;		/* what L1 has written there; the index of RDPMC is 0 */
		int kinds;		/* of RDPMC, RDMSR, WRMSR */
		bool always;		/* L0 intercepts it in any case */
		bool whole;		/* and unless L1 has all counters */
	} rows[] = {
		{ "RDPMC", MSR_PMC0, MSR_AMD_CTR0, 0x12345, 1 << RDPMC, 0, 1 },
		{ "the first counter", MSR_PMC0, MSR_AMD_CTR0, 0x12345, 1 << RDMSR | 1 << WRMSR, 0, 0 },
		{ "the last counter", MSR_PMC0 + vm_seen.general - 1, MSR_AMD_CTR0 + 10, 0x23456, 1 << RDMSR | 1 << WRMSR, 0, 0 },
		{ "its old name", MSR_PERFCTR0, 0xc0010004, 0x12345, 1 << RDMSR | 1 << WRMSR, 0, 0 },
		{ "PERF_METRICS", vm_seen.metrics ? MSR_PERF_METRICS : 0, 0, 0x8c301f24, 1 << RDMSR | 1 << WRMSR, 0, 0 },
		{ "the last fixed counter", MSR_FIXED_CTR0 + vm_seen.fixed - 1, 0, 0x34567, 1 << RDMSR | 1 << WRMSR, 0, 0 },
		{ "the global control", MSR_GLOBAL_CTRL, MSR_AMD_CONTROL, 5, 1 << RDMSR | 1 << WRMSR, 0, 1 },
		{ "the status", MSR_GLOBAL_STATUS, MSR_AMD_STATUS, 0, 1 << RDMSR, 0, 1 },
		{ "its reset", MSR_GLOBAL_OVF_CTRL, MSR_AMD_STATUS_CLEAR, 0, 1 << WRMSR, 0, 1 },
		{ "a selector", MSR_EVNTSEL0 + 3, MSR_AMD_CTL0 + 6, 0x1200c0, 1 << RDMSR | 1 << WRMSR, 1, 0 },
		{ "the fixed counters' selectors", MSR_FIXED_CTR_CTRL, 0, 0x10, 1 << RDMSR | 1 << WRMSR, 1, 0 },
	};
	static const char *const kinds[] = { "", "read", "written" };
	unsigned int r, taken;
	int kind;

	selectors_on(on);
	/* With no slots counted, PERF_METRICS is what was written, whatever that adds up to. */
	if (vm_seen.metrics)
		vm_set_msr(&vm, MSR_FIXED_CTR0 + 3, 0);
	defaults();
	for (r = 0; r < 6; r++)
		vm_call(&vm, l1_prepare, NULL);

	for (r = 0; r < ARRAY_SIZE(rows); r++)
		for (kind = RDPMC; kind <= WRMSR; kind++)
			for (taken = 0; taken <= 1; taken++) {
				uint32_t msr = vm_seen.amd ? rows[r].amd : rows[r].intel;
				uint64_t reason = vm_seen.amd ? (kind == RDPMC ? SVM_RDPMC : SVM_MSR) :
						  kind == RDPMC ? VMX_RDPMC : kind == RDMSR ? VMX_RDMSR : VMX_WRMSR;
				unsigned int tries = 0, exits = !vm_seen.mediated || on == NONE || rows[r].always ||
								(on == ONE && !rows[r].whole) ||
								(rows[r].whole && !(kind == RDPMC ? vm_seen.rdpmc : vm_seen.mediated));
				uint64_t holds = rows[r].holds;

				if (!msr || !(rows[r].kinds & 1 << kind) || (is_global(msr) && !has_control))
					continue;
				defaults();
				l1.takes_rdpmc = taken && kind == RDPMC;
				l1.takes_msr = taken && kind != RDPMC ? msr : 0;
				acc.kind = kind;
				acc.index = kind == RDPMC ? 0 : msr;
				/* A tick of the host is an exit. */
				do {
					vm_set_msr(&vm, msr, holds);
					vm_call(&vm, l1_prepare, NULL);
					acc.value = kind == WRMSR ? holds + 2 : ~0ULL;
					vm_call(&vm, l1_access, NULL);
				} while (!taken && acc.exits != exits && ++tries < 5);
				title(rows[r].what, kinds[kind]);
				strcat(name, on == NONE ? ", no selector on" : on == ONE ? ", another selector on" : "");
				if (taken) {
					check(l1.exits == 2 && l1.reason[0] == reason, "%s: exit to L1, which takes it: %u, %llu", name,
					      l1.exits, (unsigned long long)l1.reason[0]);
					if (kind == WRMSR)
						check_equal("the register", vm_get_msr(&vm, msr), holds, "L2's write has not been made");
					continue;
				}
				check_equal(name, acc.exits, exits, exits ? "L0 intercepts it" : "nobody intercepts it");
				check_equal("exits to L1", l1.exits, 1, "the call at the end");
				if (kind != WRMSR)
					check_equal("what L2 has read", acc.value, holds, "what was there");
				else if (msr != MSR_GLOBAL_OVF_CTRL && msr != MSR_AMD_STATUS_CLEAR)
					check_equal("the register", vm_get_msr(&vm, msr), holds + 2, "what L2 has written");
			}
	for (r = 0; r < ARRAY_SIZE(rows); r++)
		if (vm_seen.amd ? rows[r].amd && (!is_global(rows[r].amd) || has_control) : rows[r].intel)
			vm_set_msr(&vm, vm_seen.amd ? rows[r].amd : rows[r].intel, 0);
}

static void accesses(void)
{
	accesses_of(NONE);
	accesses_of(ONE);
	accesses_of(ALL);
	selectors_on(NONE);
}

/* ---- the global control, written by L2 */

static struct {
	uint64_t truth[2], value[3], control[2];
	uint32_t counter, global;
	bool by_l2[2];
} toggle;

/* From the reading to the WRMSR there are five instructions, for both. */
static void __attribute__((noinline)) toggle_to(uint64_t value)
{
	uint64_t truth;

	asm volatile("mov vm_ask, %%rax\n\tmov $2, %%ecx\n\t" MARK_INSN "\n\tmov %%rax, %0\n\t"
		     "mov %1, %%ecx\n\tmov %2, %%eax\n\txor %%edx, %%edx\n\twrmsr"
		     : "=m" (truth) : "m" (toggle.global), "m" (value) : "rax", "rcx", "rdx", "memory");
	toggle.truth[!value] = truth;
}

static void l2_toggle(void)
{
	if (toggle.by_l2[0])
		toggle_to(1);
	asm volatile(".rept 50\n\tnop\n\t.endr");
	if (toggle.by_l2[1])
		toggle_to(0);
}

static void l1_toggle(void *unused)
{
	uint32_t selector = vm_seen.amd ? MSR_AMD_CTL0 : MSR_EVNTSEL0;

	(void)unused;
	nested_regs[NESTED_RDI] = (uint64_t)l2_toggle;
	wrmsr(toggle.global, 0);
	wrmsr(toggle.counter, 0);
	wrmsr(selector, 0x4200c0);
	if (!toggle.by_l2[0])
		toggle_to(1);
	l1_hypervisor();
	toggle.control[0] = rdmsr(toggle.global);
	toggle.value[0] = rdmsr(toggle.counter);
	if (!toggle.by_l2[1])
		toggle_to(0);
	toggle.control[1] = rdmsr(toggle.global);
	toggle.value[1] = rdmsr(toggle.counter);
	asm volatile(".rept 50\n\tnop\n\t.endr");
	toggle.value[2] = rdmsr(toggle.counter);
	wrmsr(selector, 0);
}

static void global(void)
{
	static const char *const what[] = { "by L1", "by L2" };
	unsigned int on, off;

	for (on = 0; on <= 1; on++)
		for (off = 0; off <= 1; off++) {
			uint64_t want;

			if (!on && !off)
				continue;
			defaults();
			memset(&toggle, 0, sizeof(toggle));
			toggle.global = vm_seen.amd ? MSR_AMD_CONTROL : MSR_GLOBAL_CTRL;
			toggle.counter = vm_seen.amd ? MSR_AMD_CTR0 : MSR_PMC0;
			toggle.by_l2[0] = on;
			toggle.by_l2[1] = off;
			vm_call(&vm, l1_prepare, NULL);
			vm_call(&vm, l1_toggle, NULL);
			vm_call(&vm, l1_prepare, NULL);
			vm_call(&vm, l1_toggle, NULL);
			want = toggle.truth[1] - toggle.truth[0];
			/*
			 * And what is emulated meanwhile: the first WRMSR; VMRUN, and what comes before; behind the exit that, and
			 * RDMSRs of the control and of the counter.
			 */
			want += L1_PMU_MSR;
			if (!on)
				want += l1.before + (vm_seen.amd ? 1 : 0);
			if (!off)
				want += l1.after + L1_PMU_MSR + (vm_seen.mediated ? 0 : 1);
			snprintf(name, sizeof(name), "enabled %s, disabled %s%s", what[on], what[off],
				 beside ? ", beside the host's event" : "");
			check_equal(name, toggle.value[1], want, "from one WRMSR to the other");
			check_equal("the control in L1 behind the exit", toggle.control[0], !off, "as L2 has left it");
			check_equal("and when it is disabled", toggle.control[1], 0, "by whoever does it");
			check_equal("the counter stands", toggle.value[2], toggle.value[1], "it is disabled");
			if (off)
				check_equal("behind the exit already", toggle.value[0], toggle.value[1], "L2 has disabled it");
		}
}

/* ---- overflows */

static void overflow_row(const char *what, unsigned int to, bool taken, bool vector)
{
	unsigned int tries = 0;
	uint64_t in_front, entry = vm_seen.amd ? 2 : 1;		/* AMD: the entry; the call */

	defaults();
	vm_seen.fixed_vector = vector;
	l1.takes_nmi = taken && !vector;
	l1.takes_interrupts = taken && vector;
	vm_body(&l2, "nop*30");
	counter(VM_INSNS, VM_KERNEL, 0, 1);
	do {
		s.counter[0].start = 0;
		stretch();
		in_front = all_of_it(0) - insns_of_l2(&s.counter[0]) - insns_behind(0);
		s.counter[0].start = -(in_front + to);
		vm_stretch(&vm, &s);
		must(++tries < VM_TRIES, "two stretches are alike");
		/* A tick of the host moves it. */
	} while (vm_seen.amd && (taken ? l1.exits != 2 || l1.rip[0] != (uint64_t)l2.code + to - entry :
				 vm_seen.pmis != 1 || vm_seen.pmi[0].rip != (uint64_t)l2.code + to - entry) && tries < 5);
	title(what, vector ? "vector" : "NMI");
	check_equal(name, l1.pmis + vm_seen.pmis, 1, "one PMI");
	check_equal("exits to L1", l1.exits, taken ? 2 : 1, "its own and the call");
	check_equal("the count", vm_signed(s.counter[0].value), vm_signed(s.counter[0].start + all_of_it(0)), "nothing is lost by it");
	if (taken) {
		check_equal("why", l1.reason[0], vm_seen.amd ? (vector ? SVM_INTR : SVM_NMI) : vector ? VMX_INTERRUPT : VMX_EXCEPTION_NMI,
			    "the PMI");
		check_equal("where", l1.rip[0] - (uint64_t)l2.code, to - entry, "right behind the instruction");
		if (!vm_seen.amd && !vector) {
			check_equal("as", l1.info[0], 0x80000202, "NMI");
			check_equal("status", l1.status, 1, "the counter's");
			check_equal("L1's LVTPC", l1.lvtpc, LVT_NMI | LVT_MASKED, "masked by the delivery");
		}
	} else if (vm_seen.pmis) {
		check_equal("where", vm_seen.pmi[0].rip - (uint64_t)l2.code, to - entry, "right behind the instruction");
		if (!vm_seen.amd)
			check_equal("status", vm_seen.pmi[0].status, 1, "the counter's");
	}
}

/* Each event on the way from L1 through L2 and back is once the last. */
static void everywhere(const char *what, const char *code, enum vm_event event, bool taken, bool vector, uint64_t bits)
{
	unsigned int to, first, last, bad = 0, tries;
	uint64_t pmis = 0;

	defaults();
	vm_seen.fixed_vector = vector;
	l1.takes_nmi = taken && !vector;
	l1.takes_interrupts = taken && vector;
	vm_body(&l2, code);
	counter(event, VM_BOTH, 0, 1);
	on_bits[0] = bits;
	/* A tick of the host adds an entry on AMD. */
	for (to = 0, last = ~0U; to < 3; to++) {
		stretch();
		last = s.counter[0].value < last ? s.counter[0].value : last;
	}
	/* A PMI behind the reading of the last end, and on AMD within the first, is none of what its handler executes is known. */
	first = !vm_seen.amd || bits == GUEST_ONLY ? 1 : event == VM_INSNS ? 14 : 3;
	last -= event == VM_INSNS && bits != GUEST_ONLY ? VM_SWITCH_INSNS(0) + 8 : 0;
	must(last >= first + 10, "there is something to count");
	s.interrupted = !vm_seen.amd;
	for (to = first; to <= last; to++) {
		uint64_t want;

		s.counter[0].start = -(uint64_t)to;
		tries = 0;
		do {
			vm_stretch(&vm, &s);
		} while (bits && l1.exits == 1 && !vm_seen.pmis && !undisturbed() && ++tries < VM_TRIES);
		want = s.counter[0].start + all_of_it(0);
		pmis += vm_seen.pmis + l1.pmis;
		/* With bits, the parts are not known when there is a PMI in between. */
		if (vm_seen.pmis + l1.pmis != 1 || (!bits && ((s.counter[0].value ^ want) & VM_MASK))) {
			if (!bad++)
				sayf("# the first: %u events before its end: %u PMIs in the handlers, %u as exits; %lld, not %lld", to,
				     vm_seen.pmis, l1.pmis, vm_signed(s.counter[0].value), vm_signed(want));
		}
	}
	snprintf(name, sizeof(name), "%s, %s, %s%s, of %u: PMIs", what, event == VM_INSNS ? "instructions" : "branches",
		 vector ? "vector" : "NMI", beside ? ", beside the host's event" : "", last - first + 1);
	check_equal(name, pmis, last - first + 1, "one each");
	check_equal("those that were not right", bad, 0, "one PMI, nothing lost");
}

#define ANYWHERE	"nop*3 jmp rdmsr nop*2 rdpmc jmp wrmsr nop*3"

static void overflows(void)
{
	unsigned int taken, vector, event;

	for (taken = 0; taken <= 1; taken++)
		for (vector = 0; vector <= 1; vector++) {
			overflow_row(taken ? "L1 takes it" : "L2 gets it", 9, taken, vector);
			overflow_row(taken ? "the last nop, L1 takes it" : "the last nop, L2 gets it", vm_seen.amd ? 32 : 31, taken,
				     vector);
		}
	for (taken = 0; taken <= 1; taken++)
		for (vector = 0; vector <= 1; vector++)
			for (event = 0; event <= 1; event++)
				everywhere(taken ? "anywhere, L1 takes it" : "anywhere, L2 gets it", ANYWHERE, event, taken, vector,
					   0);
	if (vm_seen.amd) {
		everywhere("anywhere, host-only", ANYWHERE, VM_INSNS, false, false, HOST_ONLY);
		everywhere("anywhere, guest-only", ANYWHERE, VM_INSNS, false, false, GUEST_ONLY);
		everywhere("anywhere, guest-only, L1 takes it", ANYWHERE, VM_INSNS, true, false, GUEST_ONLY);
	}
}

/* ---- to another VM, out of L2 */

static struct {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;
	union {
		struct kvm_nested_state nested;
		uint8_t room[16384];
	};
	uint64_t value[32];
} saved;

/* In the order in which they are given back: nothing counts before all is there. */
static const uint32_t intel_msrs[] = {
	MSR_FIXED_CTR0, MSR_PERFCTR0, MSR_PERFCTR0 + 1, MSR_PERFCTR0 + 2, MSR_PERFCTR0 + 3, MSR_EVNTSEL0, MSR_EVNTSEL0 + 1,
	MSR_EVNTSEL0 + 2, MSR_EVNTSEL0 + 3, MSR_GLOBAL_STATUS, MSR_FIXED_CTR_CTRL, MSR_GLOBAL_CTRL,
}, amd_msrs[] = {
	MSR_HSAVE, MSR_AMD_CTR0, MSR_AMD_CTR0 + 2, MSR_AMD_CTR0 + 4, MSR_AMD_CTR0 + 6, MSR_AMD_CTL0, MSR_AMD_CTL0 + 2,
	MSR_AMD_CTL0 + 4, MSR_AMD_CTL0 + 6,
	/* if there are any */
	MSR_AMD_STATUS, MSR_AMD_CONTROL,
};

static unsigned int moved;

static void move(struct vm *unused)
{
	const uint32_t *msr = vm_seen.amd ? amd_msrs : intel_msrs;
	unsigned int i, n = vm_seen.amd ? ARRAY_SIZE(amd_msrs) : ARRAY_SIZE(intel_msrs);
	struct vm next = { .hook = vm.hook, .before = vm.before };

	(void)unused;
	vm.run->immediate_exit = 1;
	must(ioctl(vm.vcpu, KVM_RUN, 0) < 0 && errno == EINTR, "KVM completes an instruction and comes back");
	memset(saved.room, 0, sizeof(saved.room));
	saved.nested.size = sizeof(saved.room);
	must(!ioctl(vm.vcpu, KVM_GET_NESTED_STATE, &saved.nested), "the state of L1's SVM or VMX");
	must(saved.nested.flags & KVM_STATE_NESTED_GUEST_MODE, "the vCPU is in L2");
	must(!ioctl(vm.vcpu, KVM_GET_MP_STATE, &saved.mp), "state");
	must(!ioctl(vm.vcpu, KVM_GET_REGS, &saved.regs), "registers");
	must(!ioctl(vm.vcpu, KVM_GET_SREGS, &saved.sregs), "registers");
	n -= vm_seen.amd && !has_control ? 2 : 0;
	for (i = 0; i < n; i++)
		saved.value[i] = vm_get_msr(&vm, msr[i]);
	must(!ioctl(vm.vcpu, KVM_GET_LAPIC, &saved.lapic), "local APIC");
	must(!ioctl(vm.vcpu, KVM_GET_VCPU_EVENTS, &saved.events), "events");
	vm_close(&vm);

	vm_open(&vm);
	vm.hook = next.hook;
	vm.before = next.before;
	if (!vm_seen.amd)
		vm_set_msr(&vm, MSR_FEATURE_CONTROL, 5);
	must(!ioctl(vm.vcpu, KVM_SET_SREGS, &saved.sregs), "registers");
	must(!ioctl(vm.vcpu, KVM_SET_NESTED_STATE, &saved.nested), "the state of L1's SVM or VMX");
	must(!ioctl(vm.vcpu, KVM_SET_REGS, &saved.regs), "registers");
	for (i = 0; i < n; i++)
		vm_set_msr(&vm, msr[i], saved.value[i]);
	must(!ioctl(vm.vcpu, KVM_SET_LAPIC, &saved.lapic), "local APIC");
	must(!ioctl(vm.vcpu, KVM_SET_VCPU_EVENTS, &saved.events), "events");
	must(!ioctl(vm.vcpu, KVM_SET_MP_STATE, &saved.mp), "state");
	moved++;
}

static void moving(void)
{
	static const uint64_t bits[] = { 0, GUEST_ONLY, HOST_ONLY, GUEST_ONLY | HOST_ONLY };
	unsigned int i, loads, extra, exits = 2;

	for (loads = 0; loads <= !vm_seen.amd; loads++) {
		defaults();
		vm_body(&l2, "nop*9 jmp hook nop*5 rdmsr jmp hook rdpmc nop*5");
		if (loads) {
			/* In L2 the control is what VM-entry has loaded, and VM-exit is still to load another. */
			l1.load_entry = 1;
			l1.load_exit = 0;
		}
		counter(VM_INSNS, VM_KERNEL, 0, 0);
		counter(vm_seen.amd ? VM_INSNS : VM_BRANCHES, VM_KERNEL, 0, 0);
		counter(VM_INSNS, vm_seen.amd ? VM_KERNEL : VM_USER, 0, 0);
		counter(VM_INSNS, VM_KERNEL, 0, 0);
		for (i = 0; i < s.n && vm_seen.amd; i++)
			on_bits[i] = bits[i];
		off_before = loads;
		moved = 0;
		vm.hook = move;
		vm_stretch(&vm, &s);
		vm.hook = NULL;
		check(moved >= 2, "%s: twice", title("moved", loads ? "a control of L2's own" : ""));
		check_equal("exits to L1", l1.exits, 1, "the call");
		if (loads) {
			check_equal("the count", s.counter[0].value, insns_of_l2(&s.counter[0]), "L2 alone");
			check_equal("another counter", s.counter[3].value, 0, "it was not enabled");
			check_equal("the global control in L1", l1.control, 0, "as VM-exit has loaded it");
			continue;
		}
		for (i = 0; i < s.n; i++) {
			if (vm_seen.amd && (bits[i] == GUEST_ONLY || bits[i] == HOST_ONLY))
				continue;
			check_equal("the count", s.counter[i].value, all_of_it(i), "the machine's count of L1 and L2, and KVM's");
		}
		if (!vm_seen.amd)
			continue;
		/* A new VM's pages come in by exits that the code does not make: entries of L2, or of L1 in front of its reading. */
		for (i = 0; i < l2.insns; i++)
			exits += l2.insn[i].emulated;
		extra = nested_exits[1] - nested_exits[0] - exits;
		check_equal("the two modes", s.counter[1].value + s.counter[2].value, all_of_it(1), "both are all there is");
		check_between("guest-only", s.counter[1].value, insns_of_l2(&s.counter[1]) - extra, insns_of_l2(&s.counter[1]),
			      "L2, with each entry");
	}
}

static void all(void)
{
	accesses();
	if (has_control)
		global();
	counting();
	if (!vm_seen.amd) {
		control();
	} else {
		modes();
		svme_off();
	}
	moving();
	overflows();
}

static void set_model(struct kvm_cpuid_entry2 *e)
{
	if (e->function == 0x80000022)
		e->eax |= 1;		/* PerfMonV2: a global control on AMD too */
}

static bool control_is_there(void)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msr = { .head.nmsrs = 1, .entry.index = MSR_AMD_CONTROL };

	return !vm_seen.amd || ioctl(vm.vcpu, KVM_GET_MSRS, &msr) == 1;
}

int main(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_guest = 1,
	};
	int fd;

	must(mark_present(), "this is our machine");
	if (on_amd())
		vm_model = set_model;
	vm_open(&vm);
	has_control = control_is_there();
	if (!vm_seen.amd)
		vm_set_msr(&vm, MSR_FEATURE_CONTROL, 5);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, l1_on, NULL);
	/* KVM has page tables of their own for L1 and L2. */
	defaults();
	vm_call(&vm, l1_prepare, NULL);
	vm_call(&vm, l1_once, vm_guest_prepare);
	vm.before = before;
	vm_clear(&body);
	vm_emit(&body, "68%08x c3>", VM_WORD(l1_hypervisor));
	s.body = &body;
	all();
	fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	must(fd >= 0, "an event of the host");
	beside = true;
	all();
	close(fd);
	vm_close(&vm);
	return check_done();
}
