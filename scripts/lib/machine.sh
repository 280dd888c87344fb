# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Programs that boot one base or variant on the machine: what they need.
#
# Source it behind lib.sh.

# machine_for TARGET VARIANT: install packages, and build the machine and the kernel.
# A variant's kernel is not built if that takes more than scripts/step/kernel.
machine_for() {
	local base=${2%%-*}
	check_base "$base"
	pass scripts/step/packages "$1"
	pass tools/machine/build
	case $2- in
	*-debug-*) pass scripts/step/kernel --debug "$base" ;;
	esac
	pass scripts/step/kernel "$base"
	case $2- in
	*-stock-*) pass scripts/cmd/modules --stock --base "$base" ;;
	esac
}

# ended_by_program: let the program that is called next speak for itself.
ended_by_program() {
	export KVMPMU_DEPTH=0
	trap - INT TERM HUP
}
