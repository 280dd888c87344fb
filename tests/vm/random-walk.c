// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: whatever a guest, its VMM and the host do with the PMU, in any order, no side sees another
 * side's values, errors are those that are documented, the host's own events stay exact, and the
 * kernel logs nothing.
 *
 * A walk of operations, which a seed determines.  Guests access all registers of the PMU, in L1 and
 * in L2, with values that no guest should write.  Userspace sets models, filters and MSRs.  vCPUs
 * are moved out of L2, reset by INIT, stopped before VM-entry, moved to the other CPU.  Events of
 * the host come and go.  Much of it also happens while a guest waits for userspace in the middle of
 * its program.
 *
 *	after each operation	what guests have read does not have the host's tag, what the host
 *				can read does not have the guests'; return values; new lines in the
 *				kernel's log
 *	now and then		the host's count while a guest runs equals the machine's (mediated);
 *				a counter of the guest counts nothing of a VM-exit; the PMU was not
 *				written while it was live (mediated)
 *
 * Rounds of ROUND operations are independent: each has its own VMs, and its numbers follow from the
 * seed and the round's number.  The environment selects: WALK_SEED, WALK_OPS (how many), WALK_FROM
 * (the first one; rounded down to the first of its round).  WALK_TRACE=1 reports each operation.
 */
#include <stdarg.h>

#include "perf.h"
#include "planted.h"

#define ROUND		200
#define OPS		2500
#define SEED		20241125
#define VMS		2
#define STEPS		12
#define EVENTS		40
#define EXACT_EVERY	50

/* ---- numbers */

static uint64_t random_state;

