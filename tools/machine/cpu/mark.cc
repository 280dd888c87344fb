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
#include "memory/memory-bochs.h"
#include "gui/siminterface.h"
#include "param_names.h"

#if BX_SUPPORT_PERFMON

#include "mark.h"

#include <map>
#include <string>

#define LOG_THIS genlog->

static FILE *truth_file, *verdict_file;
static bool save_requested;
static std::map<Bit64u, std::string> streams;
static std::map<bx_address, Bit64u> profile;
bool bx_mark_profiling;

// a longer line is cut, so that a line without an end does not fill the memory
const size_t BX_MARK_LINE_MAX = 4096;

static FILE *open_output(const char *param)
{
  bx_param_string_c *path = SIM->get_param_string(param);
  if (path->isempty()) return NULL;

  FILE *f = fopen(path->getptr(), "w");
  if (f == NULL) BX_PANIC(("perfmon: cannot write %s", path->getptr()));
  return f;
}

void bx_mark_init(void)
{
  if (truth_file || verdict_file) return;

  truth_file = open_output(BXPN_PERFMON_TRUTH);
  verdict_file = open_output(BXPN_PERFMON_VERDICT);
}

void bx_mark_exit(void)
{
  if (truth_file) fclose(truth_file);
  if (verdict_file) fclose(verdict_file);
  truth_file = verdict_file = NULL;
}

static void add_truth(bx_truth_t *sum, const bx_truth_t *t)
{
  for (unsigned n=0; n < BX_TRUTH_CONTEXTS; n++) {
    sum->insns[n] += t->insns[n];
    sum->branches[n] += t->branches[n];
  }
  for (unsigned n=0; n < BX_TRUTH_ACCESSES; n++) {
    sum->access[0][n] += t->access[0][n];
    sum->access[1][n] += t->access[1][n];
  }
  for (unsigned n=0; n < BX_TRUTH_LIVE; n++)
    sum->live[n] += t->live[n];
  sum->smis += t->smis;
  sum->smm_insns += t->smm_insns;
  sum->smm_branches += t->smm_branches;
  sum->ticks += t->ticks;
  sum->overflows += t->overflows;
  sum->pmis += t->pmis;
}

static void machine_truth(bx_truth_t *sum)
{
  memset(sum, 0, sizeof(*sum));
  for (unsigned n=0; n < BX_SMP_PROCESSORS; n++)
    add_truth(sum, BX_CPU(n)->pmu.truth());
}

static Bit64u machine_exits(unsigned reason)
{
  Bit64u sum = 0;
  for (unsigned n=0; n < BX_SMP_PROCESSORS; n++)
    sum += BX_CPU(n)->pmu.get_exits(reason);
  return sum;
}

static Bit64u machine_exits_other(void)
{
  Bit64u sum = 0;
  for (unsigned n=0; n < BX_SMP_PROCESSORS; n++)
    sum += BX_CPU(n)->pmu.get_exits_other();
  return sum;
}

static Bit64u machine_exits_all(void)
{
  Bit64u sum = machine_exits_other();
  for (unsigned r=0; r < BX_PMU_EXIT_REASONS; r++) sum += machine_exits(r);
  return sum;
}

static void print_four(const char *name, const Bit64u *v)
{
  fprintf(truth_file, ",\"%s\":{\"host_kernel\":" FMT_LL "u,\"host_user\":" FMT_LL "u,"
    "\"guest_kernel\":" FMT_LL "u,\"guest_user\":" FMT_LL "u}", name, v[0], v[1], v[2], v[3]);
}

static void print_accesses(const char *name, const Bit64u *v, const char *end)
{
  fprintf(truth_file, "\"%s\":{\"rdmsr\":" FMT_LL "u,\"wrmsr\":" FMT_LL "u,\"rdpmc\":" FMT_LL "u}%s",
    name, v[BX_TRUTH_RDMSR], v[BX_TRUTH_WRMSR], v[BX_TRUTH_RDPMC], end);
}

