/////////////////////////////////////////////////////////////////////////
// $Id$
/////////////////////////////////////////////////////////////////////////
//
//  Copyright (C) 2026  The kvm-pmu authors
//
//  This library is free software; you can redistribute it and/or
//  modify it under the terms of the GNU Lesser General Public
//  License as published by the Free Software Foundation; either
//  version 2 of the License, or (at your option) any later version.
//
//  This library is distributed in the hope that it will be useful,
//  but WITHOUT ANY WARRANTY; without even the implied warranty of
//  MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
//  Lesser General Public License for more details.
//
//  You should have received a copy of the GNU Lesser General Public
//  License along with this library; if not, write to the Free Software
//  Foundation, Inc., 51 Franklin St, Fifth Floor, Boston, MA B 02110-1301 USA
/////////////////////////////////////////////////////////////////////////


#define NEED_CPU_REG_SHORTCUTS 1
#include "bochs.h"
#include "cpu.h"
#include "cpuid.h"
#include "msr.h"
#include "gui/siminterface.h"
#include "pc_system.h"
#include "param_names.h"

#if BX_SUPPORT_PERFMON

#include "apic.h"
#include "mark.h"

#define LOG_THIS

// Counters are 48 bits wide on both vendors.
const Bit64u BX_PMU_MASK = BX_CONST64(0x0000ffffffffffff);

// MSR addresses. The PMU owns whole blocks, absent counters included, so that an
// access to an absent counter raises #GP even if Bochs ignores unknown MSRs.
enum {
  BX_PMU_MSR_BIOS_SIGN_ID     = 0x08b,
  BX_PMU_MSR_PMC0             = 0x0c1,  // to 0x0cc
  BX_PMU_MSR_TSX_FORCE_ABORT  = 0x10f,
  BX_PMU_MSR_EVTSEL0          = 0x186,  // to 0x195
  BX_PMU_MSR_MISC_ENABLE      = 0x1a0,
  BX_PMU_MSR_DEBUGCTL         = 0x1d9,
  BX_PMU_MSR_FIXED0           = 0x309,  // to 0x318
  BX_PMU_MSR_METRICS          = 0x329,
  BX_PMU_MSR_CAPABILITIES     = 0x345,
  BX_PMU_MSR_FIXED_CTRL       = 0x38d,
  BX_PMU_MSR_GLOBAL_STATUS    = 0x38e,
  BX_PMU_MSR_GLOBAL_CTRL      = 0x38f,
  BX_PMU_MSR_STATUS_RESET     = 0x390,
  BX_PMU_MSR_STATUS_SET       = 0x391,
  BX_PMU_MSR_GLOBAL_INUSE     = 0x392,
  BX_PMU_MSR_PEBS_ENABLE      = 0x3f1,
  BX_PMU_MSR_FULL_PMC0        = 0x4c1,  // to 0x4d0

  BX_PMU_AMD_STATUS           = 0xc0000300,
  BX_PMU_AMD_CTL              = 0xc0000301,
  BX_PMU_AMD_STATUS_CLR       = 0xc0000302,
  BX_PMU_AMD_STATUS_SET       = 0xc0000303,
  BX_PMU_K7_EVTSEL0           = 0xc0010000,
  BX_PMU_K7_CTR0              = 0xc0010004,
  BX_PMU_AMD_PERF_CTL0        = 0xc0010200,     // even: control, odd: counter; to 0xc001020f
  BX_PMU_AMD_L3_CTL0          = 0xc0010230,     // likewise; to 0xc001023b
  BX_PMU_AMD_NB_CTL0          = 0xc0010240      // likewise; to 0xc001025f
};

// IA32_PERFEVTSELx and, except for bit 21, PERF_CTLx
const Bit64u BX_PMU_SEL_USR       = 1 << 16;
const Bit64u BX_PMU_SEL_OS        = 1 << 17;
const Bit64u BX_PMU_SEL_EDGE      = 1 << 18;
const Bit64u BX_PMU_SEL_INT       = 1 << 20;
const Bit64u BX_PMU_SEL_EN        = 1 << 22;
const Bit64u BX_PMU_SEL_INV       = 1 << 23;
const Bit64u BX_PMU_SEL_HOST_GUEST = BX_CONST64(3) << 40;       // AMD

const Bit64u BX_PMU_SEL_ANY       = 1 << 21;                    // Intel
const Bit64u BX_PMU_SEL_RESERVED_INTEL = BX_CONST64(0xffffffff00280000); // pin control, any thread
const Bit64u BX_PMU_SEL_RESERVED_AMD   = BX_CONST64(0xfffffcf000280000);

// IA32_PERF_GLOBAL_CTRL and _STATUS
const Bit64u BX_PMU_PERF_METRICS   = BX_CONST64(1) << 48;

// IA32_PERF_GLOBAL_STATUS
const Bit64u BX_PMU_STATUS_LBR_FRZ = BX_CONST64(1) << 58;
const Bit64u BX_PMU_STATUS_CTR_FRZ = BX_CONST64(1) << 59;
const Bit64u BX_PMU_STATUS_UNCORE  = BX_CONST64(1) << 61;
const Bit64u BX_PMU_STATUS_DS      = BX_CONST64(1) << 62;
const Bit64u BX_PMU_STATUS_COND    = BX_CONST64(1) << 63;

const Bit64u BX_PMU_INUSE_PMI      = BX_CONST64(1) << 63;

// IA32_DEBUGCTL: the bits that are kept, and all bits that may be written
const Bit64u BX_PMU_DEBUGCTL_FREEZE_LBRS    = 1 << 11;
const Bit64u BX_PMU_DEBUGCTL_FREEZE_PERFMON = 1 << 12;
const Bit64u BX_PMU_DEBUGCTL_FREEZE_SMM     = 1 << 14;
const Bit64u BX_PMU_DEBUGCTL_VALID          = 0xdfc3;
const Bit64u BX_PMU_DEBUGCTL_VALID_AMD      = 0x187f;

// IA32_MISC_ENABLE: fast strings; and read-only bits: there are counters, there is
// no branch trace store, there is no PEBS
const Bit64u BX_PMU_MISC_FAST_STRINGS   = 1 << 0;
const Bit64u BX_PMU_MISC_PERFMON        = 1 << 7;
const Bit64u BX_PMU_MISC_NO_BTS_PEBS    = 3 << 11;
const Bit64u BX_PMU_MISC_READ_ONLY      = BX_PMU_MISC_PERFMON | BX_PMU_MISC_NO_BTS_PEBS;

// IA32_PERF_CAPABILITIES: FREEZE_WHILE_SMM, full-width counter writes, PERF_METRICS
const Bit64u BX_PMU_CAP_FREEZE_SMM = 1 << 12;
const Bit64u BX_PMU_CAP_FW_WRITE   = 1 << 13;
const Bit64u BX_PMU_CAP_METRICS    = 1 << 15;

// The slots of a tick; those of a retired instruction; and those that are lost by
// each misprediction, taken branch or reference to the last level cache.
const unsigned BX_PMU_TICK_SLOTS   = BX_PMU_CYCLES_PER_TICK * BX_PMU_SLOTS_PER_CYCLE;
const unsigned BX_PMU_RETIRE_SLOTS = BX_PMU_TICK_SLOTS / 2;
const unsigned BX_PMU_LOST_SLOTS   = 2;
// the fixed counter that counts slots
const unsigned BX_PMU_SLOTS        = BX_PMU_GP_MAX + 3;

// Counters that all CPUs share. While enabled, they count the machine's clock,
// whatever their event, and do not interrupt.
static struct bx_pmu_shared_t {
  Bit64u ctl, value, since;
} shared_counters[BX_PMU_NB_MAX + BX_PMU_L3];

static Bit64u shared_value(const bx_pmu_shared_t *c)
{
  Bit64u passed = (c->ctl & BX_PMU_SEL_EN) ? bx_pc_system.time_ticks() - c->since : 0;
  return (c->value + passed) & BX_PMU_MASK;
}

static void shared_write(bx_pmu_shared_t *c, bool counter, Bit64u val)
{
  c->value = counter ? val & BX_PMU_MASK : shared_value(c);
  if (! counter) c->ctl = val;
  c->since = bx_pc_system.time_ticks();
}

// a trace is executed as a whole, so look ahead by its length
const unsigned BX_PMU_LOOK_AHEAD = BX_MAX_TRACE_LENGTH;

const Bit64u BX_PMU_NEVER_RESET = BX_MAX_BIT64U - 1;

