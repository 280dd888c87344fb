/* SPDX-License-Identifier: GPL-2.0 */
#if !defined(_TRACE_KVM_PMU_MEDIATED_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_PMU_MEDIATED_H

#include <linux/tracepoint.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

/* A vCPU's PMU is now in the registers of this CPU. */
TRACE_EVENT(kvm_pmu_load,
	    TP_PROTO(unsigned int vcpu_id, u64 ctrl, u64 status),
	    TP_ARGS(vcpu_id, ctrl, status),
	    TP_STRUCT__entry(__field(unsigned int, vcpu_id)
			     __field(u64, ctrl)
			     __field(u64, status)),
	    TP_fast_assign(__entry->vcpu_id = vcpu_id;
			   __entry->ctrl = ctrl;
			   __entry->status = status;),
	    TP_printk("vcpu %u ctrl %#llx status %#llx",
		      __entry->vcpu_id, __entry->ctrl, __entry->status)
);

/* It has been saved, at a VM-exit or later; @leave: because perf has called for the PMU. */
TRACE_EVENT(kvm_pmu_put,
	    TP_PROTO(unsigned int vcpu_id, u64 ctrl, u64 status, bool leave),
	    TP_ARGS(vcpu_id, ctrl, status, leave),
	    TP_STRUCT__entry(__field(unsigned int, vcpu_id)
			     __field(u64, ctrl)
			     __field(u64, status)
			     __field(bool, leave)),
	    TP_fast_assign(__entry->vcpu_id = vcpu_id;
			   __entry->ctrl = ctrl;
			   __entry->status = status;
			   __entry->leave = leave;),
	    TP_printk("vcpu %u ctrl %#llx status %#llx%s",
		      __entry->vcpu_id, __entry->ctrl, __entry->status,
		      __entry->leave ? " for the host" : "")
);

/* Hardware has raised a PMI of a guest's counter. */
TRACE_EVENT(kvm_pmu_pmi,
	    TP_PROTO(unsigned int vcpu_id, bool loaded),
	    TP_ARGS(vcpu_id, loaded),
	    TP_STRUCT__entry(__field(unsigned int, vcpu_id)
			     __field(bool, loaded)),
	    TP_fast_assign(__entry->vcpu_id = vcpu_id;
			   __entry->loaded = loaded;),
	    TP_printk("vcpu %u%s", __entry->vcpu_id, __entry->loaded ? "" : " after put")
);

/* An instruction that KVM has emulated was the last one that a counter had to go. */
TRACE_EVENT(kvm_pmu_emulated_overflow,
	    TP_PROTO(unsigned int vcpu_id, unsigned int counter),
	    TP_ARGS(vcpu_id, counter),
	    TP_STRUCT__entry(__field(unsigned int, vcpu_id)
			     __field(unsigned int, counter)),
	    TP_fast_assign(__entry->vcpu_id = vcpu_id;
			   __entry->counter = counter;),
	    TP_printk("vcpu %u counter %u", __entry->vcpu_id, __entry->counter)
);

#endif /* _TRACE_KVM_PMU_MEDIATED_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE pmu_mediated_trace

#include <trace/define_trace.h>
