# SPDX-License-Identifier: GPL-2.0-only
"""How the modules are compiled: the flags of each, and the port's other builds, made on demand.

kvm-intel is built with another Kconfig from the same C, once, into the cache: whoever only runs it
needs no compiler. setup.py reads the flags here before there is a package, so this imports nothing
of it.
"""

import contextlib
import importlib.util
import os
import pathlib
import re
import shlex
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Mapping
from types import ModuleType

ROOT = pathlib.Path(__file__).resolve().parents[1]
PORT = "kvm_vmx.l1.vmx"
CONFIG = {"CONFIG_HYPERV": 1, "CONFIG_JUMP_LABEL": 1, "CONFIG_INSN_TRAP": 1}
CONFIGS: dict[str, dict[str, int]] = {
    "hyperv": {},
    "no-hyperv": {"CONFIG_HYPERV": 0},
    "no-jump-label": {"CONFIG_JUMP_LABEL": 0},
    # the tree before the patch: v4.19 tests its key without CONFIG_HYPERV too
    "before": {"CONFIG_HYPERV": 0, "BEFORE_EVMCS": 1},
    # instructions by call alone: what the opcodes beside them cost is the difference to this
    "by-call": {"CONFIG_INSN_TRAP": 0},
    # the opcodes alone, as a kernel has them: what stands beside a kernel's own objects
    "by-trap": {"CONFIG_INSN_TRAP": 2},
}
# "hyperv" where somebody watches: each store into a VMCS says where it stands in the source.
WATCHED = "watched"
# What stores into a VMCS, in the order of the source.
ACCESSORS = ("vmcs_write16", "vmcs_write32", "vmcs_write64", "vmcs_writel", "vmcs_clear_bits",
             "vmcs_set_bits")

# What the sources count on, whoever compiles them.
COMMON = ["-std=gnu11", "-fno-strict-aliasing", "-fwrapv", "-fno-delete-null-pointer-checks",
          "-fvisibility=hidden", "-fno-semantic-interposition",
          "-Wno-unused-function", "-Wno-unused-variable"]
# The kernel's own code model, and hidden visibility: a static key must be local to its module.
# No vectors, as in the kernel: two fields read as one wait for the stores to both.
KERNEL = ["-O2", "-fomit-frame-pointer", "-fcf-protection=none", "-fno-stack-protector",
          "-fno-tree-vectorize", "-fno-lto", "-U_FORTIFY_SOURCE", "-Wp,-U_FORTIFY_SOURCE",
          "-DCYTHON_INLINE=inline __attribute__((always_inline))"]
# Linux builds the kernel with gcc's; clang has no name for it.
KERNEL_GCC = ["-fno-stack-clash-protection"]
# Where nobody says otherwise: a call from Python waits for Python, and this compiles in a third.
REST = ["-Og", "-g0"]
# For `compare` the lines of the port, statement by statement; of vmx.c, and of the build that
# stands beside a kernel's objects, what was inlined where too, which takes a second to write.
INLINED, LINES, NO_LINES = ["-g"], ["-g1", "-gstatement-frontiers"], ["-g0"]
MOST_KEPT = 24


# What callgrind is told by whose function that a loop has ended.
COUNTING = "kvm_vmx.measure.rounds"


def is_kernel(module: str) -> bool:
    """Is this one compiled as the kernel is: the port, or L0?"""
    return module.startswith(("kvm_vmx.l1.", "kvm_vmx.l0."))


