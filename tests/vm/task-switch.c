// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: an instruction that switches tasks retires once, and counts as a branch, too.  An exception
 * that switches tasks by a task gate is not an instruction.
 *
 * On VMX every task switch exits, and KVM's SVM intercepts it: KVM switches the tasks.  The guest
 * is in protected mode without paging and has two tasks.  Its code and the tasks are in this
 * program's memory.
 */
#include "vm.h"

enum { SEL_CODE = 0x08, SEL_DATA = 0x10, SEL_FIRST = 0x18, SEL_SECOND = 0x20 };

#define EVENT	0x41		/* a vector with a task gate to the second task */
#define UD	6		/* another one */

struct tss32 {
	uint16_t link, r0;
	uint32_t esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss, ds, fs, gs, ldt;
	uint16_t trap, io;
};

static struct vm vm;
static struct kvm_sregs sregs;
static uint64_t gdt[5] __attribute__((aligned(16)));
static uint64_t idt[EVENT + 1] __attribute__((aligned(16)));
static struct tss32 tss[2] __attribute__((aligned(128)));
static uint8_t stack[2][512] __attribute__((aligned(16)));

extern char task_jmp[], task_call[], task_int[], task_ud[], task_second[], task_back[];
asm(	".pushsection .text\n"
	"	.code32\n"
	"task_jmp:	nop; nop; nop; ljmp $0x20, $0\n"
	"task_call:	nop; nop; lcall $0x20, $0; nop; out %al, $0xe0\n"
	"task_int:	nop; int $0x41\n"
	"task_ud:	nop; nop; ud2\n"
	"task_second:	nop; out %al, $0xe0\n"
	"task_back:	nop; nop; iret\n"
	"	.code64\n"
	".popsection\n");

static const struct {
	const char *what;
	char *first, *second;
	unsigned int insns, branches;		/* emulated by KVM, with the OUT at the end */
} rows[] = {
	{ "JMP", task_jmp, task_second, 2, 1 },
	{ "CALL", task_call, task_second, 2, 1 },
	{ "CALL, and IRET back", task_call, task_back, 3, 2 },
	{ "INT by a task gate", task_int, task_second, 2, 1 },
	{ "#UD by a task gate", task_ud, task_second, 1, 0 },
};

static void tables(const char *first, const char *second)
{
	const char *eip[] = { first, second };
	unsigned int i;

	gdt[1] = 0x00cf9b000000ffff;
	gdt[2] = 0x00cf93000000ffff;
	for (i = 0; i < 2; i++) {
		uint64_t base = (uint64_t)&tss[i];

		/* The first TSS is busy. */
		gdt[3 + i] = (sizeof(tss[i]) - 1) | (base & 0xffffff) << 16 | (i ? 0x89ULL : 0x8bULL) << 40 | (base >> 24) << 56;
		tss[i] = (struct tss32) {
			.eip = (uint32_t)(uint64_t)eip[i], .eflags = 2, .esp = (uint32_t)(uint64_t)(stack[i] + sizeof(stack[i])),
			.cs = SEL_CODE, .ss = SEL_DATA, .ds = SEL_DATA, .es = SEL_DATA, .fs = SEL_DATA, .gs = SEL_DATA,
			.io = sizeof(tss[i]),
		};
	}
	idt[EVENT] = idt[UD] = (uint64_t)SEL_SECOND << 16 | 0x85ULL << 40;
}

