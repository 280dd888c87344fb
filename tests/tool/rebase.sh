#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Rule: make rebase moves a base to the archive's newest kernel, all of it or nothing.  From the
# kernel before it, this gives the series of the repository.  If the new kernel changes a place in
# the middle of one of our changes, the hunk and its patch are named, and the base stays as it was
# until a person has finished the rebase.

set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/tool/ktap.sh
. tests/tool/repository.sh
base=6.1
# The mails that change perf may fit no older kernel of the archive; those of KVM's modules do.
sed -i '/^# The modules of a kernel that exists leave out/,$d' patches/$base/series
for p in "patches/$base"/*.patch; do
	grep -qx "${p##*/}" patches/$base/series || rm "$p"
done
cp -r patches "$work/want"
pin=patches/$base/base
package=$(sed -n 's/^package: //p' $pin)
suite=$(sed -n 's/^suite: //p' $pin)
newest=$(sed -n 's/^version: //p' $pin)

# back VERSION: pin VERSION, but keep the patches of the newest.
back() {
	scripts/step/apt "$suite" deb cache show "$package=$1" > "$work/show" || return 1
	sed -i -e "s/^version: .*/version: $1/" -e "s/^file: .*/file: ${package}_$1_all.deb/" \
		-e "s/^sha256: .*/sha256: $(sed -n 's/^SHA256: //p' "$work/show" | sed q)/" $pin
}
reset() {
	rm -rf "patches" "build/$base"
	cp -r "$work/want" patches
}
as_it_was() {
	diff -r "$work/before" patches
}

ok "the pin is the archive's newest" test -z "$(scripts/cmd/rebase --behind $base 2> /dev/null)"
# Find the latest kernel of an older stable release to which the series applies unchanged.
older=
for v in $(scripts/step/apt "$suite" deb cache madison "$package" |
	awk -F' *[|] *' -v newest="$newest" '$2 != newest { print $2 }'); do
	dpkg --compare-versions "$v" lt "$newest" && [ "${v%-*}" != "${newest%-*}" ] || continue
	reset
	back "$v" || continue
	cp -r patches "$work/before"
	if scripts/cmd/rebase $base > "$work/log" 2>&1; then
		older=$v
		break
	fi
	rm -rf "$work/before"
done
ok "a kernel before $newest that takes the series: ${older:-none}" test -n "$older"
[ -n "$older" ] || conclude
ok "from $older the series comes out as in the repository" diff -r "$work/want" patches
ok "and the move is reported" grep -q "base $base: $older -> $newest" "$work/log"

# Let our last patch change the line of the Makefile that each stable release changes, too.
conflict() {
	local level=${older#"$base".}
	level=${level%%-*}
	reset
	back "$older"
	p=patches/$base/$(sed -e 's/[[:space:]]*#.*//' -e '/^[^ ]/!d' patches/$base/series | tail -n 1)
	printf -- '--- a/Makefile\n+++ b/Makefile\n@@ -3,3 +3,3 @@\n PATCHLEVEL = %s\n-SUBLEVEL = %s\n+SUBLEVEL = %s0\n EXTRAVERSION =\n' \
		"${base#*.}" "$level" "$level" >> "$p"
	rm -rf "$work/before"
	cp -r patches "$work/before"
}
conflict
scripts/cmd/rebase $base > "$work/log" 2>&1
status=$?
ok "a conflict stops it: status $status" test $status -eq 1
ok "the hunk is named" grep -q "Makefile:4" "$work/log"
ok "and the patch" grep -q "needs a person on $newest" "$work/log"
ok "the base is as it was" as_it_was
scripts/cmd/rebase $base > "$work/log" 2>&1
ok "a second call reports what is left" \
	grep -q "middle of a rebase to $newest: Makefile:4" "$work/log"
ok "and changes nothing" as_it_was
repository=build/$base/linux
export GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@localhost
(cd $repository && git checkout -q --theirs Makefile && git add Makefile &&
	GIT_EDITOR=true git rebase --continue) > "$work/log" 2>&1
ok "after a person has resolved it, the rebase continues" scripts/cmd/rebase $base
ok "the pin has moved" cmp "$work/want/$base/base" $pin
ok "the change is the person's" grep -q "^+SUBLEVEL = " "$p"
ok "the tree has the new source" git -C $repository log -1 --format=%s base
ok "and its commits are those of the series" test -z "$(scripts/cmd/tree --quiet $base 2>&1)"
conclude
