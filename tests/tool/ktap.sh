# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Results of a shell test of our tools, in KTAP on standard output.
#
# Source it; end the test with "conclude".

count=0 failed=0

# result ok|"not ok" WHAT: print one result.
result() {
	count=$((count + 1))
	[ "$1" = ok ] || failed=1
	printf '%s %d - %s\n' "$1" $count "$2"
}

# same WHAT GOT WANT: report whether two texts are the same; if not, print both.
same() {
	if [ "$2" = "$3" ]; then
		result ok "$1"
	else
		result "not ok" "$1"
		printf 'got:\n%s\nwant:\n%s\n' "$2" "$3" | sed 's/^/#   /'
	fi
}

# ok WHAT CMD...: report whether CMD succeeds; if not, print its output.
ok() {
	local what=$1 said
	shift
	if said=$("$@" 2>&1); then
		result ok "$what"
	else
		result "not ok" "$what"
		printf '%s\n' "$said" | sed 's/^/#   /'
	fi
}

# conclude: print the number of results, and exit with 1 if one was bad.
conclude() {
	printf '1..%d\n' $count
	exit $failed
}
