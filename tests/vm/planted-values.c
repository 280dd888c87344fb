// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: no value of one owner of the PMU is left in any register for the next owner, whatever
 * happens in between.
 *
 *	owners		a guest, another VM on the same CPU, the host: each writes its tag to all
 *			registers that it can write
 *	views		L1 and L2 of the guest and the other VM's guest: RDMSR and RDPMC of all
 *			registers that exist, those that the guest has (they hold what it has
 *			written) and those that it does not have (#GP or 0);
 *			this program between two KVM_RUNs: RDPMC of all counters, KVM_GET_MSRS;
 *			another process on the same CPU that may use RDPMC; root, by /dev/cpu/N/msr
 *	in between	VM-exits, ioctls, the other VM, a move to another CPU, events of the host
 *			that come and go while the guest's registers are in the CPU, INIT, writes by
 *			userspace, the end of the VM, another model for a vCPU that has not run, in
 *			L1 and in L2
 *	models		guests with all of the PMU, fewer counters, narrower ones, no global
 *			registers, an old PMU, none
 *
 * The host's tag is where perf leaves it (events that begin at it and are closed), or root writes
 * it before the guest runs.  A row is one thing that happens in between.  A check is one of its
 * views, and covers each look that was taken in the row.
 *
 * With a perf-based vPMU the guest's counts are in the CPU as counts of a host's event are, so the
 * test does not check what root and this program see there.
 */
#include <pthread.h>
#include <sys/wait.h>

#include "planted.h"

#define MAX_REGISTERS	128
#define BURN		20000

/* ---- an owner's registers, and looks at them */

enum kind { RDPMC, RDMSR };
enum want { ITS_OWN, ABSENT };

struct owner {
	const struct model *model;
	uint64_t tag, status, global, selector, fixed_ctrl, mask;
	unsigned int n, overflows;
	struct {
		uint32_t index;
		uint8_t kind, want;
		uint64_t value;
	} reg[MAX_REGISTERS];
};

struct look {
	unsigned int looks, wrong, foreign;
	/* The first wrong value. */
	uint32_t index;
	uint8_t kind;
	bool fault;
	uint64_t got, want;
};

enum view { IN_L1, IN_L2, IN_OTHER_VM, BY_RDPMC, BY_IOCTL, BY_PROCESS, BY_ROOT, VIEWS };
static const char *const views[] = {
	"L1 of the guest", "L2 of the guest", "the other VM", "this program by RDPMC", "KVM_GET_MSRS", "another process", "root",
};

static struct look look[VIEWS];
static struct owner guest, other;

static void add(struct owner *o, enum kind kind, uint32_t index, bool has, uint64_t value)
{
	must(o->n < MAX_REGISTERS, "room for all registers");
	o->reg[o->n].kind = kind;
	o->reg[o->n].index = index;
	o->reg[o->n].want = has ? ITS_OWN : ABSENT;
	o->reg[o->n++].value = value;
}

static uint64_t value_of(const struct owner *o, unsigned int i, bool fixed)
{
	return o->tag ? planted(o->tag, i + (fixed ? 16 : 0)) & o->mask : 0;
}

static void owner(struct owner *o, const struct model *m, uint64_t tag)
{
	uint64_t gp = (1ULL << m->general) - 1, fixed = ((1ULL << m->fixed) - 1) << 32;
	bool v2 = m->version > 1, metrics = has_metrics(m);
	unsigned int i;

	memset(o, 0, sizeof(*o));
	o->model = m;
	o->tag = tag;
	o->mask = m->width ? (1ULL << m->width) - 1 : 0;
	/* No event counts by it.  It is enabled, so that it is in the CPU's register. */
	o->selector = tag ? 0x430000 | planted_event(tag) : 0;
	o->fixed_ctrl = tag ? 0x222 & ((1ULL << 4 * m->fixed) - 1) : 0;
	/* RESET enables all general counters. */
	o->global = tag ? (gp & 0xa5) | (fixed & 5ULL << 32) : gp;
	o->status = tag ? (gp & 0x5a) | (fixed & 2ULL << 32) : 0;
	if (tag && metrics) {
		o->global |= METRICS_BIT;
		o->status |= METRICS_BIT;
	}
	for (i = 0; i < 16; i++)
		add(o, RDPMC, i, i < m->general && m->version, value_of(o, i, false));
	if (cpu.amd) {
		for (i = 0; i < 4; i++) {
			add(o, RDMSR, MSR_K7_PERFCTR0 + i, i < m->general, value_of(o, i, false));
			add(o, RDMSR, MSR_K7_EVNTSEL0 + i, i < m->general, o->selector);
		}
		/* Six counters of the core, four of the northbridge, six of caches. */
		for (i = 0; i < 6; i++) {
			add(o, RDMSR, MSR_F15H_PERF_CTR + 2 * i, m->core && i < m->general,
			    value_of(o, i, false));
			add(o, RDMSR, MSR_F15H_PERF_CTL + 2 * i, m->core && i < m->general,
			    o->selector);
			add(o, RDMSR, MSR_F16H_L2I_PERF_CTR + 2 * i, false, 0);
			add(o, RDMSR, MSR_F15H_NB_PERF_CTR + 2 * i, false, 0);
		}
		add(o, RDMSR, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, v2, o->status);
		add(o, RDMSR, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, v2, o->global);
		add(o, RDMSR, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, false, 0);
		add(o, RDMSR, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET, false, 0);
		return;
	}
	for (i = 0; i < 6; i++)
		add(o, RDPMC, FIXED_INDEX | i, i < m->fixed, value_of(o, i, true));
	add(o, RDPMC, METRICS_INDEX, metrics, tag ? planted_metrics(tag) : 0);
	for (i = 0; i < 10; i++) {
		add(o, RDMSR, MSR_IA32_PERFCTR0 + i, i < m->general, value_of(o, i, false));
		add(o, RDMSR, MSR_IA32_PMC0 + i, i < m->general && m->full_width,
		    value_of(o, i, false));
		/* Another MSR follows the eight selectors. */
		if (i < 8)
			add(o, RDMSR, MSR_P6_EVNTSEL0 + i, i < m->general, o->selector);
	}
	for (i = 0; i < 5; i++)
		add(o, RDMSR, MSR_CORE_PERF_FIXED_CTR0 + i, i < m->fixed, value_of(o, i, true));
	add(o, RDMSR, MSR_CORE_PERF_FIXED_CTR_CTRL, v2, o->fixed_ctrl);
	add(o, RDMSR, MSR_CORE_PERF_GLOBAL_STATUS, v2, o->status);
	add(o, RDMSR, MSR_CORE_PERF_GLOBAL_CTRL, v2, o->global);
	add(o, RDMSR, MSR_CORE_PERF_GLOBAL_OVF_CTRL, false, 0);
	add(o, RDMSR, MSR_CORE_PERF_GLOBAL_STATUS_SET, false, 0);
	add(o, RDMSR, MSR_CORE_PERF_GLOBAL_INUSE, false, 0);
	add(o, RDMSR, MSR_PERF_METRICS, metrics, tag ? planted_metrics(tag) : 0);
	add(o, RDMSR, MSR_IA32_PEBS_ENABLE, false, 0);
}

static void found(struct look *l, enum kind kind, uint32_t index, bool fault, uint64_t got, uint64_t want)
{
	if (!l->wrong++) {
		l->kind = kind;
		l->index = index;
		l->fault = fault;
		l->got = got;
		l->want = want;
	}
}

static bool any_tag_but(uint64_t value, uint64_t tag)
{
	return (tag != TAG_HOST && shows(value, TAG_HOST)) || (tag != TAG_GUEST && shows(value, TAG_GUEST)) ||
	       (tag != TAG_OTHER && shows(value, TAG_OTHER));
}

/* ---- in the guests */

/* What a guest does in between: force a VM-exit, or ask the host and wait for it. */
enum ask { NOTHING, AN_EXIT, A_HOOK, A_FRIEND };

static struct {
	enum ask ask;
	unsigned int order;			/* for friend() */
	volatile unsigned int asked, done;
	uint64_t waited;
} g;

static void guest_plant(void *owner)
{
	const struct owner *o = owner;
	const struct model *m = o->model;
	uint32_t control = cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL;
	uint32_t clear = cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR :
				   MSR_CORE_PERF_GLOBAL_OVF_CTRL;
	uint64_t gp = (1ULL << m->general) - 1;
	unsigned int i, stride = cpu.amd && m->core ? 2 : 1;
	uint32_t selector = !cpu.amd ? MSR_P6_EVNTSEL0 :
			    m->core  ? MSR_F15H_PERF_CTL :
				       MSR_K7_EVNTSEL0;
	uint32_t counter = !cpu.amd ? m->full_width ? MSR_IA32_PMC0 : MSR_IA32_PERFCTR0 :
			   m->core  ? MSR_F15H_PERF_CTR :
				      MSR_K7_PERFCTR0;

	/* Set the status by overflows, and clear some of its bits. */
	if (o->overflows && m->version > 1) {
		for (i = 0; i < m->general; i++) {
			wrmsr(control, 0);
			wrmsr(counter + i * stride, o->mask);
			wrmsr(selector + i * stride, 0x4300c0);
			wrmsr(control, gp);
			asm volatile(".rept 20\n\tnop\n\t.endr");
			wrmsr(control, 0);
			wrmsr(selector + i * stride, 0);
		}
		wrmsr(clear, gp & ~o->status);
	}
	if (m->version > 1)
		wrmsr(control, 0);
	for (i = 0; i < m->general; i++) {
		wrmsr(selector + i * stride, o->selector);
		/*
		 * Without full-width writes this writes a sign-extended lower half; userspace does
		 * the rest.
		 */
		wrmsr(counter + i * stride, value_of(o, i, false));
	}
	for (i = 0; i < m->fixed; i++)
		wrmsr(MSR_CORE_PERF_FIXED_CTR0 + i, value_of(o, i, true));
	if (has_metrics(m))
		wrmsr(MSR_PERF_METRICS, planted_metrics(o->tag));
	if (m->version > 1) {
		if (!cpu.amd)
			wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, o->fixed_ctrl);
		wrmsr(control, o->global);
	}
}