bx_pmu_c::bx_pmu_c(): cpu(NULL), amd(false), version(0), num_gp(0), num_fixed(0)
{
  memset(ctr, 0, sizeof(ctr));
  memset(evtsel, 0, sizeof(evtsel));
  memset(source, 0, sizeof(source));
  memset(&truth_counts, 0, sizeof(truth_counts));
  memset(exits, 0, sizeof(exits));
  exits_other = 0;
  ips = nmi_delay = 0;
  save_ctrl = freeze_smm = guest_only = true;
  any_thread = force_abort = freeze_pmc = false;
  metrics = num_nb = num_l3 = signature = microcode = 0;
  memset(metric_field, 0, sizeof(metric_field));
  memset(metric_slots, 0, sizeof(metric_slots));
  memset(metric_last, 0, sizeof(metric_last));
  metric_base = 0;
  fixed_ctrl = global_ctrl = global_status = debugctl = misc_enable = tsx_force_abort = 0;
  user = guest = smm = smm_frozen = smm_guest = false;
  smi_at = BX_MAX_BIT64U;
  for (unsigned n=0; n < BX_PMU_NMIS; n++) nmi_at[n] = BX_MAX_BIT64U;
  early_icount = BX_MAX_BIT64U;
  check_icount = BX_PMU_NEVER_RESET;
  unretired = last_retired = last_branches = last_icount = 0;
  pmi_requested = predictor_on = llc_on = memory_on = false;
  flush_models();
}

// The CPU model decides on the vendor, and whether there can be a PMU. The perfmon
// options decide on everything else, in the same way for all models of a vendor.
void bx_pmu_c::init(BX_CPU_C *_cpu, const char *prefix)
{
  cpuid_function_t leaf;

  cpu = _cpu;
  put(prefix, prefix);

  ips = SIM->get_param_num(BXPN_IPS)->get();
  version = SIM->get_param_num(BXPN_PERFMON_VERSION)->get();
  num_fixed = SIM->get_param_num(BXPN_PERFMON_FIXED)->get();
  save_ctrl = SIM->get_param_bool(BXPN_PERFMON_SAVE_CTRL)->get();
  freeze_smm = SIM->get_param_bool(BXPN_PERFMON_FREEZE_SMM)->get();
  guest_only = SIM->get_param_bool(BXPN_PERFMON_GUEST_ONLY)->get();
  nmi_delay = SIM->get_param_num(BXPN_PERFMON_NMI_DELAY)->get();
  any_thread = SIM->get_param_bool(BXPN_PERFMON_ANY_THREAD)->get();
  force_abort = SIM->get_param_bool(BXPN_PERFMON_FORCE_ABORT)->get();
  freeze_pmc = SIM->get_param_bool(BXPN_PERFMON_FREEZE_PMC)->get();
  metrics = SIM->get_param_num(BXPN_PERFMON_METRICS)->get();
  num_nb = SIM->get_param_num(BXPN_PERFMON_NORTHBRIDGE)->get();
  num_l3 = SIM->get_param_bool(BXPN_PERFMON_L3)->get() ? BX_PMU_L3 : 0;
  signature = SIM->get_param_num(BXPN_PERFMON_SIGNATURE)->get();
  microcode = SIM->get_param_num(BXPN_PERFMON_MICROCODE)->get();

  cpu->cpuid->get_cpuid_leaf(0, 0, &leaf);
  amd = (leaf.ebx == 0x68747541);       // "Auth"
  if (amd) {
    cpu->cpuid->get_cpuid_leaf(0x80000001, 0, &leaf);
    if (! (leaf.ecx & BX_CPUID_EXT1_ECX_PERFCTR_EXT_CORE)) version = 0;
    if (version > 2) version = 2;
    num_gp = BX_PMU_GP_AMD;
    num_fixed = metrics = 0;
    any_thread = force_abort = false;
    if (version < 2) freeze_pmc = false;
    if (! version) num_nb = num_l3 = 0;
  }
  else {
    if (leaf.eax < 0xa) version = 0;
    num_gp = SIM->get_param_num(BXPN_PERFMON_GENERAL)->get();
    if (version < 2) num_fixed = 0;
    if (num_fixed < 4) metrics = 0;
    num_nb = num_l3 = 0;
    freeze_pmc = false;
  }

  if (! version) num_gp = num_fixed = 0;
  if (amd || version < 2) freeze_smm = false;

  if (present())
    BX_INFO(("%s version %d, %d general and %d fixed counters",
       amd ? "AMD core counters" : "Intel architectural perfmon", version, num_gp, num_fixed));
}

void bx_pmu_c::reset(unsigned type)
{
  // INIT leaves the PMU as it is
  if (type != BX_RESET_HARDWARE) return;

  // not at the first reset: the CPU has no icount yet
  if (check_icount != BX_PMU_NEVER_RESET) settle();

  for (unsigned n=0; n < BX_PMU_COUNTERS; n++) {
    memset(&ctr[n], 0, sizeof(ctr[n]));
  }
  memset(evtsel, 0, sizeof(evtsel));
  fixed_ctrl = global_status = debugctl = 0;
  misc_enable = BX_PMU_MISC_FAST_STRINGS;
  tsx_force_abort = 0;
  global_ctrl = has_global_ctrl() ? gp_mask() : 0;
  memset(metric_field, 0, sizeof(metric_field));
  memset(metric_slots, 0, sizeof(metric_slots));
  metric_base = 0;
  memset(shared_counters, 0, sizeof(shared_counters));
  user = guest = smm = smm_frozen = smm_guest = false;
  smi_at = BX_MAX_BIT64U;
  for (unsigned n=0; n < BX_PMU_NMIS; n++) nmi_at[n] = BX_MAX_BIT64U;

  // the CPU's icount starts at zero again, and so does everything related to it
  early_icount = BX_MAX_BIT64U;
  unretired = last_retired = last_icount = 0;
  pmi_requested = false;
  flush_models();

  for (unsigned n=0; n < BX_PMU_COUNTERS; n++) decode(n);
  arm();
}

void bx_pmu_c::register_state(bx_param_c *parent)
{
  bx_list_c *pmu = new bx_list_c(parent, "PMU");
  char name[32];
  unsigned n;

  for (n=0; n < BX_PMU_COUNTERS; n++) {
    sprintf(name, "counter%u", n);
    bx_list_c *list = new bx_list_c(pmu, name);
    new bx_shadow_num_c(list, "value", &ctr[n].value, BASE_HEX);
    new bx_shadow_num_c(list, "last", &ctr[n].last);
    new bx_shadow_num_c(list, "last_tick", &ctr[n].last_tick);
    new bx_shadow_bool_c(list, "condition", &ctr[n].condition);
  }
  for (n=0; n < BX_PMU_GP_MAX; n++) {
    sprintf(name, "evtsel%u", n);
    new bx_shadow_num_c(pmu, name, &evtsel[n], BASE_HEX);
  }
  BXRS_HEX_PARAM_FIELD(pmu, fixed_ctrl, fixed_ctrl);
  BXRS_HEX_PARAM_FIELD(pmu, global_ctrl, global_ctrl);
  BXRS_HEX_PARAM_FIELD(pmu, global_status, global_status);
  BXRS_HEX_PARAM_FIELD(pmu, debugctl, debugctl);
  BXRS_HEX_PARAM_FIELD(pmu, misc_enable, misc_enable);
  BXRS_HEX_PARAM_FIELD(pmu, tsx_force_abort, tsx_force_abort);
  BXRS_PARAM_BOOL(pmu, user, user);
  BXRS_PARAM_BOOL(pmu, guest, guest);
  BXRS_PARAM_BOOL(pmu, smm, smm);
  BXRS_PARAM_BOOL(pmu, smm_frozen, smm_frozen);
  BXRS_PARAM_BOOL(pmu, smm_guest, smm_guest);
  BXRS_HEX_PARAM_FIELD(pmu, smi_at, smi_at);
  for (n=0; n < BX_PMU_NMIS; n++) {
    sprintf(name, "nmi_at%u", n);
    new bx_shadow_num_c(pmu, name, &nmi_at[n], BASE_HEX);
  }
  for (n=0; n < BX_PMU_METRICS; n++) {
    sprintf(name, "metric_field%u", n);
    new bx_shadow_num_c(pmu, name, &metric_field[n], BASE_HEX);
    sprintf(name, "metric_slots%u", n);
    new bx_shadow_num_c(pmu, name, &metric_slots[n]);
    sprintf(name, "metric_last%u", n);
    new bx_shadow_num_c(pmu, name, &metric_last[n]);
  }
  new bx_shadow_num_c(pmu, "metric_base", &metric_base);
  // the first CPU saves the shared counters
  for (n=0; n < BX_PMU_NB_MAX + BX_PMU_L3 && ! cpu->which_cpu(); n++) {
    sprintf(name, "shared%u", n);
    bx_list_c *list = new bx_list_c(pmu, name);
    new bx_shadow_num_c(list, "ctl", &shared_counters[n].ctl, BASE_HEX);
    new bx_shadow_num_c(list, "value", &shared_counters[n].value, BASE_HEX);
    new bx_shadow_num_c(list, "since", &shared_counters[n].since);
  }
  BXRS_HEX_PARAM_FIELD(pmu, unretired, unretired);
  BXRS_HEX_PARAM_FIELD(pmu, last_retired, last_retired);
  BXRS_HEX_PARAM_FIELD(pmu, last_branches, last_branches);
  BXRS_HEX_PARAM_FIELD(pmu, last_icount, last_icount);
  for (n=0; n < BX_PMU_SOURCES; n++) {
    sprintf(name, "source%u", n);
    new bx_shadow_num_c(pmu, name, &source[n]);
  }

  for (n=0; n < BX_TRUTH_CONTEXTS; n++) {
    sprintf(name, "insns%u", n);
    new bx_shadow_num_c(pmu, name, &truth_counts.insns[n]);
    sprintf(name, "branches%u", n);
    new bx_shadow_num_c(pmu, name, &truth_counts.branches[n]);
  }
  new bx_shadow_num_c(pmu, "ticks", &truth_counts.ticks);
  new bx_shadow_num_c(pmu, "smis", &truth_counts.smis);
  new bx_shadow_num_c(pmu, "smm_insns", &truth_counts.smm_insns);
  new bx_shadow_num_c(pmu, "smm_branches", &truth_counts.smm_branches);
  new bx_shadow_num_c(pmu, "overflows", &truth_counts.overflows);
  new bx_shadow_num_c(pmu, "pmis", &truth_counts.pmis);
  for (n=0; n < 2 * BX_TRUTH_ACCESSES; n++) {
    sprintf(name, "access%u", n);
    new bx_shadow_num_c(pmu, name, &truth_counts.access[n / BX_TRUTH_ACCESSES][n % BX_TRUTH_ACCESSES]);
  }
  for (n=0; n < BX_TRUTH_LIVE; n++) {
    sprintf(name, "live%u", n);
    new bx_shadow_num_c(pmu, name, &truth_counts.live[n]);
  }
  new bx_shadow_data_c(pmu, "exits", (Bit8u*) exits, sizeof(exits));
  new bx_shadow_num_c(pmu, "exits_other", &exits_other);
  new bx_shadow_data_c(pmu, "bimodal", bimodal, sizeof(bimodal));
  new bx_shadow_data_c(pmu, "indirect", (Bit8u*) indirect, sizeof(indirect));
  new bx_shadow_data_c(pmu, "ras", (Bit8u*) ras, sizeof(ras));
  new bx_shadow_num_c(pmu, "ras_top", &ras_top);
  new bx_shadow_data_c(pmu, "l1_tag", (Bit8u*) l1_tag, sizeof(l1_tag));
  new bx_shadow_data_c(pmu, "llc_tag", (Bit8u*) llc_tag, sizeof(llc_tag));
}

