# SPDX-License-Identifier: GPL-2.0
"""Archives from which host and guest boot: their first file system, made of the host's packages,
our kernels and our tests.

Every function returns the path of an archive, which is kept (store.py), and raises Failed with one
line and the next command.
"""

import glob
import os
import subprocess

from cpio import Archive
from kvmpmu import Failed, TOP
from programs import program
from store import kept
from variants import kernel_paths, variant

ROOTFS = os.path.join(TOP, "tests/rootfs")
QEMU = "/usr/bin/qemu-system-x86_64"
FIRMWARE = ("qboot.rom", "bios-microvm.bin", "pvh.bin", "linuxboot_dma.bin", "kvmvapic.bin")
APPLETS = """ash awk base64 basename cat chmod cmp cp cut dd dirname dmesg echo env expr false
             find grep gzip head hexdump insmod kill ln ls lsmod mkdir mknod mount mv
             nproc od poweroff printf ps pwd reboot rm rmmod sed seq setsid sh sleep
             sort stat sync tail taskset tee test time timeout touch tr true uname
             uniq usleep wc xargs yes""".split()


def needed(path, package):
    """Return PATH; raise Failed if it is missing, which a Debian package would provide."""
    if not os.path.exists(path):
        raise Failed("%s is missing" % path, "apt-get install %s" % package)
    return path


def perf_binary():
    """Return the path of Debian's perf program.

    In some releases /usr/bin/perf is a wrapper, which looks for the running kernel's perf.
    """
    found = [needed("/usr/bin/perf", "linux-perf")] + sorted(glob.glob("/usr/bin/perf_[0-9]*"))
    for path in found:
        with open(path, "rb") as content:
            if content.read(4) == b"\x7fELF":
                return path
    raise Failed("no perf program among %s" % " ".join(found),
                 "apt-get install --reinstall linux-perf")


def common():
    """Archive what host and guest share: busybox, perf with its libraries, our init and tools."""
    busybox = needed("/bin/busybox", "busybox-static")
    perf = perf_binary()
    ours = [os.path.join(ROOTFS, name) for name in
            ("init", "run-tests", "complaints", "check.sh", "start-guest")]
    ours.append(os.path.join(TOP, "scripts/cmd/reload"))
    tools = {name: program("tests/rootfs/%s.c" % name) for name in ("mark", "loop")}

    def make(path):
        archive = Archive()
        for name in ("dev", "proc", "sys", "tmp", "root", "plan", "tests"):
            archive.directory(name)
        archive.file("bin/busybox", busybox, 0o755)
        for applet in APPLETS:
            archive.link("bin/" + applet, "busybox")
        for source in ours:
            name = os.path.basename(source)
            place = {"init": "init", "check.sh": "lib/check.sh"}.get(name, "bin/" + name)
            archive.file(place, source, 0o755)
        for name, source in tools.items():
            archive.file("bin/" + name, source, 0o755)
        archive.elf("usr/bin/perf", perf)
        archive.write(path)

    return kept("common.cpio", [busybox, perf] + sorted(tools.values()) + ours + APPLETS, make)


def hypervisor():
    """Archive QEMU with its firmware and the libraries that perf does not bring."""
    qemu = needed(QEMU, "qemu-system-x86")
    firmware = []
    for name in FIRMWARE:
        places = [os.path.join(place, name) for place in ("/usr/share/qemu", "/usr/share/seabios")]
        firmware += [place for place in places if os.path.exists(place)][:1]
    if not any(path.endswith("qboot.rom") for path in firmware):
        raise Failed("no qboot.rom for QEMU's microvm", "apt-get install qemu-system-data seabios")
    perf = perf_binary()

    def make(path):
        archive = Archive()
        archive.elf("usr/bin/perf", perf)
        present = ["/" + name for name in archive.entries]
        archive = Archive()
        archive.elf(QEMU, qemu, present)
        for source in firmware:
            place = "usr/share/qemu/" + os.path.basename(source)
            archive.file(place, os.path.realpath(source), 0o644)
        archive.write(path)

    return kept("hypervisor.cpio", [qemu, perf] + firmware, make)


def kernel(base, guest_base=""):
    """Archive KVM's modules of a base or variant, and the kernel that guests boot: see kernel_paths()."""
    _, guest_kernel, modules = kernel_paths(base, guest_base)
    kunit = sorted(glob.glob(os.path.join(TOP, variant(base).kernel, "kunit/*.ko")))

    def make(path):
        archive = Archive()
        for source in modules:
            archive.file("lib/modules/" + os.path.basename(source), source, 0o644)
        archive.data("lib/modules/order",
                     "".join(os.path.basename(source) + "\n" for source in modules))
        for source in kunit:
            archive.file("lib/kunit/" + os.path.basename(source), source, 0o644)
        stripped = path + ".guest"
        try:
            # QEMU enters an unpacked kernel at its PVH entry; debug information would only cost
            # memory.
            command = ["objcopy", "-S", "-R", ".comment", guest_kernel, stripped]
            good = subprocess.run(command, check=False).returncode == 0
            archive.file("guest/kernel", stripped if good else guest_kernel, 0o644)
        finally:
            if os.path.exists(stripped):
                os.unlink(stripped)
        archive.write(path)

    return kept("kernel-%s.cpio" % "-guest-".join(filter(None, (base, guest_base))), [guest_kernel] + modules + kunit, make)


def guest():
    """Archive the archive from which the host has booted, as the file that the guest boots."""
    shared = common()

    def make(path):
        archive = Archive()
        archive.file("guest/common.cpio", shared, 0o644)
        archive.write(path)

    return kept("guest.cpio", [shared], make)
