# SPDX-License-Identifier: GPL-2.0-only
"""Open a kernel tree: a directory, a tarball, or a revision in a git directory.

Only the files that KVM's path lies in are read, and nothing of the tree is executed. What was
read of a tarball is kept in the cache, by the tarball's name, size and time.
"""

import errno
import hashlib
import io
import json
import os
import pathlib
import re
import stat
import subprocess
import tarfile
from collections.abc import Mapping

from kvm_vmx.compare.trees import Tree
from kvm_vmx.console import Trouble
from kvm_vmx.progress import working
from kvm_vmx.streams import plain, readable
from kvm_vmx.tarball import BROKEN, MOST_UNPACKED, Member, forward, members, path_of
from kvm_vmx import host, xz

WANTED = re.compile(
    r"arch/x86/kvm/(?:[\w-]+/)*[\w-]+\.[ch]"
    r"|arch/x86/hyperv/[\w-]+\.[ch]"
    r"|arch/x86/kernel/cpu/(?:bugs|mshyperv|hypervisor)\.c|arch/x86/kernel/(?:crash|jump_label)\.c"
    r"|arch/x86/include/asm/(?:mshyperv|hyperv[\w-]*|kvm_host|vmx|jump_label|spec-ctrl|svm|virtext"
    r"|msr-index|apicdef|traps|irq_vectors|pgtable_types|debugreg|desc_defs|hw_breakpoint)\.h"
    r"|arch/x86/include/uapi/asm/(?:vmx|kvm|kvm_para|processor-flags|debugreg)\.h"
    r"|include/(?:asm-generic|hyperv)/(?:mshyperv|hyperv[\w-]*|hv\w*)\.h"
    r"|include/linux/(?:kvm_host|jump_label|kvm_types)\.h|include/uapi/linux/kvm\.h"
    r"|kernel/jump_label\.c|lib/test_static_keys\.c|virt/kvm/[\w-]+\.[ch]|Makefile"
)
ROOTS = ("arch/x86/kvm", "arch/x86/hyperv", "arch/x86/kernel", "arch/x86/include/asm",
         "arch/x86/include/uapi/asm", "include/asm-generic", "include/hyperv", "include/linux",
         "include/uapi/linux", "kernel", "lib/test_static_keys.c", "virt/kvm", "Makefile")
TARBALL = host.TARBALL

# What no kernel comes near: the largest file that is read has 0.4 MB, all of them 6 MB.
MOST_OF_A_FILE, MOST_OF_ALL = 4 << 20, 64 << 20


class TreeError(Trouble):
    """What is wrong with a tree, in one line that names the cure."""


def open_tree(spec: str, config: Mapping[str, int] | None = None) -> Tree:
    """The tree that a directory, a tarball or GITDIR@REV holds."""
    path = pathlib.Path(spec)
    try:
        if path.is_dir():
            files = read_directory(path)
        elif path.is_file() and TARBALL.search(path.name):
            files = cached(path)
        elif "@" in spec and pathlib.Path(spec.rpartition("@")[0]).is_dir():
            files = read_git(*spec.rpartition("@")[::2])
        elif path.exists():
            raise TreeError(f"{spec} is neither a directory nor a tarball: "
                            f"{around(path) or 'give a kernel tree, a .tar.xz, or GITDIR@REV'}")
        else:
            raise TreeError(f"no such tree: {spec}: give a kernel tree, a .tar.xz, or GITDIR@REV")
    except (OSError, ValueError) as error:  # a name that is too long, or none at all
        text = getattr(error, "strerror", None) or error
        raise TreeError(f"no such tree: {spec[:80]}: {text}: give a kernel tree") from error
    if not any(name.startswith("arch/x86/kvm/") for name in files):
        more = nearby(path) or around(path) or "is it a kernel tree?"
        raise TreeError(f"no arch/x86/kvm in {spec}: {more}")
    files = {name: readable(text) for name, text in files.items()}
    return Tree(title(spec, files), files, config)


