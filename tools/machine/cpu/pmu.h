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

#ifndef BX_CPU_PMU_H
#define BX_CPU_PMU_H

#if BX_SUPPORT_PERFMON

//
// Performance monitoring unit: Intel architectural performance monitoring
// (versions 1 to 5) or AMD core counters (with or without PerfMonV2).
//
// The PMU adds nothing to the path of an ordinary instruction. The number of
// retired instructions is
//
//     icount - unretired
//
// The CPU loop counts icount anyway: one for each instruction, each iteration of
// a repeated instruction and each abandoned instruction. Each of these steps is a
// tick, which is the clock of the PMU. unretired is incremented in the few places
// where a tick does not retire an instruction. A branch costs one increment.
//
// A counter holds its value as of the last settle(), which adds the difference of
// the running totals since then. Call settle() before a change of anything that
// decides whether a counter counts: privilege level, guest or host, a selector,
// the global control, a freeze.
//
// Overflows are not checked at each instruction. check_icount is a lower bound of
// the icount at which a counter can overflow, minus the length of a trace. From
// there on the CPU executes single instructions, and checks after each.
//

enum {
  BX_PMU_GP_MAX     = 8,                // general purpose counters, Intel
  BX_PMU_GP_AMD     = 6,
  BX_PMU_GP_AMD_OLD = 4,                // those with an alias at the K7 addresses
  BX_PMU_FIXED_MAX  = 4,
  BX_PMU_COUNTERS   = BX_PMU_GP_MAX + BX_PMU_FIXED_MAX,
  BX_PMU_NMIS       = 8,                // NMIs that can be under way at once
  BX_PMU_NB_MAX     = 16,               // AMD: counters of the northbridge (data fabric)
  BX_PMU_L3         = 6,                // AMD: counters of the last level cache
  BX_PMU_METRICS    = 8,                // fields of PERF_METRICS
  BX_PMU_EXIT_REASONS = 2048
};

// The tick is the clock of the PMU and of the TSC. The core runs two cycles in a
// tick, and has four slots in a cycle.
const unsigned BX_PMU_CYCLES_PER_TICK = 2;
const unsigned BX_PMU_SLOTS_PER_CYCLE = 4;

// what the CPU core increments
enum {
  BX_PMU_COND_TAKEN = 0,
  BX_PMU_COND_NOT_TAKEN,
  BX_PMU_NEAR_JMP,
  BX_PMU_NEAR_CALL,
  BX_PMU_NEAR_RET,
  BX_PMU_FAR_BRANCH,
  BX_PMU_MISPREDICT,
  BX_PMU_LLC_REFERENCE,
  BX_PMU_LLC_MISS,
  BX_PMU_INTERRUPT,
  BX_PMU_LOAD,
  BX_PMU_STORE,
  BX_PMU_LOAD_STORE,                    // one access that reads and then writes
  BX_PMU_SOURCES
};

// what a counter can select
enum {
  BX_PMU_EVENT_NONE = 0,                // a valid encoding that never counts here
  BX_PMU_EVENT_INSTRUCTIONS,
  BX_PMU_EVENT_CYCLES,
  BX_PMU_EVENT_REF_CYCLES,
  BX_PMU_EVENT_SLOTS,
  BX_PMU_EVENT_BRANCHES,
  BX_PMU_EVENT_BR_CONDITIONAL,
  BX_PMU_EVENT_BR_NOT_TAKEN,
  BX_PMU_EVENT_BR_TAKEN,                // near and far
  BX_PMU_EVENT_BR_NEAR_TAKEN,
  BX_PMU_EVENT_BR_NEAR_CALL,
  BX_PMU_EVENT_BR_NEAR_RET,
  BX_PMU_EVENT_BR_FAR,
  BX_PMU_EVENT_BR_MISPREDICT,
  BX_PMU_EVENT_LLC_REFERENCE,
  BX_PMU_EVENT_LLC_MISS,
  BX_PMU_EVENT_INTERRUPTS,
  // data accesses: one bit each for BX_PMU_LOAD and the two sources after it
  BX_PMU_EVENT_MEMORY,
  BX_PMU_EVENT_MEMORY_LAST = BX_PMU_EVENT_MEMORY + 7
};

const unsigned BX_PMU_MEMORY_KINDS = 3;

