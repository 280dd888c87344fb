#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Rule: scripts/cmd/reload replaces KVM's modules, or says why not and leaves KVM in use.  It
# unloads nothing before it knows that the new modules are for this kernel, that Secure Boot accepts
# them, and that no guest runs.

. /lib/check.sh

release=$(uname -r)
# shellcheck disable=SC2153 # set by the environment
vendor=kvm-$VENDOR
own=/lib/modules/$release/kernel/arch/x86/kvm
probe=/sys/module/kvm/parameters/halt_poll_ns

# Make what an installed kernel has, and a directory of new modules.
for applet in modprobe modinfo id readlink od depmod strings dd tail; do
	ln -sf busybox /bin/$applet
done
mkdir -p "$own" /tmp/new /tmp/bad "/tmp/sys/firmware/efi/efivars"
cp /lib/modules/*.ko "$own/"
depmod "$release"
cp /lib/modules/kvm.ko "/lib/modules/$vendor.ko" /tmp/new/
cp /tmp/new/*.ko /tmp/bad/

# forge MODULE OLD NEW: /tmp/bad/MODULE for another kernel: NEW, as long as OLD, in its vermagic.
# (sed would take minutes here.)
forge() {
	cp "/tmp/new/$1" /tmp/bad/
	# shellcheck disable=SC2046 # the first word is the offset
	set -- "/tmp/bad/$1" "vermagic=$2" "vermagic=$3" $(strings -t d "/tmp/bad/$1" | grep "vermagic=$2")
	printf '%s' "$3" | dd of="$1" bs=1 seek="$4" conv=notrunc 2> /dev/null
}

# Modules in use have this number; newly loaded ones have their default.
number() {
	echo 12345 > $probe
}
fresh() {
	[ -e /dev/kvm ] && [ "$(cat $probe)" != 12345 ] && echo fresh && return
	[ "$(cat $probe)" = 12345 ] && echo kept && return
	echo gone
}
# try WHAT STATUS STATE SAYS COMMAND...: run the command and check its results.
try() {
	what=$1 status=$2 state=$3 says=$4
	shift 4
	number
	"$@" > /tmp/said 2>&1
	check_equal "$what: status" $? "$status"
	check_equal "$what: the modules" "$(fresh)" "$state"
	note "$(head -n 1 /tmp/said)"
	check "$what: says so" grep -q "$says" /tmp/said
	[ "$status" = 0 ] || check_equal "$what: last line" "$(tail -n 1 /tmp/said | cut -c 1-5)" "next:"
}

try "new modules" 0 fresh "KVM in use" reload /tmp/new
try "what modprobe finds" 0 fresh "KVM in use" reload

exec 3< /dev/kvm
try "a guest runs" 1 kept "in use by .* of $$" reload /tmp/new
exec 3<&-

forge kvm.ko "$release" "9${release#?}"
try "another kernel's module" 1 kept "for kernel 9${release#?}" reload /tmp/bad
rm /tmp/bad/kvm.ko
try "no module" 1 kept "there is no kvm.ko" reload /tmp/bad

printf '\6\0\0\0\1' > /tmp/sys/firmware/efi/efivars/SecureBoot-0
try "Secure Boot, not signed" 1 kept "Secure Boot is on" env KVMPMU_SYS=/tmp/sys reload /tmp/new
printf '\6\0\0\0\0' > /tmp/sys/firmware/efi/efivars/SecureBoot-0
try "Secure Boot is off" 0 fresh "KVM in use" env KVMPMU_SYS=/tmp/sys reload /tmp/new
mkdir -p /tmp/sys/kernel/security
echo 'none [integrity] confidentiality' > /tmp/sys/kernel/security/lockdown
try "locked down, not signed" 1 kept "Secure Boot is on" env KVMPMU_SYS=/tmp/sys reload /tmp/new

# Modules that fail only when they are loaded: the first, then the second.
forge kvm.ko "$release SMP" "$release UPS"
cp "/tmp/new/$vendor.ko" /tmp/bad/
try "a kvm.ko that does not load" 1 fresh "kvm does not load: .*; KVM is the kernel's own again" reload /tmp/bad
cp /tmp/new/kvm.ko /tmp/bad/
forge "$vendor.ko" "$release SMP" "$release UPS"
try "a $vendor.ko that does not load" 1 fresh "$vendor does not load: .*; KVM is the kernel's own again" reload /tmp/bad

mkdir -p "/lib/modules/$release/updates/dkms"
cp /tmp/bad/*.ko "/lib/modules/$release/updates/dkms/"
sed "s,^kernel/arch/x86/kvm/\(kvm\|$vendor\).ko,updates/dkms/\1.ko,; s, kernel/arch/x86/kvm/kvm.ko, updates/dkms/kvm.ko," \
	"/lib/modules/$release/modules.dep" > /tmp/dep
cp /tmp/dep "/lib/modules/$release/modules.dep"
rm -f "/lib/modules/$release/modules.dep.bb"
try "an installed $vendor.ko that does not load" 1 fresh "KVM is the kernel's own again" reload
check_done
