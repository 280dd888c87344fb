# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A copy of this repository that has its downloads, for tests of commands that change it.
#
# Source it: the copy, $work, becomes the current directory, and is removed at the end.

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
(cd "$top" && tar -c --exclude=./build --exclude=./.git .) | tar -x -C "$work" || exit 1
mkdir -p "$work/build"
cp -r "$top/build/apt" "$work/build/" 2> /dev/null
cp -rl "$top/build/download" "$work/build/" 2> /dev/null || cp -r "$top/build/download" "$work/build/"
rm -f "$work"/build/.lock.*
cd "$work" || exit 1
unset BASE FROM SUITE PACKAGE NEXT KVMPMU_TARGET KVMPMU_DEPTH MAKEFLAGS MAKELEVEL
