# SPDX-License-Identifier: GPL-2.0-only
"""No reason of a mark stays unchecked: the vocabulary, the processors, the kernel's statements."""

import pathlib
import re

import pytest

from kvm_vmx import Machine
from kvm_vmx.compare.port import Port
from kvm_vmx.compare.reasons import FILE, MarkedProcessor, Reasons, parts
from kvm_vmx.compare.report import Report
from kvm_vmx.l0.profile import PROFILES


def profile_processor(profile):
    return MarkedProcessor(profile.name, lambda leaf: profile.cpuid.get(leaf, (0, 0, 0, 0)),
                     lambda msr: profile.msrs.get(msr, 0))


PROCESSORS = [profile_processor(profile) for profile in PROFILES.values()]


@pytest.fixture(scope="module")
def port():
    return Port()


def test_every_reason_is_of_a_class_and_true(port):
    assert len(PROCESSORS) >= 3
    assert Reasons(port).faults(processors=PROCESSORS) == []


def test_every_reason_is_true_of_the_kernels_statements(report_v419):
    assert Reasons(report_v419.port).faults(report_v419, PROCESSORS) == []


@pytest.mark.parametrize("profile", PROFILES)
def test_the_processor_itself_lacks_what_marks_say(port, profile):
    """Not what the profile's file says: what the instructions of a machine with it answer."""
    with Machine(profile=profile) as m:
        cpu = m.cpu(0)

        def rdmsr(index):
            outcome = cpu.rdmsr(index)
            return getattr(outcome, "value", None) or 0

        there = MarkedProcessor(profile, cpu.cpuid, rdmsr)
        assert Reasons(port).faults(processors=[there]) == []


def false(monkeypatch, port, where, old, new, **options):
    """The faults of the port with a mark changed."""
    function = port.subjects[where].function
    marks = [mark for mark in function.marks if old in mark.reason]
    assert marks, f"{where} has no mark with {old!r}"
    for mark in marks:
        monkeypatch.setattr(mark, "reason", mark.reason.replace(old, new))
    return Reasons(port).faults(processors=PROCESSORS, **options)


# (function, what its mark says, what it is made to say, the fault that is found)
SEEDS = [
    ("vmx_get_msr", "the processor has no LMCE", "the processor has no ARCH_CAPABILITIES",
     "[feature] does not say how 'ARCH_CAPABILITIES'"),
    ("vmx_vcpu_run", "the processor has no protection keys", "none exists", "no class of reasons"),
    ("vmx_vcpu_run", "mitigations are off, as with nospectre_v2", "nothing speculates here",
     "no class of reasons"),
    ("vmx_vcpu_load", "out of scope, posted interrupts", "out of scope", "no class of reasons"),
    ("vmx_vcpu_load", "out of scope, posted interrupts", "out of scope, what nobody wants",
     "no topic"),
    ("kvm_set_cr4", "the EPT is fixed", "it never does", "no class of reasons"),
    ("kvm_get_arch_capabilities", "nothing sets it to VMENTER_L1D_FLUSH_NEVER",
     "nothing calls it", "no class of reasons"),
]


@pytest.mark.parametrize("where, old, new, fault", SEEDS)
def test_a_false_reason_is_found(monkeypatch, port, where, old, new, fault):
    found = false(monkeypatch, port, where, old, new)
    assert any(where in line and fault in line for line in found), found


def test_a_feature_that_a_processor_has_is_found(port):
    """The review's own example: a mark that says that what the profile has does not exist."""
    text = FILE.read_text().replace(
        "LMCE = [{msr = 0x179, bit = 27}]",
        "LMCE = [{msr = 0x179, bit = 27}, {leaf = 7, reg = \"edx\", bit = 29}]")
    found = Reasons(port, text).faults(processors=PROCESSORS)
    assert {line.rpartition(": ")[2] for line in found} == {
        f"{processor.name} has LMCE" for processor in PROCESSORS}


# With a tree a reason that is of a class, but of another statement, is found too.
MISPLACED = [
    ("kvm_set_cr4", "the EPT is fixed", "no tracing"),
    ("vmx_vcpu_run", "the processor has no protection keys", "debug messages are off"),
    ("vmx_create_vcpu", "no APIC in the kernel", "nothing jumps to it"),
    ("kvm_set_cr0", "the processor loads them at the entry", "a function of asm/vmx_insn.h"),
]


@pytest.mark.parametrize("where, old, new", MISPLACED)
def test_a_reason_of_another_statement_is_found(
        monkeypatch, port, tree_v419, where, old, new):
    for mark in port.subjects[where].function.marks:
        monkeypatch.setattr(mark, "reason", mark.reason.replace(old, new))
    report = Report(port, tree_v419, {where})
    found = [line for line in Reasons(port).faults(report, PROCESSORS) if where in line]
    assert found, (where, new)


def test_a_fact_that_the_port_no_longer_has_is_found(port):
    """`lapic_in_kernel()`, which is 0, is what every reason of the APIC rests on."""
    reasons = Reasons(port)
    reasons.sources["lapic.pxd"] = reasons.sources["lapic.pxd"].replace(
        "#define lapic_in_kernel(vcpu) 0", "#define lapic_in_kernel(vcpu) 1")
    found = reasons.faults(processors=PROCESSORS)
    assert len(found) > 20 and all("lapic_in_kernel" in line for line in found)


def test_a_call_that_a_mark_denies_is_found(port):
    reasons = Reasons(port)
    reasons.sources["vmx.pyx"] += "\n    grow_ple_window(vcpu)\n"
    assert any("grow_ple_window" in line for line in reasons.faults(processors=PROCESSORS))


def test_a_class_that_no_mark_gives_is_found(port):
    text = FILE.read_text() + ""
    text = text.replace("[class.apic]", '[class.idle]\nmatch = "because"\n\n[class.apic]')
    assert Reasons(port, text).faults(processors=PROCESSORS) == ["[class.idle] is of no mark"]


def test_a_number_that_changes_is_found(report_v419):
    reasons = Reasons(report_v419.port)
    name = next(iter(reasons.values))
    reasons.values = {**reasons.values, name: {"numbers": [1, 2, 3]}}
    assert any(name in line for line in reasons.faults(report_v419, PROCESSORS))


def test_the_recorded_numbers_are_the_kernels(tree_v419):
    """What the port spells out stands in the kernel's source under the name that is recorded."""
    data = Reasons(Port()).values
    for name, entry in data.items():
        for symbol, path, pattern in entry.get("kernel", ()):
            text = re.sub(r"/\*.*?\*/", "", tree_v419.files[path], flags=re.S)
            numbers = {int(n, 0) for hit in re.finditer(pattern, text, re.S)
                       for n in re.findall(r"0x[0-9a-fA-F]+|\b\d+\b", hit[1])}
            assert numbers and numbers <= set(entry["numbers"]), (name, symbol)


def test_parts_are_read_from_every_mark(port):
    given = parts(port)
    marks = sum(len(subject.function.marks) for subject in port.subjects.values())
    assert len({id(one.mark) for one in given}) == marks > 350
    assert pathlib.Path(FILE).is_file()