static void mark_label(BX_CPU_C *cpu, Bit64u label, Bit64u arg)
{
  if (! truth_file) return;

  // replace characters that a JSON string would have to escape
  char text[9];
  unsigned n;
  for (n=0; n < 8; n++) {
    char c = (label >> (8 * n)) & 0xff;
    if (! c) break;
    text[n] = (c < ' ' || c > '~' || c == '"' || c == '\\') ? '?' : c;
  }
  text[n] = 0;

  bx_truth_t t;
  machine_truth(&t);

  fprintf(truth_file, "{\"mark\":\"%s\",\"arg\":" FMT_LL "u,\"cpu\":%u,\"guest\":%d",
    text, arg, cpu->which_cpu(), (int) cpu->pmu.in_guest());
  print_four("insns", t.insns);
  print_four("branches", t.branches);
  fprintf(truth_file, ",\"smm\":{\"smis\":" FMT_LL "u,\"insns\":" FMT_LL "u,\"branches\":" FMT_LL "u}",
    t.smis, t.smm_insns, t.smm_branches);
  fprintf(truth_file, ",\"cycles\":" FMT_LL "u,\"ticks\":" FMT_LL "u",
    t.ticks * BX_PMU_CYCLES_PER_TICK, t.ticks);

  const char *comma = "";
  fprintf(truth_file, ",\"exits\":{");
  for (unsigned r=0; r < BX_PMU_EXIT_REASONS; r++) {
    Bit64u count = machine_exits(r);
    if (! count) continue;
    fprintf(truth_file, "%s\"%u\":" FMT_LL "u", comma, r, count);
    comma = ",";
  }
  if (machine_exits_other())
    fprintf(truth_file, "%s\"other\":" FMT_LL "u", comma, machine_exits_other());

  fprintf(truth_file, "},\"pmu\":{");
  print_accesses("host", t.access[0], ",");
  print_accesses("guest", t.access[1], "");
  fprintf(truth_file, ",\"live\":{\"lvtpc\":" FMT_LL "u,\"selector\":" FMT_LL "u,\"counter\":" FMT_LL "u}",
    t.live[BX_TRUTH_LIVE_LVTPC], t.live[BX_TRUTH_LIVE_SELECTOR], t.live[BX_TRUTH_LIVE_COUNTER]);
  fprintf(truth_file, "},\"overflows\":" FMT_LL "u,\"pmis\":" FMT_LL "u}\n", t.overflows, t.pmis);
  fflush(truth_file);
}

void bx_mark_profile(bx_address rip, Bit64u n)
{
  if (n) profile[rip] += n;
}

static void mark_profile(bool on)
{
  if (bx_mark_profiling && truth_file) {
    const char *comma = "";
    fprintf(truth_file, "{\"profile\":{");
    std::map<bx_address, Bit64u>::iterator it;
    for (it = profile.begin(); it != profile.end(); ++it) {
      fprintf(truth_file, "%s\"" FMT_LL "x\":" FMT_LL "u", comma, (Bit64u) it->first, it->second);
      comma = ",";
    }
    fprintf(truth_file, "}}\n");
    fflush(truth_file);
  }
  profile.clear();
  bx_mark_profiling = on;
  for (unsigned n=0; on && n < BX_SMP_PROCESSORS; n++)
    BX_CPU(n)->pmu.stop_at_boundary();
}

static Bit64u mark_read(Bit64u index)
{
  bx_truth_t t;
  machine_truth(&t);

  if (index < BX_MARK_BRANCHES)
    return t.insns[index - BX_MARK_INSNS];
  if (index < BX_MARK_EXITS)
    return t.branches[index - BX_MARK_BRANCHES];
  if (index >= BX_MARK_ACCESSES && index < BX_MARK_OVERFLOWS) {
    unsigned n = index - BX_MARK_ACCESSES;
    return t.access[n / BX_TRUTH_ACCESSES][n % BX_TRUTH_ACCESSES];
  }
  if (index >= BX_MARK_LIVE && index < BX_MARK_LIVE + BX_TRUTH_LIVE)
    return t.live[index - BX_MARK_LIVE];
  if (index >= BX_MARK_EXIT0 && index <= BX_MARK_EXIT_LAST)
    return machine_exits(index - BX_MARK_EXIT0);

  switch(index) {
  case BX_MARK_EXITS:       return machine_exits_all();
  case BX_MARK_OVERFLOWS:   return t.overflows;
  case BX_MARK_PMIS:        return t.pmis;
  case BX_MARK_CYCLES:      return t.ticks * BX_PMU_CYCLES_PER_TICK;
  case BX_MARK_CPUS:        return BX_SMP_PROCESSORS;
  case BX_MARK_GET_VERSION: return BX_MARK_VERSION;
  case BX_MARK_SMIS:        return t.smis;
  case BX_MARK_SMM_INSNS:   return t.smm_insns;
  case BX_MARK_SMM_BRANCHES: return t.smm_branches;
  default:
    return 0;
  }
}