static uint64_t any(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static uint64_t below(uint64_t n)
{
	return any() % n;
}

static bool one_in(unsigned int n)
{
	return !below(n);
}

static uint64_t any_value(void)
{
	static const uint64_t values[] = {
		0, ~0ULL, 1, 0x4300c0, 0x5300c0, 0x4300c4, 0x5100c2, 0x300004300c0ULL, 0x7000000ffULL, 0x3f, 0xbbb, 0x222,
		0xfff, 1ULL << 63, 1ULL << 48, (1ULL << 48) - 1, (1ULL << 40) - 2, 0x80000000, 0xffffffff, 0x7fffffff, 0x200000,
		0x5aa5 | 0x430000,
	};
	uint64_t value;

	do {
		switch (below(8)) {
		case 0:
		case 1:
			value = values[below(ARRAY_SIZE(values))];
			break;
		case 2:
			value = planted(TAG_GUEST, below(16));
			break;
		case 3:
			value = any();
			break;
		case 4:
			value = 1ULL << below(64);
			break;
		case 5:
			value = ((1ULL << 48) - 1) & -(1 + below(200));
			break;
		case 6:
			value = any() & any() & any();
			break;
		default:
			value = 0x430000 | below(0x10000) | below(2) << 20;
			break;
		}
	} while (shows(value, TAG_HOST) || shows((uint64_t)(int32_t)value, TAG_HOST) ||
		 (value & 0xffff) == planted_event(TAG_HOST));
	return value;
}

/* ---- registers */

static uint32_t msrs[160];
static unsigned int n_msrs;

static void add(uint32_t first, unsigned int n, unsigned int step)
{
	while (n--) {
		must(n_msrs < ARRAY_SIZE(msrs), "room for all MSRs");
		msrs[n_msrs++] = first;
		first += step;
	}
}

static void add_all(void)
{
	add(MSR_X2APIC_LVTPC, 1, 1);
	add(MSR_IA32_DEBUGCTLMSR, 1, 1);
	if (cpu.amd) {
		add(MSR_K7_EVNTSEL0, 8, 1);
		add(MSR_F15H_PERF_CTL, 12, 1);
		add(MSR_F15H_PERF_CTL, 12, 1);
		add(MSR_F16H_L2I_PERF_CTL, 2, 1);
		add(MSR_F15H_NB_PERF_CTL, 2, 1);
		add(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, 4, 1);
		add(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, 4, 1);
		return;
	}
	add(MSR_IA32_PERFCTR0, 10, 1);
	add(MSR_IA32_PMC0, 10, 1);
	add(MSR_P6_EVNTSEL0, 8, 1);
	add(MSR_CORE_PERF_FIXED_CTR0, 5, 1);
	add(MSR_CORE_PERF_FIXED_CTR_CTRL, 6, 1);
	add(MSR_CORE_PERF_FIXED_CTR_CTRL, 4, 1);
	add(MSR_IA32_PERF_CAPABILITIES, 1, 1);
	add(MSR_PERF_METRICS, 1, 1);
	add(MSR_IA32_PEBS_ENABLE, 2, 1);
}

static uint32_t any_msr(void)
{
	return msrs[below(n_msrs)];
}

static uint32_t any_pmc(void)
{
	return below(16) | (one_in(3) ? FIXED_INDEX : 0) | (one_in(12) ? 0x80000000 : 0) | (one_in(12) ? 0x20000000 : 0);
}

static bool is_selector(uint32_t msr)
{
	if (cpu.amd)
		return (msr >= MSR_K7_EVNTSEL0 && msr < MSR_K7_PERFCTR0) ||
		       (msr >= MSR_F15H_PERF_CTL && msr < MSR_F15H_PERF_CTL + 12 && !(msr & 1));
	return msr >= MSR_P6_EVNTSEL0 && msr < MSR_P6_EVNTSEL0 + 8;
}

/*
 * A value to write there.  An entry for PMIs gets only what the guest has handlers for.
 */
static uint64_t any_value_for(uint32_t msr)
{
	static const uint32_t entries[] = { APIC_DM_NMI, APIC_LVT_MASKED | APIC_DM_NMI,
					    APIC_LVT_MASKED | VM_PMI, VM_PMI };
	uint64_t value = any_value();

	return msr == MSR_X2APIC_LVTPC ? entries[value % ARRAY_SIZE(entries)] : value;
}

/* ---- in the guest */

enum kind { RDMSR, WRMSR, RDPMC, AN_EXIT, AN_OUT, KINDS };

struct program {
	bool nested;
	unsigned int n;
	struct {
		enum kind kind;
		uint32_t index;
		uint64_t value;
		bool good;
	} step[STEPS];
};

static volatile uint32_t __attribute__((used)) guest_nmis;
extern char walk_nmi_entry[];

/* The PMI's handler changes nothing; on Intel LVTPC stays masked. */
asm(	".pushsection .text\n"
	"walk_nmi_entry:\n\t"
	"incl guest_nmis\n\t"
	"iretq\n\t"
	".popsection\n");

static struct program programs[VMS], exact_program;
static struct program *nested_program;

static void run_program(struct program *p)
{
	unsigned int i;

	for (i = 0; i < p->n; i++) {
		switch (p->step[i].kind) {
		case RDMSR:
			p->step[i].good = try_rdmsr(p->step[i].index, &p->step[i].value);
			break;
		case WRMSR:
			p->step[i].good = try_wrmsr(p->step[i].index, p->step[i].value);
			break;
		case RDPMC:
			p->step[i].good = try_rdpmc(p->step[i].index, &p->step[i].value);
			break;
		case AN_EXIT:
			guest_exit();
			break;
		default:
			guest_out();
			break;
		}
	}
}

static void l2_program(void)
{
	run_program(nested_program);
}

static void l1_program(void *program)
{
	struct program *p = program;

	if (!p->nested) {
		run_program(p);
		return;
	}
	nested_program = p;
	nested_enter(l2_program);
}

/* How many instructions a counter of all instructions counts across a VM-exit. */
static struct {
	uint32_t counter, selector, control;
	bool good;
	uint64_t counted;
} park;

static void parked(void *unused)
{
	uint64_t before, after, faults = guest_faults;

	(void)unused;
	wrmsr(MSR_X2APIC_LVTPC, APIC_LVT_MASKED | APIC_DM_NMI);
	if (park.control)
		wrmsr(park.control, 0);
	wrmsr(park.counter, 0x1000);
	wrmsr(park.selector, 0x4300c0);
	if (park.control)
		wrmsr(park.control, 1);
	park.good = try_rdmsr(park.counter, &before);
	guest_exit();
	park.good &= try_rdmsr(park.counter, &after);
	if (park.control)
		wrmsr(park.control, 0);
	wrmsr(park.selector, 0);
	park.good &= guest_faults == faults;
	park.counted = after - before;
}

/* ---- in the host */

static struct slot {
	struct vm vm;
	struct model model;
	struct kvm_sregs sregs;
	bool there, has_run, l1_on, restored;	/* restored: in L2, and has not run since */
} slots[VMS];
static uint8_t stacks[VMS][16384] __attribute__((aligned(VM_PAGE)));

static uint64_t seed, from, ops, op;
static bool trace;
static unsigned int n_cpus;
static const char *doing = "nothing";
static bool inside;		/* a guest waits in the middle of its program */
static uint64_t counts[32];
static uint64_t reads, faulted, looks, exact_looks, park_looks, park_most;

static void __attribute__((noreturn, format(printf, 1, 2))) wrong(const char *format, ...)
{
	char what[300];
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	check(0, "operation %llu, %s%s: %s", (unsigned long long)op, doing, inside ? ", while a guest waits" : "", what);
	note("repeat with env: WALK_SEED=%llu WALK_FROM=%llu WALK_OPS=%llu", (unsigned long long)seed,
	     (unsigned long long)(op / ROUND * ROUND), (unsigned long long)(op % ROUND + 1));
	exit(check_done());
}

/* The kernel's log from the start of the test. */
static int kmsg = -1;

static void complaints(void)
{
	static const char *const words[] = { "BUG:", "WARNING:", "UBSAN:", "INFO: ", "unchecked MSR", "unknown reason" };
	char line[1024];
	unsigned int i;
	ssize_t n;

	while ((n = read(kmsg, line, sizeof(line) - 1)) != -1 || errno == EPIPE) {
		if (n < 0)
			continue;
		line[n] = '\0';
		for (i = 0; i < ARRAY_SIZE(words); i++)
			if (strstr(line, words[i]))
				wrong("the kernel says: %.200s", line);
	}
}

static void to_guest(struct slot *s, void (*function)(void *argument), void *argument)
{
	struct kvm_regs regs = {
		.rip = (uint64_t)vm_entry, .rsp = (uint64_t)stacks[s - slots] + sizeof(stacks[0]), .rflags = 2,
		.rdi = (uint64_t)function, .rsi = (uint64_t)argument,
	};

	if (ioctl(s->vm.vcpu, KVM_SET_REGS, &regs))
		wrong("KVM_SET_REGS: errno %d", errno);
	s->has_run = true;
	vm_continue(&s->vm);
}

static bool tells(uint32_t msr, bool pmc, uint64_t value, uint64_t tag)
{
	return shows(value, tag) || (!pmc && is_selector(msr) && (value & 0xffff) == planted_event(tag));
}

/* Check that the guest has read no value of the host. */
static void look_at_program(const struct program *p)
{
	unsigned int i;

	for (i = 0; i < p->n; i++) {
		bool pmc = p->step[i].kind == RDPMC;

		if (p->step[i].kind != RDMSR && !pmc)
			continue;
		reads++;
		faulted += !p->step[i].good;
		if (p->step[i].good && tells(p->step[i].index, pmc, p->step[i].value, TAG_HOST))
			wrong("%s has read by %s %#x %#llx, the host's", p->nested ? "L2" : "L1", pmc ? "RDPMC of" : "MSR",
			      p->step[i].index, (unsigned long long)p->step[i].value);
	}
}

/*
 * Check that the host can read no value of the guests.  With a perf-based vPMU, their counts are in
 * events of the host.
 */
static void look_from_host(void)
{
	unsigned int n = sched_getcpu(), i;
	uint64_t value;

	if (!cpu.mediated)
		return;
	looks++;
	for (i = 0; i < cpu.general + cpu.fixed; i++) {
		value = rdpmc(rdpmc_index(i, cpu.general));
		if (shows(value, TAG_GUEST))
			wrong("this program reads counter %u by RDPMC: %#llx, the guest's", i, (unsigned long long)value);
		if (device_read(n, host_counter(i), &value) && shows(value, TAG_GUEST))
			wrong("root reads counter %u: %#llx, the guest's", i, (unsigned long long)value);
		if (i < cpu.general && device_read(n, host_selector(i), &value) && tells(host_selector(i), false, value, TAG_GUEST))
			wrong("root reads selector %u: %#llx, the guest's", i, (unsigned long long)value);
	}
	if (device_read(n,
			cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS : MSR_CORE_PERF_GLOBAL_STATUS,
			&value) &&
	    (value & ~HOST_STATUS))
		wrong("root reads the status: %#llx, with bits that the host has not set",
		      (unsigned long long)value);
}

/* ---- events of the host */

static int events[EVENTS], n_events;

static void close_all(void)
{
	close_events(events, n_events);
	n_events = 0;
}

static void open_some(void)
{
	unsigned int i, n, where = below(n_cpus + 1);
	int group = -1;

	if (one_in(4)) {
		if (n_events + MAX_COUNTERS > EVENTS)
			close_all();
		n = tagged_events(events + n_events, where < n_cpus ? (int)where : -1);
		if (n < cpu.general)
			wrong("an event on each counter: errno %d after %u", errno, n);
		n_events += n;
		return;
	}
	n = 1 + below(4);
	for (i = 0; i < n && n_events < EVENTS; i++) {
		struct perf_event_attr attr = {
			.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .exclude_guest = 1,
			.config = below(2) ? PERF_COUNT_HW_INSTRUCTIONS : below(2) ? PERF_COUNT_HW_CPU_CYCLES :
				  PERF_COUNT_HW_BRANCH_INSTRUCTIONS,
			.pinned = group < 0 && one_in(4), .exclude_kernel = one_in(2), .disabled = one_in(6),
			.sample_period = one_in(3) ? 200000 + below(1000000) : 0,
		};
		int fd = perf_open(&attr, where < n_cpus ? -1 : 0, where < n_cpus ? (int)where : -1, group);

		/* A group may need more counters than there are. */
		if (fd < 0 && (group < 0 || errno != EINVAL))
			wrong("an event that excludes guests: errno %d", errno);
		if (fd < 0)
			break;
		if (group < 0 && one_in(2))
			group = fd;
		events[n_events++] = fd;
	}
}

static void close_some(void)
{
	unsigned int n = 1 + below(6);

	while (n-- && n_events) {
		unsigned int i = below(n_events);

		close(events[i]);
		events[i] = events[--n_events];
	}
}

static bool any_there(void)
{
	unsigned int i;

	for (i = 0; i < VMS; i++)
		if (slots[i].there)
			return true;
	return false;
}

static void include_guests(void)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = PERF_COUNT_HW_INSTRUCTIONS };
	bool refused = cpu.mediated && !on_modules_alone() && any_there();
	int fd = perf_open(&attr, 0, -1, -1);

	if (fd >= 0)
		close(fd);
	if (refused ? fd >= 0 || errno != EOPNOTSUPP : fd < 0)
		wrong("an event that includes guests: %d, errno %d", fd, errno);
}

