#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Rule: modules for a kernel that has no mediated vPMU say so when they are asked for one, once, and load without.
. /lib/check.sh

module=kvm_$VENDOR
parameter=/sys/module/$module/parameters/enable_mediated_pmu
# The lines that say why there is none.
told() {
	dmesg | grep -c "$module: no mediated vPMU: it needs the kernel "
}
# load WHAT ADDED [PARAMETER...]: it loads with these, and the log has so many lines more.
load() {
	before=$(told)
	what=$1 added=$2
	shift 2
	check "unloads, for $what" rmmod "$module"
	check "loads with $what" insmod /lib/modules/kvm-"$VENDOR".ko "$@"
	check_equal "what it reads then, $what" "$(cat "$parameter")" N "the kernel has none"
	check_equal "lines, $what" "$(($(told) - before))" "$added" "one when it is asked for"
}

load nothing 0
load 1 1 enable_mediated_pmu=1
load "the name alone" 1 enable_mediated_pmu
load 0 0 enable_mediated_pmu=0
load "1, and another parameter" 1 nested=0 enable_mediated_pmu=Y
check_equal "the other parameter" "$(tr N 0 < "/sys/module/$module/parameters/nested")" 0 "it is taken"
before=$(told)
rmmod "$module"
check "no other value" sh -c "! insmod /lib/modules/kvm-$VENDOR.ko enable_mediated_pmu=maybe"
check_equal "lines, another value" "$(($(told) - before))" 0 "it was not asked for"
check "loads again" insmod /lib/modules/kvm-"$VENDOR".ko
check_done
