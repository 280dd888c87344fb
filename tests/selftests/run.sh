#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Rule: the base's selftest of this name passes, and gives all results that it has planned.
#
# run.sh NAME
#
# A selftest prints TAP, or only what went wrong.  Its exit status is 0, or 4 if it does not want to
# run here.

. /lib/check.sh

"/selftests/$1" > out 2>&1
status=$?
cat out

if [ $status -eq 4 ]; then
	why=$(sed -n 's/.*# SKIP *-* *//p' out | head -n 1)
	skip "${why:-$1 does not say why}"
fi

mediated=$(cat /sys/module/kvm_"$VENDOR"/parameters/enable_mediated_pmu)
case $VARIANT in
*-mediated) check "KVM has a mediated vPMU" [ "$mediated" = Y ] ;;
*) check "KVM has no mediated vPMU" [ "$mediated" != Y ] ;;
esac

results=0
while IFS= read -r line; do
	what=$(echo "$line" | sed 's/^[a-z ]* [0-9]* *-* *//')
	case $line in
	"ok "[0-9]*) result ok "$what" ;;
	"not ok "[0-9]*) result "not ok" "$what" ;;
	*) continue ;;
	esac
	results=$((results + 1))
done < out
planned=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' out)
check_equal "results" $results "${planned:-0}" "what the selftest plans, if it says TAP"
check_equal "exit status of $1" $status 0 "it has passed"

# Report how far it came.  It prints the reason of a failure last.
lines=1
[ $status -eq 0 ] || lines=40
tail -n $lines out > last
while IFS= read -r line; do
	note "$line"
done < last
check_done
