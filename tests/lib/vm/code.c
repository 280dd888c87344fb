// SPDX-License-Identifier: GPL-2.0
/* The compiler of a measured region's code; vm/code.h describes the language. */
#include <stdarg.h>

#include "vm.h"

/* Words, and their code in the form of vm_emit(). */
static const struct word {
	const char *name, *code;
	enum vm_op op;
	bool kernel_only;
} words[] = {
	{ .name = "nop", .code = "90" },
	{ .name = "jmp", .code = "eb00>" },
	{ .name = "smi", .code = "48b80600554d504d564b b903000000 6687db" },
	{ .name = "cpuid", .code = "31c0 0fa2*" },
	{ .name = "rdpmc", .op = VM_OP_RDPMC },
	{ .name = "out-pic", .code = "b0ff e621*" },
	{ .name = "in-pic", .code = "e421*" },
	{ .name = "out-vmm", .code = "e6e2*" },
	{ .name = "in-vmm", .code = "e4e2*" },
	{ .name = "mmio-write", .code = "89042500000030*" },
	{ .name = "mmio-read", .code = "8b042500000030*" },
	{ .name = "fep-nop", .code = "0f0b6b766d90*" },
	{ .name = "fep-jmp", .code = "0f0b6b766deb00^" },
	{ .name = "fep-enter-leave", .code = "0f0b6b766dc8000000* 0f0b6b766dc9*" },
	{ .name = "hypercall", .op = VM_OP_HYPERCALL },
	/* MSR_IA32_APICBASE, MSR_IA32_UCODE_REV */
	{ .name = "rdmsr", .code = "b91b000000 0f32*", .kernel_only = true },
	{ .name = "wrmsr", .code = "b98b000000 31c0 31d2 0f30*", .kernel_only = true },
	{ .name = "wbinvd", .code = "0f09*", .kernel_only = true },
	{ .name = "ipi", .code = "b930080000 b841000000 ba05000000 0f30*", .kernel_only = true },
	{ .name = "deadline", .code = "b9e0060000 b8ffffffff baffffff7f 0f30*",
	  .kernel_only = true },
	{ .name = "ipi-hlt", .code = "b930080000 b841000000 31d2 0f30* fb f4* fa",
	  .kernel_only = true },
	{ .name = "ipi-self", .code = "fb b930080000 b841000000 31d2 0f30* fa", .kernel_only = true },
	{ .name = "loop", .op = VM_OP_LOOP, .kernel_only = true },
	{ .name = "cpuids", .op = VM_OP_CPUIDS, .kernel_only = true },
	{ .name = "hook", .op = VM_OP_HOOK, .kernel_only = true },
	{ .name = "hook-mmio", .op = VM_OP_HOOK_MMIO, .kernel_only = true },
	{ .name = "set", .op = VM_OP_SET, .kernel_only = true },
	{ .name = "get", .op = VM_OP_GET, .kernel_only = true },
	{ .name = "status", .op = VM_OP_STATUS, .kernel_only = true },
};

static void __attribute__((noreturn)) reject(const char *why, const char *at)
{
	check(0, "the code of a measured region: %s at \"%.40s\"", why, at);
	exit(check_done());
}

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

		must(body->insns < VM_INSNS_MAX && body->length < sizeof(body->code) - 16,
		     "the measured region has room");
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

void vm_emit_user(struct vm_body *body)
{
	unsigned int next;

	vm_emit(body, "48892425%08x 6a%02x 68%08x 68%08x 6a%02x", VM_WORD(&vm_kernel_rsp), UDATA,
		VM_WORD(VM_TOP(4)), VM_WORD(vm_seen.fixed_vector ? 0x3202 : 0x3002), UCODE);
	next = body->length + 5 + 2;
	vm_emit(body, "68%08x", VM_WORD(&body->code[next]));
	/* IRETQ counts in the mode in which it ends, and so does INT. */
	body->user = true;
	vm_emit(body, "48cf>");
}

