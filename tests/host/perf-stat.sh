#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Rule: what Debian's perf stat prints for a process is what the machine executed for it.
#
# The workload reads its own instructions and branches from the machine, except those of a frame: 23
# instructions, of which 3 are branches (the returns from execve(), from the page fault of its first
# instruction, and from write()).  See tests/rootfs/loop.c.

. /lib/check.sh

index=1
[ "$ROLE" = host ] || index=3
# A host that checks itself takes so long for a VM-exit that a guest's timers expire in the frame,
# too: an IRET each.
irets=0
case $VARIANT in *-debug*) irets=10 ;; esac

# counted EVENT: the event's count by the last perf stat.
counted() {
	grep ",$1," counts | cut -d, -f1
}

# measure ITERATIONS SYSCALLS
measure() {
	perf stat -x, -e instructions:u,branches:u -o counts loop $index "$1" "$2" > truth
	od -A n -t u8 truth > words
	read -r branches insns < words
}

# try ITERATIONS SYSCALLS
try() {
	local insns branches again=0
	case $VARIANT in 6.12-debian*) again=2 ;; esac
	measure "$1" "$2"
	# Under Debian's 6.12 a timer's interrupt, an IRET that the workload does not see, may come in
	# the frame once, but not each time.
	while [ $again -gt 0 ] && [ "$(counted instructions:u)" = $((insns + 24)) ] &&
	      [ "$(counted branches:u)" = $((branches + 4)) ]; do
		note "$1 $2: once more, with no interrupt in the frame"
		measure "$1" "$2"
		again=$((again - 1))
	done
	check_between "$1 $2: instructions" "$(counted instructions:u)" $((insns + 23)) $((insns + 23 + irets)) \
		"the machine's count and 23 of the frame"
	check_between "$1 $2: branches" "$(counted branches:u)" $((branches + 3)) $((branches + 3 + irets)) \
		"the machine's count and 3 of the frame"
	check_between "$1 $2: instructions known" "$insns" $(($1 * 2)) $(($1 * 2 + $2 * 6 + 400)) "two each iteration, and a little"
}

try 1000000 0
try 3000000 0
try 200000 500
check_done
