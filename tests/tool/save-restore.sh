#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rule: a restored machine continues to count as the saved one does.
#
# Run an image that counts and has the machine saved in the middle, then run the saved machine.
# Compare the counters, overflow status and ground truth that both report at the end.  Print KTAP on
# standard output; exit status 1 if any result differs.

cd "$(dirname "$0")/../.." || exit 2
bochs=$PWD/build/machine/bochs
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
number=0 bad=0

result() {
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number - $2"
	else
		echo "not ok $number - $2"
		bad=1
	fi
}

tests/bare/build tests/tool/save.c "$tmp/rom" || exit 1
for vendor in intel:corei7_skylake_x amd:ryzen; do
	model=${vendor#*:} vendor=${vendor%:*}
	dir=$tmp/$vendor
	mkdir -p "$dir/state"
	cat > "$dir/bochsrc" << EOF
config_interface: textconfig
display_library: nogui
memory: guest=64, host=64
cpu: model=$model, count=1, ips=50000000, reset_on_triple_fault=0
clock: sync=none, time0=1700000000
panic: action=fatal
log: $dir/log
romimage: file=$tmp/rom
vgaromimage: file=$PWD/build/machine/VGABIOS-lgpl-latest
ata0: enabled=0
perfmon: verdict=$dir/verdict, save=$dir/state
EOF
	timeout 60 "$bochs" -q -f "$dir/bochsrc" > "$dir/out" 2>&1
	result $? "$vendor: the machine runs and turns off"
	mv "$dir/verdict" "$dir/saved"
	[ -n "$(ls "$dir/state")" ]
	result $? "$vendor: the state is saved"

	timeout 60 "$bochs" -q -r "$dir/state" > "$dir/out" 2>&1
	result $? "$vendor: the saved machine runs and turns off"
	# The saved machine does not repeat what the first one has reported before the save.
	grep -E '^# (counter|status|truth)' "$dir/saved" > "$dir/want"
	grep -E '^# (counter|status|truth)' "$dir/verdict" > "$dir/got"
	[ -s "$dir/want" ] && cmp -s "$dir/want" "$dir/got"
	result $? "$vendor: $(wc -l < "$dir/want") counters and truths are the same"
	diff "$dir/want" "$dir/got" | sed 's/^/# /'
done
echo "1..$number"
exit $bad