/* ---- VMs */

static void any_model(struct model *m)
{
	static const uint8_t widths[] = { 48, 48, 48, 40, 32, 20, 47, 64 };

	*m = cpu.offered;
	if (one_in(3))
		return;
	m->version = below(3) ? 2 : one_in(3) ? 0 : below(6);
	m->general = below(3) ? cpu.offered.general : below(12);
	m->fixed = below(3) ? cpu.offered.fixed : below(5);
	m->width = widths[below(ARRAY_SIZE(widths))];
	m->core = below(3);
	m->full_width = below(3);
	m->metrics = cpu.offered.metrics && below(3);
}

static void tell_model(const struct slot *s, const struct model *m, int status)
{
	if (trace)
		note("VM %u: version %u, %u general, %u fixed, %u bits%s%s: %d", (unsigned int)(s - slots), m->version,
		     m->general, m->fixed, m->width, m->core ? ", core" : "", m->full_width ? ", full width" : "", status);
}

static void hook(struct vm *vm);

static void open_slot(struct slot *s)
{
	struct model m;

	vm_open(&s->vm);
	skip_faults();
	vm_gate(2, walk_nmi_entry, 1);
	s->vm.hook = hook;
	s->there = true;
	s->has_run = s->l1_on = s->restored = false;
	if (!cpu.amd)
		vm_set_msr(&s->vm, MSR_IA32_FEAT_CTL, 5);
	any_model(&m);
	s->model = m;
	tell_model(s, &m, 0);
	if (set_model(&s->vm, &m)) {
		if (errno != EINVAL)
			wrong("a model for a new vCPU: errno %d", errno);
		s->model = cpu.offered;
		if (set_model(&s->vm, &s->model))
			wrong("what KVM offers, as a model: errno %d", errno);
	}
	must(!ioctl(s->vm.vcpu, KVM_GET_SREGS, &s->sregs), "registers");
}

