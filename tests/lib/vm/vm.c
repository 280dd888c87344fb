// SPDX-License-Identifier: GPL-2.0
/* Making a VM whose memory is that of this program, and running functions in it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include "vm.h"
#include "vm/layout.h"

#define LIMIT	20		/* seconds that a call may take in the guest */

bool vm_without_pmu, vm_without_irqchip;
void (*vm_created)(struct vm *vm);

uint64_t vm_gdt[8] __attribute__((aligned(16)));
struct vm_gate_entry vm_idt[256] __attribute__((aligned(16)));
uint32_t vm_tss[26] __attribute__((aligned(128)));
uint8_t vm_stack[5][16384] __attribute__((aligned(VM_PAGE)));

uint64_t vm_kernel_rsp;
const struct vm_far_pointer vm_ss = { 0, KDATA };

static uint64_t page_tables[3][512] __attribute__((aligned(VM_PAGE)));
static volatile sig_atomic_t late;

static void on_alarm(int number)
{
	(void)number;
	late = 1;
}

void vm_gate(unsigned int vector, const char *handler, unsigned int stack)
{
	uint64_t entry = (uint64_t)handler;

	vm_idt[vector].low = (entry & 0xffff) | KCODE << 16 | (uint64_t)stack << 32 |
			     (vector == VM_LEAVE ? 0xeeULL : 0x8eULL) << 40 |
			     (entry >> 16 & 0xffff) << 48;
	vm_idt[vector].high = entry >> 32;
}

/* Find out what the guest's PMU will be like. */
static void look_around(void)
{
	vm_seen.amd = on_amd();
	vm_seen.mediated = on_mediated();
	vm_seen.eoi = on_apicv();
	vm_seen.fewer = vm_fewer();
	vm_seen.general = vm_seen.fewer ?: vm_general();
	vm_seen.fixed = vm_fixed();
	vm_seen.rdpmc = vm_seen.mediated && !vm_others_behind() && !vm_seen.fewer;
	vm_seen.global = vm_seen.mediated && !vm_seen.amd && !vm_seen.fewer;
}

static void create(struct vm *vm)
{
	extern char __executable_start[], _end[];
	uint64_t first = (uint64_t)__executable_start & -VM_PAGE;
	uint64_t last = ((uint64_t)_end + VM_PAGE - 1) & -VM_PAGE;
	struct kvm_userspace_memory_region memory = {
		.guest_phys_addr = first, .memory_size = last - first, .userspace_addr = first,
	};

	must(last <= VM_HOLE, "this program is linked low");
	memset(vm, 0, sizeof(*vm));
	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	must(vm->kvm >= 0, "KVM is there");
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	must(vm->fd >= 0, "a VM");
	must(!ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000UL), "a place for KVM's own TSS");
	if (!vm_without_irqchip)
		must(!ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0), "an interrupt controller");
	if (vm_created)
		vm_created(vm);
	must(!ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &memory), "memory");
	vm->vcpu = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	must(vm->vcpu >= 0, "a vCPU");
	vm->run_size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
	must(vm->run != MAP_FAILED, "its page");
}