static void guest_look(const struct owner *o, struct look *l)
{
	unsigned int i;

	l->looks++;
	for (i = 0; i < o->n; i++) {
		uint64_t value, want = o->reg[i].value;
		bool good = o->reg[i].kind == RDPMC ? try_rdpmc(o->reg[i].index, &value) : try_rdmsr(o->reg[i].index, &value);

		if (!good)
			value = 0;
		else if (any_tag_but(value, o->tag))
			l->foreign++;
		if (o->reg[i].want == ITS_OWN ? !good || value != want : value != 0)
			found(l, o->reg[i].kind, o->reg[i].index, !good, value, want);
	}
}

static void in_between(void)
{
	switch (g.ask) {
	case NOTHING:
		break;
	case AN_EXIT:
		guest_exit();
		break;
	case A_HOOK:
		guest_out();
		break;
	case A_FRIEND:
		g.done = 0;
		g.asked = g.order;
		while (!g.done)
			g.waited++;
		break;
	}
}

static void l2_row(void)
{
	guest_look(&guest, &look[IN_L2]);
	in_between();
	guest_look(&guest, &look[IN_L2]);
}

static void l1_row(void *unused)
{
	(void)unused;
	guest_look(&guest, &look[IN_L1]);
	in_between();
	guest_look(&guest, &look[IN_L1]);
	nested_enter(l2_row);
	guest_look(&guest, &look[IN_L1]);
}