void bx_pmu_c::after_restore_state(void)
{
  early_icount = BX_MAX_BIT64U;
  for (unsigned n=0; n < BX_PMU_COUNTERS; n++) {
    decode(n);
    ctr[n].enabled = true;      // so that arm() does not overwrite last and last_tick
  }
  arm();
}

////////////////////////////////////////////////////////////
// Running totals
////////////////////////////////////////////////////////////

BX_CPP_INLINE Bit64u bx_pmu_c::retired(void) const
{
  return cpu->icount - unretired + (cpu->icount == early_icount);
}

BX_CPP_INLINE Bit64u bx_pmu_c::branches(void) const
{
  return source[BX_PMU_COND_TAKEN] + source[BX_PMU_COND_NOT_TAKEN] + source[BX_PMU_NEAR_JMP] +
         source[BX_PMU_NEAR_CALL] + source[BX_PMU_NEAR_RET] + source[BX_PMU_FAR_BRANCH];
}

// the data accesses that an event counts, one bit each
BX_CPP_INLINE unsigned bx_pmu_c::counts_memory(unsigned event) const
{
  return (event > BX_PMU_EVENT_MEMORY) ? event - BX_PMU_EVENT_MEMORY : 0;
}

// the bits of all counters in the global registers
BX_CPP_INLINE Bit64u bx_pmu_c::counters_mask(void) const
{
  return gp_mask() | (((BX_CONST64(1) << num_fixed) - 1) << 32) | (metrics ? BX_PMU_PERF_METRICS : 0);
}

bool bx_pmu_c::valid_global_ctrl(Bit64u val) const
{
  return (val & ~counters_mask()) == 0;
}

Bit64u bx_pmu_c::total(unsigned event) const
{
  switch(event) {
  case BX_PMU_EVENT_INSTRUCTIONS:   return retired();
  case BX_PMU_EVENT_CYCLES:         return cpu->icount * BX_PMU_CYCLES_PER_TICK;
  case BX_PMU_EVENT_REF_CYCLES:     return cpu->icount;
  case BX_PMU_EVENT_SLOTS:          return cpu->icount * (BX_PMU_CYCLES_PER_TICK * BX_PMU_SLOTS_PER_CYCLE);
  case BX_PMU_EVENT_BRANCHES:       return branches();
  case BX_PMU_EVENT_BR_CONDITIONAL: return source[BX_PMU_COND_TAKEN] + source[BX_PMU_COND_NOT_TAKEN];
  case BX_PMU_EVENT_BR_NOT_TAKEN:   return source[BX_PMU_COND_NOT_TAKEN];
  case BX_PMU_EVENT_BR_TAKEN:       return branches() - source[BX_PMU_COND_NOT_TAKEN];
  case BX_PMU_EVENT_BR_NEAR_TAKEN:  return branches() - source[BX_PMU_COND_NOT_TAKEN] - source[BX_PMU_FAR_BRANCH];
  case BX_PMU_EVENT_BR_NEAR_CALL:   return source[BX_PMU_NEAR_CALL];
  case BX_PMU_EVENT_BR_NEAR_RET:    return source[BX_PMU_NEAR_RET];
  case BX_PMU_EVENT_BR_FAR:         return source[BX_PMU_FAR_BRANCH];
  case BX_PMU_EVENT_BR_MISPREDICT:  return source[BX_PMU_MISPREDICT];
  case BX_PMU_EVENT_LLC_REFERENCE:  return source[BX_PMU_LLC_REFERENCE];
  case BX_PMU_EVENT_LLC_MISS:       return source[BX_PMU_LLC_MISS];
  case BX_PMU_EVENT_INTERRUPTS:     return source[BX_PMU_INTERRUPT];
  default:
    break;
  }

  Bit64u sum = 0;
  for (unsigned n=0; n < BX_PMU_MEMORY_KINDS; n++) {
    if (counts_memory(event) & (1 << n)) sum += source[BX_PMU_LOAD + n];
  }
  return sum;
}

////////////////////////////////////////////////////////////
// PERF_METRICS: how the slots of fixed counter 3 were used; each field is 255 times
// its share (Intel SDM, volume 3, "Performance Metrics"). What a CPU measures, this
// machine defines, by sums that the PMU keeps anyway.
////////////////////////////////////////////////////////////

bool bx_pmu_c::metrics_enabled(void) const
{
  return metrics && (global_ctrl & BX_PMU_PERF_METRICS) && ctr[BX_PMU_SLOTS].enabled;
}

// Level 1 is retiring, bad speculation, front end (taken branches), and back end,
// which is the rest and includes ticks in which nothing retires. Level 2 has a part
// of each: heavy operations (far branches), mispredicted branches, fetch latency
// (calls and returns), memory.
void bx_pmu_c::metric_totals(Bit64u *totals) const
{
  Bit64u lost_branch = BX_PMU_LOST_SLOTS * source[BX_PMU_MISPREDICT];
  Bit64u taken = BX_PMU_LOST_SLOTS * total(BX_PMU_EVENT_BR_TAKEN);

  totals[0] = BX_PMU_RETIRE_SLOTS * retired();
  totals[1] = lost_branch;
  totals[2] = taken;
  totals[3] = BX_PMU_TICK_SLOTS * cpu->icount - totals[0] - totals[1] - totals[2];
  totals[4] = BX_PMU_RETIRE_SLOTS * source[BX_PMU_FAR_BRANCH];
  totals[5] = lost_branch;
  totals[6] = BX_PMU_LOST_SLOTS * (source[BX_PMU_NEAR_CALL] + source[BX_PMU_NEAR_RET]);
  totals[7] = BX_PMU_LOST_SLOTS * source[BX_PMU_LLC_REFERENCE];
}

// The instruction in flight may have branched or retired before its tick is counted.
// Then the sum of the back end can be below its start.
static Bit64u at_least_0(Bit64u slots) { return ((Bit64s) slots < 0) ? 0 : slots; }

Bit64u bx_pmu_c::get_metrics(void) const
{
  Bit64u all = metric_base, val = 0, rest = 255;
  unsigned n;

  for (n=0; n < 4; n++) all += metric_slots[n];
  for (n=0; n < 4 * metrics; n++) {
    Bit64u field = metric_field[n];
    // a field is what was written until something is counted
    if (all != metric_base) {
      field = (field * metric_base + 255 * at_least_0(metric_slots[n]) + all / 2) / all;
      // the back end gets the rest; a field of level 2 is at most the one that it is a part of
      Bit64u most = (n < 4) ? rest : (val >> (8 * (n - 4))) & 255;
      if (field > most || n == 3) field = most;
      if (n < 3) rest -= field;
    }
    val |= field << (8 * n);
  }
  return val;
}