// the ground truth: counts that no software on the machine can change
enum { BX_TRUTH_USER = 1, BX_TRUTH_GUEST = 2, BX_TRUTH_CONTEXTS = 4 };

enum { BX_TRUTH_RDMSR = 0, BX_TRUTH_WRMSR, BX_TRUTH_RDPMC, BX_TRUTH_ACCESSES };

// Writes by the host to a live PMU whose interrupt goes to a vector. The interrupt
// is then a guest's, and a register that is written could count or interrupt
// before all others are the guest's.
enum { BX_TRUTH_LIVE_LVTPC = 0, BX_TRUTH_LIVE_SELECTOR, BX_TRUTH_LIVE_COUNTER, BX_TRUTH_LIVE };

struct bx_truth_t {
  Bit64u insns[BX_TRUTH_CONTEXTS];
  Bit64u branches[BX_TRUTH_CONTEXTS];
  Bit64u ticks;
  Bit64u access[2][BX_TRUTH_ACCESSES];  // [guest][kind]
  Bit64u live[BX_TRUTH_LIVE];
  Bit64u smis;                          // SMIs taken; what SMM executes is in no context
  Bit64u smm_insns;
  Bit64u smm_branches;
  Bit64u overflows;
  Bit64u pmis;
};

struct bx_pmu_counter_t {
  Bit64u value;
  Bit64u last;                          // total of the event at the last settle()
  Bit64u last_tick;
  Bit32u event;
  Bit32u cmask;                         // 0: count occurrences, otherwise ticks
  bool   invert, edge;
  bool   condition;                     // comparison with cmask in the last tick, for edge
  bool   os, usr, interrupt;
  Bit32u host_guest;                    // AMD: bit 0 guest only, bit 1 host only
  bool   enabled;                       // by its selector and the global control
  bool   counting;                      // enabled, and in the selected context
};

class bxInstruction_c;
struct cpuid_function_t;

class BOCHSAPI bx_pmu_c : public logfunctions {
  BX_CPU_C *cpu;

  // configuration
  bool   amd;
  unsigned version;                     // Intel: perfmon version; AMD: 2 is PerfMonV2
  unsigned num_gp, num_fixed;
  bool   save_ctrl;                     // VMX: VM-exit can save the global control
  bool   freeze_smm;                    // Intel: IA32_DEBUGCTL.FREEZE_WHILE_SMM
  bool   guest_only;                    // AMD: selectors keep guest-only and host-only
  bool   any_thread;                    // Intel: AnyThread can be set
  bool   force_abort;                   // Intel: IA32_TSX_FORCE_ABORT is there
  bool   freeze_pmc;                    // AMD: LbrAndPmcFreeze
  unsigned metrics;                     // Intel: levels of PERF_METRICS
  unsigned num_nb, num_l3;              // AMD: counters that CPUs share
  Bit32u signature;                     // CPUID.1:EAX, 0 for the model's
  Bit32u microcode;                     // Intel: its revision, 0: not known here
  Bit32u nmi_delay;                     // ticks from an overflow to its NMI
  Bit32u ips;                           // ticks in a second

  // architectural state
  bx_pmu_counter_t ctr[BX_PMU_COUNTERS];
  Bit64u evtsel[BX_PMU_GP_MAX];
  Bit64u fixed_ctrl;
  Bit64u global_ctrl;
  Bit64u global_status;
  Bit64u debugctl;                      // the freeze bits of IA32_DEBUGCTL
  Bit64u misc_enable;
  Bit64u tsx_force_abort;

  // PERF_METRICS: the fields when it or fixed counter 3 was last written, the value of
  // that counter then, and the slots since then
  Bit8u  metric_field[BX_PMU_METRICS];
  Bit64u metric_base;
  Bit64u metric_slots[BX_PMU_METRICS];
  Bit64u metric_last[BX_PMU_METRICS];   // totals at the last settle()

  // execution context, as of the last settle()
  bool   user, guest, smm;
  bool   smm_frozen;                    // nothing counts until RSM
  bool   smm_guest;                     // the value of guest to restore at RSM

  // the icount at which an SMI or NMI arrives; BX_MAX_BIT64U: none is under way
  Bit64u smi_at;
  Bit64u nmi_at[BX_PMU_NMIS];

