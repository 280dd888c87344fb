/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runtime of the bare tests: an image that boots in place of the BIOS, with identity-mapped long
 * mode and without an OS.  All code that is counted is written in assembly, so that a reader can
 * derive the expected numbers.
 */
#ifndef BARE_H
#define BARE_H

/* Selectors, in the order in which SYSCALL and SYSRET compute them from STAR. */
#define CODE32		0x08
#define KCODE		0x10
#define KDATA		0x18
#define UDATA		0x23
#define UCODE		0x2b
#define TSS0		0x30		/* 16 bytes per CPU */

/*
 * A CPU's block: struct cpu at its bottom, with the TSS first, then the user stack, then the kernel
 * stack.  It is aligned to its size, so that masking any stack pointer, in either ring, of host or
 * guest, gives its struct cpu.
 */
#define BLOCK		0x8000
#define USER_TOP	0x4000
#define KERNEL_TOP	(BLOCK - 16)
#define TSS_RSP0	4
#define BLOCKS		4		/* CPU 0, CPU 1, guest of CPU 0, guest of CPU 1 */
#define GUEST_BLOCK	2

/* Vectors.  All gates below 32 and these go to trap(), with one exception. */
#define V_PMI		0x40
#define V_IPI		0x41
#define V_TIMER		0x42
#define V_USER_RETURN	0x48		/* how ring 3 code returns: by another gate, not trap() */
#define V_TEST		0x49		/* for tests, callable from ring 3 */
#define V_SPURIOUS	0x4f
#define VECTORS		0x50

/*
 * What run() adds to the code that it measures: the enabling WRMSR, which takes effect before it
 * retires, CALL, RET, and the three MOVs that load the disabling WRMSR.  That WRMSR does not count.
 */
#define RUN_INSNS	6
#define RUN_BRANCHES	2		/* CALL, RET */

/* What in_user() adds: see boot.S, where each instruction is marked with its ring. */
#define USER_INSNS	6		/* IRETQ, which counts in ring 3, three MOVs, CALL, RET */
#define USER_BRANCHES	3		/* IRETQ, CALL, RET */
#define USER_KERNEL	25		/* 15 before IRETQ, then INT n, three MOV and AND, six POPs; CALL and RET are run()'s */
#define USER_KBRANCHES	1		/* INT n */

/* What the guest's entry code adds: CALL and RET.  The instruction that exits does not retire. */
#define GUEST_INSNS	2
#define GUEST_BRANCHES	2

#ifndef __ASSEMBLER__

#include "mark.h"
#include "msr.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long s64;
typedef _Bool bool;
#define true		1
#define false		0
#define NULL		((void *)0)
#define BIT(n)		(1ul << (n))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define ALIGNED(n)	__attribute__((aligned(n)))
#define PRINTF(n)	__attribute__((format(printf, n, (n) + 1)))

/* Code to measure: a symbol with a body in assembly.  RUN_INSNS includes the RET. */
#define CODE(name, body) \
	extern char name[]; \
	asm(".pushsection .text\n.balign 16\n.globl " #name "\n" #name ":\n" body "\nret\n.popsection")

struct frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector, error, rip, cs, rflags, rsp, ss;
};

/* What the last PMI or NMI found.  The handler fills it, tests compare it. */
struct pmi {
	u64 count, vector, rip, cpl, status, lvt;
};

struct cpu {
	u8 tss[104];
	u64 index;
	volatile struct pmi pmi;
	void (*volatile pmi_action)(struct frame *f);
};

static inline struct cpu *cpu(void)
{
	u64 sp;

	asm volatile("mov %%rsp, %0" : "=r"(sp));
	return (struct cpu *)(sp & -BLOCK);
}

extern char blocks[], gdt[], guest_vmx[], guest_svm[];
static inline struct cpu *block(int n) { return (struct cpu *)(blocks + n * BLOCK); }

/* Instructions that may fault return the vector, or 0 without a fault; trap() puts it in RAX. */
#define EXTABLE	".pushsection .extable, \"a\"\n.quad 1b, 2b\n.popsection"

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return lo | (u64)hi << 32;
}

static inline void wrmsr(u32 msr, u64 v)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline int wrmsr_safe(u32 msr, u64 v)
{
	u32 vector = v;

	asm volatile("1: wrmsr\n xor %%eax, %%eax\n2:" EXTABLE
		     : "+a"(vector) : "c"(msr), "d"((u32)(v >> 32)) : "memory");
	return vector;
}

#define READ_SAFE(name, insn) \
static inline int name(u32 index, u64 *v) \
{ \
	u32 lo, hi, faulted = 1; \
	asm volatile("1: " insn "\n xor %2, %2\n2:" EXTABLE : "=a"(lo), "=d"(hi), "+r"(faulted) : "c"(index) : "memory"); \
	*v = faulted ? 0 : lo | (u64)hi << 32; \
	return faulted ? lo : 0; \
}
READ_SAFE(rdmsr_safe, "rdmsr")
READ_SAFE(rdpmc_safe, "rdpmc")

static inline u64 rdpmc(u32 index)
{
	u32 lo, hi;

	asm volatile("rdpmc" : "=a"(lo), "=d"(hi) : "c"(index) : "memory");
	return lo | (u64)hi << 32;
}

struct cpuid { u32 eax, ebx, ecx, edx; };
static inline struct cpuid cpuid(u32 leaf)
{
	struct cpuid r;

	asm volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(0));
	return r;
}

#define CR(n) \
static inline u64 read_cr##n(void) { u64 v; asm volatile("mov %%cr" #n ", %0" : "=r"(v)); return v; } \
static inline void write_cr##n(u64 v) { asm volatile("mov %0, %%cr" #n : : "r"(v) : "memory"); }
CR(0) CR(3) CR(4)

static inline void outb(u16 port, u8 v) { asm volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline void sti(void) { asm volatile("sti\n nop" : : : "memory"); }
static inline void cli(void) { asm volatile("cli" : : : "memory"); }
static inline void pause(void) { asm volatile("pause" : : : "memory"); }

/* Report: KTAP lines on the verdict channel. */
void is(u64 got, u64 want, const char *rule, ...) PRINTF(3);
void check(bool good, const char *rule, ...) PRINTF(2);
void note(const char *fmt, ...) PRINTF(1);
void die(const char *fmt, ...) PRINTF(1) __attribute__((noreturn));

/* Traps */
void set_gate(int vector, void *entry, int dpl);	/* in assembly: no other code runs */
void reset_gate(int vector);				/* back to trap() */

/* Local APIC */
#define APIC_ID		0x20
#define APIC_EOI	0xb0
#define APIC_SVR	0xf0
#define APIC_ICR	0x300
#define APIC_ICR_HIGH	0x310
#define APIC_LVT_TIMER	0x320
#define APIC_LVT_PC	0x340
#define APIC_TIMER_INIT	0x380
#define APIC_TIMER_DIV	0x3e0
u32 apic_read(u32 reg);
void apic_write(u32 reg, u32 v);
void x2apic_on(void);			/* for this CPU, for good */

/* Call fn(a, b) in ring 3, on the user stack, and return its result. */
u64 in_user(void *fn, u64 a, u64 b);

/* Run a function on the other CPU, which the first call starts. */
void ap_call(void (*fn)(void));
void ap_wait(void);

/*
 * Measure: WRMSR(msr, on), CALL code with RDI = arg, WRMSR(msr, off).  The code may change any
 * register except RBP, R12, R13, R14 and RSP.
 */
void measure(u64 msr, u64 on, u64 off, void *code, u64 arg);

void test(void);

#endif
#endif
