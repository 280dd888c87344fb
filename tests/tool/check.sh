#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rule: make check finds nothing, and skips nothing.
#
# Each mail takes minutes, so a run checks the mails of one base; the commit chooses
# which.  A run compiles a third of more than 20 mails.  KVMPMU_MAILS names other bases,
# KVMPMU_MAILS_TURN another part.

. "$(dirname "$0")/../../scripts/lib/lib.sh"

log=build/check.log
mkdir -p build
mapfile -t all < <(bases)
head=$(git rev-parse --verify --quiet HEAD) || head=00000000
export KVMPMU_MAILS=${KVMPMU_MAILS:-${all[$(((16#${head: -8} / 4 + 1) % ${#all[@]}))]}}
mapfile -t mails < <(printf '%s\n' patches/"$KVMPMU_MAILS"/*.patch)
if [ ${#mails[@]} -gt 20 ]; then
	export KVMPMU_MAILS_TURN=${KVMPMU_MAILS_TURN:-$((16#${head: -8} / 8 % 3 + 1))/3}
fi
echo "# mails of base $KVMPMU_MAILS, compiled: part ${KVMPMU_MAILS_TURN:-1/1}"
status=0
scripts/cmd/check > $log 2>&1 || status=$?
count=0
while IFS= read -r line; do
	case $line in
	"  ok      "*)
		count=$((count + 1))
		printf 'ok %d - %s\n' $count "${line#  ok      }" ;;
	"  FOUND   "* | "  skipped "*)
		count=$((count + 1))
		printf 'not ok %d - %s\n' $count "${line#  }" ;;
	*) printf '# %s\n' "$line" ;;
	esac
done < $log
printf '1..%d\n' $count
exit $status
