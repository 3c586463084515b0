# SPDX-License-Identifier: GPL-2.0-only
"""What this host can do: every capability is asked here, and any of them can be made to be absent.

The environment's KVM_VMX_WITHOUT names, with commas between them, what this process and those it
starts shall find absent. What the host lacks cannot be made to be there.
"""

import ctypes
import functools
import glob
import importlib.util
import mmap
import os
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

from kvm_vmx import words

WITHOUT = "KVM_VMX_WITHOUT"
TREE_4_19 = "KVM_VMX_TREE_4_19"
TREE_6_12 = "KVM_VMX_TREE_6_12"
MAIL = "KVM_VMX_MAIL"
NAMED = (TREE_4_19, "KVM_VMX_TREE")
PLACES = ("/usr/src/linux-source-*", "/usr/src/linux-[0-9]*", "/usr/src/linux",
          "/lib/modules/*/source")
TARBALL = re.compile(r"\.tar(?:\.(?:xz|gz|bz2))?$")
VERSION = re.compile(r"(\d+\.\d+(?:\.\d+)?)(?!.*\d+\.\d+)")
DEBIAN = "linux-source-"
DEBIAN_CONFIG = "/usr/src/linux-config-6.1/config.amd64_none_amd64.xz"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

SYS_MEMBARRIER, MEMBARRIER_CMD_QUERY, MEMBARRIER_SYNC_CORE = 324, 0, 3 << 5
AT_HWCAP2, HWCAP2_FSGSBASE = 26, 1 << 1
PR_GET_MDWE = 66

_libc = ctypes.CDLL(None, use_errno=True)
_libc.getauxval.restype = ctypes.c_ulong


class Capability(NamedTuple):
    """Something that not every host has: how to look for it, and what to say where it is not."""

    look: Callable[[], object]      # what there is; anything false: nothing
    absent: str


def _fsgsbase() -> object:
    return _libc.getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE


def _sync_core() -> bool:
    commands: int = _libc.syscall(SYS_MEMBARRIER, MEMBARRIER_CMD_QUERY, 0, 0)
    return commands > 0 and commands & MEMBARRIER_SYNC_CORE == MEMBARRIER_SYNC_CORE


@functools.cache
def _memfd() -> bool:
    try:
        os.close(os.memfd_create("probe"))
    except (AttributeError, OSError):
        return False
    return True


@functools.cache
def _text_writing() -> bool:
    """The steps that a static key takes, with a page of a file beside the port's that nobody
    executes."""
    with open(__file__, "rb") as file:
        page = mmap.mmap(file.fileno(), 1, flags=mmap.MAP_PRIVATE,
                         prot=mmap.PROT_READ | mmap.PROT_WRITE)
    where = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    page[0] = 0
    return all(_libc.mprotect(where, mmap.PAGESIZE, protection) == 0 for protection in (
        mmap.PROT_READ | mmap.PROT_EXEC, mmap.PROT_READ | mmap.PROT_WRITE))


def _traps(name: str) -> Callable[[], bool]:
    """Whether an opcode that need not trap does: it is executed once."""
    def look() -> bool:
        from kvm_vmx.trap import engine as trap

        return name not in trap.silent()
    return look


def _single_step() -> bool:
    from kvm_vmx.trap import engine as trap

    return trap.step_possible()


def _all_programs(*names: str) -> Callable[[], bool]:
    return lambda: all(map(shutil.which, names))


def _program(*names: str) -> Callable[[], str | None]:
    return lambda: next((found for name in names if (found := shutil.which(name))), None)


@functools.cache
def _debugger() -> str | None:
    """A debugger that may trace."""
    program = shutil.which("gdb")
    if program is None:
        return None
    # long to import, and of all capabilities for this one alone
    import subprocess

    done = subprocess.run([program, "-nx", "-batch", "-ex", "run", "--args", "true"],
                          capture_output=True, text=True, timeout=60)
    return program if "exited normally" in done.stdout else None


