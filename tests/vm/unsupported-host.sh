#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Rule: if the PMU cannot be given to guests, KVM says what is missing, and its parameter is off.
. /lib/check.sh

check "off" [ "$(cat /sys/module/kvm_"$VENDOR"/parameters/enable_mediated_pmu)" = N ]
line=$(dmesg | grep "no mediated vPMU: " | tail -1)
note "$line"
check "and says so" [ -n "$line" ]
check_done
