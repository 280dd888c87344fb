#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2094 # the file of errors is read when perf has failed, and not written then
#
# Rule: Debian's perf record takes one sample per period of a known workload, and perf report finds
# the samples in the workload's loop.
#
# perf counts the instructions of the process: those that the workload reads from the machine, plus
# 23.  The number of samples is this count divided by the period.

. /lib/check.sh

index=1
[ "$ROLE" = host ] || index=3
# A host that checks itself takes so long for a VM-exit that a guest's timer has always expired, and
# its interrupt is sampled.
least=90
case $VARIANT in *-debug*) least=50 ;; esac

for period in 100000 250007; do
	perf record -q -N -B -e instructions:u -c $period -o data loop $index 2000000 > truth
	od -A n -t u8 truth > words
	read -r _ insns < words
	perf script -i data -F ip,sym > samples
	check_equal "period $period: samples" "$(wc -l < samples)" $(((insns + 23) / period)) \
		"the machine's count and 23, divided by the period"
	perf report -i data --stdio -q > report
	# The first line with a share is the largest: "    98.75%  loop     loop           [.] work"
	share=$(sed -n 's/^ *\([0-9]*\)\.[0-9]*%  *loop .*/\1/p' report | head -n 1)
	check_between "period $period: share of the loop" "${share:-0}" $least 100 "all else in the process is far shorter than a period"
done
check_done
