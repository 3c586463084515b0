# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `exit`: its accesses are those of v4.19's sources, its counts the program's."""

import re

import needed
import pytest
from command import kvm_vmx

from kvm_vmx.lessons import exit as lesson
from kvm_vmx import host

pytestmark = pytest.mark.host("single-step")
# What each exit of v4.19 asks for, by reading vmx.c: vmx_vcpu_run(), the handler, and the skip.
COMMON = ["VM_EXIT_REASON", "IDT_VECTORING_INFO_FIELD", "VM_EXIT_INTR_INFO"]
SKIP = ["GUEST_RFLAGS", "GUEST_RIP", "VM_EXIT_INSTRUCTION_LEN", "GUEST_INTERRUPTIBILITY_INFO"]
OWN = {"cpuid": [], "rdmsr": [], "wbinvd": [], "vmcall": ["GUEST_CS_AR_BYTES", "GUEST_SS_AR_BYTES"],
       "mov from cr8": ["EXIT_QUALIFICATION"],
       "mov to cr8": ["EXIT_QUALIFICATION", "GUEST_CS_AR_BYTES"]}
RIGHT = f"""
OWN = {OWN!r}
def accesses(instruction):
    fields = {COMMON!r} + OWN[instruction] + {SKIP!r}
    return ["VMREAD " + field for field in fields] + ["VMWRITE GUEST_RIP"]
"""


def reads(kind):
    """The fields of an exit, in order."""
    return [*COMMON, *OWN[kind], *SKIP, "GUEST_RIP"]


def test_the_accesses_are_those_of_the_sources():
    kinds = list(lesson.CODE)
    for one in lesson.exits(kinds):
        assert [moment.what for moment in one.plain] == reads(one.kind)
        assert [moment.what for moment in one.light] == ["hv_clean_fields", *reads(one.kind)]
        assert {moment.kind for moment in one.plain} == {"vmread", "vmwrite"}
        assert {moment.kind for moment in one.light} == {"load", "store"}


def test_a_function_names_the_field_in_the_kernels_own_source():
    """Where there is a tree: each function's body in vmx.c has the field that it wants."""
    needed.capability("tree-4.19")
    tree = host.find("tree-4.19")
    from kvm_vmx.compare.command import opened

    vmx = opened(tree)
    for one in lesson.exits(list(lesson.CODE)):
        for moment in one.plain:
            function = vmx.function(moment.function, "arch/x86/kvm/vmx.c")
            text = " ".join(unit.text for unit in function.units)
            # vmx_read_guest_seg_ar() has its field from a table of segments
            assert moment.what in text or moment.what.endswith("_AR_BYTES"), moment


@pytest.mark.soak
def test_the_answers_follow_from_the_program(soak):
    seen = set()
    for seed in range(400 if soak else 3):
        record = lesson.run(seed)
        names = record.given["program"]
        accesses = sum(len(reads(kind)) for kind in names)
        assert record.values["accesses"] == accesses
        assert record.values["evmcs"] == accesses + len(names)
        where = record.question.partition(" at the exit of ")[2].partition(",")[0]
        row, = {row[2].text for row in record.solved.steps[-1].rows
                if (row[0].text, row[1].text) == (where, f"{asked(record)}()")}
        assert row == record.values["field"]
        seen.add(tuple(record.values.values()))
    assert len(seen) > (300 if soak else 2)


def asked(record):
    """The function that the question names."""
    return re.search(r"does (\w+)\(\) want", record.question)[1]


def test_what_is_asked_stands_nowhere_before_the_answer():
    for seed in range(2):
        record = lesson.run(seed)
        rows = record.picture.steps[-1].rows
        assert record.values["function"] not in str(rows) + str(record.kernel) + record.question
        assert not [row for row in rows if row[2].text == record.values["field"]]


@pytest.mark.parametrize("wrong, code", [(False, RIGHT), (True, RIGHT.replace("VMWRITE", "VMREAD")),
                                         (True, RIGHT.replace("OWN[instruction]", "[]"))])
def test_a_students_function(told, tmp_path, wrong, code):
    (tmp_path / "mine.py").write_text(code)
    done = told("lesson", "exit", "--write", tmp_path / "mine.py")
    assert done.returncode == (1 if wrong else 0), done.stderr
    assert ("6 of 6 inputs are right" in done.stdout) != wrong


def test_where_no_thread_can_be_stepped_it_says_so(monkeypatch):
    monkeypatch.setenv(host.WITHOUT, "single-step")
    done = kvm_vmx("lesson", "exit")
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert "no exit can be followed step by step here" in done.stderr