static void close_slot(struct slot *s)
{
	if (s->there)
		vm_close(&s->vm);
	s->there = false;
}

static void new_vm(struct slot *s)
{
	close_slot(s);
	open_slot(s);
}

static void other_model(struct slot *s)
{
	struct model m;
	int status;

	if (s->restored && !l2_may_change_model())
		return;
	any_model(&m);
	status = set_model(&s->vm, &m);
	tell_model(s, &m, status);
	if (status && errno != EINVAL)
		wrong("KVM_SET_CPUID2: errno %d", errno);
	if (!status && !s->has_run)
		s->model = m;
}

static void set_msrs(struct slot *s)
{
	static struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[16];
	} m;
	unsigned int i;
	int status;

	m.head.nmsrs = 1 + below(16);
	for (i = 0; i < m.head.nmsrs; i++) {
		m.entry[i].index = any_msr();
		m.entry[i].data = any_value_for(m.entry[i].index);
	}
	status = ioctl(s->vm.vcpu, KVM_SET_MSRS, &m);
	if (status < 0 || status > (int)m.head.nmsrs)
		wrong("KVM_SET_MSRS of %u: %d, errno %d", m.head.nmsrs, status, errno);
}

static void get_msrs(struct slot *s)
{
	unsigned int i;

	for (i = 0; i < n_msrs; i++) {
		struct vm_msr msr = { .head.nmsrs = 1, .entry.index = msrs[i] };
		int status = ioctl(s->vm.vcpu, KVM_GET_MSRS, &msr);

		if (status < 0 || status > 1)
			wrong("KVM_GET_MSRS: %d, errno %d", status, errno);
		if (status && tells(msrs[i], false, msr.entry.data, TAG_HOST))
			wrong("KVM_GET_MSRS has read %#x: %#llx, the host's", msrs[i], (unsigned long long)msr.entry.data);
	}
}

