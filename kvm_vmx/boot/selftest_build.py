# SPDX-License-Identifier: GPL-2.0-only
"""Builds the guest code of a KVM selftest from a kernel tree, unmodified, as a program of its own.

What the host does in a selftest needs KVM and is not linked; symbols of it stay unresolved.
"""

import os
import pathlib
import shutil
import subprocess

SUITE = "tools/testing/selftests/kvm"
# of the library, what guest code may call; a tree has those that its release knows
LIBRARY = ("lib/x86_64/vmx.c", "lib/x86_64/hyperv.c", "lib/ucall_common.c", "lib/x86_64/ucall.c",
           "lib/string_override.c", "lib/guest_sprintf.c", "lib/x86_64/apic.c",
           "lib/x86_64/svm.c", "lib/x86_64/processor.c", "lib/x86_64/handlers.S")
# The suite's own flags, without warnings.
FLAGS = ("-std=gnu99", "-O2", "-g", "-w", "-fno-builtin-memcmp", "-fno-builtin-memcpy",
         "-fno-builtin-memset", "-fno-builtin-strnlen", "-fno-stack-protector", "-fno-PIE",
         "-fno-strict-aliasing", "-D_GNU_SOURCE", "-DCONFIG_64BIT",
         # the processor has no SSE: this takes it out of what the compiler makes
         "-mgeneral-regs-only")
TEXT_AT = 0x1000000
LINK = ("ld", "-static", "-no-pie", f"-Ttext={TEXT_AT:#x}", "-z", "noexecstack",
        "--unresolved-symbols=ignore-all")
DEADLINE = 600


class BuildError(Exception):
    """A tool has failed; the text is one line that names the cure."""


def run(words: list[str], what: str) -> None:
    """A tool of the build; BuildError with its last line where it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE)
    except FileNotFoundError as error:
        raise BuildError(f"no {words[0]}: install it to build {what}") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{words[0]} took {DEADLINE} s for {what}: build on a faster machine"
                         ) from error
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        first = next((line for line in said if "rror" in line), said[-1] if said else "no word")
        raise BuildError(f"{words[0]} does not build {what}: {first[:200]}")


def headers(tree: pathlib.Path, cache: pathlib.Path) -> pathlib.Path:
    """The kernel's headers for user space, made once by the tree's own makefile."""
    made = cache / "headers"
    done = made / "usr/include/linux/kvm.h"
    if not done.is_file():
        shutil.rmtree(made, ignore_errors=True)
        run(["make", "-s", "-C", str(tree), f"O={made}", "headers"], "the kernel's headers")
    return made / "usr/include"


def sources(tree: pathlib.Path, test: str) -> list[pathlib.Path]:
    """The files of a test: its own, and of the library what this release has."""
    suite = tree / SUITE
    own = suite / f"x86_64/{test}.c"
    if not own.is_file():
        raise BuildError(f"no selftest {test} in {suite}: give one of its x86_64/")
    return [own] + [suite / name for name in LIBRARY if (suite / name).is_file()]


def build(tree: str | os.PathLike[str], test: str, cache: str | os.PathLike[str]) -> pathlib.Path:
    """The ELF file of a selftest's guest code, made where the cache has none."""
    tree, cache = pathlib.Path(tree).resolve(), pathlib.Path(cache).resolve()
    program = cache / f"{test}.elf"
    if program.is_file():
        return program
    files = sources(tree, test)
    suite = tree / SUITE
    include = [f"-I{path}" for path in (
        tree / "tools/include", tree / "tools/arch/x86/include", headers(tree, cache),
        suite / "include", suite / "include/x86_64", suite.parent, suite)]
    compiler = os.environ.get("CC", "gcc").split()
    objects = []
    (cache / "objects").mkdir(parents=True, exist_ok=True)
    for source in files:
        kind = ["-ffreestanding"] if source.name == "string_override.c" else []
        own = source == files[0]
        target = cache / "objects" / f"{'test-' if own else ''}{source.stem}.o"
        if own or not target.is_file():
            run([*compiler, *FLAGS, *kind, *include, "-c", str(source), "-o", str(target)],
                source.name)
        objects.append(str(target))
    made = program.with_suffix(".new")
    run([*LINK, "-e", "main", "-o", str(made), *objects], test)
    made.replace(program)
    return program
