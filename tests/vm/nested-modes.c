// SPDX-License-Identifier: GPL-2.0
/*
 * Rule: on AMD, a selector with the host-only bit counts in a guest that is a hypervisor itself
 * (L1), and one with the guest-only bit in L1's guest (L2), as on hardware.  Without EFER.SVME a
 * selector with either or both of these bits counts nothing.
 */
#include "nested.h"

static void modes(void)
{
	static const struct {
		const char *what;
		uint64_t bits;
		bool l1, l2;
	} rows[] = {
		{ "neither bit", 0, 1, 1 },
		{ "guest-only", AMD64_EVENTSEL_GUESTONLY, 0, 1 },
		{ "host-only", AMD64_EVENTSEL_HOSTONLY, 1, 0 },
		{ "both bits", AMD64_EVENTSEL_GUESTONLY | AMD64_EVENTSEL_HOSTONLY, 1, 1 },
	};
	static const char *const codes[] = {
		"",
		"nop*9 jmp nop*3",
		"nop*3 rdmsr nop*2 rdpmc jmp wrmsr nop*2",
		"nop*5 user{nop*7 jmp out-vmm nop*2} rdmsr nop*3",
	};
	unsigned int r, k;

	for (k = 0; k < ARRAY_SIZE(codes); k++) {
		nested_defaults();
		vm_body(&nested.l2, codes[k]);
		for (r = 0; r < ARRAY_SIZE(rows); r++) {
			nested_counter(VM_INSNS, VM_KERNEL, 0, 0);
			nested.on_bits[r] = rows[r].bits;
		}
		nested_measure();
		for (r = 0; r < ARRAY_SIZE(rows); r++) {
			/* VMRUN retires in the mode that it leads to. */
			uint64_t part2 = nested_insns_of_l2(&nested.s.counter[r]) + 1;

			snprintf(nested.name, sizeof(nested.name), "%s, \"%s\"%s", rows[r].what,
				 codes[k], nested.beside ? ", beside the host's event" : "");
			check_equal(nested.name, nested.s.counter[r].value,
				    (rows[r].l1 ? nested_events(r) - part2 : 0) +
					    (rows[r].l2 ? part2 : 0),
				    "in L1 without VMRUN, in L2 with it and each VM-entry");
		}
	}
}

/*
 * Without EFER.SVME there is neither host mode nor guest mode, so a selector with one of the bits,
 * or with both, selects nothing.
 */
static struct {
	uint64_t select[4], value[4], back[4];
	bool enabled;
} svme;

static void svme_guest(void *unused)
{
	unsigned int i;

	(void)unused;
	wrmsr(MSR_EFER, svme.enabled ? rdmsr(MSR_EFER) | EFER_SVME : rdmsr(MSR_EFER) & ~EFER_SVME);
	for (i = 0; i < 4; i++) {
		uint32_t lo = svme.select[i], hi = svme.select[i] >> 32;

		wrmsr(MSR_F15H_PERF_CTR + 2 * i, 0);
		asm volatile("wrmsr\n\t"
			     ".rept 100\n\tnop\n\t.endr\n\t"
			     "xor %%eax, %%eax\n\txor %%edx, %%edx\n\twrmsr"
			     : "+a" (lo), "+d" (hi) : "c" (MSR_F15H_PERF_CTL + 2 * i) : "memory");
		svme.value[i] = rdmsr(MSR_F15H_PERF_CTR + 2 * i);
	}
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
}

static void svme_off(void)
{
	static const char *const bits[] = { "neither bit", "guest-only", "host-only", "both bits" };
	unsigned int enabled, i;

	for (enabled = 0; enabled <= 1; enabled++) {
		svme.enabled = enabled;
		for (i = 0; i < 4; i++)
			svme.select[i] = 0x4200c0 | (i & 1 ? AMD64_EVENTSEL_GUESTONLY : 0) |
					 (i & 2 ? AMD64_EVENTSEL_HOSTONLY : 0);
		vm_call(&nested.vm, svme_guest, NULL);
		vm_call(&nested.vm, svme_guest, NULL);
		for (i = 0; i < 4; i++) {
			bool counts = i == 0 || (i & 2 && enabled);

			/* One more is allowed: a tick of the host causes a VM-entry. */
			check_between(nested_title(bits[i], enabled ? "SVME=1, in L1" : "SVME=0"),
				      svme.value[i], counts ? 104 : 0, counts ? 105 : 0,
				      "the WRMSR, the VM-entry, the NOPs, two more");
		}
	}
}

int main(void)
{
	nested_open();
	nested_run(modes);
	nested_run(svme_off);
	return nested_close();
}
