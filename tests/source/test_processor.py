# SPDX-License-Identifier: GPL-2.0-only
"""The processor's numbers have the kernel's names and values, and stand in our headers alone."""

import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import pytest
import tree

sys.path.insert(0, str(tree.ROOT / "dev"))
import cheaders  # noqa: E402

# Each header of ours, and where v4.19 has its names, below arch/x86/include.
HEADERS = {
    "asm/msr-index.h": ["asm/msr-index.h"],
    "asm/processor-flags.h": ["uapi/asm/processor-flags.h", "asm/processor-flags.h"],
    "asm/debugreg.h": ["asm/kvm_host.h"],
    "asm/traps.h": ["asm/traps.h"],
    "asm/kvm.h": ["uapi/asm/kvm.h"],
}
SUFFIXES = {".py", ".pyx", ".pxd", ".pxi", ".h"}
# Printed from the headers by dev/regenerate.py.
PRINTED = "kvm_vmx/abi/constants.py"
# Of a later kernel.
LATER = {"X86_TRAP_VE"}
RECORD = tree.ROOT / "tests/data/processor_4.19.json"
DEFINE = re.compile(r"^#define[ \t]+(\w+)[ \t]+((?:[^\n/\\]|\\\n|/(?!\*))+)", re.M)
HELPERS = """
#define _AC(x, y) x##y
#define _UL(x) (x##UL)
#define _BITUL(x) (1UL << (x))
#define _BITULL(x) (1ULL << (x))
#define BIT(x) (1UL << (x))
#define BIT_ULL(x) (1ULL << (x))
#define GENMASK(h, l) (((~0UL) << (l)) & (~0UL >> (63 - (h))))
"""


@functools.cache
def names(header):
    """What one of our headers defines."""
    found = cheaders.read(header)
    return [name for name in [*found.constants, *found.enumerators] if name not in LATER]


@functools.cache
def ours():
    """header: {name: value} of what ours define, by one program that has them all."""
    found = printed("\n".join(f"#include <{header}>" for header in HEADERS),
                    [name for header in HEADERS for name in names(header)])
    return {header: {name: found[name] for name in names(header)} for header in HEADERS}


def printed(source, wanted):
    """name: value of each name that a piece of C knows, as the compiler computes it."""
    rows = "\n".join(f'printf("%s %llu\\n", "{name}", (unsigned long long)({name}) & 0xffffffff);'
                     for name in wanted)
    program = f"#include <stdio.h>\n{source}\nint main(void) {{\n{rows}\n}}\n"
    with tempfile.TemporaryDirectory() as folder:
        binary = f"{folder}/numbers"
        subprocess.run(["gcc", "-w", "-Iinclude", "-xc", "-o", binary, "-"], input=program,
                       text=True, check=True, cwd=tree.ROOT)
        out = subprocess.run([binary], capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in map(str.split, out.splitlines())}


@pytest.fixture(scope="module")
def kernel():
    root = os.environ.get("KVM_VMX_TREE_4_19")
    if not root or not pathlib.Path(root, "arch/x86/include").is_dir():
        pytest.skip("no tree of v4.19: KVM_VMX_TREE_4_19 says where one is")
    return pathlib.Path(root, "arch/x86/include")


@pytest.mark.parametrize("header", HEADERS)
def test_the_values_are_those_of_the_kernel(header, kernel):
    texts = [(kernel / path).read_text() for path in HEADERS[header]]
    if header == "asm/traps.h":
        source = re.search(r"enum \{\s*X86_TRAP_DE[^}]*\};", texts[0])[0]
    else:
        source = HELPERS + "\n".join(f"#define {name} {value}" for text in texts
                                     for name, value in DEFINE.findall(text))
    wanted = names(header)
    assert wanted and ours()[header] == printed(source, wanted)


@pytest.mark.parametrize("header", HEADERS)
def test_the_values_are_those_that_were_recorded(header):
    recorded = json.loads(RECORD.read_text())
    assert ours()[header] == recorded[header]


def test_no_other_file_gives_them_values():
    """A name of these headers is not defined again, and no name stands for one of them again."""
    known = {name for header in HEADERS for name in names(header)} | LATER
    again = re.compile(r"^(?:    |cdef \w+ |#define[ \t]+|)(\w+)(?: *= *|[ \t]+)"
                       r"(?=[-~(]*(?:<\w+>)?(?:0x)?\d)", re.M)
    found = [(str(path), name)
             for path in tree.under("kvm_vmx", "include", suffixes=SUFFIXES)
             for name in again.findall(tree.text(path))
             if name in known and str(path) != PRINTED
             and str(path).removeprefix("include/") not in HEADERS]
    assert found == []


# Bits of a flush hypercall, and what vmx.c calls a bitmap's mode and the direction of an access.
DIFFERENT = {"FLAG_ALL_PROCESSORS", "FLAG_ALL_SPACES", "FLAG_NON_GLOBAL", "MSR_TYPE_R",
             "MSR_TYPE_W", "MSR_TYPE_RW", "MSR_BITMAP_MODE_X2APIC", "MSR_BITMAP_MODE_X2APIC_APICV"}
# What stood for one of them: the same number under a name of another making.
OTHER_NAMES = re.compile(
    r"^(?:    |#define +)((?:VECTOR|FLAG|RFLAGS|CR0|CR4|EFER|DR[67]|MSR)_[A-Z0-9_]+) *= *"
    r"((?:0x[\da-f]+|\d+)(?: << \d+)?)$", re.M)


def test_no_number_has_a_second_name():
    """A constant that is called like a bit or an MSR, and has the value of one, is that one."""
    values = {}
    for header in HEADERS:
        for name, value in ours()[header].items():
            kind = re.match(r"X86_(?:TRAP|EFLAGS|CR0|CR4)|EFER|DR6|DR7|MSR", name)
            if kind:
                short = kind[0].replace("X86_TRAP", "VECTOR").replace("X86_EFLAGS", "FLAG")
                values.setdefault(short.removeprefix("X86_"), set()).add(value)
    found = []
    for path in tree.under("kvm_vmx", suffixes=SUFFIXES):
        for name, text in OTHER_NAMES.findall(tree.text(path)):
            kind = name.split("_")[0].replace("RFLAGS", "FLAG")
            if eval(text) in values.get(kind, ()) and name not in DIFFERENT:
                found.append((str(path), name, text))
    assert found == []

