# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The checks that take seconds, for 'make check' and 'make check-fast'.
#
# Source this after lib.sh.  fast_checks runs all of them; a check whose program is not
# installed is skipped.  Every finding is one line on standard output, FILE:LINE: what;
# the variable "found" counts them.  In a git repository the files to check are those
# that git has or would add; otherwise they are all but those in build/.

found=0

# report TITLE: lines on standard input are findings.
report() {
	local lines
	lines=$(cat)
	if [ -z "$lines" ]; then
		note "  ok      $1"
		return 0
	fi
	printf '%s\n' "$lines"
	note "  FOUND   $1"
	found=$((found + $(printf '%s\n' "$lines" | wc -l)))
}

# conclude TARGET: say how many findings there were, and fail if there were any.
conclude() {
	[ "$found" -eq 0 ] || die "make $1 found $found" "make $1   # after fixing them"
	note "nothing found"
}

# has PROGRAM TITLE: whether PROGRAM is installed; if not, say what is skipped.
has() {
	command -v "$1" > /dev/null && return 0
	note "  skipped $2: there is no $1 (make check installs it)"
	return 1
}

# ours: the files to check, those that are not added to git yet included.
ours() {
	if git rev-parse --git-dir > /dev/null 2>&1; then
		git ls-files --cached --others --exclude-standard
	else
		find . -path ./build -prune -o -type f -printf '%P\n'
	fi | sort | while read -r f; do
		[ ! -f "$f" ] || printf '%s\n' "$f"
	done
}

# with_shebang PATTERN: our files whose first line matches.
with_shebang() {
	local f line
	for f in "${files[@]}"; do
		line=
		IFS= read -r line < "$f" || true
		[[ $line =~ $1 ]] && printf '%s\n' "$f"
	done 2> /dev/null
	return 0
}

