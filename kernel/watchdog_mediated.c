// SPDX-License-Identifier: GPL-2.0
/*
 * CPUs that watch each other, where the hardlockup detector's event stands still.
 *
 * The event needs a counter, and while a guest's registers are in the PMU it has
 * none.  To take the PMU back at each VM-exit for its sake would cost every exit
 * of every guest.  So each CPU also looks, with the timer that its soft lockup
 * detector has anyway, whether the next one's timer goes on.  A CPU that somebody
 * looks after can do without its event for a while; one that is alone, or whose
 * neighbour has come to a stop, cannot, see hardlockup_cpu_is_watched().
 *
 * A look finds a CPU that is stuck as soon as the event would: no sooner than
 * watchdog_thresh, and no later than twice that.
 */
#include <linux/cpumask.h>
#include <linux/nmi.h>
#include <linux/percpu.h>
#include <linux/perf_mediated.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>

/* So many beats of its own a CPU counts as watched without another look at it. */
#define BEATS_WATCHED	2
/* So many looks find the same beat before that is a lockup. */
#define LOOKS_IN_VAIN	3

/**
 * struct hardlockup_watch - what is known of a CPU
 * @beats: the runs of its timer, by itself
 * @watched: its next beats for which it counts as watched; it counts them down, and
 *	who looks winds them up.  One of both may be lost if they coincide
 * @seen: the beats at the last look that found others than before
 * @since: when that was, in ns
 * @looks: how often the same have been seen since
 */
struct hardlockup_watch {
	unsigned long	beats;
	unsigned int	watched;

	unsigned long	seen;
	u64		since;
	unsigned int	looks;
};

static DEFINE_PER_CPU(struct hardlockup_watch, hardlockup_watch);
static struct cpumask watched_cpus;

/* Whom @cpu looks at, or would; nr_cpu_ids if it is alone. */
static unsigned int next_watched(unsigned int cpu)
{
	unsigned int next = cpumask_next(cpu, &watched_cpus);

	if (next >= nr_cpu_ids)
		next = cpumask_first(&watched_cpus);

	return next == cpu ? nr_cpu_ids : next;
}

/* The CPU has an event of the detector, and its timer goes on.  On that CPU. */
void hardlockup_watch_enable(unsigned int cpu)
{
	struct hardlockup_watch *watch = per_cpu_ptr(&hardlockup_watch, cpu);
	unsigned int next = next_watched(cpu);

	/* The first look at it is still to come, as is its own first one. */
	watch->watched = next < nr_cpu_ids ? BEATS_WATCHED : 0;
	if (next < nr_cpu_ids)
		WRITE_ONCE(per_cpu(hardlockup_watch, next).watched, BEATS_WATCHED);

	watch->seen = watch->beats;
	watch->since = ktime_get_mono_fast_ns();
	watch->looks = 0;
	/* Pairs with the barrier in look_at(): who finds the CPU finds it as new. */
	smp_wmb();
	cpumask_set_cpu(cpu, &watched_cpus);
}

void hardlockup_watch_disable(unsigned int cpu)
{
	cpumask_clear_cpu(cpu, &watched_cpus);
	if (cpumask_weight(&watched_cpus) == 1)
		WRITE_ONCE(per_cpu(hardlockup_watch, cpumask_first(&watched_cpus)).watched, 0);
}

static void look_at(unsigned int cpu)
{
	struct hardlockup_watch *watch = per_cpu_ptr(&hardlockup_watch, cpu);
	unsigned long beats;
	u64 now;

	/* Pairs with the barrier in hardlockup_watch_enable(). */
	smp_rmb();

	now = ktime_get_mono_fast_ns();
	beats = READ_ONCE(watch->beats);
	WRITE_ONCE(watch->watched, BEATS_WATCHED);

	if (watch->seen != beats) {
		watch->seen = beats;
		watch->since = now;
		watch->looks = 0;
		return;
	}

	/* Looks come close together when the CPU that looks is another one than before. */
	if (++watch->looks >= LOOKS_IN_VAIN && now - watch->since >= watchdog_thresh * NSEC_PER_SEC)
		watchdog_hardlockup_check(cpu, NULL);
}

/* The timer of this CPU's watchdog.  Hard IRQ. */
void hardlockup_watch_beat(void)
{
	struct hardlockup_watch *watch = this_cpu_ptr(&hardlockup_watch);
	unsigned int next;

	if (!static_branch_unlikely(&perf_mediated_used))
		return;

	WRITE_ONCE(watch->beats, watch->beats + 1);
	if (READ_ONCE(watch->watched))
		WRITE_ONCE(watch->watched, watch->watched - 1);

	next = next_watched(smp_processor_id());
	if (next < nr_cpu_ids)
		look_at(next);
}

/**
 * hardlockup_cpu_is_watched - will another CPU notice if this one gets stuck?
 *
 * With preemption off.
 */
bool hardlockup_cpu_is_watched(void)
{
	return __this_cpu_read(hardlockup_watch.watched);
}