static void event_filter(struct slot *s)
{
	static struct {
		struct kvm_pmu_event_filter head;
		uint64_t event[310];
	} f;
	unsigned int i;

	memset(&f, 0, sizeof(f));
	f.head.action = one_in(10) ? any() : below(2);
	f.head.nevents = one_in(20) ? 310 : below(12);
	f.head.fixed_counter_bitmap = any();
	f.head.flags = one_in(10) ? any() : below(2);
	for (i = 0; i < f.head.nevents; i++)
		f.event[i] = one_in(2) ? any_value() : one_in(2) ? 0xc0 : cpu.amd ? 0xc2 : 0xc4;
	if (ioctl(s->vm.fd, KVM_SET_PMU_EVENT_FILTER, &f) && errno != EINVAL && errno != E2BIG)
		wrong("KVM_SET_PMU_EVENT_FILTER: errno %d", errno);
}

/* Filter MSRs of the PMU, but not those that the test's own guest needs. */
static void msr_filter(struct slot *s)
{
	static uint8_t bitmap[3][8];
	struct kvm_msr_filter f = { .flags = one_in(20) ? any() & ~1ULL : 0 };
	unsigned int i, k, n = below(4);

	for (i = 0; i < n; i++) {
		uint32_t base = any_msr();

		for (k = 0; k < 8; k++)
			bitmap[i][k] = any() | any();
		if (base == MSR_X2APIC_LVTPC)
			continue;
		f.ranges[i] = (struct kvm_msr_filter_range) {
			.flags = 1 + below(3), .nmsrs = 1 + below(8), .base = base, .bitmap = bitmap[i],
		};
	}
	if (ioctl(s->vm.fd, KVM_X86_SET_MSR_FILTER, &f) && errno != EINVAL)
		wrong("KVM_X86_SET_MSR_FILTER: errno %d", errno);
}

static void init(struct slot *s)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x500 };
	struct kvm_mp_state state;

	/* While VMX is enabled, INIT is blocked. */
	if (inside || (s->l1_on && !cpu.amd))
		return;
	if (ioctl(s->vm.fd, KVM_SIGNAL_MSI, &msi) < 0 || ioctl(s->vm.vcpu, KVM_GET_MP_STATE, &state) ||
	    ioctl(s->vm.vcpu, KVM_SET_SREGS, &s->sregs))
		wrong("INIT: errno %d", errno);
	s->l1_on = false;
}

