#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Rule: the kernel packages install next to Debian's own kernel, contain the series, have the
# settings of Debian's kernel that matter to guests, fit together, and do not tell where they were
# built.
#
# Use the packages of the cut configuration, and build them if they do not exist.
# vm/kernel-packages and guest/deb check that their kernel boots and counts.

. "$(dirname "$0")/../../scripts/lib/lib.sh"

base=6.12
export FLAVOUR='' DEBUG_INFO=''
unset NEXT

. tests/tool/ktap.sh
# refused WHAT PATTERN COMMAND...: it exits with 2, and prints a line with the cause and the next
# command.
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

# ---- names and control data

source=$(cat build/$base/source)
version=${source#*_}
version=${version%_*}+kvmpmu$(sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
same "the release is the version with our name" "$release" "${version%%-*}-kvm-pmu-cloud-amd64"
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
	same "$script updates the boot loader and the initramfs" \
		"$(grep -c "run-parts --arg=\"$release\" --arg=\"/boot/vmlinuz-$release\" /etc/kernel/$script.d" "$work/control/$script")" 1
done
root=$work/root
same "no file has a path of Debian's kernel" \
	"$(cd "$root" && find . -type f ! -path "*$release*" ! -path './usr/share/doc/*' ! -path './etc/kernel/*')" ""

# ---- contents

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

# Compare options that are built in, and numbers: the cut removed only modules.
config=$root/boot/config-$release
debian=$cut/cloud-amd64/debian
told='^CONFIG_(KVM|PERF_EVENTS|PREEMPT|HZ|NO_HZ|SMP|NR_CPUS|NUMA|PARAVIRT|XEN_PV|X86_(64|X2APIC|LOCAL|PAT|MCE|FRED|SGX|KERNEL_IBT)'
told+='|RANDOMIZE|MITIGATION|HARDLOCKUP|TRANSPARENT|FTRACE|FUNCTION_|KPROBES|MODULE_SIG|MODVERSIONS|SECURITY_LOCKDOWN)'
settings() {
	grep -E "$told" "$1" | grep -vE '=m$|^CONFIG_MODULE_SIG_KEY=' | sort
}
looked_at=$(settings "$debian" | wc -l)
same "more than fifty settings are compared" "$((looked_at > 50))" 1
same "all of them are Debian's" "$(diff <(settings "$debian") <(settings "$config") | grep '^[<>]' || true)" ""

mkdir -p "$work/hello"
printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n' > "$work/hello/hello.c"
printf 'obj-m := hello.o\n' > "$work/hello/Kbuild"
unset MAKEFLAGS MAKELEVEL MFLAGS MAKEOVERRIDES
make -C "$root/usr/src/linux-headers-$release" M="$top/$work/hello" modules > "$work/make" 2>&1 || sed 's/^/# /' "$work/make"
same "the headers build a module that this kernel accepts" \
	"$(modinfo -F vermagic "$work/hello/hello.ko" 2> /dev/null)" "$vermagic"

# ---- contents that must not be there

rm -rf "$work/hello"
same "no private key" "$(grep -rlE 'BEGIN ([A-Z]+ )?PRIVATE KEY' "$root" | grep -v '/scripts/' || true)" ""
# Look at the kernel before it is compressed.  Skip the headers: two files that the kernel's own
# packaging includes have the path.
cp $cut/cloud-amd64/obj/vmlinux "$work/vmlinux"
same "no path of the build in the kernel and its modules" \
	"$(grep -rlF "$top" "$work/vmlinux" "$root/boot" "$root/lib/modules" || true)" ""
same "no name of the builder" \
	"$(grep -aoE 'Linux version [^ ]+ \([^)]*\)' "$work/vmlinux" | sed 1q)" \
	"Linux version $release (kvm-pmu@debian)"

# ---- building them

before=$(stat -c '%n %Y' "${packages[@]}")
same "packages that exist are not built again" "$(scripts/cmd/deb --cut $base 2>&1)" \
	"$(printf '%s\n' "${packages[@]}")"
same "and stay unchanged" "$(stat -c '%n %Y' "${packages[@]}")" "$before"
refused "another flavour" "unknown FLAVOUR 'rt-amd64'; there is: amd64 cloud-amd64" env FLAVOUR=rt-amd64 scripts/cmd/deb $base
refused "another base" "unknown BASE '5.4'" scripts/cmd/deb 5.4

[ "$failed" -ne 0 ] || rm -rf "$work"
conclude
