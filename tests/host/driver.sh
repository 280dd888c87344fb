#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Rule: Linux's own PMU driver starts with the counters that the machine has; in a guest, with those
# that KVM gives the guest.

. /lib/check.sh

# field NAME: a field of what the driver prints about itself.
field() {
	dmesg | sed -n "s/.*\.\.\. $1: *//p" | head -n 1
}

driver=$(dmesg | sed -n 's/.*Performance Events: //p')
note "Performance Events: $driver"
check_equal "sysfs has the cpu PMU" "$(cat /sys/bus/event_source/devices/cpu/type)" 4 "PERF_TYPE_RAW"
trouble="Broken PMU|Failed to access perfctr|no PMU driver|perfevents: irq loop|unchecked MSR"
check "nothing is broken" sh -c "! dmesg | grep -q -E '$trouble'"

case $PERFMON in
*version=*) version=${PERFMON#*version=} version=${version%%,*} ;;
*) version=default ;;
esac

if [ "$VENDOR" = intel ]; then
	general=8 fixed=3 metrics=0 own=4 name=Intel
	case $MODEL in
	skylake_sp) general=4 ;;
	# A fixed counter of slots, for which perf has no event that a perf-based vPMU could use,
	# and PERF_METRICS.
	icelake_sp | sapphire_rapids) fixed=4 metrics=1 own=5 ;;
	esac
	[ "$version" != default ] || version=$own
	if [ "$ROLE" = guest ]; then
		# QEMU hides PERF_METRICS from guests that can be migrated.
		metrics=0
		[ "${VARIANT%-mediated}" != "$VARIANT" ] || fixed=3
		[ "$version" -lt 2 ] || version=2
	fi
	if [ "$version" -lt 2 ]; then
		# Fixed counters and the global control came with version 2.
		fixed=0 name=core
	else
		check "full-width writes" sh -c 'dmesg | grep -q "full-width counters"'
	fi
	control=$(printf '%016x' $((metrics << 48 | ((1 << fixed) - 1) << 32 | (1 << general) - 1)))
	check "the driver is the one for it" sh -c "dmesg | grep -q 'Performance Events: .*$name PMU driver'"
	check_equal "version" "$(field version)" "$version" "the machine's perfmon version, 2 in a guest"
	check_equal "counters" "$(field 'generic registers')" $general "general counters"
	check_equal "fixed counters" "$(field 'fixed-purpose events')" $fixed "instructions, cycles, reference cycles, slots"
	check_equal "width" "$(field 'bit width')" 48 "bits"
	check_equal "event mask" "$(field 'event mask')" "$control" "one bit per counter"
else
	check "it is AMD's" sh -c 'dmesg | grep -q "Performance Events: .*AMD PMU driver"'
	check_equal "counters" "$(field 'generic registers')" 6 "six core counters"
	check_equal "width" "$(field 'bit width')" 48 "bits"
	check_equal "event mask" "$(field 'event mask')" 000000000000003f "one bit per counter"
	[ "$version" != default ] || version=2
	# KVM passes PerfMonV2 on only if QEMU is new enough to ask for it.
	least=$version
	[ "$ROLE" = host ] || least=1
	# Linux prints version 0 if there is no PerfMonV2.
	[ "$version" != 1 ] || version=0
	[ "$least" != 1 ] || least=0
	check_between "version" "$(field version)" "$least" "$version" "PerfMonV2, where it is passed on"
fi
check_done
