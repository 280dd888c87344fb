# SPDX-License-Identifier: GPL-2.0
"""Archives that a kernel unpacks into its first file system."""

import os
import re
import stat
import subprocess

from kvmpmu import Failed


class Archive:
    """An uncompressed cpio archive (newc), with the same bytes for the same content.

    Adding an entry adds the directories above it.  Names are relative to the root of the file
    system; a leading slash does not matter.
    """

    def __init__(self):
        self.entries = {}

    def directory(self, name):
        """Add an empty directory."""
        name = name.strip("/")
        while name and name not in self.entries:
            self.entries[name] = (stat.S_IFDIR | 0o755, b"")
            name = os.path.dirname(name)

    def _put(self, name, mode, content):
        self.directory(os.path.dirname(name))
        self.entries[name.strip("/")] = (mode, content)

    def data(self, name, content, mode=0o644):
        """Add a file with CONTENT, text or bytes."""
        self._put(name, stat.S_IFREG | mode,
                  content.encode() if isinstance(content, str) else content)

    def file(self, name, source, mode=None):
        """Add a copy of the file SOURCE, executable if SOURCE is, unless MODE is given."""
        with open(source, "rb") as content:
            mode = mode or (0o755 if os.access(source, os.X_OK) else 0o644)
            self.data(name, content.read(), mode)

    def link(self, name, target):
        """Add a symbolic link to TARGET."""
        self._put(name, stat.S_IFLNK | 0o777, target.encode())

    def elf(self, name, source, present=()):
        """Add the program SOURCE and the libraries that it loads, each at its own path.

        Leave out libraries whose paths are in PRESENT.  Raise Failed if one is missing.
        """
        self.file(name, source, 0o755)
        listing = subprocess.run(["ldd", source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True, check=False)
        for line in listing.stdout.splitlines():
            if "not found" in line:
                raise Failed("%s lacks a library: %s" % (source, line.strip()),
                             "apt-get install --reinstall libc6")
            found = re.search(r"(/\S+) \(0x", line)
            if not found or found.group(1) in present:
                continue
            if found.group(1).strip("/") not in self.entries:
                self.file(found.group(1), found.group(1), 0o755)

    def write(self, path):
        """Write the archive to the file PATH."""
        with open(path, "wb") as out:
            def entry(name, inode, mode, content):
                encoded = name.encode() + b"\0"
                header = "070701" + "".join("%08x" % field for field in (
                    inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0))
                out.write(header.encode() + encoded)
                out.write(b"\0" * (-(len(header) + len(encoded)) % 4))
                out.write(content)
                out.write(b"\0" * (-len(content) % 4))

            # Directories sort before their entries.
            for inode, name in enumerate(sorted(self.entries), 1):
                entry(name, inode, *self.entries[name])
            entry("TRAILER!!!", 0, 0, b"")
            out.write(b"\0" * (-out.tell() % 512))