  // state of settle()
  Bit64u early_icount;                  // the instruction in flight at this icount has retired
  Bit64u last_retired, last_branches, last_icount;
  Bit64u limit[BX_PMU_SOURCES];         // totals at which a slow source stops the trace
  bool   pmi_requested;

  // branch predictor and cache model, see pmu.cc
  Bit8u  bimodal[1024];
  bx_address indirect[256];
  bx_address ras[16];
  unsigned ras_top;
  Bit64u l1_tag[512];
  Bit64u llc_tag[2048][4];

  bx_truth_t truth_counts;
  Bit64u exits[BX_PMU_EXIT_REASONS];                   // by basic reason (VMX) or exit code (SVM)
  Bit64u exits_other;

public:
  // changed by the hooks below
  Bit64u check_icount;
  Bit64u unretired;
  Bit64u profile_rip;                   // of the instruction in flight, while these are counted by address
  Bit64u source[BX_PMU_SOURCES];
  bool   predictor_on, llc_on, memory_on;       // memory_on: llc_on, or accesses are counted

  bx_pmu_c();
 ~bx_pmu_c() {}

  void init(BX_CPU_C *_cpu, const char *prefix);
  void reset(unsigned source);
  void register_state(bx_param_c *parent);
  void after_restore_state(void);

  bool present(void) const { return version != 0; }
  bool has_global_ctrl(void) const { return version >= 2; }
  Bit64u get_global_ctrl(void) const { return global_ctrl; }
  bool valid_global_ctrl(Bit64u val) const;
  bool saves_global_ctrl(void) const { return save_ctrl; }

  void cpuid(Bit32u function, Bit32u subfunction, cpuid_function_t *leaf) const;

  bool owns_msr(Bit32u index) const;
  bool rdmsr(Bit32u index, Bit64u *val);
  bool wrmsr(Bit32u index, Bit64u val);
  bool rdpmc(Bit32u index, Bit64u *val);
  void count_access(unsigned kind) { truth_counts.access[guest][kind]++; }
  void lvt_written(Bit32u before, Bit32u after);

  void set_global_ctrl(Bit64u val);     // by VM-entry and VM-exit
  Bit64u get_debugctl(void) const { return debugctl; }
  void set_debugctl(Bit64u val);

  // bring all counters and the ground truth up to this point of the instruction stream
  void settle(void);

  // the context changes
  void set_user(bool val);
  void set_guest(bool val);
  void set_smm(bool val);
  void update(void);                    // something else on which counting depends (EFER.SVME)

  // the instruction in flight retires here, before its context changes
  void retire_early(void);

  // the instruction in flight was abandoned (fault, VM-exit); call before the tick is counted
  void abandon(void);

  // n more iterations of a repeated instruction: ticks in which nothing retires
  void repeat(Bit64u n);
  // how many of n iterations may be done at once, before an overflow is near
  Bit32u repeat_max(Bit32u n) const;

  // the interrupt of an overflow, if the LVT entry makes it an NMI
  void send_nmi(void);
  // an SMI, which replaces one under way, or an NMI arrives at that icount
  void expect_smi(Bit64u at);
  void expect_nmi(Bit64u at);
  // n ticks pass while the CPU is halted, and its icount does not change
  void halted(Bit32u n);
  bool under_way(void) const { return arrival() != BX_MAX_BIT64U; }

  // called between two instructions when icount has reached check_icount
  void boundary(void);
  // end the trace after the instruction in flight, so that boundary() is called
  void stop_at_boundary(void);

  // a conditional branch: two-bit counters; returns whether the trace must end
  bool predict(bool taken, bx_address rip) {
    Bit8u *state = &bimodal[(rip ^ (rip >> 10)) & 1023];
    bool miss = (*state >= 2) != taken;
    if (taken) { if (*state < 3) (*state)++; }
    else       { if (*state > 0) (*state)--; }
    if (! miss || ++source[BX_PMU_MISPREDICT] < limit[BX_PMU_MISPREDICT]) return false;
    check_icount = 0;
    return true;
  }

  void branch(unsigned what, bx_address rip, bx_address target);
  void memory_access(unsigned rw);
  void memory_lines(bx_phy_address paddr, unsigned len);
  void memory_flush(bx_phy_address paddr);
  void stop_at_limit(unsigned src);

