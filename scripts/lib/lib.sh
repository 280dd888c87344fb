# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Code that all shell scripts share: how steps are shown, and how errors end.
#
# Source it first.  It changes to the top of the repository, so that every path in scripts
# and messages is relative to it, and short.
#
# Environment:
#   V=1    show each command in full, and everything that it prints
#   NEXT   the command to repeat after an error; the Makefile sets it, otherwise it is
#          the script's own command line
#
# Exit codes: 1 something failed and has been explained, 2 bad usage,
# 130 interrupted.

set -Eeuo pipefail
from=$PWD
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
: "${NEXT:=$0${*:+ $*}}"
: "${V:=0}"
export NEXT V LC_ALL=C

# Only the outermost script prints a message after Ctrl-C: all of them get the signal, but
# one message is enough.
depth=${KVMPMU_DEPTH:-0}
export KVMPMU_DEPTH=$((depth + 1))

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
	red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'
else
	red='' dim='' plain=''
fi

note() {
	printf '%s\n' "$*" >&2
}

# die CAUSE [NEXT [STATUS]]: print one line with the cause and one with the next command,
# and exit.  In a subshell, the status 99 tells the outer shell that both are printed.
die() {
	end_line
	printf '%serror:%s %s\n' "$red" "$plain" "$1" >&2
	printf 'next: %s\n' "${2:-$NEXT}" >&2
	trap - ERR EXIT
	[ "$BASH_SUBSHELL" -eq 0 ] || exit 99
	exit "${3:-1}"
}

# pass CMD...: run another script of ours; if it fails, exit with its status.  It has
# explained its failure itself.
pass() {
	local status=0
	"$@" || status=$?
	[ $status -eq 0 ] && return 0
	trap - ERR
	exit $status
}

# megabytes_free DIR: the free MiB of the file system that DIR is, or will be, on.
megabytes_free() {
	local dir=$1
	while [ ! -d "$dir" ]; do
		dir=$(dirname "$dir")
	done
	df -Pm "$dir" | awk 'NR == 2 { print $4 }'
}

# room DIR MEGABYTES: fail now if DIR has less space free, rather than in ten minutes.
room() {
	local free
	free=$(megabytes_free "$1")
	[ "$free" -ge "$2" ] ||
		die "disk full: $1 has $free MiB free, about $2 MiB are needed" \
		    "df -h $(existing "$1")   # make room, then: $NEXT"
}

existing() {
	local dir=$1
	while [ ! -d "$dir" ]; do
		dir=$(dirname "$dir")
	done
	printf '%s' "$dir"
}

open_line=
end_line() {
	[ -z "$open_line" ] || printf '\n' >&2
	open_line=
}

unexpected() {
	local status=$1 line=$2 command=$3
	trap - ERR
	end_line
	case $status in
	99) exit 1 ;;
	130) exit 130 ;;
	esac
	# In a subshell: the outer shell gets the same status, and explains it.
	[ "$BASH_SUBSHELL" -eq 0 ] || exit "$status"
	if [ "$(megabytes_free build)" -lt 8 ]; then
		die "disk full: build/ has no room left" \
		    "df -h build   # make room, then: $NEXT"
	fi
	die "$0:$line: '$command' ended with status $status" "V=1 $NEXT"
}
trap 'unexpected $? $LINENO "$BASH_COMMAND"' ERR

interrupted() {
	trap '' INT TERM HUP
	end_line
	if [ "$depth" -eq 0 ]; then
		note "interrupted: partial results will not be used"
		note "next: $NEXT"
	fi
	trap - ERR EXIT
	exit 130
}
trap interrupted INT TERM HUP

# seconds_since START: the seconds since START, which is a value of $EPOCHREALTIME.
seconds_since() {
	local now=${EPOCHREALTIME/./} then=${1/./}
	printf '%d.%d' $(((now - then) / 1000000)) $(((now - then) / 100000 % 10))
}

# step WHAT LOG CMD...: run CMD, and show WHAT and the time that it took; what CMD prints
# goes to LOG.  If CMD fails, print the log's last lines, its path and the next command, and
# exit.  If the variable soft is set, return instead, with CMD's status in the variable
# status, for a caller that handles the failure.  Never call this in a condition: bash would
# then ignore set -e in CMD, and not stop a function at its first failing command.
step() {
	local what=$1 log=$2 start
	shift 2
	mkdir -p "$(dirname "$log")"
	start=$EPOCHREALTIME
	trap - ERR
	set +e
	if [ "$V" = 1 ]; then
		(trap - EXIT; set -e; PS4='+ '; set -x; "$@") < /dev/null 2>&1 | tee "$log" >&2
		status=${PIPESTATUS[0]}
	else
		printf '  %s %s...%s' "$what" "$dim" "$plain" >&2
		open_line=1
		(trap - EXIT; set -e; "$@") > "$log" 2>&1 < /dev/null
		status=$?
	fi
	set -e
	trap 'unexpected $? $LINENO "$BASH_COMMAND"' ERR
	if [ "$status" -eq 0 ]; then
		if [ "$V" = 1 ]; then
			note "  $what: $(seconds_since "$start") s"
		else
			printf ' %s s\n' "$(seconds_since "$start")" >&2
			open_line=
		fi
		return 0
	fi
	[ "$status" -ne 130 ] || interrupted
	end_line
	[ -z "${soft:-}" ] || return 0
	if grep -qs 'No space left on device' "$log" ||
	   [ "$(megabytes_free "$(dirname "$log")")" -lt 8 ]; then
		die "disk full: '$what' had no room left (log: $log)" \
		    "df -h $(existing "$(dirname "$log")")   # make room, then: $NEXT"
	fi
	[ "$V" = 1 ] || tail -n 15 "$log" | sed 's/^/    | /' >&2
	die "'$what' failed with status $status (log: $log)" "V=1 $NEXT"
}