def nearby(path: pathlib.Path) -> str:
    """A hint at a tree that lies in a directory that is none itself, or in its git directory."""
    if not path.is_dir():
        return ""
    for other in sorted(path.glob("linux*")):
        if TARBALL.search(other.name) or (other / "arch/x86/kvm").is_dir():
            return f"did you mean {other}?"
    if (path / ".git").exists() or (path / "objects").is_dir() and (path / "refs").is_dir():
        return f"it is a git directory: give a revision of it, as {path}@v4.19"
    return ""


def around(path: pathlib.Path) -> str:
    """A hint at the tree that a folder or a file is a part of."""
    for above in path.absolute().parents:
        if (above / "arch/x86/kvm").is_dir():
            return f"it is part of a tree: give {above}"
    return ""


def title(spec: str, files: Mapping[str, str]) -> str:
    """The tree's name with the version that its Makefile says, for people to read."""
    number = version_of(files.get("Makefile", ""))
    return f"{plain(spec)} ({number})" if number else plain(spec)


def version_of(makefile: str) -> str:
    """The version that the text of a kernel's Makefile says, or nothing."""
    words = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) *= *(\d+)\r?$", makefile, re.M))
    if "VERSION" not in words:
        return ""
    number = ".".join(words.get(name, "0") for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))
    return number.removesuffix(".0")


def read_directory(root: pathlib.Path) -> dict[str, str]:
    """The wanted files of a directory."""
    files, budget = {}, Budget()
    for part in ROOTS:
        place = root / part
        found = [place] if WANTED.fullmatch(part) else sorted(place.rglob("*.[ch]"))
        for path in found:
            name = path.relative_to(root).as_posix()
            if WANTED.fullmatch(name) and os.path.lexists(path):
                files[name] = read_file(path, budget)
    return files


def read_file(path: pathlib.Path, budget: "Budget") -> str:
    """The text of one file; nothing that could block or never end is read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise TreeError(f"cannot read {path}: it is no regular file: give a kernel tree")
            budget.take(path, os.fstat(file.fileno()).st_size)
            return file.read(MOST_OF_A_FILE).decode("utf-8", "replace")
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise TreeError(f"cannot read {path}: it is no regular file: give a kernel tree") \
                from error
        raise TreeError(f"cannot read {path}: {error.strerror}") from error


class Budget:
    """How much of a tree may still be read."""

    def __init__(self) -> None:
        self.left = MOST_OF_ALL

    def take(self, name: object, size: int) -> None:
        """Count a file; TreeError where it or all of them are larger than any kernel's."""
        if size > MOST_OF_A_FILE:
            raise TreeError(f"cannot read {name}: {size:,} bytes, and no source of a kernel has "
                            f"more than {MOST_OF_A_FILE:,}: give a kernel tree")
        self.left -= size
        if self.left < 0:
            raise TreeError(f"cannot read {name}: the files before it have {MOST_OF_ALL:,} bytes "
                            "already: give a kernel tree")


def git_command(gitdir: str) -> list[str]:
    """The beginning of a command line that reads a git directory."""
    place = pathlib.Path(gitdir)
    return ["git", f"--git-dir={place / '.git' if (place / '.git').exists() else place}"]


