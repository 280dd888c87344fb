/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The magic instruction, called mark here: how code on the machine talks to the machine.
 *
 * It works at any privilege, in the host and in a guest, and never causes a VM-exit.  So a test in
 * a guest reports results and reads the ground truth without the hypervisor's help.  On anything
 * but our machine the instruction exchanges a register with itself.
 *
 * This header is freestanding: it needs only the compiler's own headers, and images without an OS
 * include it, too.
 */
#ifndef MARK_H
#define MARK_H

#include <stdint.h>

#define MARK_MAGIC	0x4b564d504d550000ULL	/* "KVMPMU" in RAX[63:16], the operation in RAX[15:0] */
#define MARK_VERSION	1

enum mark_op {
	MARK_OP_LABEL	= 1,
	MARK_OP_READ	= 2,
	MARK_OP_SAY	= 3,
	MARK_OP_OFF	= 4,
	MARK_OP_SAVE	= 5,	/* the machine's state, where its configuration names a directory for it */
	MARK_OP_SMI	= 6,	/* an SMI, RCX ticks later */
	MARK_OP_NMI	= 7,	/* an NMI, likewise */
	MARK_OP_PROFILE	= 8,	/* RCX: 1 begins to count the host's instructions by address, 0 ends it */
};

/* What mark_read() takes.  All counts are machine-wide and begin at power-on. */
enum mark_index {
	TRUTH_INSNS_HOST_KERNEL		= 0,
	TRUTH_INSNS_HOST_USER		= 1,
	TRUTH_INSNS_GUEST_KERNEL	= 2,
	TRUTH_INSNS_GUEST_USER		= 3,
	TRUTH_BRANCHES_HOST_KERNEL	= 4,
	TRUTH_BRANCHES_HOST_USER	= 5,
	TRUTH_BRANCHES_GUEST_KERNEL	= 6,
	TRUTH_BRANCHES_GUEST_USER	= 7,
	TRUTH_EXITS			= 8,
	TRUTH_HOST_RDMSR		= 9,
	TRUTH_HOST_WRMSR		= 10,
	TRUTH_HOST_RDPMC		= 11,
	TRUTH_GUEST_RDMSR		= 12,
	TRUTH_GUEST_WRMSR		= 13,
	TRUTH_GUEST_RDPMC		= 14,
	TRUTH_OVERFLOWS			= 15,
	TRUTH_PMIS			= 16,
	TRUTH_CYCLES			= 17,
	TRUTH_CPUS			= 18,
	TRUTH_MARK_VERSION		= 19,
	/*
	 * Writes of the host while the PMU is live and its interrupt belongs to a guest: see
	 * tools/machine/README.
	 */
	TRUTH_LIVE_LVTPC		= 20,
	TRUTH_LIVE_SELECTOR		= 21,
	TRUTH_LIVE_COUNTER		= 22,
	/* Of SMM, which belongs neither to the host nor to a guest. */
	TRUTH_SMIS			= 23,
	TRUTH_SMM_INSNS			= 24,
	TRUTH_SMM_BRANCHES		= 25,
	TRUTH_EXITS_BY_REASON		= 0x100,	/* + VMX basic exit reason or SVM exit code */
};

/* xchg %bx,%bx, written as bytes, because an assembler may choose another encoding. */
#define MARK_INSN	".byte 0x66, 0x87, 0xdb"

static inline uint64_t mark_op(enum mark_op op, uint64_t rcx, uint64_t rdx)
{
	uint64_t rax = MARK_MAGIC | op;

	asm volatile(MARK_INSN : "+a" (rax) : "c" (rcx), "d" (rdx) : "memory");
	return rax;
}

/* Pack up to eight characters of a string into a register. */
static inline uint64_t mark_pack(const char *s, unsigned int max)
{
	uint64_t v = 0;
	unsigned int i;

	for (i = 0; i < max && i < 8 && s[i]; i++)
		v |= (uint64_t)(unsigned char)s[i] << (8 * i);
	return v;
}

/* Write one line to the truth file. */
static inline void mark_label(const char *label, uint64_t arg)
{
	mark_op(MARK_OP_LABEL, mark_pack(label, 8), arg);
}

/* Read a count of the machine.  It does not include the instruction itself. */
static inline uint64_t mark_read(uint64_t index)
{
	return mark_op(MARK_OP_READ, index, 0);
}

/* The instructions that the host has executed, in its kernel and in user mode. */
static inline uint64_t mark_host_insns(void)
{
	return mark_read(TRUTH_INSNS_HOST_KERNEL) + mark_read(TRUTH_INSNS_HOST_USER);
}

/* Is this our machine?  Anywhere else the instruction does not change RAX. */
static inline int mark_present(void)
{
	return mark_read(TRUTH_MARK_VERSION) == MARK_VERSION;
}

/*
 * Write text to the verdict channel.  The machine writes a line when it is complete.  A stream is
 * any number that no other sender uses; it keeps the lines of different senders apart.
 */
static inline void say_on(uint64_t stream, const char *s)
{
	while (*s) {
		unsigned int n = 0;

		while (n < 8 && s[n])
			n++;
		mark_op(MARK_OP_SAY, stream, mark_pack(s, n));
		s += n;
	}
}

static inline uint64_t say_stream(void)
{
	static uint64_t stream;

	if (!stream) {
		uint32_t lo, hi;

		asm volatile("rdtsc" : "=a" (lo), "=d" (hi));
		stream = ((uint64_t)hi << 32 | lo) | 1;
	}
	return stream;
}

static inline void say(const char *s)
{
	say_on(say_stream(), s);
}

/* Write a number in decimal, for code without printf(). */
static inline void say_number(uint64_t n)
{
	char buf[24];
	unsigned int i = sizeof(buf);

	buf[--i] = '\0';
	do {
		buf[--i] = '0' + n % 10;
		n /= 10;
	} while (n);
	say(buf + i);
}

/* Stop the machine.  Its launcher exits with this status, which must be below 120. */
static inline void __attribute__((noreturn)) machine_off(unsigned int status)
{
	for (;;)
		mark_op(MARK_OP_OFF, status, 0);
}

#endif /* MARK_H */