# stage WHAT CMD...: run CMD, which shows its own steps, and print how long it took.
stage() {
	local what=$1 start=$EPOCHREALTIME
	shift
	"$@"
	note "stage $what: $(seconds_since "$start") s"
}

# cached COMPILER: how to call COMPILER: through ccache, if that is installed.  The settings
# make ccache share results between clones in different directories.
export CCACHE_BASEDIR=$top CCACHE_NOHASHDIR=1 CCACHE_COMPILERCHECK=content
cached() {
	if command -v ccache > /dev/null; then
		printf 'ccache %s' "$1"
	else
		printf '%s' "$1"
	fi
}

# hold NAME: lock NAME until the script ends; wait until no other command holds it.
hold() {
	mkdir -p build && touch "build/.lock.$1" ||
		die "build/ cannot be written to" "ls -ld . build   # who owns it?"
	exec {lock}> "build/.lock.$1"
	if ! flock -n "$lock"; then
		note "  $1: waiting for another command of this repository"
		flock "$lock"
	fi
}

# test_modules DIR MAKE...: build the modules of tests/kunit in DIR; MAKE leads to a kernel.
test_modules() {
	local dir=$1
	shift
	mkdir -p "$dir"
	rm -f "$dir"/*.ko
	# The self-test of KVM's modules is also a test's.
	cp tests/kunit/Kbuild tests/kunit/*.c arch/x86/kvm/mediated_pmu/alone/*.h "$dir/"
	"$@" "M=$top/$dir" modules
}

# field FILE KEY: the value of a "key: value" line.
field() {
	sed -n "/^$2:/{s/^$2:[[:space:]]*//p;q}" "$1"
}

# hash PATH...: one hash over the names and contents of all files there, for stamps.
hash() {
	local path
	for path; do
		[ -e "$path" ] || continue
		find "$path" -type f -print0
	done | sort -z | xargs -0r sha256sum | sha256sum | cut -d' ' -f1
}

# lost WANTED CONFIG: the options of the fragment WANTED that have another value in the
# kernel's configuration CONFIG.  Kconfig silently drops options whose dependencies are not
# met.  If WANTED has an option twice, the later line counts.
lost() {
	awk -F= '
	!/^CONFIG_/ { next }
	FNR == NR { want[$1] = $2; next }
	{ have[$1] = $2 }
	END {
		for (k in want)
			if ((k in have ? have[k] : "n") != want[k])
				print k "=" want[k]
	}' "$1" "$2" | sort
}

# series_names FILE: the patches that a file "series" lists, in order.  Indented lines are
# new files that come with the patch above, and are left out.
series_names() {
	sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]/d' -e '/^$/d' "$1"
}

# bases: all bases, oldest first.  The directories below patches/ are the only list of them.
bases() {
	local pin
	for pin in patches/*/base; do
		basename "$(dirname "$pin")"
	done | sort -V
}

# module_bases: the bases with modules for Debian's own kernels, oldest first.  Such a base
# has pins of one in patches/BASE/debian.  The DKMS package has no pins, and no other bases.
module_bases() {
	local base
	for base in $(bases); do
		[ ! -d "patches/$base/debian" ] && compgen -G 'patches/*/debian' > /dev/null ||
			printf '%s\n' "$base"
	done
}

# module_base RELEASE: the one of them that kernel RELEASE belongs to, or nothing.
module_base() {
	local base
	for base in $(module_bases); do
		case $1 in
		"$base".*) printf '%s\n' "$base" ;;
		esac
	done
}

# one_of WORD...: "WORD", "WORD or WORD", ...
one_of() {
	printf '%s' "$1"
	shift
	[ $# -eq 0 ] || printf ' or %s' "$@"
}

# chosen_bases TARGET: $BASE if set; otherwise all bases for "test" and "bench", and the
# oldest for other targets.
chosen_bases() {
	if [ -n "${BASE:-}" ]; then
		printf '%s\n' "$BASE"
	elif [ "$1" = test ] || [ "$1" = bench ]; then
		bases
	else
		bases | head -n 1
	fi
}

check_base() {
	[ -n "$1" ] && [ -f "patches/$1/base" ] ||
		die "unknown BASE '$1'; there is: $(bases | paste -sd' ')" \
		    "make ${KVMPMU_TARGET:-run} BASE=$(bases | head -n 1)" 2
}

check_vendor() {
	case $1 in
	intel | amd) ;;
	*) die "unknown VENDOR '$1'; there is: intel amd" \
	       "make ${KVMPMU_TARGET:-run} VENDOR=intel" 2 ;;
	esac
}

cd "$top"
case $top in
*[[:space:]:]*)
	die "the kernel does not build in a path with blanks or colons: $top" \
	    "mv '$top' /some/other/path" ;;
esac