  void vmexit(unsigned reason);
  const bx_truth_t *truth(void) { settle(); return &truth_counts; }
  Bit64u get_exits(unsigned reason) const { return reason < BX_PMU_EXIT_REASONS ? exits[reason] : 0; }
  Bit64u get_exits_other(void) const { return exits_other; }
  bool in_guest(void) const { return guest; }

private:
  Bit64u retired(void) const;
  Bit64u branches(void) const;
  Bit64u total(unsigned event) const;
  unsigned counts_memory(unsigned event) const;
  Bit64u gp_mask(void) const { return (BX_CONST64(1) << num_gp) - 1; }
  Bit64u counters_mask(void) const;
  bool metrics_enabled(void) const;
  void metric_totals(Bit64u *totals) const;
  Bit64u get_metrics(void) const;
  void set_metrics(Bit64u val);
  void count_metrics(void);
  bool fill_llc(Bit64u line);
  bool refers(Bit64u line);
  unsigned status_bit(unsigned n) const { return n < BX_PMU_GP_MAX ? n : n - BX_PMU_GP_MAX + 32; }

  Bit32u decode_intel(Bit64u sel) const;
  Bit32u decode_amd(Bit64u sel) const;
  void decode(unsigned n);
  void arm(void);
  void predict_overflow(void);
  void count_ticks(bx_pmu_counter_t *c, Bit64u n, Bit64u ticks);
  void add(unsigned n, Bit64u delta);
  void deliver_pmi(void);
  Bit64u arrival(void) const;
  void expect(Bit64u at);
  void arrive(void);
  void flush_models(void);
  bool counts_in_host(unsigned n) const;
  int shared_counter(Bit32u index, unsigned *n) const;
  void msr_written(Bit32u index);

  bool rdmsr_intel(Bit32u index, Bit64u *val);
  bool wrmsr_intel(Bit32u index, Bit64u val);
  bool rdmsr_amd(Bit32u index, Bit64u *val);
  bool wrmsr_amd(Bit32u index, Bit64u val);
};

//
// Hooks for the CPU core.
//
// The branch and interrupt hooks use the instrumentation interface, which already
// is in every place where they are needed.
//

#if BX_INSTRUMENTATION
  #error "--enable-perfmon and --enable-instrumentation both want the instrumentation hooks"
#endif

#undef BX_INSTR_CNEAR_BRANCH_TAKEN
#undef BX_INSTR_CNEAR_BRANCH_NOT_TAKEN
#undef BX_INSTR_UCNEAR_BRANCH
#undef BX_INSTR_FAR_BRANCH
#undef BX_INSTR_HWINTERRUPT
#undef BX_INSTR_CLFLUSH

// inline: with a call, the handlers of conditional branches would need a stack frame
#define BX_PMU_COND_BRANCH(what, taken, rip) {                                 \
  BX_CPU_THIS_PTR pmu.source[what]++;                                          \
  if (BX_CPU_THIS_PTR pmu.predictor_on && BX_CPU_THIS_PTR pmu.predict((taken), (rip))) \
    BX_CPU_THIS_PTR async_event |= BX_ASYNC_EVENT_STOP_TRACE;                  \
}

#define BX_INSTR_CNEAR_BRANCH_TAKEN(cpu_id, branch_eip, new_eip)               \
  BX_PMU_COND_BRANCH(BX_PMU_COND_TAKEN, true, (branch_eip))

#define BX_INSTR_CNEAR_BRANCH_NOT_TAKEN(cpu_id, branch_eip)                    \
  BX_PMU_COND_BRANCH(BX_PMU_COND_NOT_TAKEN, false, (branch_eip))

// 'what' is a constant in each place; direct jumps and calls are never mispredicted
#define BX_INSTR_UCNEAR_BRANCH(cpu_id, what, branch_eip, new_eip) {            \
  const unsigned pmu_source =                                                  \
    ((what) == BX_INSTR_IS_CALL || (what) == BX_INSTR_IS_CALL_INDIRECT) ? BX_PMU_NEAR_CALL : \
    ((what) == BX_INSTR_IS_RET) ? BX_PMU_NEAR_RET : BX_PMU_NEAR_JMP;           \
  BX_CPU_THIS_PTR pmu.source[pmu_source]++;                                    \
  if ((what) != BX_INSTR_IS_JMP && BX_CPU_THIS_PTR pmu.predictor_on)           \
    BX_CPU_THIS_PTR pmu.branch((what) == BX_INSTR_IS_CALL ? (unsigned) BX_PMU_SOURCES : pmu_source, \
                               (branch_eip), (new_eip));                       \
}

