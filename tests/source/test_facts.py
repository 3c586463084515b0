# SPDX-License-Identifier: GPL-2.0-only
"""Places in the enlightened VMCS, and the guests of a few bytes: each is written down once."""

import json
import re

import tree

import kvm_vmx
from kvm_vmx.machine.fields import CLEAN_FIELDS, fields, other_members

LAYOUT = {version: {row["name"]: (row["offset"], row["size"]) for row in json.loads(
    tree.text(f"tests/data/evmcs_layout_{version}.json"))} for version in ("4.19", "6.12")}
# A guest's bytes, however they are cut.
BYTES = {name: getattr(kvm_vmx.guests, name).hex() for name in ("CPUID_LOOP",)}
NOT_HERE = ("tests/cli", "tests/compare", "kvm_vmx/machine/guests.py")


def test_members_are_where_the_kernel_has_them():
    known = LAYOUT["6.12"]
    for name, row in other_members().items():
        assert known[name.lower()] == (row["offset"], row["size"])
    assert CLEAN_FIELDS == LAYOUT["4.19"]["hv_clean_fields"][0] == known["hv_clean_fields"][0]
    assert not set(other_members()) & {row["evmcs_field"] for row in fields()}


def test_no_file_of_the_package_says_again_where_they_are():
    places = {row["offset"] for row in other_members().values() if row["offset"]}
    again = re.compile(rf"\b(?:{'|'.join(map(str, sorted(places)))})\b")
    for path in tree.under("kvm_vmx", suffixes={".py", ".pyx", ".pxi", ".pxd", ".h"}):
        assert not again.search(re.sub(r'"""[\s\S]*?"""|#[^\n]*', "", tree.text(path))), path


def test_no_file_writes_a_guest_again():
    for path in tree.under("kvm_vmx", "tests", suffixes={".py"}):
        text = re.sub(r'"\s*"|[\s]', "", tree.text(path))
        for name, code in BYTES.items():
            assert str(path).startswith(NOT_HERE) or f'"{code}"' not in text, (path, name)
