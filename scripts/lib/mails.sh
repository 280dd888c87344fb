# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The series of a base as mails, for scripts that apply them to a tree that is not a git
# repository.  Source it after lib.sh.  scripts/lib/series.py has the rest.

# mail_names BASE: the names of its patches, in order.
mail_names() {
	[ ! -f "patches/$1/series" ] || series_names "patches/$1/series"
}

# module_mail_names BASE: the mails that change modules only, and so also fit a kernel that
# exists already.  Two comments in the series enclose the others.
module_mail_names() {
	[ ! -f "patches/$1/series" ] ||
		sed '/^# The modules of a kernel that exists leave out/,/^# ... up to here/d' "patches/$1/series" |
		series_names /dev/stdin
}

# whole_mails BASE [NAMES]: the paths of the mails that the function NAMES prints (default:
# mail_names), in order, each with the new files that it adds.  In the DKMS package, which has
# no series.py, the patches already contain them.
whole_mails() {
	local dir=patches/$1 name
	if [ -x scripts/lib/series.py ]; then
		dir=build/$1/mails
		rm -rf "$dir"
		pass scripts/lib/series.py mails "$1" "$dir"
	fi
	for name in $("${2:-mail_names}" "$1"); do
		[ -f "$dir/$name" ] ||
			die "patches/$1/series lists $name, which does not exist" "ls patches/$1"
		printf '%s\n' "$dir/$name"
	done
}

# touched MAIL...: the files that these edit or add.
touched() {
	[ $# -eq 0 ] || sed -n -e 's,^+++ [^/]*/\([^[:space:]]*\).*,\1,p' "$@" | sort -u
}

# apply_mail DIR MAIL LOG [-R]: apply MAIL to the files in DIR, or revert it with -R, without
# fuzz (git apply has none).  Fail if it does not apply; then nothing is changed, and
# 'rejected LOG' says where.  GIT_CEILING_DIRECTORIES makes git ignore the repository that
# DIR may lie in.
apply_mail() {
	local documentation=()
	[ -d "$1/Documentation" ] || documentation=('--exclude=Documentation/*')
	GIT_CEILING_DIRECTORIES=$(dirname "$(realpath "$1")") GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null \
		git -C "$1" apply --whitespace=nowarn "${documentation[@]}" ${4:+"$4"} "$(realpath "$2")" > "$3" 2>&1
}

# rejected LOG: the first hunk that could not be applied, as FILE:LINE.
rejected() {
	sed -nE \
		-e '/^error: patch failed: /{s///p; q}' \
		-e '/^error: (.*): (does not exist|No such file).*/{s//\1:1 (not there)/p; q}' \
		-e '/^error: (.*): already exists.*/{s//\1:1 (there already)/p; q}' \
		-e '/^error: /{s///p; q}' "$1" | grep . || echo "all of it"
}
