/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtual machine of a test's own, for what KVM's PMU does with instructions that it emulates.
 *
 * The guest has the memory of this very program, at the same addresses: a function of the test can run in the guest, and
 * both see the same variables.  Only it must do without the C library.
 *
 * A stretch is measured three times: by the guest's counters, by the machine, and by knowing its code.  The machine does
 * not see what KVM emulates, for an instruction that exits does not retire; so a counter must be, to the last one,
 *
 *	where it started + what the machine has counted + what was emulated.
 *
 * The code of a stretch is written as letters (vm_ops below), so that it is known which of its instructions KVM emulates.
 * With a mediated vPMU that is less: accesses to counters, and on Intel to the global registers, are the guest's own.
 */
#ifndef VM_H
#define VM_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "env.h"

#define VM_PAGE		4096
#define VM_HOLE		0x30000000	/* no memory there */
#define VM_PMI		0x40		/* vectors */
#define VM_IRQ		0x41
#define VM_LEAVE	0x80
#define VM_DONE		0xe0		/* ports that end KVM_RUN */
#define VM_FAULT	0xe1
#define VM_NOTHING	0xe2
#define VM_HOOK		0xe3
#define VM_LIMIT	20		/* seconds that the guest may run without a word */

#define VM_TRIES	30		/* that a tick of the host may spoil */

#define VM_WIDTH	48
#define VM_MASK		((1ULL << VM_WIDTH) - 1)

enum {
	MSR_PERF_CAPABILITIES	= 0x345,
	MSR_PERFCTR0		= 0xc1,
	MSR_EVNTSEL0		= 0x186,
	MSR_FIXED_CTR0		= 0x309,
	MSR_PERF_METRICS	= 0x329,
	MSR_FIXED_CTR_CTRL	= 0x38d,
	MSR_GLOBAL_STATUS	= 0x38e,
	MSR_GLOBAL_CTRL		= 0x38f,
	MSR_GLOBAL_OVF_CTRL	= 0x390,
	MSR_PMC0		= 0x4c1,
	MSR_X2APIC_EOI		= 0x80b,
	MSR_X2APIC_SVR		= 0x80f,
	MSR_X2APIC_ICR		= 0x830,
	MSR_X2APIC_LVTT		= 0x832,
	MSR_X2APIC_LVTPC	= 0x834,
	MSR_AMD_CTL0		= 0xc0010200,
	MSR_AMD_CTR0		= 0xc0010201,
	MSR_AMD_STATUS		= 0xc0000300,
	MSR_AMD_CONTROL		= 0xc0000301,
	MSR_AMD_STATUS_CLEAR	= 0xc0000302,
	MSR_AMD_STATUS_SET	= 0xc0000303,
};

#define METRICS_INDEX	0x20000000	/* of RDPMC */
#define METRICS_BIT	(1ULL << 48)	/* in global control and status */

#define LVT_NMI		0x400
#define SVM_EXIT_INTR	0x60	/* no reason for an exit that VMX knows */

enum { KCODE = 0x08, KDATA = 0x10, UDATA = 0x1b, UCODE = 0x23, TSS = 0x28 };

/* How many fixed counters has this CPU, and are offered?  The fourth one is for mediated vPMUs. */
static inline unsigned int vm_fixed(void)
{
	unsigned int most = on_mediated() ? 4 : 3;
	uint32_t r[4];

	host_cpuid(0xa, r);
	return on_amd() ? 0 : (r[3] & 0x1f) < most ? r[3] & 0x1f : most;
}

/* How many general counters has this CPU, for guests that are given all? */
static inline unsigned int vm_general(void)
{
	uint32_t r[4];

	host_cpuid(0xa, r);
	return on_amd() ? 6 : r[0] >> 8 & 0xff;
}

/*
 * So many general counters, fewer than there are, is what guests of this test get; 0: all.  Then RDPMC exits, and so do
 * accesses of the global registers.
 */
static inline unsigned int vm_fewer(void)
{
	const char *counters = getenv("VM_FEWER");
	unsigned int n = counters ? atoi(counters) : 0;

	return n < vm_general() ? n : 0;
}

/* Are there counters that a guest must not read behind those of the core: AMD's of the northbridge and of the last level cache? */
static inline bool vm_others_behind(void)
{
	uint32_t r[4];

	host_cpuid(0x80000001, r);
	return on_amd() && (r[2] & (1 << 24 | 1 << 28));
}

/* ---- in the guest */

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	asm volatile("rdmsr" : "=a" (lo), "=d" (hi) : "c" (msr) : "memory");
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	asm volatile("wrmsr" : : "c" (msr), "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32)) : "memory");
}

static inline uint64_t rdpmc(uint32_t index)
{
	uint32_t lo, hi;

	asm volatile("rdpmc" : "=a" (lo), "=d" (hi) : "c" (index) : "memory");
	return (uint64_t)hi << 32 | lo;
}

/* What the machine has counted, in the order in which vm_switch reads it. */
enum { EXITS, INSNS_KERNEL, INSNS_USER, BRANCHES_KERNEL, BRANCHES_USER, EXITS_AFTER, TRUTHS };

#define VM_MSRS		8

struct vm_switch {
	uint64_t n;
	struct {
		uint64_t msr, value;
	} write[VM_MSRS];
};

/* A stretch as vm_stretch_asm sees it; in one page. */
struct vm_frame {
	uint64_t truth[2][TRUTHS];
	void *body;
	struct vm_switch on, off;
} __attribute__((aligned(512)));

/* A PMI: the machine's counts when its handler began, then what the guest's registers were. */
struct vm_pmi {
	uint64_t interrupts, branches_user, branches_kernel, insns_user, insns_kernel;
	uint64_t registers[9];
	uint64_t rip, cs, flags, rsp, ss;
	uint64_t status;
};

/* A place in the code of a stretch at which the machine's counts are kept, and the value that was read there. */
struct vm_point {
	uint64_t branches_user, branches_kernel, insns_user, insns_kernel;
	uint64_t value;
};

#define VM_PMIS		16
#define VM_POINTS	16

/* Shared by both sides. */
static struct {
	struct vm_pmi pmi[VM_PMIS];
	struct vm_point point[VM_POINTS];
	unsigned int pmis, irqs;
	bool amd, fixed_vector;
	bool mediated;		/* KVM gives the guest the PMU itself */
	bool rdpmc;		/* and there are no other counters, so that RDPMC is its own */
	bool metrics;		/* PERF_METRICS are offered to it */
	bool eoi;		/* the end of an interrupt is its own */
	bool global;		/* Intel: its global registers are its own, too */
	unsigned int general;	/* counters that it has */
	unsigned int fewer;	/* if these are not all of the CPU's */
	unsigned int fixed;	/* and that it offers */
} vm_seen;

static struct {
	uint64_t vector, error, rip, cs, flags, rsp, ss;
} *volatile __attribute__((used)) vm_fault;

static uint64_t vm_tables[3][512] __attribute__((aligned(VM_PAGE)));
static uint64_t vm_gdt[8] __attribute__((aligned(16)));
static struct {
	uint64_t low, high;
} vm_idt[256] __attribute__((aligned(16)));
static uint32_t vm_tss[26] __attribute__((aligned(128)));
static uint8_t vm_stack[5][16384] __attribute__((aligned(VM_PAGE)));
#define VM_TOP(stack)	((uint64_t)(vm_stack[stack] + sizeof(vm_stack[stack])))

