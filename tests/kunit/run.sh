#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Rule: KUnit finds nothing wrong with pmc_count.h and the watchdog of a mediated vPMU.
#
# Each such module in /lib/kunit has one suite of its own name less "_test"; what KUnit
# has to say of it is in debugfs, one line a case, indented by four.

. /lib/check.sh

[ -d /sys/kernel/debug/kunit ] || mount -t debugfs debugfs /sys/kernel/debug
for module in /lib/kunit/*_test.ko; do
	suite=$(basename "$module" _test.ko)
	insmod "$module"
	results=/sys/kernel/debug/kunit/$suite/results
	cat "$results"
	grep -c '^    ok \|^    not ok ' "$results" > /tmp/cases
	check "$suite: has cases" [ "$(cat /tmp/cases)" -gt 0 ]
	grep '^    ok \|^    not ok ' "$results" > /tmp/results
	while read -r line; do
		case $line in
		"ok "*) check "$suite: ${line##* }" true ;;
		*) check "$suite: ${line##* }" false ;;
		esac
	done < /tmp/results
	check "$suite: the suite as a whole" grep -q "^ok .* $suite\$" "$results"
	rmmod "$(basename "$module" .ko)"
done
check_done