static void l1_look(void *unused)
{
	(void)unused;
	guest_look(&guest, &look[IN_L1]);
	guest_exit();
	guest_look(&guest, &look[IN_L1]);
}

static void other_look(void *unused)
{
	(void)unused;
	guest_look(&other, &look[IN_OTHER_VM]);
	guest_exit();
	guest_look(&other, &look[IN_OTHER_VM]);
}

/* ---- in the host: helpers */

static struct vm vm, other_vm;
static uint8_t other_stack[16384] __attribute__((aligned(VM_PAGE)));
static pid_t main_tid;

/* The other VM has the same memory but another stack. */
static void run_other(void (*function)(void *argument), void *argument)
{
	struct kvm_regs regs = {
		.rip = (uint64_t)vm_entry, .rsp = (uint64_t)other_stack + sizeof(other_stack), .rflags = 2,
		.rdi = (uint64_t)function, .rsi = (uint64_t)argument,
	};

	must(!ioctl(other_vm.vcpu, KVM_SET_REGS, &regs), "registers");
	vm_continue(&other_vm);
}

/* Another process, which may use RDPMC, too.  It opens and closes events. */
enum order { IDLE, EVENTS_ON, EVENTS_OFF, EVENTS_OF_A_TASK, LOOK, MOVE, RIGHT, RIVAL };

static struct shared {
	volatile unsigned int order, done;
	struct look look;
	bool failed;
} *neighbour;
static pid_t neighbour_pid;

static bool host_metrics;		/* this CPU has PERF_METRICS */

/* The right to RDPMC, from an event that is never enabled. */
static void *right_page = MAP_FAILED;
static int right_fd;

static void take_right(void)
{
	if (right_page != MAP_FAILED) {
		munmap(right_page, VM_PAGE);
		close(right_fd);
	}
	right_page = MAP_FAILED;
}

static void give_right(void)
{
	if (right_page != MAP_FAILED)
		return;
	right_fd = host_event((struct perf_event_attr) {
		.type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS, .disabled = 1 }, -1);
	right_page = mmap(NULL, VM_PAGE, PROT_READ, MAP_SHARED, right_fd, 0);
	must(right_fd >= 0 && right_page != MAP_FAILED, "an event that may be read by RDPMC");
}