// val is for the present value of fixed counter 3
void bx_pmu_c::set_metrics(Bit64u val)
{
  for (unsigned n=0; n < BX_PMU_METRICS; n++) {
    metric_field[n] = (Bit8u) (val >> (8 * n));
    metric_slots[n] = 0;
  }
  metric_base = ctr[BX_PMU_SLOTS].value;
}

void bx_pmu_c::count_metrics(void)
{
  Bit64u now[BX_PMU_METRICS];

  metric_totals(now);
  for (unsigned n=0; n < BX_PMU_METRICS; n++) {
    if (metrics_enabled() && ctr[BX_PMU_SLOTS].counting) metric_slots[n] += now[n] - metric_last[n];
    metric_last[n] = now[n];
  }
}

////////////////////////////////////////////////////////////
// Settling
////////////////////////////////////////////////////////////

void bx_pmu_c::settle(void)
{
  Bit64u now_retired = retired(), now_branches = branches();
  unsigned context = (user ? BX_TRUTH_USER : 0) | (guest ? BX_TRUTH_GUEST : 0);

  Bit64u *insns = smm ? &truth_counts.smm_insns : &truth_counts.insns[context];
  Bit64u *branches_done = smm ? &truth_counts.smm_branches : &truth_counts.branches[context];

  if (bx_mark_profiling && ! user && ! guest && ! smm)
    bx_mark_profile(profile_rip, now_retired - last_retired);
  *insns += now_retired - last_retired;
  *branches_done += now_branches - last_branches;
  truth_counts.ticks += cpu->icount - last_icount;
  last_retired = now_retired;
  last_branches = now_branches;
  last_icount = cpu->icount;

  if (metrics && ctr[BX_PMU_SLOTS].enabled) count_metrics();

  for (unsigned n=0; n < BX_PMU_COUNTERS; n++) {
    bx_pmu_counter_t *c = &ctr[n];
    if (! c->enabled) continue;

    Bit64u now = total(c->event);
    if (c->cmask) {
      // occurrences in a tick are counted when it has ended
      Bit64u ticks = cpu->icount - c->last_tick;
      if (! ticks) continue;
      if (c->counting) count_ticks(c, now - c->last, ticks);
      c->last_tick = cpu->icount;
    }
    else if (c->counting) {
      c->value += now - c->last;
    }
    c->last = now;

    if (c->value > BX_PMU_MASK) {
      c->value &= BX_PMU_MASK;
      if (n == BX_PMU_SLOTS && metrics_enabled()) {
        // the metrics are shares of the counter's value, which begins at 0 again
        set_metrics(get_metrics());
        global_status |= BX_PMU_PERF_METRICS;
      }
      truth_counts.overflows++;
      if (has_global_ctrl())
        global_status |= BX_CONST64(1) << status_bit(n);
      if (c->interrupt) pmi_requested = true;
    }
  }

  if (pmi_requested) deliver_pmi();
}

// A counter with a counter mask counts the ticks in which the event occurred at
// least (inverted: fewer than) that many times; with edge, those in which this
// became true. While such a counter counts, settle() is called after every tick.
void bx_pmu_c::count_ticks(bx_pmu_counter_t *c, Bit64u n, Bit64u ticks)
{
  for (; ticks > 0; ticks--) {
    // all occurrences are in the last tick, which is in flight
    Bit64u in_tick = (ticks == 1) ? n : 0;
    bool condition = (in_tick >= c->cmask) != c->invert;

    if (condition && !(c->edge && c->condition)) c->value++;
    c->condition = condition;
  }
}

void bx_pmu_c::deliver_pmi(void)
{
  pmi_requested = false;

  if (debugctl & BX_PMU_DEBUGCTL_FREEZE_PERFMON) {
    if (amd || version >= 4)
      global_status |= BX_PMU_STATUS_CTR_FRZ;
    else if (version >= 2)
      global_ctrl = 0;
    arm();
  }

  if (cpu->lapic->trigger_perfmon(! amd))
    truth_counts.pmis++;
}

// The interrupt of an overflow is sent at once, as the LVT entry says at that time.
// An NMI arrives nmi_delay ticks later. If BX_PMU_NMIS of them are under way, more
// are lost, as a CPU loses NMIs that come while one is pending.
void bx_pmu_c::send_nmi(void)
{
  if (! nmi_delay) {
    cpu->deliver_NMI();
    return;
  }

  // If the instruction in flight has retired, the overflow is in its tick, which is
  // still to come; otherwise it is in the tick before.
  expect_nmi(cpu->icount + (cpu->icount == early_icount) + nmi_delay);
}

void bx_pmu_c::expect_nmi(Bit64u at)
{
  for (unsigned n=0; n < BX_PMU_NMIS; n++) {
    if (nmi_at[n] != BX_MAX_BIT64U) continue;
    nmi_at[n] = at;
    expect(at);
    break;
  }
}

void bx_pmu_c::expect_smi(Bit64u at)
{
  smi_at = at;
  expect(at);
}

// the icount at which the first SMI or NMI arrives
Bit64u bx_pmu_c::arrival(void) const
{
  Bit64u at = smi_at;
  for (unsigned n=0; n < BX_PMU_NMIS; n++) {
    if (nmi_at[n] < at) at = nmi_at[n];
  }
  return at;
}

void bx_pmu_c::expect(Bit64u at)
{
  Bit64u from = (at > BX_PMU_LOOK_AHEAD) ? at - BX_PMU_LOOK_AHEAD : 0;
  if (from < check_icount) check_icount = from;
  if (cpu->icount >= check_icount)
    cpu->async_event |= BX_ASYNC_EVENT_STOP_TRACE;
}

void bx_pmu_c::arrive(void)
{
  if (smi_at <= cpu->icount) {
    smi_at = BX_MAX_BIT64U;
    cpu->deliver_SMI();
  }
  for (unsigned n=0; n < BX_PMU_NMIS; n++) {
    if (nmi_at[n] > cpu->icount) continue;
    nmi_at[n] = BX_MAX_BIT64U;
    cpu->deliver_NMI();
  }
}

static void bring_nearer(Bit64u *at, Bit64u now, Bit32u n)
{
  if (*at != BX_MAX_BIT64U) *at = (*at > now + n) ? *at - n : now;
}

void bx_pmu_c::halted(Bit32u ticks)
{
  bring_nearer(&smi_at, cpu->icount, ticks);
  for (unsigned n=0; n < BX_PMU_NMIS; n++) bring_nearer(&nmi_at[n], cpu->icount, ticks);
  arrive();
  predict_overflow();
}

void bx_pmu_c::boundary(void)
{
  settle();
  arrive();
  predict_overflow();
  bx_mark_boundary();
  profile_rip = cpu->get_rip();
}

////////////////////////////////////////////////////////////
// Which counters count now, and when they could overflow
////////////////////////////////////////////////////////////

// call settle() before
void bx_pmu_c::arm(void)
{
  bool memory_was_on = memory_on;

  predictor_on = llc_on = memory_on = false;

  for (unsigned n=0; n < BX_PMU_COUNTERS; n++) {
    bx_pmu_counter_t *c = &ctr[n];
    bool enable;

    if (n < BX_PMU_GP_MAX)
      enable = (n < num_gp) && (evtsel[n] & BX_PMU_SEL_EN);
    else
      enable = (n - BX_PMU_GP_MAX < num_fixed) && (c->os || c->usr);

    if (has_global_ctrl() && ! (global_ctrl & (BX_CONST64(1) << status_bit(n))))
      enable = false;
    if ((global_status & BX_PMU_STATUS_CTR_FRZ) || smm_frozen)
      enable = false;

    if (enable && ! c->enabled) {
      c->last = total(c->event);
      c->last_tick = cpu->icount;
      c->condition = false;
      if (n == BX_PMU_SLOTS && metrics) metric_totals(metric_last);
    }
    c->enabled = enable;

    c->counting = enable && (user ? c->usr : c->os);
    if (c->counting && c->host_guest) {
      // While EFER.SVME is 0, a counter with the guest-only bit, the host-only bit or
      // both does not count (AMD PPR, PERF_CTL[HostGuestOnly]).
      if (! cpu->efer.get_SVME())
        c->counting = false;
      else if (! (c->host_guest & (guest ? 1 : 2)))
        c->counting = false;
    }

    if (enable) {
      if (c->event == BX_PMU_EVENT_BR_MISPREDICT) predictor_on = true;
      if (c->event == BX_PMU_EVENT_LLC_REFERENCE || c->event == BX_PMU_EVENT_LLC_MISS) llc_on = true;
      if (llc_on || counts_memory(c->event)) memory_on = true;
    }
  }

  if (metrics_enabled()) {
    predictor_on = true;
    if (metrics > 1) llc_on = memory_on = true;
  }

  // the TLB has to drop its direct pointers to memory, or may have them again
  if (memory_on != memory_was_on) cpu->TLB_flush();

  predict_overflow();

  // the instruction in flight may overflow a counter: check before the next one
  if (cpu->icount >= check_icount)
    cpu->async_event |= BX_ASYNC_EVENT_STOP_TRACE;
}

