# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree as it is built from: a directory, a tarball or a revision, copied in part."""

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from kvm_vmx.errors import BuildError

# Of these rooms all is copied; of the others what a configuration is read from.
WHOLE = ("arch/x86/", "include/", "scripts/", "virt/", "kernel/", "lib/",
         "security/selinux/include/",
         "tools/arch/x86/", "tools/build/", "tools/include/", "tools/lib/", "tools/objtool/",
         "tools/scripts/", "usr/include/", "mm/", "certs/", "rust/", "crypto/",
         "drivers/firmware/efi/libstub/", "init/")
NAMES = ("Kconfig", "Makefile", "Kbuild", ".config")
# Rooms of WHOLE that no object here is made of.
NOT = ("lib/test", "arch/x86/boot/dts", "lib/raid6", "lib/crypto/", "kernel/trace/", "crypto/")
SUFFIXES = (".h", ".S", ".lds", ".tbl", ".sh", ".bc", ".pl", ".py", ".map")
PROGRAMS = ("scripts/", "tools/", "arch/x86/")


def is_needed(path: str) -> bool:
    """Whether a file of a tree takes part in configuring it or in making kvm's objects."""
    name = path.rpartition("/")[2]
    if name.startswith(NAMES) or "/" not in path:
        return True
    if not path.startswith(WHOLE):
        return path.startswith("arch/") and "/include/" in path and path.startswith("arch/x86")
    return not path.startswith(NOT) or name.endswith(SUFFIXES)


class Entry(NamedTuple):
    """One file of a tree: its path, what it holds, or where it points."""

    path: str
    data: bytes
    link: str = ""


def _of_directory(top: Path) -> Iterator[Entry]:
    for room, rooms, names in os.walk(top):
        rooms[:] = sorted(name for name in rooms if name != ".git")
        for name in sorted(names + [name for name in rooms if os.path.islink(f"{room}/{name}")]):
            full = os.path.join(room, name)
            path = os.path.relpath(full, top)
            if not is_needed(path):
                continue
            if os.path.islink(full):
                yield Entry(path, b"", os.readlink(full))
            elif os.path.isfile(full):
                yield Entry(path, Path(full).read_bytes())


def _of_tar(file: IO[bytes]) -> Iterator[Entry]:
    with tarfile.open(fileobj=file, mode="r|*") as tar:
        for member in tar:
            path = member.name.removeprefix("./").partition("/")[2]
            if not path or not is_needed(path):
                continue
            if member.issym():
                yield Entry(path, b"", member.linkname)
            elif member.isfile() and (data := tar.extractfile(member)) is not None:
                yield Entry(path, data.read())