static void stop_early(struct slot *s)
{
	bool signal = one_in(2);
	int status;

	s->vm.run->immediate_exit = !signal;
	status = signal ? run_with_signal(&s->vm) : ioctl(s->vm.vcpu, KVM_RUN, 0);
	if (status >= 0 || errno != EINTR)
		wrong("a KVM_RUN that may not enter: %d, errno %d", status, errno);
	s->vm.run->immediate_exit = 0;
}

/* Set a counter close to overflow, with PMIs enabled, if model and filters allow it. */
static unsigned int arm(struct program *p)
{
	unsigned int i, n = 0, c = below(4);
	const struct {
		uint32_t msr;
		uint64_t value;
	} step[] = {
		{ MSR_X2APIC_SVR, 0x1ff },
		{ MSR_X2APIC_LVTPC, APIC_DM_NMI },
		{ cpu.amd ? MSR_K7_PERFCTR0 + c : MSR_IA32_PERFCTR0 + c, ~below(100) },
		{ cpu.amd ? MSR_K7_EVNTSEL0 + c : MSR_P6_EVNTSEL0 + c, 0x5300c0 },
		{ cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL : MSR_CORE_PERF_GLOBAL_CTRL, 0xf },
	};

	for (i = 0; i < ARRAY_SIZE(step); i++) {
		p->step[n].kind = WRMSR;
		p->step[n].index = step[i].msr;
		p->step[n++].value = step[i].value;
	}
	return n;
}

static void any_program(struct program *p, bool nested, bool wait)
{
	unsigned int i = one_in(4) ? arm(p) : 0;

	p->nested = nested;
	p->n = i + 1 + below(STEPS - i);
	for (; i < p->n; i++) {
		unsigned int kind = below(16);

		p->step[i].kind = kind < 5 ? RDMSR : kind < 10 ? WRMSR : kind < 14 ? RDPMC : kind < 15 || !wait ? AN_EXIT : AN_OUT;
		p->step[i].index = p->step[i].kind == RDPMC ? any_pmc() : any_msr();
		p->step[i].value = any_value_for(p->step[i].index);
	}
}

static void run_guest(struct slot *s)
{
	struct program *p = &programs[s - slots];
	bool nested = !inside && one_in(3);

	any_program(p, nested, !inside);
	if (nested && !s->l1_on) {
		to_guest(s, nested_on, NULL);
		s->l1_on = true;
	}
	to_guest(s, l1_program, p);
	if (nested_failed)
		wrong("L2 has not begun or not ended by its call");
	look_at_program(p);
}

/* Move out of L2 to another vCPU, maybe of another model, in the middle of a program. */
static bool move_next;

static void move_out_of_l2(struct slot *s)
{
	struct model m;

	nested_save(&s->vm);
	vm_close(&s->vm);
	open_slot(s);
	s->l1_on = s->restored = true;
	if (one_in(2))
		stop_early(s);
	nested_restore(&s->vm, NULL);
	if (one_in(2))
		stop_early(s);
	any_model(&m);
	if (one_in(2) && l2_may_change_model() && !set_model(&s->vm, &m)) {
		tell_model(s, &m, 0);
		s->model = m;
	}
	if (one_in(2))
		set_msrs(s);
	s->has_run = true;
}

static void nested_move(struct slot *s)
{
	struct program *p = &programs[s - slots];

	if (inside)
		return;
	any_program(p, true, false);
	p->step[below(p->n)].kind = AN_OUT;
	if (!s->l1_on) {
		to_guest(s, nested_on, NULL);
		s->l1_on = true;
	}
	move_next = true;
	to_guest(s, l1_program, p);
	move_next = s->restored = false;
	if (nested_failed)
		wrong("L2 has not begun or not ended by its call");
	look_at_program(p);
}

static void park_check(struct slot *s)
{
	uint64_t mask = s->model.width && s->model.width < 48 && !cpu.amd ? (1ULL << s->model.width) - 1 : (1ULL << 48) - 1;

	if (inside)
		return;
	park.counter = cpu.amd ? MSR_K7_PERFCTR0 : MSR_IA32_PERFCTR0;
	park.selector = cpu.amd ? MSR_K7_EVNTSEL0 : MSR_P6_EVNTSEL0;
	park.control = s->model.version < 2 ? 0 :
		       cpu.amd		    ? MSR_AMD64_PERF_CNTR_GLOBAL_CTL :
					      MSR_CORE_PERF_GLOBAL_CTRL;
	to_guest(s, parked, NULL);
	if (!park.good)
		return;
	park_looks++;
	park.counted &= mask;
	if (park.counted > park_most)
		park_most = park.counted;
	/*
	 * A VM-exit costs the host many hundred instructions.  The guest executes less than ten,
	 * and on AMD a VM-entry counts as one.
	 */
	if (park.counted > 60)
		wrong("a counter of all instructions has counted %llu across an exit",
		      (unsigned long long)park.counted);
}

