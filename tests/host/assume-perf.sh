#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Rule: perf of the host's kernel behaves as a mediated vPMU in KVM's modules alone assumes, and each
# check of that fails if what it checks is prevented.
#
# The module tests/kunit/assume_perf.c makes the checks, on each CPU.

. /lib/check.sh

[ -d /sys/kernel/debug/kunit ] || mount -t debugfs debugfs /sys/kernel/debug
checks="the_number_of_active_events an_event_on_the_lists the_global_control perf_enables_the_PMU
	it_does_so_by_a_call perf's_stop_stops perf's_start_starts an_NMI_while_stopped our_handler_is_first
	LVTPC ticks"
! grep -q AuthenticAMD /proc/cpuinfo || checks="$checks counters_for_guests"

# run N: run all checks; prevent what check N looks at.
run() {
	insmod /lib/kunit/assume_perf.ko wrong="$1" || { dmesg | tail -n 2; return 1; }
	cat /sys/kernel/debug/assume_perf > /tmp/results
	rmmod assume_perf
}

must "the checks run" run 0
number=0
for what in $checks; do
	number=$((number + 1))
	check "$(echo "$what" | tr _ ' ')" grep -qx "$number 1" /tmp/results
done
number=0
for what in $checks; do
	number=$((number + 1))
	run $number
	check_equal "$(echo "$what" | tr _ ' '), prevented: what fails" \
		"$(sed -n 's/ 0$//p' /tmp/results | paste -sd' ')" $number "only that check"
done
check_done