def cache() -> pathlib.Path:
    """Where this user's cache of kvm-vmx is: in $XDG_CACHE_HOME, or in ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return pathlib.Path(home if os.path.isabs(home) else os.path.expanduser("~/.cache")) / "kvm-vmx"


def version_in(path: str) -> str:
    """The version that the name of a kernel tree tells, or nothing."""
    hit = VERSION.search(os.path.basename(path))
    return hit[1] if hit else ""


def trees_named() -> list[str]:
    """What the environment names as kernel trees, as --tree takes them, there or not."""
    return [os.environ[name] for name in NAMED if os.environ.get(name)]


def trees_in_places() -> list[str]:
    """The kernel trees, directories and tarballs, that lie in the usual places."""
    return [path for place in PLACES for path in sorted(glob.glob(place))
            if os.path.isdir(os.path.join(path, "arch/x86/kvm"))
            or TARBALL.search(path) and os.path.isfile(path)]


def _tree(version: str, variable: str = "", name: str = DEBIAN) -> Callable[[], str | None]:
    """What a variable names, or a tree so called that says to be of this version or of its
    stable series."""
    return lambda: os.environ.get(variable) or next((
        path for path in trees_in_places() if os.path.basename(path).startswith(name)
        and f"{version_in(path)}.".startswith(f"{version}.")), None)


def _module(name: str) -> Callable[[], object]:
    """A Python package, not imported."""
    def look() -> object:
        try:
            return importlib.util.find_spec(name)
        except ValueError:      # somebody has put None in its place
            return None
    return look


# Of the processor, the kernel and whatever lies beneath: a machine runs with or without them.
PLATFORM = {
    "cpuid-faulting": Capability(
        _traps("cpuid"), "this host lets no CPUID of user space fault"),
    "vmcall-faulting": Capability(
        _traps("vmcall"), "the hypervisor beneath this host answers VMCALL itself"),
    "fsgsbase": Capability(
        _fsgsbase, "this kernel lets no user space write the base of %gs by instruction"),
    "sync-core": Capability(
        _sync_core, "this kernel's membarrier() cannot make other threads' processors serialize"),
    "memfd": Capability(_memfd, "this system makes no memory files"),
    "single-step": Capability(
        _single_step, "single steps are for x86-64 Linux"),
    "text-writing": Capability(
        _text_writing, "this system lets no process change its text"),
}

# Programs, trees and packages that are used where they are installed, and a way to test.
BESIDE = {
    "mdwe": Capability(
        lambda: _libc.prctl(PR_GET_MDWE, 0, 0, 0, 0) >= 0,
        "this kernel has no PR_SET_MDWE (Linux 6.3)"),
    "valgrind": Capability(_program("valgrind"), "no valgrind here: apt-get install valgrind"),
    "browser": Capability(_program(*BROWSERS), "no Chromium here: apt-get install chromium"),
    "debugger": Capability(_debugger, "no gdb that may trace here: apt-get install gdb"),
    "objdump": Capability(_program("objdump"), "no objdump here: apt-get install binutils"),
    "compiler": Capability(_program("gcc"), "no gcc here: apt-get install gcc"),
    "objcopy": Capability(_program("objcopy"), "no objcopy here: apt-get install binutils"),
    "xz": Capability(_program("xz"), "no xz here: apt-get install xz-utils"),
    "pdftotext": Capability(
        _program("pdftotext"), "no pdftotext here: apt-get install poppler-utils"),
    "trace-processor": Capability(
        _program("trace_processor_shell", "trace_processor"),
        "no trace_processor_shell here: put the one of perfetto.dev into $PATH"),
    "bash": Capability(_program("bash"), "no bash here: apt-get install bash"),
    "zsh": Capability(_program("zsh"), "no zsh here: apt-get install zsh"),
    "fish": Capability(_program("fish"), "no fish here: apt-get install fish"),
    "tcsh": Capability(_program("tcsh"), "no tcsh here: apt-get install tcsh"),
    "mandoc": Capability(_program("mandoc"), "no mandoc here: apt-get install mandoc"),
    "man": Capability(_program("man"), "no man here: apt-get install man-db"),
    "git": Capability(_program("git"), "no git here: apt-get install git"),
    "gcc": Capability(_program("gcc"), "no gcc here: apt-get install gcc"),
    "kernel-build": Capability(
        _all_programs("make", "gcc", "ld", "objcopy", "objdump", "flex", "bison", "bc", "perl"),
        "no tools to build a kernel here: apt-get install make gcc binutils flex bison bc perl"),
    "tree-4.19": Capability(
        _tree("4.19", TREE_4_19, "linux"), f"no Linux v4.19 tree here: name one in ${TREE_4_19}"),
    "tree-6.1": Capability(
        _tree("6.1"), "no linux-source-6.1 here: apt-get install linux-source-6.1"),
    "tree-6.12": Capability(
        _tree("6.12", TREE_6_12), "no Linux 6.12 tree here: apt-get install linux-source-6.12, "
        f"or name one in ${TREE_6_12}"),
    "config-6.1": Capability(
        lambda: next((path for path in [DEBIAN_CONFIG] if os.path.exists(path)), None),
        "no .config of Debian's here: apt-get install linux-config-6.1"),
    "mail": Capability(
        lambda: os.environ.get(MAIL), f"no mail of the patch's review here: name it in ${MAIL}"),
    "capstone": Capability(_module("capstone"), "no capstone here: pip install 'kvm_vmx[asm]'"),
    "unicorn": Capability(_module("unicorn"), "no unicorn here: pip install 'kvm_vmx[guest]'"),
    "pyperf": Capability(_module("pyperf"), "no pyperf here: pip install 'kvm_vmx[perf]'"),
    "pytest": Capability(_module("pytest"), "no pytest here: pip install 'kvm_vmx[test]'"),
    "hypothesis": Capability(
        _module("hypothesis"), "no hypothesis here: pip install 'kvm_vmx[test]'"),
    "jsonschema": Capability(
        _module("jsonschema"), "no jsonschema here: pip install 'kvm_vmx[test]'"),
    "Cython": Capability(_module("Cython"), "no Cython here: pip install 'kvm_vmx[test]'"),
    "setuptools": Capability(
        _module("setuptools"), "no setuptools here: pip install 'kvm_vmx[test]'"),
    "nbclient": Capability(_module("nbclient"), "no nbclient here: pip install 'kvm_vmx[docs]'"),
    "ipykernel": Capability(_module("ipykernel"), "no ipykernel here: pip install 'kvm_vmx[docs]'"),
    "mkdocs": Capability(_module("material"), "no mkdocs here: pip install 'kvm_vmx[docs]'"),
    "mypy": Capability(_module("mypy"), "no mypy here: pip install 'kvm_vmx[test]'"),
    "ruff": Capability(_module("ruff"), "no ruff here: pip install 'kvm_vmx[test]'"),
    "cython_lint": Capability(
        _module("cython_lint"), "no cython-lint here: pip install 'kvm_vmx[test]'"),
}

CAPABILITIES = PLATFORM | BESIDE


def withheld() -> frozenset[str]:
    """The capabilities that are to be absent; ValueError for one that nobody knows."""
    names = frozenset(filter(None, os.environ.get(WITHOUT, "").split(",")))
    if unknown := sorted(names - CAPABILITIES.keys()):
        raise ValueError(f"{WITHOUT}: {words.unknown('capability', unknown[0], CAPABILITIES)}")
    return names


def find(name: str) -> Any:
    """What there is of a capability, as a path for a program or a tree; None: it is absent."""
    if name in withheld():
        return None
    return CAPABILITIES[name].look() or None


def has(name: str) -> bool:
    """Is it there?"""
    return find(name) is not None


def absent(name: str) -> str:
    """Why it is not there, or how to get it: one line."""
    if name in withheld():
        return f"{WITHOUT} says so"
    return CAPABILITIES[name].absent
