# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What programs need that boot one base or variant on the machine.
#
# Source it after lib.sh.

# machine_for TARGET VARIANT: install packages, and build the machine and the kernel.
# The kernels of -deb and -debian variants are not built: that takes other scripts.
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
	*-debug-alone-*) pass scripts/cmd/modules --alone --base "$base-debug" ;;
	*-alone-*) pass scripts/cmd/modules --alone --base "$base" ;;
	esac
}

# ended_by_program: leave signals, and messages about them, to the program that is called
# next.
ended_by_program() {
	export KVMPMU_DEPTH=0
	trap - INT TERM HUP
}
