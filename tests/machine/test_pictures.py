# SPDX-License-Identifier: GPL-2.0-only
"""_repr_html_ in a notebook: what it says is what is so, it is markup, and it never raises."""

import xml.etree.ElementTree

import pytest

from kvm_vmx import ExitReason, ExitSummary, Machine, fields
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.vcpu import EvmcsView

BITS = {row["clean_field"]: int(row["clean_mask"], 16) for row in fields()
        if row["clean_field"] not in ("NONE", "ALL")}


@pytest.fixture(params=[True, False], ids=["eVMCS", "VMCS"])
def vcpu(request):
    with Machine(cpus=1) as machine:
        kvm = machine.insmod(enlightened_vmcs=request.param)
        yield kvm.create_vm(code=CPUID_LOOP, memory=64 << 10).create_vcpu()


def markup(thing):
    """What a notebook shows of a thing, as elements: every tag is closed, every text escaped."""
    text = thing._repr_html_()
    assert len(text) < 40_000 and "<script" not in text and "http" not in text
    return xml.etree.ElementTree.fromstring(f"<div>{text}</div>")


def rows(element):
    """The rows of its table, as texts."""
    return [["".join(cell.itertext()) for cell in row] for row in element.iter("tr")]


def test_a_page_has_each_field_where_it_lies(vcpu):
    vcpu.run(exits=5)
    if not vcpu.vm.module.enable_evmcs:
        assert [*markup(vcpu.evmcs).itertext()] == [repr(vcpu.evmcs)]
        return
    titles = [title.text for title in markup(vcpu.evmcs).iter("title")]
    for row, title in zip(fields(), titles, strict=True):
        assert title.startswith(
            f"{row['vmcs_field']} = {vcpu.evmcs[row['vmcs_field']]:#x}: offset {row['offset']}, ")
    places = {(rect.get("x"), rect.get("y")) for rect in markup(vcpu.evmcs).iter("rect")}
    assert len(places) == len(fields())


@pytest.mark.parametrize("clean", [0, 0xFFFF, *BITS.values()])
def test_the_clean_bits_are_those_of_the_page(clean):
    with Machine(cpus=1) as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP, memory=64 << 10).create_vcpu()
        vcpu.run(exits=5)
        machine.memory[vcpu.vmcs_gpa + 824:vcpu.vmcs_gpa + 828] = clean.to_bytes(4, "little")
        shown = markup(vcpu.evmcs)
        assert f"clean fields {clean:#06x}" in "".join(shown.itertext())
        assert {row[1]: (int(row[0]), row[2]) for row in rows(shown)[1:]} == {
            group: (bit.bit_length() - 1, "clean" if clean & bit else "dirty")
            for group, bit in BITS.items()}
        for row, title in zip(fields(), shown.iter("title"), strict=True):
            bit = BITS.get(row["clean_field"])
            assert title.text.endswith("always read" if bit is None else
                                       "clean" if clean & bit else "dirty")


def test_exits_by_reason(vcpu):
    assert rows(markup(vcpu.run(exits=1234))) == [["CPUID", "1,234", ""]]
    many = ExitSummary(12, "HLT", reasons={ExitReason.HLT: 1, ExitReason.CPUID: 10, 3: 1})
    shown = markup(many)
    assert [row[:2] for row in rows(shown)] == [["CPUID", "10"], ["3", "1"], ["HLT", "1"]]
    assert "12 exits, then HLT" in "".join(shown.itertext())
    widths = [int(bar.get("style").rpartition("width:")[2][:-2]) for bar in shown.iter("div")
              if bar.get("style")]
    assert widths[0] == 10 * widths[1] == 10 * widths[2]


def test_texts_are_escaped():
    hostile = ExitSummary(0, "<b>&\"'", data={}, reasons={})
    assert "<b>" not in hostile._repr_html_() and "0 exits, then <b>&" in "".join(
        markup(hostile).itertext())


def test_what_is_gone_or_half_made_is_its_repr(vcpu):
    view = vcpu.evmcs
    vcpu.vm.destroy()
    assert [*markup(view).itertext()] == [repr(view)] and "destroyed" in repr(view)
    vcpu.vm.module.machine.close()
    assert [*markup(view).itertext()] == [repr(view)]
    made = EvmcsView.__new__(EvmcsView)
    assert [*markup(made).itertext()] == ["<EvmcsView, half made>"]