# text: the files to check that are text of our own.
text() {
	local f
	for f in "${files[@]}"; do
		case $f in
		*.patch | COPYING | *.png | *.svg | *.json | */corpus/*) ;;
		*) printf '%s\n' "$f" ;;
		esac
	done
}

mapfile -t files < <(ours)
mapfile -t text < <(text)

# .shellcheckrc disables some of shellcheck's checks, and says why.
shell_style() {
	local bash sh
	mapfile -t bash < <(with_shebang '^#!.*/bash' && printf 'scripts/lib/%s\n' lib.sh checks.sh)
	mapfile -t sh < <(with_shebang '^#!.*(/sh|ash)$' | grep -vxF "$(printf '%s\n' "${bash[@]}")")
	report "shellcheck (bash)" < <(in_parallel shellcheck -f gcc -- "${bash[@]}")
	[ ${#sh[@]} -eq 0 ] ||
		report "shellcheck (sh)" < <(in_parallel shellcheck -f gcc -s dash -- "${sh[@]}")
}

# in_parallel COMMAND... -- FILE...: run COMMAND on parts of the files, on all CPUs.
in_parallel() {
	local command=()
	while [ "$1" != -- ]; do
		command+=("$1")
		shift
	done
	shift
	printf '%s\n' "$@" | xargs -d '\n' -P "$(nproc)" -n 4 "${command[@]}" 2>&1 | sort || true
}

compiles() {
	local python
	mapfile -t python < <(with_shebang '^#!.*python3' && printf '%s\n' "${files[@]}" | grep '\.py$')
	python3 - "${python[@]}" <<-'END' 2>&1
		import sys
		for name in sorted(set(sys.argv[1:])):
		    try:
		        with open(name) as text:
		            compile(text.read(), name, "exec")
		    except SyntaxError as error:
		        print("%s:%d: %s" % (name, error.lineno or 1, error.msg))
	END
}

licences() {
	local f
	for f in "${text[@]}"; do
		case $f in
		README | */README | MAINTAINERS | *.rst | .gitignore) continue ;;
		*/list | */series | */base | */cover | */pin | */bench/peer | */debian/* | patches/*/config/*) continue ;;
		debian/*.triggers | debian/tests/control | debian/source/format) continue ;;
		debian/changelog | debian/control | debian/copyright) continue ;;
		esac
		# These files have Bochs's licence and its form of header.
		[[ $f != tools/machine/cpu/* ]] || continue
		head -n 3 "$f" | grep 'SPDX-License-Identifier: GPL-2.0' > /dev/null ||
			printf '%s:1: no SPDX-License-Identifier line\n' "$f"
	done
}
# newlines: find what git diff shows as "\ No newline at end of file".
newlines() {
	local f
	for f in "${text[@]}"; do
		[ ! -s "$f" ] || [ "$(tail -c 1 "$f" && printf x)" = $'\nx' ] ||
			printf '%s:%d: no newline at the end of the file\n' "$f" "$(($(wc -l < "$f") + 1))"
	done
}

# patches: find patches that no series lists, that one lists twice, or that do not exist.
patches() {
	local series dir
	for series in patches/*/series tools/machine/{patches,gdb}/series; do
		[ -f "$series" ] || continue
		dir=$(dirname "$series")
		listed=$(series_names "$series" | sort)
		there=$(cd "$dir" && find . -name '*.patch' -printf '%P\n' | sort)
		uniq -d <<< "$listed" | sed "/./!d; s,.*,$series:1: & is listed twice,"
		comm -23 <(uniq <<< "$listed") <(echo "$there") |
			sed "/./!d; s,.*,$series:1: & does not exist,"
		comm -13 <(uniq <<< "$listed") <(echo "$there") |
			sed "/./!d; s,.*,$dir/&:1: no series lists it,"
	done
	# Each new file of the kernel comes with a patch of at least one series, unless it is only
	# for modules alone, and each file that a series lists exists.
	comm -3 <(sed -n 's/^[[:space:]]\+\([^[:space:]#]\+\).*/\1/p' patches/*/series | sort -u) \
		<(printf '%s\n' "${files[@]}" | grep -E '^(arch|include|kernel)/' | grep -v '/mediated_pmu/alone/') |
		sed 's/^\t\(.*\)/\1:1: comes with no patch of any series/; t; s/$/:1: does not exist, but comes with a patch/'
}

# A cover letter for each series; of it and of each mail, that the text fits a mail, and its tags.
texts() {
	python3 - <<-'END' 2>&1
		import glob, os, re
		def say(name, number, what):
		    print("%s:%d: %s" % (name, number, what))
		def narrow(name, lines, first, quoted):
		    for number, line in enumerate(lines, first):
		        if len(line) > 75 and not (quoted and line.startswith("  ")):
		            say(name, number, "%d characters, more than 75" % len(line))
		for series in sorted(glob.glob("patches/*/series")):
		    cover = series[:-len("series")] + "cover"
		    lines = open(cover).read().split("\n") if os.path.exists(cover) else []
		    if lines[1:2] != [""] and re.search("^[0-9]", open(series).read(), re.M):
		        say(cover, 1, "no cover letter: a subject, a blank line, the text")
		    narrow(cover, lines, 1, False)
		for name in sorted(glob.glob("patches/*/*.patch")):
		    lines = open(name).read().split("\n---\n")[0].split("\n")
		    text, end = lines.index(""), len(lines)
		    subject = re.search(r"^Subject: (\[PATCH\] )?(.*(\n .*)*)", "\n".join(lines[:text]), re.M)
		    narrow(name, [subject.group(2).replace("\n", "")] if subject else [], 1, False)
		    while re.match(r"[A-Z][a-z]+(-[a-z]+)*: ", lines[end - 1]):
		        end -= 1
		    if lines[end - 1] or not lines[-1].startswith("Signed-off-by: "):
		        say(name, len(lines), "no block of tags that ends with Signed-off-by, after a blank line")
		    narrow(name, lines[text:end], text + 1, True)
		    for number, line in enumerate(lines, 1):
		        good = number > end and re.fullmatch(r'Fixes: [0-9a-f]{12} \(".+"\)', line)
		        if re.match("fixes:", line, re.I) and not good:
		            say(name, number, 'not a tag of the form: Fixes: 12 digits ("subject")')
	END
}

# diffstats: the counts of lines in each mail are those of what it changes, new files included.
# They are written by make export.
diffstats() {
	python3 -B - <<-'END' 2>&1
		import re, subprocess, sys
		sys.path.insert(0, "scripts/lib")
		from kvmpmu import known_bases
		from series import mails
		for mail in [mail for base in known_bases() for mail in mails(base)]:
		    text = mail.text()
		    stat = subprocess.run(["git", "apply", "--numstat"], input=text, stdout=subprocess.PIPE, text=True, check=True)
		    rows = [row.split("\t") for row in stat.stdout.splitlines()]
		    want = [len(rows)] + [sum(int(row[column]) for row in rows) for column in (0, 1)]
		    said = re.search(r"^ (\d+) files? changed(, (\d+) insertions?\(\+\))?(, (\d+) deletions?\(-\))?$", text, re.M)
		    if not said or [int(said.group(group) or 0) for group in (1, 3, 5)] != want:
		        print("%s:1: its diffstat is not %d files, +%d, -%d: make export BASE=%s" % (mail.path, *want, mail.path.split("/")[1]))
	END
}

pins() {
	local f key
	for f in patches/*/base patches/*/debian/* patches/*/config/* tools/machine/pin tools/bench/peer tests/proof/pins/*; do
		for key in suite type package version file sha256; do
			[ -n "$(field "$f" $key)" ] || printf '%s:1: no line "%s:"\n' "$f" "$key"
		done
		[[ $(field "$f" sha256) =~ ^[0-9a-f]{64}$ ]] || printf '%s:1: sha256 is not one\n' "$f"
	done
}

# readme_figures: have README's figures compared with those that make bench has measured.
readme_figures() {
	tools/bench/readme.py --check
}

# tests: have the runner read tests/list.  Its first line says what is wrong, and where; the
# second line is the next command.
tests() {
	tests/runner/run.py --matrix all --show 2>&1 > /dev/null | sed -n '1s/^run: //p'
}

fast_checks() {
	! has shellcheck "shellcheck" || shell_style
	! has python3 "python compiles" || report "python compiles" < <(compiles)
	report "licence lines" < <(licences)
	report "blanks" < <(grep -nE '[[:space:]]+$' "${text[@]}" |
		sed 's/^\([^:]*:[0-9]*:\).*/\1 blanks at the end of the line/')
	report "ends of files" < <(newlines)
	report "line lengths" < <(awk 'length($0) > 132 {
		printf "%s:%d: %d characters\n", FILENAME, FNR, length($0) }' "${text[@]}")
	# An underline that was joined to its heading or to a paragraph: docutils takes it as text,
	# without a warning.
	report "headings" < <(printf '%s\n' "${text[@]}" | grep -E '(^|/)README$|\.rst$' |
		xargs -d '\n' awk '!/^[=+| -]*$/ && !/^\.\. / && /[^-=~^ ] +(----+|====+|~~~~+)( |$)/ && !/``/ {
		printf "%s:%d: an underline within a line\n", FILENAME, FNR }')
	# In a simple table each line with a first cell is a row of its own.  A line with nothing
	# but a first cell is meant to continue the row above, and is rendered as another row.
	# shellcheck disable=SC2016 # awk's
	report "tables" < <(printf '%s\n' "${text[@]}" | grep -E '(^|/)README$|\.rst$' |
		xargs -d '\n' awk '
		FNR == 1 { second = 0 }
		/^=+( +=+)+$/ { second = index($0, " ="); next }
		/^$/ { second = 0 }
		second && substr($0, 1, 1) != " " && substr($0, second) ~ /^ *$/ {
			printf "%s:%d: a row of a table that has nothing but a first cell\n", FILENAME, FNR }')
	! has codespell "spelling" || report "spelling" < <(codespell --quiet-level=2 \
		--ignore-words-list=extraversion,hda,te,als,ans,inout,ist,nd "${text[@]}" 2>&1)
	# Mirrors come from the host's apt configuration: no file names one.
	report "no mirror, no path of one machine" < <(
		grep -nE 'https?://[^ ]*debian\.org/debian|(^|[^a-z.$}])/(home|work)/' "${text[@]}" |
			grep -v '^scripts/lib/checks.sh:')
	# Tests share a boot, and later ones read what the kernel has printed since its start
	# (log_lines() in tests/lib/check.h).
	report "no test clears the kernel's log" < <(
		grep -rnE '^[^#]*dmesg +(-[cC]|--(read-)?clear)' tests)
	report "patches and series" < <(patches)
	! has python3 "texts of mails" || report "texts of mails" < <(texts)
	! has python3 "diffstats of mails" || report "diffstats of mails" < <(diffstats)
	report "pins" < <(pins)
	! has python3 "README's figures" || report "README's figures" < <(readme_figures)
	! has python3 "list of tests" || report "list of tests" < <(tests)
}