void vm_emit_kernel(struct vm_body *body)
{
	body->user = false;
	vm_emit(body, "cd%02x>", VM_LEAVE);
}

/*
 * Record the machine's counts at a point whose emulated instruction comes after @insns others.
 * RAX and RCX are lost.  The magic instruction and the store after it add two instructions.
 */
static struct vm_point *begin_point(struct vm_body *body, unsigned int insns)
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

	must(body->points < VM_POINTS, "there is room for a point");
	body->point[body->points].insns = 2 + insns;
	body->point[body->points].truth = body->emulating ? body->point[body->points - 1].truth :
							    body->points;
	for (i = 0; i < ARRAY_SIZE(reading); i++)
		vm_emit(body, "488b0425%08x b9%02x000000 6687db 48890425%08x", VM_WORD(&vm_ask),
			reading[i].index, VM_WORD(reading[i].to));
	return point;
}

static void end_point(struct vm_body *body, enum vm_op op)
{
	body->point[body->points].op = op;
	body->point[body->points++].next = (uint64_t)&body->code[body->length];
}

/* The suffix of an RDMSR or WRMSR.  With a mediated vPMU, the guest accesses some MSRs itself. */
static const char *emulated(uint32_t msr)
{
	bool counter = vm_seen.amd ? msr >= MSR_F15H_PERF_CTL && msr < MSR_F15H_PERF_CTL + 12 &&
					     (msr & 1) :
				     (msr >= MSR_IA32_PERFCTR0 && msr < MSR_IA32_PERFCTR0 + 8) ||
					     (msr >= MSR_IA32_PMC0 && msr < MSR_IA32_PMC0 + 8) ||
					     (msr >= MSR_CORE_PERF_FIXED_CTR0 &&
					      msr < MSR_CORE_PERF_FIXED_CTR0 + vm_seen.fixed);
	bool global = !vm_seen.amd && msr >= MSR_CORE_PERF_GLOBAL_STATUS &&
		      msr <= MSR_CORE_PERF_GLOBAL_OVF_CTRL;

	return (vm_seen.mediated && counter) || (vm_seen.global && global) ? "" : "*";
}

static void emit_set(struct vm_body *body)
{
	uint32_t msr = body->set[body->sets].msr;
	uint64_t value = body->set[body->sets].value;

	begin_point(body, 3);
	body->point[body->points].set = value;
	vm_emit(body, "b9%08x b8%08x ba%08x 0f30%s", VM_WORD(msr), VM_WORD(value),
		VM_WORD(value >> 32), emulated(msr));
	end_point(body, VM_OP_SET);
	body->sets++;
}

static void emit_get(struct vm_body *body, enum vm_op op)
{
	uint32_t msr = op == VM_OP_GET ? body->get : MSR_CORE_PERF_GLOBAL_STATUS;
	struct vm_point *point = begin_point(body, 1);

	vm_emit(body, "b9%08x 0f32%s", VM_WORD(msr), emulated(msr));
	end_point(body, op);
	vm_emit(body, "890425%08x 891425%08x", VM_WORD(&point->value),
		VM_WORD((uint8_t *)&point->value + 4));
}

static void emit_hook(struct vm_body *body, enum vm_op op)
{
	begin_point(body, 0);
	if (op == VM_OP_HOOK_MMIO)
		vm_emit(body, "890425%08x*", VM_WORD(VM_HOLE + 8));
	else
		vm_emit(body, "e6%02x*", VM_HOOK);
	end_point(body, op);
}

static void emit_cpuids(struct vm_body *body)
{
	uint32_t times = body->loop[body->loops++];

	vm_emit(body, "41b8%08x 31c0 0fa2*", VM_WORD(times));
	body->insn[body->insns - 1].times = times;
	vm_emit(body, "41ffc8 75f7>");
}

