# SPDX-License-Identifier: GPL-2.0-only
"""_repr_html_ in a notebook: what it says is what is so, it is markup, and it never raises."""

import re
import xml.etree.ElementTree

import pytest

from kvm_vmx import ExitReason, ExitSummary, Machine, fields
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.vcpu import EvmcsView

BITS = {row["clean_field"]: int(row["clean_mask"], 16) for row in fields()
        if row["clean_field"] not in ("NONE", "ALL")}


@pytest.fixture(params=[True, False], ids=["eVMCS", "VMCS"])
def vcpu(request, face):
    with face(cpus=1) as machine:
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
def test_the_clean_bits_are_those_of_the_page(face, clean):
    with face(cpus=1) as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP, memory=64 << 10).create_vcpu()
        vcpu.run(exits=5)
        machine.memory[vcpu.vmcs_gpa + 824:vcpu.vmcs_gpa + 828] = clean.to_bytes(4, "little")
        shown = markup(vcpu.evmcs)
        assert f"clean fields {clean:#06x}" in "".join(shown.itertext())
        groups = rows(next(shown.iter("table")))[1:]
        assert {row[1]: (int(row[0]), row[2].split()[-1]) for row in groups} == {
            group: (bit.bit_length() - 1, "clean" if clean & bit else "dirty")
            for group, bit in BITS.items()}
        for row, title in zip(fields(), shown.iter("title"), strict=True):
            bit = BITS.get(row["clean_field"])
            assert title.text.endswith("always read" if bit is None else
                                       "clean" if clean & bit else "dirty")


def test_exits_by_reason(vcpu):
    vcpu.run(exits=1)           # its page is mapped
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


class Printer:
    """What IPython hands to a thing that prints itself."""

    def __init__(self):
        self.said = ""

    def text(self, text):
        self.said += text


def lines(thing):
    """What a terminal shows of a thing."""
    printer = Printer()
    thing._repr_pretty_(printer, False)
    return printer.said


@pytest.fixture
def shown():
    """Everything that has a picture, of a machine where something has happened."""
    with Machine(cpus=2, lints=True) as machine:
        machine.start_trace()
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP, memory=64 << 10).create_vcpu()
        vcpu.trace_exits()
        vcpu.run(exits=3)
        machine.cpu(1).wrmsr(0x40000073, 0xFFF)
        yield {"machine": machine, "vCPU": vcpu, "page": vcpu.evmcs, "trace": machine.trace}


@pytest.mark.needs("hyperv")
@pytest.mark.parametrize("name", ["machine", "vCPU", "page", "trace"])
def test_page_and_text_say_the_same(shown, name):
    thing = shown[name]
    element, text = markup(thing), lines(thing)
    for svg in element.iter("svg"):
        for title in svg.iter("title"):             # "FIELD = VALUE: offset N, GROUP, STATE"
            field, value = title.text.split(":")[0].split(" = ")
            assert re.search(rf"^  {field} +{value} ", text, re.M)
        svg.clear()
    cells = [part.strip(" \u25a0") for part in element.itertext()]
    assert len([cell for cell in cells if cell]) > 20
    assert re.findall(r"\S+", " ".join(cells)) == re.findall(r"\S+", text)


@pytest.mark.needs("hyperv")
def test_what_is_shown_is_so(shown):
    machine, vcpu = shown["machine"], shown["vCPU"]
    text = lines(machine)
    assert f"{machine.counters['rdmsr']:,}" in text and machine.dmesg[-1] in text
    assert hex(machine.assist_page_gpa(0)) in text and hex(vcpu.vmcs_gpa) in text
    assert all(lint.explain() in text for lint in machine.lints)
    assert hex(vcpu.regs["rcx"]) in lines(vcpu) and lines(vcpu).count("CPUID ") == 3
    assert f"{len(machine.trace)} instructions" in lines(machine.trace)
    assert isinstance(machine.trace, list) and str(machine.trace[-1])[7:] in lines(machine.trace)
    page = lines(vcpu.evmcs)
    assert all(f"{area}: {n} fields" in page for area, n in (
        ("control", 35), ("exit information", 11), ("guest state", 58), ("host state", 22)))


def test_a_machine_that_is_gone_is_its_repr(shown):
    shown["machine"].close()
    for thing in (shown["machine"], shown["vCPU"], shown["page"]):
        assert lines(thing) == repr(thing) and [*markup(thing).itertext()] == [repr(thing)]


def test_paper_and_ink_are_the_notebooks(shown):
    """A colour is that of a square or a bar: no text has one; no background is set but a bar's."""
    for thing in shown.values():
        for element in markup(thing).iter():
            style = element.get("style", "")
            if "color:" in style.replace("background-color:", ""):
                assert element.text == "\u25a0"
            assert "background" not in style
