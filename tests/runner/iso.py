# SPDX-License-Identifier: GPL-2.0
"""CD images from which the machine boots a base and runs a plan of tests."""

import os
import shutil
import subprocess

import initramfs
from cpio import Archive
from kvmpmu import Failed
from variants import PACKAGED, kernel_paths, variant

# The machine executes fifty million instructions per second of its own time, whatever CPUID says
# about its frequency.  These arguments tell kernels, so that they set their timers correctly.  A
# panic ends the machine at once, by a triple fault.
KARGS = " ".join("""console=ttyS0 quiet loglevel=5 tsc=reliable tsc_early_khz=50000 no_timer_check
                    lpj=1000000 mitigations=off nmi_watchdog=0 panic=-1 reboot=t""".split())

ISOLINUX = ("/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32")
# The date would be the only difference between two images of the same content, and so between two
# runs.
DATE = "2023111422132000"


def _more_kargs(base, ips):
    """Return what follows KARGS: if an argument is given twice, the kernel uses the last."""
    clock = " tsc_early_khz=%d lpj=%d" % (ips // 1000, ips // 50) if ips else ""
    # Debian's kernels test their cryptography, for a minute, while our tests run already.
    return clock + (" cryptomgr.notests" if variant(base).image == PACKAGED else "")


def guest_kargs(base, ips=0):
    """Return the arguments for the kernel of a guest on a host with a base or variant.

    IPS is the machine's number of instructions per second, 0 for the default.
    """
    return KARGS + _more_kargs(base, ips)


def _mentions(path, what):
    """Return whether a program or script contains a word."""
    with open(path, "rb") as content:
        return what.encode() in content.read()


def _tests(work, plan, environment, files):
    """Write the archives of the tests for host and guest into WORK; return their paths."""
    tests = Archive()
    lines = {"host": [], "guest": []}
    for level, name, path, *argument in plan:
        inside = "tests/" + name + (".sh" if path.endswith(".sh") else "")
        tests.file(inside, path, 0o755)
        lines["guest" if level == "guest" else "host"].append(
            " ".join([name, "/" + inside] + argument).rstrip() + "\n")
    for level, text in lines.items():
        tests.data("plan/" + level, "".join(text))
    tests.data("plan/environment",
               "".join("export %s='%s'\n" % pair for pair in sorted(environment.items())))
    for name, source in files:
        tests.elf(name, source)
    paths = [os.path.join(work, name) for name in ("tests.cpio", "guest-tests.cpio")]
    tests.write(paths[0])
    host = Archive()
    host.file("guest/tests.cpio", paths[0], 0o644)
    host.write(paths[1])
    return paths


def _master(iso, grafts):
    """Write the image ISO with GRAFTS, a dictionary from names in it to files."""
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-o", iso, "-b", "isolinux.bin", "-c",
               "boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table",
               "--modification-date=" + DATE, "--set_all_file_dates", DATE, "-graft-points"]
    for name, source in grafts.items():
        source = os.path.abspath(source).replace("\\", "\\\\").replace("=", "\\=")
        command.append("%s=%s" % (name, source))
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
    except FileNotFoundError:
        raise Failed("xorriso is missing", "apt-get install xorriso") from None
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["xorriso failed"])[-1]
        raise Failed("no CD image: %s" % last, "df -h build")


def boot(iso, base, plan, environment, kargs="", ips=0, files=(), guest=False, guest_base=""):
    """Write the CD image ISO, which boots a base or variant and runs PLAN; return ISO.

    plan            a list of (level, name, program[, argument])
    environment     a dictionary for the tests
    kargs           more arguments for the host's kernel
    ips             as for guest_kargs()
    files           programs for the host and the guest, as (name in their file systems, source) pairs
    guest           whether to add QEMU and the guest's files.  They are added anyway if a test of
                    the plan is a guest's, or starts QEMU itself
    guest_base      the base or variant whose kernel guests boot, if not the host's

    Raise Failed with one line and the next command.
    """
    archives = [initramfs.common(), initramfs.kernel(base, guest_base)]
    if guest or any(level == "guest" or _mentions(path, initramfs.QEMU)
                    for level, _, path, *_ in plan):
        archives += [initramfs.hypervisor(), initramfs.guest()]
    for source in ISOLINUX:
        initramfs.needed(source, "isolinux syslinux-common")
    work, aside = iso + ".d", iso + ".new"
    shutil.rmtree(work, ignore_errors=True)
    try:
        os.makedirs(work)
        archives += _tests(work, plan, environment, files)
        shutil.copy(ISOLINUX[0], os.path.join(work, "isolinux.bin"))
        names = ["initrd%d" % number for number in range(len(archives))]
        with open(os.path.join(work, "isolinux.cfg"), "w") as out:
            out.write("DEFAULT linux\nPROMPT 0\nLABEL linux\n KERNEL kernel\n")
            out.write(" INITRD %s\n APPEND %s\n"
                      % (",".join(names), " ".join([KARGS] + kargs.split() + _more_kargs(base, ips).split())))
        grafts = {name: os.path.join(work, name) for name in ("isolinux.bin", "isolinux.cfg")}
        grafts.update({"ldlinux.c32": ISOLINUX[1], "kernel": kernel_paths(base)[0]})
        grafts.update(zip(names, archives))
        _master(aside, grafts)
        os.replace(aside, iso)
    except OSError as error:
        raise Failed("cannot write %s: %s" % (os.path.relpath(iso), error.strerror),
                     "df -h build") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if os.path.exists(aside):
            os.unlink(aside)
    return iso