/* Used by name, in assembly. */
static uint64_t __attribute__((used)) vm_kernel_rsp;
static const uint64_t __attribute__((used)) vm_ask = MARK_MAGIC | MARK_OP_READ;
static const struct {
	uint32_t offset;
	uint16_t selector;
} vm_ss __attribute__((used)) = { 0, KDATA };
extern char vm_entry[], vm_vectors[], vm_pmi_entry[], vm_irq_entry[], vm_to_kernel[], vm_switched[];
extern void vm_stretch_asm(struct vm_frame *frame);

/* What the PMI's entry executes before it reads the machine's count of instructions in the kernel. */
#define VM_PMI_INSNS	11
/* What of its handler KVM emulates: status read and cleared, if not by the guest, LVTPC written; end of interrupt. */
#define VM_PMI_EMULATED	((vm_seen.amd ? 0 : vm_seen.global ? 1 : 3) + (vm_seen.fixed_vector && !vm_seen.eoi ? 1 : 0))

static void __attribute__((used)) vm_pmi_handler(const struct vm_pmi *now)
{
	struct vm_pmi *pmi = &vm_seen.pmi[vm_seen.pmis < VM_PMIS ? vm_seen.pmis : VM_PMIS - 1];

	vm_seen.pmis++;
	*pmi = *now;
	pmi->status = 0;
	if (!vm_seen.amd) {
		pmi->status = rdmsr(MSR_GLOBAL_STATUS);
		wrmsr(MSR_GLOBAL_OVF_CTRL, pmi->status);
		/* It was masked by the interrupt. */
		wrmsr(MSR_X2APIC_LVTPC, vm_seen.fixed_vector ? VM_PMI : LVT_NMI);
	}
	if (vm_seen.fixed_vector)
		wrmsr(MSR_X2APIC_EOI, 0);
}

static void __attribute__((used)) vm_irq_handler(void)
{
	vm_seen.irqs++;
	wrmsr(MSR_X2APIC_EOI, 0);
}

#define VM_ASM_READ(index)							\
	"mov vm_ask, %rax\n\t"							\
	"mov $" #index ", %ecx\n\t"						\
	MARK_INSN "\n\t"							\
	"mov %rax, (%rbp)\n\t"							\
	"add $8, %rbp\n\t"

#define VM_ASM_SAVE								\
	"push %rax\n\tpush %rcx\n\tpush %rdx\n\tpush %rsi\n\tpush %rdi\n\t"	\
	"push %r8\n\tpush %r9\n\tpush %r10\n\tpush %r11\n\t"
#define VM_ASM_RESTORE								\
	"pop %r11\n\tpop %r10\n\tpop %r9\n\tpop %r8\n\t"				\
	"pop %rdi\n\tpop %rsi\n\tpop %rdx\n\tpop %rcx\n\tpop %rax\n\t"
#define VM_ASM_PUSH(index)							\
	"mov vm_ask, %rax\n\t"							\
	"mov $" #index ", %ecx\n\t"						\
	MARK_INSN "\n\t"							\
	"push %rax\n\t"

/*
 * vm_switch reads the machine's counts and then writes MSRs, to enable counters or to disable them.  Being the same code
 * for both, its ends cancel: what the machine sees and a counter does not before it is enabled, is what the counter sees
 * and the machine does not before it is disabled.  That holds for instructions, branches, and AMD's VMRUNs (which count in
 * the guest), and for each counter of several.  Not plain are the WRMSRs, which KVM emulates: of n, counter number i sees
 * its own and those behind it enabling, and those before it disabling, always n.
 */
asm(	".pushsection .text\n"
	/* All pages that it needs are touched first: a fault is an exit. */
	".balign 512\n"
	"vm_switch:\n\t"
	"mov vm_ask, %rax\n\t"
	"orq $0, (%rbp)\n\t"
	VM_ASM_READ(8) VM_ASM_READ(2) VM_ASM_READ(3) VM_ASM_READ(6) VM_ASM_READ(7)
	"mov (%rsi), %rbx\n"
	"1: mov 8(%rsi), %ecx\n\t"
	"mov 16(%rsi), %eax\n\t"
	"mov 20(%rsi), %edx\n\t"
	"wrmsr\n"
	"vm_switched: add $16, %rsi\n\t"
	"dec %rbx\n\t"
	"jnz 1b\n\t"
	VM_ASM_READ(8)
	"ret\n"

	"vm_stretch_asm:\n\t"
	"push %rbx\n\tpush %rbp\n\tpush %r12\n\tpush %r13\n\tpush %r14\n\tpush %r15\n\t"
	"mov %rdi, %r15\n\t"
	"mov %r15, %rbp\n\t"
	"lea 104(%r15), %rsi\n\t"
	"call vm_switch\n\t"
	"call *96(%r15)\n\t"
	"lea 48(%r15), %rbp\n\t"
	"lea 240(%r15), %rsi\n\t"
	"call vm_switch\n\t"
	"pop %r15\n\tpop %r14\n\tpop %r13\n\tpop %r12\n\tpop %rbp\n\tpop %rbx\n\t"
	"ret\n"

	/* A call from the host: RDI is the function, RSI its argument. */
	"vm_entry:\n\t"
	"mov %rdi, %rax\n\t"
	"mov %rsi, %rdi\n\t"
	"call *%rax\n\t"
	"out %al, $0xe0\n\t"
	"ud2\n"

	"vm_pmi_entry:\n\t"
	VM_ASM_SAVE
	VM_ASM_PUSH(2) VM_ASM_PUSH(3) VM_ASM_PUSH(6) VM_ASM_PUSH(7) VM_ASM_PUSH(0x160)
	"mov %rsp, %rdi\n\t"
	"call vm_pmi_handler\n\t"
	"add $40, %rsp\n\t"
	VM_ASM_RESTORE
	"iretq\n"

	"vm_irq_entry:\n\t"
	VM_ASM_SAVE
	"call vm_irq_handler\n\t"
	VM_ASM_RESTORE
	"iretq\n"

	/* The end of a piece of user code: on behind the INT, in the kernel. */
	"vm_to_kernel:\n\t"
	"pop %rcx\n\t"
	"mov vm_kernel_rsp, %rsp\n\t"
	"jmp *%rcx\n"

	/* Everything else is not expected. */
	".balign 16\n"
	"vm_vectors:\n\t"
	".set vector, 0\n\t"
	".rept 32\n\t"
	".balign 16\n\t"
	".if !((vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21))\n\t"
	"push $0\n\t"
	".endif\n\t"
	"push $vector\n\t"
	"jmp vm_unexpected\n\t"
	".set vector, vector + 1\n\t"
	".endr\n"
	"vm_unexpected:\n\t"
	"mov %rsp, vm_fault\n\t"
	"out %al, $0xe1\n\t"
	"ud2\n"
	".popsection\n");

_Static_assert(offsetof(struct vm_frame, truth[1]) == 48 && offsetof(struct vm_frame, body) == 96 &&
	       offsetof(struct vm_frame, on) == 104 && offsetof(struct vm_frame, off) == 240, "vm_stretch_asm knows struct vm_frame");

/* What vm_switch executes from its reading of the kernel's instructions to the WRMSR of counter number i. */
#define VM_SWITCH_INSNS(i)	(3 + 3 * 5 + 1 + 3 + 6 * (i))

/* ---- the code of a stretch */

