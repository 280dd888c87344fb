#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rule: what leaves this repository (mails, a patched tree, modules, the DKMS package) is either
# whole or refused, with one line for the cause and one for the next command; what was there before
# stays as it was.

. "$(dirname "$0")/../../scripts/lib/lib.sh"
. scripts/lib/mails.sh

base=6.1
work=$top/build/delivery
rm -rf "$work"
mkdir -p "$work"
export BASE='' KERNEL='' RELEASE=''
unset NEXT

. tests/tool/ktap.sh
# says WHAT STATUS PATTERN COMMAND...: the command ends with STATUS, and a line of its standard
# error matches PATTERN.  If STATUS is not 0, there is one line with the cause, and the last line is
# the next command.
says() {
	local what=$1 want=$2 pattern=$3 status=0
	shift 3
	(cd "$work" && KVMPMU_DEPTH=0 "$@") > "$work/out" 2> "$work/err" < /dev/null || status=$?
	if [ $status -eq "$want" ] && grep -qE -- "$pattern" "$work/err" && {
		[ "$want" -eq 0 ] || {
			[ "$(grep -c '^error: ' "$work/err")" -eq 1 ] && tail -n 1 "$work/err" | grep -q '^next: .'
		}
	}; then
		result ok "$what"
	else
		result "not ok" "$what"
		printf 'status %d, wanted %d and: %s\n' $status "$want" "$pattern" | cat - "$work/err" | sed 's/^/#   /'
	fi
}
sum() {
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum
}

# ---- a user's tree

mapfile -t patches < <(mail_names $base | sed "s,^,patches/$base/,")
mapfile -t files < <(scripts/lib/series.py new-files $base)
tree=$work/tree
make_tree() {
	rm -rf "$tree"
	scripts/step/kvm-tree --stock $base base "$tree"
	rm "$tree/.files"
	printf 'VERSION = %s\nPATCHLEVEL = %s\nSUBLEVEL = 1\n' "${1%.*}" "${1#*.}" > "$tree/Makefile"
	before=$(sum "$tree")
}
apply=$top/scripts/cmd/apply

make_tree 6.1
says "apply: a tree of 6.1" 0 "base 6.1: ${#patches[@]} mails in " "$apply" "$tree"
differs=''
for f in $(touched "${patches[@]}") "${files[@]}"; do
	cmp -s "$tree/$f" "build/$base/linux/$f" || differs+=" $f"
done
same "apply: it is what we build and test" "$differs" ""
after=$(sum "$tree")
says "apply: a second time" 0 "in .*/tree already" "$apply" "$tree"
same "apply: which changes nothing" "$(sum "$tree")" "$after"
make_tree 6.6
says "apply: the nearest series for another version" 0 "no series is made for 6.6: that of base 6.1 applies" "$apply" "$tree"

make_tree 6.1
sed -i 's/u64 eventsel;/u64 event_selector;/' "$tree/arch/x86/include/asm/kvm_host.h"
before=$(sum "$tree")
says "apply: a hunk that does not fit is named" 1 \
	"^error: no series fits the 6.1 .*: ${patches[2]} is rejected at arch/x86/include/asm/kvm_host.h:[0-9]+$" \
	"$apply" "$tree"
same "apply: and the tree stays as it was" "$(sum "$tree")" "$before"
make_tree 6.1
echo 'theirs' > "$tree/${files[0]}"
before=$(sum "$tree")
says "apply: nothing is overwritten" 1 "is rejected at ${files[0]}:1 \(there already\)" "$apply" "$tree"
same "apply: and the tree stays as it was, again" "$(sum "$tree")" "$before"
make_tree 6.1
{ KVMPMU_CRASH=1 "$apply" "$tree"; } > /dev/null 2>&1 || true
mv "$tree/.kvm-pmu" "$work/ready"
same "apply: killed before the first file is changed" "$(sum "$tree")" "$before"
mv "$work/ready" "$tree/.kvm-pmu"
# Rename one of the files, as if the call had been killed later.
mv "$tree/.kvm-pmu/ready/arch/x86/kvm/pmu.c" "$tree/arch/x86/kvm/pmu.c"
says "apply: the next call finishes what was interrupted" 0 "in .*/tree already" "$apply" "$tree"
same "apply: to the same tree" "$(sum "$tree")" "$after"
says "apply: no tree" 2 "not the source of a kernel" "$apply" "$work"
says "apply: no name" 2 "KERNEL= is not set" "$apply"
make_tree 2.6
says "apply: only the requested series is tried" 2 "unknown BASE '5.4'" "$apply" --base 5.4 "$tree"