def read_git(gitdir: str, revision: str) -> dict[str, str]:
    """The wanted files of a revision, by git itself, without a work tree."""
    git, names, budget = git_command(gitdir), {}, Budget()
    try:
        listing = subprocess.run(
            [*git, "ls-tree", "-r", "-z", "-l", "--end-of-options", revision, "--", *ROOTS],
            capture_output=True, check=True)
        for entry in listing.stdout.decode("utf-8", "replace").split("\0")[:-1]:
            head, _, name = entry.partition("\t")
            if WANTED.fullmatch(name) and " blob " in head:
                _, _, blob, size = head.split()
                if size.isdigit():  # a blob that was not fetched has none
                    budget.take(f"{name} of {gitdir}@{revision}", int(size))
                names[name] = blob
        blobs = subprocess.run(
            [*git, "cat-file", "--batch"], input="\n".join(names.values()).encode() + b"\n",
            capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        raise TreeError("git is not installed: give a directory or a tarball") from error
    except subprocess.CalledProcessError as error:
        text = error.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise TreeError(f"cannot read {revision} of {gitdir}: {text}") from error
    files, at = {}, 0
    for name in names:
        end = blobs.find(b"\n", at)
        about = blobs[at:end].split() if end >= 0 else []
        if len(about) != 3:
            raise TreeError(f"{name} is missing from {gitdir}@{revision}: fetch it first")
        length = int(about[2])
        files[name] = blobs[end + 1:end + 1 + length].decode("utf-8", "replace")
        at = end + length + 2
    return files


def cached(path: pathlib.Path) -> dict[str, str]:
    """A tarball's wanted files, out of the cache if it is the same tarball."""
    about = path.stat()
    key = hashlib.sha256(os.fsencode(
        f"{path.resolve()},{about.st_size},{about.st_mtime_ns},{WANTED.pattern}")).hexdigest()
    store = host.cache() / f"{key}.json"
    try:
        if store.stat().st_size <= 2 * MOST_OF_ALL:
            files = json.loads(store.read_text())
            if isinstance(files, dict) and all(isinstance(text, str) for text in files.values()):
                return files
    except (OSError, ValueError, RecursionError):
        pass
    files = read_blocks(path) or read_tarball(path)
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        new = store.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(files))
        new.replace(store)
    except OSError:
        pass  # without a cache the next read takes as long
    return files


def read_blocks(path: pathlib.Path) -> dict[str, str]:
    """The wanted files of a tarball, out of the blocks that can have any; nothing where it is not
    known which, or where anything is wrong: whoever reads all of it says what."""
    files: dict[str, str] = {}
    budget = Budget()
    if path.suffix != ".xz":
        return files
    try:
        with working(f"reading {plain(path.name)}"):
            for member, archive in xz.chosen(path, ROOTS):
                name = path_of(member)
                if member.isfile() and WANTED.fullmatch(name):
                    budget.take(name, member.size)
                    files[name] = text_of(archive, member)
    except (*BROKEN, OSError, TreeError, xz.Odd):
        return {}
    return files


def text_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """The text of a file in a tarball."""
    file = archive.extractfile(member)
    assert file  # it is a plain one
    return file.read().decode("utf-8", "replace")


def read_tarball(path: pathlib.Path) -> dict[str, str]:
    """The wanted files of a tarball, read once from its beginning to its end."""
    files, budget, unpacked = {}, Budget(), 0
    unpacker = None
    try:
        with open(path, "rb") as raw, working(f"reading {plain(path.name)}") as say:
            if path.suffix == ".xz" and host.has("xz"):
                unpacker = subprocess.Popen(
                    ["xz", "-dc", "-T0"], stdin=raw, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL, bufsize=1 << 20, pipesize=1 << 20)
                assert isinstance(unpacker.stdout, io.BufferedReader)
                archive = forward(unpacker.stdout)
            else:
                archive = tarfile.open(fileobj=raw, mode="r|*", tarinfo=Member)
            with archive:
                for count, member in enumerate(members(archive)):
                    if count % 2000 == 0:
                        say(f"reading {plain(path.name)}: {count:,} files")
                    unpacked += member.size
                    if unpacked > MOST_UNPACKED:
                        raise TreeError(f"cannot read {path}: it unpacks to more than "
                                        f"{MOST_UNPACKED:,} bytes: give a kernel's tarball")
                    name = path_of(member)
                    if member.isfile() and WANTED.fullmatch(name):
                        budget.take(f"{name} of {path}", member.size)
                        files[name] = text_of(archive, member)
            if unpacker and unpacker.wait():
                raise EOFError("the archive ends too early")
    except BROKEN as error:
        raise TreeError(f"cannot read {path}: {error}: is it complete?") from error
    except OSError as error:
        raise TreeError(f"cannot read {path}: {error.strerror or error}") from error
    finally:
        if unpacker:
            unpacker.kill()
            unpacker.wait()
            if unpacker.stdout:
                unpacker.stdout.close()
    return files
