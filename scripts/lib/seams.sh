# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts that apply a series share.  Source it after lib.sh.
#
# A series is the overlay (our files, below arch/, include/ and kernel/) and the seams
# that patches/BASE/series lists.  Seams apply at fuzz 0, here and everywhere.

# seams BASE: the names of its patches, in order.
seams() {
	[ ! -f "patches/$1/series" ] ||
		sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "patches/$1/series"
}

# seam_files BASE: their paths; one that does not exist, or that adds a file,
# ends it.
seam_files() {
	local p
	for p in $(seams "$1"); do
		p=patches/$1/$p
		[ -f "$p" ] ||
			die "patches/$1/series lists ${p##*/}, which does not exist" "ls patches/$1"
		if grep -q '^--- /dev/null' "$p"; then
			die "$p adds a file: new files belong to the overlay (arch/, include/, kernel/)" \
			    "grep -A1 '^--- /dev/null' $p"
		fi
		printf '%s\n' "$p"
	done
}

# overlay: our own files, as they are called in the kernel too.
overlay() {
	local dir
	for dir in arch include kernel; do
		[ ! -d $dir ] || find $dir -type f ! -name '.*' ! -name '*~'
	done | sort
}

# touched PATCH...: the files that these edit.
touched() {
	[ $# -eq 0 ] || sed -n -e 's,^+++ [^/]*/\([^[:space:]]*\).*,\1,p' "$@" | sort -u
}

# apply_seam DIR PATCH LOG: apply PATCH to the files in DIR, at fuzz 0.  Status 1
# if it does not; then 'rejected LOG' is which hunk was the first.
apply_seam() {
	patch -p1 -F0 -N -f --no-backup-if-mismatch -r - -d "$1" -i "$(realpath "$2")" > "$3" 2>&1
}

# rejected LOG: the first hunk that patch could not apply, as "FILE:LINE (hunk N)".
rejected() {
	awk '
	/^(patching|checking) file / { file = $3; gsub(/\047/, "", file) }
	/^Hunk #[0-9]+ FAILED at / {
		sub(/\.$/, "", $5)
		printf "%s:%s (hunk %s)\n", file, $5, substr($2, 2)
		found = 1
		exit
	}
	/^\|\+\+\+ / { sub(/^[^\/]*\//, "", $2); file = $2 }
	/^(Skipping patch|No file to patch)/ {
		printf "%s:1 (all of it%s)\n", file, reversed
		found = 1
		exit
	}
	/previously applied/ { reversed = ": as if applied already" }
	END { if (!found) print "all of it" }' "$1"
}

# pristine BASE FILE: where the base's own copy of it is, or status 1.
pristine() {
	local build=build/$1
	if [ -f "$build/orig/$2" ]; then
		printf '%s' "$build/orig/$2"
	elif [ -f "$build/linux/$2" ] && ! grep -qsxF "$2" "$build/added"; then
		printf '%s' "$build/linux/$2"
	else
		return 1
	fi
}

# mentions FILE: read C or a patch's new lines; does FILE, a header of the overlay,
# get included there?
mentions() {
	[[ $1 == *.h ]] &&
		grep -E "#[[:space:]]*include[[:space:]]+[\"<]([^\">]*/)?${1##*/}[\">]" > /dev/null
}

# builds PATCH FILE: does a Makefile list FILE's object since PATCH?
builds() {
	[[ $2 == *.c ]] && awk -v object="${2%c}o" '
	/^\+\+\+ / { sub(/^[^\/]*\//, "", $2); dir = $2; sub(/[^\/]*$/, "", dir); makefile = $2 ~ /\/Makefile$/; next }
	/^\+/ && makefile && index(object, dir) == 1 {
		for (i = 1; i <= NF; i++)
			if (dir $i == object || "+" dir $i == object)
				found = 1
	}
	END { exit !found }' "$1"
}

# overlay_joins BASE: "SEAM FILE" lines: each file of the overlay beside the first
# seam that uses it, itself or through another such file.  A mail of
# that seam adds the file.  Files that this series does not use are left out.
overlay_joins() {
	local -A joined=()
	local p f g more
	for p in $(seams "$1"); do
		for f in $(overlay); do
			[ -z "${joined[$f]:-}" ] || continue
			! builds "patches/$1/$p" "$f" && ! mentions "$f" < <(sed -n 's/^+//p' "patches/$1/$p") || joined[$f]=$p
		done
		more=1
		while [ -n "$more" ]; do
			more=
			for f in "${!joined[@]}"; do
				for g in $(overlay); do
					[ -z "${joined[$g]:-}" ] || continue
					! mentions "$g" < "$f" || joined[$g]=$p more=1
				done
			done
		done
	done
	for f in "${!joined[@]}"; do
		printf '%s %s\n' "${joined[$f]}" "$f"
	done | sort
}