void bx_pmu_c::predict_overflow(void)
{
  Bit64u soonest = arrival();
  unsigned n;

  for (n=0; n < BX_PMU_SOURCES; n++) limit[n] = BX_MAX_BIT64U;

  for (n=0; n < BX_PMU_COUNTERS; n++) {
    bx_pmu_counter_t *c = &ctr[n];
    if (! c->counting || c->event == BX_PMU_EVENT_NONE) continue;

    Bit64u left = BX_PMU_MASK + 1 - c->value;
    unsigned per_tick = 1, src = BX_PMU_SOURCES;

    switch(c->event) {
    case BX_PMU_EVENT_CYCLES: per_tick = BX_PMU_CYCLES_PER_TICK; break;
    case BX_PMU_EVENT_SLOTS:  per_tick = BX_PMU_CYCLES_PER_TICK * BX_PMU_SLOTS_PER_CYCLE; break;
    // these are rare, or many in an instruction: their hooks check the limit
    case BX_PMU_EVENT_BR_MISPREDICT: src = BX_PMU_MISPREDICT; break;
    case BX_PMU_EVENT_LLC_REFERENCE: src = BX_PMU_LLC_REFERENCE; break;
    case BX_PMU_EVENT_LLC_MISS:      src = BX_PMU_LLC_MISS; break;
    default:
      break;
    }

    if (c->cmask)
      soonest = 0;
    else if (counts_memory(c->event)) {
      // a sum of several sources can overflow only after one of them has grown by its
      // share of what is left
      for (src=0; src < BX_PMU_MEMORY_KINDS; src++) {
        if (! (counts_memory(c->event) & (1 << src))) continue;
        Bit64u at = source[BX_PMU_LOAD + src] + (left + BX_PMU_MEMORY_KINDS - 1) / BX_PMU_MEMORY_KINDS;
        if (at < limit[BX_PMU_LOAD + src]) limit[BX_PMU_LOAD + src] = at;
      }
    }
    else if (src != BX_PMU_SOURCES) {
      if (c->last + left < limit[src]) limit[src] = c->last + left;
    }
    else {
      Bit64u ticks = (left + per_tick - 1) / per_tick;
      Bit64u at = cpu->icount + ticks;
      if (at < soonest) soonest = at;
    }
  }

  check_icount = (soonest == BX_MAX_BIT64U) ? soonest :
                 (soonest > BX_PMU_LOOK_AHEAD) ? soonest - BX_PMU_LOOK_AHEAD : 0;
  if (bx_mark_profiling) check_icount = 0;
}

// Count one occurrence of a slow source. If it reaches its limit, end the trace
// after this instruction, so that settle() is called.
void bx_pmu_c::stop_at_limit(unsigned src)
{
  if (++source[src] >= limit[src]) stop_at_boundary();
}

void bx_pmu_c::stop_at_boundary(void)
{
  check_icount = 0;
  cpu->async_event |= BX_ASYNC_EVENT_STOP_TRACE;
}

void bx_pmu_c::set_user(bool val)
{
  if (val == user) return;
  settle();
  user = val;
  if (present()) arm();
}

void bx_pmu_c::set_guest(bool val)
{
  if (val == guest) return;
  settle();
  guest = val;
  if (present()) arm();
}

// SMM is neither host nor guest. For AMD's guest-only and host-only bits it counts
// as host, and so do its accesses to the PMU.
void bx_pmu_c::set_smm(bool val)
{
  settle();
  smm = val;

  if (smm) {
    truth_counts.smis++;
    smm_guest = guest;
    guest = false;
    smm_frozen = (debugctl & BX_PMU_DEBUGCTL_FREEZE_SMM) != 0;
    if (present()) arm();
    return;
  }

  guest = smm_guest;
  if (smm_frozen) {
    // RSM has retired, but its tick is still to come, and belongs to SMM: counters that
    // were frozen begin after it
    smm_frozen = false;
    cpu->icount++;
    arm();
    cpu->icount--;
  }
  else if (present()) arm();
}

void bx_pmu_c::update(void)
{
  settle();
  if (present()) arm();
}

void bx_pmu_c::set_global_ctrl(Bit64u val)
{
  settle();
  global_ctrl = val;
  arm();
}

void bx_pmu_c::set_debugctl(Bit64u val)
{
  debugctl = val & (BX_PMU_DEBUGCTL_FREEZE_LBRS | BX_PMU_DEBUGCTL_FREEZE_PERFMON |
    (freeze_smm ? BX_PMU_DEBUGCTL_FREEZE_SMM : 0));
}

void bx_pmu_c::retire_early(void)
{
  early_icount = cpu->icount;
}

void bx_pmu_c::abandon(void)
{
  if (cpu->icount != early_icount) unretired++;
}

void bx_pmu_c::repeat(Bit64u n)
{
  cpu->icount += n;
  unretired += n;
}

Bit32u bx_pmu_c::repeat_max(Bit32u n) const
{
  if (check_icount <= cpu->icount) return 0;
  Bit64u left = check_icount - cpu->icount;
  return (left < n) ? (Bit32u) left : n;
}

void bx_pmu_c::vmexit(unsigned reason)
{
  if (reason < BX_PMU_EXIT_REASONS)
    exits[reason]++;
  else
    exits_other++;
}

////////////////////////////////////////////////////////////
// Models of the branch predictor and the caches, for events that no architecture
// defines. They are small and fixed, private to a CPU, and empty at reset. They
// learn only while a counter that needs them is enabled, and cost nothing otherwise.
////////////////////////////////////////////////////////////

void bx_pmu_c::flush_models(void)
{
  memset(bimodal, 1, sizeof(bimodal));  // weakly not taken
  memset(indirect, 0, sizeof(indirect));
  memset(ras, 0, sizeof(ras));
  ras_top = 0;
  memset(l1_tag, 0xff, sizeof(l1_tag));
  memset(llc_tag, 0xff, sizeof(llc_tag));
}

// Indirect jumps and calls are predicted to go to their last target, returns by a
// stack of 16 calls. 'what' is BX_PMU_SOURCES for a direct call, which is always
// predicted, and is only pushed on the stack. Conditional branches: predict().
void bx_pmu_c::branch(unsigned what, bx_address rip, bx_address target)
{
  Bit32u hash = (Bit32u) (rip ^ (rip >> 10));
  bool miss = false;

  switch(what) {
  case BX_PMU_NEAR_RET:
    // a predicted return goes to the end of the call, which is 1 to 15 bytes long
    ras_top = (ras_top - 1) & 15;
    miss = (target - ras[ras_top] - 1 >= 15);
    break;
  case BX_PMU_NEAR_JMP:
  case BX_PMU_NEAR_CALL:
    miss = (indirect[hash & 255] != target);
    indirect[hash & 255] = target;
    break;
  default:
    break;
  }

  if (what == BX_PMU_NEAR_CALL || what == BX_PMU_SOURCES) {
    ras[ras_top] = rip;
    ras_top = (ras_top + 1) & 15;
  }

  if (miss) stop_at_limit(BX_PMU_MISPREDICT);
}

// Bring a line into the last level. Returns whether it was there.
bool bx_pmu_c::fill_llc(Bit64u line)
{
  Bit64u *set = llc_tag[line & 2047];

  if (set[0] == line || set[1] == line || set[2] == line || set[3] == line) return true;
  set[3] = set[2];
  set[2] = set[1];
  set[1] = set[0];
  set[0] = line;
  return false;
}

// Data accesses by physical line. The first level is direct-mapped and has 512
// lines. The last level has 2048 sets of four lines, first in first out. An access
// that misses the first level is a reference; one that misses both is a miss. A
// reference also brings the next line of its page into the last level, which counts
// as neither. So a sequential stream misses only the first line of each page.
void bx_pmu_c::memory_lines(bx_phy_address paddr, unsigned len)
{
  Bit64u line = paddr >> 6, last = (paddr + len - 1) >> 6;

  for (; line <= last; line++) {
    if (refers(line) && ((line + 1) & 63)) fill_llc(line + 1);
  }
}

// Access one line, without a prefetch. Returns whether it is a reference.
bool bx_pmu_c::refers(Bit64u line)
{
  Bit64u *l1 = &l1_tag[line & 511];
  if (*l1 == line) return false;
  *l1 = line;
  stop_at_limit(BX_PMU_LLC_REFERENCE);
  if (! fill_llc(line)) stop_at_limit(BX_PMU_LLC_MISS);
  return true;
}

// CLFLUSH, CLFLUSHOPT, CLWB: access the line, without a prefetch, and remove it from
// both levels.
void bx_pmu_c::memory_flush(bx_phy_address paddr)
{
  Bit64u line = paddr >> 6;

  refers(line);
  l1_tag[line & 511] = BX_MAX_BIT64U;
  for (unsigned way=0; way < 4; way++) {
    if (llc_tag[line & 2047][way] == line) llc_tag[line & 2047][way] = BX_MAX_BIT64U;
  }
}

