// SPDX-License-Identifier: GPL-2.0
/* Report, traps, local APIC, the second CPU. */
#include <stdarg.h>
#include "pmu.h"

extern char vectors[], user_return[], ap_trampoline[], ap_trampoline_end[], boot_rsp[];
extern u64 extable[][2], extable_end[][2];
void cpu_start(void);
void trap(struct frame *f);

/*
 * Report
 */
/* False on a machine without our PMU, to debug this runtime; its output goes to port E9H. */
static bool marks;
static u64 stream;
static int tests, failed;

static void put(char *out, int *n, char c)
{
	if (*n < 255)
		out[(*n)++] = c;
}

static void put_number(char *out, int *n, u64 v, unsigned base)
{
	char digits[24];
	int i = 0;

	do
		digits[i++] = "0123456789abcdef"[v % base];
	while (v /= base);
	while (i)
		put(out, n, digits[--i]);
}

/* Formats: %s %d %u %x %c, and l for 64 bits. */
static void format(char *out, int *n, const char *fmt, va_list ap)
{
	for (; *fmt; fmt++) {
		bool wide = false;
		const char *s;
		u64 v;

		if (*fmt != '%') {
			put(out, n, *fmt);
			continue;
		}
		while (*++fmt == 'l')
			wide = true;
		if (*fmt == 's') {
			for (s = va_arg(ap, const char *); *s; s++)
				put(out, n, *s);
			continue;
		}
		v = wide ? va_arg(ap, u64) : va_arg(ap, u32);
		if (*fmt == 'c') {
			put(out, n, v);
			continue;
		}
		if (*fmt == 'd' && (s64)(v = wide ? v : (u64)(s64)(int)v) < 0) {
			put(out, n, '-');
			v = -v;
		}
		put_number(out, n, v, *fmt == 'x' ? 16 : 10);
	}
}

static void say_line(char *line, int n)
{
	int i, j;

	put(line, &n, '\n');
	for (i = 0; i < n; i += 8) {
		u64 part = 0;

		for (j = 0; j < 8 && i + j < n; j++) {
			part |= (u64)(u8)line[i + j] << 8 * j;
			if (!marks)
				outb(0xe9, line[i + j]);
		}
		mark_op(MARK_OP_SAY, stream, part);
	}
}

static void sayf(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n = 0;

	va_start(ap, fmt);
	format(line, &n, fmt, ap);
	va_end(ap);
	say_line(line, n);
}

void note(const char *fmt, ...)
{
	char line[256] = "# ";
	va_list ap;
	int n = 2;

	va_start(ap, fmt);
	format(line, &n, fmt, ap);
	va_end(ap);
	say_line(line, n);
}

static void report(bool good, bool values, u64 got, u64 want, const char *rule, va_list ap)
{
	char line[256];
	int n = 0;

	failed += !good;
	for (const char *s = good ? "ok " : "not ok "; *s; s++)
		put(line, &n, *s);
	put_number(line, &n, ++tests, 10);
	put(line, &n, ' ');
	put(line, &n, '-');
	put(line, &n, ' ');
	format(line, &n, rule, ap);
	if (!good && values) {
		for (int i = 0; i < 2; i++) {
			u64 v = i ? want : got;

			for (const char *s = i ? " expected " : " # got "; *s; s++)
				put(line, &n, *s);
			if (v > 99999) {
				put(line, &n, '0');
				put(line, &n, 'x');
			}
			put_number(line, &n, v, v > 99999 ? 16 : 10);
		}
	}
	say_line(line, n);
}

void is(u64 got, u64 want, const char *rule, ...)
{
	va_list ap;

	va_start(ap, rule);
	report(got == want, true, got, want, rule, ap);
	va_end(ap);
}

void check(bool good, const char *rule, ...)
{
	va_list ap;

	va_start(ap, rule);
	report(good, false, 0, 0, rule, ap);
	va_end(ap);
}

static void __attribute__((noreturn)) finish(int status)
{
	sayf("1..%d", tests);
	sayf("end %s %d", NAME, status);
	mark_op(MARK_OP_OFF, status, 0);
	for (const char *s = "Shutdown"; *s; s++)
		outb(0x8900, *s);
	for (;;)
		asm volatile("cli\n hlt");
}

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(false, false, 0, 0, fmt, ap);
	va_end(ap);
	finish(1);
}

/*
 * Local APIC
 */
static bool x2apic;

u32 apic_read(u32 reg) { return x2apic ? rdmsr(0x800 + reg / 16) : *(volatile u32 *)(0xfee00000ul + reg); }

