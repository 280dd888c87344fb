/* SPDX-License-Identifier: GPL-2.0 */
#if !defined(_TRACE_KVM_MEDIATED_PMU_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_MEDIATED_PMU_H

#include <linux/tracepoint.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

/* A vCPU's state was loaded into the registers of this CPU. */
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

/* The state was unloaded, at VM-exit or later; @reclaim: because perf called for the PMU. */
TRACE_EVENT(kvm_pmu_put,
	    TP_PROTO(unsigned int vcpu_id, u64 ctrl, u64 status, bool reclaim),
	    TP_ARGS(vcpu_id, ctrl, status, reclaim),
	    TP_STRUCT__entry(__field(unsigned int, vcpu_id)
			     __field(u64, ctrl)
			     __field(u64, status)
			     __field(bool, reclaim)),
	    TP_fast_assign(__entry->vcpu_id = vcpu_id;
			   __entry->ctrl = ctrl;
			   __entry->status = status;
			   __entry->reclaim = reclaim;),
	    TP_printk("vcpu %u ctrl %#llx status %#llx%s",
		      __entry->vcpu_id, __entry->ctrl, __entry->status,
		      __entry->reclaim ? " for the host" : "")
);

/* Hardware raised the PMI of a guest's counter. */
TRACE_EVENT(kvm_pmu_pmi,
	    TP_PROTO(unsigned int vcpu_id, bool loaded),
	    TP_ARGS(vcpu_id, loaded),
	    TP_STRUCT__entry(__field(unsigned int, vcpu_id)
			     __field(bool, loaded)),
	    TP_fast_assign(__entry->vcpu_id = vcpu_id;
			   __entry->loaded = loaded;),
	    TP_printk("vcpu %u%s", __entry->vcpu_id, __entry->loaded ? "" : " after unload")
);

/* An event that KVM emulated made a counter overflow. */
TRACE_EVENT(kvm_pmu_emulated_overflow,
	    TP_PROTO(unsigned int vcpu_id, unsigned int counter),
	    TP_ARGS(vcpu_id, counter),
	    TP_STRUCT__entry(__field(unsigned int, vcpu_id)
			     __field(unsigned int, counter)),
	    TP_fast_assign(__entry->vcpu_id = vcpu_id;
			   __entry->counter = counter;),
	    TP_printk("vcpu %u counter %u", __entry->vcpu_id, __entry->counter)
);

#endif /* _TRACE_KVM_MEDIATED_PMU_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH mediated_pmu
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace

#include <trace/define_trace.h>
