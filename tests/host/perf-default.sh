#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2094 # the file of errors is read when perf has failed, and not written then
#
# Rule: what people type works in a guest as on the host: perf stat and perf record without an
# event, perf record by frequency and for all CPUs, more events than counters, each event by its
# generic name, and user mode, kernel, host and guest separately.  No event is "not supported" or
# "not counted", and numbers that can be known are correct.
#
# Here perf depends on time: it asks for a number of samples per second, and counters rotate with
# ticks.  The machine's default clock has 50 million instructions per second.  That is 12,500
# between two of 4000 samples, fewer than a sample takes in a guest with a perf-based vPMU, so perf
# makes its period smaller and smaller; and half of the time between two ticks is spent on
# rotation.  So these tests run with a clock like that of a real CPU, a billion.

. /lib/check.sh

index=1
[ "$ROLE" = host ] || index=3

# counted FILE EVENT: the event's count in what perf stat -x, has written.
counted() {
	grep ",$2," "$1" | head -n 1 | cut -d, -f1
}
# share FILE: the samples in the loop, in percent.
share() {
	perf report -i "$1" --stdio -q 2> /dev/null | sed -n 's/^ *\([0-9]*\)\.[0-9]*%  *loop .*/\1/p' | head -n 1
}

perf stat -x, -o default loop $index 1000000 > truth 2> errors
check_equal "perf stat without an event: its status" $? 0 "it works"
for event in cycles instructions branches branch-misses; do
	value=$(grep -E ",$event(:u)?," default | head -n 1 | cut -d, -f1)
	case $value in
	*[!0-9]* | '') good=0 ;;
	*) good=1 ;;
	esac
	check_equal "perf stat without an event: $event, ${value:-nothing}" $good 1 "a number"
done

# By generic names, one at a time.  The loop has two million instructions, and user mode has little
# else.
for event in cycles instructions ref-cycles bus-cycles branches branch-misses cache-references cache-misses; do
	perf stat -x, -e $event:u -o one loop $index 1000000 > truth 2> errors
	value=$(counted one $event:u)
	case $value in
	*[!0-9]* | '') value=-1 ;;
	esac
	case $event in
	instructions)
		od -A n -t u8 truth > words
		read -r _ insns < words
		check_between "$event:u" "$value" $((insns + 23)) $((insns + 33)) "the machine's count and 23 of the frame"
		;;
	cycles) check_between "$event:u" "$value" 4000000 4100000 "two in each of two million instructions" ;;
	ref-cycles | bus-cycles)
		# An event that does not exist is reported so on the host, too.  On AMD, Linux 6.1
		# knows none.
		[ "$VENDOR" = intel ] || [ "$value" -ge 0 ] || { note "$event: not on AMD"; continue; }
		check_between "$event:u" "$value" 2000000 2100000 "one in each of two million instructions"
		;;
	branches) check_between "$event:u" "$value" 1000000 1010000 "a million of the loop" ;;
	*) check_between "$event:u" "$value" 0 100000 "a small number" ;;
	esac
done

# More events than counters: each counts for part of the time, and the loop is the same all the
# time.
events=instructions:u
for i in 1 2 3 4 5 6 7 8 9 10 11; do
	events=$events,branches:u,instructions:u
	[ "$i" -lt 11 ] || note "$events"
done
perf stat -x, -e $events -o many loop $index 100000000 > truth 2> errors
check_equal "23 events: not counted, or not supported" "$(grep -c -E '^<not' many)" 0 "they take turns"
least=$(grep ',instructions:u,' many | cut -d, -f1 | sort -n | head -n 1)
most=$(grep ',instructions:u,' many | cut -d, -f1 | sort -n | tail -n 1)
# In a guest each rotation takes VM-exits, which are in the time of one turn and not of another:
# allow 5 %.
check_between "23 events: least instructions" "${least:-0}" 190000000 210000000 "scaled, of 200 million"
check_between "23 events: most instructions" "${most:-0}" 190000000 210000000 "scaled, of 200 million"

# Host and guest as modifiers: the system that runs this is the host of its own guests, of which
# there are none.
perf stat -x, -e instructions:uH,instructions:uG -o modes loop $index 1000000 > truth 2> errors
check_between "instructions:uH" "$(counted modes instructions:uH)" 2000000 2001000 "all of it"
value=$(counted modes instructions:uG)
check "instructions:uG: ${value:-nothing}" [ "${value:-0}" = 0 ]

perf record -q -N -B -o data loop $index 5000000 > truth 2> errors
check_equal "perf record without an event: its status" $? 0 "it works"
perf script -i data -F ip > samples 2> errors
check_between "perf record without an event: samples" "$(wc -l < samples)" 10 100000 "some"
check_between "perf record without an event: share of the loop" "$(share data)" 50 100 "most of what the process is"

perf record -q -N -B -F 2000 -e cycles:u -o data loop $index 25000000 > truth 2> errors
check_equal "by frequency: its status" $? 0 "it works"
perf script -i data -F ip > samples 2> errors
check_between "by frequency: samples" "$(wc -l < samples)" 60 400 "of 50 ms, and some until the period is found"
check_between "by frequency: share of the loop" "$(share data)" 90 100 "all of user mode"

perf record -q -N -B -a -F 500 -o data loop $index 5000000 > truth 2> errors
check_equal "for all CPUs: its status" $? 0 "it works"
check_between "for all CPUs: share of the loop" "$(share data)" 10 100 "it runs"

# On newer models of Intel, rr does not start unless freeze_on_smi is set, in a guest as well.
smi=/sys/devices/cpu/freeze_on_smi
if [ -e $smi ]; then
	old=$(cat $smi)
	check "freeze_on_smi can be set" sh -c "echo 1 > $smi"
	check_equal "freeze_on_smi" "$(cat $smi)" 1 "as it was set"
	perf stat -x, -e instructions:u -o one loop $index 1000000 > truth 2> errors
	od -A n -t u8 truth > words
	read -r _ insns < words
	check_between "instructions:u with it" "$(counted one instructions:u)" $((insns + 23)) $((insns + 33)) "as without"
	echo "$old" > $smi
fi

check "no complaint of perf" sh -c "! dmesg | grep -q -E 'irq loop stuck|unchecked MSR|Dazed|unknown reason'"
check_done
