#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rule: the kernel packages install beside Debian's own kernel, hold the series, are configured as Debian's kernel is where it
# matters to guests, fit together, and tell nothing about where they were built.
#
# Takes the packages of the cut configuration, which are built if they are not there.  That their kernel boots and counts,
# vm/kernel-packages
# and guest/deb see.

. "$(dirname "$0")/../../scripts/lib/lib.sh"

base=6.12
export FLAVOUR='' DEBUG_INFO=''
unset NEXT

. tests/tool/ktap.sh
# refused WHAT PATTERN COMMAND...: with status 2, one line for the cause, and the last for the way on.
refused() {
	local what=$1 pattern=$2 status=0
	shift 2
	KVMPMU_DEPTH=0 "$@" > "$work/out" 2> "$work/err" < /dev/null || status=$?
	same "$what" "$status $(grep -cE "^error: $pattern" "$work/err") $(tail -n 1 "$work/err" | cut -d' ' -f1)" "2 1 next:"
}

mapfile -t packages < <(scripts/cmd/deb --cut $base)
wait $! || exit 1
cut=build/$base/deb-cut
work=$cut/test
rm -rf "$work"
mkdir -p "$work"
release=$(cat $cut/release)

# ---- what they are called, and what they say of themselves

source=$(cat build/$base/source)
version=${source#*_}
version=${version%_*}+kvmpmu$(sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
same "the release is the version's, with a name of ours" "$release" "${version%%-*}-kvm-pmu-cloud-amd64"
same "an image and its headers" "$(printf '%s\n' "${packages[@]##*/}")" \
	"$(printf 'linux-%s-%s_%s_amd64.deb\n' image "$release" "$version" headers "$release" "$version")"
for p in "${packages[@]}"; do
	name=${p##*/}
	name=${name%%_*}
	same "$name: name, version, architecture" "$(dpkg-deb -f "$p" Package Version Architecture | cut -d' ' -f2 | paste -sd' ')" \
		"$name $version amd64"
	dpkg-deb -x "$p" "$work/root"
done
dpkg-deb -e "${packages[0]}" "$work/control"
for script in postinst postrm; do
	same "$script has the boot loader and the initramfs brought up to date" \
		"$(grep -c "run-parts --arg=\"$release\" --arg=\"/boot/vmlinuz-$release\" /etc/kernel/$script.d" "$work/control/$script")" 1
done
root=$work/root
same "nothing of it is where Debian's kernel has its files" \
	"$(cd "$root" && find . -type f ! -path "*$release*" ! -path './usr/share/doc/*' ! -path './etc/kernel/*')" ""

# ---- what is in them

modules=$root/lib/modules/$release/kernel
find "$modules" -name '*.ko.xz' -exec xz -d {} +
same "the modules are those of KVM" "$(find "$modules" -name '*.ko' -printf '%f\n' | sort | paste -sd' ')" \
	"irqbypass.ko kvm-amd.ko kvm-intel.ko kvm.ko"
for name in kvm-intel kvm-amd; do
	ko=$modules/arch/x86/kvm/$name.ko
	same "$name.ko offers a mediated vPMU" "$(modinfo -p "$ko" | grep -c '^enable_mediated_pmu:')" 1
	same "$name.ko is signed" "$(tail -c 28 "$ko" | tr -d '\n')" "~Module signature appended~"
done
vermagic=$(modinfo -F vermagic "$modules/arch/x86/kvm/kvm.ko")

# What is built in, and every number: modules are what was cut.
config=$root/boot/config-$release
debian=$cut/cloud-amd64/debian
told='^CONFIG_(KVM|PERF_EVENTS|PREEMPT|HZ|NO_HZ|SMP|NR_CPUS|NUMA|PARAVIRT|XEN_PV|X86_(64|X2APIC|LOCAL|PAT|MCE|FRED|SGX|KERNEL_IBT)'
told+='|RANDOMIZE|MITIGATION|HARDLOCKUP|TRANSPARENT|FTRACE|FUNCTION_|KPROBES|MODULE_SIG|MODVERSIONS|SECURITY_LOCKDOWN)'
settings() {
	grep -E "$told" "$1" | grep -vE '=m$|^CONFIG_MODULE_SIG_KEY=' | sort
}
looked_at=$(settings "$debian" | wc -l)
same "more than fifty settings are looked at" "$((looked_at > 50))" 1
same "all of them are Debian's" "$(diff <(settings "$debian") <(settings "$config") | grep '^[<>]' || true)" ""

mkdir -p "$work/hello"
printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n' > "$work/hello/hello.c"
printf 'obj-m := hello.o\n' > "$work/hello/Kbuild"
unset MAKEFLAGS MAKELEVEL MFLAGS MAKEOVERRIDES
make -C "$root/usr/src/linux-headers-$release" M="$top/$work/hello" modules > "$work/make" 2>&1 || sed 's/^/# /' "$work/make"
same "with the headers, a module is built that this kernel takes" \
	"$(modinfo -F vermagic "$work/hello/hello.ko" 2> /dev/null)" "$vermagic"

# ---- what must not be in them

rm -rf "$work/hello"
same "no private key" "$(grep -rlE 'BEGIN ([A-Z]+ )?PRIVATE KEY' "$root" | grep -v '/scripts/' || true)" ""
# The kernel as it is before it is packed; of the headers, two files that the kernel's own packaging takes along have the path.
cp $cut/cloud-amd64/obj/vmlinux "$work/vmlinux"
same "no path of where they were built, in the kernel and its modules" \
	"$(grep -rlF "$top" "$work/vmlinux" "$root/boot" "$root/lib/modules" || true)" ""
same "no name of who built them" "$(grep -aoE 'Linux version [^ ]+ \([^)]*\)' "$work/vmlinux" | sed 1q)" \
	"Linux version $release (kvm-pmu@debian)"

# ---- building them

before=$(stat -c '%n %Y' "${packages[@]}")
same "what is built is not built again" "$(scripts/cmd/deb --cut $base 2>&1)" "$(printf '%s\n' "${packages[@]}")"
same "and stays as it is" "$(stat -c '%n %Y' "${packages[@]}")" "$before"
refused "another flavour" "unknown FLAVOUR 'rt-amd64'; there is: amd64 cloud-amd64" env FLAVOUR=rt-amd64 scripts/cmd/deb $base
refused "another base" "unknown BASE '5.4'" scripts/cmd/deb 5.4

[ "$failed" -ne 0 ] || rm -rf "$work"
conclude
