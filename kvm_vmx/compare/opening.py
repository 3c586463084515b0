# SPDX-License-Identifier: GPL-2.0-only
"""Open a kernel tree: a directory, a tarball, or a revision in a git directory.

Only the files that KVM's path lies in are read, and nothing of the tree is executed. What was
read of a tarball is kept in the cache, by the tarball's name, size and time.
"""

import hashlib
import json
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zlib

from kvm_vmx.compare.trees import Tree

WANTED = re.compile(
    r"arch/x86/kvm/(?:[\w-]+/)*[\w-]+\.[ch]"
    r"|arch/x86/hyperv/[\w-]+\.[ch]"
    r"|arch/x86/kernel/cpu/(?:bugs|mshyperv|hypervisor)\.c|arch/x86/kernel/(?:crash|jump_label)\.c"
    r"|arch/x86/include/asm/(?:mshyperv|hyperv[\w-]*|kvm_host|vmx|jump_label|spec-ctrl|svm|virtext)\.h"
    r"|include/(?:asm-generic|hyperv)/(?:mshyperv|hyperv[\w-]*|hv\w*)\.h"
    r"|include/linux/(?:kvm_host|jump_label|kvm_types)\.h|include/uapi/linux/kvm\.h"
    r"|kernel/jump_label\.c|lib/test_static_keys\.c|virt/kvm/[\w-]+\.[ch]|Makefile"
)
ROOTS = ("arch/x86/kvm", "arch/x86/hyperv", "arch/x86/kernel", "arch/x86/include/asm",
         "include/asm-generic", "include/hyperv", "include/linux", "include/uapi/linux",
         "kernel", "lib/test_static_keys.c", "virt/kvm", "Makefile")
PLACES = ("/usr/src/linux-source-*", "/usr/src/linux-[0-9]*", "/usr/src/linux",
          "/lib/modules/*/source")
TARBALL = re.compile(r"\.tar(?:\.(?:xz|gz|bz2))?$")
BROKEN = (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error)


class TreeError(Exception):
    """What is wrong with a tree, in one line that names the cure."""


def open_tree(spec: str, config=None) -> Tree:
    """The tree that a directory, a tarball or GITDIR@REV holds."""
    path = pathlib.Path(spec)
    if path.is_dir():
        files = read_directory(path)
    elif path.is_file() and TARBALL.search(path.name):
        files = cached(path)
    elif "@" in spec and pathlib.Path(spec.rpartition("@")[0]).is_dir():
        files = read_git(*spec.rpartition("@")[::2])
    elif path.exists():
        raise TreeError(f"{spec} is neither a directory nor a tarball: "
                        "give a kernel tree, a .tar.xz, or GITDIR@REV")
    else:
        raise TreeError(f"no such tree: {spec}: give a kernel tree, a .tar.xz, or GITDIR@REV")
    if not any(name.startswith("arch/x86/kvm/") for name in files):
        more = nearby(path)
        raise TreeError(f"no arch/x86/kvm in {spec}: {more}" if more else
                        f"no arch/x86/kvm in {spec}: is it a kernel tree?")
    return Tree(title(spec, files), files, config)


def find_tree() -> str | None:
    """The first tree in the usual places: $KVM_VMX_TREE, /usr/src, the running kernel's."""
    if os.environ.get("KVM_VMX_TREE"):
        return os.environ["KVM_VMX_TREE"]
    for pattern in PLACES:
        for path in sorted(pathlib.Path("/").glob(pattern[1:]), reverse=True):
            if (path / "arch/x86/kvm").is_dir() or TARBALL.search(path.name):
                return str(path)
    return None


def nearby(path: pathlib.Path) -> str:
    """A hint at a tree that lies in or under a directory that is none itself."""
    if not path.is_dir():
        return ""
    for other in sorted(path.glob("linux*")):
        if TARBALL.search(other.name) or (other / "arch/x86/kvm").is_dir():
            return f"did you mean {other}?"
    return ""


