# SPDX-License-Identifier: GPL-2.0-only
"""What a Cython file says again of a C header, or of another Cython file, is what that says."""

import re
import subprocess

import pytest
import tree

FILES = tree.under("kvm_vmx", suffixes={".pxd", ".pyx", ".pxi"})
EXTERN = re.compile(r'^cdef extern from "([\w./-]+)"[^\n]*:\n((?:[ \t]+[^\n]*\n|\n)+)', re.M)
STRUCT = re.compile(r'^    (?:ctypedef )?(?:struct|union) (\w+)(?: "[^"]+")?:\n'
                    r"((?:        [^\n]*\n|\n)+)", re.M)
MEMBER = re.compile(r"^        ((?:const |unsigned |struct )*\w+) (\**)(\w+)((?:\[\w+\])*)"
                    r" *(?:#.*)?$", re.M)
NAMED = re.compile(r'^    (ctypedef )?((?:struct|union) (\w+))(?: "([^"]+)")?', re.M)
# A part of a module's text, which no compiler reads alone.
PARTS = {"kvm_vmx/l1/bench/host_rsp.h"}
# In C its members are bits of one word, and Cython does not name its type.
BIT_FIELDS = {"vmcs_hdr", "hv_enlightenments_control_t", "hv_reenlightenment_control",
              "hv_tsc_emulation_control", "hv_tsc_emulation_status",
              "hv_x64_msr_hypercall_contents"}
ENUM = re.compile(r"^cdef enum[^\n]*:\n((?:[ \t]+[^\n]*\n|\n)+)", re.M)
VALUE = re.compile(r"^    (\w+) *= *((?:[^\n(#]|\((?:[^()]|\([^()]*\))*\))*)", re.M)


def c_names():
    """Cython's names of C's types that are spelled otherwise in C."""
    found = {name: c or (name if typedef else kind) for path in FILES
             for typedef, kind, name, c in NAMED.findall(tree.text(path))}
    return {**found, "ulong": "unsigned long", "bint": None, "vmcs_hdr": None}


def declared():
    """Header: an assertion in C for each member of a struct that a Cython file declares of it."""
    names, found = c_names(), {}
    for path in FILES:
        for header, body in EXTERN.findall(tree.text(path)):
            if header in PARTS:
                continue
            for name, members in STRUCT.findall(body):
                for kind, stars, member, sizes in MEMBER.findall(members):
                    base = names.get(kind.removeprefix("const "), kind)
                    if base is not None and name not in BIT_FIELDS:
                        found.setdefault(header, []).append(
                            f"_Static_assert(sizeof((({names[name]} *)0)->{member}) == "
                            f'sizeof({base} {stars}{sizes}), "{path}: {name}.{member}");')
    return found


ASSERTIONS = declared()


def compiled(*lines):
    """What the compiler says of some lines, in words."""
    done = subprocess.run(
        ["gcc", "-std=gnu11", "-fsyntax-only", "-D_GNU_SOURCE", "-DCONFIG_HYPERV=1",
         "-DCONFIG_JUMP_LABEL=1", "-DCONFIG_INSN_TRAP=1", "-include", "linux/types.h",
         f"-I{tree.ROOT}/include",
         f"-I{tree.ROOT}", "-xc", "-"], input="\n".join(lines) + "\n", capture_output=True,
        text=True, cwd=tree.ROOT)
    return re.findall(r"error: (.*)", done.stderr)


def test_the_declarations_are_found():
    assert sum(map(len, ASSERTIONS.values())) > 250
    assert any("l0_saved.msr" in line for line in ASSERTIONS["kvm_vmx/l0/watch/saved.h"])
    wrong = [line.replace("[NR_SLOTS]", "[32]") for line in ASSERTIONS["kvm_vmx/l0/watch/saved.h"]]
    assert len(compiled("#include <kvm_vmx/l0/watch/saved.h>", *wrong)) == 1


@pytest.fixture(scope="module")
def headers():
    """All that the compiler may read of this tree."""
    return [tree.text(path) for path in tree.under("include", "kvm_vmx", suffixes={".h"})]


@pytest.mark.parametrize("header", ASSERTIONS)
def test_members_have_the_type_s_size_and_arrays_their_length(header, headers, held, compiler):
    clean = held(compiler, ASSERTIONS[header], headers)
    if clean.digest() not in clean:
        assert compiled(f"#include <{header}>", *ASSERTIONS[header]) == []
    clean.keep()


def constants():
    """(file, name, expression) of each number that a Cython file gives a name."""
    for path in FILES:
        for block in ENUM.findall(tree.text(path)):
            for name, text in VALUE.findall(block):
                yield path, name, re.sub(r"#[^\n]*|<\w+>", "", text).strip()


def evaluated():
    """name: {value: files} of each of them whose expression needs C's names no more."""
    known, left = {}, list(constants())
    while True:
        rest = []
        for path, name, text in left:
            here = {word: next(iter(values)) for word, values in known.items() if len(values) == 1}
            try:
                value = eval(" ".join(text.split()), {"__builtins__": {}}, here)
            except (NameError, SyntaxError, TypeError):
                rest.append((path, name, text))
                continue
            known.setdefault(name, {}).setdefault(value, []).append(str(path))
        if len(rest) == len(left):
            return known
        left = rest


def test_a_number_is_named_in_one_file():
    known = evaluated()
    # the processor's numbers are in headers, and not among them
    assert len(known) > 350
    assert {name: values for name, values in known.items()
            if sum(map(len, values.values())) > 1} == {}


def test_a_number_of_a_header_is_the_header_s():
    headers = {path: tree.text(path) for path in tree.under("include", "kvm_vmx", suffixes={".h"})}
    words = {path: set(re.findall(r"\w+", text)) for path, text in headers.items()}
    checked = 0
    for name, values in evaluated().items():
        defines = re.compile(rf"^\s*#\s*define {name}\s+\S|^\t{name}(?: = [^,]+)?,", re.M)
        for header, text in headers.items():
            if name in words[header] and defines.search(text):
                for value in values:
                    lines = (f"#include <{str(header).removeprefix('include/')}>",
                             f'_Static_assert(({name}) == {value}, "{values[value]}");')
                    assert compiled(*lines) == [], (header, lines)
                    checked += 1
    assert checked