static void protected_mode(const char *first)
{
	struct kvm_segment code = {
		.limit = ~0U, .selector = SEL_CODE, .type = 11, .present = 1, .s = 1, .db = 1, .g = 1,
	};
	struct kvm_segment data = {
		.limit = ~0U, .selector = SEL_DATA, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1,
	};
	struct kvm_regs regs = { .rip = (uint64_t)first, .rflags = 2, .rsp = (uint64_t)(stack[0] + sizeof(stack[0])) };
	struct kvm_sregs s = sregs;

	s.cr0 = 0x31;		/* PE, ET, NE */
	s.cr3 = s.cr4 = 0;
	s.efer &= ~0x500ULL;	/* no LME, no LMA */
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = (struct kvm_segment) {
		.base = (uint64_t)&tss[0], .limit = sizeof(tss[0]) - 1, .selector = SEL_FIRST, .type = 11, .present = 1,
	};
	s.ldt = (struct kvm_segment) { .unusable = 1 };
	s.gdt = (struct kvm_dtable) { .base = (uint64_t)gdt, .limit = sizeof(gdt) - 1 };
	s.idt = (struct kvm_dtable) { .base = (uint64_t)idt, .limit = sizeof(idt) - 1 };
	must(!ioctl(vm.vcpu, KVM_SET_SREGS, &s) && !ioctl(vm.vcpu, KVM_SET_REGS, &regs), "protected mode");
}

static void row(unsigned int r)
{
	static const uint64_t event[2][2] = { { 0xc0, 0xc4 }, { 0xc0, 0xc2 } };
	uint64_t insns, branches;
	unsigned int i;
	char what[64];

	tables(rows[r].first, rows[r].second);
	protected_mode(rows[r].first);
	for (i = 0; i < 2; i++) {
		vm_set_msr(&vm, vm_seen.amd ? MSR_F15H_PERF_CTR + 2 * i : MSR_IA32_PERFCTR0 + i, 0);
		vm_set_msr(&vm, vm_seen.amd ? MSR_F15H_PERF_CTL + 2 * i : MSR_P6_EVNTSEL0 + i,
			   event[vm_seen.amd][i] | 3 << 16 | 1 << 22);
	}
	if (!vm_seen.amd)
		vm_set_msr(&vm, MSR_CORE_PERF_GLOBAL_CTRL, 3);
	insns = mark_read(TRUTH_INSNS_GUEST_KERNEL);
	branches = mark_read(TRUTH_BRANCHES_GUEST_KERNEL);
	while (ioctl(vm.vcpu, KVM_RUN, 0) < 0)
		must(errno == EINTR, "the vCPU runs");
	/* The OUT counts when KVM has completed it, as before saving the vCPU's state. */
	vm.run->immediate_exit = 1;
	must(vm.run->exit_reason == KVM_EXIT_IO && ioctl(vm.vcpu, KVM_RUN, 0) < 0 && errno == EINTR, "the tasks were switched");
	vm.run->immediate_exit = 0;
	insns = mark_read(TRUTH_INSNS_GUEST_KERNEL) - insns;
	branches = mark_read(TRUTH_BRANCHES_GUEST_KERNEL) - branches;
	snprintf(what, sizeof(what), "%s: instructions", rows[r].what);
	check_equal(what, vm_get_msr(&vm, vm_seen.amd ? MSR_F15H_PERF_CTR : MSR_IA32_PERFCTR0),
		    insns + rows[r].insns, "the machine's, the OUT, and each task switch");
	snprintf(what, sizeof(what), "%s: branches", rows[r].what);
	check_equal(what,
		    vm_get_msr(&vm, vm_seen.amd ? MSR_F15H_PERF_CTR + 2 : MSR_IA32_PERFCTR0 + 1),
		    branches + rows[r].branches, "the machine's, and each task switch");
	for (i = 0; i < 2; i++)
		vm_set_msr(&vm, vm_seen.amd ? MSR_F15H_PERF_CTL + 2 * i : MSR_P6_EVNTSEL0 + i, 0);
}

int main(void)
{
	unsigned int r;

	vm_open(&vm);
	vm_call(&vm, vm_guest_prepare, NULL);
	must(!ioctl(vm.vcpu, KVM_GET_SREGS, &sregs), "registers");
	for (r = 0; r < ARRAY_SIZE(rows); r++)
		row(r);
	vm_close(&vm);
	return check_done();
}