def _of_revision(top: str, revision: str) -> Iterator[Entry]:
    with subprocess.Popen(
            ["git", "-C", top, "archive", "--prefix=tree/", "--end-of-options", revision],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stderr is not None
        try:
            yield from _of_tar(child.stdout)
        except tarfile.TarError:
            said = child.stderr.read().decode(errors="replace").strip().splitlines()
            raise BuildError(f"git has no {revision!r} in {top}: "
                             f"{said[-1] if said else 'give one that it has'}") from None


def entries(tree: str) -> Iterator[Entry]:
    """Every file that a build needs of TREE: a directory, a tarball, or GITDIR@REV."""
    top, at, revision = tree.rpartition("@")
    if at and os.path.isdir(top) and not os.path.exists(tree):
        yield from _of_revision(top, revision)
    elif os.path.isdir(tree):
        yield from _of_directory(Path(tree))
    elif os.path.isfile(tree):
        try:
            with open(tree, "rb") as file:
                yield from _of_tar(file)
        except tarfile.TarError as error:
            raise BuildError(f"{tree} is no tarball: {error}") from None
    else:
        raise BuildError(f"no kernel tree {tree!r}: give a directory, a tarball or GITDIR@REV")


# What was read of the trees that a build is about.
_read: dict[str, list[Entry]] = {}


@contextlib.contextmanager
def read_once(tree: str) -> Iterator[None]:
    """Meanwhile what is read of TREE for its key stays for its copy: of a tarball, unpacking is
    most of both."""
    _read[tree] = []
    try:
        yield
    finally:
        _read.pop(tree, None)


def _entries(tree: str) -> Iterable[Entry]:
    # another thread's copy of the same tree may forget it meanwhile
    kept = _read.get(tree)
    if kept is None:
        return entries(tree)
    if not kept:
        kept[:] = entries(tree)
    return kept


def _stamp(tree: str) -> str | None:
    """What tells without a look inside that a tree is as it was; None: nothing does."""
    top, at, revision = tree.rpartition("@")
    if at and os.path.isdir(top) and not os.path.exists(tree):
        done = subprocess.run(
            ["git", "-C", top, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{tree}}"],
            capture_output=True, text=True)
        return f"git {done.stdout.strip()}" if done.returncode == 0 else None
    if os.path.isfile(tree):
        found = os.stat(tree)
        return f"file {os.path.realpath(tree)} {found.st_size} {found.st_mtime_ns}"
    return _stamp_of_directory(tree)


def _stamp_of_directory(tree: str) -> str:
    """Likewise, of each file that is needed. There are 60,000 to choose from, so that what is asked
    of each is little: outside of the rooms of WHOLE a name is enough."""
    lines, left = [f"directory {os.path.realpath(tree)}"], [""]
    while left:
        inside = left.pop()
        room = os.path.join(tree, inside)
        whole = not inside or inside.startswith((*WHOLE, "arch/x86"))
        rooms, files, found = [], [], []
        # one that cannot be read is left to who reads it
        with contextlib.suppress(OSError), os.scandir(room) as listed:
            found = list(listed)
        for entry in found:
            name = entry.name
            try:
                # a link is a file, wherever it leads
                if entry.is_dir(follow_symlinks=False):
                    if name != ".git":
                        rooms.append(name)
                elif name.startswith(NAMES) or whole and is_needed(inside + name):
                    now = entry.stat(follow_symlinks=False)
                    files.append(f"{room}{name} {now.st_size} {now.st_mtime_ns}\n")
            except OSError:     # what has gone since is as if it had never been
                continue
        lines += sorted(files)
        left += [f"{inside}{name}/" for name in sorted(rooms, reverse=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def key_of(tree: str, stamps: Path) -> str:
    """The key of what TREE holds: the same for a directory, a tarball and a revision alike.

    stamps is a folder that remembers it of trees that have been read and have not changed.
    """
    stamp = _stamp(tree)
    kept = stamps / hashlib.sha256(stamp.encode()).hexdigest()[:24] if stamp else None
    if kept is not None and kept.exists():
        return kept.read_text()
    sums = sorted((path, hashlib.sha256(link.encode() or data).hexdigest())
                  for path, data, link in _entries(tree))
    if not any(path == "arch/x86/kvm/Makefile" for path, _ in sums):
        raise BuildError(f"{tree} is no kernel tree: it has no arch/x86/kvm/Makefile")
    key = hashlib.sha256(repr(sums).encode()).hexdigest()[:24]
    if kept is not None:
        stamps.mkdir(parents=True, exist_ok=True)
        kept.write_text(key)
    return key


def copy(tree: str, to: Path) -> None:
    """Copy what a build needs of TREE. Programs can be executed whatever the tree's modes say:
    an archive may have lost them."""
    shutil.rmtree(to, ignore_errors=True)
    top = to.resolve()
    for path, data, link in _entries(tree):
        target = top / path
        if top not in target.resolve().parents:
            raise BuildError(f"{tree} holds {path}, which lies outside of it")
        target.parent.mkdir(parents=True, exist_ok=True)
        if link:
            target.symlink_to(link)
            continue
        target.write_bytes(data)
        if data[:2] == b"#!" and path.startswith(PROGRAMS):
            target.chmod(target.stat().st_mode | stat.S_IXUSR)
    _read.pop(tree, None)
