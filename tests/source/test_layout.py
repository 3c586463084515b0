# SPDX-License-Identifier: GPL-2.0-only
"""The ABI headers, as the C compiler sees them, against the tables of v4.19 in tests/data."""

import json
import subprocess

import pytest
import tree


def facts(name):
    """One table of v4.19."""
    return json.loads((tree.ROOT / "tests/data" / f"{name}_4.19.json").read_text())


EVMCS = facts("evmcs_layout")
ASSIST = facts("vp_assist_layout")
ENCODINGS = facts("vmcs_encodings")
FIELDS = facts("evmcs_fields")

PROBE = r"""
#include <stdio.h>
#include <asm/hyperv-tlfs.h>
#include <asm/vmx.h>
#define MEMBER(type, name) printf("%%s %%s %%zu %%zu\n", #type, #name, \
	offsetof(struct type, name), sizeof(((struct type *)0)->name));
#define EVMCS_FIELD(field, name, group) printf("field %%s %%x %%s %%zu %%zu %%s %%x\n", #field, \
	field, #name, offsetof(struct hv_enlightened_vmcs, name), \
	sizeof(((struct hv_enlightened_vmcs *)0)->name), #group, \
	HV_VMX_ENLIGHTENED_CLEAN_FIELD_##group);
#define ENCODING(name) printf("encoding %%s %%x\n", #name, name);
int main(void)
{
	%s
#include <asm/evmcs_fields.h>
	printf("size hv_enlightened_vmcs %%zu\n", sizeof(struct hv_enlightened_vmcs));
	printf("size hv_vp_assist_page %%zu\n", sizeof(struct hv_vp_assist_page));
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """What the compiler says, line by line, split into words."""
    folder = tmp_path_factory.mktemp("layout")
    rows = [f"MEMBER(hv_enlightened_vmcs, {row['name']})" for row in EVMCS
            if not row.get("implicit")]
    rows += [f"MEMBER(hv_vp_assist_page, {row['name']})" for row in ASSIST]
    rows += [f"ENCODING({row['vmcs_field']})" for row in ENCODINGS]
    (folder / "probe.c").write_text(PROBE % "\n\t".join(rows))
    subprocess.run(["gcc", "-std=gnu11", "-I", tree.ROOT / "include", "-o", "probe", "probe.c"],
                   cwd=folder, check=True)
    out = subprocess.run(["./probe"], cwd=folder, capture_output=True, text=True, check=True)
    return [line.split() for line in out.stdout.splitlines()]


def members(compiled, struct):
    """(name, offset, size) of each member of a struct, in order of offset."""
    return [(name, int(offset), int(size)) for kind, name, offset, size in
            (words for words in compiled if words[0] == struct)]


@pytest.mark.case("PRT-02")
def test_evmcs_layout(compiled):
    rows = [(row["name"], row["offset"], row["size"]) for row in EVMCS if not row.get("implicit")]
    assert members(compiled, "hv_enlightened_vmcs") == rows
    assert ["size", "hv_enlightened_vmcs", "1024"] in compiled


def test_the_members_and_the_known_holes_fill_the_page_without_overlap():
    end = 0
    for row in EVMCS:
        assert row["offset"] == end, row
        end += row["size"]
    assert end == 1024
    assert [row["offset"] for row in EVMCS if row.get("implicit")] == [22, 844]


@pytest.mark.case("PRT-02")
def test_assist_page_layout(compiled):
    rows = [(row["name"], row["offset"], row["size"]) for row in ASSIST]
    assert members(compiled, "hv_vp_assist_page") == rows
    assert ["size", "hv_vp_assist_page", "56"] in compiled


def test_field_table(compiled):
    rows = [
        {"vmcs_field": field, "encoding": f"0x{int(code, 16):08x}", "evmcs_field": member,
         "offset": int(offset), "size": int(size), "clean_field": group,
         "clean_mask": f"0x{int(mask, 16):04x}"}
        for _, field, code, member, offset, size, group, mask in
        (words for words in compiled if words[0] == "field")
    ]
    assert len(rows) == 126
    assert rows == FIELDS


def test_encodings(compiled):
    ours = {words[1]: int(words[2], 16) for words in compiled if words[0] == "encoding"}
    assert ours == {row["vmcs_field"]: int(row["encoding"], 16) for row in ENCODINGS}


def rol16(value, count):
    return (value << count | value >> 16 - count) & 0xFFFF


def test_encodings_say_width_type_and_place_in_the_table():
    in_table = {row["vmcs_field"] for row in FIELDS}
    last = max(rol16(int(row["encoding"], 16), 6) for row in FIELDS)
    for row in ENCODINGS:
        code = int(row["encoding"], 16)
        index = rol16(code, 6)
        width = ("u16", "u64", "u32", "natural")[code >> 13 & 3]
        assert row["width"] == ("u32(high)" if width == "u64" and code & 1 else width), row
        assert row["type"] == ("control", "exit_info_ro", "guest", "host")[code >> 10 & 3], row
        assert int(row["evmcs_index"], 16) == index
        place = "table" if row["vmcs_field"] in in_table else "oob" if index > last else "hole"
        assert row["evmcs_class"] == place, row