def title(spec: str, files) -> str:
    """The tree's name with the version that its Makefile says, for people to read."""
    words = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) *= *(\d+)$",
                            files.get("Makefile", ""), re.M))
    if "VERSION" not in words:
        return spec
    number = ".".join(words.get(name, "0") for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))
    return f"{spec} ({number.removesuffix('.0')})"


def read_directory(root: pathlib.Path) -> dict[str, str]:
    """The wanted files of a directory."""
    files = {}
    for part in ROOTS:
        place = root / part
        found = [place] if place.is_file() else sorted(place.rglob("*.[ch]"))
        for path in found:
            name = path.relative_to(root).as_posix()
            if not WANTED.fullmatch(name) or not path.is_file():
                continue
            try:
                files[name] = path.read_bytes().decode("utf-8", "replace")
            except OSError as error:
                raise TreeError(f"cannot read {path}: {error.strerror}") from error
    return files


def read_git(gitdir: str, revision: str) -> dict[str, str]:
    """The wanted files of a revision, by git itself, without a work tree."""
    place = pathlib.Path(gitdir)
    git = ["git", f"--git-dir={place / '.git' if (place / '.git').exists() else place}"]
    try:
        listing = subprocess.run(
            [*git, "ls-tree", "-r", "-z", revision, "--", *ROOTS], capture_output=True, check=True)
        names = {}
        for entry in listing.stdout.decode("utf-8", "replace").split("\0")[:-1]:
            head, _, name = entry.partition("\t")
            if WANTED.fullmatch(name) and " blob " in head:
                names[name] = head.split()[2]
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
        head = blobs[at:end].split() if end >= 0 else []
        if len(head) != 3:
            raise TreeError(f"{name} is missing from {gitdir}@{revision}: fetch it first")
        size = int(head[2])
        files[name] = blobs[end + 1:end + 1 + size].decode("utf-8", "replace")
        at = end + size + 2
    return files


def cached(path: pathlib.Path) -> dict[str, str]:
    """A tarball's wanted files, out of the cache if it is the same tarball."""
    stat = path.stat()
    key = hashlib.sha256(
        f"{path.resolve()},{stat.st_size},{stat.st_mtime_ns},{WANTED.pattern}".encode()).hexdigest()
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    store = root / "kvm-vmx" / f"{key}.json"
    try:
        files = json.loads(store.read_text())
        if isinstance(files, dict):
            return files
    except (OSError, ValueError):
        pass
    files = read_tarball(path)
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        new = store.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(files))
        new.replace(store)
    except OSError:
        pass  # without a cache the next read takes as long
    return files


def read_tarball(path: pathlib.Path) -> dict[str, str]:
    """The wanted files of a tarball, read once from its beginning to its end."""
    files = {}
    unpacker = None
    talk = sys.stderr.isatty()
    try:
        with open(path, "rb") as raw:
            if path.suffix == ".xz" and shutil.which("xz"):
                unpacker = subprocess.Popen(
                    ["xz", "-dc", "-T0"], stdin=raw, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL)
                archive = tarfile.open(fileobj=unpacker.stdout, mode="r|")
            else:
                archive = tarfile.open(fileobj=raw, mode="r|*")
            with archive:
                for count, member in enumerate(archive):
                    if talk and count % 2000 == 0:
                        print(f"\rreading {path.name}: {count} files", end="", file=sys.stderr)
                    name = member.name.removeprefix("./").partition("/")[2]
                    if member.isfile() and WANTED.fullmatch(name):
                        text = archive.extractfile(member).read()
                        files[name] = text.decode("utf-8", "replace")
            if unpacker and unpacker.wait():
                raise EOFError("the archive ends too early")
    except BROKEN as error:
        raise TreeError(f"cannot read {path}: {error}: is it complete?") from error
    except OSError as error:
        raise TreeError(f"cannot read {path}: {error.strerror or error}") from error
    finally:
        if talk:
            print("\r\033[K", end="", file=sys.stderr)
        if unpacker:
            unpacker.kill()
            unpacker.wait()
            unpacker.stdout.close()
    return files
