#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rule: each of our coccinelle rules finds the bad lines of its example, two of them also find
# their lines in stock 6.1, and none finds anything in the patched trees.

. "$(dirname "$0")/../../scripts/lib/lib.sh"

. tests/tool/ktap.sh

findings() {
	scripts/step/cocci --rule "$1" "${@:2}" | sed -n 's/^[^:]*:\([0-9]*\):.*/\1/p' | sort -nu | paste -sd' '
}

for rule in scripts/coccinelle/*.cocci; do
	name=$(basename "$rule" .cocci)
	same "$name: finds the bad lines of its example, and no others" \
		"$(findings "$name" "tests/cocci/$name.c")" \
		"$(grep -n '/\* bad' "tests/cocci/$name.c" | cut -d: -f1 | paste -sd' ')"
done
stock=build/.cocci-stock.c
git -C build/6.1/linux show base:arch/x86/kvm/pmu.c > $stock
same "snapshot_overflow: finds how stock 6.1 detects an overflow" \
	"$(findings snapshot_overflow $stock)" \
	"$(grep -n 'pmc->counter < prev_count' $stock | cut -d: -f1)"
same "perf_irqs_off: finds the call in the fastpath of stock 6.1" \
	"$(findings perf_irqs_off $stock)" \
	"$(sed -n '/^static void kvm_pmu_incr_counter/,/^}/{/reprogram_counter/=}' $stock)"
for base in $(bases); do
	same "$base: nothing is found in the patched tree" "$(scripts/step/cocci "$base")" ""
done
rm -f $stock
conclude
