#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Rule: where the PMU cannot be handed out, KVM says what is missing, and its parameter says that it is off.
. /lib/check.sh

check "off" [ "$(cat /sys/module/kvm_"$VENDOR"/parameters/enable_mediated_pmu)" = N ]
line=$(dmesg | grep "no mediated vPMU: " | tail -1)
note "$line"
check "and says so" [ -n "$line" ]
check_done
