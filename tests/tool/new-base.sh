#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Rule: make new-base adds a base whose series is that of another one, all of it or nothing.  For
# the same source the patches come out unchanged.  If a hunk does not fit another source, the hunk
# and its patch are named, and no base appears until a person has finished the rebase.

set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/tool/ktap.sh
. tests/tool/repository.sh
from=6.1 new=6.99

# says STATUS TEXT CMD...: CMD ends with STATUS, and a line of its output contains TEXT.
says() {
	local status=$1 text=$2
	shift 2
	"$@" > "$work/log" 2>&1
	[ $? -eq "$status" ] && grep -q -- "$text" "$work/log" && return
	cat "$work/log"
	return 1
}

package=$(sed -n 's/^package: //p' patches/$from/base)
other=$(find patches -mindepth 2 -name base -not -path "patches/$from/*" | sort -V | tail -n 1)

ok "a base that exists" says 2 "base $from exists" scripts/cmd/new-base $from
ok "a base that is no version" says 2 "a BASE is a version" scripts/cmd/new-base "$from-debug"
ok "a series that does not exist" says 2 "unknown FROM '7.99'" scripts/cmd/new-base $new 7.99
ok "a kernel that Debian does not have" says 1 "no linux-source-$new, but: .*$package" scripts/cmd/new-base $new $from
ok "a suite that Debian does not have" says 1 "nonsense" env SUITE=nonsense scripts/cmd/new-base $new $from
ok "no base after any of them" test ! -e patches/$new

ok "a source that the series does not fit: the first patch that does not" \
	says 1 "'KVM: .*' needs a person on $new" env \
	SUITE="$(sed -n 's/^suite: \([a-z]*\).*/\1/p' "$other")" PACKAGE="$(sed -n 's/^package: //p' "$other")" \
	scripts/cmd/new-base $new $from
ok "and the hunks" grep -q "^    | arch/x86/kvm/pmu.c:[0-9]" "$work/log"
ok "no base yet" test ! -e patches/$new
ok "a second call reports the same" says 1 "needs a person on $new" scripts/cmd/new-base $new
# The person's result does not matter here: drop the whole series.
ok "a person has finished the rebase" git -C build/$new/linux reset -q --hard base
rm -rf build/$new/linux/.git/rebase-merge
git -C build/$new/linux checkout -q -B series.new base
ok "and the next call continues" scripts/cmd/new-base $new
ok "with the base from which the rebase began" \
	grep -q "^package: $(sed -n 's/^package: //p' "$other")$" patches/$new/base
rm -rf patches/$new build/$new

ok "the same source takes the series" env PACKAGE="$package" scripts/cmd/new-base $new $from
ok "pinned to the same package" diff <(grep -v '^#' patches/$from/base) <(grep -v '^#' patches/$new/base)
(cd patches && for d in $from $new; do
	mkdir "$work/$d" && cp "$d"/*.patch "$d/series" "$work/$d/"
done)
sed -i "s/base $from/base $new/" "$work/$from/series"
ok "and comes out unchanged, comments too" diff -r "$work/$from" "$work/$new"
ok "with Debian's configurations of that version" grep -q "^version: $(sed -n 's/^version: //p' patches/$from/base)$" \
	patches/$new/config/amd64
ok "the tree is that of its series" test -z "$(scripts/cmd/tree --quiet $new 2>&1)"
conclude
