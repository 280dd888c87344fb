#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Rule: the host runs the packages' kernel.  It loads signed modules only, KVM's are signed, and
# they offer a mediated vPMU.  Counting alone does not show that: a perf-based vPMU counts the same,
# and loading a module with a parameter that it does not have is not an error.
. /lib/check.sh

mine() {
	cat "/sys/module/kvm_$VENDOR/$1"
}

case $(uname -r) in
"$BASE".*-kvm-pmu-cloud-amd64 | "$BASE".*-kvm-pmu-amd64) named=1 ;;
*) named=0 ;;
esac
check_equal "named as the package" "$named" 1 "the release is $(uname -r)"
check_equal "only signed modules are taken" "$(cat /sys/module/module/parameters/sig_enforce)" Y "the boot asks for it"
check_equal "none is unsigned or foreign" "$(mine taint)" "" "the key is the kernel's own"
check_equal "the vPMU is mediated" "$(mine parameters/enable_mediated_pmu)" Y "the series has the parameter, the boot sets it"
check "there is a vector for guests' PMIs" grep -q '^ *VPMI:' /proc/interrupts
check_done