# ---- mails

says "series: mails that git am takes" 0 "${#patches[@]} mails" "$top/scripts/cmd/series" $base "$work/mails"
first=$(sum "$work/mails")
rm -rf "$work/mails"
says "series: for another author, date and locale" 0 "${#patches[@]} mails" env \
	GIT_AUTHOR_NAME=other GIT_COMMITTER_NAME=other GIT_COMMITTER_DATE='2001-01-01 00:00:00' \
	TZ=Asia/Tokyo LANG=de_DE.UTF-8 "$top/scripts/cmd/series" $base "$work/mails"
same "series: the mails are the same" "$(sum "$work/mails")" "$first"
nr=${#patches[@]}
same "series: each says which it is" "$(sed -n 's/^Subject: \[PATCH \([0-9/]*\)\].*/\1/p' "$work/mails"/*.patch | paste -sd' ')" \
	"$(seq -f "%0${#nr}g/$nr" 0 "$nr" | paste -sd' ')"
mkdir "$work/empty"
echo mine > "$work/empty/mine"
says "series: a directory with other things in it" 2 "has other things in it" "$top/scripts/cmd/series" $base "$work/empty"

# Mails that follow the series, each wrong in one way.
# mail NAME SED [FILE]: make a mail NAME that changes FILE by SED
mail() {
	local file=${3:-arch/x86/kvm/pmu.c}
	mkdir -p "$work/a/$(dirname "$file")" "$work/b/$(dirname "$file")"
	cp "build/$base/linux/$file" "$work/a/$file"
	sed "$2" "$work/a/$file" > "$work/b/$file"
	{
		printf 'From: Some One <some.one@localhost>\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n'
		printf 'Subject: [PATCH] KVM: x86/pmu: Change something\n\nChange something, as the tests want to see that it is found.\n\n'
		printf 'Signed-off-by: Some One <some.one@localhost>\n---\n'
		(cd "$work" && diff -u "a/$file" "b/$file")
	} > "$work/$1.patch" || true
}
# finds WHAT NAME PATTERN: check-series reports PATTERN for the mail NAME, or nothing if it is empty
finds() {
	local status=0
	KVMPMU_DEPTH=0 scripts/step/check-series --with "$work/$2.patch" $base > "$work/out" 2> "$work/err" < /dev/null || status=$?
	if [ -n "$3" ]; then
		[ $status -eq 1 ] && grep -qE -- "$3" "$work/out"
	else
		[ $status -eq 0 ] && [ ! -s "$work/out" ]
	fi && result ok "$1" || {
		result "not ok" "$1"
		printf 'status %d, wanted: %s\n' $status "${3:-nothing}" | cat - "$work/out" "$work/err" | sed 's/^/#   /'
	}
}
# shellcheck disable=SC2016 # $a is sed's
mail right 's/^bool pmc_speculative_in_use/bool pmc_speculative_in_use/; $a\\n/* The end. */'
mail style '/^#include "pmu.h"/a\int kvm_pmu_nothing = 0;'
mail unused '/^void kvm_pmu_destroy/i\static int kvm_pmu_nothing(void)\n{\n\treturn 1;\n}\n'
mail prototype '/^void kvm_pmu_destroy/i\int kvm_pmu_nothing(void)\n{\n\treturn 1;\n}\n'
nothing='void kvm_pmu_nothing(void __user *p)'
mail sparse "/^void kvm_pmu_destroy/i\\$nothing;\\n$nothing\\n{\\n\\tmemset(p, 0, 1);\\n}\\n"
mail broken 's/^void kvm_pmu_destroy(/void kvm_pmu_destroyed(/'
mail rejected 's/kvm_pmu_destroy/kvm_pmu_destroyed/'
sed -i 's/^ \(.*\)$/ \1 /' "$work/rejected.patch"
finds "check-series: a mail that is right" right ""
finds "check-series: finds bad style" style "style.patch:[0-9]+: ERROR:GLOBAL_INITIALISERS"
finds "check-series: finds a compiler warning" unused \
	"arch/x86/kvm/pmu.c:[0-9]+: (warning|error): .*defined but not used"
finds "check-series: finds one that only W=1 gives" prototype "arch/x86/kvm/pmu.c:[0-9]+: warning: no previous prototype"
finds "check-series: finds a sparse warning" sparse \
	"arch/x86/kvm/pmu.c:[0-9]+: warning: incorrect type in argument 1 \(different address spaces\)"
finds "check-series: finds what does not build" broken "broken.patch:1: the kernel does not build after it"
finds "check-series: finds fuzz" rejected "rejected.patch:1: does not apply at fuzz 0: arch/x86/kvm/pmu.c:[0-9]+"

# ---- modules, and the package

modules=$top/scripts/cmd/modules
says "modules: another kernel" 1 "5.10.0-1-amd64 is not a Debian 6.1 or 6.12:" "$modules" --release 5.10.0-1-amd64
says "modules: a kernel that is not installed" 1 "6.1.0-999-amd64 is not installed" "$modules" --release 6.1.0-999-amd64
[ -n "$(module_base "$(uname -r)")" ] || [ -n "$(find /lib/modules -maxdepth 1 -name '6.1*' 2> /dev/null)" ] ||
	says "modules: no kernel at all" 1 "no Debian kernel 6.1 or 6.12 is installed with its headers" "$modules"
release=$(cat build/debian-$base/release)
headers=$top/build/debian-$base/headers
mkdir -p "$work/none"
says "modules: no headers" 1 "the headers of kernel $release are not installed" \
	"$modules" --release "$release" --headers "$work/none"
says "modules: headers of another kernel" 1 "are the headers of another kernel" \
	"$modules" --release 6.1.0-1-amd64 --headers "$headers"
says "modules: headers that are not Debian's" 1 "is not Debian's" \
	"$modules" --release 6.1.176-kvm-pmu --headers "$top/build/$base/obj"
cp -r "$(realpath "$headers")/." "$work/headers"
sed -i 's/Debian [^"]*/Debian 6.1.999-1/' "$work/headers/include/generated/package.h"
says "modules: no source of that version" 1 "needs linux-source-6.1 6.1.999-1" \
	"$modules" --offline --release "$release" --headers "$work/headers"
says "modules: a directory with other things in it" 2 "has other things in it" \
	"$modules" --release "$release" --headers "$headers" --out "$work/empty"

# A series that does not apply, where DKMS would use it.
deb=$(scripts/cmd/dkms)
version=$(dpkg-deb -f "$deb" Version)
dpkg-deb -x "$deb" "$work/root"
package=$work/root/usr/src/kvm-pmu-$version
export KVMPMU_CACHE=$top/build/debian-$base/dkms/cache
# build WHAT STATUS KERNEL HEADERS: DKMS ends with STATUS, and builds no module.
build() {
	local status=0
	rm -rf "$work/dkms"
	mkdir "$work/dkms"
	dkms build -m kvm-pmu -v "$version" -k "$3" -a x86_64 --dkmstree "$work/dkms" --sourcetree "$work/root/usr/src" \
		--kernelsourcedir "$4" > "$work/out" 2> "$work/err" < /dev/null || status=$?
	if [ $status -eq "$2" ] && [ -z "$(find "$work/dkms" -name '*.ko')" ]; then
		result ok "$1"
	else
		result "not ok" "$1"
		printf 'status %d, wanted %d\n' $status "$2" | cat - "$work/err" | sed 's/^/#   /'
	fi
}
check="$package/scripts/cmd/modules --dkms --check --release $release --headers"
# shellcheck disable=SC2086 # words
{
	says "package: can be built for Debian's kernel" 0 "" $check "$headers"
	build "package: DKMS skips a kernel that has no patches" 77 6.6.0-1-amd64 "$headers"
	says "package: another version than the source has" 1 "needs linux-source-6.1 6.1.999-1" $check "$work/headers"
	build "package: DKMS skips it" 77 "$release" "$work/headers"
	sed -i 's/^ \tu64 counter;/ \tu64 contour;/' "$package/${patches[2]}"
	says "package: a hunk that does not apply is named" 1 \
		"${patches[2]} does not apply to .* at fuzz 0: arch/x86/include/asm/kvm_host.h:[0-9]+" $check "$headers"
	build "package: DKMS skips it, too" 77 "$release" "$headers"
	rm "$package/${patches[2]}"
	says "package: a patch that is not there" 1 "which does not exist" $check "$headers"
}
for ko in kvm kvm-intel kvm-amd; do
	same "package: $ko.ko has our version" \
		"$(modinfo -F version "build/debian-$base/modules/$ko.ko")" "kvm-pmu-$version"
done
same "package: kvm.ko is for that kernel" "$(modinfo -F vermagic build/debian-$base/modules/kvm.ko)" \
	"$(modinfo -F vermagic build/debian-$base/stock/modules/kvm.ko)"

[ "$failed" -ne 0 ] || rm -rf "$work"
conclude