/*
 * Instructions in hexadecimal, with '>' behind a branch, '*' behind what KVM emulates, '^' behind a branch that KVM
 * emulates.  They may use RAX to RDX only.
 */
static const struct vm_op {
	char letter;
	bool user;		/* also in user mode */
	const char *what, *code;
} vm_ops[] = {
	{ 'n', 1, "nop", "90" },
	{ 'j', 1, "jmp", "eb00>" },
	{ 'c', 1, "CPUID", "31c0 0fa2*" },
	{ 'r', 0, "RDMSR of the APIC's base", "b91b000000 0f32*" },
	{ 'w', 0, "WRMSR of the microcode's revision", "b98b000000 31c0 31d2 0f30*" },
	{ 'p', 1, "RDPMC", "31c9 0f33*" },
	{ 'o', 1, "OUT to KVM's own PIC", "b0ff e621*" },
	{ 'i', 1, "IN from KVM's own PIC", "e421*" },
	{ 'O', 1, "OUT to this program", "e6e2*" },
	{ 'I', 1, "IN from this program", "e4e2*" },
	{ 'W', 1, "a write where no memory is", "89042500000030*" },
	{ 'M', 1, "a read where no memory is", "8b042500000030*" },
	{ 'f', 1, "nop, emulated by force", "0f0b6b766d90*" },
	{ 'F', 1, "jmp, emulated by force", "0f0b6b766deb00^" },
	{ 'L', 1, "ENTER and LEAVE, emulated by force", "0f0b6b766dc8000000* 0f0b6b766dc9*" },
	{ 'v', 1, "hypercall", NULL },
	{ 'b', 0, "WBINVD", "0f09*" },
	{ 'x', 0, "an interrupt for nobody", "b930080000 b841000000 ba05000000 0f30*" },
	{ 't', 0, "WRMSR of the timer's deadline", "b9e0060000 b8ffffffff baffffff7f 0f30*" },
	{ 'y', 1, "an SMI, three instructions later", "48b80600554d504d564b b903000000 6687db" },
	{ 'h', 0, "an interrupt for itself, and HLT", "b930080000 b841000000 31d2 0f30* fb f4* fa" },
};

/* Letters with a life of their own. */
#define VM_TO_USER		'U'	/* on in user mode */
#define VM_TO_KERNEL_AGAIN	'K'
#define VM_OP_HOOK		'H'	/* OUT, and the test's hook is called */
#define VM_OP_HOOK_MEMORY	'N'	/* a write to memory that is not there, and the test's hook is called */
#define VM_OP_SET		'S'	/* WRMSR of the next of the body's set[] */
#define VM_OP_GET		'G'	/* RDMSR of the body's get */
#define VM_OP_STATUS		'Z'	/* RDMSR of the status */
#define VM_OP_INVALID		'E'	/* OUT; the hook makes the state invalid, from here on KVM emulates all */
#define VM_OP_VALID		'e'	/* the end of that */
#define VM_OP_LOOP		'l'	/* twice the next of the body's loop[] instructions, and one */
#define VM_OP_CPUIDS		'k'	/* as many CPUIDs as the next of the body's loop[]; no PMI in between */

#define VM_CODE		4096

struct vm_insn {
	uint64_t next;		/* the address behind it */
	bool user, branch, emulated;
	uint32_t times;		/* that it is executed */
};

struct vm_body {
	unsigned int length, insns, points;
	bool user, emulating;
	struct {
		uint32_t msr;
		uint64_t value;
	} set[VM_POINTS];
	uint32_t get;
	unsigned int sets;
	uint32_t loop[VM_POINTS];
	unsigned int loops;
	/* The address behind a point's emulated instruction, and what is executed from the point's reading to it. */
	struct {
		char letter;
		uint64_t next, set;
		unsigned int insns;
		unsigned int truth;		/* the point that has the machine's count: where all is emulated, the one before it */
	} point[VM_POINTS];
	struct vm_insn insn[VM_CODE];
	uint8_t code[8 * VM_CODE];
};

static inline void __attribute__((format(printf, 2, 3))) vm_emit(struct vm_body *body, const char *format, ...)
{
	char hex[256], *s = hex;
	va_list ap;

	va_start(ap, format);
	vsnprintf(hex, sizeof(hex), format, ap);
	va_end(ap);
	while (*s) {
		struct vm_insn *insn = &body->insn[body->insns++];
		unsigned int byte;

		must(body->insns < VM_CODE && body->length < sizeof(body->code) - 16, "the stretch has room");
		for (; sscanf(s, "%2x", &byte) == 1 && *s != ' '; s += 2)
			body->code[body->length++] = byte;
		insn->next = (uint64_t)&body->code[body->length];
		insn->user = body->user;
		insn->branch = *s == '>' || *s == '^';
		insn->emulated = *s == '*' || *s == '^' || body->emulating;
		insn->times = 1;
		while (*s && strchr("*^> ", *s))
			s++;
	}
}

/* A 32-bit number as it stands in code; the program is linked low. */
#define VM_WORD(n)	__builtin_bswap32((uint32_t)(uint64_t)(n))

/* On in user mode, with the right to do I/O.  IRETQ counts where it leads. */
static inline void vm_emit_user(struct vm_body *body)
{
	unsigned int next;

	vm_emit(body, "48892425%08x 6a%02x 68%08x 68%08x 6a%02x", VM_WORD(&vm_kernel_rsp), UDATA, VM_WORD(VM_TOP(4)),
		VM_WORD(vm_seen.fixed_vector ? 0x3202 : 0x3002), UCODE);
	next = body->length + 5 + 2;
	vm_emit(body, "68%08x", VM_WORD(&body->code[next]));
	body->user = true;
	vm_emit(body, "48cf>");
}

/* RAX and RCX are lost.  The reading itself and the store behind it are two instructions of those to the emulated one. */
static inline struct vm_point *vm_emit_point(struct vm_body *body, unsigned int insns)
{
	struct vm_point *point = &vm_seen.point[body->points];
	const struct {
		unsigned int index;
		uint64_t *to;
	} reading[] = {
		{ TRUTH_BRANCHES_GUEST_USER, &point->branches_user },
		{ TRUTH_BRANCHES_GUEST_KERNEL, &point->branches_kernel },
		{ TRUTH_INSNS_GUEST_USER, &point->insns_user },
		{ TRUTH_INSNS_GUEST_KERNEL, &point->insns_kernel },
	};
	unsigned int i;

	must(body->points < VM_POINTS && !body->user, "a point is in the kernel, and has room");
	body->point[body->points].insns = 2 + insns;
	body->point[body->points].truth = body->emulating ? body->point[body->points - 1].truth : body->points;
	for (i = 0; i < ARRAY_SIZE(reading); i++)
		vm_emit(body, "488b0425%08x b9%02x000000 6687db 48890425%08x", VM_WORD(&vm_ask), reading[i].index,
			VM_WORD(reading[i].to));
	return point;
}

/* What the guest executes itself with a mediated vPMU, and KVM emulates without. */
static inline const char *vm_by_kvm(uint32_t msr)
{
	bool counter = vm_seen.amd ? msr >= MSR_AMD_CTL0 && msr < MSR_AMD_CTL0 + 12 && (msr & 1) :
		       (msr >= MSR_PERFCTR0 && msr < MSR_PERFCTR0 + 8) || (msr >= MSR_PMC0 && msr < MSR_PMC0 + 8) ||
		       (msr >= MSR_FIXED_CTR0 && msr < MSR_FIXED_CTR0 + vm_seen.fixed);
	bool global = !vm_seen.amd && msr >= MSR_GLOBAL_STATUS && msr <= MSR_GLOBAL_OVF_CTRL;

	return (vm_seen.mediated && counter) || (vm_seen.global && global) ? "" : "*";
}

