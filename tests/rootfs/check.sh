# SPDX-License-Identifier: GPL-2.0
# Report results of a shell test on the verdict channel.  Source it first; end with check_done.
#
#	check_equal WHAT GOT WANT WHY
#	check_between WHAT GOT LEAST MOST WHY
#	check WHAT COMMAND...		exit status 0 is a good result
#	note TEXT			report a diagnostic
#	skip WHY			end the test: there is nothing to test here
#	must WHAT COMMAND...		end the test if this fails, on which it depends
#	check_done			print the plan and exit

check_count=0
check_failed=0

note() {
	mark say "# $*"
	echo "# $*"
}

result() {	# ok|not ok, what
	check_count=$((check_count + 1))
	[ "$1" = ok ] || check_failed=1
	mark say "$1 $check_count - $2"
	echo "$1 $check_count - $2"
}

check() {
	local what=$1
	shift
	if "$@"; then
		result ok "$what"
	else
		result "not ok" "$what"
		note "failed: $*"
	fi
}

check_equal() {
	if [ "$2" = "$3" ]; then
		result ok "$1: $2"
	else
		result "not ok" "$1: $2"
		note "$1: got ${2:-nothing}, want $3; $4"
	fi
}

check_between() {
	if [ -n "$2" ] && [ "$2" -ge "$3" ] && [ "$2" -le "$4" ]; then
		result ok "$1: $2"
	else
		result "not ok" "$1: $2"
		note "$1: got ${2:-nothing}, want $3 to $4; $5"
	fi
}

check_done() {
	mark say "1..$check_count"
	exit $check_failed
}

skip() {
	mark say "1..0 # SKIP $*"
	exit 0
}

must() {
	local what=$1
	shift
	if ! "$@"; then
		result "not ok" "$what"
		note "failed: $*"
		check_done
	fi
}
