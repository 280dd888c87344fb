#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What tools/demo/demo.py runs in the guest: Debian's perf, event by event, on a workload that
# executes a magic instruction at its begin and end.
#
# Each line "row KIND EVENT COUNT" belongs to the next pair of the marks "begin" and "end" in the
# truth file.

set -- 4000000 2000
index=3

for event in instructions:u branches:u instructions:k branches:k instructions branches cycles ref-cycles; do
	perf stat -x, -e $event -o counts loop $index "$1" "$2" > truth
	count=$(grep ",$event," counts | cut -d, -f1)
	mark say "row stat $event ${count:-none}"
done

for period in 100000 20000; do
	perf record -q -N -B -e instructions:u -c $period -o data loop $index "$1" "$2" > truth
	perf script -i data -F ip > samples
	mark say "row record instructions:u/$period $(wc -l < samples)"
done
mark say "ok 1 - report"
mark say "1..1"
