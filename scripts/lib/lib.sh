# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What all scripts here share: how a step is shown, how an error ends.
#
# Source it first.  It moves to the top of the repository, so that every path
# below and in messages is a short one.
#
# Environment:
#   V=1    show each command in full, and all that it prints
#   NEXT   the command that a user should repeat after an error; the Makefile
#          sets it, else it is the script's own command line
#
# Exit codes: 1 something failed and has been explained, 2 bad usage,
# 130 interrupted.

set -Eeuo pipefail
from=$PWD
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
: "${NEXT:=$0${*:+ $*}}"
: "${V:=0}"
export NEXT V LC_ALL=C

# Only the outermost script speaks when something ends early: the inner ones
# share its terminal, and one cause deserves one message.
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

# die CAUSE [NEXT [STATUS]]: one line for the cause, the last line for the way on.
# In a subshell, the status 99 tells the shell around it that all is said.
die() {
	end_line
	printf '%serror:%s %s\n' "$red" "$plain" "$1" >&2
	printf 'next: %s\n' "${2:-$NEXT}" >&2
	trap - ERR EXIT
	[ "$BASH_SUBSHELL" -eq 0 ] || exit 99
	exit "${3:-1}"
}

# pass CMD...: run another script of ours, which explains its own failure.
pass() {
	local status=0
	"$@" || status=$?
	[ $status -eq 0 ] && return 0
	trap - ERR
	exit $status
}

# megabytes_free DIR: of the file system that DIR is, or will be, on.
megabytes_free() {
	local dir=$1
	while [ ! -d "$dir" ]; do
		dir=$(dirname "$dir")
	done
	df -Pm "$dir" | awk 'NR == 2 { print $4 }'
}

# room DIR MEGABYTES: better refused now than failed in ten minutes.
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
	# The shell around this one meets the same status, and explains it.
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
		note "interrupted: what was half made will not be used"
		note "next: $NEXT"
	fi
	trap - ERR EXIT
	exit 130
}
trap interrupted INT TERM HUP

# seconds_since START, where START is an $EPOCHREALTIME.
seconds_since() {
	local now=${EPOCHREALTIME/./} then=${1/./}
	printf '%d.%d' $(((now - then) / 1000000)) $(((now - then) / 100000 % 10))
}

# step WHAT LOG CMD...: run CMD, show WHAT and its time; all it prints goes to
# LOG.  If it fails: the log's last lines, the log's path, the next command;
# with the variable soft set, only its status in the variable status, for a
# caller that knows better.  Never call it in a condition: there, bash would not
# stop a function CMD at its first failing command.
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

# stage WHAT CMD...: run CMD, which shows its steps, and say how long all of it took.
stage() {
	local what=$1 start=$EPOCHREALTIME
	shift
	"$@"
	note "stage $what: $(seconds_since "$start") s"
}

# cached COMPILER: how to call it.  Through ccache, if that is there: what a clean
# clone has compiled serves the next one, wherever it lies.
export CCACHE_BASEDIR=$top CCACHE_NOHASHDIR=1 CCACHE_COMPILERCHECK=content
cached() {
	if command -v ccache > /dev/null; then
		printf 'ccache %s' "$1"
	else
		printf '%s' "$1"
	fi
}

# hold NAME: wait until no other command works on the same thing.
hold() {
	mkdir -p build && touch "build/.lock.$1" ||
		die "build/ cannot be written to" "ls -ld . build   # whose is it?"
	exec {lock}> "build/.lock.$1"
	if ! flock -n "$lock"; then
		note "  $1: waiting for another command of this repository"
		flock "$lock"
	fi
}

# field FILE KEY: the value of a "key: value" line.
field() {
	sed -n "/^$2:/{s/^$2:[[:space:]]*//p;q}" "$1"
}

# hash PATH...: one hash over names and contents, for stamps.
hash() {
	local path
	for path; do
		[ -e "$path" ] || continue
		find "$path" -type f -print0
	done | sort -z | xargs -0r sha256sum | sha256sum | cut -d' ' -f1
}

# lost WANTED CONFIG: the options of the fragment WANTED that the kernel's configuration
# CONFIG has not got.  Kconfig drops silently what it cannot have.  Where WANTED has
# an option twice, the later one counts.
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

# series_names FILE: the patches that a file "series" lists, in order.  What is indented
# comes with the patch above it.
series_names() {
	sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]/d' -e '/^$/d' "$1"
}

# bases: the directories under patches/ are the only list of bases.
bases() {
	local pin
	for pin in patches/*/base; do
		basename "$(dirname "$pin")"
	done | sort -V
}

# chosen_bases TARGET: BASE, else the first one to look at, all to test.
chosen_bases() {
	if [ -n "${BASE:-}" ]; then
		printf '%s\n' "$BASE"
	elif [ "$1" = test ]; then
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