/* ---- the host's own count */

static struct slot *exact_slot;

static void __attribute__((noinline)) exact_run(void)
{
	to_guest(exact_slot, l1_program, &exact_program);
}

static void exact(struct slot *s)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_kernel = 1,
		.exclude_guest = 1,
	};
	int64_t apart;
	int fd;

	/* A perf-based guest may have all counters, and count events of this program, too. */
	if (!cpu.mediated)
		return;
	close_all();
	any_program(&exact_program, false, false);
	fd = perf_open(&attr, 0, -1, -1);
	if (fd < 0)
		wrong("an event of the host: errno %d", errno);
	exact_slot = s;
	exact_run();
	apart = vm_host_event_delta(fd, exact_run);
	close(fd);
	look_at_program(&exact_program);
	exact_looks++;
	if (apart)
		wrong("the host's count of user mode is %lld more than the machine's", (long long)apart);
}

/* ---- operations */

static void plant(struct slot *unused)
{
	(void)unused;
	/* Leave out counters that events or a perf-based guest use. */
	if (!n_events && cpu.mediated)
		device_plant(sched_getcpu(), true);
}

static void events_on(struct slot *unused)
{
	unsigned int i;

	(void)unused;
	/*
	 * A planted status belongs to none of these events; perf would complain about it when one
	 * overflows.
	 */
	for (i = 0; i < n_cpus && cpu.mediated; i++)
		device_write(i,
			     cpu.amd ? MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR :
				       MSR_CORE_PERF_GLOBAL_OVF_CTRL,
			     HOST_STATUS);
	if (n_events < EVENTS)
		open_some();
}

static void events_off(struct slot *unused)
{
	(void)unused;
	close_some();
}

static void events_for_guests(struct slot *unused)
{
	(void)unused;
	include_guests();
}

static void migrate(struct slot *unused)
{
	(void)unused;
	on_cpu(0, below(n_cpus));
}

static const struct operation {
	const char *what;
	unsigned int weight;
	bool inside;			/* also while a guest waits */
	void (*go)(struct slot *s);
} operations[] = {
	{ "a guest's program", 30, true, run_guest },
	{ "KVM_SET_MSRS", 10, true, set_msrs },
	{ "KVM_GET_MSRS", 4, true, get_msrs },
	{ "another model", 6, true, other_model },
	{ "a new VM", 4, false, new_vm },
	{ "out of L2 to another VM", 4, false, nested_move },
	{ "an event filter", 4, true, event_filter },
	{ "an MSR filter", 4, true, msr_filter },
	{ "INIT", 3, false, init },
	{ "KVM_RUN without an entry", 5, true, stop_early },
	{ "registers of the host planted", 8, true, plant },
	{ "events of the host", 6, true, events_on },
	{ "fewer events of the host", 6, true, events_off },
	{ "an event that includes guests", 2, true, events_for_guests },
	{ "to a CPU", 5, true, migrate },
	{ "a counter over an exit", 4, false, park_check },
};

static void operate(struct slot *s)
{
	unsigned int total = 0, i, pick;

	for (i = 0; i < ARRAY_SIZE(operations); i++)
		total += operations[i].weight;
	pick = below(total);
	for (i = 0; pick >= operations[i].weight; i++)
		pick -= operations[i].weight;
	if (inside && !operations[i].inside)
		return;
	doing = operations[i].what;
	counts[i]++;
	if (trace)
		note("%llu%s, VM %u: %s", (unsigned long long)op, inside ? ", while the other waits" : "",
		     (unsigned int)(s - slots), doing);
	operations[i].go(s);
	look_from_host();
	complaints();
}

/* A guest that waits cannot run another program. */
static void touch_waiting(struct slot *s)
{
	static void (*const touch[])(struct slot *s) = { set_msrs, get_msrs, stop_early, other_model };

	doing = "changing the guest that waits";
	touch[below(ARRAY_SIZE(touch))](s);
	look_from_host();
	complaints();
}

