#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Rule: perf stat --topdown shows where the slots of a CPU with PERF_METRICS go, by Linux's own
# driver: four parts that add up to all slots, and the known parts of known code.
. /lib/check.sh

# The number in perf's line for an event.
value() {	# event
	sed -n "s/^\([0-9]*\),,$1,.*/\1/p" /tmp/topdown | head -n 1
}

check "perf stat --topdown" sh -c "perf stat --topdown -x , -o /tmp/said loop 1 400000 > /dev/null"
note "$(tr '\n' ' ' < /tmp/said)"
sum=0
for part in $(tr ',' '\n' < /tmp/said | sed -n 's/^ *\([0-9]*\)\.\([0-9]\)$/\1\2/p' | head -n 4); do
	sum=$((sum + part))
done
check_between "the sum of its parts, in thousandths" "$sum" 995 1005 "each is rounded to one"

level1="slots,topdown-retiring,topdown-bad-spec,topdown-fe-bound,topdown-be-bound"
check "perf stat of its events" sh -c "perf stat -x , -e '{${level1}}:u' loop 1 400000 2> /tmp/topdown > /dev/null"
while read -r line; do note "$line"; done < /tmp/topdown
slots=$(value slots)
sum=0
for part in retiring bad-spec fe-bound be-bound; do
	sum=$((sum + $(value topdown-$part)))
done
check_between "the sum of the four, of a thousand slots" $((sum * 1000 / slots)) 980 1000 "perf rounds each down, by a 255th"
# Two instructions per iteration, one of them a taken branch: half of the slots retire, two of
# sixteen are lost to the branch.
check_between "retiring, of a thousand" $(($(value topdown-retiring) * 1000 / slots)) 480 505 "half of them"
check_between "front end, of a thousand" $(($(value topdown-fe-bound) * 1000 / slots)) 110 130 "two slots of each taken branch"
check_between "bad speculation, of a thousand" $(($(value topdown-bad-spec) * 1000 / slots)) 0 20 "a loop is predicted"
check_done
