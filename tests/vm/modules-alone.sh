#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Rule: on a kernel that knows nothing of mediated vPMUs, KVM's modules give guests one if they are
# asked, and check that kernel's perf before.  If a check fails, one line says which, and the modules
# load without.
. /lib/check.sh

module=kvm_$VENDOR
parameter=/sys/module/$module/parameters/enable_mediated_pmu
told() {
	dmesg | grep -c "$1"
}
# load WHAT READS ENABLED WHY [PARAMETER...]: it loads with these, the parameter reads so, and the log
# has so many lines more that it is enabled, or WHY it is not.
load() {
	what=$1 reads=$2 enabled=$(told "mediated vPMU enabled") refused=$(told "no mediated vPMU")
	yes=$3 why=$4
	shift 4
	check "unloads, for $what" rmmod "$module"
	check "loads with $what" insmod /lib/modules/kvm-"$VENDOR".ko "$@"
	check_equal "what it reads then, $what" "$(cat "$parameter")" "$reads" "asked for, and possible"
	check_equal "lines that it is enabled, $what" "$(($(told "mediated vPMU enabled") - enabled))" "$yes" "one if so"
	check_equal "lines why it is not, $what" "$(($(told "no mediated vPMU") - refused))" \
		"$([ -z "$why" ] && echo 0 || echo 1)" "one if so"
	[ -z "$why" ] || check "the last one, $what: $why" \
		sh -c "dmesg | grep 'no mediated vPMU' | tail -n 1 | grep -q 'no mediated vPMU: $why'"
}
load nothing N 0 ""
load 1 Y 1 "" enable_mediated_pmu=1
load "the name alone" Y 1 "" enable_mediated_pmu
load 0 N 0 "" enable_mediated_pmu=0
load "1, and another parameter" Y 1 "" nested=0 enable_mediated_pmu=Y
check_equal "the other parameter" "$(tr N 0 < "/sys/module/$module/parameters/nested")" 0 "it is taken"
# Pinned events on all counters leave none to check perf with.
all=instructions:D
for k in 1 2 3 4 5 6 7 8 9 10 11; do
	all=$all,instructions:D
done
perf stat -C 0 -e $all sleep 1000 2> /dev/null &
perf=$!
sleep 1
load "1, without a free counter" N 0 "perf gives no event of its own to check it with" enable_mediated_pmu=1
kill $perf
wait $perf
load "1 again" Y 1 "" enable_mediated_pmu=1
rmmod "$module"
check "no other value" sh -c "! insmod /lib/modules/kvm-$VENDOR.ko enable_mediated_pmu=maybe"
check "loads again" insmod /lib/modules/kvm-"$VENDOR".ko
check "perf counts" perf stat -e instructions:uH true
check_done