/*
 * No counter may have a tag of the guests.  The host's tag may be where perf has left it, unless
 * @no_host: then perf has to have cleared it.
 */
static void rdpmc_look(struct look *l, bool no_host)
{
	unsigned int i;

	l->looks++;
	for (i = 0; i < cpu.general + cpu.fixed; i++) {
		uint32_t index = rdpmc_index(i, cpu.general);
		uint64_t value = rdpmc(index);
		bool foreign = shows(value, TAG_GUEST) || shows(value, TAG_OTHER) || (no_host && shows(value, TAG_HOST));

		l->foreign += foreign;
		if (foreign)
			found(l, RDPMC, index, false, value, 0);
	}
	if (host_metrics) {
		uint64_t value = rdpmc(METRICS_INDEX);
		bool foreign = value == planted_metrics(TAG_GUEST) || value == planted_metrics(TAG_OTHER) ||
			       (no_host && value == planted_metrics(TAG_HOST));

		l->foreign += foreign;
		if (foreign)
			found(l, RDPMC, METRICS_INDEX, false, value, 0);
	}
}

static void burn(void)
{
	volatile unsigned int i;

	for (i = 0; i < BURN; i++)
		;
}

static void __attribute__((noreturn)) neighbour_main(void)
{
	static int fd[MAX_COUNTERS];
	int n = 0, most = cpu.general + (cpu.fixed < 3 ? cpu.fixed : 3);

	right_page = MAP_FAILED;
	on_cpu(0, 1);
	give_right();
	for (;;) {
		/* Read in this order: an order that is not done is a new one. */
		if (neighbour->done || neighbour->order == IDLE) {
			usleep(500);
			continue;
		}
		switch (neighbour->order) {
		case EVENTS_ON:
		case EVENTS_OFF:
			/* L2 asks once more, and events come or go for it, too. */
			if (n && neighbour->order == EVENTS_ON) {
				close_events(fd, n);
				n = 0;
			}
			if (!n) {
				n = tagged_events(fd, 0);
				neighbour->failed |= n != most;
			}
			burn();
			if (neighbour->order == EVENTS_OFF) {
				close_events(fd, n);
				n = 0;
			}
			break;
		case EVENTS_OF_A_TASK:
			on_cpu(0, 0);
			n = tagged_events(fd, -1);
			neighbour->failed |= n != most;
			burn();
			close_events(fd, n);
			n = 0;
			on_cpu(0, 1);
			break;
		case LOOK:
			on_cpu(0, 0);
			rdpmc_look(&neighbour->look, false);
			on_cpu(0, 1);
			break;
		}
		neighbour->done = 1;
	}
}

static void ask_neighbour(enum order order)
{
	neighbour->order = order;
	neighbour->done = 0;
	while (!neighbour->done)
		usleep(500);
}

/* Run the other VM on the vCPU's CPU; the scheduler switches between them. */
static void *rival(void *unused)
{
	unsigned int i;

	(void)unused;
	on_cpu(0, 0);
	for (i = 0; i < 5; i++) {
		run_other(other_look, NULL);
		usleep(1000);
	}
	return NULL;
}

/* A thread on the other CPU, which does what the waiting guest asks for. */
static void *friend(void *unused)
{
	pthread_t thread;

	(void)unused;
	on_cpu(0, 1);
	for (;;) {
		unsigned int order = g.asked;

		if (order == IDLE) {
			usleep(500);
			continue;
		}
		g.asked = IDLE;
		switch (order) {
		case MOVE:
			on_cpu(main_tid, 1);
			usleep(2000);
			on_cpu(main_tid, 0);
			usleep(2000);
			break;
		case RIGHT:
			give_right();
			break;
		case RIVAL:
			must(!pthread_create(&thread, NULL, rival, NULL) && !pthread_join(thread, NULL), "a thread");
			break;
		default:
			ask_neighbour(order);
		}
		g.done = 1;
	}
	return NULL;
}

/* ---- in the host: views */

static bool host_tag_is_perfs;		/* perf has left it, and no event is enabled */
static bool no_rdpmc;			/* this program does not have the right */

static void ioctl_look(struct vm *v, const struct owner *o)
{
	struct look *l = &look[BY_IOCTL];
	unsigned int i;

	l->looks++;
	for (i = 0; i < o->n; i++) {
		struct vm_msr msr = { .head.nmsrs = 1, .entry.index = o->reg[i].index };
		bool good;

		if (o->reg[i].kind != RDMSR)
			continue;
		good = ioctl(v->vcpu, KVM_GET_MSRS, &msr) == 1;
		l->foreign += good && any_tag_but(msr.entry.data, o->tag);
		if (o->reg[i].want == ITS_OWN ? !good || msr.entry.data != o->reg[i].value : good && any_tag_but(msr.entry.data, 0))
			found(l, RDMSR, o->reg[i].index, !good, msr.entry.data, o->reg[i].value);
	}
}