static inline void vm_end_point(struct vm_body *body, char letter)
{
	body->point[body->points].letter = letter;
	body->point[body->points++].next = (uint64_t)&body->code[body->length];
}

static inline void vm_emit_letter(struct vm_body *body, char letter)
{
	const struct vm_op *op = vm_ops;
	struct vm_point *point;

	switch (letter) {
	case VM_TO_USER:
		vm_emit_user(body);
		return;
	case VM_TO_KERNEL_AGAIN:
		body->user = false;
		vm_emit(body, "cd80>");
		return;
	case VM_OP_HOOK:
	case VM_OP_INVALID:
		vm_emit_point(body, 0);
		vm_emit(body, "e6%02x*", VM_HOOK);
		vm_end_point(body, letter);
		body->emulating = letter == VM_OP_INVALID;
		return;
	case VM_OP_VALID:
		/* LSS: MOV to SS would hold off a PMI that KVM has prepared, and VMX refuses to enter with both. */
		vm_emit(body, "0fb20425%08x", VM_WORD(&vm_ss));
		body->emulating = false;
		return;
	case VM_OP_HOOK_MEMORY:
		vm_emit_point(body, 0);
		vm_emit(body, "890425%08x*", VM_WORD(VM_HOLE + 8));
		vm_end_point(body, letter);
		return;
	case VM_OP_SET:
		vm_emit_point(body, 3);
		body->point[body->points].set = body->set[body->sets].value;
		vm_emit(body, "b9%08x b8%08x ba%08x 0f30%s", VM_WORD(body->set[body->sets].msr),
			VM_WORD(body->set[body->sets].value), VM_WORD(body->set[body->sets].value >> 32),
			vm_by_kvm(body->set[body->sets].msr));
		vm_end_point(body, letter);
		body->sets++;
		return;
	case VM_OP_GET:
	case VM_OP_STATUS:
		point = vm_emit_point(body, 1);
		vm_emit(body, "b9%08x 0f32%s", VM_WORD(letter == VM_OP_GET ? body->get : MSR_GLOBAL_STATUS),
			vm_by_kvm(letter == VM_OP_GET ? body->get : MSR_GLOBAL_STATUS));
		vm_end_point(body, letter);
		vm_emit(body, "890425%08x 891425%08x", VM_WORD(&point->value), VM_WORD((uint8_t *)&point->value + 4));
		return;
	case VM_OP_LOOP:
		vm_emit(body, "b9%08x ffc9 75fc>", VM_WORD(body->loop[body->loops++]));
		return;
	case VM_OP_CPUIDS:
		vm_emit(body, "41b8%08x 31c0 0fa2*", VM_WORD(body->loop[body->loops]));
		body->insn[body->insns - 1].times = body->loop[body->loops++];
		vm_emit(body, "41ffc8 75f7>");
		return;
	}
	while (op < vm_ops + ARRAY_SIZE(vm_ops) && op->letter != letter)
		op++;
	must(op < vm_ops + ARRAY_SIZE(vm_ops) && (op->user || !body->user), "each letter has a meaning");
	if (letter == 'p' && vm_seen.rdpmc) {
		vm_emit(body, "31c9 0f33");
		return;
	}
	vm_emit(body, "%s", op->code ?: vm_seen.amd ? "31c0 0f01d9*" : "31c0 0f01c1*");
}

/* Letters, blanks, and a number behind a letter or behind a group in parentheses: how often. */
static inline const char *vm_compile(struct vm_body *body, const char *s, bool emit)
{
	while (*s && *s != ')') {
		const char *begin = s++;
		unsigned long times = 1;

		if (*begin == ' ')
			continue;
		if (*begin == '(')
			s = vm_compile(body, s, false) + 1;
		if (*s >= '0' && *s <= '9')
			times = strtoul(s, (char **)&s, 10);
		while (emit && times--) {
			if (*begin == '(')
				vm_compile(body, begin + 1, true);
			else
				vm_emit_letter(body, *begin);
		}
	}
	return s;
}

static inline void vm_body(struct vm_body *body, const char *letters)
{
	body->length = body->insns = body->points = body->sets = body->loops = 0;
	body->user = body->emulating = false;
	vm_compile(body, letters, true);
	must(!body->user && !body->emulating, "a stretch ends in the kernel, on the processor");
	vm_emit(body, "c3>");
}

/* ---- counters */

enum vm_event { VM_INSNS, VM_BRANCHES };
enum vm_privilege { VM_USER = 1, VM_KERNEL = 2, VM_BOTH = 3 };

struct vm_counter {
	const char *name;
	bool fixed;
	unsigned int index;
	enum vm_event event;
	enum vm_privilege privilege;
	bool interrupt;
	uint64_t start, value;
};

static const char *const vm_privileges[] = { "", "user", "kernel", "user and kernel" };

static inline uint64_t vm_selector(const struct vm_counter *c)
{
	uint64_t event = c->event == VM_INSNS ? 0xc0 : vm_seen.amd ? 0xc2 : 0xc4;

	if (c->fixed)
		return (c->privilege & VM_KERNEL ? 1 : 0) | (c->privilege & VM_USER ? 2 : 0) | (c->interrupt ? 8 : 0);
	return event | (c->privilege & VM_USER ? 1 << 16 : 0) | (c->privilege & VM_KERNEL ? 1 << 17 : 0) |
	       (c->interrupt ? 1 << 20 : 0) | 1 << 22;
}

static inline uint32_t vm_counter_msr(const struct vm_counter *c)
{
	return vm_seen.amd ? MSR_AMD_CTR0 + 2 * c->index : c->fixed ? MSR_FIXED_CTR0 + c->index : MSR_PMC0 + c->index;
}

/* Its bit in the global control and status. */
static inline uint64_t vm_bit(const struct vm_counter *c)
{
	return 1ULL << (c->index + (c->fixed ? 32 : 0));
}

#define VM_COUNTERS	6

struct vm_stretch {
	struct vm_body *body;
	unsigned int n;
	struct vm_counter counter[VM_COUNTERS];
	uint64_t late;			/* so much later than the end of a counter it may come */
	bool interrupted;		/* its ends may be */
	struct vm_frame frame;
	uint64_t status;
	unsigned int irqs;		/* taken in the stretch */
	uint64_t interrupts;		/* exits because of the host's, before */
};