void apic_write(u32 reg, u32 v)
{
	if (x2apic)
		wrmsr(0x800 + reg / 16, v);
	else
		*(volatile u32 *)(0xfee00000ul + reg) = v;
}

void x2apic_on(void)
{
	wrmsr(MSR_IA32_APICBASE, rdmsr(MSR_IA32_APICBASE) | BIT(10));
	x2apic = true;
}

/*
 * Traps
 */
static struct { u16 low, selector; u8 ist, type; u16 mid; u32 high, zero; } idt[VECTORS] ALIGNED(16);

void set_gate(int vector, void *entry, int dpl)
{
	u64 at = (u64)entry;

	idt[vector].low = at;
	idt[vector].selector = KCODE;
	idt[vector].type = 0x8e | dpl << 5;
	idt[vector].mid = at >> 16;
	idt[vector].high = at >> 32;
}

void reset_gate(int vector)
{
	/* Entries have 16 bytes each; see boot.S. */
	set_gate(vector, vectors + 16 * vector, vector == 3 || vector == V_TEST ? 3 : 0);
}

static void pmi(struct frame *f)
{
	volatile struct pmi *p = &cpu()->pmi;

	p->count++;
	p->vector = f->vector;
	p->rip = f->rip;
	p->cpl = f->cs & 3;
	p->status = status();
	p->lvt = apic_read(APIC_LVT_PC);
	if (cpu()->pmi_action)
		cpu()->pmi_action(f);
}

void trap(struct frame *f)
{
	if (f->vector == 2 || f->vector == V_PMI)
		pmi(f);
	if (f->vector == 2 || f->vector == V_SPURIOUS)
		return;
	if (f->vector >= 32) {
		apic_write(APIC_EOI, 0);
		return;
	}
	for (u64 (*e)[2] = extable; e < extable_end; e++) {
		if (f->rip == (*e)[0]) {
			f->rip = (*e)[1];
			f->rax = f->vector;
			return;
		}
	}
	die("unexpected exception %lu (error %lx) at %lx, CS %lx, RSP %lx", f->vector, f->error, f->rip, f->cs, f->rsp);
}

/*
 * CPUs
 */
static void (*volatile ap_fn)(void);
static volatile bool ap_up;

static void set_tss(int n)
{
	u64 base = (u64)block(n)->tss;
	u64 *d = (u64 *)(gdt + TSS0 + 16 * n);

	d[0] = 103 | (base & 0xffffff) << 16 | 0x89ul << 40 | (base >> 24 & 0xff) << 56;
	d[1] = base >> 32;
	block(n)->index = n;
	*(u64 *)(block(n)->tss + TSS_RSP0) = (u64)block(n) + KERNEL_TOP;
}

void cpu_start(void)
{
	struct { u16 limit; u64 base; } __attribute__((packed)) idtr = { sizeof(idt) - 1, (u64)idt };
	int n = ((u64)cpu() - (u64)blocks) / BLOCK;

	if (!n) {
		for (int i = 0; i < VECTORS; i++)
			reset_gate(i);
		set_gate(V_USER_RETURN, user_return, 3);
		/* A trap gate does not change IF. */
		idt[V_USER_RETURN].type |= 1;
		for (int i = 0; i < BLOCKS; i++)
			set_tss(i);
	}
	asm volatile("lidt %0\n ltr %w1" : : "m"(idtr), "r"(TSS0 + 16 * n));
	apic_write(APIC_SVR, 0x100 | V_SPURIOUS);

	if (n) {
		ap_up = true;
		for (;;) {
			while (!ap_fn)
				pause();
			ap_fn();
			ap_fn = NULL;
		}
	}

	marks = mark_present();
	pmu_init();
	stream = rdmsr(0x10) ^ (u64)NAME;
	sayf("begin %s", NAME);
	test();
	finish(!!failed);
}

void ap_call(void (*fn)(void))
{
	if (!ap_up) {
		for (char *s = ap_trampoline, *d = (char *)0x8000; s < ap_trampoline_end;)
			*d++ = *s++;
		*(u64 *)boot_rsp = (u64)block(1) + KERNEL_TOP;
		/* To all other CPUs: INIT, then the page of the start-up code. */
		apic_write(APIC_ICR, 0xc4500);
		apic_write(APIC_ICR, 0xc4608);
		for (u64 i = 0; !ap_up; i++) {
			if (i > 10000000)
				die("the second CPU starts");
			pause();
		}
	}
	ap_wait();
	ap_fn = fn;
}

void ap_wait(void)
{
	while (ap_fn)
		pause();
}
