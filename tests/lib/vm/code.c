// SPDX-License-Identifier: GPL-2.0
/* The compiler of a measured region's code, whose language vm.h describes. */
#include <stdarg.h>

#include "vm.h"

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

void vm_emit(struct vm_body *body, const char *format, ...)
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

/* On in user mode, with the right to do I/O.  IRETQ counts where it leads. */
void vm_emit_user(struct vm_body *body)
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
static struct vm_point *vm_emit_point(struct vm_body *body, unsigned int insns)
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
static const char *vm_by_kvm(uint32_t msr)
{
	bool counter = vm_seen.amd ? msr >= MSR_AMD_CTL0 && msr < MSR_AMD_CTL0 + 12 && (msr & 1) :
		       (msr >= MSR_PERFCTR0 && msr < MSR_PERFCTR0 + 8) || (msr >= MSR_PMC0 && msr < MSR_PMC0 + 8) ||
		       (msr >= MSR_FIXED_CTR0 && msr < MSR_FIXED_CTR0 + vm_seen.fixed);
	bool global = !vm_seen.amd && msr >= MSR_GLOBAL_STATUS && msr <= MSR_GLOBAL_OVF_CTRL;

	return (vm_seen.mediated && counter) || (vm_seen.global && global) ? "" : "*";
}

static void vm_end_point(struct vm_body *body, char letter)
{
	body->point[body->points].letter = letter;
	body->point[body->points++].next = (uint64_t)&body->code[body->length];
}

static void vm_emit_letter(struct vm_body *body, char letter)
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
const char *vm_compile(struct vm_body *body, const char *s, bool emit)
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

void vm_body(struct vm_body *body, const char *letters)
{
	body->length = body->insns = body->points = body->sets = body->loops = 0;
	body->user = body->emulating = false;
	vm_compile(body, letters, true);
	must(!body->user && !body->emulating, "a stretch ends in the kernel, on the processor");
	vm_emit(body, "c3>");
}