/* In the guest: counters to their start, the stretch, counters read. */
static inline void vm_guest_stretch(void *argument)
{
	struct vm_stretch *s = argument;
	unsigned int i;

	vm_seen.pmis = vm_seen.irqs = 0;
	wrmsr(MSR_X2APIC_LVTPC, vm_seen.fixed_vector ? VM_PMI : LVT_NMI);
	if (!vm_seen.amd) {
		uint64_t fixed = 0;

		wrmsr(MSR_GLOBAL_CTRL, 0);
		wrmsr(MSR_GLOBAL_OVF_CTRL, rdmsr(MSR_GLOBAL_STATUS));
		for (i = 0; i < s->n; i++)
			if (s->counter[i].fixed)
				fixed |= vm_selector(&s->counter[i]) << (4 * s->counter[i].index);
			else
				wrmsr(MSR_EVNTSEL0 + s->counter[i].index, vm_selector(&s->counter[i]));
		wrmsr(MSR_FIXED_CTR_CTRL, fixed);
	}
	for (i = 0; i < s->n; i++)
		wrmsr(vm_counter_msr(&s->counter[i]), s->counter[i].start & VM_MASK);
	vm_stretch_asm(&s->frame);
	s->irqs = vm_seen.irqs;
	/* Interrupts that it has left pending. */
	asm volatile("sti\n\tnop\n\tcli" : : : "memory");
	for (i = 0; i < s->n; i++)
		s->counter[i].value = rdmsr(vm_counter_msr(&s->counter[i]));
	if (!vm_seen.amd) {
		s->status = rdmsr(MSR_GLOBAL_STATUS);
		for (i = 0; i < s->n; i++)
			if (!s->counter[i].fixed)
				wrmsr(MSR_EVNTSEL0 + s->counter[i].index, 0);
		wrmsr(MSR_FIXED_CTR_CTRL, 0);
	}
}

/* ---- the host's side */

struct vm {
	int kvm, fd, vcpu;
	struct kvm_run *run;
	size_t run_size;
	void (*before)(struct vm *vm);	/* what each try of a stretch begins with */
	void (*hook)(struct vm *vm);	/* what a VM_HOOK does */
	unsigned int steps;		/* exits because userspace has asked for single steps */
};

static volatile sig_atomic_t vm_late;

static inline void vm_alarm(int number)
{
	(void)number;
	vm_late = 1;
}

/* MSRs as userspace reads and writes them. */
struct vm_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

static inline uint64_t vm_get_msr(struct vm *vm, uint32_t index)
{
	struct vm_msr msr = { .head.nmsrs = 1, .entry.index = index };

	must(ioctl(vm->vcpu, KVM_GET_MSRS, &msr) == 1, "KVM_GET_MSRS");
	return msr.entry.data;
}

static inline bool vm_try_set_msr(struct vm *vm, uint32_t index, uint64_t value)
{
	struct vm_msr msr = { .head.nmsrs = 1, .entry = { .index = index, .data = value } };

	return ioctl(vm->vcpu, KVM_SET_MSRS, &msr) == 1;
}

static inline void vm_set_msr(struct vm *vm, uint32_t index, uint64_t value)
{
	must(vm_try_set_msr(vm, index, value), "KVM_SET_MSRS");
}

/* One of the vCPU's statistics, by its name; all ones if there is none. */
static inline uint64_t vm_stat(struct vm *vm, const char *name)
{
	struct kvm_stats_header head;
	int fd = ioctl(vm->vcpu, KVM_GET_STATS_FD, NULL);
	uint64_t value = ~0ULL;
	unsigned int i;

	must(fd >= 0 && pread(fd, &head, sizeof(head), 0) == sizeof(head), "statistics");
	for (i = 0; i < head.num_desc; i++) {
		char text[sizeof(struct kvm_stats_desc) + 256];
		struct kvm_stats_desc *desc = (void *)text;
		size_t size = sizeof(*desc) + head.name_size;

		must(pread(fd, text, size, head.desc_offset + i * size) == (ssize_t)size, "a description");
		if (!strcmp(desc->name, name))
			must(pread(fd, &value, 8, head.data_offset + desc->offset) == 8, "its value");
	}
	close(fd);
	return value;
}

/* IA32_PERF_CAPABILITIES as KVM offers it. */
#define VM_FULL_WIDTH	(1U << 13)
#define VM_METRICS	(1U << 15)

static inline uint64_t vm_capabilities(struct vm *vm)
{
	struct vm_msr msr = { .head.nmsrs = 1, .entry.index = MSR_PERF_CAPABILITIES };

	must(ioctl(vm->kvm, KVM_GET_MSRS, &msr) == 1, "KVM says what it offers");
	return msr.entry.data;
}

/* An entry of the IDT, with its stack's number in the TSS.  User mode may call VM_LEAVE. */
static inline void vm_gate(unsigned int vector, const char *handler, unsigned int stack)
{
	uint64_t entry = (uint64_t)handler;

	vm_idt[vector].low = (entry & 0xffff) | KCODE << 16 | (uint64_t)stack << 32 |
			     (vector == VM_LEAVE ? 0xeeULL : 0x8eULL) << 40 | (entry >> 16 & 0xffff) << 48;
	vm_idt[vector].high = entry >> 32;
}

/* What a test wants otherwise in the guest's CPUID. */
static void (*vm_model)(struct kvm_cpuid_entry2 *entry);
/* The vCPU will have no PMU: KVM takes no IA32_PERF_CAPABILITIES then. */
static bool vm_without_pmu;