static void mark_say(Bit64u stream, Bit64u text)
{
  if (! verdict_file) return;

  std::string &line = streams[stream];
  for (unsigned n=0; n < 8; n++) {
    char c = (text >> (8 * n)) & 0xff;
    if (! c) continue;
    line += c;
    if (c == '\n' || line.size() >= BX_MARK_LINE_MAX) {
      if (c != '\n') line += '\n';
      fwrite(line.data(), 1, line.size(), verdict_file);
      fflush(verdict_file);
      line.clear();
    }
  }
  if (line.empty()) streams.erase(stream);
}

// The BIOS installs an SMI handler for the first CPU only, and an image that
// boots in place of the BIOS for none. A CPU without a handler would execute
// whatever is at the reset value of SMBASE. Write a handler for it. Move its
// SMBASE by 1 KB per CPU, as firmware does, so that the handlers (at SMBASE +
// 8000H) and the saved states (at SMBASE + FE00H) of the CPUs do not overlap.
static void give_handler(BX_CPU_C *cpu)
{
  const Bit32u at_reset = 0x30000, own = at_reset + 0x400 * cpu->which_cpu();
  // fifteen NOPs and RSM: sixteen instructions
  static const Bit8u handler[17] = { 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
                                     0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x0f, 0xaa };

  if (cpu->smbase != at_reset && cpu->smbase != own) return;
  cpu->smbase = own;
  BX_MEM(0)->writePhysicalPage(cpu, own + 0x8000, sizeof(handler), (void*) handler);
}

static void mark_off(Bit64u status)
{
  // write lines that have no end yet: they may say what went wrong
  if (verdict_file) {
    std::map<Bit64u, std::string>::iterator it;
    for (it = streams.begin(); it != streams.end(); ++it)
      fprintf(verdict_file, "# cut off: %s\n", it->second.c_str());
  }
  bx_mark_exit();
  bx_atexit();
  exit((int) (status & 0xff));
}

// Called between two instructions, when the state of the CPU is consistent.
void bx_mark_boundary(void)
{
  if (! save_requested) return;
  save_requested = false;

  const char *dir = SIM->get_param_string(BXPN_PERFMON_SAVE)->getptr();
  if (! SIM->save_state(dir))
    BX_PANIC(("perfmon: cannot save the state in %s", dir));
}

// the icount that many ticks after the instruction in flight
static Bit64u after_this(BX_CPU_C *cpu, Bit64u ticks)
{
  return cpu->icount + 1 + ((ticks > BX_MAX_BIT64U / 2) ? BX_MAX_BIT64U / 2 : ticks);
}

// Returns whether *rax has to be written to RAX.
bool bx_mark(BX_CPU_C *cpu, unsigned op, Bit64u rcx, Bit64u rdx, Bit64u *rax)
{
  switch(op) {
  case BX_MARK_LABEL:
    mark_label(cpu, rcx, rdx);
    return false;
  case BX_MARK_READ:
    *rax = mark_read(rcx);
    return true;
  case BX_MARK_SAY:
    mark_say(rcx, rdx);
    return false;
  case BX_MARK_OFF:
    mark_off(rcx);
    return false;
  case BX_MARK_SAVE:
    if (SIM->get_param_string(BXPN_PERFMON_SAVE)->isempty()) return false;
    save_requested = true;
    cpu->pmu.stop_at_boundary();
    return false;
  case BX_MARK_SMI:
    give_handler(cpu);
    cpu->pmu.expect_smi(after_this(cpu, rcx));
    return false;
  case BX_MARK_PROFILE:
    mark_profile(rcx != 0);
    return false;
  case BX_MARK_NMI:
    cpu->pmu.expect_nmi(after_this(cpu, rcx));
    return false;
  default:
    BX_ERROR(("mark: unknown operation %u", op));
    return false;
  }
}

#endif // BX_SUPPORT_PERFMON