/* In the middle of a program: more operations, on this VM or on the other, which then runs. */
static void hook(struct vm *vm)
{
	struct slot *s = (struct slot *)((char *)vm - offsetof(struct slot, vm));
	const char *outside = doing;
	unsigned int n = 1 + below(3);

	if (inside)
		return;
	inside = true;
	if (move_next) {
		move_next = false;
		move_out_of_l2(s);
	}
	while (n--) {
		struct slot *other = &slots[below(VMS)];

		if (other == s)
			touch_waiting(s);
		else
			operate(other);
	}
	inside = false;
	doing = outside;
}

static void begin_round(uint64_t round)
{
	unsigned int i;

	random_state = seed + round * 0x51ed2701;
	on_cpu(0, 0);
	close_all();
	for (i = 0; i < VMS; i++)
		close_slot(&slots[i]);
	/* Leave nothing of the round before or of another test. */
	for (i = 0; i < n_cpus && cpu.mediated; i++)
		device_plant(i, false);
	doing = "a new round";
	include_guests();
	for (i = 0; i < VMS; i++)
		open_slot(&slots[i]);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 0) : otherwise;
}

static uint64_t live(void)
{
	return mark_read(TRUTH_LIVE_LVTPC) + mark_read(TRUTH_LIVE_SELECTOR) + mark_read(TRUTH_LIVE_COUNTER);
}

int main(void)
{
	int right;
	uint64_t live_before;
	unsigned int i;

	cpu_init();
	signal(SIGUSR1, SIG_IGN);
	n_cpus = mark_read(TRUTH_CPUS);
	n_cpus = n_cpus > 2 ? 2 : n_cpus;
	device_open(n_cpus);
	add_all();
	seed = number("WALK_SEED", SEED);
	from = number("WALK_FROM", 0) / ROUND * ROUND;
	ops = number("WALK_OPS", OPS);
	trace = number("WALK_TRACE", 0);
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	must(kmsg >= 0 && lseek(kmsg, 0, SEEK_END) >= 0, "the kernel's log");
	right = host_event((struct perf_event_attr) {
		.type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_INSTRUCTIONS, .disabled = 1 }, -1);
	must(right >= 0 && mmap(NULL, VM_PAGE, PROT_READ, MAP_SHARED, right, 0) != MAP_FAILED, "the right to RDPMC");
	note("WALK_SEED=%llu WALK_FROM=%llu WALK_OPS=%llu", (unsigned long long)seed, (unsigned long long)from,
	     (unsigned long long)ops);
	live_before = live();
	for (op = from; op < from + ops; op++) {
		if (op > from && (op - from) % 100000 == 0)
			note("%llu operations", (unsigned long long)(op - from));
		if (op % ROUND == 0)
			begin_round(op / ROUND);
		if (op % EXACT_EVERY == EXACT_EVERY - 1) {
			doing = "the host's own count";
			exact(&slots[below(VMS)]);
			if (cpu.mediated && live() != live_before)
				wrong("%llu writes to the live PMU with a guest's interrupt",
				      (unsigned long long)(live() - live_before));
		} else {
			operate(&slots[below(VMS)]);
		}
	}
	for (i = 0; i < ARRAY_SIZE(operations); i++)
		note("%s: %llu", operations[i].what, (unsigned long long)counts[i]);
	close_all();
	for (i = 0; i < VMS; i++)
		close_slot(&slots[i]);
	complaints();
	note("guests have read %llu values, of which %llu are a #GP; an exit counts at most %llu",
	     (unsigned long long)reads, (unsigned long long)faulted, (unsigned long long)park_most);
	check(reads > ops / 2 && faulted < reads,
	      "no guest has read a value of the host, in %llu reads",
	      (unsigned long long)reads);
	check(!cpu.mediated || looks >= ops / 2, "the host has read nothing of a guest, in %llu looks", (unsigned long long)looks);
	check(!cpu.mediated || ops < EXACT_EVERY || exact_looks, "the host's own count was exact each of %llu times",
	      (unsigned long long)exact_looks);
	check(ops < 2 * ROUND || guest_nmis, "guests have had %u PMIs", guest_nmis);
	check(ops < ROUND || park_looks, "no counter has counted the host, in %llu exits", (unsigned long long)park_looks);
	check(op == from + ops, "%llu operations, with documented errors and no line of the kernel's log", (unsigned long long)ops);
	return check_done();
}