static inline void vm_open(struct vm *vm)
{
	extern char __executable_start[], _end[];
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[256];
	} cpuid;
	uint64_t first = (uint64_t)__executable_start & -VM_PAGE, last = ((uint64_t)_end + VM_PAGE - 1) & -VM_PAGE;
	struct kvm_userspace_memory_region memory = {
		.guest_phys_addr = first, .memory_size = last - first, .userspace_addr = first,
	};
	struct sigaction action = { .sa_handler = vm_alarm };
	struct kvm_segment segment = { .limit = ~0U, .present = 1, .s = 1, .g = 1 };
	struct kvm_sregs sregs;
	unsigned int i;
	uint64_t tss = (uint64_t)vm_tss, capabilities;

	must(last <= VM_HOLE, "this program is linked low");
	sigaction(SIGALRM, &action, NULL);
	vm_seen.amd = on_amd();
	vm_seen.mediated = on_mediated();
	vm_seen.eoi = on_apicv();
	vm_seen.fewer = vm_fewer();
	vm_seen.general = vm_seen.fewer ?: vm_general();
	vm_seen.fixed = vm_fixed();
	vm_seen.rdpmc = vm_seen.mediated && !vm_others_behind() && !vm_seen.fewer;
	vm_seen.global = vm_seen.mediated && !vm_seen.amd && !vm_seen.fewer;
	memset(vm, 0, sizeof(*vm));
	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	must(vm->kvm >= 0, "KVM is there");
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	must(vm->fd >= 0, "a VM");
	must(!ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000UL), "a place for KVM's own TSS");
	must(!ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0), "an interrupt controller");
	must(!ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &memory), "memory");
	vm->vcpu = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	must(vm->vcpu >= 0, "a vCPU");
	vm->run_size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
	must(vm->run != MAP_FAILED, "its page");

	cpuid.head.nent = ARRAY_SIZE(cpuid.entry);
	must(!ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "CPUID");
	for (i = 0; i < cpuid.head.nent; i++) {
		if (cpuid.entry[i].function == 1)
			cpuid.entry[i].ecx |= 1 << 24 | 1 << 21;	/* the timer's deadline mode, x2APIC */
		if (cpuid.entry[i].function == 0x80000022 && !getenv("VM_PERFMON_V2"))
			cpuid.entry[i].eax &= ~1U;			/* no PerfMonV2: the same PMU on all bases */
		if (cpuid.entry[i].function == 0xa && vm_seen.fewer)
			cpuid.entry[i].eax = (cpuid.entry[i].eax & ~0xff00U) | vm_seen.fewer << 8;
		if (cpuid.entry[i].function == 0x80000022 && vm_seen.fewer)
			cpuid.entry[i].ebx = (cpuid.entry[i].ebx & ~0xfU) | vm_seen.fewer;
		if (vm_model)
			vm_model(&cpuid.entry[i]);
	}
	must(!ioctl(vm->vcpu, KVM_SET_CPUID2, &cpuid), "CPUID can be set");
	capabilities = vm_seen.amd ? 0 : vm_capabilities(vm) & (VM_FULL_WIDTH | VM_METRICS);
	if (!vm_seen.amd && !vm_without_pmu)
		vm_set_msr(vm, MSR_PERF_CAPABILITIES, capabilities);
	vm_seen.metrics = capabilities & VM_METRICS;

	for (i = 0; i < 512; i++)					/* the first gigabyte */
		vm_tables[2][i] = (uint64_t)i << 21 | 0xe7;
	vm_tables[1][0] = (uint64_t)vm_tables[2] | 0x67;
	vm_tables[0][0] = (uint64_t)vm_tables[1] | 0x67;
	vm_gdt[KCODE / 8] = 0x00af9b000000ffff;
	vm_gdt[KDATA / 8] = 0x00cf93000000ffff;
	vm_gdt[UDATA / 8] = 0x00cff3000000ffff;
	vm_gdt[UCODE / 8] = 0x00affb000000ffff;
	vm_gdt[TSS / 8] = 0x00008b0000000067 | (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56;
	vm_gdt[TSS / 8 + 1] = tss >> 32;
	for (i = 0; i < 3; i++)
		memcpy((char *)vm_tss + 0x24 + 8 * i, &(uint64_t) { VM_TOP(1 + i) }, 8);
	for (i = 0; i < 256; i++) {
		/* The stack by the TSS: 1 for PMI and interrupt, 2 for faults, 3 for the way out of user mode. */
		if (i == VM_LEAVE)
			vm_gate(i, vm_to_kernel, 3);
		else if (i == 2 || i == VM_PMI || i == VM_IRQ)
			vm_gate(i, i == VM_IRQ ? vm_irq_entry : vm_pmi_entry, 1);
		else
			vm_gate(i, vm_vectors + 16 * (i < 32 ? i : 0), 2);
	}

	must(!ioctl(vm->vcpu, KVM_GET_SREGS, &sregs), "registers");
	segment.selector = KCODE;
	segment.type = 0xb;
	segment.l = 1;
	sregs.cs = segment;
	segment.selector = KDATA;
	segment.type = 3;
	segment.l = 0;
	segment.db = 1;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment;
	sregs.tr = (struct kvm_segment) { .base = tss, .limit = 0x67, .selector = TSS, .type = 0xb, .present = 1 };
	sregs.ldt = (struct kvm_segment) { .unusable = 1 };
	sregs.gdt = (struct kvm_dtable) { .base = (uint64_t)vm_gdt, .limit = sizeof(vm_gdt) - 1 };
	sregs.idt = (struct kvm_dtable) { .base = (uint64_t)vm_idt, .limit = sizeof(vm_idt) - 1 };
	sregs.cr0 = 0x80010033;		/* PG WP NE ET MP PE */
	sregs.cr3 = (uint64_t)vm_tables[0];
	sregs.cr4 = 0x720;		/* OSXMMEXCPT OSFXSR PCE PAE */
	sregs.efer = 0x500;		/* LMA LME */
	sregs.apic_base |= 0xc00;	/* x2APIC */
	must(!ioctl(vm->vcpu, KVM_SET_SREGS, &sregs), "64-bit mode");
}

static inline void vm_close(struct vm *vm)
{
	munmap(vm->run, vm->run_size);
	close(vm->vcpu);
	close(vm->fd);
	close(vm->kvm);
}

/* Go on until the guest has ended its call; exits to this program that have no meaning are an end with words. */
static inline void vm_continue(struct vm *vm)
{
	struct kvm_regs regs;

	vm_late = 0;
	alarm(VM_LIMIT);
	for (;;) {
		int status = ioctl(vm->vcpu, KVM_RUN, 0);
		struct kvm_run *run = vm->run;

		if (status < 0 && errno == EINTR && !vm_late)
			continue;
		if (!status && run->exit_reason == KVM_EXIT_DEBUG) {
			vm->steps++;
			continue;
		}
		if (!status && run->exit_reason == KVM_EXIT_IO) {
			if (run->io.port == VM_DONE)
				break;
			if (run->io.port != VM_FAULT) {
				if (run->io.port == VM_HOOK && vm->hook)
					vm->hook(vm);
				continue;
			}
		} else if (!status && run->exit_reason == KVM_EXIT_MMIO && run->mmio.phys_addr - VM_HOLE <= 8) {
			memset(run->mmio.data, 0, sizeof(run->mmio.data));
			if (run->mmio.phys_addr != VM_HOLE && vm->hook)
				vm->hook(vm);
			continue;
		}
		ioctl(vm->vcpu, KVM_GET_REGS, &regs);
		if (vm_fault)
			check(0, "no fault in the guest: vector %llu, error %#llx, at %#llx, mode %llu",
			      (unsigned long long)vm_fault->vector, (unsigned long long)vm_fault->error,
			      (unsigned long long)vm_fault->rip, (unsigned long long)vm_fault->cs & 3);
		else if (vm_late)
			check(0, "the guest ends in %d seconds; it is at %#llx", VM_LIMIT, regs.rip);
		else
			check(0, "the guest runs; KVM_RUN: status %d, errno %d, reason %u, suberror %u, at %#llx", status, errno,
			      run->exit_reason, run->internal.suberror, regs.rip);
		exit(check_done());
	}
	alarm(0);
}

/* Run a function of this program in the guest. */
static inline void vm_call(struct vm *vm, void (*function)(void *argument), void *argument)
{
	struct kvm_regs regs = {
		.rip = (uint64_t)vm_entry, .rsp = VM_TOP(0), .rflags = vm_seen.fixed_vector ? 0x202 : 2,
		.rdi = (uint64_t)function, .rsi = (uint64_t)argument,
	};

	must(!ioctl(vm->vcpu, KVM_SET_REGS, &regs), "registers");
	vm_continue(vm);
}

static inline void vm_guest_prepare(void *unused)
{
	volatile uint8_t *stack = vm_stack[0];
	unsigned int i;

	(void)unused;
	/* What is missing while an event is being delivered makes KVM deliver it again: not what is tested here. */
	for (i = 0; i < sizeof(vm_stack); i += VM_PAGE)
		stack[i] = 0;
	for (i = 0; i < ARRAY_SIZE(vm_idt); i++)
		*(volatile uint64_t *)&vm_idt[i].low;
	*(volatile uint64_t *)vm_gdt;
	*(volatile uint32_t *)vm_tss;
	wrmsr(MSR_X2APIC_SVR, 0x1ff);
	wrmsr(MSR_X2APIC_LVTT, 0x50000);		/* masked; by deadline */
}

/* In the guest: a selector on, of no mode, so that a mediated vCPU has the CPU's PMU, and is not dormant. */
static inline void vm_guest_wake(void)
{
	if (vm_seen.mediated)
		wrmsr(vm_seen.amd ? MSR_AMD_CTL0 : MSR_EVNTSEL0, 1 << 22);
}

/* Exits in an end's vm_switch that are not of its WRMSRs.  The ends do not share them, and on AMD the entry behind each counts. */
static inline int64_t vm_interruptions(const struct vm_frame *f, unsigned int end)
{
	/* Intel's is one write, to the global control. */
	unsigned int n = vm_seen.global ? 0 : f->on.n;

	return f->truth[end][EXITS_AFTER] - f->truth[end][EXITS] - n;
}