// A data access. 'rw' is that of the TLB look-up (BX_RW: read in order to write).
void bx_pmu_c::memory_access(unsigned rw)
{
  stop_at_limit((rw & 1) == 0 ? BX_PMU_LOAD : (rw & 2) ? BX_PMU_LOAD_STORE : BX_PMU_STORE);
}

////////////////////////////////////////////////////////////
// Selectors
////////////////////////////////////////////////////////////

Bit32u bx_pmu_c::decode_intel(Bit64u sel) const
{
  switch(sel & 0xffff) {
  case 0x003c: return BX_PMU_EVENT_CYCLES;
  case 0x013c: return BX_PMU_EVENT_REF_CYCLES;
  case 0x00c0: return BX_PMU_EVENT_INSTRUCTIONS;
  case 0x4f2e: return BX_PMU_EVENT_LLC_REFERENCE;
  case 0x412e: return BX_PMU_EVENT_LLC_MISS;
  case 0x00c4: return BX_PMU_EVENT_BRANCHES;
  case 0x00c5: return BX_PMU_EVENT_BR_MISPREDICT;
  case 0x01a4: return BX_PMU_EVENT_SLOTS;       // architectural from version 5
  // specific to the model, not architectural
  case 0x01c4: return BX_PMU_EVENT_BR_CONDITIONAL;
  case 0x02c4: return BX_PMU_EVENT_BR_NEAR_CALL;
  case 0x08c4: return BX_PMU_EVENT_BR_NEAR_RET;
  case 0x10c4: return BX_PMU_EVENT_BR_NOT_TAKEN;
  case 0x20c4: return BX_PMU_EVENT_BR_NEAR_TAKEN;
  case 0x40c4: return BX_PMU_EVENT_BR_FAR;
  case 0x01cb: return BX_PMU_EVENT_INTERRUPTS;
  case 0x81d0: return BX_PMU_EVENT_MEMORY + 5;  // loads: all accesses that read
  case 0x82d0: return BX_PMU_EVENT_MEMORY + 6;  // stores: all accesses that write
  case 0x83d0: return BX_PMU_EVENT_MEMORY + 7;  // any
  default:
    return BX_PMU_EVENT_NONE;
  }
}

Bit32u bx_pmu_c::decode_amd(Bit64u sel) const
{
  unsigned umask = (sel >> 8) & 0xff;

  switch((sel & 0xff) | ((sel >> 24) & 0xf00)) {
  case 0x029: return (umask & 0x07) ? BX_PMU_EVENT_MEMORY + (umask & 0x07) : BX_PMU_EVENT_NONE;
  case 0x02c: return BX_PMU_EVENT_INTERRUPTS;
  case 0x060: return BX_PMU_EVENT_LLC_REFERENCE;
  case 0x064: return (umask & 0x09) ? BX_PMU_EVENT_LLC_MISS : BX_PMU_EVENT_NONE;
  case 0x076: return BX_PMU_EVENT_CYCLES;
  case 0x0c0: return BX_PMU_EVENT_INSTRUCTIONS;
  case 0x0c2: return BX_PMU_EVENT_BRANCHES;
  case 0x0c3: return BX_PMU_EVENT_BR_MISPREDICT;
  case 0x0c4: return BX_PMU_EVENT_BR_TAKEN;
  case 0x0c6: return BX_PMU_EVENT_BR_FAR;
  case 0x0c8: return BX_PMU_EVENT_BR_NEAR_RET;
  case 0x0d1: return BX_PMU_EVENT_BR_CONDITIONAL;
  case 0x120: return (umask & 0x01) ? BX_PMU_EVENT_REF_CYCLES : BX_PMU_EVENT_NONE;
  default:
    return BX_PMU_EVENT_NONE;
  }
}

// derive the fields of counter n from its selector
void bx_pmu_c::decode(unsigned n)
{
  static const Bit32u fixed_event[BX_PMU_FIXED_MAX] = {
    BX_PMU_EVENT_INSTRUCTIONS, BX_PMU_EVENT_CYCLES, BX_PMU_EVENT_REF_CYCLES, BX_PMU_EVENT_SLOTS
  };
  bx_pmu_counter_t *c = &ctr[n];
  Bit32u event;

  if (n < BX_PMU_GP_MAX) {
    Bit64u sel = evtsel[n];
    event = amd ? decode_amd(sel) : decode_intel(sel);
    c->os = (sel & BX_PMU_SEL_OS) != 0;
    c->usr = (sel & BX_PMU_SEL_USR) != 0;
    c->interrupt = (sel & BX_PMU_SEL_INT) != 0;
    c->edge = (sel & BX_PMU_SEL_EDGE) != 0;
    c->cmask = (sel >> 24) & 0xff;
    // the inversion is that of the comparison; the edge bit needs a comparison
    c->invert = c->cmask && (sel & BX_PMU_SEL_INV);
    if (c->edge && ! c->cmask) c->cmask = 1;
    c->host_guest = amd ? (sel >> 40) & 3 : 0;
  }
  else {
    unsigned ctrl = (fixed_ctrl >> (4 * (n - BX_PMU_GP_MAX))) & 0xf;
    event = fixed_event[n - BX_PMU_GP_MAX];
    c->os = (ctrl & 1) != 0;
    c->usr = (ctrl & 2) != 0;
    c->interrupt = (ctrl & 8) != 0;
    c->edge = c->invert = false;
    c->cmask = c->host_guest = 0;
  }

  // after a write of the selector, arm() starts the event again
  c->event = event;
  c->enabled = false;
}

////////////////////////////////////////////////////////////
// Registers
////////////////////////////////////////////////////////////

bool bx_pmu_c::owns_msr(Bit32u index) const
{
  if (amd) {
    return (index >= BX_PMU_AMD_STATUS && index <= BX_PMU_AMD_STATUS_SET) ||
           (index >= BX_PMU_K7_EVTSEL0 && index < BX_PMU_K7_CTR0 + 4) ||
           (index >= BX_PMU_AMD_L3_CTL0 && index < BX_PMU_AMD_L3_CTL0 + 2 * BX_PMU_L3) ||
           (index >= BX_PMU_AMD_NB_CTL0 && index < BX_PMU_AMD_NB_CTL0 + 2 * BX_PMU_NB_MAX) ||
           (index == BX_PMU_MSR_DEBUGCTL && freeze_pmc) ||
           (index >= BX_PMU_AMD_PERF_CTL0 && index < BX_PMU_AMD_PERF_CTL0 + 16);
  }

  switch(index) {
  case BX_PMU_MSR_BIOS_SIGN_ID:
    return microcode != 0;
  case BX_PMU_MSR_TSX_FORCE_ABORT:
    return force_abort;
  case BX_PMU_MSR_MISC_ENABLE:
  case BX_PMU_MSR_DEBUGCTL:
  case BX_PMU_MSR_METRICS:
  case BX_PMU_MSR_CAPABILITIES:
  case BX_PMU_MSR_FIXED_CTRL:
  case BX_PMU_MSR_GLOBAL_STATUS:
  case BX_PMU_MSR_GLOBAL_CTRL:
  case BX_PMU_MSR_STATUS_RESET:
  case BX_PMU_MSR_STATUS_SET:
  case BX_PMU_MSR_GLOBAL_INUSE:
  case BX_PMU_MSR_PEBS_ENABLE:
    return true;
  default:
    return (index >= BX_PMU_MSR_PMC0 && index < BX_PMU_MSR_PMC0 + 12) ||
           (index >= BX_PMU_MSR_EVTSEL0 && index < BX_PMU_MSR_EVTSEL0 + 16) ||
           (index >= BX_PMU_MSR_FIXED0 && index < BX_PMU_MSR_FIXED0 + 16) ||
           (index >= BX_PMU_MSR_FULL_PMC0 && index < BX_PMU_MSR_FULL_PMC0 + 16);
  }
}

// false: #GP
bool bx_pmu_c::rdmsr(Bit32u index, Bit64u *val)
{
  settle();
  return amd ? rdmsr_amd(index, val) : rdmsr_intel(index, val);
}

// false: #GP
bool bx_pmu_c::wrmsr(Bit32u index, Bit64u val)
{
  settle();
  if (! (amd ? wrmsr_amd(index, val) : wrmsr_intel(index, val))) {
    BX_DEBUG(("WRMSR: 0x" FMT_LL "x to MSR %x refused", val, index));
    return false;
  }
  msr_written(index);
  arm();
  return true;
}

