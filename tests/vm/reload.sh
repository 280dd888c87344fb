#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Rule: KVM with a mediated vPMU can be unloaded and loaded again, with and without it, and its
# parameter says which.
. /lib/check.sh

module=kvm_$VENDOR
load() {
	insmod /lib/modules/kvm-"$VENDOR".ko "$@"
}

check "enabled at first" [ "$(cat /sys/module/"$module"/parameters/enable_mediated_pmu)" = Y ]
for k in 1 2 3; do
	check "unloads, $k" rmmod "$module"
	check "loads without, $k" load
	check "is off, $k" [ "$(cat /sys/module/"$module"/parameters/enable_mediated_pmu)" = N ]
	check "unloads again, $k" rmmod "$module"
	check "loads with, $k" load enable_mediated_pmu=1
	check "is on, $k" [ "$(cat /sys/module/"$module"/parameters/enable_mediated_pmu)" = Y ]
done
case $VARIANT in
# Modules alone have no vector.
*-debian*) ;;
*) check "the vector has its line" grep -q "VPMI:" /proc/interrupts ;;
esac
check "perf counts" perf stat -e instructions:uH true
rmmod "$module"
load enable_mediated_pmu=1 2> /dev/null
dmesg | grep -i mediated | tail -3 | while read -r line; do note "$line"; done
check_done