static void root_value(uint32_t msr, uint64_t value, bool foreign)
{
	look[BY_ROOT].foreign += foreign;
	if (foreign)
		found(&look[BY_ROOT], RDMSR, msr, false, value, 0);
}

static void root_look(unsigned int n)
{
	const struct owner *const owners[] = { &guest, &other };
	unsigned int i, k;
	uint64_t value;

	look[BY_ROOT].looks++;
	for (i = 0; i < cpu.general + cpu.fixed; i++) {
		must(device_read(n, host_counter(i), &value), "a counter can be read");
		root_value(host_counter(i), value, shows(value, TAG_GUEST) || shows(value, TAG_OTHER));
	}
	for (i = 0; i < cpu.general; i++) {
		must(device_read(n, host_selector(i), &value), "a selector can be read");
		root_value(host_selector(i), value, (value & 0xffff) == planted_event(TAG_GUEST) ||
			   (value & 0xffff) == planted_event(TAG_OTHER));
	}
	if (host_metrics) {
		must(device_read(n, MSR_PERF_METRICS, &value), "PERF_METRICS");
		root_value(MSR_PERF_METRICS, value, value == planted_metrics(TAG_GUEST) || value == planted_metrics(TAG_OTHER));
	}
	for (k = 0; k < 2; k++) {
		const struct owner *o = owners[k];

		if (!o->tag || o->model->version < 2)
			continue;
		must(device_read(n,
				 cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS :
					   MSR_CORE_PERF_GLOBAL_STATUS,
				 &value),
		     "the status");
		root_value(cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS :
				     MSR_CORE_PERF_GLOBAL_STATUS,
			   value, value & o->status);
		must(device_read(n,
				 cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL :
					   MSR_CORE_PERF_GLOBAL_CTRL,
				 &value),
		     "the control");
		root_value(cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL,
			   value, value == o->global);
		if (cpu.amd)
			continue;
		must(device_read(n, MSR_CORE_PERF_FIXED_CTR_CTRL, &value),
		     "the fixed counters' control");
		root_value(MSR_CORE_PERF_FIXED_CTR_CTRL, value,
			   o->fixed_ctrl && value == o->fixed_ctrl);
	}
}

static void look_from_host(unsigned int n)
{
	if (!cpu.mediated)
		return;
	if (!no_rdpmc)
		rdpmc_look(&look[BY_RDPMC], host_tag_is_perfs);
	root_look(n);
}

static void report(const char *row)
{
	static const char *const kinds[] = { "RDPMC of", "MSR" };
	unsigned int i;

	must(!neighbour->failed, "the host has an event on each counter");
	look[BY_PROCESS] = neighbour->look;
	memset(&neighbour->look, 0, sizeof(neighbour->look));
	for (i = 0; i < VIEWS; i++) {
		struct look *l = &look[i];
		const char *whose = shows(l->got, TAG_HOST) ? "the host's" : shows(l->got, TAG_GUEST) ? "the guest's" :
				    shows(l->got, TAG_OTHER) ? "the other VM's" : "of no known tag";

		if (!l->looks)
			continue;
		if (check(!l->wrong && !l->foreign, "%s, %s: %s sees only its own values, %u looks",
			  guest.model->what, row, views[i], l->looks))
			continue;
		note("%u values of others, %u that are wrong; the first is %s %#x: %s%#llx, %s; want %#llx", l->foreign, l->wrong,
		     kinds[l->kind], l->index, l->fault ? "#GP, " : "", (unsigned long long)l->got, whose,
		     (unsigned long long)l->want);
	}
	memset(look, 0, sizeof(look));
}

/* ---- rows in which the guest continues */

static void hook_look(struct vm *unused)
{
	(void)unused;
	look_from_host(0);
	/* Root writes its own values where the guest's were. */
	device_plant(0, true);
}

static void hook_ioctls(struct vm *v)
{
	struct kvm_lapic_state lapic;
	struct kvm_sregs sregs;

	must(!ioctl(v->vcpu, KVM_GET_SREGS, &sregs) && !ioctl(v->vcpu, KVM_SET_SREGS, &sregs) &&
	     !ioctl(v->vcpu, KVM_GET_LAPIC, &lapic) && !ioctl(v->vcpu, KVM_SET_LAPIC, &lapic), "ioctls of a vCPU");
	ioctl_look(v, &guest);
	look_from_host(0);
}

