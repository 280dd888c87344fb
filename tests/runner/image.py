# SPDX-License-Identifier: GPL-2.0
"""Images for the machine: what a boot needs, gathered from the host's packages, our kernels and our tests.

common()            archive of what host and guest share: busybox, perf with its libraries, our init and tools
hypervisor()        archive of QEMU with its libraries and firmware
kernel(base)        archive of KVM's modules of a base, and the kernel that the guest boots
program(source)     a test program, compiled; program() of a shell test is the test itself
selftest(name, ...) a KVM selftest of a base
boot(...)           a CD image that boots a base and runs a plan of tests

Archives (cpio) and programs are kept in build/image, each beside a stamp of all that went into it, written aside and
renamed; what has the right stamp is not made again.  Every function raises Failed with one line and the next command.
"""

import contextlib
import fcntl
import glob
import hashlib
import os
import re
import shutil
import stat
import subprocess
import threading

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIB = os.path.join(TOP, "tests/lib")
ROOTFS = os.path.join(TOP, "tests/rootfs")
OUT = os.path.join(TOP, "build/image")

# The machine executes fifty million instructions in a second of its own time whatever its CPUID says about its frequency;
# told so, kernels set their timers right.  A panic ends the machine at once, by a triple fault.
KARGS = " ".join("""console=ttyS0 quiet loglevel=5 tsc=reliable tsc_early_khz=50000 no_timer_check lpj=1000000 mitigations=off
                 nmi_watchdog=0 panic=-1 reboot=t""".split())


