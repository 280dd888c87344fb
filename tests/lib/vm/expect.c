// SPDX-License-Identifier: GPL-2.0
/*
 * The value that a counter of a measured region must have: where it started, plus what the machine
 * counted, plus what KVM emulated.
 */
#include "vm.h"

/* Instructions of vm_pmi_entry before it reads the machine's count of kernel instructions. */
#define VM_PMI_INSNS	11

static bool counts(const struct vm_counter *c, const struct vm_insn *insn)
{
	return (c->event == VM_INSNS || insn->branch) &&
	       c->privilege & (insn->user ? VM_USER : VM_KERNEL);
}

uint64_t vm_emulated(const struct vm_body *body, const struct vm_counter *c, uint64_t after,
		     uint64_t to)
{
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < body->insns; i++)
		if (body->insn[i].emulated && body->insn[i].next > after &&
		    body->insn[i].next <= to && counts(c, &body->insn[i]))
			n += body->insn[i].times;
	return n;
}

unsigned int vm_write(unsigned int i)
{
	return vm_seen.amd ? i : 0;
}

uint64_t vm_truth(const struct vm_region *s, unsigned int i, int place)
{
	const struct vm_counter *c = &s->counter[i];
	bool insns = c->event == VM_INSNS;
	uint64_t user, kernel;

	if (place >= 0) {
		unsigned int read = s->body->point[place].truth;
		const struct vm_point *point = &vm_seen.point[read];

		user = insns ? point->insns_user : point->branches_user;
		kernel = insns ? point->insns_kernel + s->body->point[read].insns :
				 point->branches_kernel;
	} else {
		/*
		 * With several writes, each one before this counter's causes a VM-entry, which AMD
		 * counts as an instruction and as a branch.
		 */
		const uint64_t *truth = s->frame.truth[place == VM_END];
		unsigned int write = vm_write(i);

		user = truth[insns ? INSNS_USER : BRANCHES_USER];
		kernel = insns ? truth[INSNS_KERNEL] + VM_SWITCH_INSNS(write) + write :
				 truth[BRANCHES_KERNEL] + write;
	}
	return (c->privilege & VM_KERNEL ? kernel : 0) + (c->privilege & VM_USER ? user : 0);
}

uint64_t vm_events(const struct vm_region *s, unsigned int i, int from, int to)
{
	const struct vm_counter *c = &s->counter[i];
	const struct vm_body *body = s->body;
	uint64_t first = (uint64_t)body->code, last = first + body->length;
	uint64_t after = from < 0 ? first : body->point[from].next - 1;
	uint64_t before = to < 0 ? last : body->point[to].next - 1;
	uint64_t n = vm_truth(s, i, to) - vm_truth(s, i, from) +
		     vm_emulated(body, c, after, before);
	unsigned int p;

	if (c->event != VM_INSNS || !(c->privilege & VM_KERNEL))
		return n;
	/* WRMSRs of the ends: at the first one its own and later ones, at the last earlier ones. */
	if (!vm_seen.global)
		n += (from == VM_BEGIN ? s->frame.on.n - vm_write(i) : 0) +
		     (to == VM_END ? vm_write(i) : 0);
	for (p = 0; p < vm_seen.pmis && p < VM_PMIS; p++) {
		uint64_t rip = vm_seen.pmi[p].rip;

		/*
		 * A PMI outside of the code is in vm_switch.  Tests have such PMIs only at the
		 * first end.
		 */
		if (rip < first || rip > last)
			rip = first;
		if ((from == VM_BEGIN || rip > after) && (to == VM_END || rip <= before))
			n += VM_PMI_EMULATED;
	}
	/* The EOIs of other interrupts.  Regions with these have no points. */
	n += vm_seen.eoi ? 0 : s->irqs;
	return n;
}

uint64_t vm_expected(const struct vm_region *s, unsigned int i)
{
	return (s->counter[i].start + vm_events(s, i, VM_BEGIN, VM_END)) & VM_MASK;
}

uint64_t vm_pmi_events(const struct vm_region *s, unsigned int i, int from, unsigned int p)
{
	const struct vm_counter *c = &s->counter[i];
	const struct vm_pmi *pmi = &vm_seen.pmi[p];
	uint64_t first = (uint64_t)s->body->code, now = 0, n;
	bool insns = c->event == VM_INSNS;

	if (c->privilege & VM_KERNEL)
		now += insns ? pmi->insns_kernel - VM_PMI_INSNS : pmi->branches_kernel;
	if (c->privilege & VM_USER)
		now += insns ? pmi->insns_user : pmi->branches_user;
	/* On AMD, the VM-entry that injects the PMI counts in the PMI's handler. */
	if (vm_seen.amd && insns && c->privilege & VM_KERNEL)
		now--;
	n = now - vm_truth(s, i, from) +
	    vm_emulated(s->body, c, from < 0 ? first : s->body->point[from].next - 1, pmi->rip);
	if (from == VM_BEGIN && insns && c->privilege & VM_KERNEL && !vm_seen.global)
		n += s->frame.on.n - vm_write(i);
	return n;
}