static void hook_other(struct vm *unused)
{
	(void)unused;
	run_other(other_look, NULL);
	ioctl_look(&other_vm, &other);
	look_from_host(0);
}

static void hook_move(struct vm *v)
{
	struct kvm_regs regs;

	on_cpu(0, 1);
	device_plant(1, true);
	look_from_host(1);
	must(!ioctl(v->vcpu, KVM_GET_REGS, &regs), "registers, on the other CPU");
	look_from_host(1);
	on_cpu(0, 0);
}

static void hook_signal(struct vm *v)
{
	int status = run_with_signal(v);

	must(status < 0 && errno == EINTR, "a signal ends KVM_RUN");
	look_from_host(0);
}

static void hook_neighbour(struct vm *unused)
{
	(void)unused;
	ask_neighbour(LOOK);
}

static void no_right(void)
{
	/* Leave nothing in the counters but what the other process leaves there. */
	take_right();
	device_plant(0, false);
	ask_neighbour(EVENTS_OF_A_TASK);
	no_rdpmc = true;
}

static void right_now(struct vm *unused)
{
	(void)unused;
	no_rdpmc = false;
	host_tag_is_perfs = true;
	look_from_host(0);
	host_tag_is_perfs = false;
	take_right();
	no_rdpmc = true;
}

static const struct row {
	const char *what;
	enum ask ask;
	unsigned int order;
	void (*hook)(struct vm *vm);
	void (*before)(void);
} rows[] = {
	{ "nothing", NOTHING, 0, NULL, NULL },
	{ "an exit", AN_EXIT, 0, NULL, NULL },
	{ "userspace, which looks and writes", A_HOOK, 0, hook_look, NULL },
	{ "ioctls", A_HOOK, 0, hook_ioctls, NULL },
	{ "a KVM_RUN that a signal ends", A_HOOK, 0, hook_signal, NULL },
	{ "another VM between two KVM_RUNs", A_HOOK, 0, hook_other, NULL },
	{ "another VM that takes the CPU", A_FRIEND, RIVAL, NULL, NULL },
	{ "moved between two KVM_RUNs", A_HOOK, 0, hook_move, NULL },
	{ "moved while it runs", A_FRIEND, MOVE, NULL, NULL },
	{ "another process looks between two KVM_RUNs", A_HOOK, 0, hook_neighbour, NULL },
	{ "another process looks while it runs", A_FRIEND, LOOK, NULL, NULL },
	{ "events of another process, opened and closed there", A_FRIEND, EVENTS_OF_A_TASK, NULL, NULL },
	{ "the right to RDPMC is given while it runs", A_FRIEND, RIGHT, right_now, no_right },
	{ "events of the host come to the CPU", A_FRIEND, EVENTS_ON, NULL, NULL },
	{ "an exit beside them", AN_EXIT, 0, NULL, NULL },
	{ "another VM beside them", A_HOOK, 0, hook_other, NULL },
	{ "they go", A_FRIEND, EVENTS_OFF, NULL, NULL },
	{ "userspace looks after them", A_HOOK, 0, hook_look, NULL },
};

static void run_rows(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];

		if (r->before)
			r->before();
		g.ask = r->ask;
		g.order = r->order;
		vm.hook = other_vm.hook = r->ask == A_HOOK ? r->hook : NULL;
		vm_call(&vm, l1_row, NULL);
		if (r->order == RIGHT)
			r->hook(&vm);
		ioctl_look(&vm, &guest);
		look_from_host(0);
		ask_neighbour(LOOK);
		report(r->what);
		no_rdpmc = false;
		give_right();
	}
	check_equal("how often L2 has not begun or not ended by its call", nested_failed, 0,
		    "L1 intercepts nothing else");
	nested_failed = 0;
}

/* ---- new vCPUs, and changes of a vCPU */

/* Write also what the guest cannot write itself: status and upper halves. */
static void plant_by_ioctl(struct vm *v, const struct owner *o)
{
	unsigned int i;

	for (i = 0; i < o->n; i++)
		if (o->reg[i].kind == RDMSR && o->reg[i].want == ITS_OWN)
			vm_set_msr(v, o->reg[i].index, o->reg[i].value);
}

static void open_vm(struct vm *v, const struct model *m)
{
	vm_open(v);
	skip_faults();
	must(!set_model(v, m), "a model of the PMU");
	if (!cpu.amd)
		vm_set_msr(v, MSR_IA32_FEAT_CTL, 5);
}

static void touch_other(void *unused)
{
	unsigned int i;

	(void)unused;
	for (i = 0; i < sizeof(other_stack); i += VM_PAGE)
		*(volatile uint8_t *)(other_stack + i) = 0;
}