bool bx_pmu_c::rdmsr_intel(Bit32u index, Bit64u *val)
{
  unsigned n;

  if (index - BX_PMU_MSR_PMC0 < num_gp) {
    *val = ctr[index - BX_PMU_MSR_PMC0].value;
    return true;
  }
  if (index - BX_PMU_MSR_FULL_PMC0 < num_gp) {
    *val = ctr[index - BX_PMU_MSR_FULL_PMC0].value;
    return version >= 2;
  }
  if (index - BX_PMU_MSR_EVTSEL0 < num_gp) {
    *val = evtsel[index - BX_PMU_MSR_EVTSEL0];
    return true;
  }
  if (index - BX_PMU_MSR_FIXED0 < num_fixed) {
    *val = ctr[BX_PMU_GP_MAX + index - BX_PMU_MSR_FIXED0].value;
    return true;
  }

  switch(index) {
  case BX_PMU_MSR_MISC_ENABLE:
    *val = misc_enable | BX_PMU_MISC_NO_BTS_PEBS | (present() ? BX_PMU_MISC_PERFMON : 0);
    return true;
  case BX_PMU_MSR_BIOS_SIGN_ID:
    *val = (Bit64u) microcode << 32;
    return true;
  case BX_PMU_MSR_TSX_FORCE_ABORT:
    *val = tsx_force_abort;
    return true;
  case BX_PMU_MSR_DEBUGCTL:
    *val = debugctl;
    return true;
  case BX_PMU_MSR_CAPABILITIES:
    *val = BX_PMU_CAP_FW_WRITE | (freeze_smm ? BX_PMU_CAP_FREEZE_SMM : 0) | (metrics ? BX_PMU_CAP_METRICS : 0);
    return version >= 2;
  case BX_PMU_MSR_METRICS:
    *val = get_metrics();
    return metrics != 0;
  case BX_PMU_MSR_FIXED_CTRL:
    *val = fixed_ctrl;
    return version >= 2;
  case BX_PMU_MSR_GLOBAL_STATUS:
    *val = global_status;
    return version >= 2;
  case BX_PMU_MSR_GLOBAL_CTRL:
    *val = global_ctrl;
    return version >= 2;
  case BX_PMU_MSR_STATUS_RESET:
    *val = 0;
    return version >= 2;
  case BX_PMU_MSR_STATUS_SET:
    *val = 0;
    return version >= 4;
  case BX_PMU_MSR_GLOBAL_INUSE:
    *val = 0;
    for (n=0; n < num_gp; n++) {
      if (evtsel[n] & 0xff) *val |= BX_CONST64(1) << n;
      if (evtsel[n] & BX_PMU_SEL_INT) *val |= BX_PMU_INUSE_PMI;
    }
    for (n=0; n < num_fixed; n++) {
      unsigned ctrl = (fixed_ctrl >> (4 * n)) & 0xf;
      if (ctrl & 3) *val |= BX_CONST64(1) << (32 + n);
      if (ctrl & 8) *val |= BX_PMU_INUSE_PMI;
    }
    return version >= 4;
  default:
    return false;
  }
}

bool bx_pmu_c::wrmsr_intel(Bit32u index, Bit64u val)
{
  unsigned n;

  if (index - BX_PMU_MSR_PMC0 < num_gp) {
    ctr[index - BX_PMU_MSR_PMC0].value = (Bit64u) (Bit64s) (Bit32s) GET32L(val) & BX_PMU_MASK;
    return true;
  }
  if (index - BX_PMU_MSR_FULL_PMC0 < num_gp) {
    if (version < 2 || val > BX_PMU_MASK) return false;
    ctr[index - BX_PMU_MSR_FULL_PMC0].value = val;
    return true;
  }
  if (index - BX_PMU_MSR_EVTSEL0 < num_gp) {
    if (val & BX_PMU_SEL_RESERVED_INTEL & ~(any_thread ? BX_PMU_SEL_ANY : 0)) return false;
    n = index - BX_PMU_MSR_EVTSEL0;
    evtsel[n] = val;
    decode(n);
    return true;
  }
  if (index - BX_PMU_MSR_FIXED0 < num_fixed) {
    if (val > BX_PMU_MASK) return false;
    n = BX_PMU_GP_MAX + index - BX_PMU_MSR_FIXED0;
    ctr[n].value = val;
    if (n == BX_PMU_SLOTS) set_metrics(get_metrics());
    return true;
  }

  // the bits of the status registers that software may clear or set
  Bit64u status_bits = counters_mask() | BX_PMU_STATUS_DS;
  if (version >= 4) status_bits |= BX_PMU_STATUS_LBR_FRZ | BX_PMU_STATUS_CTR_FRZ;

  switch(index) {
  case BX_PMU_MSR_MISC_ENABLE:
    misc_enable = val & ~BX_PMU_MISC_READ_ONLY;
    return true;
  // software writes 0, and executes CPUID, which writes the revision
  case BX_PMU_MSR_BIOS_SIGN_ID:
    return true;
  case BX_PMU_MSR_TSX_FORCE_ABORT:
    if (val & ~BX_CONST64(1)) return false;
    tsx_force_abort = val;
    return true;
  case BX_PMU_MSR_DEBUGCTL:
    if (val & ~BX_PMU_DEBUGCTL_VALID) return false;
    if ((val & BX_PMU_DEBUGCTL_FREEZE_SMM) && ! freeze_smm) return false;
    set_debugctl(val);
    return true;
  case BX_PMU_MSR_FIXED_CTRL:
    {
      Bit64u valid = 0;
      for (n=0; n < num_fixed; n++) valid |= BX_CONST64(any_thread ? 0xf : 0xb) << (4 * n);
      if (version < 2 || (val & ~valid)) return false;

      Bit64u changed = val ^ fixed_ctrl;
      fixed_ctrl = val;
      for (n=0; n < num_fixed; n++) {
        if ((changed >> (4 * n)) & 0xf) decode(BX_PMU_GP_MAX + n);
      }
      return true;
    }
  case BX_PMU_MSR_GLOBAL_CTRL:
    if (version < 2 || ! valid_global_ctrl(val)) return false;
    global_ctrl = val;
    return true;
  case BX_PMU_MSR_METRICS:
    if (! metrics || (metrics == 1 && (val >> 32))) return false;
    set_metrics(val);
    return true;
  case BX_PMU_MSR_STATUS_RESET:
    if (version < 2 || (val & ~(status_bits | BX_PMU_STATUS_UNCORE | BX_PMU_STATUS_COND))) return false;
    global_status &= ~val;
    return true;
  case BX_PMU_MSR_STATUS_SET:
    if (version < 4 || (val & ~status_bits)) return false;
    global_status |= val;
    return true;
  // read only: BX_PMU_MSR_CAPABILITIES, BX_PMU_MSR_GLOBAL_STATUS, BX_PMU_MSR_GLOBAL_INUSE
  // absent: BX_PMU_MSR_PEBS_ENABLE
  default:
    return false;
  }
}

// Returns which of AMD's shared counters an MSR belongs to, or -1. *n is set to 1 for
// the counter, and to 0 for its control.
int bx_pmu_c::shared_counter(Bit32u index, unsigned *n) const
{
  *n = index & 1;
  if (index - BX_PMU_AMD_NB_CTL0 < 2 * num_nb) return (index - BX_PMU_AMD_NB_CTL0) / 2;
  if (index - BX_PMU_AMD_L3_CTL0 < 2 * num_l3) return BX_PMU_NB_MAX + (index - BX_PMU_AMD_L3_CTL0) / 2;
  return -1;
}

bool bx_pmu_c::rdmsr_amd(Bit32u index, Bit64u *val)
{
  unsigned counter;
  int shared = shared_counter(index, &counter);

  if (shared >= 0) {
    *val = counter ? shared_value(&shared_counters[shared]) : shared_counters[shared].ctl;
    return true;
  }
  if (index == BX_PMU_MSR_DEBUGCTL) {
    *val = debugctl;
    return true;
  }
  if (index - BX_PMU_AMD_PERF_CTL0 < 2 * num_gp) {
    unsigned n = (index - BX_PMU_AMD_PERF_CTL0) / 2;
    *val = (index & 1) ? ctr[n].value : evtsel[n];
    return true;
  }
  if (index - BX_PMU_K7_EVTSEL0 < BX_PMU_GP_AMD_OLD)
    return rdmsr_amd(BX_PMU_AMD_PERF_CTL0 + 2 * (index - BX_PMU_K7_EVTSEL0), val);
  if (index - BX_PMU_K7_CTR0 < BX_PMU_GP_AMD_OLD)
    return rdmsr_amd(BX_PMU_AMD_PERF_CTL0 + 2 * (index - BX_PMU_K7_CTR0) + 1, val);

  if (! has_global_ctrl()) return false;

  switch(index) {
  case BX_PMU_AMD_STATUS:
    *val = global_status;
    return true;
  case BX_PMU_AMD_CTL:
    *val = global_ctrl;
    return true;
  case BX_PMU_AMD_STATUS_CLR:
  case BX_PMU_AMD_STATUS_SET:
    *val = 0;
    return true;
  default:
    return false;
  }
}