static void emit_word(struct vm_body *body, const char *at, size_t length)
{
	const struct word *word = words, *end = words + ARRAY_SIZE(words);

	while (word < end && (strncmp(word->name, at, length) || word->name[length]))
		word++;
	if (word == end)
		reject("unknown word", at);
	if (word->kernel_only && body->user)
		reject("not in user mode", at);
	switch (word->op) {
	case VM_OP_HOOK:
	case VM_OP_HOOK_MMIO:
		emit_hook(body, word->op);
		break;
	case VM_OP_SET:
		emit_set(body);
		break;
	case VM_OP_GET:
	case VM_OP_STATUS:
		emit_get(body, word->op);
		break;
	case VM_OP_RDPMC:
		vm_emit(body, vm_seen.rdpmc ? "31c9 0f33" : "31c9 0f33*");
		break;
	case VM_OP_HYPERCALL:
		vm_emit(body, vm_seen.amd ? "31c0 0f01d9*" : "31c0 0f01c1*");
		break;
	case VM_OP_LOOP:
		vm_emit(body, "b9%08x ffc9 75fc>", VM_WORD(body->loop[body->loops++]));
		break;
	case VM_OP_CPUIDS:
		emit_cpuids(body);
		break;
	default:
		vm_emit(body, "%s", word->code);
	}
}

static void begin_group(struct vm_body *body, const char *at, size_t length)
{
	if (!length)
		return;
	if (body->user || body->emulating)
		reject("a group of this kind in one of another kind", at);
	if (length == 4 && !strncmp(at, "user", length)) {
		vm_emit_user(body);
	} else if (length == 7 && !strncmp(at, "invalid", length)) {
		emit_hook(body, VM_OP_INVALID);
		body->emulating = true;
	} else {
		reject("unknown group", at);
	}
}

static void end_group(struct vm_body *body, size_t length)
{
	if (!length)
		return;
	if (body->user) {
		vm_emit_kernel(body);
	} else {
		/*
		 * LSS makes SS valid.  MOV to SS would block a PMI that KVM is injecting, and VMX
		 * refuses a VM-entry with both.
		 */
		vm_emit(body, "0fb20425%08x", VM_WORD(&vm_ss));
		body->emulating = false;
	}
}

static const char *compile(struct vm_body *body, const char *s, char closing, bool emit);

/* Compile a word or a group, repeated as the number after it says.  Return what comes next. */
static const char *item(struct vm_body *body, const char *s, bool emit)
{
	const char *name = s, *inside = NULL;
	size_t length = strcspn(s, " *(){}");
	unsigned long times = 1;
	char closing = 0;

	s += length;
	if (*s == (length ? '{' : '(')) {
		closing = length ? '}' : ')';
		inside = s + 1;
		s = compile(body, inside, closing, false);
	} else if (!length) {
		reject("no word", name);
	}
	if (*s == '*')
		times = strtoul(s + 1, (char **)&s, 10);
	if (!times || (*s && !strchr(" )}", *s)))
		reject("neither a number of times nor a blank", name);
	while (emit && times--) {
		if (!inside) {
			emit_word(body, name, length);
			continue;
		}
		begin_group(body, name, length);
		compile(body, inside, closing, true);
		end_group(body, length);
	}
	return s;
}

/* Compile to the end of a group, or just find that end. */
static const char *compile(struct vm_body *body, const char *s, char closing, bool emit)
{
	for (s += strspn(s, " "); *s != closing; s += strspn(s, " ")) {
		if (!*s)
			reject("a group without an end", s);
		s = item(body, s, emit);
	}
	return closing ? s + 1 : s;
}

void vm_clear(struct vm_body *body)
{
	body->length = body->insns = body->points = body->sets = body->loops = 0;
	body->user = body->emulating = false;
}

void vm_append(struct vm_body *body, const char *code)
{
	compile(body, code, 0, true);
}

void vm_body(struct vm_body *body, const char *code)
{
	vm_clear(body);
	vm_append(body, code);
	vm_emit(body, "c3>");
}