def flags(module: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """What a module is compiled with beside Python's own flags and those of the environment.

    A distribution's CFLAGS hold for all but the port and L0, which are compiled as a kernel is.
    """
    found = [*COMMON, f"-ffile-prefix-map={ROOT}=."]
    asked = "CFLAGS" in environ
    if not is_kernel(module):
        return found if asked else found + REST
    gcc = "clang" not in environ.get("CC", "")
    if not asked:
        lines = LINES if gcc else LINES[:1]
        found += (INLINED if module in (PORT, name_of("by-trap")) else
                  lines if module.startswith("kvm_vmx.l1.") else NO_LINES)
    return found + KERNEL + (KERNEL_GCC if gcc else [])


def stripped(module: str) -> list[str]:
    """What a module loses in a wheel: L1 nothing, as single steps are told by its lines, L0 all but
    the names of its functions, the others those too, unless counting looks for one."""
    if module.startswith("kvm_vmx.l1."):
        return []
    named = is_kernel(module) or module == COUNTING
    return ["-Wl,--strip-debug" if named else "-Wl,--strip-all"]


def macros(config: str = "hyperv") -> list[tuple[str, str]]:
    """The Kconfig switches of a build, and their text for `kvm-vmx --version`."""
    switches = CONFIG | ({"CONFIG_WATCHED": 1} if config == WATCHED else CONFIGS[config])
    text = " ".join(f"{key}={value}" for key, value in switches.items())
    return [*((key, str(value)) for key, value in switches.items()),
            ("BUILD_CONFIG", f'"{text}"')]


def abi() -> list[tuple[str, str]]:
    """Python's stable ABI, as a macro: one wheel serves 3.11 and all that come after it.

    A free-threaded build of Python has none: there the modules are for that Python alone.
    """
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return []
    return [("Py_LIMITED_API", "0x030b0000")]


def unfit() -> str | None:
    """Why nothing can be built for this platform, in a line, or None."""
    if sys.platform == "linux" and os.uname().machine == "x86_64" and sys.maxsize > 1 << 32:
        return None
    # long to import, and no matter where all is well; others have no os.uname()
    import platform

    bits = 64 if sys.maxsize > 1 << 32 else 32
    return (f"kvm_vmx needs x86-64 Linux and a Python of 64 bits: this is {sys.platform} on "
            f"{platform.machine() or 'an unknown machine'}, {bits} bits")


def name_of(config: str) -> str:
    """The dotted name of the port's build for a config."""
    return PORT if config == "hyperv" else f"{PORT}_{config.replace('-', '_')}"


def port(config: str) -> ModuleType:
    """The port as a config has it, compiled if it was not yet; ValueError where it cannot be."""
    name = name_of(config)
    if config == "hyperv":
        return importlib.import_module(name)
    if name in sys.modules:
        return sys.modules[name]
    importlib.import_module(PORT)
    spec = importlib.util.spec_from_file_location(name, compiled(config))
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def sources() -> tuple[pathlib.Path, pathlib.Path]:
    """The port's C as the build left it, and the folder of the headers that L1 and L0 share."""
    here = pathlib.Path("kvm_vmx/l1/vmx.c")
    for text, include in ((ROOT / "build/cython" / here, ROOT / "include"),
                          (ROOT / here, ROOT / "kvm_vmx/include")):
        if text.is_file() and include.is_dir():
            return text, include
    raise ValueError("the C of the port is not here, of which its other builds are made: "
                     "python setup.py build_ext --inplace")


# The first to ask for Python's own configuration leaves it half read to the others.
_reading = threading.Lock()


def compiled(config: str) -> pathlib.Path:
    """The file of another build of the port, out of the cache, or compiled into it."""
    # long to import, and few have another build
    import hashlib

    with _reading:
        sysconfig.get_config_vars()
    text, include = sources()
    name = name_of(config)
    source = text.read_text().replace(f'"{PORT}"', f'"{name}"').replace(
        "PyInit_vmx", f"PyInit_{name.rpartition('.')[2]}")
    if config == WATCHED:
        source = told(source)
    command = compiler(name, config, include)
    key = hashlib.blake2s(digest_size=12)
    for part in (source, sys.version, *command):
        key.update(part.encode() + b"\0")
    for header in sorted([*include.rglob("*.h"), *(ROOT / "kvm_vmx").rglob("*.h")]):
        key.update(header.read_bytes())
    last = name.rpartition(".")[2]
    with contextlib.suppress(OSError):
        store = cache()
        target = store / f"{last}.{key.hexdigest()}{sysconfig.get_config_var('EXT_SUFFIX')}"
        if not target.exists():
            with alone(target):
                if not target.exists():         # nor by another process meanwhile
                    compile_into(target, source, command, config)
                    forget(store)
        return target
    # no cache may be written: the next process compiles again
    target = pathlib.Path(tempfile.mkdtemp(prefix="kvm-vmx-")) / f"{last}.so"
    compile_into(target, source, command, config)
    return target


def told(text: str) -> str:
    """The port's C with each call of an accessor, behind their definitions, told to who watches."""
    prefix = re.search(rf"\w+(?=_{ACCESSORS[-1]}\()", text)
    assert prefix
    accessors = [f"{prefix[0]}_{name}" for name in ACCESSORS]
    begin = re.search(rf"^static .*\b{accessors[-1]}\([^;]*\{{$", text, re.M)
    assert begin
    end = text.index("\n}\n", begin.end()) + 3
    lines = [f"#define {name}(field, operand) WATCHED({name}, field, operand)"
             for name in accessors]
    return "\n".join((text[:end], *lines, text[end:]))


def kept() -> pathlib.Path:
    """Where the port's other builds are kept, below $XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(home) / "kvm-vmx" / "port"


def cache() -> pathlib.Path:
    """That folder, made where it is missing."""
    store = kept()
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    return store


@contextlib.contextmanager
def alone(target: pathlib.Path) -> Iterator[None]:
    """Hold the lock beside a file while it is made: whoever wants it too waits for it."""
    import fcntl            # of Linux alone, which setup.py tells elsewhere

    lock = pathlib.Path(f"{target}.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def forget(store: pathlib.Path) -> None:
    """Keep the newest builds alone."""
    for old in sorted(store.glob("*.so"), key=lambda path: -path.stat().st_mtime)[MOST_KEPT:]:
        old.unlink(missing_ok=True)


def compiler(name: str, config: str, include: pathlib.Path) -> list[str]:
    """The command that compiles a build of the port, as setuptools would: all but its files."""
    words = [os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc",
             sysconfig.get_config_var("CFLAGS") or "", os.environ.get("CFLAGS", ""),
             sysconfig.get_config_var("CCSHARED") or "-fPIC", os.environ.get("LDFLAGS", "")]
    return [*(word for text in words for word in shlex.split(text)), *flags(name),
            *(f"-D{key}={value}" for key, value in [*macros(config), *abi()]), f"-I{include}",
            f"-I{ROOT}", f"-I{sysconfig.get_path('include')}", "-shared"]


def compile_into(target: pathlib.Path, source: str, command: list[str], config: str) -> None:
    """Compile C text; the target appears whole or not at all, whoever else makes it too."""
    import subprocess

    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        text, made = pathlib.Path(folder, "vmx.c"), pathlib.Path(folder, "vmx.so")
        text.write_text(source)
        said = f"config {config!r} is another build of the port, which takes a C compiler"
        try:
            done = subprocess.run([*command, str(text), "-o", str(made)], cwd=ROOT,
                                  capture_output=True, text=True, errors="replace")
        except OSError as error:
            raise ValueError(f"{said}: no {command[0]} here: apt-get install gcc") from error
        if done.returncode:
            told = [line for line in done.stderr.splitlines() if "error" in line] or [""]
            cure = ": apt-get install python3-dev" if "Python.h" in told[0] else ""
            raise ValueError(f"{said}: {command[0]} says: {told[0].strip()}{cure}")
        os.replace(made, target)
