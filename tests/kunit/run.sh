#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Rule: KUnit finds no fault in pmc_count.h.
#
# Each such module in /lib/kunit has one suite, named like the module without
# "_test".  KUnit's results are in debugfs, one line per case, indented by four.

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
