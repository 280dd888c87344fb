/* SPDX-License-Identifier: GPL-2.0 */
/* The clock by which events of a PMU go that guests can own. */
#ifndef _LINUX_PERF_HOST_CLOCK_H
#define _LINUX_PERF_HOST_CLOCK_H

#include <linux/compiler.h>
#include <linux/types.h>

/**
 * struct perf_host_clock - a context's clock, less the time that guests owned the PMU
 * @offset: what the clock is behind the context's, while it runs
 * @frozen: what it shows while it is stopped
 * @stopped: whether it is stopped
 *
 * For the times of events that are stopped for guests.  The lock of the context's clock
 * serializes changes.  An NMI may read the clock at any moment, so a change writes only
 * what no reader looks at before it flips @stopped.
 */
struct perf_host_clock {
	u64	offset;
	u64	frozen;
	bool	stopped;
};

/**
 * perf_host_clock_read - read the host's clock
 * @clk: the clock
 * @time: the current time of the context's clock
 */
static __always_inline u64 perf_host_clock_read(const struct perf_host_clock *clk, u64 time)
{
	return READ_ONCE(clk->stopped) ? READ_ONCE(clk->frozen) : time - READ_ONCE(clk->offset);
}

/**
 * perf_host_clock_set - stop or resume the host's clock
 * @clk: the clock, whose state is the other one
 * @time: the current time of the context's clock
 * @stop: true to stop it, false to resume it
 */
static inline void perf_host_clock_set(struct perf_host_clock *clk, u64 time, bool stop)
{
	if (stop)
		WRITE_ONCE(clk->frozen, time - clk->offset);
	else
		WRITE_ONCE(clk->offset, time - clk->frozen);
	barrier();
	WRITE_ONCE(clk->stopped, stop);
}

#endif /* _LINUX_PERF_HOST_CLOCK_H */