static inline bool vm_ends_are_alike(const struct vm_frame *f)
{
	/* A mediated vCPU that has no selector on that the filter lets through exits for its write; Intel's do not count exits. */
	int64_t most = vm_seen.global;

	return vm_interruptions(f, 0) <= most && vm_interruptions(f, 1) <= most;
}

/* Run a stretch, until its ends are alike. */
static inline void vm_stretch(struct vm *vm, struct vm_stretch *s)
{
	struct vm_frame *f = &s->frame;
	unsigned int i, tries = 0;

	f->body = s->body->code;
	f->on.n = f->off.n = vm_seen.amd ? s->n : 1;
	if (!vm_seen.amd) {
		f->on.write[0].msr = f->off.write[0].msr = MSR_GLOBAL_CTRL;
		f->on.write[0].value = f->off.write[0].value = 0;
	}
	for (i = 0; i < s->n; i++) {
		if (!vm_seen.amd) {
			f->on.write[0].value |= vm_bit(&s->counter[i]);
			continue;
		}
		f->on.write[i].msr = f->off.write[i].msr = MSR_AMD_CTL0 + 2 * s->counter[i].index;
		f->on.write[i].value = vm_selector(&s->counter[i]);
		f->off.write[i].value = 0;
	}
	do {
		if (vm->before)
			vm->before(vm);
		s->interrupts = mark_read(TRUTH_EXITS_BY_REASON + SVM_EXIT_INTR);
		vm_call(vm, vm_guest_stretch, s);
		must(++tries < VM_TRIES, "the host's ticks leave a stretch in peace");
	} while (!s->interrupted && !vm_ends_are_alike(f));
}

/* ---- what must have been counted */

/* Places of a stretch: a point, or one of its ends. */
#define VM_BEGIN	-1
#define VM_END		-2

static inline bool vm_counts(const struct vm_counter *c, const struct vm_insn *insn)
{
	return (c->event == VM_INSNS || insn->branch) && c->privilege & (insn->user ? VM_USER : VM_KERNEL);
}

/* The events that KVM has emulated of instructions whose ends are behind one address, and not behind another. */
static inline uint64_t vm_emulated(const struct vm_body *body, const struct vm_counter *c, uint64_t behind, uint64_t to)
{
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < body->insns; i++)
		if (body->insn[i].emulated && body->insn[i].next > behind && body->insn[i].next <= to && vm_counts(c, &body->insn[i]))
			n += body->insn[i].times;
	return n;
}

/* Which write of vm_switch is counter number i's: Intel has one for all. */
static inline unsigned int vm_write(unsigned int i)
{
	return vm_seen.amd ? i : 0;
}

/*
 * The machine's count of what counter number i counts, at a place: right before the place's emulated instruction; at the
 * ends right before the WRMSR that enables the counter, and the one that disables it.
 */
static inline uint64_t vm_truth(const struct vm_stretch *s, unsigned int i, int place)
{
	const struct vm_counter *c = &s->counter[i];
	bool insns = c->event == VM_INSNS;
	uint64_t user, kernel;

	if (place >= 0) {
		const struct vm_point *point = &vm_seen.point[s->body->point[place].truth];

		user = insns ? point->insns_user : point->branches_user;
		kernel = insns ? point->insns_kernel + s->body->point[s->body->point[place].truth].insns : point->branches_kernel;
	} else {
		/* Of several writes: each one before it is an entry into the guest, which AMD counts. */
		const uint64_t *truth = s->frame.truth[place == VM_END];
		unsigned int write = vm_write(i);

		user = truth[insns ? INSNS_USER : BRANCHES_USER];
		kernel = insns ? truth[INSNS_KERNEL] + VM_SWITCH_INSNS(write) + write : truth[BRANCHES_KERNEL] + write;
	}
	return (c->privilege & VM_KERNEL ? kernel : 0) + (c->privilege & VM_USER ? user : 0);
}

/*
 * What counter number i counts from one place to another: with the emulated instruction of the first, without that of
 * the other.
 */
static inline uint64_t vm_events(const struct vm_stretch *s, unsigned int i, int from, int to)
{
	const struct vm_counter *c = &s->counter[i];
	const struct vm_body *body = s->body;
	uint64_t first = (uint64_t)body->code, last = first + body->length;
	uint64_t behind = from < 0 ? first : body->point[from].next - 1, before = to < 0 ? last : body->point[to].next - 1;
	uint64_t n = vm_truth(s, i, to) - vm_truth(s, i, from) + vm_emulated(body, c, behind, before);
	unsigned int p;

	if (c->event != VM_INSNS || !(c->privilege & VM_KERNEL))
		return n;
	/* The WRMSRs of the ends: its own and those that enable others behind it, those that disable others before it. */
	if (!vm_seen.global)
		n += (from == VM_BEGIN ? s->frame.on.n - vm_write(i) : 0) + (to == VM_END ? vm_write(i) : 0);
	for (p = 0; p < vm_seen.pmis && p < VM_PMIS; p++) {
		uint64_t rip = vm_seen.pmi[p].rip;

		/* In front of the code is the first end, behind it the other; of vm_switch only the first has PMIs in tests. */
		if (rip < first || rip > last)
			rip = first;
		if ((from == VM_BEGIN || rip > behind) && (to == VM_END || rip <= before))
			n += VM_PMI_EMULATED;
	}
	/* The ends of other interrupts: in stretches without points. */
	n += vm_seen.eoi ? 0 : s->irqs;
	return n;
}

/* What counter number i must hold behind the stretch. */
static inline uint64_t vm_expected(const struct vm_stretch *s, unsigned int i)
{
	return (s->counter[i].start + vm_events(s, i, VM_BEGIN, VM_END)) & VM_MASK;
}

/* How many events counter number i has counted from a place on when PMI number p came, the first behind the place. */
static inline uint64_t vm_pmi_events(const struct vm_stretch *s, unsigned int i, int from, unsigned int p)
{
	const struct vm_counter *c = &s->counter[i];
	const struct vm_pmi *pmi = &vm_seen.pmi[p];
	uint64_t first = (uint64_t)s->body->code, now = 0, n;
	bool insns = c->event == VM_INSNS;

	if (c->privilege & VM_KERNEL)
		now += insns ? pmi->insns_kernel - VM_PMI_INSNS : pmi->branches_kernel;
	if (c->privilege & VM_USER)
		now += insns ? pmi->insns_user : pmi->branches_user;
	/* The entry that brings the PMI leads into its handler. */
	if (vm_seen.amd && insns && c->privilege & VM_KERNEL)
		now--;
	n = now - vm_truth(s, i, from) + vm_emulated(s->body, c, from < 0 ? first : s->body->point[from].next - 1, pmi->rip);
	if (from == VM_BEGIN && insns && c->privilege & VM_KERNEL && !vm_seen.global)
		n += s->frame.on.n - vm_write(i);
	return n;
}

/*
 * perf does not set a counter to its very last value: if it has one event to go it comes after two.  That is so right
 * behind an emulated event, when the counter is set anew.  Was the last event but one, before this address, such a one?
 */
