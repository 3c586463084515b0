# SPDX-License-Identifier: GPL-2.0-only
"""Programs that gcc makes of C, run as guests; their value on this host is what they must give."""

import ctypes
import functools
import pathlib
import subprocess

import needed
import pytest

from kvm_vmx import Machine

pytestmark = pytest.mark.long
SOURCES = pathlib.Path(__file__).parent / "compiled"
PROGRAMS = sorted(path.stem for path in SOURCES.glob("*.c"))
LEVELS = ("-O0", "-O2", "-Os")
FREE = ("-std=gnu11", "-ffreestanding", "-fno-pic", "-fno-stack-protector", "-mno-red-zone",
        "-fno-asynchronous-unwind-tables", "-fno-tree-vectorize")
# SSE is no part of the processor of L2
NO_SSE = ("-mno-sse", "-mno-mmx", "-mno-80387")

assert len(PROGRAMS) == 12


def gcc(*arguments):
    needed.capability("compiler")
    done = subprocess.run(["gcc", *map(str, arguments)], capture_output=True, text=True,
                          timeout=120)
    assert not done.returncode, done.stderr


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What a program gives on this host, by another level of optimization."""
    @functools.cache
    def run(name):
        library = tmp_path_factory.mktemp("host") / f"{name}.so"
        gcc("-std=gnu11", "-O1", "-shared", "-fPIC", "-fno-builtin", "-Wl,-Bsymbolic", "-o",
            library, SOURCES / f"{name}.c")
        work = ctypes.CDLL(str(library)).work
        work.restype = ctypes.c_uint64
        return work()
    return run


def image(folder, name, *flags):
    """A flat binary at 0x1000, its zeroed data with it."""
    elf, flat = folder / "program.elf", folder / "program.bin"
    gcc(*FREE, *flags, "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,-z,norelro", "-Wl,-T",
        SOURCES / "flat.lds", "-o", elf, SOURCES / f"{name}.c", "-lgcc")
    subprocess.run(["objcopy", "-O", "binary", elf, flat], check=True, timeout=60)
    return flat.read_bytes()


@pytest.mark.parametrize("flags", [
    *((level,) for level in LEVELS),
    *((level, "-mgeneral-regs-only") for level in LEVELS),
    ("-O2", "-mgeneral-regs-only", "-fcf-protection=full"),
], ids=" ".join)
@pytest.mark.soak
@pytest.mark.host("compiler", "objcopy")
def test_compiled_programs(tmp_path, expected, flags, soak):
    """Without -mgeneral-regs-only what might be SSE is kept out by name. Outside of a soak -O2 has
    all programs, and each other way every sixth."""
    first = LEVELS.index(flags[0])
    programs = PROGRAMS if soak or flags == ("-O2",) else PROGRAMS[first::6]
    values = {name: expected(name) for name in programs}
    images = {name: image(tmp_path, name, *flags, *(
        () if "-mgeneral-regs-only" in flags else NO_SSE)) for name in programs}
    if "-fcf-protection=full" in flags:
        assert all(bytes.fromhex("f30f1efa") in code for code in images.values())
    for enlightened in (False, True):
        with Machine() as machine:
            kvm = machine.insmod(enlightened_vmcs=enlightened)
            for name, code in images.items():
                vcpu = kvm.create_vm(code=code).create_vcpu(cpu=0)
                summary = vcpu.run(exits=1000)
                assert (name, summary.reason) == (name, "HLT"), summary.why
                assert (name, vcpu.regs["rax"]) == (name, values[name])
            kvm.rmmod()