bool bx_pmu_c::wrmsr_amd(Bit32u index, Bit64u val)
{
  unsigned counter;
  int shared = shared_counter(index, &counter);

  if (shared >= 0) {
    shared_write(&shared_counters[shared], counter, val);
    return true;
  }
  if (index == BX_PMU_MSR_DEBUGCTL) {
    if (val & ~BX_PMU_DEBUGCTL_VALID_AMD) return false;
    set_debugctl(val);
    return true;
  }
  if (index - BX_PMU_AMD_PERF_CTL0 < 2 * num_gp) {
    unsigned n = (index - BX_PMU_AMD_PERF_CTL0) / 2;
    if (index & 1) {
      ctr[n].value = val & BX_PMU_MASK;
      return true;
    }
    if (val & BX_PMU_SEL_RESERVED_AMD) return false;
    // behave as under a hypervisor that keeps these bits for itself
    if (! guest_only) val &= ~BX_PMU_SEL_HOST_GUEST;
    evtsel[n] = val;
    decode(n);
    return true;
  }
  if (index - BX_PMU_K7_EVTSEL0 < BX_PMU_GP_AMD_OLD)
    return wrmsr_amd(BX_PMU_AMD_PERF_CTL0 + 2 * (index - BX_PMU_K7_EVTSEL0), val);
  if (index - BX_PMU_K7_CTR0 < BX_PMU_GP_AMD_OLD)
    return wrmsr_amd(BX_PMU_AMD_PERF_CTL0 + 2 * (index - BX_PMU_K7_CTR0) + 1, val);

  if (! has_global_ctrl()) return false;

  // Without LbrAndPmcFreeze nothing here sets the freeze bits. They are defined all
  // the same, and software may set and clear them.
  Bit64u status_bits = gp_mask() | BX_PMU_STATUS_LBR_FRZ | BX_PMU_STATUS_CTR_FRZ;

  switch(index) {
  case BX_PMU_AMD_CTL:
    if (! valid_global_ctrl(val)) return false;
    global_ctrl = val;
    return true;
  // Reserved bits are ignored: Linux acknowledges by writing the complement of what it has not handled.
  case BX_PMU_AMD_STATUS_CLR:
    global_status &= ~val;
    return true;
  case BX_PMU_AMD_STATUS_SET:
    global_status |= val & status_bits;
    return true;
  case BX_PMU_AMD_STATUS:
    return true;                // read only: ignored
  default:
    return false;
  }
}

// false: #GP
bool bx_pmu_c::rdpmc(Bit32u index, Bit64u *val)
{
  const Bit32u FIXED = BX_CONST64(1) << 30, METRICS = BX_CONST64(1) << 29;

  settle();
  if (metrics && index == METRICS) {
    *val = get_metrics();
    return true;
  }
  // after AMD's core counters come four of the northbridge, then those of the cache
  if (amd && index - num_gp < 4 && index - num_gp < num_nb) {
    *val = shared_value(&shared_counters[index - num_gp]);
    return true;
  }
  if (amd && index - num_gp - 4 < num_l3) {
    *val = shared_value(&shared_counters[BX_PMU_NB_MAX + index - num_gp - 4]);
    return true;
  }
  if (index < num_gp) {
    *val = ctr[index].value;
    return true;
  }
  if ((index & FIXED) && (index & ~FIXED) < num_fixed) {
    *val = ctr[BX_PMU_GP_MAX + (index & ~FIXED)].value;
    return true;
  }
  return false;
}

////////////////////////////////////////////////////////////
// Writes to a live PMU
////////////////////////////////////////////////////////////

// Returns whether this LVT entry sends PMIs to a vector. At reset its delivery mode is
// fixed, but it has no vector.
static bool to_vector(Bit32u lvt)
{
  return ((lvt >> 8) & 7) == APIC_DM_FIXED && (lvt & 0xff) >= 16;
}

// Returns whether counter n counts in host mode. enabled is as of the last arm();
// counting is not used, since it is for the mode that the CPU is in.
bool bx_pmu_c::counts_in_host(unsigned n) const
{
  const bx_pmu_counter_t *c = &ctr[n];

  if (! c->enabled || !(c->os || c->usr)) return false;
  return ! c->host_guest || (cpu->efer.get_SVME() && (c->host_guest & 2));
}

void bx_pmu_c::lvt_written(Bit32u before, Bit32u after)
{
  if (! guest && global_ctrl && (to_vector(before) || to_vector(after)))
    truth_counts.live[BX_TRUTH_LIVE_LVTPC]++;
}

void bx_pmu_c::msr_written(Bit32u index)
{
  if (guest || ! global_ctrl || ! to_vector(cpu->lapic->get_perfmon_entry())) return;

  bool selector, counter;

  if (amd) {
    unsigned n = BX_PMU_COUNTERS;

    selector = index - BX_PMU_K7_EVTSEL0 < BX_PMU_GP_AMD_OLD;
    if (index - BX_PMU_K7_CTR0 < BX_PMU_GP_AMD_OLD)
      n = index - BX_PMU_K7_CTR0;
    else if (index - BX_PMU_AMD_PERF_CTL0 < 2 * num_gp) {
      if (index & 1)
        n = (index - BX_PMU_AMD_PERF_CTL0) / 2;
      else
        selector = true;
    }
    // VM-exits leave AMD's global control as it is, but a guest-only counter is
    // stopped in the host.
    counter = n < num_gp && counts_in_host(n);
  }
  else {
    selector = index - BX_PMU_MSR_EVTSEL0 < num_gp || index == BX_PMU_MSR_FIXED_CTRL;
    counter = index - BX_PMU_MSR_PMC0 < num_gp || index - BX_PMU_MSR_FULL_PMC0 < num_gp ||
              index - BX_PMU_MSR_FIXED0 < num_fixed;
  }

  if (selector) truth_counts.live[BX_TRUTH_LIVE_SELECTOR]++;
  if (counter)  truth_counts.live[BX_TRUTH_LIVE_COUNTER]++;
}

////////////////////////////////////////////////////////////
// CPUID
////////////////////////////////////////////////////////////

// Describe this PMU, whatever the CPU model has.
void bx_pmu_c::cpuid(Bit32u function, Bit32u subfunction, cpuid_function_t *leaf) const
{
  switch(function) {
  case 0x00000001:
    if (signature) leaf->eax = signature;
    leaf->ecx &= ~BX_CPUID_STD1_ECX_PDCM;
    if (! amd && version >= 2) leaf->ecx |= BX_CPUID_STD1_ECX_PDCM;
    break;

  case 0x00000007:
    if (amd || subfunction) break;
    leaf->edx &= ~(1 << 13);
    if (force_abort) leaf->edx |= 1 << 13;
    break;

  case 0x0000000A:
    if (amd) break;
    leaf->eax = leaf->ebx = leaf->ecx = leaf->edx = 0;
    if (! present()) break;
    // length of the event vector: topdown slots came with version 5
    leaf->eax = version | (num_gp << 8) | (48 << 16) | ((version >= 5 ? 8 : 7) << 24);
    if (version >= 5) leaf->ecx = (1 << num_fixed) - 1;
    if (version >= 2) leaf->edx = num_fixed | (48 << 5);
    if (version >= 4 && ! any_thread) leaf->edx |= 1 << 15;
    break;

  // The TSC, the local APIC's timer and reference cycles are one clock, which runs at
  // "ips" whatever the frequency of the modelled CPU. With another frequency here,
  // software would sleep too long, and program its timers too short.
  case 0x00000015:
    if (amd || ! leaf->eax) break;
    leaf->eax = leaf->ebx = 1;
    leaf->ecx = ips;
    break;

  case 0x00000016:
    if (amd || ! leaf->eax) break;
    leaf->eax = leaf->ecx = ips / 1000000;
    leaf->ebx = leaf->eax * BX_PMU_CYCLES_PER_TICK;
    break;

  case 0x80000000:
    if (amd && version >= 2 && leaf->eax < 0x80000022) leaf->eax = 0x80000022;
    break;

  case 0x80000001:
    if (! amd) break;
    if (signature) leaf->eax = signature;
    leaf->ecx &= ~(BX_CPUID_EXT1_ECX_PERFCTR_EXT_CORE | BX_CPUID_EXT1_ECX_PERFCTR_EXT_NB |
                   BX_CPUID_EXT1_ECX_PERFCTR_EXT_L2I);
    if (present()) leaf->ecx |= BX_CPUID_EXT1_ECX_PERFCTR_EXT_CORE;
    if (num_nb) leaf->ecx |= BX_CPUID_EXT1_ECX_PERFCTR_EXT_NB;
    if (num_l3) leaf->ecx |= BX_CPUID_EXT1_ECX_PERFCTR_EXT_L2I;
    break;

  case 0x80000020:
  case 0x80000021:
  case 0x80000022:
    if (! amd || version < 2) break;
    leaf->eax = leaf->ebx = leaf->ecx = leaf->edx = 0;
    if (function == 0x80000022) {
      leaf->eax = 1 | (freeze_pmc ? 4 : 0);     // PerfMonV2, LbrAndPmcFreeze
      leaf->ebx = num_gp | (num_nb << 10);
    }
    break;

  default:
    break;
  }
}

#endif // BX_SUPPORT_PERFMON