def clock_kargs(ips):
    """What a kernel has to be told besides where the machine's clock is another one; the last of its kind wins."""
    return " tsc_early_khz=%d lpj=%d" % (ips // 1000, ips // 50) if ips else ""


ISOLINUX = ("/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32")
QEMU = "/usr/bin/qemu-system-x86_64"
FIRMWARE = ("qboot.rom", "bios-microvm.bin", "pvh.bin", "linuxboot_dma.bin", "kvmvapic.bin")
APPLETS = ("ash awk basename cat chmod cmp cp cut dd dirname dmesg echo env expr false find grep head hexdump insmod kill ln ls "
           "lsmod mkdir mknod mount mv nproc od poweroff printf ps pwd reboot rm rmmod sed seq setsid sh sleep sort stat sync "
           "tail taskset tee test time timeout touch tr true uname uniq usleep wc xargs yes").split()
CFLAGS = "-std=gnu11 -D_GNU_SOURCE -O2 -g0 -Wall -Wextra -Werror -static".split()

_lock = threading.RLock()


class Failed(Exception):
    """One line for the user; following is the next command."""

    def __init__(self, line, following):
        super().__init__(line)
        self.following = following


def commit():
    """What is checked out, or nothing if that is not known."""
    try:
        done = subprocess.run(["git", "rev-parse", "--verify", "--quiet", "HEAD"], cwd=TOP, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _next(command):
    return os.environ.get("NEXT") or command


def _package(path, package):
    if not os.path.exists(path):
        raise Failed("%s is missing" % path, "apt-get install %s" % package)
    return path


class Archive:
    """An uncompressed newc archive, the same bytes for the same content."""

    def __init__(self):
        self.entries = {}

    def directory(self, name):
        name = name.strip("/")
        while name and name not in self.entries:
            self.entries[name] = (stat.S_IFDIR | 0o755, b"")
            name = os.path.dirname(name)

    def _put(self, name, mode, content):
        self.directory(os.path.dirname(name))
        self.entries[name.strip("/")] = (mode, content)

    def data(self, name, content, mode=0o644):
        self._put(name, stat.S_IFREG | mode, content.encode() if isinstance(content, str) else content)

    def file(self, name, source, mode=None):
        with open(source, "rb") as content:
            self.data(name, content.read(), mode or (0o755 if os.access(source, os.X_OK) else 0o644))

    def link(self, name, target):
        self._put(name, stat.S_IFLNK | 0o777, target.encode())

    def elf(self, name, source, present=()):
        """A program, and every library that its loader would ask for, at its own path; less what is present anyway."""
        self.file(name, source, 0o755)
        listing = subprocess.run(["ldd", source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        for line in listing.stdout.splitlines():
            if "not found" in line:
                raise Failed("%s lacks a library: %s" % (source, line.strip()), "apt-get install --reinstall libc6")
            found = re.search(r"(/\S+) \(0x", line)
            if found and found.group(1).strip("/") not in self.entries and found.group(1) not in present:
                self.file(found.group(1), found.group(1), 0o755)

    def write(self, path):
        with open(path, "wb") as out:
            def entry(name, inode, mode, content):
                encoded = name.encode() + b"\0"
                header = "070701" + "".join("%08x" % field for field in (
                    inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0))
                out.write(header.encode() + encoded)
                out.write(b"\0" * (-(len(header) + len(encoded)) % 4))
                out.write(content)
                out.write(b"\0" * (-len(content) % 4))

            # Directories sort before what is in them.
            for inode, name in enumerate(sorted(self.entries), 1):
                entry(name, inode, *self.entries[name])
            entry("TRAILER!!!", 0, 0, b"")
            out.write(b"\0" * (-out.tell() % 512))


def _fingerprint(inputs):
    """Of files by name, size and time; of words by themselves."""
    digest = hashlib.sha256()
    for name in inputs:
        if os.path.isabs(name) and os.path.exists(name):
            status = os.stat(name)
            name = "%s %d %d" % (name, status.st_size, status.st_mtime_ns)
        digest.update(name.encode() + b"\n")
    return digest.hexdigest()


@contextlib.contextmanager
def _making():
    """One at a time: among the runner's threads, and among runners started side by side."""
    with _lock:
        os.makedirs(OUT, exist_ok=True)
        with open(os.path.join(OUT, ".lock"), "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield


def _kept(name, inputs, make):
    """build/image/NAME, made by make(path) unless its stamp says that these inputs made it already."""
    path, stamp = os.path.join(OUT, name), os.path.join(OUT, name + ".stamp")
    with _making():
        want = _fingerprint([os.path.abspath(__file__)] + inputs)
        try:
            with open(stamp) as old:
                if old.read() == want and os.path.exists(path):
                    return path
        except OSError:
            pass
        os.makedirs(os.path.dirname(path), exist_ok=True)
        aside = path + ".new"
        try:
            for old in (stamp, path):
                if os.path.exists(old):
                    os.unlink(old)
            make(aside)
            os.replace(aside, path)
            with open(stamp + ".new", "w") as out:
                out.write(want)
            os.replace(stamp + ".new", stamp)
        except OSError as error:
            raise Failed("cannot write %s: %s" % (os.path.relpath(path), error.strerror), "df -h build")
        finally:
            for left in (aside, stamp + ".new"):
                if os.path.exists(left):
                    os.unlink(left)
    return path


def perf_binary():
    """Debian's perf itself: some releases have a wrapper at /usr/bin/perf that looks for the running kernel's."""
    found = [_package("/usr/bin/perf", "linux-perf")] + sorted(glob.glob("/usr/bin/perf_[0-9]*"))
    for path in found:
        with open(path, "rb") as content:
            if content.read(4) == b"\x7fELF":
                return path
    raise Failed("no perf program among %s" % " ".join(found), "apt-get install --reinstall linux-perf")


def common():
    busybox = _package("/bin/busybox", "busybox-static")
    perf = perf_binary()
    ours = [os.path.join(ROOTFS, name) for name in ("init", "run-tests", "complaints", "check.sh")]
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
            archive.file({"init": "init", "check.sh": "lib/check.sh"}.get(name, "bin/" + name), source, 0o755)
        for name, source in tools.items():
            archive.file("bin/" + name, source, 0o755)
        archive.elf("usr/bin/perf", perf)
        archive.write(path)

    return _kept("common.cpio", [busybox, perf] + sorted(tools.values()) + ours + APPLETS, make)


def hypervisor():
    qemu = _package(QEMU, "qemu-system-x86")
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
            archive.file("usr/share/qemu/" + os.path.basename(source), os.path.realpath(source), 0o644)
        archive.write(path)

    return _kept("hypervisor.cpio", [qemu, perf] + firmware, make)


MEDIATED = "-mediated"


def kvm_params(base, vendor):
    """Parameters of KVM's modules for a base or variant, as "kvm_intel.ept=0 ...": KVM's defaults, but for the vPMU."""
    return "kvm_%s.enable_mediated_pmu=1" % vendor if base.endswith(MEDIATED) else ""


def variant(base):
    """Of "6.1-debug-stock": the base it is one of, the directory of the host's kernel, that of its modules, and how to make both.

    A variant is the same base with another kernel on the host (debug; debian: Debian's own binary, with the modules that
    DKMS built; deb: that of our own packages, cut to what the machine needs), with other modules in it (stock: not ours; or a
    mutant's, which a test must find out), with a mediated vPMU (mediated, which is a parameter of the same modules), or several
    of these.
    """
    plain, *kinds = base.removesuffix(MEDIATED).split("-", 2)
    build = os.path.join("build", plain)
    where, how = build, "scripts/step/kernel %s" % plain
    if kinds[:1] == ["debug"]:
        where, how = os.path.join(build, "debug"), "scripts/step/kernel --debug %s" % plain
        kinds = kinds[1:]
    if kinds[:1] == ["debian"]:
        where, how = "build/debian-" + plain, "scripts/step/debian-kernel --dkms %s" % plain
        kinds = kinds[1:]
        return plain, where, os.path.join(where, "stock/modules" if kinds == ["stock"] else "modules"), how
    if kinds == ["deb"]:
        where = os.path.join(build, "deb-cut")
        return plain, where, os.path.join(where, "modules"), "scripts/cmd/deb --cut %s" % plain
    modules = os.path.join(where, "modules")
    if kinds == ["stock"]:
        modules, how = os.path.join(where, "stock/modules"), "scripts/cmd/modules --stock --base %s" % base[:-len("-stock")]
    elif kinds:
        modules, how = os.path.join(where, "mutants", kinds[-1], "modules"), "tests/tool/mutants.py"
    return plain, where, modules, how


def kernel_paths(base):
    """The host's image, the guest's image, and the modules in the order to load them."""
    plain, where, place, how = variant(base)
    host = os.path.join(TOP, where, "vmlinuz" if re.search(r"/deb(ian-|-cut)", where) else "obj/arch/x86/boot/bzImage")
    place = os.path.join(TOP, place)
    order = os.path.join(place, "order")
    if not os.path.exists(host) or not os.path.exists(order):
        raise Failed("the kernel of base %s is not built" % base, _next(how))
    with open(order) as lines:
        modules = [os.path.join(place, os.path.basename(line.strip())) for line in lines if line.strip()]
    # A guest has the kernel of its host.
    guest = os.path.join(TOP, where, "vmlinux") if "/debian-" in where else os.path.join(TOP, "build", plain, "obj/vmlinux")
    return host, guest, modules


def kernel(base):
    _, guest, modules = kernel_paths(base)
    kunit = sorted(glob.glob(os.path.join(TOP, variant(base)[1], "kunit/*.ko")))

    def make(path):
        archive = Archive()
        for source in modules:
            archive.file("lib/modules/" + os.path.basename(source), source, 0o644)
        archive.data("lib/modules/order", "".join(os.path.basename(source) + "\n" for source in modules))
        for source in kunit:
            archive.file("lib/kunit/" + os.path.basename(source), source, 0o644)
        stripped = path + ".guest"
        try:
            # QEMU enters an unpacked kernel at its PVH entry; debug information would only cost memory.
            command = ["objcopy", "-S", "-R", ".comment", guest, stripped]
            if subprocess.run(command, check=False).returncode == 0:
                archive.file("guest/kernel", stripped, 0o644)
            else:
                archive.file("guest/kernel", guest, 0o644)
        finally:
            if os.path.exists(stripped):
                os.unlink(stripped)
        archive.write(path)

    return _kept("kernel-%s.cpio" % base, [guest] + modules + kunit, make)


def library():
    """The C library of the tests, an archive of tests/lib's objects, and everything that it is made of."""
    sources = sorted(path for pattern in ("*.[chS]", "*/*.[chS]") for path in glob.glob(os.path.join(LIB, pattern)))

    def make(path):
        objects = path + ".d"
        shutil.rmtree(objects, ignore_errors=True)
        os.makedirs(objects)
        try:
            made = []
            for source in sources:
                if not source.endswith(".h"):
                    made.append(os.path.join(objects, os.path.relpath(source, LIB).replace("/", "-") + ".o"))
                    _compiled(["gcc"] + CFLAGS + ["-I", LIB, "-c", "-o", made[-1], source], os.path.relpath(source, TOP))
            _compiled(["ar", "rcsD", path] + made, "tests/lib")
        finally:
            shutil.rmtree(objects, ignore_errors=True)

    return _kept("bin/tests/lib.a", sources + CFLAGS, make), sources


def _compiled(command, source):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Failed("%s does not compile:\n%s" % (source, done.stdout.rstrip()), "edit %s" % source)


def program(source):
    """What to run for a test's file: a C source is compiled and linked with tests/lib, anything else runs as it is."""
    absolute = os.path.join(TOP, source)
    if not os.path.exists(absolute):
        raise Failed("no such file: %s" % source, "ls %s" % os.path.dirname(source))
    if not source.endswith(".c"):
        return absolute
    with open(absolute) as text:
        nolibc = "-nostdlib" in text.readline() + text.readline()
    archive, inputs = library()
    flags = CFLAGS + (["-nostdlib", "-fno-stack-protector"] if nolibc else [])

    def make(path):
        _compiled(["gcc"] + flags + ["-I", LIB, "-o", path, absolute] + ([] if nolibc else [archive]), source)

    return _kept("bin/" + re.sub(r"\.c$", "", source), [absolute] + inputs + flags, make)


def selftest(name, base):
    """A KVM selftest, of the kernel that the base is."""
    plain = variant(base)[0]
    path = os.path.join(TOP, "build", plain, "selftests", name)
    if not os.path.exists(path):
        raise Failed("selftest %s of base %s is not built" % (name, plain), _next("tests/selftests/build %s" % plain))
    return path


def rom(source, out):
    """A bare test's image."""
    build = os.path.join(TOP, "tests/bare/build")
    done = subprocess.run([build, source, out], cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode or not os.path.exists(out):
        raise Failed("%s does not build:\n%s" % (source, done.stdout.rstrip()), "tests/bare/build %s /dev/null" % source)
    return out


def guest():
    """The guest boots from the very archive that the host booted from: there it must be a file."""
    shared = common()

    def make(path):
        archive = Archive()
        archive.file("guest/common.cpio", shared, 0o644)
        archive.write(path)

    return _kept("guest.cpio", [shared], make)


def _names(path, what):
    """Whether a program, or a script, has such a word in it."""
    with open(path, "rb") as content:
        return what.encode() in content.read()


def boot(iso, base, plan, environment, kargs="", files=()):
    """Write the CD image ISO which boots a base and runs plan.

    plan is a list of (level, name, program[, argument]), environment a dictionary for the tests, files programs as (name,
    source) pairs for the host's file system.  QEMU and the guest's files join only if a test of the plan is a guest's, or
    starts QEMU itself.
    """
    archives = [common(), kernel(base)]
    if any(level == "guest" or _names(path, QEMU) for level, _, path, *_ in plan):
        archives += [hypervisor(), guest()]
    for source in ISOLINUX:
        _package(source, "isolinux syslinux-common")
    work, aside = iso + ".d", iso + ".new"
    shutil.rmtree(work, ignore_errors=True)
    try:
        os.makedirs(work)
        tests = Archive()
        lines = {"host": [], "guest": []}
        for level, name, path, *argument in plan:
            inside = "tests/" + name + (".sh" if path.endswith(".sh") else "")
            tests.file(inside, path, 0o755)
            lines["guest" if level == "guest" else "host"].append(" ".join([name, "/" + inside] + argument).rstrip() + "\n")
        for level, text in lines.items():
            tests.data("plan/" + level, "".join(text))
        tests.data("plan/environment", "".join("export %s='%s'\n" % pair for pair in sorted(environment.items())))
        for name, source in files:
            tests.elf(name, source)
        tests.write(os.path.join(work, "tests.cpio"))
        host = Archive()
        host.file("guest/tests.cpio", os.path.join(work, "tests.cpio"), 0o644)
        host.write(os.path.join(work, "guest-tests.cpio"))
        archives += [os.path.join(work, "tests.cpio"), os.path.join(work, "guest-tests.cpio")]

        shutil.copy(ISOLINUX[0], os.path.join(work, "isolinux.bin"))
        names = ["initrd%d" % number for number in range(len(archives))]
        with open(os.path.join(work, "isolinux.cfg"), "w") as out:
            out.write("DEFAULT linux\nPROMPT 0\nLABEL linux\n KERNEL kernel\n INITRD %s\n APPEND %s\n"
                      % (",".join(names), " ".join([KARGS] + kargs.split())))
        grafts = {"isolinux.bin": os.path.join(work, "isolinux.bin"), "isolinux.cfg": os.path.join(work, "isolinux.cfg"),
                  "ldlinux.c32": ISOLINUX[1], "kernel": kernel_paths(base)[0]}
        grafts.update(zip(names, archives))
        command = ["xorriso", "-as", "mkisofs", "-quiet", "-o", aside, "-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot",
                   "-boot-load-size", "4", "-boot-info-table", "--modification-date=2023111422132000",
                   "--set_all_file_dates", "2023111422132000", "-graft-points"]
        command += ["%s=%s" % (name, os.path.abspath(source).replace("\\", "\\\\").replace("=", "\\="))
                    for name, source in grafts.items()]
        try:
            # The date would be the one difference between two images of the same things, and so between two runs.
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        except FileNotFoundError:
            raise Failed("xorriso is missing", "apt-get install xorriso") from None
        if done.returncode:
            raise Failed("no CD image: %s" % (done.stdout.strip().splitlines() or ["xorriso failed"])[-1], "df -h build")
        os.replace(aside, iso)
    except OSError as error:
        raise Failed("cannot write %s: %s" % (os.path.relpath(iso), error.strerror), "df -h build") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if os.path.exists(aside):
            os.unlink(aside)
    return iso
