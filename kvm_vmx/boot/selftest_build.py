# SPDX-License-Identifier: GPL-2.0-only
"""Builds the guest code of a KVM selftest from a kernel tree, unmodified, as a program of its own.

What the host does in a selftest needs KVM and is not linked; symbols of it stay unresolved.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import shutil
import subprocess

from kvm_vmx import host, tarball, xz

SUITE = "tools/testing/selftests/kvm"
# of the library, what guest code may call; a tree has those that its release knows
LIBRARY = ("lib/x86_64/vmx.c", "lib/x86_64/hyperv.c", "lib/ucall_common.c", "lib/x86_64/ucall.c",
           "lib/string_override.c", "lib/guest_sprintf.c", "lib/x86_64/apic.c",
           "lib/x86_64/svm.c", "lib/x86_64/processor.c", "lib/x86_64/handlers.S")
# of a tarball, what a build reads; `cache` shows the version that the Makefile has
WANTED = ("Makefile", "arch/x86/include/uapi", "include/uapi", "tools/include",
          "tools/arch/x86/include", "tools/testing/selftests/kvm", "tools/testing/selftests/rseq",
          "tools/testing/selftests/*.h")
# The suite's own flags, without warnings.
FLAGS = ("-std=gnu99", "-O2", "-g", "-w", "-fno-builtin-memcmp", "-fno-builtin-memcpy",
         "-fno-builtin-memset", "-fno-builtin-strnlen", "-fno-stack-protector", "-fno-PIE",
         "-fno-strict-aliasing", "-D_GNU_SOURCE", "-DCONFIG_64BIT",
         # what the kernel's headers lose when they are installed
         "-D__user=",
         # the processor has no SSE: this takes it out of what the compiler makes
         "-mgeneral-regs-only")
TEXT_AT = 0x1000000
LINK = ("ld", "-static", "-no-pie", f"-Ttext={TEXT_AT:#x}", "-z", "noexecstack",
        "--unresolved-symbols=ignore-all")
DEADLINE = 600


class SelftestError(Exception):
    """A tool has failed; the text is one line that names the cure."""


def run(words: list[str], what: str) -> None:
    """A tool of the build; SelftestError with its last line where it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE)
    except FileNotFoundError as error:
        raise SelftestError(f"no {words[0]}: install it to build {what}") from error
    except subprocess.TimeoutExpired as error:
        raise SelftestError(f"{words[0]} took {DEADLINE} s for {what}: build on a faster machine"
                            ) from error
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        first = next((line for line in said if "rror" in line), said[-1] if said else "no word")
        raise SelftestError(f"{words[0]} does not build {what}: {first[:200]}")


def cache_directory() -> pathlib.Path:
    """Where programs that were built stay."""
    return host.cache() / "selftests"


def tree_at(place: str | os.PathLike[str], cache: pathlib.Path) -> pathlib.Path:
    """The tree that a directory is, or a tarball, of which the cache keeps what is wanted."""
    place = pathlib.Path(place).resolve()
    if place.is_dir():
        return place
    if not place.is_file():
        raise SelftestError(f"no kernel tree {place}: give a directory or a tarball")
    unpacked = cache / "tree"
    if not (unpacked / SUITE).is_dir():
        new = cache / f"tree.{os.getpid()}"
        new.mkdir(parents=True, exist_ok=True)
        if not xz.unpack(place, WANTED, new):
            run(["tar", "-xf", str(place), "-C", str(new), *tarball.only(WANTED)], place.name)
        try:
            new.replace(unpacked)
        except OSError:
            # another process may have been quicker
            shutil.rmtree(new, ignore_errors=True)
    return unpacked


def cache_of(place: str | os.PathLike[str], cache: str | os.PathLike[str]) -> pathlib.Path:
    """The part of a cache that belongs to a tree."""
    name = str(pathlib.Path(place).resolve())
    return pathlib.Path(cache).resolve() / hashlib.sha256(name.encode()).hexdigest()[:16]


def headers(tree: pathlib.Path, cache: pathlib.Path) -> list[pathlib.Path]:
    """Where the kernel's headers for user space are: the tree's own, and beside them those that
    its makefiles would make, which name the generic ones."""
    made, x86 = cache / "headers/asm", tree / "arch/x86/include/uapi"
    made.mkdir(parents=True, exist_ok=True)
    for generic in (tree / "include/uapi/asm-generic").glob("*.h"):
        wrapper = made / generic.name
        if not (x86 / "asm" / generic.name).is_file() and not wrapper.is_file():
            wrapper.write_text(f"#include <asm-generic/{generic.name}>\n")
    return [made.parent, x86, tree / "include/uapi"]


def sources(tree: pathlib.Path, test: str) -> list[pathlib.Path]:
    """The files of a test: its own, and of the library what this release has."""
    suite = tree / SUITE
    own = suite / f"x86_64/{test}.c"
    if not own.is_file():
        raise SelftestError(f"no selftest {test} in {suite}: give one of its x86_64/")
    return [own] + [suite / name for name in LIBRARY if (suite / name).is_file()]


def build(tree: str | os.PathLike[str], test: str, cache: str | os.PathLike[str]) -> pathlib.Path:
    """The ELF file of a selftest's guest code, made where the cache has none."""
    cache = cache_of(tree, cache)
    program = cache / f"{test}.elf"
    if program.is_file():
        return program
    tree = tree_at(tree, cache)
    files = sources(tree, test)
    suite = tree / SUITE
    include = [f"-I{path}" for path in (
        tree / "tools/include", tree / "tools/arch/x86/include", *headers(tree, cache),
        suite / "include", suite / "include/x86_64", suite.parent, suite)]
    compiler = os.environ.get("CC", "gcc").split()
    (cache / "objects").mkdir(parents=True, exist_ok=True)

    def compiled(source: pathlib.Path) -> str:
        kind = ["-ffreestanding"] if source.name == "string_override.c" else []
        own = source == files[0]
        target = cache / "objects" / f"{'test-' if own else ''}{source.stem}.o"
        if own or not target.is_file():
            run([*compiler, *FLAGS, *kind, *include, "-c", str(source), "-o", str(target)],
                source.name)
        return str(target)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, files))
    made = program.with_suffix(".new")
    run([*LINK, "-e", "main", "-o", str(made), *objects], test)
    made.replace(program)
    return program
