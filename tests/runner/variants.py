# SPDX-License-Identifier: GPL-2.0
"""Variants of a base: the kernel and modules for a name such as 6.12-debug-mediated."""

import dataclasses
import os

from kvmpmu import Failed, PEER, TOP, following

MEDIATED = "-mediated"


@dataclasses.dataclass(frozen=True)
class Variant:
    """A base, with another kernel on the host, other modules, or another kind of vPMU.

    name        the name in tests/list
    base        the base of which it is a variant
    mediated    whether KVM's modules are loaded with enable_mediated_pmu=1
    kernel      the directory of the host's kernel, relative to the top of the repository
    image       the host's kernel image in that directory
    modules     the directory of KVM's modules and of the file "order", relative to the top, too
    how         the command that makes both
    """

    name: str
    base: str
    mediated: bool
    kernel: str
    image: str
    modules: str
    how: str


BUILT = "obj/arch/x86/boot/bzImage"     # our own build of a kernel
PACKAGED = "vmlinuz"                    # a kernel from a package


def variant(name):
    """Return the Variant of a name: BASE[-HOST][-MODULES][-mediated].

    HOST is debug (a kernel that checks itself), debian (Debian's own binary, with the modules that
    DKMS built) or deb (the kernel of our own packages, reduced to what the machine needs).  MODULES
    is stock (the base's own), alone (those that DKMS would build, on a kernel of ours) or the name
    of a set of wrong modules that a test must detect.  BASE is a base, or PEER.
    """
    mediated = name.endswith(MEDIATED)
    base, *kinds = name.removesuffix(MEDIATED).split("-", 2)
    build = os.path.join("build", base)

    def made(kernel, image, modules, how):
        return Variant(name, base, mediated, kernel, image, os.path.join(kernel, modules), how)

    if kinds[:1] == ["debian"]:
        return made("build/debian-" + base, PACKAGED,
                    "stock/modules" if kinds[1:] == ["stock"] else "modules",
                    "scripts/step/debian-kernel --dkms %s" % base)
    if kinds == ["deb"]:
        return made(os.path.join(build, "deb-cut"), PACKAGED, "modules",
                    "scripts/cmd/deb --cut %s" % base)
    kernel, how = build, "make bench PEER=1" if base == PEER else "scripts/step/kernel %s" % base
    if kinds[:1] == ["debug"]:
        kernel, how = os.path.join(build, "debug"), "scripts/step/kernel --debug %s" % base
        kinds = kinds[1:]
    if kinds in (["stock"], ["alone"]):
        own = name.removesuffix(MEDIATED).removesuffix("-" + kinds[0])
        return made(kernel, BUILT, kinds[0] + "/modules", "scripts/cmd/modules --%s --base %s" % (kinds[0], own))
    if kinds:
        return made(kernel, BUILT, os.path.join("mutants", kinds[-1], "modules"),
                    "tests/tool/mutants.py")
    return made(kernel, BUILT, "modules", how)


def kvm_params(name, vendor):
    """Return the parameters of KVM's modules for a base or variant, as "kvm_intel.ept=0 ...".

    Except for the kind of vPMU they are KVM's defaults.
    """
    return "kvm_%s.enable_mediated_pmu=1" % vendor if variant(name).mediated else ""


def kernel_paths(name, guest=""):
    """Return the paths of the host's image, of the guest's, and of the modules in load order.

    GUEST is the base or variant whose kernel guests boot, if not the host's.

    Raise Failed if one of them is not built.
    """
    if guest:
        host, _, modules = kernel_paths(name)
        return host, kernel_paths(guest)[1], modules
    found = variant(name)
    host = os.path.join(TOP, found.kernel, found.image)
    place = os.path.join(TOP, found.modules)
    order = os.path.join(place, "order")
    guest = os.path.join(TOP, found.kernel, "vmlinux") if "/debian-" in found.kernel else \
        os.path.join(TOP, "build", found.base, "obj/vmlinux")
    if not all(os.path.exists(path) for path in (host, order, guest)):
        raise Failed("the kernel of base %s is not built" % name, following(found.how))
    with open(order) as lines:
        modules = [os.path.join(place, os.path.basename(line.strip()))
                   for line in lines if line.strip()]
    return host, guest, modules


def on_host(name, host):
    """Return the name of the same variant with another kernel on the host: 6.1-HOST-mediated."""
    plain = name.removesuffix(MEDIATED)
    return "%s-%s%s" % (plain, host, name[len(plain):])


def is_watched(name):
    """Return whether the host's kernel checks itself, which takes time and memory."""
    return "debug" in name.split("-")


def is_debian(name):
    """Return whether the host's kernel is Debian's own binary."""
    return "debian" in name.split("-")


def is_ours(name):
    """Return whether host and modules are our own build, as it is for users."""
    return "-" not in name.removesuffix(MEDIATED)