/* The other VM has all of the PMU, and has run on this CPU. */
static void open_other(void)
{
	open_vm(&other_vm, &cpu.offered);
	owner(&other, &cpu.offered, TAG_OTHER);
	run_other(touch_other, NULL);
	run_other(guest_plant, &other);
	plant_by_ioctl(&other_vm, &other);
	run_other(other_look, NULL);
}

static void first_entry(const struct model *m)
{
	open_vm(&vm, m);
	owner(&guest, m, 0);
	run_other(other_look, NULL);
	device_plant(0, true);
	vm_call(&vm, l1_look, NULL);
	look_from_host(0);
	report("the first entry");
}

static void init(const struct model *m)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x500 };
	struct kvm_mp_state state;
	struct kvm_sregs sregs;

	owner(&guest, m, TAG_GUEST);
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, guest_plant, &guest);
	plant_by_ioctl(&vm, &guest);
	vm_call(&vm, l1_look, NULL);
	must(!ioctl(vm.vcpu, KVM_GET_SREGS, &sregs), "registers");
	must(ioctl(vm.fd, KVM_SIGNAL_MSI, &msi) > 0, "INIT can be sent as a message");
	must(!ioctl(vm.vcpu, KVM_GET_MP_STATE, &state), "what INIT does");
	look_from_host(0);
	run_other(other_look, NULL);
	device_plant(0, true);
	must(!ioctl(vm.vcpu, KVM_SET_SREGS, &sregs), "64-bit mode again");
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, l1_look, NULL);
	look_from_host(0);
	report("INIT");
}

static void zeroes(const struct model *m)
{
	owner(&guest, m, 0);
	plant_by_ioctl(&vm, &guest);
	look_from_host(0);
	device_plant(0, true);
	vm_call(&vm, l1_look, NULL);
	look_from_host(0);
	report("zeroes written by userspace");
}

static void destroyed(const struct model *m)
{
	owner(&guest, m, TAG_GUEST);
	vm_call(&vm, guest_plant, &guest);
	plant_by_ioctl(&vm, &guest);
	vm_call(&vm, l1_look, NULL);
	vm_close(&vm);
	look_from_host(0);
	run_other(other_look, NULL);
	ask_neighbour(LOOK);
	report("the VM is gone");
	first_entry(m);
	vm_close(&vm);
}

/*
 * A vCPU that has one model when KVM prepares it to run, in a KVM_RUN that a signal ends, and
 * another model when it runs.
 */
static void other_model(const struct model *from, const struct model *to)
{
	char what[128];

	open_vm(&vm, from);
	owner(&guest, from, TAG_GUEST);
	plant_by_ioctl(&vm, &guest);
	must(run_with_signal(&vm) < 0 && errno == EINTR, "a signal ends KVM_RUN");
	must(!set_model(&vm, to), "another model for a vCPU that has not run");
	owner(&guest, to, TAG_GUEST);
	plant_by_ioctl(&vm, &guest);
	run_other(other_look, NULL);
	device_plant(0, true);
	vm_call(&vm, l1_look, NULL);
	ioctl_look(&vm, &guest);
	look_from_host(0);
	vm_close(&vm);
	snprintf(what, sizeof(what), "in place of \"%s\"", from->what);
	report(what);
}

static struct {
	const struct model *from, *to;
	bool signal;
	unsigned int moved;
} change;

static void hook_change(struct vm *v)
{
	if (change.moved++)
		return;
	nested_save(v);
	vm_close(v);
	open_vm(v, change.from);
	v->hook = hook_change;
	/* With selectors enabled, the guest's registers will be in the PMU and accessible to it. */
	owner(&guest, change.from, TAG_GUEST);
	plant_by_ioctl(v, &guest);
	/* KVM makes L1's MSR bitmap in the first run, and merges it into L2's in the second. */
	if (change.signal)
		must(run_with_signal(v) < 0 && errno == EINTR, "a signal ends KVM_RUN");
	nested_restore(v, NULL);
	if (change.signal)
		must(run_with_signal(v) < 0 && errno == EINTR, "a signal ends KVM_RUN");
	must(!set_model(v, change.to), "another model for a vCPU that is in L2");
	owner(&guest, change.to, TAG_GUEST);
	plant_by_ioctl(v, &guest);
	run_other(other_look, NULL);
	device_plant(0, true);
}

static void l2_change(void)
{
	guest_out();
	guest_look(&guest, &look[IN_L2]);
	guest_exit();
	guest_look(&guest, &look[IN_L2]);
}

/* Then L1, which has changed nothing, enters L2 once more. */
static void l1_change(void *unused)
{
	(void)unused;
	nested_enter(l2_change);
	guest_look(&guest, &look[IN_L1]);
	nested_enter(l2_row);
	guest_look(&guest, &look[IN_L1]);
}

