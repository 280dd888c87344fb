# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A series as commits: for what git knows better about patches than patch does.
# Source it after lib.sh and seams.sh.
#
# A repository here has only those files of the kernel that the series edits.
# What git writes does not depend on who runs it, nor on his configuration.

unset "${!GIT_@}"
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
export GIT_COMMITTER_NAME=kvm-pmu GIT_COMMITTER_EMAIL=kvm-pmu@localhost GIT_COMMITTER_DATE='@0 +0000'
export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE
git=(git -c core.abbrev=12 -c init.defaultBranch=base -c advice.defaultBranchName=false -c gc.auto=0
	-c merge.conflictStyle=diff3)

# git_init DIR: a new repository.
git_init() {
	rm -rf "$1"
	mkdir -p "$1"
	"${git[@]}" -C "$1" init -q
}

# git_commit_base DIR NAME: all that is in DIR, as a kernel without the series.
git_commit_base() {
	GIT_AUTHOR_NAME=base GIT_AUTHOR_EMAIL=base@localhost GIT_AUTHOR_DATE='@0 +0000'
	"${git[@]}" -C "$1" add -A
	"${git[@]}" -C "$1" commit -q -m "$2"
}

# git_commit_seam DIR PATCH WORK LOG: what is in DIR, with author, date and
# message of PATCH, a mail.  Nothing of the mail's own changes is applied here.
git_commit_seam() {
	local dir=$1 p=$2 work=$3 log=$4 key subject
	"${git[@]}" mailinfo "$work/body" "$work/diff" < "$p" > "$work/info" 2> "$log" ||
		die "$p is not a mail (log: $log)" "head $p"
	GIT_AUTHOR_NAME=$(sed -n 's/^Author: //p' "$work/info")
	GIT_AUTHOR_EMAIL=$(sed -n 's/^Email: //p' "$work/info")
	GIT_AUTHOR_DATE=$(sed -n 's/^Date: //p' "$work/info")
	subject=$(sed -n 's/^Subject: //p' "$work/info")
	for key in "From:$GIT_AUTHOR_EMAIL" "Date:$GIT_AUTHOR_DATE" "Subject:$subject"; do
		[ -n "${key#*:}" ] || die "$p has no line '${key%%:*}:'" "head $p"
	done
	"${git[@]}" -C "$dir" add -A
	{
		printf '%s\n\n' "$subject"
		cat "$work/body"
	} > "$work/message"
	"${git[@]}" -C "$dir" commit -q --cleanup=whitespace -F "$(realpath "$work/message")" ||
		die "$p changes nothing" "cat $p"
}

# git_mails DIR RANGE OUT: the commits as files like those in patches/BASE:
# NNNN-SUBJECT.patch, without what depends on the rest of the tree.
git_mails() {
	local f
	mkdir -p "$3"
	"${git[@]}" -C "$1" format-patch -q -N --zero-commit --filename-max-length=100 --no-signature \
		--stat-width=80 -o "$(realpath "$3")" "$2"
	for f in "$3"/*.patch; do
		sed -i -e '/^diff --git /d' -e '/^index [0-9a-f]*\.\.[0-9a-f]*/d' "$f"
	done
}