#define BX_INSTR_FAR_BRANCH(cpu_id, what, prev_cs, prev_eip, new_cs, new_eip)  \
  { BX_CPU_THIS_PTR pmu.source[BX_PMU_FAR_BRANCH]++; }

#define BX_INSTR_HWINTERRUPT(cpu_id, vector, cs, eip)                          \
  { BX_CPU_THIS_PTR pmu.source[BX_PMU_INTERRUPT]++; }

#define BX_INSTR_CLFLUSH(cpu_id, laddr, paddr) {                               \
  if (BX_CPU_THIS_PTR pmu.llc_on) BX_CPU_THIS_PTR pmu.memory_flush((paddr));   \
}

// While accesses are counted or the cache model is on, the TLB gives no direct
// pointers to memory, so that every data access calls these hooks:
// BX_PMU_MEMORY_ACCESS once, BX_PMU_MEMORY_LINES once for each page.
#define BX_PMU_MEMORY_DIRECT (! BX_CPU_THIS_PTR pmu.memory_on)

#define BX_PMU_MEMORY_ACCESS(rw) {                                             \
  if (BX_CPU_THIS_PTR pmu.memory_on) BX_CPU_THIS_PTR pmu.memory_access((rw));  \
}

#define BX_PMU_MEMORY_LINES(paddr, len) {                                      \
  if (BX_CPU_THIS_PTR pmu.llc_on)                                              \
    BX_CPU_THIS_PTR pmu.memory_lines((paddr), (len));                          \
}

// whether the next trace could reach an overflow
#define BX_PMU_OVERFLOW_NEAR (BX_CPU_THIS_PTR icount >= BX_CPU_THIS_PTR pmu.check_icount)

// between two instructions, before asynchronous events are handled
#define BX_PMU_BOUNDARY() {                                                    \
  if (BX_PMU_OVERFLOW_NEAR) BX_CPU_THIS_PTR pmu.boundary();                    \
}

// n ticks pass while the CPU is halted
#define BX_PMU_HALTED(n) {                                                     \
  if (BX_CPU_THIS_PTR pmu.under_way()) BX_CPU_THIS_PTR pmu.halted((n));        \
}

// before a trace is entered: if an overflow is near, execute only one instruction
#define BX_PMU_ENTER_TRACE() {                                                 \
  if (BX_PMU_OVERFLOW_NEAR) BX_CPU_THIS_PTR async_event |= BX_ASYNC_EVENT_STOP_TRACE; \
}

// an iteration of a repeated instruction that is not its last
#define BX_PMU_REPEAT_ITERATION() {                                            \
  BX_CPU_THIS_PTR pmu.unretired++;                                             \
  BX_PMU_ENTER_TRACE();                                                        \
}

// a repeated instruction is interrupted: its next tick does not retire
#define BX_PMU_REPEAT_INTERRUPTED() { BX_CPU_THIS_PTR pmu.unretired++; }

// several iterations done at once
#define BX_PMU_REPEAT_FAST(n) BX_CPU_THIS_PTR pmu.repeat(n)

// how many of n iterations may be done at once: none after an overflow gets near
#define BX_PMU_REPEAT_MAX(n) BX_CPU_THIS_PTR pmu.repeat_max(n)

#define BX_PMU_ABANDON(cpu_ptr) (cpu_ptr)->pmu.abandon()

#else // BX_SUPPORT_PERFMON

#define BX_PMU_MEMORY_DIRECT (1)
#define BX_PMU_MEMORY_ACCESS(rw)
#define BX_PMU_MEMORY_LINES(paddr, len)
#define BX_PMU_OVERFLOW_NEAR (0)
#define BX_PMU_BOUNDARY()
#define BX_PMU_HALTED(n)
#define BX_PMU_ENTER_TRACE()
#define BX_PMU_REPEAT_ITERATION()
#define BX_PMU_REPEAT_INTERRUPTED()
#define BX_PMU_REPEAT_FAST(n) BX_TICKN(n)
#define BX_PMU_REPEAT_MAX(n) (n)
#define BX_PMU_ABANDON(cpu_ptr)

#endif // BX_SUPPORT_PERFMON

#endif // BX_CPU_PMU_H