/* The guest's tables: pages, segments, interrupts. */
static void fill_tables(void)
{
	uint64_t tss = (uint64_t)vm_tss;
	unsigned int i;

	for (i = 0; i < 512; i++)			/* the first gigabyte */
		page_tables[2][i] = (uint64_t)i << 21 | 0xe7;
	page_tables[1][0] = (uint64_t)page_tables[2] | 0x67;
	page_tables[0][0] = (uint64_t)page_tables[1] | 0x67;
	vm_gdt[KCODE / 8] = 0x00af9b000000ffff;
	vm_gdt[KDATA / 8] = 0x00cf93000000ffff;
	vm_gdt[UDATA / 8] = 0x00cff3000000ffff;
	vm_gdt[UCODE / 8] = 0x00affb000000ffff;
	vm_gdt[TSS / 8] = 0x00008b0000000067 | (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56;
	vm_gdt[TSS / 8 + 1] = tss >> 32;
	/* The TSS has a stack for PMIs and interrupts (1), faults (2), the end of user mode (3). */
	for (i = 0; i < 3; i++)
		memcpy((char *)vm_tss + 0x24 + 8 * i, &(uint64_t) { VM_TOP(1 + i) }, 8);
	for (i = 0; i < 256; i++) {
		if (i == VM_LEAVE)
			vm_gate(i, vm_to_kernel, 3);
		else if (i == 2 || i == VM_PMI || i == VM_IRQ)
			vm_gate(i, i == VM_IRQ ? vm_irq_entry : vm_pmi_entry, 1);
		else
			vm_gate(i, vm_vectors + VECTOR_SIZE * (i < VECTORS ? i : 0), 2);
	}
}

static void enter_long_mode(struct vm *vm)
{
	struct kvm_segment segment = { .limit = ~0U, .present = 1, .s = 1, .g = 1 };
	struct kvm_sregs sregs;

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
	sregs.tr = (struct kvm_segment) {
		.base = (uint64_t)vm_tss, .limit = 0x67, .selector = TSS, .type = 0xb, .present = 1,
	};
	sregs.ldt = (struct kvm_segment) { .unusable = 1 };
	sregs.gdt = (struct kvm_dtable) { .base = (uint64_t)vm_gdt, .limit = sizeof(vm_gdt) - 1 };
	sregs.idt = (struct kvm_dtable) { .base = (uint64_t)vm_idt, .limit = sizeof(vm_idt) - 1 };
	sregs.cr0 = 0x80010033;		/* PG WP NE ET MP PE */
	sregs.cr3 = (uint64_t)page_tables[0];
	sregs.cr4 = 0x720;		/* OSXMMEXCPT OSFXSR PCE PAE */
	sregs.efer = 0x500;		/* LMA LME */
	sregs.apic_base |= 0xc00;	/* x2APIC */
	must(!ioctl(vm->vcpu, KVM_SET_SREGS, &sregs), "64-bit mode");
}

void vm_open(struct vm *vm)
{
	struct sigaction action = { .sa_handler = on_alarm };
	uint64_t capabilities;

	must(mark_present(), "this is our machine");
	sigaction(SIGALRM, &action, NULL);
	look_around();
	create(vm);
	vm_set_cpuid(vm);
	capabilities = vm_seen.amd ? 0 : vm_capabilities(vm) & (VM_FULL_WIDTH | VM_METRICS);
	if (!vm_seen.amd && !vm_without_pmu)
		vm_set_msr(vm, MSR_IA32_PERF_CAPABILITIES, capabilities);
	vm_seen.metrics = capabilities & VM_METRICS;
	fill_tables();
	enter_long_mode(vm);
}

void vm_close(struct vm *vm)
{
	munmap(vm->run, vm->run_size);
	close(vm->vcpu);
	close(vm->fd);
	close(vm->kvm);
}

static void __attribute__((noreturn)) report_end(struct vm *vm, int status, int error)
{
	const struct kvm_run *run = vm->run;
	struct kvm_regs regs;

	ioctl(vm->vcpu, KVM_GET_REGS, &regs);
	if (vm_fault)
		check(0, "no fault in the guest: vector %llu, error %#llx, at %#llx, mode %llu",
		      (unsigned long long)vm_fault->vector, (unsigned long long)vm_fault->error,
		      (unsigned long long)vm_fault->rip, (unsigned long long)vm_fault->cs & 3);
	else if (late)
		check(0, "the guest ends within %d seconds; it is at %#llx", LIMIT, regs.rip);
	else
		check(0, "the guest runs; KVM_RUN: status %d, errno %d, reason %u, suberror %u, "
		      "at %#llx",
		      status, error, run->exit_reason, run->internal.suberror, regs.rip);
	exit(check_done());
}

/*
 * Handle a VM-exit to this program: call the hook, or end the call.  Return false if the exit is
 * unexpected.
 */
static bool handle_exit(struct vm *vm, bool *done)
{
	struct kvm_run *run = vm->run;

	/* A hook may replace the VM, and with it vm->run. */
	switch (run->exit_reason) {
	case KVM_EXIT_DEBUG:
		vm->steps++;
		return true;
	case KVM_EXIT_IO:
		if (run->io.port == VM_FAULT)
			return false;
		*done = run->io.port == VM_DONE;
		if (run->io.port == VM_HOOK && vm->hook)
			vm->hook(vm);
		return true;
	case KVM_EXIT_MMIO:
		if (run->mmio.phys_addr - VM_HOLE > 8)
			return false;
		memset(run->mmio.data, 0, sizeof(run->mmio.data));
		if (run->mmio.phys_addr != VM_HOLE && vm->hook)
			vm->hook(vm);
		return true;
	}
	return false;
}

void vm_continue(struct vm *vm)
{
	bool done = false;

	late = 0;
	alarm(LIMIT);
	while (!done) {
		int status = ioctl(vm->vcpu, KVM_RUN, 0), error = errno;

		if (status < 0 && error == EINTR && !late)
			continue;
		if (status || !handle_exit(vm, &done))
			report_end(vm, status, error);
	}
	alarm(0);
}

void vm_call(struct vm *vm, void (*function)(void *argument), void *argument)
{
	struct kvm_regs regs = {
		.rip = (uint64_t)vm_entry, .rsp = VM_TOP(0),
		.rflags = vm_seen.fixed_vector ? 0x202 : 2,
		.rdi = (uint64_t)function, .rsi = (uint64_t)argument,
	};

	must(!ioctl(vm->vcpu, KVM_SET_REGS, &regs), "registers");
	vm_continue(vm);
}