/*
 * perf rounds a period of 1 up to 2 (x86_perf_event_set_period()).  After an emulated event KVM
 * sets the counter again, so a PMI is one event late if that event left one event to go.  Return
 * true if the second to last event before @rip was emulated.
 */
static bool one_to_go(const struct vm_region *s, unsigned int i, uint64_t rip)
{
	const struct vm_counter *c = &s->counter[i];
	const struct vm_body *body = s->body;
	unsigned int events = 0;
	int k = body->insns - 1;

	while (k >= 0 && body->insn[k].next != rip)
		k--;
	for (; k >= 0 && events <= 2; k--) {
		if (!counts(c, &body->insn[k]))
			continue;
		/*
		 * On AMD the VM-entry after an emulated instruction is an event too, except the one
		 * after the last instruction, which injects the PMI.
		 */
		if (body->insn[k].emulated && vm_seen.amd && c->event == VM_INSNS && events &&
		    events++ == 2)
			return false;
		if (events++ == 2)
			return body->insn[k].emulated;
	}
	return false;
}

uint64_t vm_pmi_late(const struct vm_region *s, unsigned int i, int from, unsigned int p,
		     uint64_t to)
{
	const struct vm_pmi *pmi = &vm_seen.pmi[p];
	uint64_t late = vm_pmi_events(s, i, from, p) - to;

	return late <= s->late + one_to_go(s, i, pmi->rip) + (pmi->interrupts - s->interrupts) ?
	       0 : late;
}

bool vm_pmi_in_code(const struct vm_region *s, unsigned int p)
{
	uint64_t first = (uint64_t)s->body->code, rip = vm_seen.pmi[p].rip;

	return vm_seen.pmis > p && rip > first && rip <= first + s->body->length;
}

long long vm_signed(uint64_t value)
{
	return (long long)(value << (64 - VM_WIDTH)) >> (64 - VM_WIDTH);
}

void vm_check(const struct vm_region *s, const char *what)
{
	const struct vm_counter *c = &s->counter[0];
	uint64_t bit = vm_bit(c), value = c->start & VM_MASK, wrong = 0, now;
	unsigned int pmis = 0, place, points = s->body->points;
	int from = VM_BEGIN;
	char line[160];

	for (place = 0; place <= points; place++) {
		enum vm_op op = place < points ? s->body->point[place].op : VM_OP_NONE;

		if (op == VM_OP_HOOK || op == VM_OP_HOOK_MMIO || op == VM_OP_INVALID)
			continue;
		now = value + vm_events(s, 0, from, op ? (int)place : VM_END);
		if (op == VM_OP_STATUS) {
			/*
			 * A test reads the status only before a PMI: the PMI's handler clears it.
			 */
			snprintf(line, sizeof(line), "%s: status, point %u", what, place);
			check_equal(line, vm_seen.point[place].value, now > VM_MASK ? bit : 0,
				    "set if the counter has overflowed");
			continue;
		}
		if (!op) {
			snprintf(line, sizeof(line), "%s: at the end", what);
			check_equal(line, vm_signed(c->value), vm_signed(now),
				    "since the last write: the machine's count and KVM's");
		} else if (op == VM_OP_GET) {
			snprintf(line, sizeof(line), "%s: read, point %u", what, place);
			check_equal(line, vm_signed(vm_seen.point[place].value), vm_signed(now),
				    "the machine's count and KVM's so far");
			continue;
		}
		if (now > VM_MASK && c->interrupt && pmis < vm_seen.pmis) {
			snprintf(line, sizeof(line), "%s: PMI %u, too late by", what, pmis);
			check_equal(line, vm_pmi_late(s, 0, from, pmis, VM_MASK + 1 - value), 0,
				    "it comes at once, or as soon as perf can");
			wrong += !vm_seen.amd && vm_seen.pmi[pmis].status != bit;
		}
		pmis += now > VM_MASK;
		if (op) {
			from = place;
			value = s->body->point[place].set & VM_MASK;
		}
	}
	snprintf(line, sizeof(line), "%s: PMIs", what);
	check_equal(line, vm_seen.pmis, c->interrupt ? pmis : 0,
		    "one for each overflow");
	if (!vm_seen.amd) {
		snprintf(line, sizeof(line), "%s: status", what);
		check_equal(line, s->status | wrong, c->interrupt ? 0 : pmis ? bit : 0,
			    "a PMI finds and clears it");
	}
}