static inline bool vm_one_to_go(const struct vm_stretch *s, unsigned int i, uint64_t rip)
{
	const struct vm_counter *c = &s->counter[i];
	const struct vm_body *body = s->body;
	unsigned int events = 0;
	int k = body->insns - 1;

	while (k >= 0 && body->insn[k].next != rip)
		k--;
	for (; k >= 0 && events <= 2; k--) {
		if (!vm_counts(c, &body->insn[k]))
			continue;
		/* Behind an emulated instruction is an entry into the guest; that behind the last one is the PMI's. */
		if (body->insn[k].emulated && vm_seen.amd && c->event == VM_INSNS && events && events++ == 2)
			return false;
		if (events++ == 2)
			return body->insn[k].emulated;
	}
	return false;
}

/*
 * How late PMI number p is, the first behind a place: more than it may be, or 0.  An entry that brings it may be cut short by
 * a tick of the host, and is then made again; AMD counts both.
 */
static inline uint64_t vm_pmi_late(const struct vm_stretch *s, unsigned int i, int from, unsigned int p, uint64_t to)
{
	const struct vm_pmi *pmi = &vm_seen.pmi[p];
	uint64_t late = vm_pmi_events(s, i, from, p) - to;

	return late <= s->late + vm_one_to_go(s, i, pmi->rip) + (pmi->interrupts - s->interrupts) ? 0 : late;
}

/* Has PMI number p come between instructions of the code?  At an end, nothing is known of how late it is. */
static inline bool vm_pmi_in_code(const struct vm_stretch *s, unsigned int p)
{
	uint64_t first = (uint64_t)s->body->code, rip = vm_seen.pmi[p].rip;

	return vm_seen.pmis > p && rip > first && rip <= first + s->body->length;
}

static inline long long vm_signed(uint64_t value)
{
	return (long long)(value << (64 - VM_WIDTH)) >> (64 - VM_WIDTH);
}

/*
 * All that a stretch must have done to the only counter that its points set and get: each value that was read, and that at
 * the end; one PMI for each time that it passed its end, when it did so; the status, which each PMI finds and clears.
 */
static inline void vm_check(const struct vm_stretch *s, const char *what)
{
	const struct vm_counter *c = &s->counter[0];
	uint64_t bit = vm_bit(c), value = c->start & VM_MASK, wrong = 0, now;
	unsigned int pmis = 0, place, points = s->body->points;
	int from = VM_BEGIN;
	char line[160];

	for (place = 0; place <= points; place++) {
		char letter = place < points ? s->body->point[place].letter : 0;

		if (letter && !strchr((char[]) { VM_OP_SET, VM_OP_GET, VM_OP_STATUS, 0 }, letter))
			continue;
		now = value + vm_events(s, 0, from, letter ? (int)place : VM_END);
		if (letter == VM_OP_STATUS) {
			/* In front of the PMI only: nobody has cleared it. */
			snprintf(line, sizeof(line), "%s: status, point %u", what, place);
			check_equal(line, vm_seen.point[place].value, now > VM_MASK ? bit : 0, "set if it has passed its end");
			continue;
		}
		if (!letter) {
			snprintf(line, sizeof(line), "%s: at the end", what);
			check_equal(line, vm_signed(c->value), vm_signed(now), "from the last write on, the machine's count and KVM's");
		} else if (letter == VM_OP_GET) {
			snprintf(line, sizeof(line), "%s: read, point %u", what, place);
			check_equal(line, vm_signed(vm_seen.point[place].value), vm_signed(now), "the machine's count and KVM's so far");
			continue;
		}
		if (now > VM_MASK && c->interrupt && pmis < vm_seen.pmis) {
			snprintf(line, sizeof(line), "%s: PMI %u, too late by", what, pmis);
			check_equal(line, vm_pmi_late(s, 0, from, pmis, VM_MASK + 1 - value), 0, "it comes at once, or as perf can");
			wrong += !vm_seen.amd && vm_seen.pmi[pmis].status != bit;
		}
		pmis += now > VM_MASK;
		if (letter) {
			from = place;
			value = s->body->point[place].set & VM_MASK;
		}
	}
	snprintf(line, sizeof(line), "%s: PMIs", what);
	check_equal(line, vm_seen.pmis, c->interrupt ? pmis : 0, "one each time that it passes its end");
	if (!vm_seen.amd) {
		snprintf(line, sizeof(line), "%s: status", what);
		check_equal(line, s->status | wrong, c->interrupt ? 0 : pmis ? bit : 0, "for a PMI to find and to clear");
	}
}

/* ---- instructions that may fault, in the guest */

/* A #GP skips its instruction, of two bytes as RDMSR, WRMSR and RDPMC are, and is counted. */
static volatile uint32_t __attribute__((used)) guest_faults;
extern char guest_gp_entry[];

asm(	".pushsection .text\n"
	"guest_gp_entry:\n\t"
	"add $8, %rsp\n\t"
	"addq $2, (%rsp)\n\t"
	"incl guest_faults\n\t"
	"iretq\n\t"
	".popsection\n");

/* Behind each vm_open(). */
static inline void skip_faults(void)
{
	vm_gate(13, guest_gp_entry, 2);
}

static inline bool try_rdmsr(uint32_t msr, uint64_t *value)
{
	uint32_t lo = 0, hi = 0, before = guest_faults;

	asm volatile("rdmsr" : "+a" (lo), "+d" (hi) : "c" (msr) : "memory");
	*value = (uint64_t)hi << 32 | lo;
	return guest_faults == before;
}

static inline bool try_rdpmc(uint32_t index, uint64_t *value)
{
	uint32_t lo = 0, hi = 0, before = guest_faults;

	asm volatile("rdpmc" : "+a" (lo), "+d" (hi) : "c" (index) : "memory");
	*value = (uint64_t)hi << 32 | lo;
	return guest_faults == before;
}

static inline bool try_wrmsr(uint32_t msr, uint64_t value)
{
	uint32_t before = guest_faults;

	wrmsr(msr, value);
	return guest_faults == before;
}

/* The count of an event of the host, which is the first of what its reading gives. */
static inline uint64_t vm_event_read(int fd)
{
	uint64_t value[3];

	must(read(fd, value, sizeof(value)) >= (ssize_t)sizeof(value[0]), "the event can be read");
	return value[0];
}

/* An event of the host between two readings of the machine's count of user mode. */
struct vm_reading {
	uint64_t truth, count, width;
};

static struct vm_reading __attribute__((noinline, unused)) vm_reading(int fd)
{
	struct vm_reading r;

	r.truth = mark_read(TRUTH_INSNS_HOST_USER);
	r.count = vm_event_read(fd);
	r.width = mark_read(TRUTH_INSNS_HOST_USER) - r.truth;
	return r;
}

/*
 * What an event of the host counts of user mode while run() runs, less what the machine does.
 *
 * An interrupt within a reading is a return to user mode that one of the two has and the other has not.  It makes the reading
 * wider than those that nothing has come into: then all is done again, run() included.
 */
static int64_t __attribute__((noinline, unused)) vm_apart(int fd, void (*run)(void))
{
	struct vm_reading before, after;
	unsigned int i, tries = 0;
	uint64_t width = -1;

	/* The first brings in pages. */
	for (i = 0; i < 5; i++) {
		before = vm_reading(fd);
		if (before.width < width)
			width = before.width;
	}
	do {
		before = vm_reading(fd);
		run();
		after = vm_reading(fd);
		must(++tries < VM_TRIES, "the host's ticks leave the readings in peace");
	} while (before.width != width || after.width != width);
	return (after.count - before.count) - (after.truth - before.truth);
}

#endif /* VM_H */