static void other_model_in_l2(const struct model *from, const struct model *to)
{
	char what[128];
	int k;

	for (k = 0; k < 2; k++) {
		change.from = from;
		change.to = to;
		change.signal = k;
		change.moved = 0;
		g.ask = NOTHING;
		open_vm(&vm, from);
		vm_call(&vm, vm_guest_prepare, NULL);
		vm_call(&vm, nested_on, NULL);
		vm.hook = hook_change;
		vm_call(&vm, l1_change, NULL);
		ioctl_look(&vm, &guest);
		look_from_host(0);
		vm_close(&vm);
		snprintf(what, sizeof(what), "in L2, in place of \"%s\"%s", from->what,
			 k ? ", after a KVM_RUN that a signal ends" : "");
		report(what);
	}
	check_equal("how often L2 has not begun or not ended by its call", nested_failed, 0,
		    "L1 intercepts nothing else");
	nested_failed = 0;
}

/* ---- all of it together */

static void with_model(const struct model *m)
{
	first_entry(m);
	init(m);
	zeroes(m);
	destroyed(m);

	open_vm(&vm, m);
	owner(&guest, m, TAG_GUEST);
	guest.overflows = cpu.mediated;
	vm_call(&vm, vm_guest_prepare, NULL);
	vm_call(&vm, nested_on, NULL);
	vm_call(&vm, guest_plant, &guest);
	/* Overflows have set the status. */
	if (m->version > 1 && guest.overflows)
		check_equal("the guest's status by overflows",
			    vm_get_msr(&vm, cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS :
						      MSR_CORE_PERF_GLOBAL_STATUS) &
				    ((1ULL << m->general) - 1),
			    guest.status & ((1ULL << m->general) - 1),
			    "the bits that it has not cleared");
	plant_by_ioctl(&vm, &guest);
	run_rows();
	vm_close(&vm);
}

int main(void)
{
	static struct model models[7];
	unsigned int n = 1, i;
	pthread_t thread;
	uint64_t value;

	/*
	 * A serial line takes four seconds for each forty of the thousand results.  The verdict
	 * channel has them all.
	 */
	must(freopen("/dev/null", "w", stdout), "nothing for the console");
	cpu_init();
	signal(SIGUSR1, SIG_IGN);
	device_open(2);
	host_metrics = !cpu.amd && device_read(0, MSR_IA32_PERF_CAPABILITIES, &value) &&
		       value & VM_METRICS;
	main_tid = syscall(SYS_gettid);
	on_cpu(0, 0);
	neighbour = mmap(NULL, VM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(neighbour != MAP_FAILED, "shared memory");
	neighbour_pid = fork();
	if (!neighbour_pid)
		neighbour_main();
	must(!pthread_create(&thread, NULL, friend, NULL), "a thread");
	give_right();

	for (i = 0; i < ARRAY_SIZE(models); i++)
		models[i] = cpu.offered;
	if (cpu.amd) {
		if (cpu.offered.version > 1) {
			models[n].what = "three counters";
			models[n++].general = 3;
			models[n].what = "no global registers";
			models[n++].version = 1;
		}
		/*
		 * Without core counters a perf-based vPMU has four, and a mediated one takes it as
		 * no PMU.
		 */
		if (cpu.mediated) {
			models[n++] = (struct model) { .what = "no PMU" };
		} else {
			models[n].what = "four old counters";
			models[n].version = 1;
			models[n].general = 4;
			models[n++].core = false;
		}
	} else {
		models[n].what = "two counters and one";
		models[n].general = 2;
		models[n++].fixed = 1;
		models[n].what = "40 bits";
		models[n++].width = 40;
		models[n].what = "no global registers";
		models[n].fixed = 0;
		models[n++].version = 1;
		models[n].what = "no full-width writes";
		models[n++].full_width = false;
		models[n] = (struct model) { .what = "no PMU" };
		n++;
		if (cpu.offered.metrics) {
			models[n].what = "no PERF_METRICS";
			models[n++].metrics = false;
		}
	}
	open_other();
	for (i = 0; i < n; i++)
		with_model(&models[i]);
	for (i = 1; i < n; i++) {
		other_model(&models[0], &models[i]);
		other_model(&models[i], &models[0]);
		if (!l2_may_change_model())
			continue;
		other_model_in_l2(&models[0], &models[i]);
		other_model_in_l2(&models[i], &models[0]);
	}
	vm_close(&other_vm);
	device_plant(0, false);
	device_plant(1, false);
	kill(neighbour_pid, SIGKILL);
	waitpid(neighbour_pid, NULL, 0);
	return check_done();
}
